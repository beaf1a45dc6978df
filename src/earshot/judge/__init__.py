"""The one place where a comparison is computed: Python, the shell and the server all ask here.

`load` gives a `RewardModel`. Its `question` checks and decodes what a caller handed over, its `answer` judges any number
of questions together, and all else is made of these two. Nothing depends on file names, on the order of the images, or on what else is judged.
"""

from earshot.judge.comparison import Comparison, Question, Trace
from earshot.judge.model import RewardModel, describe, load
from earshot.judge.pictures import Picture, PictureLike, take_picture
from earshot.judge.ranking import ImageRanking, RankedImage

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
