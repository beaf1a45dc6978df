"""Pickles of other programs: plain values are read and answered, and nothing in them is obeyed."""

import json
import math
import os
import pickle
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from earshot.judging.model import RewardModel
from earshot.serve import Server
from earshot.serve.pickles import unpickled
from earshot.serve.refusals import Refusal
from tests.judging.opinions import Opinionated
from tests.serve.conftest import ADDRESS, png, refusal

DARK, MIDDLE, LIGHT = (png(brightness) for brightness in (100, 120, 140))


@pytest.fixture(scope="module")
def pickles(model: RewardModel) -> Iterator[TestClient]:
    server = Server(model, pickles=True)
    server.start()
    server.warm_up()
    yield TestClient(server, base_url=ADDRESS)
    server.stop()


class Obeyed:
    """Makes a folder where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


def test_verl_omni_and_flow_grpo_get_win_rates_as_a_pickle(pickles: TestClient, model: RewardModel) -> None:
    asked = {"images": [DARK, DARK, LIGHT, LIGHT, MIDDLE], "prompts": ["p", "q", "p", "q", "p"], "metadata": {"a": [1]}}
    for protocol in range(3, pickle.HIGHEST_PROTOCOL + 1):  # before, bytes were written as a call
        answer = pickles.post("/pickle", content=pickle.dumps(asked, protocol=protocol))
        assert answer.status_code == 200, answer.text
        told = pickle.loads(answer.content)
        ranking = model.rank(prompt="p", images=[DARK, LIGHT, MIDDLE])
        assert [told["scores"][k] for k in (0, 2, 4)] == [image.win_rate for image in ranking.images]
        assert told["outputs"] == told["scores"]


def test_an_image_alone_is_refused_and_none_that_came_to_nothing_counts_0(pickles: TestClient) -> None:
    alone = {"images": [DARK, DARK, LIGHT], "prompts": ["p", "q", "p"]}
    told = refusal(pickles.post("/pickle", content=pickle.dumps(alone)), 422, "group_of_one")
    assert told["param"] == "images.1"
    server = Server(RewardModel(Opinionated(malformed=("forward", "swapped"))), pickles=True)
    server.start()
    body = pickle.dumps({"images": [DARK, LIGHT], "prompts": ["p", "p"]})
    scores = pickle.loads(TestClient(server, base_url=ADDRESS).post("/pickle", content=body).content)["scores"]
    assert all(math.isnan(score) for score in scores)
    server.stop()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_whatever_names_something_is_refused_and_not_obeyed(pickles: TestClient, tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "canary"
    for bad in (Obeyed(canary), {"images": [Obeyed(canary)], "prompts": ["p"]}, Fraction(1, 2), Path("/etc"), len):
        body = pickle.dumps(bad, protocol=protocol)
        refusal(pickles.post("/pickle", content=body), 422, "invalid_pickle")
    assert not canary.exists()


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"\x80", b"\x80\x04.", b"no pickle", b"\x80\x04P1\n.", b"\x80\x04K\x01Q.", b"\x82\x01.", b"\x80\xff."),
        *(
            b"cos\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
            b"(" * 100_000 + b"t" * 100_000 + b".",
        ),
        *(
            b"\x80\x04]\x94(h\x00e.",
            b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\x8b\xff\xff\xff\x7f",
            b"r\xff\xff\xff\xff.",
        ),
    ],
)
def test_broken_and_hostile_pickles_are_refused(pickles: TestClient, body: bytes) -> None:
    answer = pickles.post("/pickle", content=body)
    assert answer.status_code == 422 and answer.json()["code"] in ("invalid_pickle", "invalid_request")


def test_plain_values_are_read() -> None:
    value = {"images": [b"1"], "prompts": ["p"], "metadata": {"a": (1, 2.5, None, True, {"x"}, frozenset({3}))}}
    assert unpickled(pickle.dumps(value, protocol=4)) == value
    with pytest.raises(Refusal):
        unpickled(pickle.dumps(value | {"o": object()}, protocol=4))


def test_without_being_asked_for_there_is_no_such_route(client: TestClient, pickles: TestClient) -> None:
    refusal(client.post("/pickle", content=pickle.dumps({})), 404, "no_route")
    assert "/pickle" not in client.get("/openapi.json").json()["paths"]
    told = json.dumps(pickles.get("/openapi.json").json()["paths"]["/pickle"])
    assert "application/octet-stream" in told
