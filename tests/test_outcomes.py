"""A result or an error of one of our processes is the same in another."""

import pickle

import pytest

from earshot.errors import ListenerUnavailable, RemoteError
from earshot.outcomes import pack, unpack


class Odd(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} {two}")


@pytest.mark.parametrize("error", [ListenerUnavailable("gone"), RemoteError("down", status=503), Odd(1, 2)])
def test_an_error_comes_back_from_a_worker_as_it_was(error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(Exception, match=str(error)) as caught:
        unpack(pack(fail))
    if not isinstance(error, Odd):  # which cannot be pickled
        assert type(caught.value) is type(error)
        assert caught.value.__dict__.get("status") == error.__dict__.get("status")
        assert "in fail" in caught.value.__notes__[0]
    assert unpack(pickle.dumps(3)) == 3
