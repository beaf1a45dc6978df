"""The ground truth of a pair, kept beside the pair set in `truth.jsonl`, one row a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earshot.errors import DataError
from earshot.rundir import read_jsonl
from earshot.world.scene import FAULTS, Picture, Scene, Thing

TRUTH_FILE = "truth.jsonl"


@dataclass(frozen=True, slots=True)
class Truth:
    """What was asked for and what either image really shows."""

    wanted: Scene
    first: Picture
    second: Picture

    def swapped(self) -> Truth:
        """The truth of the pair shown in the other order."""
        return Truth(self.wanted, self.second, self.first)


def truth_row(pair_id: str, truth: Truth) -> dict[str, Any]:
    """The truth as one JSON row."""
    return {"id": pair_id, **asdict(truth)}


def read_truths(folder: Path) -> Iterator[tuple[str, Truth]]:
    """Pair ids and truths of a world pair set, in a stream.

    Raises:
        DataError: A row is not a truth; the message gives the file and the pair.
    """
    for row in read_jsonl(folder / TRUTH_FILE):
        try:
            yield row["id"], Truth(_scene(row["wanted"]), _picture(row["first"]), _picture(row["second"]))
        except (KeyError, TypeError, ValueError) as error:
            place = f"{folder / TRUTH_FILE}: pair {row.get('id')!r}"
            raise DataError(
                f"{place} is not a ground truth ({error!r}); make the set again with 'earshot world make'"
            ) from error


def read_truth(folder: Path) -> dict[str, Truth] | None:
    """All truths of a world pair set by pair id; None where the folder holds no ground truth."""
    return dict(read_truths(folder)) if (folder / TRUTH_FILE).exists() else None


def _scene(row: dict[str, Any]) -> Scene:
    left, right = (None if row[place] is None else Thing(**row[place]) for place in ("left", "right"))
    return Scene(left, right)


def _picture(row: dict[str, Any]) -> Picture:
    if row["fault"] not in FAULTS:
        raise ValueError(f"fault {row['fault']!r}, expected one of {', '.join(FAULTS)}")
    return Picture(_scene(row["scene"]), row["fault"])
