"""Whom a server of ours answers, with which headers, and where it listens."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from earshot.errors import InputError
from earshot.web import address_of, content_policy, guarded, listen, names_of, stranger


def asked(host: str, *more: tuple[bytes, bytes], path: str = "/api") -> dict[str, Any]:
    return {"path": path, "headers": [(b"host", host.encode()), *more]}


def test_a_server_of_this_machine_goes_by_its_own_names_alone() -> None:
    names = names_of("127.0.0.1")
    assert names == names_of("::1") == {"127.0.0.1", "localhost", "[::1]"}
    for host in ("127.0.0.1", "LocalHost:8378", "[::1]:1"):
        assert stranger(asked(host), names) is None
    for host in ("", "*", "10.0.0.1", "localhost:", "localhost:123456", "localhost.evil.example", "::1", "127.0.0.1 x"):
        assert stranger(asked(host), names) == "forbidden_host"
    assert stranger({"path": "/", "headers": []}, names) == "forbidden_host"
    assert stranger(asked("localhost", (b"host", b"localhost")), names) == "forbidden_host"


def test_a_server_for_others_goes_by_any_address_and_by_the_names_it_was_told() -> None:
    names = names_of("0.0.0.0", ["Rewards.example"])
    for host in ("10.0.0.1:80", "[fe80::1]", "rewards.EXAMPLE", socket.gethostname()):
        assert stranger(asked(host), names) is None
    assert stranger(asked("evil.example"), names) == "forbidden_host"
    assert stranger(asked("10.0.0.1"), names_of("10.0.0.2")) == "forbidden_host"


def test_another_sites_page_may_link_to_the_first_page_alone() -> None:
    came = (b"sec-fetch-site", b"cross-site")
    assert stranger(asked("localhost", came), names_of("127.0.0.1")) == "cross_site"
    assert stranger(asked("localhost", (b"sec-fetch-site", b"none"), came), names_of("127.0.0.1")) == "cross_site"
    assert stranger(asked("localhost", came, path="/"), names_of("127.0.0.1")) is None
    evil = (b"origin", b"https://evil.example")
    assert stranger(asked("localhost", evil, path="/"), names_of("127.0.0.1")) is None


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://localhost", "http://localhost:3000", "http://[::1]:8379",
     "file://localhost:8379", "localhost:8379", "http://localhost:8379.evil.example", "http://a@localhost:8379"],
)  # fmt: skip
def test_a_page_of_another_origin_is_known_by_its_origin_alone(origin: str) -> None:
    assert stranger(asked("localhost:8379", (b"origin", origin.encode())), names_of("127.0.0.1")) == "cross_site"


def test_a_page_of_our_own_is_not_also_behind_a_proxy() -> None:
    names = names_of("127.0.0.1", ["Rewards.example"])

    def came(host: str, origin: bytes) -> str | None:
        return stranger(asked(host, (b"origin", origin)), names, ["Rewards.example"])

    assert came("localhost:8379", b"http://localhost:8379") is None
    assert came("rewards.example", b"https://rewards.example") is None
    # The proxy calls us by its own name for us, or leaves its port out.
    assert came("127.0.0.1:8379", b"https://REWARDS.example:8443") is None
    assert came("127.0.0.1:8379", b"https://localhost") == "cross_site"
    two = asked("localhost", (b"origin", b"http://localhost"), (b"origin", b"http://evil.example"))
    assert stranger(two, names) == "cross_site"


def test_headers_that_keep_a_page_to_itself_win_over_an_answers_own() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    answer = guarded(send, content_policy(), {b"x-request-id": b"7"})
    own = [(b"Referrer-Policy", b"unsafe-url"), (b"cache-control", b"private")]
    asyncio.run(answer({"type": "http.response.start", "status": 200, "headers": own}))  # type: ignore[arg-type]
    asyncio.run(answer({"type": "http.response.body", "body": b"x"}))  # type: ignore[arg-type]
    headers = dict(sent[0]["headers"])
    assert headers[b"referrer-policy"] == b"no-referrer" and headers[b"cache-control"] == b"private"
    assert headers[b"x-request-id"] == b"7" and b"default-src 'none'" in headers[b"content-security-policy"]
    assert sent[1] == {"type": "http.response.body", "body": b"x"}


def test_a_port_that_is_taken_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert address_of(listener, "127.0.0.1") == f"http://127.0.0.1:{port}/"
        # Every address of the machine: the one that a browser here can open.
        assert address_of(listener, "0.0.0.0") == f"http://127.0.0.1:{port}/"
        assert address_of(listener, "::") == f"http://[::1]:{port}/"
        with pytest.raises(InputError, match=f"port {port} of 127.0.0.1 cannot be had .*another --port"):
            listen("127.0.0.1", port)
    with pytest.raises(InputError, match="is no address of this machine"):
        listen("host.invalid", 0)
