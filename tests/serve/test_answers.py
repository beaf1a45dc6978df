"""HTTP gives the numbers that Python gives, in every route and dialect."""

from dataclasses import replace
from typing import Any

import pytest
from PIL import ImageChops, ImageStat
from starlette.testclient import TestClient

import earshot
from earshot.files import plain
from earshot.images import load_image
from earshot.judging.model import RewardModel
from earshot.measured import side_by_side
from earshot.serve import Server
from earshot.serve.requests import PICTURES, PROMPT, STATIC, CompareRequest
from earshot.world.pairs import POPULATIONS, draw_pair, pair_generator, render_pair
from earshot.world.render import render
from earshot.world.scene import Picture, prompt_text
from tests.judging.opinions import Opinionated
from tests.serve.conftest import ADDRESS, DARK, LIGHT, MIDDLE, PAIR, png, refusal


def test_a_comparison_has_the_fields_and_numbers_of_pythons(client: TestClient, model: RewardModel) -> None:
    for seed in (0, 7):
        told = client.post("/v1/compare", json={**PAIR, "seed": seed}).json()
        python = model.compare(prompt="a grey square", first=png(100), second=png(140), seed=seed)
        assert told == plain(python.as_dict()) | {
            "note": None,
            "measured": side_by_side(load_image(png(100)), load_image(png(140))),
        }
    assert told["p_read"]["hears"] is not None


def test_multipart_files_are_the_same_question(client: TestClient) -> None:
    files = {"first": ("a.png", png(100)), "second": ("b.png", png(140))}
    told = client.post("/v1/compare", data={"prompt": "a grey square", "seed": "3"}, files=files)
    assert told.status_code == 200, told.text
    assert told.json() == client.post("/v1/compare", json={**PAIR, "seed": 3}).json()
    several = [("images", ("x.png", png(shade))) for shade in (100, 120, 140)]
    told = client.post("/v1/rank", data={"prompt": "a grey square"}, files=several)
    assert [image["rank"] for image in told.json()["images"]] == [3, 2, 1]


@pytest.mark.parametrize("n", [3, 11])
def test_a_ranking_is_pythons(client: TestClient, model: RewardModel, n: int) -> None:
    pictures = [png(90 + 7 * k) for k in range(n)]
    told = client.post("/v1/rank", json={"prompt": "p", "images": [as_text(p) for p in pictures], "seed": 5})
    assert told.json() == plain(model.rank(prompt="p", images=pictures, seed=5).as_dict()) | {"note": None}


