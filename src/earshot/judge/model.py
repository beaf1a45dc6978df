"""The reward model that users call: compare, rank and score, from a reasoner and perhaps a listener."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from earshot.errors import InputError
from earshot.images import DEFAULT_LIMITS, ImageLimits
from earshot.judge.comparison import Comparison, Question, check_prompt, check_seed, conclude
from earshot.judge.pictures import PictureLike, take_picture
from earshot.judge.ranking import ImageRanking, rank_images
from earshot.listener import Listener, ask
from earshot.listener.local import LocalListener
from earshot.listener.named import named_listener
from earshot.listener.remote import ChatListener, remote_listener
from earshot.protocol import RedactionLevel, redact_trace
from earshot.reasoner import Reasoner
from earshot.reasoner.remote import ChatReasoner
from earshot.remote import is_address
from earshot.types import Pair, Sample, Wanted
from earshot.vlm import load as load_vlm


@runtime_checkable
class Judges(Protocol):
    """Who writes the traces: `reasoner.Reasoner`, or anything that answers a pair by its id and seed alone."""

    def judge(self, pairs: Sequence[Pair], *, samples: int, seed: int, wanted: Wanted | None) -> list[list[Sample]]:
        """`samples` completions of each pair in each of the two orders of its images; anything for a pair that is no
        longer wanted."""
        ...


@dataclass(frozen=True)
class RewardModel:
    """Says which of two images people prefer for a prompt, ranks several, and scores them.

    The same pictures, prompt and seed give the same numbers, whatever the images are called or stored as, in whatever
    order they are given, and whatever else is judged with them.

    Attributes:
        reasoner: Who judges.
        listener: Who re-reads every trace without its answer; None asks nobody.
        samples: Completions for each order of the images.
        redaction: What a trace loses before the listener reads it.
        limits: What an image may be.
    """

    reasoner: Judges
    listener: Listener | None = None
    samples: int = 1
    redaction: RedactionLevel = "verdict"
    limits: ImageLimits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}, expected at least 1")

    def compare(self, *, prompt: str, first: PictureLike, second: PictureLike, seed: int = 0) -> Comparison:
        """Which of two images people prefer for a prompt, judged in both orders.

        Args:
            prompt: What the images were made from.
            first: An image: a path, bytes, a Pillow image or a uint8 array (height, width, 3).
            second: The other.
            seed: Of the sampling.

        Raises:
            InputError: The prompt is no text.
            ImageError: An image is refused; the message says which.
            ListenerUnavailable: The listener broke.
        """
        return self.answer([self.question(prompt=prompt, first=first, second=second, seed=seed)])[0]

    def compare_batch(
        self,
        *,
        prompts: Sequence[str],
        firsts: Sequence[PictureLike],
        seconds: Sequence[PictureLike],
        seed: int | Sequence[int] = 0,
    ) -> list[Comparison]:
        """`compare` for several pairs together, in one pass of the model where they fit.

        Args:
            prompts: One for each pair.
            firsts: Its first image.
            seconds: Its second image.
            seed: One for all, or one for each.

        Raises:
            InputError: The lists differ in length, or a prompt is no text.
            ImageError: An image is refused; the message says which, as `firsts[3]`.
            ListenerUnavailable: The listener broke.
        """
        seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
        if not len(prompts) == len(firsts) == len(seconds) == len(seeds):
            raise InputError(
                f"{len(prompts)} prompts, {len(firsts)} firsts, {len(seconds)} seconds and {len(seeds)} seeds, "
                "expected as many of each"
            )
        questions = [
            self._question(prompt, first, second, seed, (f"firsts[{k}]", f"seconds[{k}]"))
            for k, (prompt, first, second, seed) in enumerate(zip(prompts, firsts, seconds, seeds, strict=True))
        ]
        return self.answer(questions)

    def rank(self, *, prompt: str, images: Sequence[PictureLike], seed: int = 0) -> ImageRanking:
        """Ranks images of one prompt, 1 for the best, with Bradley–Terry strengths.

        Up to eight images meet each other once; more play Swiss rounds of at most n⌈log2 n⌉ comparisons in all.

        Args:
            prompt: What the images were made from.
            images: Two or more. Equal pictures share a rank.
            seed: Of the sampling and of the schedule.

        Raises:
            InputError: There are fewer than two images, or the prompt is no text.
            ImageError: An image is refused; the message says which, as `images[3]`.
            ListenerUnavailable: The listener broke.
        """
        if len(images) < 2:
            raise InputError(f"images: {len(images)} given, expected at least 2: a rank is a place among others")
        check_prompt(prompt)
        check_seed(seed)
        pictures = [take_picture(x, argument=f"images[{k}]", limits=self.limits) for k, x in enumerate(images)]

        def play(couples: Sequence[tuple[int, int]]) -> list[Comparison]:
            return self.answer([Question.of(prompt, pictures[i], pictures[j], seed) for i, j in couples])

        return rank_images([picture.digest for picture in pictures], play, seed=seed)

    def score(
        self,
        *,
        prompt: str,
        images: Sequence[PictureLike],
        references: Sequence[PictureLike] | None = None,
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
                    "at least 2 images of the prompt, or references=[...] to measure by"
                )
            return [image.strength.value for image in self.rank(prompt=prompt, images=images, seed=seed).images]
        if not references:
            raise InputError("references: none given, expected at least 1 image of the prompt")
        mine = [take_picture(x, argument=f"images[{k}]", limits=self.limits) for k, x in enumerate(images)]
        theirs = [take_picture(x, argument=f"references[{k}]", limits=self.limits) for k, x in enumerate(references)]
        answers = iter(self.answer([Question.of(prompt, a, b, seed) for a in mine for b in theirs]))
        known = [[p for _ in theirs if (p := next(answers).p_first) is not None] for _ in mine]
        return [sum(row) / len(row) if row else None for row in known]

    def question(self, *, prompt: str, first: PictureLike, second: PictureLike, seed: int = 0) -> Question:
        """A question that has been checked and decoded, for `answer`; no model is asked yet.

        Raises:
            InputError: The prompt is no text.
            ImageError: An image is refused; the message says which.
        """
        return self._question(prompt, first, second, seed, ("first", "second"))

    def answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Comparison]:
        """Judges questions together; they may differ in their seeds.

        Args:
            questions: What is asked.
            wanted: Whether the k-th of them is to be answered still; asked while it is. The answer to one that was not
                is worth nothing.

        Raises:
            ListenerUnavailable: The listener broke.
        """
        if not questions:
            return []
        pairs = [question.pair for question in questions]
        # The seed is part of the pair's id already.
        judged = self.reasoner.judge(pairs, samples=self.samples, seed=0, wanted=wanted)
        heard = self._heard(pairs, judged)
        return [conclude(*one) for one in zip(questions, judged, heard, strict=True)]

    def _question(
        self, prompt: str, first: PictureLike, second: PictureLike, seed: int, arguments: tuple[str, str]
    ) -> Question:
        one = take_picture(first, argument=arguments[0], limits=self.limits)
        other = take_picture(second, argument=arguments[1], limits=self.limits)
        return Question.of(prompt, one, other, seed)

    def _heard(self, pairs: Sequence[Pair], judged: Sequence[Sequence[Sample]]) -> list[list[float | None]]:
        """The listener's probability of the pair's first image, for every well-formed sample."""
        heard: list[list[float | None]] = [[None] * len(samples) for samples in judged]
        asked = [
            (row, k, sample)
            for row, samples in enumerate(judged)
            for k, sample in enumerate(samples)
            if sample.malformed is None
        ]
        if self.listener is None or not asked:
            return heard
        shown = [pairs[row] if sample.order == "forward" else pairs[row].swapped() for row, _, sample in asked]
        traces = [redact_trace(sample.trace, self.redaction) for *_, sample in asked]
        for (row, k, sample), p in zip(asked, ask(self.listener, shown, traces).tolist(), strict=True):
            heard[row][k] = p if sample.order == "forward" else 1.0 - p
        return heard


def load(
    model: str | Path,
    *,
    listener: str | Path | Listener | None = None,
    samples: int = 1,
    temperature: float = 1.0,
    max_new_tokens: int = 512,
    redaction: RedactionLevel = "verdict",
    batch_size: int = 16,
    device: str = "auto",
    dtype: str = "auto",
) -> RewardModel:
    """Loads a reward model; `earshot.load` is this.

    Args:
        model: The reasoner: a folder written by `save_pretrained`, a hub id, `world:reasoner`, or
            `http://HOST:PORT/v1#NAME` of an OpenAI-compatible server (its key in EARSHOT_REASONER_KEY).
        listener: A second model that re-reads the traces, named in the same way, or any `Listener`; also
            `http://HOST:PORT` of an `earshot serve` (key in EARSHOT_LISTENER_KEY).
        samples: Completions for each order of the images; their mean is taken.
        temperature: Of the sampling; 0 is greedy.
        max_new_tokens: Longer completions are cut, and malformed.
        redaction: What a trace loses before the listener reads it: `none`, `answer` or `verdict`.
        batch_size: Pairs, in one order, that are encoded at a time.
        device: `auto`, `cpu` or `cuda`; a GPU that was asked for and is not there is an error.
        dtype: `auto`, `float32` or `bfloat16`.

    Raises:
        InputError: An option makes no sense.
        ModelError: There is no such model, or it cannot be loaded.
    """
    if temperature < 0 or max_new_tokens < 1 or batch_size < 1:
        raise InputError(
            f"temperature is {temperature}, max_new_tokens {max_new_tokens} and batch_size {batch_size}, expected at "
            "least 0, 1 and 1"
        )
    if samples > 1 and temperature == 0:
        raise InputError("temperature 0 is greedy, so that several samples would be equal; use samples=1")
    how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": temperature, "batch_size": batch_size}
    reasoner: Judges
    if is_address(model):
        own = remote_listener(str(model), key=os.environ.get("EARSHOT_REASONER_KEY"))
        if not isinstance(own, ChatListener):
            raise InputError(f"{model}: an 'earshot serve' judges by itself; expected http://HOST:PORT/v1#NAME")
        reasoner = ChatReasoner(own, **how)
    else:
        reasoner = Reasoner(load_vlm(model, device=device, dtype=dtype).freeze(), **how)
    if isinstance(listener, str | Path):
        listener = named_listener(listener, batch_size=batch_size, device=device, dtype=dtype)
    return RewardModel(reasoner, listener=listener, samples=samples, redaction=redaction)


def describe(model: RewardModel) -> dict[str, Any]:
    """What a model's numbers depend on, besides pictures, prompt and seed: for the record of a job.

    Models are named, not placed: no path is in it. Hashing the weights of a large model takes some seconds.
    """
    told: dict[str, Any] = {"samples": model.samples, "redaction": model.redaction}
    if isinstance(model.reasoner, Reasoner):
        vlm = model.reasoner.vlm
        told |= {
            "model": {"name": vlm.name, "sha256": vlm.fingerprint(), "dtype": str(next(vlm.model.parameters()).dtype)},
            "temperature": model.reasoner.temperature,
            "max_new_tokens": model.reasoner.max_new_tokens,
        }
    elif isinstance(model.reasoner, ChatReasoner):
        one = model.reasoner
        told |= {"model": {"name": one.name}, "temperature": one.temperature, "max_new_tokens": one.max_new_tokens}
    if isinstance(model.listener, LocalListener):
        vlm = model.listener.vlm
        told["listener"] = {"name": vlm.name, "sha256": vlm.fingerprint()}
    elif model.listener is not None:
        told["listener"] = {"name": model.listener.name}
    return told
