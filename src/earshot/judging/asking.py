"""What a reward model is asked, wherever it is: comparing two pictures, ranking several, scoring them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from PIL.Image import Image

from earshot.errors import InputError
from earshot.judging.pictures import Picture, PictureLike, take_picture
from earshot.judging.points import Points, Reference, Scale, check_scale, load_reference, points_of
from earshot.judging.question import Question, check_prompt, check_seed
from earshot.judging.ranking import ImageRanking, rank_images, score_images
from earshot.predictions.judgement import Judgement


class Asked(Protocol):
    """Whoever answers questions can be asked in all these ways: a model that is loaded, or one that a server has."""

    def answer(self, questions: Sequence[Question]) -> list[Judgement]:
        """Judges questions together; they may differ in their seeds."""
        ...

    def identity(self) -> dict[str, Any]:
        """Which model it is, for a scale that was fitted for it."""
        ...

    def compare(
        self,
        prompt: str,
        first: PictureLike,
        second: PictureLike,
        *,
        original: PictureLike | None = None,
        seed: int = 0,
    ) -> Judgement:
        """Which of two images people prefer for a prompt, judged in both orders.

        Args:
            prompt: What the images were made from; with an original, how it was to be edited.
            first: An image: a path, bytes, a Pillow image or a uint8 array (height, width, 3).
            second: The other. The same picture twice is one half, without a side, and nobody is asked.
            original: The picture of which both are edits, for a model that is asked about edits.
            seed: Of the sampling.

        Raises:
            InputError: The prompt is no text, or longer than the model's context; or the model is asked about edits,
                and there is no original, or the other way round.
            ImageError: An image is refused; the message says which.
            ListenerUnavailable: A listener broke.
        """
        question = self.question(prompt=prompt, first=first, second=second, original=original, seed=seed)
        one, two = question.pair.first, question.pair.second
        assert isinstance(one, Image) and isinstance(two, Image)
        return replace(self.answer([question])[0], pictures=(two, one) if question.turned else (one, two))

    def rank(
        self, prompt: str, images: Sequence[PictureLike], *, original: PictureLike | None = None, seed: int = 0
    ) -> ImageRanking:
        """Ranks images of one prompt, 1 for the best, with Bradley–Terry strengths.

        Up to eight images meet each other once; more play Swiss rounds of at most n⌈log2 n⌉ comparisons in all.

        Args:
            prompt: What the images were made from.
            images: Two or more. Equal pictures share a rank.
            original: The picture of which all are edits, for a model that is asked about edits.
            seed: Of the sampling and of the schedule.

        Raises:
            InputError: There are fewer than two images, or the prompt is no text, or too long.
            ImageError: An image is refused; the message says which, as `images[3]`.
            ListenerUnavailable: The listener broke.
        """
        if len(images) < 2:
            raise InputError(f"images: {len(images)} given, expected at least 2: a rank is a place among others")
        check_prompt(prompt)
        check_seed(seed)
        pictures = [take_picture(x, argument=f"images[{k}]") for k, x in enumerate(images)]
        ranking = rank_images(prompt, pictures, self.answer, seed=seed, original=_original(original))
        return replace(ranking, pictures=tuple(picture.image for picture in pictures))

    def score(
        self,
        prompt: str,
        images: Sequence[PictureLike],
        *,
        references: Sequence[PictureLike] | None = None,
        original: PictureLike | None = None,
        seed: int = 0,
    ) -> list[float | None]:
        """A number for each image, higher for what people prefer.

        Without references the images are scored against each other: Bradley–Terry log-odds against the average of the
        list, as `rank` finds them, which mean nothing outside it. With references each image is compared with each of
        them, and its score is the mean probability of being preferred, in [0, 1]; scores of different calls with the
        same references can be compared.

        Args:
            prompt: What the images were made from.
            images: Two or more, or any number with references.
            references: Images of the same prompt to measure by.
            original: The picture of which all are edits, for a model that is asked about edits.
            seed: Of the sampling.

        Returns:
            None for an image of which no comparison came out.

        Raises:
            InputError: There is one image and no reference: this model compares, and knows no absolute scale.
            ImageError: An image is refused.
            ListenerUnavailable: The listener broke.
        """
        if references is None:
            if len(images) == 1:
                raise InputError(
                    "images: 1 given without references; this model compares images and has no absolute scale, so give "
                    "at least 2 images of the prompt, or references=[...] to measure by, as in ImageRewardStyle(model, "
                    "references=[...])"
                )
            ranking = self.rank(prompt=prompt, images=images, original=original, seed=seed)
            return [image.strength.value for image in ranking.images]
        if not references:
            raise InputError("references: none given, expected at least 1 image of the prompt")
        mine = [take_picture(x, argument=f"images[{k}]") for k, x in enumerate(images)]
        theirs = [take_picture(x, argument=f"references[{k}]") for k, x in enumerate(references)]
        return score_images(prompt, mine, theirs, self.answer, seed=seed, original=_original(original))

    def points(
        self,
        prompt: str,
        images: Sequence[PictureLike],
        *,
        against: Reference | str | Path,
        scale: Scale | None = None,
        seed: int = 0,
    ) -> list[Points]:
        """One number for each image by itself, with an interval: how it does against the pictures of a reference.

        Each image is compared with each picture of the reference, in both orders, always for the image's own prompt,
        whatever the reference's pictures were made from. Points of different calls can be compared as far as model and
        reference are the same.

        Args:
            prompt: What the images were made from.
            images: Any number; one does not change another's points.
            against: A reference, a pair set, a folder of images, or `world`, which ships with Earshot and measures
                pictures of the synthetic world.
            scale: What points are worth to people (`earshot scale`); None gives win rates alone.
            seed: Of the sampling.

        Raises:
            InputError: The prompt is no text or too long, there is no such reference, or the scale is of another model
                or reference.
            ImageError: An image is refused.
            ListenerUnavailable: A listener broke.
        """
        reference = against if isinstance(against, Reference) else load_reference(against)
        if scale is not None:
            check_scale(scale, reference, self.identity())
        pictures = [take_picture(x, argument=f"images[{k}]") for k, x in enumerate(images)]
        return points_of(prompt, pictures, reference, self.answer, scale=scale, seed=seed)

    def question(
        self,
        *,
        prompt: str,
        first: PictureLike,
        second: PictureLike,
        original: PictureLike | None = None,
        seed: int = 0,
    ) -> Question:
        """A question that has been checked and decoded, for `answer`; no model is asked yet.

        Args:
            prompt: What the images were made from.
            first: An image, as for `compare`.
            second: The other.
            original: The picture of which both are edits.
            seed: Of the sampling.

        Raises:
            InputError: The prompt is no text.
            ImageError: An image is refused; the message says which.
        """
        one = take_picture(first, argument="first")
        two = take_picture(second, argument="second")
        return Question.of(prompt, one, two, seed, _original(original))


def _original(source: PictureLike | None) -> Picture | None:
    return None if source is None else take_picture(source, argument="original")
