"""Each of several processes gets its part of the cores."""

import os

import pytest
import torch

from earshot.cli.reward_model import ModelOptions, load_share
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
    with pytest.raises(InputError, match="greedy"):  # before anything is loaded
        load_share(0, of=of, load=ModelOptions("nowhere", samples=2, temperature=0.0).load)
    assert given == ([] if threads is None else [threads])
