"""Models on other machines, over HTTP: time-outs, retries of what may pass, and the OpenAI-compatible chat API."""

from __future__ import annotations

import base64
import io
import logging
import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx2
import numpy as np
import stamina
from jaxtyping import Float

from earshot.errors import InputError, RemoteError
from earshot.images import ImageLimits, load_image, printable
from earshot.protocol import PromptSet, listener_prefill, reasoner_messages, reopened
from earshot.protocol.answers import answer_place, token_texts
from earshot.types import ImageSource, Pair

# What is tried again is of interest to whoever asks for logs, and no line on everybody's screen.
logging.getLogger("stamina").addHandler(logging.NullHandler())

T = TypeVar("T")
R = TypeVar("R")

RETRIED: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that another attempt may better; every other 4xx says that the request itself is wrong."""
ABOUT_IT: Final = frozenset({400, 413, 422})
"""Refusals of one question, after which another may be answered."""
LONGEST_WAIT_S: Final = 10.0
"""Between two attempts, whatever the server asks for: it may be back sooner than it thought."""
TOP_LOG_PROBS: Final = 20
"""The most that the chat API gives at a position, and that vLLM gives without `--max-logprobs`."""

# A chat API does not tell its tokenizer's special tokens: what opens them in the families there are.
CONTROL_TOKENS: Final = (
    *("<|", "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<image>", "<img>", "</img>", "<IMG_CONTEXT>"),
    *("[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<start_of_turn>", "<end_of_turn>"),
    *("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
)


def is_address(source: object) -> bool:
    """Whether a model is named by the address of a server."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


class Address(NamedTuple):
    """Where a server is, and which of its models is meant."""

    url: str
    """Without the /v1 at its end."""
    model: str | None
    """None for the only one there is."""
    chat: bool
    """Whether it speaks the OpenAI-compatible API, as an address that ends in /v1 says; else `earshot serve`'s own."""


def parse_address(source: str) -> Address:
    """`http://host:port` of `earshot serve`, or `http://host:port/v1#model` of a chat API.

    Raises:
        InputError: It is no such address.
    """
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise InputError(
            f"{printable(source)!r} is no address of a server, expected http://HOST:PORT of 'earshot serve', or "
            "http://HOST:PORT/v1#MODEL of an OpenAI-compatible server"
        )
    path = parts.path.rstrip("/")
    chat = path.endswith("/v1")
    return Address(f"{parts.scheme}://{parts.netloc}{path.removesuffix('/v1')}", parts.fragment or None, chat)


