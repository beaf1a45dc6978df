"""What each route answers: blocking code that runs in a request's own thread and waits for the batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from earshot import __version__
from earshot.judging.pictures import Picture
from earshot.judging.question import Question
from earshot.judging.ranking import ImageRanking, rank_images, score_images
from earshot.judging.tournament import ALL_PAIRS_UP_TO, n_rounds
from earshot.measured import side_by_side
from earshot.predictions.judgement import Judgement
from earshot.serve.admission import Limits
from earshot.serve.batching import Batcher
from earshot.serve.bodies import check_prompt, check_text, decode_images
from earshot.serve.calls import Call
from earshot.serve.decoding import Decode, decode_here
from earshot.serve.engine import Engine, asks_about_edits, note_of
from earshot.serve.queueing import Hearing
from earshot.serve.refusals import Refusal
from earshot.serve.requests import (
    BatchScoreRequest,
    CompareRequest,
    ComputeRequest,
    ListenRequest,
    PickledRequest,
    RankRequest,
    ScoreItem,
    ScoreRequest,
)

WIN_RATE = "win_rate"
"""What the reward is called in UniRL's dialect."""


@dataclass(frozen=True)
class Answers:
    """The routes' answers, in the fields that Python's methods of the same names have."""

    model: Engine
    batcher: Batcher
    limits: Limits
    max_new_tokens: int
    """The longest completion, for the count of tokens."""
    decode: Decode = decode_here

    def compare(self, asked: CompareRequest, call: Call) -> dict[str, Any]:
        images = [("first", asked.first), ("second", asked.second)]
        (first, second), original = self._pictures(call, asked.prompt, images, asked.original, games=1)
        told = self._ask(call, [Question.of(asked.prompt, first, second, asked.seed, original)])[0]
        beside = side_by_side(first.image, second.image)
        return told.as_dict() | {"note": note_of(self.model), "measured": beside}

    def rank(self, asked: RankRequest, call: Call) -> dict[str, Any]:
        ranking = self._rank(call, asked.prompt, _numbered("images", asked.images), asked.seed, asked.original)
        return ranking.as_dict() | {"note": note_of(self.model)}

    def score(self, asked: ScoreRequest, call: Call) -> dict[str, Any]:
        images = _numbered("images", asked.images)
        if asked.references is None:
            if len(images) == 1:
                raise Refusal(
                    422,
                    "group_of_one",
                    "one image without references has no score, for the model compares; send at least 2, or references",
                    param="images",
                )
            ranking = self._rank(call, asked.prompt, images, asked.seed, asked.original)
            return {"scores": [image.strength.value for image in ranking.images]}
        theirs = _numbered("references", asked.references)
        games = len(images) * len(theirs)
        pictures, original = self._pictures(call, asked.prompt, [*images, *theirs], asked.original, games=games)
        mine, references = pictures[: len(images)], pictures[len(images) :]
        ask = partial(self._ask, call)
        return {"scores": score_images(asked.prompt, mine, references, ask, seed=asked.seed, original=original)}

    def listen(self, asked: ListenRequest, call: Call) -> dict[str, Any]:
        if self.model.listener is None:
            raise Refusal(404, "no_listener", "this server has no listener; start it with --listener")
        traces = [check_text(trace or "", self.limits, f"traces.{k}") for k, trace in enumerate(asked.traces)]
        check_prompt(asked.prompt, self.limits)
        call.take(tokens=sum(len(asked.prompt.encode()) + len(trace.encode()) for trace in traces))
        sources: list[tuple[str, str | bytes]] = [("first", asked.first), ("second", asked.second)]
        (first, second), original = self._decoded(call, sources, asked.original)
        question = Question.of(asked.prompt, first, second, seed=0, original=original)
        pair = question.pair.swapped() if question.turned else question.pair  # the images as given
        hearings = [Hearing(pair, trace) for trace in asked.traces]
        p_first = call.wait(lambda: self.batcher.listen(hearings, call.deadline, call.client))
        return {"p_first": p_first, "listener": self.model.listener.name}

    def compute(self, asked: ComputeRequest, call: Call) -> dict[str, Any]:
        """Flow-Factory: `src/flow_factory/rewards/my_reward_remote.py` in X-GenGroup/Flow-Factory (commit 696af07)."""
        return {"rewards": self._all_rates(call, asked.prompt, _numbered("image", asked.image))}

    def pickled(self, asked: PickledRequest, call: Call) -> dict[str, Any]:
        """verl-omni: `examples/reward_servers/pickscore_http_server.py` (scores); Flow-GRPO's servers (outputs).

        Where no comparison came out there is NaN: a number that trainers would take for a score is none.
        """
        rates = self._all_rates(call, asked.prompts, _numbered("images", asked.images))
        scores = [math.nan if rate is None else float(rate) for rate in rates]
        return {"scores": scores, "outputs": scores}

    def _all_rates(
        self, call: Call, prompts: Sequence[str], images: list[tuple[str, str | bytes]]
    ) -> list[float | None]:
        """The win rate of each image among those of its prompt.

        Raises:
            Refusal: There are not as many prompts as images, or an image is alone.
        """
        if len(prompts) != len(images):
            name = images[0][0].partition(".")[0]
            raise Refusal(422, "invalid_request", "there are not as many prompts as images", param=name)
        rates = self._win_rates(call, prompts, images, prompts)
        if lonely := [name for k, (name, _) in enumerate(images) if k not in rates]:
            raise Refusal(422, "group_of_one", _LONELY, param=lonely[0])
        return [rates[k] for k in range(len(images))]

    def score_batch(self, asked: BatchScoreRequest, call: Call) -> dict[str, Any]:
        """UniRL: `unirl/reward/remote.py` in Tencent-Hunyuan/UniRL (commit 0e713d6)."""
        items = asked.requests
        turns = [item.history[0] for item in items]
        images = [(f"requests.{k}.history.0.image_b64", turn.image_b64) for k, turn in enumerate(turns)]
        keys = [(item.group_id, turn.text) for item, turn in zip(items, turns, strict=True)]
        rates = self._win_rates(call, keys, images, [turn.text for turn in turns])
        why = ["no comparison of the image came out" if k in rates else _LONELY for k in range(len(items))]
        told = [_told(item, rates.get(k), why[k]) for k, item in enumerate(items)]
        return {
            "protocol_version": "1",
            "results": [results for results, _ in told],
            "errors": [errors for _, errors in told],
            "identities": [_identity(item) for item in items],
        }

    def _win_rates(
        self, call: Call, keys: Sequence[Any], images: list[tuple[str, str | bytes]], prompts: Sequence[str]
    ) -> dict[int, float | None]:
        """The images' win rates among those of their key; None where no comparison came out. One alone has no place."""
        groups: dict[Any, list[int]] = {}
        for k, key in enumerate(keys):
            groups.setdefault(key, []).append(k)
        if len(images) > self.limits.images:
            raise Refusal(413, "too_many_images", f"there are more than {self.limits.images} images; send fewer")
        rates: dict[int, float | None] = {}
        for places in groups.values():
            if len(places) > 1:
                ranking = self._rank(call, prompts[places[0]], [images[k] for k in places], seed=0)
                rates |= zip(places, (image.win_rate for image in ranking.images), strict=True)
        return rates

    def _rank(
        self,
        call: Call,
        prompt: str,
        images: list[tuple[str, str | bytes]],
        seed: int,
        original: str | bytes | None = None,
    ) -> ImageRanking:
        n = len(images)
        games = n * (n - 1) // 2 if n <= ALL_PAIRS_UP_TO else n_rounds(n) * (n // 2)
        pictures, edited = self._pictures(call, prompt, images, original, games=games)
        return rank_images(prompt, pictures, partial(self._ask, call), seed=seed, original=edited)

    def _pictures(
        self,
        call: Call,
        prompt: str,
        images: list[tuple[str, str | bytes]],
        original: str | bytes | None,
        *,
        games: int,
    ) -> tuple[list[Picture], Picture | None]:
        """Checks and decodes, once there is room for so many comparisons."""
        check_prompt(prompt, self.limits)
        in_an_order = len(prompt.encode()) + self.model.samples * self.max_new_tokens
        call.take(tokens=2 * games * in_an_order)
        return self._decoded(call, images, original)

    def _decoded(
        self, call: Call, images: list[tuple[str, str | bytes]], original: str | bytes | None
    ) -> tuple[list[Picture], Picture | None]:
        """Images, and the original of which they are edits.

        Raises:
            Refusal: There is one, and the model is not asked about edits, or the other way round.
        """
        if asks_about_edits(self.model) != (original is not None):
            asks = "edits, so send their original" if original is None else "images of a prompt, without an original"
            raise Refusal(422, "original", f"this server's model is asked about {asks}", param="original")
        if original is None:
            return decode_images(images, self.limits, call, self.decode), None
        *pictures, edited = decode_images([*images, ("original", original)], self.limits, call, self.decode)
        return pictures, edited

    def _ask(self, call: Call, questions: Sequence[Question]) -> list[Judgement]:
        return call.wait(lambda: self.batcher.compare(questions, call.deadline, call.client))


_LONELY = "the only image of its prompt in the request has no win rate; send a prompt's images together"


def _numbered(name: str, images: Sequence[str | bytes]) -> list[tuple[str, str | bytes]]:
    return [(f"{name}.{k}", image) for k, image in enumerate(images)]


def _told(item: ScoreItem, rate: float | None, why_none: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Results and errors of one image; what is in neither would be a 0 to the client."""
    results: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name in item.required_rewards:
        if name != WIN_RATE:
            errors[name] = f"there is no such reward here; expected {WIN_RATE}"
        elif rate is not None:
            results[name] = {WIN_RATE: rate}
        else:
            errors[name] = why_none
    return results, errors


def _identity(item: ScoreItem) -> dict[str, Any]:
    return {**item.model_dump(exclude={"history", "required_rewards"}), "scorer_version": f"earshot-{__version__}"}
