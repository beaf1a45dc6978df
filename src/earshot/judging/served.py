"""A reward model that `earshot serve` has, asked over HTTP with the methods of one that is loaded; without torch."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image

from earshot import __version__
from earshot.errors import InputError, RemoteError
from earshot.judging.asking import Asked
from earshot.judging.pictures import PictureLike
from earshot.judging.points import Points, Reference, Scale
from earshot.judging.question import Question
from earshot.judging.ranking import ImageRanking
from earshot.predictions.judgement import JudgedSample, Judgement
from earshot.remote import ABOUT_IT, Endpoint, is_address, parse_address

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel

KEY_ENV: Final = "EARSHOT_SERVER_KEY"
_LOOK_S, _LOOK_AGAIN_S = 5.0, 1.0


class Client(Asked):
    """`earshot.Client("http://HOST:PORT")`: compare, rank and score as `earshot.load` gives them, judged by a server.

    Model, listeners, samples and who decides are the server's. Connections are kept; several questions are asked at a
    time; what may pass (no room, a restart) is tried again when the server says, for as long as the patience.

    Args:
        url: Of an `earshot serve`.
        key: What it asks for; EARSHOT_SERVER_KEY by default.
        concurrency: Questions at a time.
        timeout_s: How long one attempt may take.
        patience_s: How long a question is tried again.

    Attributes:
        url: Of the server.
        version: The server's version of Earshot.
        note: What to know before the first verdict, once the server has said it.

    Raises:
        InputError: It is no address of such a server, nobody answers there, or the key is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        concurrency: int = 8,
        timeout_s: float = 60.0,
        patience_s: float = 60.0,
    ) -> None:
        address = parse_address(url)
        if address.chat or address.model is not None:
            raise InputError(f"{url}: expected http://HOST:PORT of 'earshot serve', without /v1 and #NAME")
        key = key or os.environ.get(KEY_ENV) or None
        self.url = address.url
        self.note: str | None = None
        self.version = _version(Endpoint(self.url, key=key, concurrency=1, timeout_s=_LOOK_S, patience_s=_LOOK_AGAIN_S))
        self._endpoint = Endpoint(
            self.url, key=key, concurrency=concurrency, timeout_s=timeout_s, patience_s=patience_s
        )

    def identity(self) -> dict[str, Any]:
        """What is known of the server's model: the version of its Earshot."""
        return {"name": "earshot serve", "version": self.version}

    def answer(self, questions: Sequence[Question]) -> list[Judgement]:
        """Judges questions; the first one that is refused ends all.

        Args:
            questions: What is asked.

        Raises:
            InputError: The server refuses a question.
            RemoteError: It does not answer, or answers what cannot be read.
        """
        return self._endpoint.map(self._ask, questions)

    def try_answer(self, questions: Sequence[Question]) -> list[Judgement | InputError]:
        """`answer`, with the error in the place of a question that is refused; the others are answered.

        Args:
            questions: What is asked.

        Raises:
            RemoteError: As `answer`.
        """

        def one(question: Question) -> Judgement | InputError:
            try:
                return self._ask(question)
            except InputError as error:
                return error

        return self._endpoint.map(one, questions)

    def _ask(self, question: Question) -> Judgement:
        pair = question.pair.swapped() if question.turned else question.pair
        assert isinstance(pair.first, Image.Image)
        assert isinstance(pair.second, Image.Image)
        body = {"prompt": pair.prompt, "first": _png(pair.first), "second": _png(pair.second), "seed": question.seed}
        if pair.original is not None:
            assert isinstance(pair.original, Image.Image)
            body["original"] = _png(pair.original)
        try:
            told = self._endpoint.post("/v1/compare", body)
        except RemoteError as error:
            if error.status in ABOUT_IT:
                raise InputError(str(error)) from error
            raise
        try:
            judged = _judgement(told)
        except (KeyError, TypeError) as error:
            raise RemoteError(
                f"{self.url}: the answer of Earshot {self.version} cannot be read by {__version__} "
                f"({type(error).__name__}: {error}); install one version on both sides",
                gone=True,
            ) from error
        if judged.question != question.pair.id:
            raise RemoteError(f"{self.url}: another question was answered than was asked; is a proxy in between?")
        self.note = told.get("note")
        return judged


