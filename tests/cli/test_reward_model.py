"""Each of several processes gets its part of the cores."""

import os
from functools import partial

import pytest
import torch

from earshot.cli.reward_model import load_reward_model, load_share
from earshot.errors import InputError


@pytest.mark.parametrize(("of", "wish", "threads"), [(2, None, 3), (12, None, 1), (2, "5", None), (1, None, None)])
def test_processes_share_the_cores_unless_somebody_has_said_otherwise(
    monkeypatch: pytest.MonkeyPatch, of: int, wish: str | None, threads: int | None
) -> None:
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wish is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
    with pytest.raises(InputError, match="--dtype"):  # before anything is loaded
        load_share(0, of=of, load=partial(load_reward_model, "nowhere", None, samples=1, temperature=1.0,
                                          max_new_tokens=1, device="cpu", dtype="int3"))  # fmt: skip
    assert given == ([] if threads is None else [threads])
