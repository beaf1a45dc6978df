"""GenAI-Bench of TIGER-Lab, images and edits: parquet shards of two images and one person's vote of four kinds.

From the reference code and PROTOCOLS: `prompt, left_model, left_image, right_model, right_image` and `vote_type`, which
is `leftvote`, `rightvote`, `tievote` or `bothbad_vote`. The repository on the hub has a folder a task; those of
`image_generation` and of `image_edition` are read, each of which holds two splits, an older version of the votes and a
newer one (`train_v1` and `train`, later `test_v1` and `test`): never both, or pairs count twice.

An edit has, by the same code (`inference_configs.json`), `instruct_prompt, source_image, left_output_image,
right_output_image`, and texts that describe the picture before and after (`source_prompt`, `target_prompt`), which are
not taken: people were shown what was to be done.

Another GenAI-Bench, of BaiqiL, has ratings from 1 to 5 of single images, and no votes; it is refused by name. The
images are assumed to be the hub's struct of bytes and path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import MEND, WINNER, Row, optional_text, text_field
from earshot.data.public.parquet import Images, Layout, read_shards
from earshot.errors import DataError, short
from earshot.images import Tolerance
from earshot.types import Label, Pair

LABELS: Mapping[str, Label] = {
    "leftvote": "first",
    "rightvote": "second",
    "tievote": "tie",
    "bothbad_vote": "both_bad",
}
"""What each vote says of the left image, which is the first, and the right one."""
_OTHER = "this is BaiqiL's GenAI-Bench, of ratings from 1 to 5; expected TIGER-Lab/GenAI-Bench, of votes on pairs"
_HINTS = {
    **dict.fromkeys(("HumanRatings", "Tags", "DALLE_3", "DALLE_3_HumanRating", "basic_skills"), _OTHER),
    "left_output_image": "this is the image editing task; import it as genai-bench-tiger-edit",
    "left_image": "this is the task of image generation; import it as genai-bench-tiger",
    "left_video": "this is the video task, which is not imported",
}


@dataclass(frozen=True)
class _Task:
    """What one of the tasks calls its columns."""

    folder: str
    source: str
    """What its pairs say they are of."""
    prompt: str
    first: str
    second: str
    original: str | None = None

    @property
    def layout(self) -> Layout:
        images = (self.first, self.second, *([] if self.original is None else [self.original]))
        hints = {column: hint for column, hint in _HINTS.items() if column != self.first}
        return Layout((self.prompt, "vote_type"), ("left_model", "right_model"), images, hints)


_IMAGES = _Task("image_generation", "genai-bench-tiger", "prompt", "left_image", "right_image")
_EDITS = _Task(
    "image_edition",
    "genai-bench-tiger-edit",
    "instruct_prompt",
    "left_output_image",
    "right_output_image",
    "source_image",
)


def _read(
    source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True, task: _Task
) -> Published:
    """Opens the shards of one split; see `Published`.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, a column is missing, or it is another set.
    """
    source = Path(source)
    if (source / task.folder).is_dir():
        source = source / task.folder
    return read_shards(source, tolerance, task.layout, partial(_pairs, task=task), split=split, images=images)


read = partial(_read, task=_IMAGES)
read_edits = partial(_read, task=_EDITS)


def _pairs(row: Row, image: Images, *, task: _Task) -> Iterator[Pair]:
    vote = row.values["vote_type"]
    if not isinstance(vote, str) or vote not in LABELS:
        raise DataError(f"{row.place}: vote_type is {short(vote)}, expected one of {', '.join(LABELS)}; {MEND}")
    label = LABELS[vote]
    yield Pair(
        id=row.key,
        prompt=text_field(row.values, task.prompt, row.place),
        first=image(task.first),
        second=image(task.second),
        votes=WINNER[label],
        axis="preference",
        split=row.split,
        model_first=optional_text(row.values, "left_model", row.place),
        model_second=optional_text(row.values, "right_model", row.place),
        source=task.source,
        label=label,
        original=None if task.original is None else image(task.original),
    )
