"""The ground truth of a pair, kept beside the pair set in `truth.jsonl`, one row a pair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from earshot.data.rows import TRUTH_FILE
from earshot.errors import DataError
from earshot.files import plain, read_jsonl
from earshot.world.edits import Attribute, Edit
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES, Picture, Scene, Thing, prompt_text


@dataclass(frozen=True, slots=True)
class Truth:
    """What was asked for and what either image really shows.

    `edit` is what was to be done to an original, whose scene `wanted` then leaves; None where there was none.
    """

    wanted: Scene
    first: Picture
    second: Picture
    edit: Edit | None = None

    @property
    def prompt(self) -> str:
        """The words a user would type."""
        return prompt_text(self.wanted) if self.edit is None else self.edit.words

    def swapped(self) -> Truth:
        """The truth of the pair shown in the other order."""
        return replace(self, first=self.second, second=self.first)


def truth_row(pair_id: str, truth: Truth) -> dict[str, Any]:
    """The truth as one JSON row."""
    told = plain(truth)
    return {"id": pair_id, **{name: value for name, value in told.items() if name != "edit" or value is not None}}


def read_truths(folder: Path) -> Iterator[tuple[str, Truth]]:
    """Pair ids and truths of a world pair set, in a stream.

    Raises:
        InputError: The folder holds no truths.
        DataError: A row is not a truth; the message gives the file, the line and the pair.
    """
    for number, row in enumerate(read_jsonl(folder / TRUTH_FILE, allow_cut=False), start=1):
        try:
            pair_id, wanted, first, second = _fields(row, "id", "wanted", "first", "second")
            if not isinstance(pair_id, str):
                raise ValueError("its id is not text")
            edit = None if row.get("edit") is None else _edit(row["edit"])
            truth = Truth(_scene(wanted), _picture(first), _picture(second), edit)
            if edit is not None and edit.wanted != truth.wanted:
                raise ValueError(f"its edit {edit.words!r} does not leave what is wanted")
        except ValueError as error:
            place = f"{folder / TRUTH_FILE}:{number}: pair {row.get('id')!r}"
            fault = f"{place} is no ground truth: {error}; make the set again with 'earshot world make'"
            raise DataError(fault) from error
        yield pair_id, truth


def read_truth(folder: Path) -> dict[str, Truth] | None:
    """All truths of a world pair set by pair id; None where the folder holds no ground truth."""
    return dict(read_truths(folder)) if (folder / TRUTH_FILE).exists() else None


def _scene(row: Any) -> Scene:
    left, right = (None if thing is None else _thing(thing) for thing in _fields(row, *PLACES))
    return Scene(left, right)


def _edit(row: Any) -> Edit:
    original, place, target, attribute = _fields(row, "original", "place", "target", "attribute")
    if place not in PLACES or attribute not in (None, *get_args(Attribute)):
        raise ValueError(f"an edit of {attribute!r} at {place!r}")
    return Edit(_scene(original), place, None if target is None else _thing(target), attribute)


def _picture(row: Any) -> Picture:
    scene, fault = _fields(row, "scene", "fault")
    if fault not in FAULTS:
        raise ValueError(f"fault {fault!r}, expected one of {', '.join(FAULTS)}")
    return Picture(_scene(scene), fault)


def _thing(row: Any) -> Thing:
    size, colour, shape = _fields(row, "size", "colour", "shape")
    for value, known in ((size, SIZES), (colour, COLOURS), (shape, SHAPES)):
        if value not in known:
            raise ValueError(f"{value!r}, expected one of {', '.join(known)}")
    return Thing(size, colour, shape)


def _fields(row: Any, *names: str) -> list[Any]:
    """The named values of a JSON object."""
    if not isinstance(row, dict):
        raise ValueError(f"{row!r}, expected an object with {', '.join(names)}")
    if missing := [name for name in names if name not in row]:
        raise ValueError(f"{', '.join(missing)} missing")
    return [row[name] for name in names]
