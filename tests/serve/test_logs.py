"""Logs hold nothing that clients wrote, unless that was asked for."""

import logging
from collections.abc import Iterator

import pytest

from earshot.serve.logs import log_to_stderr

PROMPT = "a secret prompt"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("earshot.serve")
    before, level = [*root.handlers], ours.level
    theirs = [logging.getLogger(name) for name in ("uvicorn", "uvicorn.error")]
    kept = [(one.propagate, [*one.handlers], one.level) for one in theirs]
    for one in theirs:  # as they are in a process of the server's; servers of other tests have set up their own
        one.propagate, one.handlers[:] = True, []
        one.setLevel(logging.NOTSET)
    yield
    for one, (propagates, handlers, theirs_level) in zip(theirs, kept, strict=True):
        one.propagate, one.handlers[:] = propagates, handlers
        one.setLevel(theirs_level)
    root.handlers[:] = before
    ours.setLevel(level)


def fail() -> None:
    try:
        raise KeyError(PROMPT)
    except KeyError as cause:
        error = RuntimeError(f"{PROMPT!r} was not understood")
        error.add_note(f"in a worker: {PROMPT}")
        raise error from cause


@pytest.mark.parametrize("logger", ["earshot.serve", "uvicorn.error", "asyncio"])
@pytest.mark.parametrize("prompts", [False, True])
def test_what_errors_say_is_logged_only_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], logger: str, prompts: bool
) -> None:
    log_to_stderr(prompts=prompts)
    try:
        fail()
    except RuntimeError:
        logging.getLogger(logger).exception("request %s failed", "7")
    told = capsys.readouterr().err
    assert f"ERROR {logger}: request 7 failed" in told
    assert told.index("KeyError") < told.index("RuntimeError") and "test_logs.py" in told and "in fail" in told
    assert (PROMPT in told) == prompts
