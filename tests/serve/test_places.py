"""What a request holds is given back once, whether its client, answer, deadline or server ends first."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from earshot.serve import Limits, Server
from earshot.serve.admission import Admission, Load
from earshot.serve.calls import Call
from earshot.serve.refusals import ClientGone, Refusal
from tests.serve.conftest import ADDRESS, PAIR
from tests.serve.test_batching import FAR, Gated

STEP_S = 0.25
EVENTS = ("hangs up", "is answered", "is late", "shuts down")


def test_places_run_out_by_any_quantity_and_come_back() -> None:
    admission = Admission(Load(requests=2, images=3, tokens=10, bytes=10, pixels=10), lambda: 7)
    one, other = Call(admission, FAR), Call(admission, FAR)
    one.take(requests=1), other.take(requests=1)
    with pytest.raises(Refusal) as refused:
        Call(admission, FAR).take(requests=1)
    assert (refused.value.status, refused.value.code) == (429, "no_room_for_requests")
    assert refused.value.headers == {"retry-after": "7"}
    one.take(images=2)
    with pytest.raises(Refusal) as refused:
        other.take(images=2)
    assert (refused.value.status, refused.value.code) == (429, "no_room_for_images")
    with pytest.raises(Refusal) as refused:  # it would never fit
        other.take(tokens=11)
    assert (refused.value.status, refused.value.told("1").retryable) == (413, False)
    one.let_go()
    other.take(images=3)
    assert admission.now == Load(requests=1, images=3)
    admission.close()
    with pytest.raises(Refusal) as refused:
        Call(admission, FAR).take(requests=1)
    assert (refused.value.status, refused.value.told("1").retryable) == (503, True)
    assert not admission.wait_empty(0.01)
    other.let_go()
    assert admission.wait_empty(0.01)


def test_a_client_gets_all_while_it_is_alone_and_its_share_while_others_ask() -> None:
    now = [0.0]
    admission = Admission(Load(requests=8, images=80), clock=lambda: now[0])

    def asks(client: str) -> Call:
        call = Call(admission, FAR, client)
        call.take(requests=1)
        return call

    many = [asks("many") for _ in range(8)]
    with pytest.raises(Refusal) as refused:
        asks("many")
    assert refused.value.code == "no_room_for_requests"
    few = asks("few")  # there is room for who has little
    many.pop().let_go()
    many.pop().let_go()
    for call in (*many, few):
        call.take(images=5)  # what was let in is not refused for others' sake
    with pytest.raises(Refusal) as refused:
        asks("many")  # it has 6, of which 4 are its share
    assert (refused.value.status, refused.value.code) == (429, "no_room_for_client")
    asks("few").let_go()
    now[0] += 60
    asks("many").let_go()  # it is alone again
    few.let_go()
    for call in many:
        call.let_go()
    assert (admission.now, admission._of) == (Load(), {})


def interleaved(one: tuple[str, ...], other: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All orders in which both can happen."""
    for places in itertools.combinations(range(len(one) + len(other)), len(one)):
        rest = iter(other)
        mine = iter(one)
        yield tuple(next(mine) if k in places else next(rest) for k in range(len(one) + len(other)))


def test_what_a_thread_takes_for_a_client_that_has_gone_is_given_back_too() -> None:
    for order in interleaved(("over", "http ends"), ("images", "pixels", "thread ends")):
        admission = Admission(Load(requests=2, images=2, pixels=2))
        call = Call(admission, FAR)
        call.take(requests=1)
        call.join()
        ended = 0
        for step in order:
            if step in ("images", "pixels"):
                if order.index("over") < order.index(step):
                    with pytest.raises(ClientGone):
                        call.take(**{step: 1})
                else:
                    call.take(**{step: 1})
            elif step == "over":
                call.over()
            else:
                call.let_go()
                ended += 1
            assert (admission.now == Load()) == (ended == 2), order  # neither before both have ended, nor after
        assert not admission.held


async def ends(order: tuple[str, ...]) -> list[dict[str, Any]]:
    """A request whose ends come in this order; what its client was sent."""
    timeout_s = STEP_S * (order.index("is late") + 1)
    model, sent = Gated(), []
    server = Server(model, limits=Limits(timeout_s=timeout_s))
    server.ready.set()
    server.start()
    body, left = json.dumps(PAIR).encode(), asyncio.Event()
    messages = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        if message := next(messages, None):
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/compare", "headers": headers, "query_string": b""}
    request = asyncio.ensure_future(server(scope, receive, send))
    does = {"hangs up": left.set, "is answered": model.gate.set, "shuts down": server.admission.close}
    for event in order:
        await asyncio.sleep(STEP_S)
        does.get(event, lambda: None)()
    await asyncio.wait_for(request, 10)
    assert await asyncio.to_thread(server.admission.wait_empty, 5.0), order
    assert (server.admission.now, server.admission.held, server._heard, server._working) == (Load(), {}, {}, {}), order
    assert server._lost() == 0
    await asyncio.to_thread(server.stop)
    return sent


def test_every_order_of_hang_up_answer_deadline_and_shutdown_gives_the_place_back_once() -> None:
    orders = [*itertools.permutations(EVENTS)]

    async def together() -> list[list[dict[str, Any]]]:
        return await asyncio.gather(*map(ends, orders))

    for order, sent in zip(orders, asyncio.run(together()), strict=True):
        statuses = [message["status"] for message in sent if message["type"] == "http.response.start"]
        first = min(EVENTS[:3], key=order.index)
        assert statuses[0] in {"hangs up": {499}, "is answered": {200}, "is late": {504}}[first] | {200, 499, 504}, (
            order
        )


def test_a_place_that_nobody_sees_to_is_told_and_the_server_is_not_ready() -> None:
    server = Server(Gated())
    server.ready.set()
    client = TestClient(server, base_url=ADDRESS)
    assert client.get("/readyz").status_code == 200
    Call(server.admission, FAR).take(images=1)  # and is forgotten
    text = client.get("/metrics").text
    assert "earshot_places_lost 1.0" in text and "earshot_places_in_use 1.0" in text
    assert "earshot_requests_alive 0.0" in text
    told = client.get("/readyz")
    assert (told.status_code, told.json()["status"]) == (503, "losing places")
