"""The one place where a pair is judged: Python, the shell, evaluation, training and the server all ask here.

`load` gives a `RewardModel`. Its `question` checks and decodes what a caller handed over, its `answer` judges any
number of questions together, and all else is made of these two. Nothing depends on file names, on the order of the
images, or on what else is judged.

What loads a model is imported when it is used; checking input, ranking and the reading of files need no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from earshot.judging.pictures import Picture, PictureLike, take_picture
from earshot.judging.question import Question
from earshot.judging.ranking import ImageRanking, RankedImage
from earshot.predictions.judgement import JudgedSample, Judgement

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel, describe, load

__all__ = [
    "ImageRanking",
    "JudgedSample",
    "Judgement",
    "Picture",
    "PictureLike",
    "Question",
    "RankedImage",
    "RewardModel",
    "describe",
    "load",
    "take_picture",
]


def __getattr__(name: str) -> Any:
    if name in ("RewardModel", "describe", "load"):
        return getattr(importlib.import_module("earshot.judging.model"), name)
    raise AttributeError(f"module 'earshot.judging' has no attribute '{name}'")
