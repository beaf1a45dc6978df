"""Kills commands with SIGKILL at random moments, and compares what they leave with undisturbed calls.

    python -m tests.kills [--kills 300] [--seed 0] [--only NAME...]

prints a table and ends with 1 if a result differs or a folder needs a hand. Commands run in processes that are forked
from one that has imported everything, so that most of a process's life is work.
"""

import argparse
import math
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.kills.harness import survive
from tests.kills.jobs import jobs


def main() -> int:
    """Prints what came of every job; 1 if anything differs or needs a hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="Jobs whose names begin so.")
    given = parser.parse_args()
    bad = total = 0
    with tempfile.TemporaryDirectory(prefix="earshot-kills-") as name:
        room = Path(name)
        chosen = [j for j in jobs(room) if not given.only or j.name.startswith(tuple(given.only))]
        print(
            "| command | runs | kills | runs that differ | folders that need a hand |\n| --- | --- | --- | --- | --- |"
        )
        for number, job in enumerate(chosen):
            kills = math.ceil(given.kills * job.share / sum(one.share for one in chosen))
            folder = room / f"job-{number}"
            folder.mkdir()
            tally = survive(job, folder, kills=kills, a_run=4, rng=random.Random(f"{given.seed} {job.name}"))
            print(
                f"| {job.name} | {tally.runs} | {tally.kills} | {len(tally.different)} | {len(tally.by_hand)} |",
                flush=True,
            )
            for line in (*tally.different, *tally.by_hand):
                print(line, file=sys.stderr)
            bad += len(tally.different) + len(tally.by_hand)
            total += tally.kills
            shutil.rmtree(folder)
    print(f"{total} kills, {bad} faults")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
