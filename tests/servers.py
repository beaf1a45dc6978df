"""Servers in threads of the tests: a chat API around a model of ours, scripted answers, and `earshot serve`'s own."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import torch
import uvicorn
from PIL import Image

from earshot.listener import Listener
from earshot.listener.build import build_listener
from earshot.listener.spec import ListenerSpec
from earshot.protocol import write_completion
from earshot.reasoner import Reasoner
from earshot.serve import Server
from earshot.types import Pair, Verdict, Votes
from earshot.vlm import Vlm
from earshot.vlm.prefix import continued


class Reply(NamedTuple):
    value: Any
    status: int = 200
    headers: Mapping[str, str] = {}


Answering = Callable[[str, Any, Mapping[str, str]], Reply]
"""Path, body (None of a GET) and headers of a request to what it is answered."""


@contextmanager
def answering(answer: Answering, port: int = 0) -> Iterator[str]:
    """The address of a server that answers like this."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def do_GET(self) -> None:
            self._reply(None)

        def _reply(self, body: Any) -> None:
            reply = answer(self.path, body, self.headers)
            text = reply.value if isinstance(reply.value, bytes) else json.dumps(reply.value).encode()
            self.send_response(reply.status)
            for name, value in {**reply.headers, "content-length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def served(server: Server) -> Iterator[str]:
    """The address of an `earshot serve` in a thread."""
    http = uvicorn.Server(uvicorn.Config(server, port=0, log_level="error", lifespan="off"))
    server.start()
    thread = threading.Thread(target=http.run, daemon=True)
    thread.start()
    while not http.started:
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{http.servers[0].sockets[0].getsockname()[1]}"
    finally:
        http.should_exit = True
        thread.join(10)
        server.stop()


@dataclass
class FakeVllm:
    """The routes of vLLM's OpenAI-compatible server that are asked of, with one of our models behind them.

    Attributes:
        vlm: The model; it is asked in its own prompt set.
        by_id: Whether `logprob_token_ids` is heeded; earlier versions leave it aside.
        tokenizes: Whether there is /tokenize.
        continues: Whether the last turn is continued; other servers answer it.
        says: The message of every completion, as it stands in the answer.
        writes: What it completes every conversation with; what the model writes by default.
        top: How many of the largest log-probabilities it gives, whatever it was asked for.
        asked: The bodies of the chat requests.
    """

    vlm: Vlm
    by_id: bool = True
    tokenizes: bool = True
    continues: bool = True
    says: Mapping[str, Any] | None = None
    writes: str | None = None
    top: int = 20
    asked: list[dict[str, Any]] = field(default_factory=list)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, path: str, body: Any, headers: Mapping[str, str]) -> Reply:
        if path == "/v1/models":
            return Reply({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        if path == "/tokenize" and self.tokenizes:
            return Reply({"tokens": self.vlm.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]})
        if path != "/v1/chat/completions":
            return Reply({"detail": "Not Found"}, 404)
        with self._one:
            self.asked.append(body)
            pair = self._pair(next(m for m in body["messages"] if m["role"] == "user")["content"])
            if body["messages"][-1]["role"] == "assistant":
                return Reply({"choices": [self._next_token(pair, body)]})
            if self.says is not None:
                return Reply({"choices": [{"message": self.says}] * body["n"]})
            return Reply({"choices": [{"message": {"content": text}} for text in self._completions(pair, body)]})

    def _pair(self, content: list[dict[str, Any]]) -> Pair:
        first, second, question = content
        before, after = self.vlm.prompts.question.split("{prompt}")
        text = question["text"]
        assert text.startswith(before) and text.endswith(after)
        images = []
        for part in (first, second):
            kind, _, data = part["image_url"]["url"].partition(",")
            assert kind == "data:image/png;base64"
            images.append(Image.open(io.BytesIO(base64.b64decode(data))))
        prompt = text.removeprefix(before).removesuffix(after)
        return Pair("asked", prompt, images[0], images[1], Votes(0.0, 0.0))

    def _next_token(self, pair: Pair, body: dict[str, Any]) -> dict[str, Any]:
        assert (body["max_tokens"], body["temperature"], body["logprobs"]) == (1, 0, True)
        assert (body["continue_final_message"], body["add_generation_prompt"]) == (True, False)
        tokenizer = self.vlm.tokenizer
        prefill = body["messages"][-1]["content"] if self.continues else "the"
        ids = tokenizer(prefill, add_special_tokens=False)["input_ids"]
        logits = continued(
            self.vlm.model.eval(), self.vlm.encode_pairs([pair]), [0], [ids], pad_id=tokenizer.pad_token_id
        ).logits
        known = torch.log_softmax(logits[0].double(), dim=-1)
        wanted = body.get("logprob_token_ids") if self.by_id else None
        listed = wanted or known.topk(min(self.top, len(known))).indices.tolist()
        told = [{"token": tokenizer.decode([k]), "logprob": float(known[k])} for k in listed]
        best = int(known.argmax())
        chosen = {"token": tokenizer.decode([best]), "logprob": float(known[best]), "top_logprobs": told}
        return {"message": {"content": chosen["token"]}, "logprobs": {"content": [chosen]}}

    def _completions(self, pair: Pair, body: dict[str, Any]) -> list[str]:
        if self.writes is not None:
            return [self.writes] * body["n"]
        reasoner = Reasoner(self.vlm, max_new_tokens=body["max_tokens"], temperature=body["temperature"])
        forward = reasoner.judge([pair], samples=body["n"], seed=body["seed"])[0][: body["n"]]
        return [
            s.trace if s.side is None else write_completion(Verdict(s.side, s.trace), self.vlm.prompts) for s in forward
        ]


def remote_listener(url: str, **options: Any) -> Listener:
    """The listener at an address, with options of its description."""
    return build_listener(ListenerSpec((url,), **options))
