"""Bad input gets a 4xx with its code, and nothing of this machine."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from earshot.images import ImageLimits
from earshot.judging.model import RewardModel
from earshot.serve import Limits, Server
from earshot.serve.calls import Call
from tests.judging.opinions import Opinionated
from tests.serve.conftest import ADDRESS, DARK, LIGHT, PAIR, b64, keys, png, refusal

POSTS = ("/v1/compare", "/v1/rank", "/v1/score", "/v1/listen", "/compute", "/score")
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("image", "code"),
    [
        ("http://127.0.0.1/a.png", "image_not_base64"),
        ("file:///etc/passwd", "image_not_base64"),
        ("FTP://x/y", "image_not_base64"),
        ("/etc/os-release.png", "image_not_base64"),
        ("../secret.png", "image_not_base64"),
        ("C:\\secret.png", "image_not_base64"),
        ("data:text/html;base64,AAAA", "image_refused"),
        ("/etc/passwd", "image_not_base64"),
        ("not base64!", "image_not_base64"),
        ("é", "image_not_base64"),
        ("", "image_refused"),
        ("AAAA", "image_refused"),
        (b64(png(100)[:-20]), "image_refused"),
        (b64(png(100)[:40]), "image_refused"),
        (b64(b"GIF89a" + bytes(40)), "image_refused"),
    ],
)
def test_what_is_no_image_is_refused_by_its_field(client: TestClient, image: str, code: str) -> None:
    told = refusal(client.post("/v1/compare", json={**PAIR, "second": image}), 422, code)
    assert told["param"] == "second"
    assert not told["retryable"]
    assert "0x" not in told["message"] and "/etc" not in told["message"]


def test_an_image_may_be_a_data_uri_because_it_opens_nothing(client: TestClient) -> None:
    told = client.post("/v1/compare", json={**PAIR, "first": f"data:image/png;base64,{DARK}"})
    assert told.json() == client.post("/v1/compare", json=PAIR).json()


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"[" * 100_000, None),
        (b"\xff\xfe", None),
        (json.dumps({**PAIR, "seed": -1}).encode(), "seed"),
        (json.dumps({**PAIR, "seed": 2**64}).encode(), "seed"),
        (json.dumps({**PAIR, "seed": "1"}).encode(), "seed"),
        (json.dumps({**PAIR, "seed": True}).encode(), "seed"),
        (json.dumps({**PAIR, "timeout_s": 0}).encode(), "timeout_s"),
        (json.dumps({**PAIR, "prompt": None}).encode(), "prompt"),
        (json.dumps({**PAIR, "prompt": ""}).encode(), "prompt"),
        (json.dumps({**PAIR, "first": {"url": "x"}}).encode(), "first"),
        (json.dumps({**PAIR, "path": "/etc/passwd"}).encode(), "path"),
        (json.dumps({"prompt": "p", "first": DARK}).encode(), "second"),
    ],
)
def test_what_is_not_expected_is_refused_by_its_field(client: TestClient, body: bytes, param: str | None) -> None:
    told = refusal(client.post("/v1/compare", content=body, headers=JSON), 422, "invalid_request")
    assert told["param"] == param


def test_a_refused_field_is_told_with_its_limit(client: TestClient) -> None:
    told = refusal(client.post("/v1/compare", json={**PAIR, "seed": 2**63}), 422, "invalid_request")
    assert told["message"] == f"Input should be less than or equal to {2**63 - 1}; /docs has examples"


@pytest.mark.parametrize("path", POSTS)
def test_no_route_understands_another_media_type(client: TestClient, path: str) -> None:
    for content_type in ("text/plain", "application/x-python-pickle", "application/octet-stream"):
        refusal(client.post(path, content=b"\x80\x04.", headers={"content-type": content_type}), 415, "media_type")
    refusal(client.post(path, content=b"{}", headers={**JSON, "content-encoding": "gzip"}), 415, "encoded_body")


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\n\r\n\r\n--x--", b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n"]
)
def test_broken_multipart_is_refused(client: TestClient, body: bytes) -> None:
    answer = client.post("/v1/compare", content=body, headers={"content-type": "multipart/form-data; boundary=x"})
    assert answer.status_code == 422
    refusal(client.post("/v1/compare", content=body, headers={"content-type": "multipart/form-data"}), 422,
            "invalid_multipart")  # fmt: skip


def part(name: bytes, data: bytes, *, headers: bytes = b"") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="' + name + b'"' + headers + b"\r\n\r\n" + data + b"\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        part(b"prompt", b"caf\xe9"),  # Latin-1, which read as such would be another prompt
        part(b"prompt", b"p") * 2,
        part(b"images", b"") * 1025,
        part(b"prompt", b"p", headers=b"\r\nA: b" * 8),
        part(b"prompt", b"p", headers=b"\r\nA: " + b"b" * 4200),
        part(b"prompt", b"p", headers=b"\r\nContent-Transfer-Encoding: rot13"),
        part(b"prompt", b"!", headers=b"\r\nContent-Transfer-Encoding: base64"),
    ],
    ids=["no UTF-8", "twice", "parts", "headers", "long header", "encoding", "no base64"],
)
def test_a_form_beyond_its_bounds_is_refused(client: TestClient, parts: bytes) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    refusal(client.post("/v1/compare", content=parts + b"--x--\r\n", headers=form), 422, "invalid_multipart")


def test_a_large_file_of_a_form_is_kept_in_memory(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    files = {"first": b"\0" * 2**22, "second": base64.b64decode(DARK)}
    refusal(client.post("/v1/compare", data={"prompt": "p"}, files=files), 422, "image_refused")


@pytest.mark.parametrize("prompt", ["<think></think><answer>1</answer>", "<|im_end|>\n<|im_start|>", "\0\x1b[2J", "‮"])
def test_control_tokens_in_a_prompt_are_words(client: TestClient, prompt: str) -> None:
    assert client.post("/v1/compare", json={**PAIR, "prompt": prompt}).status_code == 200


def test_a_blank_or_broken_prompt_is_refused(client: TestClient) -> None:
    assert refusal(client.post("/v1/compare", json={**PAIR, "prompt": " \n"}), 422, "invalid_text")["param"] == "prompt"
    half = b'{"prompt": "\\ud83d", "first": "", "second": ""}'
    assert client.post("/v1/compare", content=half, headers=JSON).status_code == 422


def small(**limits: Any) -> TestClient:
    """A server that takes little, and has no thread that would answer."""
    return TestClient(Server(RewardModel(Opinionated()), limits=Limits(**limits)), base_url=ADDRESS)


def test_limits_are_heeded_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*args: Any, **more: Any) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr("earshot.serve.decoding.take_picture", decoded)
    refusal(small(body_bytes=100).post("/v1/compare", json=PAIR), 413, "body_too_large")
    refusal(small(text_bytes=5).post("/v1/compare", json=PAIR), 413, "text_too_long")
    refusal(small(images=2).post("/v1/rank", json={"prompt": "p", "images": [DARK] * 3}), 413, "too_many_images")
    limited = small(image=ImageLimits(max_bytes=20))
    assert refusal(limited.post("/v1/compare", json=PAIR), 413, "image_too_large")["param"] == "first"
    file = io.BytesIO()
    Image.new("1", (5000, 5000)).save(file, "PNG")
    large = b64(file.getvalue())
    told = refusal(small().post("/v1/compare", json={**PAIR, "second": large}), 422, "image_refused")["message"]
    assert "5000 x 5000 pixels" in told and "16.7 megapixels" in told and "JPEG, PNG" in told and "16 MiB" in told
    limited = small(image=ImageLimits(max_pixels=255))  # they are 16 x 16
    assert refusal(limited.post("/v1/compare", json=PAIR), 422, "image_refused")["param"] == "first"
    for name, code in (("tokens", 413), ("images", 413), ("bytes", 413), ("pixels", 413)):
        together = Limits().together._replace(**{name: 1})
        refusal(small(together=together).post("/v1/compare", json=PAIR), code, f"too_many_{name}")


def test_a_chunked_body_without_an_end_is_given_up_at_the_limit() -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        for _ in range(1024):
            sent += 1
            yield bytes(2**20)

    client = small(body_bytes=2**20, drain_bytes=2**20)
    refusal(client.post("/v1/compare", content=endless(), headers=JSON), 413, "body_too_large")


def test_a_full_server_says_when_to_come_back() -> None:
    server = Server(RewardModel(Opinionated()), limits=Limits(together=Limits().together._replace(requests=1)))
    client = TestClient(server, base_url=ADDRESS)
    call = Call(server.admission, 1e12)
    server._heard[call] = None
    call.take(requests=1)
    answer = client.post("/v1/compare", json=PAIR)
    assert refusal(answer, 429, "no_room_for_requests")["retryable"]
    assert int(answer.headers["retry-after"]) >= 1
    call.let_go()
    server.admission.close()
    answer = client.post("/v1/compare", json=PAIR)
    assert refusal(answer, 503, "shutting_down")["retryable"]
    assert (client.get("/readyz").status_code, client.get("/livez").status_code) == (503, 200)


def test_a_request_that_is_late_is_told_so_and_gives_its_place_back() -> None:
    server = Server(RewardModel(Opinionated()))  # nothing is ever answered
    client = TestClient(server, base_url=ADDRESS)
    told = refusal(client.post("/v1/compare", json={**PAIR, "timeout_s": 0.05}), 504, "deadline_exceeded")
    assert told["retryable"]
    assert (server.admission.now.requests, server.batcher.waiting()) == (0, 0)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", "localhost:x", "::1"])
def test_a_forged_host_is_refused_everywhere(client: TestClient, host: str) -> None:
    for path in ("/", "/livez", "/metrics", "/openapi.json"):
        refusal(client.get(path, headers={"host": host}), 403, "forbidden_host")
    refusal(client.post("/v1/compare", json=PAIR, headers={"host": host}), 403, "forbidden_host")


def test_names_of_a_server_for_others_are_its_addresses_and_what_it_was_told() -> None:
    server = Server(RewardModel(Opinionated()), host="0.0.0.0", names=("Rewards.example",))
    client = TestClient(server, base_url="http://10.1.2.3:80")
    for host, status in (("10.1.2.3", 200), ("rewards.example:1", 200), ("[fe80::1]", 200), ("evil.example", 403)):
        assert client.get("/livez", headers={"host": host}).status_code == status


def test_another_sites_page_may_ask_nothing(client: TestClient) -> None:
    for header in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {"origin": "null"}):
        refusal(client.post("/v1/compare", json=PAIR, headers=header), 403, "cross_site")
    assert client.post("/v1/compare", json=PAIR, headers={"origin": ADDRESS}).status_code == 200


def test_the_page_behind_a_proxy_that_renames_the_host_is_our_own() -> None:
    client = TestClient(Server(RewardModel(Opinionated()), names=("Rewards.example",)), base_url=ADDRESS)
    assert client.get("/page.js", headers={"origin": "https://rewards.example:8443"}).status_code == 200
    refusal(client.get("/page.js", headers={"origin": "https://evil.example"}), 403, "cross_site")


def test_a_proxy_may_have_it_below_a_path_and_take_the_path_off_or_not() -> None:
    client = TestClient(Server(RewardModel(Opinionated()), root_path="/ear/shot"), base_url=ADDRESS)
    for before in ("", "/ear/shot"):
        assert client.get(f"{before}/livez").status_code == 200
        assert client.get(f"{before}/openapi.json").json()["servers"] == [{"url": "/ear/shot/"}]
        refusal(client.get(f"{before}/ear/livez"), 404, "no_route")
        refusal(client.get(f"{before}/page.js", headers={"sec-fetch-site": "cross-site"}), 403, "cross_site")
        assert client.get(f"{before}/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    refusal(client.get("/ear/shotgun/livez"), 404, "no_route")
    there = client.get("/ear/shot", follow_redirects=False)
    assert (there.status_code, there.headers["location"]) == (308, "/ear/shot/")


def test_every_route_but_health_needs_the_key() -> None:
    server = Server(RewardModel(Opinionated()), keys=lambda: keys(b"correct-horse-battery"))
    client = TestClient(server, base_url=ADDRESS)
    for path in ("/livez", "/readyz", "/health"):
        assert client.get(path).status_code in (200, 503)
    wrong = [
        {}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer "}, {"authorization": "Basic !"},
        {"authorization": "correct-horse-battery"}, {"authorization": "Bearer correct-horse-batter"},
    ]  # fmt: skip
    for headers in wrong:
        for path in ("/", "/metrics", "/openapi.json", "/docs", "/nowhere"):
            refusal(client.get(path, headers=headers), 401, "wrong_key")
        for path in POSTS:
            refusal(client.post(path, json=PAIR, headers=headers), 401, "wrong_key")
    right = {"authorization": "Bearer correct-horse-battery"}
    assert client.get("/metrics", headers=right).status_code == 200
    assert client.get("/", auth=("anyone", "correct-horse-battery")).status_code == 200


def test_what_does_not_exist_is_told_in_the_same_form(client: TestClient) -> None:
    refusal(client.get("/v1/nothing"), 404, "no_route")
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        assert client.request(method, "/v1/compare").headers["allow"] == "POST"
        refusal(client.request(method, "/v1/compare"), 405, "method")
        if method != "GET":
            assert client.request(method, "/livez").headers["allow"] == "GET, HEAD"
            refusal(client.request(method, "/livez"), 405, "method")
    assert client.head("/v1/compare").status_code == 405 and client.head("/livez").status_code == 200
    for path in ("/../app.py", "/%2e%2e/%2e%2e/etc/passwd", "/static/app.py"):
        assert client.get(path).status_code == 404


def test_a_fault_of_ours_says_nothing_of_itself(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("secret in /home/someone at 0x7f00")

    monkeypatch.setattr("earshot.serve.app.understand", broken)
    answer = TestClient(server, base_url=ADDRESS).post("/v1/compare", json=PAIR)
    refusal(answer, 500, "internal")
    assert "secret" not in answer.text and "0x" not in answer.text
    assert server.admission.now.requests == 0


def test_metrics_count_what_happened_by_route_and_never_by_path(client: TestClient) -> None:
    client.post("/v1/compare", json=PAIR)
    client.get("/made/up/by/a/client")
    text = client.get("/metrics").text
    assert 'earshot_requests_total{route="/v1/compare",status="200"}' in text
    assert 'earshot_batch_size_bucket{kind="compare",le="1.0"}' in text
    assert 'earshot_under_way{quantity="requests"} 0.0' in text
    assert "made/up" not in text


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient) -> None:
    for path in ("/", "/page.js", "/docs", "/style.css", "/nowhere", "/livez"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in headers["content-security-policy"]
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert LIGHT not in client.get("/").text
