"""ImageReward's two methods: `score(prompt, image)` and `inference_rank(prompt, images)`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from earshot.judging.pictures import PictureLike

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel


@dataclass(frozen=True)
class ImageRewardStyle:
    """A reward model with the methods of `ImageReward.load(...)`.

    What differs, because this model compares: numbers are Bradley–Terry strengths against the other images of the
    call, or mean probabilities of beating `references`; they are not the values of an absolute scale, and a single
    image without references is refused. Equal images share a rank. An image of which no comparison came out is NaN.

    Attributes:
        model: Who judges.
        references: Images of the prompt to measure by, for every call.
        seed: Of the sampling.

    Source of the shapes: `ImageReward/ImageReward.py` in the repository THUDM/ImageReward (commit 0f5fa3e).
    """

    model: RewardModel
    references: Sequence[PictureLike] | None = None
    seed: int = 0

    def score(self, prompt: str, image_path: PictureLike) -> float | list[float]:
        """A number for each image, higher for what people prefer.

        Args:
            prompt: What the images were made from.
            image_path: One image, or a list of them; each is what `RewardModel.compare` takes.

        Returns:
            A float for one image, a list for a list: log-odds against the average of the list, or with `references`
            the mean probability of being preferred to one, in [0, 1].

        Raises:
            InputError: There is one image and no reference.
            ImageError: An image is refused.
        """
        several = isinstance(image_path, list | tuple)
        images = list(image_path) if several else [image_path]
        scores = self.model.score(prompt=prompt, images=images, references=self.references, seed=self.seed)
        numbers = [math.nan if score is None else score for score in scores]
        return numbers if several else numbers[0]

    def inference_rank(self, prompt: str, generations_list: Sequence[PictureLike]) -> tuple[list[int], list[float]]:
        """Ranks, 1 for the best, and strengths, each in the order of the images.

        Args:
            prompt: What the images were made from.
            generations_list: Two images or more.

        Returns:
            Ranks, and log-odds against the average of the list. An image of which no comparison came out is last, with
            a strength of NaN.

        Raises:
            InputError: There are fewer than two images.
            ImageError: An image is refused.
        """
        images = self.model.rank(prompt=prompt, images=generations_list, seed=self.seed).images
        strengths = [math.nan if image.strength.value is None else image.strength.value for image in images]
        return [len(images) if image.rank is None else image.rank for image in images], strengths
