"""A server whose model is asked about edits: the original comes with every question, and is refused by any other."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from starlette.testclient import TestClient

import earshot
from earshot.errors import InputError, ListenerUnavailable
from earshot.files import plain
from earshot.judging.model import RewardModel
from earshot.listener.build import look
from earshot.listener.remote import ServedListener
from earshot.listener.spec import parse_listener
from earshot.predictions.judgement import JudgedSample
from earshot.protocol import PromptSet, prompt_set
from earshot.remote import Endpoint
from earshot.serve import Server
from earshot.types import Pair, Votes, Wanted
from tests.judging.opinions import Hears, Opinionated, brightness, shade
from tests.serve.conftest import ADDRESS, DARK, LIGHT, MIDDLE, PAIR, png, refusal
from tests.servers import served


@dataclass
class OfEdits(Opinionated):
    """Notes how bright the originals are that it is shown."""

    prompts: PromptSet = field(default_factory=lambda: prompt_set("brief-edit"))
    originals: list[float] = field(default_factory=list)

    def judge(
        self, pairs: Sequence[Pair], *, samples: int, seed: int, wanted: Wanted | None = None
    ) -> list[list[JudgedSample]]:
        self.originals += [brightness(pair.original) for pair in pairs]
        return super().judge(pairs, samples=samples, seed=seed, wanted=wanted)


@pytest.fixture(scope="module")
def of_edits() -> RewardModel:
    return RewardModel(OfEdits(noise=0.2), {"hears": Hears()})


@pytest.fixture(scope="module")
def server_of_edits(of_edits: RewardModel) -> Iterator[Server]:
    server = Server(of_edits)
    server.start()
    server.warm_up()
    yield server
    server.stop()


@pytest.fixture
def edits(server_of_edits: Server) -> TestClient:
    return TestClient(server_of_edits, base_url=ADDRESS)


def test_an_original_in_json_or_a_form_is_pythons_question(edits: TestClient, of_edits: RewardModel) -> None:
    python = of_edits.compare("a grey square", png(100), png(140), original=png(120))
    told = edits.post("/v1/compare", json={**PAIR, "original": MIDDLE}).json()
    files = {"first": ("a.png", png(100)), "second": ("b.png", png(140)), "original": ("o.png", png(120))}
    form = edits.post("/v1/compare", data={"prompt": "a grey square"}, files=files).json()
    assert told == form
    assert plain(python.as_dict()).items() <= told.items()
    assert of_edits.reasoner.originals[-1] == 120
    other = edits.post("/v1/compare", json={**PAIR, "original": LIGHT}).json()
    assert other["question"] != told["question"]


def test_edits_are_ranked_scored_and_listened_to_with_their_original(edits: TestClient) -> None:
    images = {"prompt": "p", "images": [DARK, LIGHT], "original": MIDDLE}
    assert [image["rank"] for image in edits.post("/v1/rank", json=images).json()["images"]] == [2, 1]
    assert len(edits.post("/v1/score", json={**images, "references": [MIDDLE]}).json()["scores"]) == 2
    heard = edits.post("/v1/listen", json={**PAIR, "original": MIDDLE, "traces": ["the first is darker"]})
    assert len(heard.json()["p_first"]) == 1


@pytest.mark.parametrize("path", ["/v1/compare", "/v1/listen", "/v1/rank", "/v1/score", "/compute"])
def test_a_question_without_its_original_is_refused(edits: TestClient, path: str) -> None:
    images = {"prompt": "p", "images": [DARK, LIGHT]}
    body = {
        "/v1/compare": PAIR,
        "/v1/listen": {**PAIR, "traces": ["a"]},
        "/compute": {"prompt": ["p", "p"], "image": [DARK, LIGHT]},
    }.get(path, images)
    told = refusal(edits.post(path, json=body), 422, "original")
    assert told["param"] == "original" and "asked about edits, so send their original" in told["message"]


def test_a_server_of_pairs_refuses_an_original(client: TestClient) -> None:
    told = refusal(client.post("/v1/compare", json={**PAIR, "original": MIDDLE}), 422, "original")
    assert "asked about images of a prompt, without an original" in told["message"]


def test_an_original_is_refused_as_any_image_is(edits: TestClient) -> None:
    told = refusal(edits.post("/v1/compare", json={**PAIR, "original": "bm8gaW1hZ2U="}), 422, "image_refused")
    assert told["param"] == "original"


def test_clients_and_listeners_elsewhere_send_the_original(of_edits: RewardModel) -> None:
    pair = Pair("p", "a grey square", shade(100), shade(140), Votes(0.0, 0.0), original=shade(120))
    with served(Server(of_edits)) as url:
        client = earshot.Client(url)
        told = client.compare(pair.prompt, pair.first, pair.second, original=pair.original)
        assert told == of_edits.compare(pair.prompt, pair.first, pair.second, original=pair.original)
        later = earshot.AsyncClient(url).compare(pair.prompt, pair.first, pair.second, original=pair.original)
        assert asyncio.run(later) == told
        with pytest.raises(InputError, match="asked about edits, so send their original"):
            client.compare(pair.prompt, pair.first, pair.second)
        listener = ServedListener(Endpoint(url, key=None, concurrency=1, timeout_s=20.0, patience_s=1.0))
        assert listener.p_first([pair], ["the first is darker"]).size == 1
        look(parse_listener(f"{url},prompts=brief-edit,patience_s=0.2"))
        with pytest.raises(InputError, match=r"original.*it was asked one question before anything else"):
            look(parse_listener(f"{url},patience_s=0.2"))
        with pytest.raises(ListenerUnavailable, match="original"):
            listener.p_first([Pair("q", "a", shade(1), shade(2), Votes(0.0, 0.0))], [None])
