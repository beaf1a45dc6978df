"""The claim-checking listener: a frozen model is asked of each claim of a trace whether it is true of its image.

A listener that reads a whole trace can be talked into things: it was shown to reward traces that are persuasive and
false (METHOD.md, last section). Here the model sees one image and one claim at a time, and no argument. What is a claim
depends on the language of the traces (`protocol.PromptSet`): sentences in free text, the world's own grammar there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from transformers import BatchFeature

from earshot.errors import InputError, ModelError
from earshot.images import DEFAULT_LIMITS, ImageLimits, load_image
from earshot.listener import checked
from earshot.listener.controls import grey_like
from earshot.protocol import Claim, claim_messages, defuse, split_claims
from earshot.rewards import claims_reward
from earshot.types import ImageSource, Pair
from earshot.vlm import Vlm, answer_tokens
from earshot.vlm.prefix import encode_prefix, suffix_logits

SplitClaims = Callable[[str], list[Claim]]

_PLACE = "\x1aclaim\x1a"  # where the claim goes in a rendered conversation; no template writes this


@runtime_checkable
class Checker(Protocol):
    """Who says whether a claim is true of an image."""

    @property
    def name(self) -> str:
        """What logs and reports call it."""
        ...

    def p_yes(self, images: Sequence[ImageSource], claims: Sequence[str]) -> Float[np.ndarray, " n"]:
        """Probability that each claim is true of the image beside it.

        Raises:
            ListenerUnavailable: It broke. A failure is never a number.
        """
        ...


class Heard(NamedTuple):
    """One claim of a trace and how far it is believed, both in [0, 1] and in the trace's sense.

    Attributes:
        claim: What was claimed of which image.
        believed: p(yes), or 1 − p(yes) where the trace denies it.
        prior: The same of a grey image; None where that was not asked.
    """

    claim: Claim
    believed: float
    prior: float | None = None

    @property
    def worth(self) -> float:
        """How far it is believed beyond what a grey image is, where that was asked."""
        return self.believed - (self.prior or 0.0)


def pay_claims(heard: Sequence[Heard], at_least: int = 1) -> float | None:
    """What the claims of a trace earn (`rewards.claims_reward`), less their priors where these were asked."""
    priors = [one.prior for one in heard if one.prior is not None]
    return claims_reward([one.believed for one in heard], priors=priors or None, at_least=at_least)


@dataclass(frozen=True)
class ClaimQuestion:
    """How a model is asked of a claim: the conversation in its own format, in two pieces around the claim.

    Attributes:
        head: With the image's place, up to the claim.
        tail: From the claim on, with the beginning of the answer.
        answers: Ids of the tokens that then say yes and no.
    """

    head: str
    tail: str
    answers: tuple[int, ...]

    @classmethod
    def of(cls, vlm: Vlm) -> ClaimQuestion:
        """That of a model.

        Raises:
            ModelError: An answer is not a single token there, so that no one logit is its probability.
        """
        messages = claim_messages(_PLACE, vlm.prompts)
        head, _, tail = vlm.rendered(messages).partition(_PLACE)
        if vlm.opened:  # there is nothing to think about: the answer stands after an empty block
            tail += f"{vlm.prompts.trace_end}\n\n"
        words = vlm.prompts.claims
        tail += words.prefill
        place = answer_tokens(vlm, tail, (words.yes, words.no))
        for answer in (words.yes, words.no):  # pieces of words are no sign that a model knows the words
            if len(vlm.tokenizer(tail + answer, add_special_tokens=False)["input_ids"]) != place.before + 1:
                raise ModelError(
                    f"{vlm.name}: the answer {answer!r} is not a single token in this tokenizer; choose another model"
                )
        return cls(head, tail + place.begun, place.ids)

    def prompts(self, vlm: Vlm, images: Sequence[Image.Image]) -> BatchFeature:
        """The heads of these images, one a row, padded on the left, on the model's device."""
        return vlm.processed([self.head] * len(images), vlm.seen([[image] for image in images])).to(vlm.device)

    def suffixes(self, vlm: Vlm, claims: Sequence[str]) -> list[list[int]]:
        """Token ids of each claim, defused, with the tail: what continues a head."""
        unsafe = vlm.control_tokens.union(vlm.prompts.tags)
        texts = [f"{defuse(claim, unsafe)}{self.tail}" for claim in claims]
        ids: list[list[int]] = vlm.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return ids