class Endpoint:
    """A server that is asked in JSON, several requests at a time.

    Args:
        url: What the paths are put after.
        key: Sent as `Authorization: Bearer KEY`; None where the server asks for none.
        concurrency: Requests at a time.
        timeout_s: How long one attempt may take.
        patience_s: How long a request is tried again where that may help: the server cannot be reached, has no room,
            or failed.
    """

    def __init__(self, url: str, *, key: str | None, concurrency: int, timeout_s: float, patience_s: float) -> None:
        self.url = url
        self._concurrency = concurrency
        self._patience_s = patience_s
        self._client = httpx2.Client(
            headers={} if key is None else {"Authorization": f"Bearer {key}"},
            timeout=timeout_s,
            limits=httpx2.Limits(max_connections=concurrency),
        )
        weakref.finalize(self, self._client.close)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that a POST is answered with.

        Raises:
            RemoteError: There was no answer for as long as our patience, or a refusal that no repetition changes.
        """
        return self._ask("POST", path, body)

    def get(self, path: str) -> Any:
        """The JSON that a GET is answered with; raises as `post` does."""
        return self._ask("GET", path, None)

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        """The results for the items, so many at a time as the server is asked; the first failure ends the others."""
        failures: list[BaseException] = []

        def one(item: T) -> R:
            if failures:
                raise failures[0]
            try:
                return function(item)
            except BaseException as error:
                failures.append(error)
                raise

        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="earshot-remote") as pool:
            return [*pool.map(one, items)]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        where = f"{self.url}{path}"
        try:
            for attempt in stamina.retry_context(
                on=_worth_another, attempts=None, timeout=self._patience_s, wait_initial=0.2, wait_max=LONGEST_WAIT_S
            ):
                with attempt:
                    answer = self._client.request(method, where, json=body)
                    answer.raise_for_status()
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            raise RemoteError(_refusal(where, error.response), status=status, gone=status not in ABOUT_IT) from error
        except httpx2.HTTPError as error:
            raise RemoteError(
                f"{where}: no answer in {self._patience_s:g} s ({type(error).__name__}); is the server up?", gone=True
            ) from error
        try:
            return answer.json()
        except ValueError as error:
            raise RemoteError(f"{where}: the answer is no JSON; is this the address of a model?", gone=True) from error


def _worth_another(error: Exception) -> bool | float:
    """Whether to try again, or in how many seconds the server would have it."""
    if not isinstance(error, httpx2.HTTPStatusError):
        return isinstance(error, httpx2.TransportError)
    if error.response.status_code not in RETRIED:
        return False
    try:
        after = float(error.response.headers.get("retry-after", ""))
    except ValueError:
        return True
    return min(after, LONGEST_WAIT_S) if math.isfinite(after) and after > 0 else True


def _refusal(where: str, response: httpx2.Response) -> str:
    """What a refused request is told, in one line; servers differ in where they put it."""
    try:
        told = response.json()
    except ValueError:
        told = {}
    inner = told.get("error", told) if isinstance(told, dict) else {}
    message = inner.get("message") if isinstance(inner, dict) else inner
    text = printable(" ".join(str(message or response.reason_phrase).split()))[:300]
    return f"{where}: refused with {response.status_code} ({text})"


class ChatModel:
    """A vision-language model behind the OpenAI-compatible chat API, as `vllm serve` has it.

    Args:
        endpoint: The server, without the /v1 at the end of its URL.
        model: Which of the server's models; None for the only one.
        prompts: How it is asked about a pair.
        limits: What an image may be.
    """

    def __init__(self, endpoint: Endpoint, model: str | None, prompts: PromptSet, limits: ImageLimits) -> None:
        self.endpoint = endpoint
        self._model = model
        self.prompts = prompts
        self._limits = limits

    @cached_property
    def name(self) -> str:
        """What the server calls the model.

        Raises:
            RemoteError: None was named, and the server has none or several.
        """
        if self._model is not None:
            return self._model
        listed = _fields(self.endpoint.get("/v1/models"), "data", list)
        names = [_fields(entry, "id", str) for entry in listed]
        if len(names) != 1:
            raise RemoteError(
                f"{self.endpoint.url}: serves {', '.join(names) or 'no model'}, expected one, or its name after a '#'"
            )
        return names[0]

    @property
    def where(self) -> str:
        return self.endpoint.url

    def record(self) -> dict[str, Any]:
        """Its name and how it is asked: a server does not tell its weights."""
        return {"name": self.name, "prompts": self.prompts.fingerprint}

    def complete(
        self, pairs: Sequence[Pair], seeds: Sequence[int], *, n: int, temperature: float, max_new_tokens: int
    ) -> list[list[str]]:
        """See `listener.engine.TextEngine.complete`. Thoughts that the server has set apart are put back.

        Whether the same seed gives the same completion beside other requests is up to the server, and vLLM does not
        promise it.
        """
        how = {"n": n, "temperature": temperature, "max_tokens": max_new_tokens}
        return self.endpoint.map(lambda one: self._complete(*one, how), zip(pairs, seeds, strict=True))

    def log_probabilities(
        self, pairs: Sequence[Pair], owners: Sequence[int], traces: Sequence[str | None]
    ) -> Float[np.ndarray, " n 2"]:
        """See `listener.engine.TextEngine.log_probabilities`.

        Every trace is a request of its own; a server that keeps the prefixes it has seen, as vLLM does, computes the
        images and the prompt of a pair once.
        """
        prefills = [listener_prefill(trace, self.prompts, control_tokens=CONTROL_TOKENS) for trace in traces]
        messages = self.endpoint.map(self._messages, pairs)
        about = [messages[owner] for owner in owners]
        answers = self.endpoint.map(lambda one: self._answer(*one), zip(about, prefills, strict=True))
        return np.array(answers).reshape(-1, 2)

    def _messages(self, pair: Pair) -> list[dict[str, Any]]:
        """The conversation about a pair, its images in it as they decode, without loss.

        Raises:
            InputError: The set asks about edits, and the pair has no original, or the other way round.
            ImageError: An image is refused.
        """
        self.prompts.check_pair(pair)
        encoded = [base64.b64encode(png(source, self._limits)).decode() for source in pair.images]
        urls = [f"data:image/png;base64,{text}" for text in encoded]
        return [
            {**turn, "content": turn["content"][0]["text"]}
            if turn["role"] == "system"
            else {**turn, "content": [_as_sent(part) for part in turn["content"]]}
            for turn in reasoner_messages(pair.prompt, self.prompts, *urls, control_tokens=CONTROL_TOKENS)
        ]

    def _complete(self, pair: Pair, seed: int, how: Mapping[str, Any]) -> list[str]:
        body = {"model": self.name, "messages": self._messages(pair), "seed": seed, **how, **self._template}
        choices = _fields(self.endpoint.post("/v1/chat/completions", body), "choices", list)
        if len(choices) != how["n"]:
            raise RemoteError(f"{self.endpoint.url}: {len(choices)} completions, expected {how['n']}")
        return [reopened(self._whole(_fields(choice, "message", dict)), self.prompts) for choice in choices]

    def _whole(self, message: dict[str, Any]) -> str:
        """A completion in one piece: servers with a parser of reasoning take the think block out of it."""
        think, thoughts = self.prompts.think, message.get("reasoning_content") or message.get("reasoning")
        if think is None or not isinstance(thoughts, str):
            return str(_fields(message, "content", str))
        said = message.get("content")  # none where the thoughts were cut
        return think.open + thoughts + (f"{think.close}{said}" if isinstance(said, str) else "")

    @property
    def _template(self) -> dict[str, Any]:
        """What vLLM and SGLang hand to the chat template."""
        return {"chat_template_kwargs": self.prompts.template} if self.prompts.template else {}

    def _answer(self, messages: Sequence[Mapping[str, Any]], prefill: str) -> list[float]:
        """The log-probabilities of the two answers as the next token after a turn that was begun for the model.

        Raises:
            RemoteError: The server gives no log-probabilities of them.
        """
        begun, ids, texts = self._place
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [*messages, {"role": "assistant", "content": prefill + begun}],
            # Of vLLM and SGLang, beyond OpenAI's own: the last turn is continued, not answered.
            "continue_final_message": True,
            "add_generation_prompt": False,
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": TOP_LOG_PROBS,
            **self._template,
        }
        if ids is not None:
            body["logprob_token_ids"] = [*ids]  # vLLM from July 2026; earlier ones leave it aside
        (choice,) = _fields(self.endpoint.post("/v1/chat/completions", body), "choices", list)
        (position, *_) = _fields(_fields(choice, "logprobs", dict), "content", list) or [{}]
        found = {
            _fields(one, "token", str): float(_fields(one, "logprob", (int, float)))
            for one in [*_fields(position, "top_logprobs", list), position]
        }
        if missing := [text for text in texts if not math.isfinite(found.get(text, math.nan))]:
            raise RemoteError(
                f"{self.endpoint.url}: no log-probability of the answer {missing[0]!r} among the {len(found)} that "
                "the server gave; vLLM from July 2026 gives those that are asked for"
            )
        return [found[text] for text in texts]

    @cached_property
    def _place(self) -> tuple[str, tuple[int, int] | None, tuple[str, str]]:
        """What both answers begin with, the ids of the tokens that follow where the server tells, and their texts.

        Raises:
            RemoteError: They do not part at one token, or the server does not tell and both begin alike.
        """
        opened, answers = listener_prefill("x", self.prompts), self.prompts.answer.texts
        try:
            place = answer_place(self._tokens, opened, answers)
            return place.begun, place.ids, token_texts(self._tokens, opened, answers, place)
        except RemoteError as error:
            if error.status not in (404, 405, 501):
                raise
        except ValueError as error:
            raise RemoteError(f"{self.endpoint.url}: {error} in the server's tokenizer") from error
        if answers[0][0] == answers[1][0]:
            raise RemoteError(
                f"{self.endpoint.url}: the answers {answers[0]!r} and {answers[1]!r} begin alike, and the server "
                "has no /tokenize that would tell where they part; expected vLLM, or answers of one token each"
            )
        return "", None, answers

    def _tokens(self, text: str) -> list[int]:
        asked = {"model": self.name, "prompt": text, "add_special_tokens": False}
        return list(_fields(self.endpoint.post("/tokenize", asked), "tokens", list))


def _as_sent(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": part["image"]}} if part["type"] == "image" else part


def png(source: ImageSource, limits: ImageLimits) -> bytes:
    """An image as it decodes, upright and without loss; raises as `load_image` does."""
    buffer = io.BytesIO()
    load_image(source, limits=limits).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _fields(value: Any, key: str, kind: Any) -> Any:
    """What stands under a key of an answer.

    Raises:
        RemoteError: Nothing of that kind does.
    """
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise RemoteError(f"the server's answer has no '{key}' where the chat API has one")
    return found
