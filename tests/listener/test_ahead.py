"""A remote listener that is asked ahead answers as it would have, asks nothing twice, and leaves nothing behind."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from earshot.errors import ListenerUnavailable
from earshot.listener import Listener, ahead, ask
from earshot.listener.controls import (
    BlindListener,
    BothOrdersListener,
    EnsembleListener,
    NoTraceListener,
    RandomListener,
    ShuffledListener,
    TemperedListener,
)
from earshot.listener.evidence import EvidenceListener
from tests.fakes import FakeListener, fake_pair
from tests.servers import HashingServer, Reply, hashing, remote_listener, threads_that_ask

KINDS = {"served": "", "chat": "/v1"}
PAIRS = [fake_pair("a"), fake_pair("b", first="green")]
ROWS = [PAIRS[0], PAIRS[0], PAIRS[0], PAIRS[1], PAIRS[1]]
TRACES = ["the first is red .", "hm", "the first is red .", "the second is blue .", None]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return KINDS[request.param]


@pytest.fixture
def server() -> Iterator[HashingServer]:
    with hashing() as server:
        yield server


def tried(url: str, **options: Any) -> Listener:
    """A listener whose server has been tried out, so that it is asked ahead."""
    listener = remote_listener(url, **options)
    ask(listener, PAIRS[:1], [None])
    return listener


def begin_all(begin: Any, order: list[int]) -> None:
    """Tells of the traces in this order, and of those of a pair when the last has come."""
    for place, row in enumerate(order):
        begin(ROWS[row], [TRACES[row]], whole=False)
        rows = [other for other, pair in enumerate(ROWS) if pair is ROWS[row]]
        if not set(rows) & set(order[place + 1 :]):
            begin(ROWS[row], [TRACES[other] for other in rows], whole=True)


def wrapped(listener: Listener) -> dict[str, Listener]:
    return {
        "plain": listener,
        "tempered": TemperedListener(listener, 2.0),
        "both orders": BothOrdersListener(listener),
        "evidence": EvidenceListener(listener),
        "with one here": EnsembleListener((FakeListener(0.3), listener)),
        "all of it": TemperedListener(EnsembleListener((BothOrdersListener(EvidenceListener(listener)),)), 0.5),
    }


@pytest.mark.parametrize("name", wrapped(FakeListener()))
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
def test_what_was_begun_is_answered_the_same_and_asked_once(
    name: str, order: list[int], kind: str, server: HashingServer
) -> None:
    listener = wrapped(tried(server.url + kind))[name]
    server.asked.clear()
    expected = ask(listener, ROWS, TRACES)
    questions = server.questions()
    server.asked.clear()
    with ahead(listener) as begin:
        begin_all(begin, order)
        with server.came:  # before anybody waits for an answer
            assert server.came.wait_for(lambda: len(server.asked) == len(questions), timeout=10)
        np.testing.assert_array_equal(ask(listener, ROWS, TRACES), expected)
    assert server.questions() == questions


def test_what_was_not_begun_is_asked_then(kind: str, server: HashingServer) -> None:
    listener = tried(server.url + kind)
    expected = ask(listener, ROWS, TRACES)
    server.asked.clear()
    with ahead(listener) as begin:
        assert begin is not None
        for whole in (False, True):
            begin(PAIRS[0], TRACES[:3], whole=whole)
        np.testing.assert_array_equal(ask(listener, ROWS, TRACES), expected)
        np.testing.assert_array_equal(ask(listener, ROWS, TRACES), expected)  # and again, for an answer is taken once
    assert len(server.asked) == {"": 2 + 2, "/v1": 5 + 5}[kind]


def test_the_images_of_a_pair_wait_for_all_its_traces(server: HashingServer) -> None:
    listener = remote_listener(server.url, concurrency=1)
    with ahead(listener) as begin:
        begin_all(begin, [4, 3, 2, 1, 0])
        ask(listener, ROWS, TRACES)
    assert [body["traces"] for body in server.asked] == [TRACES[3:], TRACES[:3]]


def test_a_chat_server_is_tried_out_before_it_is_asked_ahead(server: HashingServer) -> None:
    listener = remote_listener(server.url + "/v1")
    with ahead(listener) as begin:
        begin_all(begin, [0, 1, 2, 3, 4])
        assert server.asked == []
        ask(listener, ROWS, TRACES)
    assert len(server.asked) == len(ROWS)


def test_a_failure_ends_what_has_not_begun_and_is_told_when_it_is_due(kind: str, server: HashingServer) -> None:
    listener = tried(server.url + kind, concurrency=1)
    server.asked.clear()
    server.reply = Reply({"message": "no"}, 400)
    with ahead(listener) as begin:
        begin_all(begin, [0, 1, 2, 3, 4])
        with pytest.raises(ListenerUnavailable, match="refused with 400"):
            ask(listener, ROWS, TRACES)
    assert len(server.asked) == 1
    server.reply = None
    assert ask(listener, ROWS, TRACES).shape == (5,)


def test_what_nobody_waits_for_is_dropped(kind: str, server: HashingServer) -> None:
    listener = tried(server.url + kind, concurrency=1)
    server.asked.clear()
    server.open.clear()
    threading.Timer(0.5, server.open.set).start()
    with pytest.raises(KeyboardInterrupt), ahead(listener) as begin:
        begin_all(begin, [0, 1, 2, 3, 4])
        raise KeyboardInterrupt
    assert threads_that_ask() == [] and len(server.asked) <= 1
    server.asked.clear()
    ask(listener, ROWS, TRACES)
    assert len(server.asked) == {"": 2, "/v1": 5}[kind]  # nothing of before is taken for an answer


def test_what_runs_here_or_needs_all_traces_at_once_is_not_asked_ahead() -> None:
    here, there = FakeListener(), remote_listener("http://127.0.0.1:9")
    alone: list[Listener] = [here, RandomListener()]
    for base in (here, there):
        alone += [ShuffledListener(base), BlindListener(base), NoTraceListener(base)]
    for listener in [*alone, *map(BothOrdersListener, alone), EnsembleListener(tuple(alone))]:
        with ahead(listener) as begin:
            assert begin is None
