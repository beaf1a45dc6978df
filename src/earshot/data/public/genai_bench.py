"""GenAI-Bench of TIGER-Lab, image generation: parquet shards of two images and one person's vote of four kinds.

From the reference code and PROTOCOLS: `prompt, left_model, left_image, right_model, right_image` and `vote_type`, which
is `leftvote`, `rightvote`, `tievote` or `bothbad_vote`. The repository on the hub has a folder a task; this reads
`image_generation`, which holds two splits, an older version of the votes and a newer one (`train_v1` and `train`, later
`test_v1` and `test`): never both, or pairs count twice.

Another GenAI-Bench, of BaiqiL, has ratings from 1 to 5 of single images, and no votes; it is refused by name. The
images are assumed to be the hub's struct of bytes and path.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from earshot.data.public import Published
from earshot.data.public.annotations import MEND, WINNER, Row, optional_text, pairs_of_rows, text_field
from earshot.data.public.parquet import column_names, embedded_image, find_shards, read_rows, shards_absent
from earshot.errors import DataError, short
from earshot.images import ImageFolder, Tolerance
from earshot.types import Label, Pair

_REQUIRED = ("prompt", "vote_type")
_IMAGES = ("left_image", "right_image")
_OPTIONAL = ("left_model", "right_model")
_LABELS: dict[str, Label] = {
    "leftvote": "first",
    "rightvote": "second",
    "tievote": "tie",
    "bothbad_vote": "both_bad",
}
_OTHER = "this is BaiqiL's GenAI-Bench, of ratings from 1 to 5; expected TIGER-Lab/GenAI-Bench, of votes on pairs"
_HINTS = {
    **dict.fromkeys(("HumanRatings", "Tags", "DALLE_3", "DALLE_3_HumanRating", "basic_skills"), _OTHER),
    "left_output_image": "this is the image editing task; give the folder image_generation",
    "left_video": "this is the video task; give the folder image_generation",
}


def read(source: Path, tolerance: Tolerance, *, split: str | None = None, images: bool = True) -> Published:
    """Opens the shards of one split; see `Published`.

    Raises:
        InputError: There is no such folder, file or split.
        DataError: There are no shards, several splits and none chosen, a column is missing, or it is another set.
    """
    source, by_rule = Path(source), Counter[str]()
    if (source / "image_generation").is_dir():
        source = source / "image_generation"
    shards = find_shards(source, split)
    present = column_names(shards, (*_REQUIRED, *(_IMAGES if images else ())), _HINTS)
    if missing := shards_absent(shards):
        by_rule["shards_absent"] = missing
    folder = ImageFolder(source if source.is_dir() else source.parent)
    rows = read_rows(shards, [*_REQUIRED, *(column for column in _OPTIONAL if column in present)], _IMAGES, images)
    pairs = pairs_of_rows(rows, tolerance, lambda row: [_pair(row, folder, images)])
    return Published(tuple(shard.file for shard in shards), pairs, embedded=True, by_rule=by_rule)


def _pair(row: Row, folder: ImageFolder, images: bool) -> Pair:
    vote = row.values["vote_type"]
    if not isinstance(vote, str) or vote not in _LABELS:
        raise DataError(f"{row.place}: vote_type is {short(vote)}, expected one of {', '.join(_LABELS)}; {MEND}")
    label = _LABELS[vote]
    return Pair(
        id=row.key,
        prompt=text_field(row.values, "prompt", row.place),
        first=embedded_image(row, "left_image", folder, images),
        second=embedded_image(row, "right_image", folder, images),
        votes=WINNER[label],
        axis="preference",
        split=row.split,
        model_first=optional_text(row.values, "left_model", row.place),
        model_second=optional_text(row.values, "right_model", row.place),
        source="genai-bench-tiger",
        label=label,
    )
