"""GenAI-Bench of TIGER-Lab, image generation: parquet shards of two images and one person's vote of four kinds.

From the reference code and PROTOCOLS: `prompt, left_model, left_image, right_model, right_image` and `vote_type`, which
is `leftvote`, `rightvote`, `tievote` or `bothbad_vote`. The repository on the hub has a folder a task; this reads
`image_generation`, which holds two splits, an older version of the votes and a newer one (`train_v1` and `train`, later
`test_v1` and `test`): never both, or pairs count twice.

Another GenAI-Bench, of BaiqiL, has ratings from 1 to 5 of single images, and no votes; it is refused by name. The
images are assumed to be the hub's struct of bytes and path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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
    "left_output_image": "this is the image editing task; give the folder image_generation",
    "left_video": "this is the video task; give the folder image_generation",
}
_LAYOUT = Layout(("prompt", "vote_type"), ("left_model", "right_model"), ("left_image", "right_image"), _HINTS)


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of one split; see `Published`.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, a column is missing, or it is another set.
    """
    source = Path(source)
    if (source / "image_generation").is_dir():
        source = source / "image_generation"
    return read_shards(source, tolerance, _LAYOUT, _pairs, split=split, images=images)


def _pairs(row: Row, image: Images) -> Iterator[Pair]:
    vote = row.values["vote_type"]
    if not isinstance(vote, str) or vote not in LABELS:
        raise DataError(f"{row.place}: vote_type is {short(vote)}, expected one of {', '.join(LABELS)}; {MEND}")
    label = LABELS[vote]
    yield Pair(
        id=row.key,
        prompt=text_field(row.values, "prompt", row.place),
        first=image("left_image"),
        second=image("right_image"),
        votes=WINNER[label],
        axis="preference",
        split=row.split,
        model_first=optional_text(row.values, "left_model", row.place),
        model_second=optional_text(row.values, "right_model", row.place),
        source="genai-bench-tiger",
        label=label,
    )
