"""A server around a model with a known opinion, and clients that ask it."""

import base64
import io
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest

pytest.importorskip("httpx2", reason="the HTTP tests need httpx2: pip install 'earshot-rm[train]'")

from starlette.testclient import TestClient

from earshot.judging.model import RewardModel
from earshot.serve import Server
from earshot.serve.secret_files import Keys
from tests.judging.opinions import Hears, Opinionated, shade

ADDRESS = "http://127.0.0.1:8379"


def png(brightness: int) -> bytes:
    buffer = io.BytesIO()
    shade(brightness).save(buffer, format="PNG")
    return buffer.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


DARK, MIDDLE, LIGHT = (b64(png(brightness)) for brightness in (100, 120, 140))
PAIR = {"prompt": "a grey square", "first": DARK, "second": LIGHT}


@pytest.fixture(scope="package")
def model() -> RewardModel:
    return RewardModel(Opinionated(noise=0.2, bias=0.05), {"hears": Hears()})


@pytest.fixture(scope="package")
def server(model: RewardModel) -> Iterator[Server]:
    server = Server(model)
    server.start()
    server.warm_up()
    yield server
    server.stop()


@pytest.fixture()
def client(server: Server) -> TestClient:
    return TestClient(server, base_url=ADDRESS)


def keys(*given: bytes) -> Keys:
    """Keys whose names are the first words of them."""
    return Keys({sha256(key).digest(): key.decode().partition("-")[0] for key in given})


def refusal(answer: Any, status: int, code: str) -> dict[str, Any]:
    """What a refused request is told, which is always of one form."""
    told = answer.json()
    assert (answer.status_code, told["code"]) == (status, code)
    assert set(told) == {"code", "message", "param", "request_id", "retryable"}
    assert told["request_id"] == answer.headers["x-request-id"]
    return dict(told)