def as_text(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


def test_scores_are_pythons_with_references_and_without(client: TestClient, model: RewardModel) -> None:
    images, references = [png(100), png(140)], [png(110), png(120)]
    asked: dict[str, Any] = {"prompt": "p", "images": [as_text(i) for i in images], "seed": 2}
    assert client.post("/v1/score", json=asked).json() == {"scores": model.score(prompt="p", images=images, seed=2)}
    asked["references"] = [as_text(i) for i in references]
    python = model.score(prompt="p", images=images, references=references, seed=2)
    assert client.post("/v1/score", json=asked).json() == {"scores": python}
    alone = {"prompt": "p", "images": [DARK]}
    assert refusal(client.post("/v1/score", json=alone), 422, "group_of_one")["param"] == "images"


def test_the_listener_is_asked_about_the_images_as_given(client: TestClient) -> None:
    # σ(-40 / 20) = 0.1192
    told = client.post("/v1/listen", json={**PAIR, "traces": ["the second is brighter ."]}).json()
    assert told == {"p_first": [pytest.approx(0.1192, abs=1e-4)], "listener": "hears"}
    several = client.post("/v1/listen", json={**PAIR, "traces": ["a", None]}).json()
    assert several["p_first"] == told["p_first"] * 2


def test_without_a_listener_there_is_none_to_ask() -> None:
    client = TestClient(Server(RewardModel(Opinionated())), base_url=ADDRESS)
    refusal(client.post("/v1/listen", json={**PAIR, "traces": ["a"]}), 404, "no_listener")


def test_flow_factory_gets_a_win_rate_for_each_image_of_a_group(client: TestClient, model: RewardModel) -> None:
    asked = {
        "prompt": ["p", "q", "p", "q", "p"], "image": [DARK, DARK, LIGHT, MIDDLE, MIDDLE],
        "video": None, "condition_images": None, "condition_videos": None, "kwargs": {"step": 3},
    }  # fmt: skip
    rewards = client.post("/compute", json=asked).json()["rewards"]
    ranking = model.rank(prompt="p", images=[png(100), png(140), png(120)])
    assert [rewards[k] for k in (0, 2, 4)] == [image.win_rate for image in ranking.images]
    assert rewards[1] < 0.5 < rewards[3]
    lonely = client.post("/compute", json={"prompt": ["p", "q", "p"], "image": [DARK, DARK, LIGHT]})
    assert refusal(lonely, 422, "group_of_one")["param"] == "image.1"
    refusal(client.post("/compute", json={**asked, "video": [[DARK]]}), 422, "invalid_request")
    assert client.get("/health").json()["status"] == "ok"


def test_unirl_gets_results_errors_and_its_identities_back(client: TestClient) -> None:
    def item(image: str, group: str, *rewards: str) -> dict[str, Any]:
        history = [{"text": "p", "image_b64": image}]
        identity = {"request_id": image[-9:], "group_id": group, "idempotency_key": "k", "policy_version": 4}
        return {"history": history, "required_rewards": list(rewards), "metadata": {"a": 1}, **identity}

    asked = [item(DARK, "g", "win_rate"), item(LIGHT, "g", "win_rate", "clip"), item(LIGHT, "h", "win_rate")]
    told = client.post("/score", json={"protocol_version": "1", "requests": asked}).json()
    low, high = (told["results"][k]["win_rate"]["win_rate"] for k in (0, 1))
    assert (low < 0.5 < high, low + high) == (True, pytest.approx(1))
    assert (told["results"][2], list(told["errors"][1]), list(told["errors"][2])) == ({}, ["clip"], ["win_rate"])
    assert [i["group_id"] for i in told["identities"]] == ["g", "g", "h"]
    assert told["identities"][0]["request_id"] == DARK[-9:]
    assert "win_rate" in client.get("/health").json()["rewards"]


def test_the_shipped_model_gives_one_p_first_by_python_and_http() -> None:
    model = earshot.load("world:reasoner", max_new_tokens=96)
    server = Server(model)
    server.start()
    try:
        client = TestClient(server, base_url=ADDRESS)
        told = client.post("/v1/compare", json={**PAIR, "seed": 1}).json()
        python = model.compare(prompt="a grey square", first=png(100), second=png(140), seed=1)
        page = client.get("/").text
        example = client.post("/v1/compare", json=CompareRequest.example).json()
    finally:
        server.stop()
    assert set(told) == {*python.as_dict(), "note", "measured"}
    assert (
        model.note is not None and "coloured shapes" in model.note and told["note"] == model.note and model.note in page
    )
    assert told["p_first"] == (None if python.p_first is None else pytest.approx(python.p_first, abs=1e-6))
    assert example["verdict"] == "first" and example["orders_agree"], "the page's example decides nothing"


def test_every_example_of_the_description_runs(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    posts = {path: route["post"] for path, route in described["paths"].items() if "post" in route}
    assert set(posts) == {"/v1/compare", "/v1/rank", "/v1/score", "/v1/listen", "/compute", "/score"}
    for path, post in posts.items():
        example = post["requestBody"]["content"]["application/json"]["example"]
        answer = client.post(path, json=example)
        assert answer.status_code == 200, (path, answer.text)


def test_the_example_is_the_worlds_and_its_first_picture_is_what_was_asked_for() -> None:
    rng = pair_generator(7, "test", 7)
    pair = draw_pair(rng, POPULATIONS["test"])
    assert prompt_text(pair.truth.wanted) == PROMPT
    assert pair.truth.first == Picture(pair.truth.wanted, "clean")
    drawn = [*render_pair(pair, rng, POPULATIONS["test"], 224)]
    drawn.append(render(Picture(replace(pair.truth.wanted, left=None), "clean"), rng, size_px=224))
    for name, one in zip(PICTURES, drawn, strict=True):
        # Not to the last bit, in which versions of Pillow may differ.
        assert max(ImageStat.Stat(ImageChops.difference(load_image(STATIC / name), one)).mean) < 0.5, name


def test_the_page_says_who_is_asked_as_text() -> None:
    who = {"Model": "<i>mine</i>", "Decided by": "the model"}
    page = TestClient(Server(RewardModel(Opinionated()), who=who), base_url=ADDRESS).get("/").text
    assert "Model <strong>&lt;i&gt;mine&lt;/i&gt;</strong> · Decided by <strong>the model</strong>" in page


def test_the_page_says_what_to_know_of_its_model_as_text_and_nothing_of_others(client: TestClient) -> None:
    assert 'id="note"' not in client.get("/").text
    told = {"<b>x</b>": "made-up pictures"}
    page = TestClient(Server(RewardModel(Opinionated(), taught_on=told)), base_url=ADDRESS).get("/").text
    assert "&lt;b&gt;x&lt;/b&gt;: taught on made-up pictures alone" in page and "<b>" not in page
