"""The short form of `make kill`."""

import random
from pathlib import Path

from tests.kills.harness import survive
from tests.kills.jobs import jobs

SHORT = {
    "train: iterations, windows and accumulation": 2,
    "train: workers": 1,
    "train: SFT, LoRA with dropout, accumulation": 1,
    "eval": 2,
    "judge": 1,
    "report": 1,
}


def test_what_is_killed_anywhere_ends_as_if_it_had_been_left_alone(tmp_path: Path) -> None:
    kills = 0
    for number, job in enumerate(one for one in jobs(tmp_path) if one.name in SHORT):
        (folder := tmp_path / f"job-{number}").mkdir()
        tally = survive(job, folder, kills=SHORT[job.name], a_run=3, rng=random.Random(job.name))
        assert not tally.by_hand and not tally.different, tally
        kills += tally.kills
    assert kills >= 8
