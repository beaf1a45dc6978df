"""EditReward-Bench of TIGER-Lab: parquet shards of two edits of an image and how people ranked them.

From the publisher's evaluation code (TIGER-AI-Lab/EditReward, `evaluate/inference_*pair_hf.py`): `id, instruction,
source_image, candidate_1, candidate_2, ranking, comparison_type, dataset` and `model_1, model_2`. A row is one
comparison of a group of two to four edits, A to D: `comparison_type` says which two (`AvsC`), `ranking` which is better
(`A>C`, `C>A`; in groups of two also `A=B`), `dataset` how large the group is (`2pair`, `3pair`, `4pair`). Groups are
told by what stands before the `_` of an id, as that code tells them, and are what the bootstrap resamples.

The images are assumed to be the hub's struct of bytes and path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import MEND, WINNER, Row, optional_text, text_field
from earshot.data.public.parquet import Images, Layout, read_shards
from earshot.errors import DataError, short
from earshot.images import Tolerance
from earshot.types import Label, Pair

_REQUIRED = ("id", "instruction", "ranking", "comparison_type", "dataset")
_LAYOUT = Layout(_REQUIRED, ("model_1", "model_2"), ("candidate_1", "candidate_2", "source_image"), {})
_COMPARED = re.compile("([A-D])vs([A-D])")


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of one split; see `Published`.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, or a column is missing.
    """
    return read_shards(Path(source), tolerance, _LAYOUT, _pairs, split=split, images=images)


def _pairs(row: Row, image: Images) -> Iterator[Pair]:
    label, kind = _label(row), text_field(row.values, "dataset", row.place)
    identity = text_field(row.values, "id", row.place)
    yield Pair(
        id=f"{kind}-{identity}",
        prompt=text_field(row.values, "instruction", row.place),
        first=image("candidate_1"),
        second=image("candidate_2"),
        votes=WINNER[label],
        prompt_id=f"{kind}-{identity.partition('_')[0]}",
        axis="preference",
        split=row.split,
        model_first=optional_text(row.values, "model_1", row.place),
        model_second=optional_text(row.values, "model_2", row.place),
        source="editreward-bench",
        label=label,
        category=kind,
        original=image("source_image"),
    )


def _label(row: Row) -> Label:
    """Which of the two candidates the ranking is for, by the letters that the comparison gives them."""
    compared, ranking = row.values["comparison_type"], row.values["ranking"]
    if compared is None:  # of groups of two, whose evaluation does not look at it
        compared = "AvsB"
    match = _COMPARED.fullmatch(compared) if isinstance(compared, str) else None
    if match is None:
        raise DataError(f"{row.place}: comparison_type is {short(compared)}, expected one such as AvsC; {MEND}")
    one, other = match.groups()
    labels: dict[str, Label] = {f"{one}>{other}": "first", f"{other}>{one}": "second", f"{one}={other}": "tie"}
    if not isinstance(ranking, str) or ranking not in labels:
        raise DataError(f"{row.place}: ranking is {short(ranking)}, expected one of {', '.join(labels)}; {MEND}")
    return labels[ranking]
