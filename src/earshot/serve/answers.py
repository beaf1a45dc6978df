"""What each route answers: blocking code that runs in a request's own thread and waits for the batches."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from earshot import __version__
from earshot.judging.pictures import Picture
from earshot.judging.question import Question
from earshot.judging.ranking import ImageRanking, rank_images
from earshot.judging.tournament import ALL_PAIRS_UP_TO, n_rounds
from earshot.predictions.judgement import Judgement
from earshot.serve.admission import Limits, Place
from earshot.serve.batching import Batcher, Engine, Hearing
from earshot.serve.bodies import check_prompt, check_text, decode_images
from earshot.serve.refusals import ClientGone, Refusal, late
from earshot.serve.requests import (
    BatchScoreRequest,
    CompareRequest,
    ComputeRequest,
    ListenRequest,
    RankRequest,
    ScoreItem,
    ScoreRequest,
)
from earshot.types import Pair, Votes

T = TypeVar("T")

WIN_RATE = "win_rate"
"""What the reward is called in UniRL's dialect."""


@dataclass
class Call:
    """One request under way: its place, its deadline, and what of it is with the batches."""

    place: Place
    deadline: float
    _over: bool = False
    _futures: list[Future[Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def shorten(self, start: float, timeout_s: float | None) -> None:
        """Heeds the client's own deadline, where it is the earlier one."""
        if timeout_s is not None:
            self.deadline = min(self.deadline, start + timeout_s)

    def wait(self, submit: Callable[[], Future[T]]) -> T:
        """The result of what is submitted.

        Raises:
            Refusal: It was not there in time, or failed.
            ClientGone: Nobody wants it any more.
        """
        with self._lock:
            if self._over:
                raise ClientGone
            future = submit()
            self._futures.append(future)
        try:
            return future.result(max(0.0, self.deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
            raise late() from None
        except CancelledError:
            raise ClientGone from None

    def over(self) -> None:
        """Takes back what is not answered yet."""
        with self._lock:
            self._over = True
            for future in self._futures:
                future.cancel()


@dataclass(frozen=True)
class Answers:
    """The routes' answers, in the fields that Python's methods of the same names have."""

    model: Engine
    batcher: Batcher
    limits: Limits
    max_new_tokens: int
    """The longest completion, for the count of tokens."""

    def compare(self, asked: CompareRequest, call: Call) -> dict[str, Any]:
        pictures = self._pictures(call, asked.prompt, [("first", asked.first), ("second", asked.second)], games=1)
        return self._play(call, asked.prompt, pictures, asked.seed)([(0, 1)])[0].as_dict()

    def rank(self, asked: RankRequest, call: Call) -> dict[str, Any]:
        return self._rank(call, asked.prompt, _numbered("images", asked.images), asked.seed).as_dict()

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
            ranking = self._rank(call, asked.prompt, images, asked.seed)
            return {"scores": [image.strength.value for image in ranking.images]}
        theirs = _numbered("references", asked.references)
        pictures = self._pictures(call, asked.prompt, [*images, *theirs], games=len(images) * len(theirs))
        couples = [(i, len(images) + j) for i in range(len(images)) for j in range(len(theirs))]
        answers = iter(self._play(call, asked.prompt, pictures, asked.seed)(couples))
        known = [[p for _ in theirs if (p := next(answers).p_first) is not None] for _ in images]
        return {"scores": [sum(row) / len(row) if row else None for row in known]}

    def listen(self, asked: ListenRequest, call: Call) -> dict[str, Any]:
        if self.model.listener is None:
            raise Refusal(404, "no_listener", "this server has no listener; start it with --listener")
        if asked.traces is not None and asked.trace is not None:
            raise Refusal(422, "invalid_request", "trace and traces are both given, expected one", param="traces")
        traces = [asked.trace] if asked.traces is None else asked.traces
        for k, trace in enumerate(traces):
            if trace is not None:
                check_text(trace, self.limits, "trace" if asked.traces is None else f"traces.{k}")
        check_prompt(asked.prompt, self.limits)
        call.place.take(tokens=sum(len(asked.prompt.encode()) + len((trace or "").encode()) for trace in traces))
        sources: list[tuple[str, str | bytes]] = [("first", asked.first), ("second", asked.second)]
        first, second = decode_images(sources, self.limits, call.place)
        key = "\0".join([asked.prompt, first.digest, second.digest])
        pair = Pair(
            hashlib.sha256(key.encode()).hexdigest()[:32], asked.prompt, first.image, second.image, Votes(0.0, 0.0)
        )
        hearings = [Hearing(pair, trace) for trace in traces]
        p_first = call.wait(lambda: self.batcher.listen(hearings, call.deadline))
        return {"p_first": p_first[0] if asked.traces is None else p_first, "listener": self.model.listener.name}

    def compute(self, asked: ComputeRequest, call: Call) -> dict[str, Any]:
        """Flow-Factory: `src/flow_factory/rewards/my_reward_remote.py` in X-GenGroup/Flow-Factory (commit 696af07)."""
        if len(asked.prompt) != len(asked.image):
            raise Refusal(422, "invalid_request", "there are not as many prompts as images", param="image")
        rates = self._group_rates(call, list(asked.prompt), _numbered("image", asked.image), asked.prompt)
        if lonely := [k for k, rate in enumerate(rates) if isinstance(rate, Refusal)]:
            raise Refusal(422, "group_of_one", _LONELY, param=f"image.{lonely[0]}")
        return {"rewards": rates}

    def score_batch(self, asked: BatchScoreRequest, call: Call) -> dict[str, Any]:
        """UniRL: `unirl/reward/remote.py` in Tencent-Hunyuan/UniRL (commit 0e713d6)."""
        items = asked.requests
        turns = [item.history[0] for item in items]
        images = [(f"requests.{k}.history.0.image_b64", turn.image_b64) for k, turn in enumerate(turns)]
        keys = [(item.group_id, turn.text) for item, turn in zip(items, turns, strict=True)]
        rates = self._group_rates(call, keys, images, [turn.text for turn in turns])
        told = [_told(item, rate) for item, rate in zip(items, rates, strict=True)]
        return {
            "protocol_version": "1",
            "results": [results for results, _ in told],
            "errors": [errors for _, errors in told],
            "identities": [_identity(item) for item in items],
        }

    def _group_rates(
        self, call: Call, keys: Sequence[Any], images: list[tuple[str, str | bytes]], prompts: Sequence[str]
    ) -> list[float | Refusal | None]:
        """Each image's win rate among those of its key; None where no comparison came out."""
        groups: dict[Any, list[int]] = {}
        for k, key in enumerate(keys):
            groups.setdefault(key, []).append(k)
        if len(images) > self.limits.images:
            raise Refusal(413, "too_many_images", f"there are more than {self.limits.images} images; send fewer")
        rates: list[float | Refusal | None] = [Refusal(422, "group_of_one", _LONELY)] * len(images)
        for places in groups.values():
            if len(places) > 1:
                ranking = self._rank(call, prompts[places[0]], [images[k] for k in places], seed=0)
                for k, image in zip(places, ranking.images, strict=True):
                    rates[k] = image.win_rate
        return rates

    def _rank(self, call: Call, prompt: str, images: list[tuple[str, str | bytes]], seed: int) -> ImageRanking:
        n = len(images)
        games = n * (n - 1) // 2 if n <= ALL_PAIRS_UP_TO else n_rounds(n) * (n // 2)
        pictures = self._pictures(call, prompt, images, games=games)
        play = self._play(call, prompt, pictures, seed)
        return rank_images([picture.digest for picture in pictures], play, seed=seed)

    def _pictures(self, call: Call, prompt: str, images: list[tuple[str, str | bytes]], *, games: int) -> list[Picture]:
        """Checks and decodes, once there is room for so many comparisons."""
        check_prompt(prompt, self.limits)
        completions = 2 * self.model.samples  # in both orders
        written = self.max_new_tokens
        call.place.take(tokens=games * (2 * len(prompt.encode()) + completions * written))
        return decode_images(images, self.limits, call.place)

    def _play(
        self, call: Call, prompt: str, pictures: list[Picture], seed: int
    ) -> Callable[[Sequence[tuple[int, int]]], list[Judgement]]:
        def play(couples: Sequence[tuple[int, int]]) -> list[Judgement]:
            questions = [Question.of(prompt, pictures[i], pictures[j], seed) for i, j in couples]
            return call.wait(lambda: self.batcher.compare(questions, call.deadline))

        return play


_LONELY = "the only image of its prompt in the request has no win rate; send a prompt's images together"


def _numbered(name: str, images: Sequence[str | bytes]) -> list[tuple[str, str | bytes]]:
    return [(f"{name}.{k}", image) for k, image in enumerate(images)]


def _told(item: ScoreItem, rate: float | Refusal | None) -> tuple[dict[str, Any], dict[str, str]]:
    """Results and errors of one image; what is in neither would be a 0 to the client."""
    results: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name in item.required_rewards:
        if name != WIN_RATE:
            errors[name] = f"there is no such reward here; expected {WIN_RATE}"
        elif isinstance(rate, float):
            results[name] = {WIN_RATE: rate}
        else:
            errors[name] = rate.message if isinstance(rate, Refusal) else "no comparison of the image came out"
    return results, errors


def _identity(item: ScoreItem) -> dict[str, Any]:
    names = ("request_id", "sample_id", "group_id", "source_rank", "policy_version", "idempotency_key")
    return {name: getattr(item, name) for name in names} | {"scorer_version": f"earshot-{__version__}"}
