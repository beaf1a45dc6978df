"""What a listener pays for: false claims, told apart by whom they help, and the verdict that a trace ends with.

    python benchmarks/what_pays.py runs/experiments/main --from-step 20

Reads the rollouts of an experiment in the synthetic world, where the truth of every claim is known. Within the
completions of a pair, the listener's probability of the label is regressed on the numbers of false claims and on
whether the verdict is right. A false claim is *for* the label's side where it says of its image that what was asked for
is there and it is not, or of the other image that it is not there and it is (or the like of the rendering); *against*
it where it is the other way round; the rest are *details*: what is there instead, its size, colour or shape.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from earshot.types import Side
from earshot.world.checker import Claim, check_trace
from earshot.world.scene import FAULTS
from earshot.world.truth import Truth, read_truths

REGRESSORS = ("for", "against", "details", "right verdict")
EARLY, LATE = 10, 100  # steps up to which, and from which, claims are counted
LEAST = 200  # completions, for a regression


class Row(NamedTuple):
    """A well-formed completion about a pair with a label."""

    step: int
    pair_id: str
    regressors: tuple[float, float, float, float]
    p_label: float
    """NaN where no listener was asked."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--from-step", type=int, default=20, help="Of the regression.")
    options = parser.parse_args()
    truths = dict(read_truths(options.experiment / "data" / "train"))
    arms: dict[str, list[list[Row]]] = {}
    for run in sorted(options.experiment.glob("*/seed-*/train/rollouts")):
        arms.setdefault(run.parts[-4], []).append([*rows_of(run, truths)])
    heads = [f"{name} {when}" for when in ("early", "late") for name in REGRESSORS]
    print(f"| arm (seeds) | {' | '.join([*heads, *(f'pays per {name}' for name in REGRESSORS)])} |")
    print("| --- " * (1 + 3 * len(REGRESSORS)) + "|")
    for arm, runs in arms.items():
        print(f"| {arm} ({len(runs)}) | {' | '.join(cells(runs, options.from_step))} |")


def rows_of(rollouts: Path, truths: dict[str, Truth]) -> Iterator[Row]:
    for file in sorted(rollouts.glob("*.parquet")):
        for row in pq.read_table(file).to_pylist():
            if row["malformed"] or row["votes_first"] == row["votes_second"]:
                continue
            label: Side = "first" if row["votes_first"] > row["votes_second"] else "second"
            sides = [helps(c, label) for c in check_trace(row["trace"], truths[row["pair_id"]]) if c.status == "false"]
            p_first = np.nan if row["listener_p_first"] is None else row["listener_p_first"]
            found = (sides.count(1), sides.count(-1), sides.count(0), row["side"] == label)
            first, second, third, right = map(float, found)
            yield Row(
                row["step"],
                row["pair_id"],
                (first, second, third, right),
                float(p_first if label == "first" else 1 - p_first),
            )


def helps(claim: Claim, label: Side) -> int:
    """1 where the claim speaks for the label's image, -1 where against it, 0 where it is a detail."""
    words = claim.text.split()
    praises = 0
    if "yes" in words or words == ["clean"]:
        praises = 1
    elif "no" in words or words[0] in FAULTS:
        praises = -1
    return praises if claim.image == label else -praises


def cells(runs: list[list[Row]], from_step: int) -> list[str]:
    """Means by arm: of the regressors early and late, and of the slopes, each with the lowest and highest seed."""
    early = [means([row for row in run if row.step <= EARLY]) for run in runs]
    late = [means([row for row in run if row.step >= LATE]) for run in runs]
    paid = [slopes([row for row in run if row.step >= from_step and not np.isnan(row.p_label)]) for run in runs]
    return [told([values[k] for values in part], "+.3f" if part is paid else ".2f") for part in (early, late, paid)
            for k in range(len(REGRESSORS))]  # fmt: skip


def means(rows: list[Row]) -> np.ndarray:
    return np.mean([row.regressors for row in rows], axis=0) if rows else np.full(len(REGRESSORS), np.nan)


def slopes(rows: list[Row]) -> np.ndarray:
    """Least squares within the completions of a pair."""
    if len(rows) < LEAST:
        return np.full(len(REGRESSORS), np.nan)
    groups = np.unique([f"{row.step} {row.pair_id}" for row in rows], return_inverse=True)[1]
    values = np.array([[*row.regressors, row.p_label] for row in rows])
    counts = np.bincount(groups)
    for k in range(values.shape[1]):
        values[:, k] -= (np.bincount(groups, values[:, k]) / counts)[groups]
    return np.linalg.lstsq(values[:, :-1], values[:, -1], rcond=None)[0]


def told(values: list[float], form: str) -> str:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "–"
    return f"{np.mean(known):{form}} [{min(known):{form}}, {max(known):{form}}]"


if __name__ == "__main__":
    main()
