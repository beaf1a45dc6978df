"""The HTTP side: who is answered, what is never sent, and the headers that keep the page to itself."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytest.importorskip("httpx2", reason="the HTTP tests need httpx2: pip install 'earshot-rm[train]'")

from fastapi.testclient import TestClient

from earshot.files import append_jsonl, write_jsonl
from earshot.images import load_image
from earshot.view import Library, create_app
from tests.view.runs import HOSTILE, LONG, PAIRS, prediction


@pytest.fixture()
def client(run: Path) -> TestClient:
    library = Library([run])
    library.refresh()
    return TestClient(create_app(library), base_url="http://127.0.0.1:8378")


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for path in ("/", "/app.js", "/api/state", "/api/rows/judged", "/image/judged/0/first", "/nowhere", "/api/row/x/y"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert client.get("/api/rows/judged").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8378", "LOCALHOST", "[::1]:1"])
def test_this_machines_own_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/api/state", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8378", "10.0.0.1", "", "localhost:x", "::1"],
)
def test_a_foreign_host_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/rows/judged", "/image/judged/0/first"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert answer.text == "this server answers to 127.0.0.1 and localhost only"


def test_another_sites_page_may_link_here_and_ask_nothing(client: TestClient) -> None:
    assert client.get("/api/state", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/image/judged/0/first", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    assert client.get("/api/state", headers={"sec-fetch-site": "same-origin"}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/static/../app.py",
        "/image/judged/..%2f..%2fsecret.png/first",
        "/image/judged/0/..%2f..%2fsecret.png",
        "/image/judged/0/first/../../../../secret.png",
        "/image/judged/-1/first",
        "/image/judged/99999999999999999999/first",
        "/image/other/0/first",
        "/api/row/judged/-1",
        "/api/row/judged/9",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_address_leads_to_a_file(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert b"root:" not in answer.content and b"PNG" not in answer.content


def test_images_are_the_pairs_own_or_none(client: TestClient, run: Path) -> None:
    answer = client.get("/image/judged/0/second?size=large")
    assert answer.headers["content-type"] == "image/webp"
    assert answer.content[:4] == b"RIFF"
    # e's first image is named ../secret.png, which lies there; d's second one is gone.
    for path in ("/image/judged/4/first", "/image/judged/3/second"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert str(run.parent) not in answer.text
    assert client.get("/image/judged/0/second?size=huge").status_code == 422


def test_nothing_is_written_over_http(client: TestClient) -> None:
    for method in ("post", "put", "delete", "patch"):
        assert getattr(client, method)("/api/state").status_code == 405


def rows(client: TestClient, **choices: Any) -> list[str]:
    return [row["id"] for row in client.get("/api/rows/judged", params=choices).json()["rows"]]


def test_a_page_of_rows_holds_what_the_list_shows(client: TestClient) -> None:
    page = client.get("/api/rows/judged", params={"verdict": "wrong", "order": "sure"}).json()
    assert page["total"] == 4
    first = page["rows"][0]
    assert (first["id"], first["p_first"], first["votes"], first["outcome"]) == ("g", 0.05, [4.0, 1.0], "wrong")
    assert first["gap"] == pytest.approx(0.85)
    assert first["prompt"].startswith("The prompt of g: <script>")  # as it is: the page shows it as text
    assert rows(client, listener="far") == ["a", "b", "c"]


@pytest.mark.parametrize("choices", [{"order": "no such"}, {"verdict": "maybe"}, {"offset": -1}, {"text": "x" * 201}])
def test_an_impossible_choice_is_refused(client: TestClient, choices: dict[str, Any]) -> None:
    assert client.get("/api/rows/judged", params=choices).status_code == 422


def test_pages_hold_fifty_rows_and_meet(run: Path) -> None:
    (file,) = run.glob("eval/*/predictions.jsonl")
    append_jsonl(file, [prediction(f"more {k}", PAIRS["a"]) for k in range(60)])
    library = Library([run])
    library.refresh()
    client = TestClient(create_app(library), base_url="http://localhost")
    first, second = (rows(client, offset=offset) for offset in (0, 50))
    assert (len(first), len(second)) == (50, 19)
    assert [*first, *second] == [*PAIRS, *(f"more {k}" for k in range(60))]
    assert rows(client, offset=10**18) == []


def test_a_row_in_full_has_every_word_and_only_says_how_much_of_a_huge_one_is_left(
    client: TestClient, run: Path
) -> None:
    assert client.get("/api/row/judged/7").json()["samples"][0]["trace"] == {"text": HOSTILE, "more": 0}
    assert client.get("/api/row/judged/8").json()["samples"][0]["trace"]["text"] == LONG + "the Grün end"
    (file,) = run.glob("eval/*/predictions.jsonl")
    append_jsonl(file, [prediction("huge", PAIRS["a"]._replace(trace="x" * 1_000_000))])
    library = Library([run])
    library.refresh()
    client = TestClient(create_app(library), base_url="http://localhost")
    trace = client.get("/api/row/judged/9").json()["samples"][0]["trace"]
    assert (len(trace["text"]), trace["more"]) == (200_000, 800_000)


def test_rollouts_have_their_parts_and_what_the_listener_read(client: TestClient) -> None:
    detail = client.get("/api/row/rollouts/1").json()
    assert detail["parts"] == [{"name": "format", "value": 1.0, "weight": None, "paid": None}]
    assert detail["heard"]["text"] == "words"
    assert detail["listeners"] == [{"name": "listener", "p_first": 0.8, "differs": True}]
    assert client.get("/api/row/rollouts/3").json()["reward"] is None


def test_before_anything_is_indexed_the_page_is_there_and_empty(run: Path) -> None:
    client = TestClient(create_app(Library([run])), base_url="http://localhost")
    assert client.get("/").status_code == 200
    state = client.get("/api/state").json()
    assert (state["ready"], state["judged"]["rows"], state["judged"]["progress"]) == (False, 0, 0.0)
    page = client.get("/api/rows/judged").json()
    assert (page["total"], page["rows"], page["ready"]) == (0, [], False)


def test_a_missing_pair_set_is_said_and_everything_else_is_shown(run: Path, data: Path) -> None:
    data.rename(data.with_name("elsewhere"))
    library = Library([run])
    library.refresh()
    client = TestClient(create_app(library), base_url="http://localhost")
    assert any("no pictures" in note for note in client.get("/api/state").json()["judged"]["notes"])
    detail = client.get("/api/row/judged/0").json()
    assert detail["prompt"]["text"] == "prompt a"
    assert "the pair set cannot be read" in detail["fault"]
    assert client.get("/image/judged/0/first").status_code == 404


def test_an_edit_is_shown_with_its_original(run: Path, data: Path) -> None:
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    Image.new("RGB", (40, 24), (0, 200, 0)).save(data / "images" / "original.png")
    rows[0]["original_file_name"] = "images/original.png"
    write_jsonl(data / "metadata.jsonl", rows)
    library = Library([run])
    library.refresh()
    client = TestClient(create_app(library), base_url="http://127.0.0.1:8378")
    shown = [client.get(f"/api/row/judged/{row}").json()["original"] for row in (0, 1)]
    assert shown == [True, False]
    found = client.get("/image/judged/0/original")
    assert load_image(found.content).getpixel((0, 0)) == (0, 200, 0)
    assert client.get("/image/judged/1/original").status_code == 404
