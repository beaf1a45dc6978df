"""Multimodal RewardBench 2, text-to-image: `t2i.json`, `{pairs: [...]}` beside `images/`.

From the published file (facebookresearch/MMRB2, `benchmark/t2i.json`): a pair is `{id, prompt_content: [["text", ...]],
response_a: {model_name, response_content: [["image", "images/..."]]}, response_b, chosen: "A" or "B",
human_annotations: [2, 2, 1], prompt_source, prompt_metadata: {id, category, ...}}`.

What the numbers of `human_annotations` mean is not said; they run from 1 to 6, and in the 40 pairs we read, 1 to 3 went
with B and 4 to 6 with A: the majority of three so read was `chosen` each time. So they are taken as votes. Where there
are none, as the repository's own converter allows, the votes are 1 and 0 by `chosen`, which is the label in any case.
`t2i_response_only.json` has no prompts: the repository's `build_from_hf.py` or `run_release.sh` adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from earshot.data.public import Published
from earshot.data.public.annotations import (
    MEND,
    WINNER,
    Row,
    check_list,
    fields,
    find_file,
    list_field,
    locate,
    no_split,
    optional_text,
    pairs_of_rows,
    text_field,
)
from earshot.data.row_files import read_json
from earshot.errors import DataError, short
from earshot.images import ImageFolder, Tolerance
from earshot.types import Label, Pair, Votes

_SIDES: dict[str, Label] = {"A": "first", "B": "second"}
_NO_PROMPT = {"response_a": "this is the file without prompts; build t2i.json with the publisher's build_from_hf.py"}


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens `t2i.json`; see `Published`.

    Raises:
        InputError: There is no such folder or file, or a split was asked for.
        DataError: The folder holds no t2i.json, or it has no list of pairs.
    """
    no_split(split, "mmrb2-t2i")
    file = find_file(Path(source), "t2i.json")
    document = read_json(file, "get the file again")
    pairs = check_list(document.get("pairs") if isinstance(document, Mapping) else None, file, "an object with 'pairs'")
    rows = (Row(f"{file.name}: pair {n}", f"mmrb2-{n}", pair) for n, pair in enumerate(pairs))
    folder = ImageFolder(file.parent)
    return Published((file,), pairs_of_rows(rows, tolerance, lambda row: [_pair(row, folder)]))


def _pair(row: Row, folder: ImageFolder) -> Pair:
    entry = fields(row, "id", "response_a", "response_b", "chosen")
    fields(row, "prompt_content", hints=_NO_PROMPT)
    identity = text_field(entry, "id", row.place)
    place = f"{row.place} ({short(identity)})"
    chosen = entry["chosen"]
    if not isinstance(chosen, str) or chosen not in _SIDES:
        raise DataError(f"{place}: chosen is {short(chosen)}, expected 'A' or 'B'; {MEND}")
    metadata = entry.get("prompt_metadata")
    about = metadata if isinstance(metadata, Mapping) else {}
    source = optional_text(entry, "prompt_source", place)
    return Pair(
        id=identity,
        prompt=_prompt(entry["prompt_content"], place),
        first=_image(entry["response_a"], "response_a", folder, place),
        second=_image(entry["response_b"], "response_b", folder, place),
        votes=_votes(entry, _SIDES[chosen], place),
        prompt_id=f"{source}:{about['id']}" if source and about.get("id") is not None else None,
        axis="preference",
        split="test",
        model_first=optional_text(entry["response_a"], "model_name", place),
        model_second=optional_text(entry["response_b"], "model_name", place),
        source="mmrb2",
        label=_SIDES[chosen],
        category=optional_text(about, "category", place) or source,
    )


def _prompt(content: Any, place: str) -> str:
    parts = _parts(content, "prompt_content", place)
    if any(kind != "text" for kind, _ in parts) or not any(text.strip() for _, text in parts):
        raise DataError(f"{place}: prompt_content is {short(content)}, expected text alone; other tasks are not read")
    return "\n".join(text for _, text in parts)


def _image(response: Any, name: str, folder: ImageFolder, place: str) -> Path:
    content = fields(Row(f"{place}, {name}", "", response), "response_content")["response_content"]
    parts = _parts(content, f"{name}.response_content", place)
    if len(parts) != 1 or parts[0][0] != "image":
        raise DataError(f"{place}: {name} holds {short(content)}, expected one image; other tasks are not read")
    return locate(folder, parts[0][1], place)


def _parts(content: Any, name: str, place: str) -> list[tuple[str, str]]:
    parts = content if isinstance(content, list) else []
    if not parts or not all(isinstance(part, list) and [type(one) for one in part] == [str, str] for part in parts):
        raise DataError(f'{place}: {name} is {short(content)}, expected a list of ["text" or "image", ...]; {MEND}')
    return [(kind, value) for kind, value in parts]


def _votes(entry: Mapping[str, Any], chosen: Label, place: str) -> Votes:
    if entry.get("human_annotations") is None:
        return WINNER[chosen]
    marks = list_field(entry, "human_annotations", place, 3)
    if any(type(mark) is not int or not 1 <= mark <= 6 for mark in marks):
        raise DataError(f"{place}: human_annotations is {short(marks)}, expected three of 1 to 6; {MEND}")
    for_a = sum(mark >= 4 for mark in marks)
    return Votes(float(for_a), float(3 - for_a))