@dataclass
class LocalChecker:
    """p(yes) by softmax over the logits of the two answer tokens, of a frozen model that is shown one image.

    Image and question up to the claim are a prefix, computed once for all claims about an image.

    Attributes:
        vlm: The model; freeze it first.
        batch_size: Images encoded at a time; up to eight times as many questions are read at a time.
    """

    vlm: Vlm
    name: str = "checker"
    batch_size: int = 64
    limits: ImageLimits = DEFAULT_LIMITS
    _question: ClaimQuestion = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._question = ClaimQuestion.of(self.vlm)

    def p_yes(self, images: Sequence[ImageSource], claims: Sequence[str]) -> Float[np.ndarray, " n"]:
        """See `Checker.p_yes`. Equal images, and equal claims about one, are computed once.

        Raises:
            ListenerUnavailable: A logit is not finite.
            ImageError: An image is refused.
        """
        asked: dict[object, dict[str, list[int]]] = {}
        sources: dict[object, ImageSource] = {}
        for row, (image, claim) in enumerate(zip(images, claims, strict=True)):
            key = image if isinstance(image, Path | bytes) else id(image)
            sources[key] = image
            asked.setdefault(key, {}).setdefault(claim, []).append(row)
        p = np.full(len(claims), np.nan)
        keys = list(asked)
        together = self.batch_size if self.vlm.shares_prompts else 1
        for start in range(0, len(keys), together):
            batch = keys[start : start + together]
            questions = [(owner, claim) for owner, key in enumerate(batch) for claim in asked[key]]
            answers = self._read([sources[key] for key in batch], questions)
            for (owner, claim), value in zip(questions, answers.tolist(), strict=True):
                p[asked[batch[owner]][claim]] = value
        return checked(p, name=self.name)

    def _read(self, images: Sequence[ImageSource], questions: Sequence[tuple[int, str]]) -> np.ndarray:
        vlm, question = self.vlm, self._question
        inputs = question.prompts(vlm, [load_image(image, limits=self.limits, where="claims") for image in images])
        suffixes = question.suffixes(vlm, [claim for _, claim in questions])
        with vlm.reading():
            prefix = encode_prefix(vlm.model, inputs)
            logits = []
            for start in range(0, len(questions), rows := 8 * self.batch_size):
                owners = [owner for owner, _ in questions[start : start + rows]]
                logits.append(
                    suffix_logits(
                        vlm.model, prefix, owners, suffixes[start : start + rows], pad_id=vlm.tokenizer.pad_token_id
                    )[:, list(question.answers)]
                )
        return torch.softmax(torch.cat(logits).double(), dim=-1)[:, 0].cpu().numpy()


@dataclass(frozen=True)
class ClaimListener:
    """Cuts traces into claims and has each checked; of several checkers the mean is taken.

    Attributes:
        checkers: Who is asked; all are asked every claim.
        split: How a trace is cut into claims.
        with_prior: Also ask each claim of a grey image of the same size.
    """

    checkers: tuple[Checker, ...]
    split: SplitClaims = split_claims
    with_prior: bool = False

    @property
    def name(self) -> str:
        return f"claims-{'-'.join(checker.name for checker in self.checkers)}"

    def hear(self, pairs: Sequence[Pair], traces: Sequence[str]) -> list[list[Heard]]:
        """The distinct claims of each trace and how far they are believed, in order.

        Args:
            pairs: The pairs as shown, one for each trace.
            traces: Without their conclusions (`redact_trace(trace, "verdict")`).

        Raises:
            InputError: There are not as many traces as pairs, or a pair is one of edits, of whose traces it is not
                known which claims are about the original.
            ListenerUnavailable: A checker broke.
            ImageError: An image is refused.
        """
        if len(pairs) != len(traces):
            raise InputError(f"claims: {len(traces)} traces for {len(pairs)} pairs, expected as many")
        if edit := next((pair for pair in pairs if pair.original is not None), None):
            raise InputError(
                f"claims: pair '{edit.id}' has an original image, and checkers know claims about two images alone; "
                "leave the checker out"
            )
        # A claim that is made twice is one claim: repeating what is surely believed must not pay.
        rows = [(row, claim) for row, trace in enumerate(traces) for claim in dict.fromkeys(self.split(trace))]
        images = [pairs[row].first if claim.image == "first" else pairs[row].second for row, claim in rows]
        texts = [claim.text for _, claim in rows]
        believed = self._ask(images, texts)
        priors: list[float] | list[None] = [None] * len(rows)
        if self.with_prior:
            priors = self._ask(_greyed(images), texts)
        heard: list[list[Heard]] = [[] for _ in pairs]
        for (row, claim), p, prior in zip(rows, believed, priors, strict=True):
            heard[row].append(Heard(claim, _in_sense(p, claim), None if prior is None else _in_sense(prior, claim)))
        return heard

    def _ask(self, images: Sequence[ImageSource], texts: Sequence[str]) -> list[float]:
        if not texts:
            return []
        given = [checked(c.p_yes(images, texts), name=c.name, n=len(texts)) for c in self.checkers]
        return list(np.mean(given, axis=0).tolist())


def _in_sense(p_yes: float, claim: Claim) -> float:
    return 1.0 - p_yes if claim.denied else p_yes


def _greyed(images: Sequence[ImageSource]) -> list[ImageSource]:
    """A grey image for each, each image looked at once."""
    greys = {key: grey_like(image) for key, image in {id(image): image for image in images}.items()}
    return [greys[id(image)] for image in images]
