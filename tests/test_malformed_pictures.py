"""A picture of which something is missing is refused, and a whole one is read: the kinds of `malformed_pictures`."""

import pytest

from tests.malformed_pictures import Outcome, all_files, bombs


def test_one_file_of_each_kind_becomes_what_it_has_to() -> None:
    outcome = Outcome()
    for made in all_files(1):
        outcome.try_out(made)
    assert outcome.wrong == [] and len(outcome.kinds) > 350


@pytest.mark.slow
def test_thousands_of_files_and_bombs_do() -> None:
    outcome = Outcome()
    for made in all_files(10):
        outcome.try_out(made)
    assert outcome.slowest[0] < 1.0
    for made in bombs():
        outcome.try_out(made)
    assert outcome.wrong == [] and outcome.files > 3500
