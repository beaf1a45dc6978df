"""The one place where a comparison is computed: Python, the shell and the server all ask here.

`load` gives a `RewardModel`. Its `question` checks and decodes what a caller handed over, its `answer` judges any
number of questions together, and all else is made of these two. Nothing depends on file names, on the order of the
images, or on what else is judged.

What loads a model is imported when it is used; checking input, ranking and the reading of files need no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from earshot.judge.comparison import Comparison, Question, Trace
from earshot.judge.pictures import Picture, PictureLike, take_picture
from earshot.judge.ranking import ImageRanking, RankedImage

if TYPE_CHECKING:
    from earshot.judge.model import RewardModel, describe, load

__all__ = [
    "Comparison",
    "ImageRanking",
    "Picture",
    "PictureLike",
    "Question",
    "RankedImage",
    "RewardModel",
    "Trace",
    "describe",
    "load",
    "take_picture",
]


def __getattr__(name: str) -> Any:
    if name in ("RewardModel", "describe", "load"):
        return getattr(importlib.import_module("earshot.judge.model"), name)
    raise AttributeError(f"module 'earshot.judge' has no attribute '{name}'")