class AsyncClient:
    """`Client` for `await`: the same methods and results, each call in a thread of its own.

    Args:
        url: As `Client` has it, and so are the others.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Client(url, **options)

    async def compare(
        self,
        prompt: str,
        first: PictureLike,
        second: PictureLike,
        *,
        original: PictureLike | None = None,
        seed: int = 0,
    ) -> Judgement:
        """See `Client.compare`."""
        return await asyncio.to_thread(self.client.compare, prompt, first, second, original=original, seed=seed)

    async def rank(
        self, prompt: str, images: Sequence[PictureLike], *, original: PictureLike | None = None, seed: int = 0
    ) -> ImageRanking:
        """See `Client.rank`."""
        return await asyncio.to_thread(self.client.rank, prompt, images, original=original, seed=seed)

    async def score(
        self,
        prompt: str,
        images: Sequence[PictureLike],
        *,
        references: Sequence[PictureLike] | None = None,
        original: PictureLike | None = None,
        seed: int = 0,
    ) -> list[float | None]:
        """See `Client.score`."""
        ask = partial(self.client.score, prompt, images, references=references, original=original, seed=seed)
        return await asyncio.to_thread(ask)

    async def points(
        self,
        prompt: str,
        images: Sequence[PictureLike],
        *,
        against: Reference | str | Path,
        scale: Scale | None = None,
        seed: int = 0,
    ) -> list[Points]:
        """See `Client.points`."""
        ask = partial(self.client.points, prompt, images, against=against, scale=scale, seed=seed)
        return await asyncio.to_thread(ask)


def load(model: str | Path, **options: Any) -> RewardModel | Client:
    """Loads a reward model, or asks the one that a server has; `earshot.load` is this.

    Args:
        model: What `earshot.judging.model.load` takes, or `http://HOST:PORT` of an `earshot serve`.
        **options: Those of `earshot.judging.model.load`, or of `Client`.
    """
    if is_served(model):
        return Client(str(model), **options)
    from earshot.judging.model import load as load_here

    return load_here(model, **options)


def is_served(model: object) -> bool:
    """Whether a model is named by the address of an `earshot serve`, which judges by itself."""
    return is_address(model) and not parse_address(str(model).partition(",")[0]).chat  # options may follow


def _version(look: Endpoint) -> str:
    """Of the server's Earshot, told by its own description.

    Raises:
        InputError: Something else is there, or nobody who answers us.
    """
    try:
        told = look.get("/openapi.json")
    except RemoteError as error:
        raise InputError(
            f"{error}; expected an 'earshot serve' there, its key in {KEY_ENV}, or http://HOST:PORT/v1#NAME of a chat "
            "server"
        ) from error
    info = told.get("info") if isinstance(told, dict) else None
    if not isinstance(info, dict) or info.get("title") != "Earshot":
        raise InputError(f"{look.url}: is no 'earshot serve'; a chat server is named http://HOST:PORT/v1#NAME")
    return str(info.get("version"))


def _png(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def _judgement(told: Mapping[str, Any]) -> Judgement:
    """Raises:
    KeyError: A field is missing.
    TypeError: One is of another kind.
    """
    fields = ("id", "p_first", "p_first_forward", "p_first_swapped", "p_author", "p_read", "decided_by", "reason")
    samples = tuple(
        JudgedSample(**{name: value for name, value in one.items() if name != "verdict"}) for one in told["samples"]
    )
    return Judgement(
        **{name: told[name] for name in fields},
        samples=samples,
        question=told["question"],
        seed=told["seed"],
        broken=told.get("broken", {}),
    )
