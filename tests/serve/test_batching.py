"""Clients share batches, one after the other; who leaves, is late or breaks the model costs the others nothing."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from earshot.errors import ListenerUnavailable
from earshot.judging.question import Question
from earshot.predictions.judgement import Judgement
from earshot.serve.batching import READING_S, Batcher
from earshot.serve.queueing import Hearing
from earshot.serve.refusals import Refusal
from earshot.types import Pair, Wanted
from tests.judging.constant import Constant

FAR = 1e12


@dataclass
class Gated:
    """Answers when it is let to, and keeps what it was asked together."""

    poison: str = ""
    error: Exception = field(default_factory=lambda: RuntimeError("0xdeadbeef"))
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    batches: list[list[str]] = field(default_factory=list)
    listener: Any = None
    samples: int = 1

    def try_answer(self, questions: Sequence[Question], wanted: Wanted | None = None) -> list[Judgement]:
        self.batches.append([question.pair.prompt for question in questions])
        self.entered.set()
        assert self.gate.wait(20)
        if any(question.pair.prompt == self.poison for question in questions):
            raise self.error
        return Constant().try_answer(questions)


def asked(*prompts: str) -> list[Question]:
    return [Constant().question(prompt=prompt, first=None, second=None) for prompt in prompts]


@contextmanager
def running(model: Any, **options: Any) -> Iterator[Batcher]:
    batcher = Batcher(model, **options)
    batcher.start()
    try:
        yield batcher
    finally:
        model.gate.set()
        batcher.stop()


def occupy(model: Gated, batcher: Batcher) -> Future[list[Judgement]]:
    """A first question that the model is busy with until its gate opens."""
    first = batcher.compare(asked("first"), FAR)
    assert model.entered.wait(20)
    return first


def test_a_model_that_bears_two_batches_has_two_at_once() -> None:
    model = Gated()
    with running(model, batch=2, at_once=2) as batcher:
        futures = [batcher.compare(asked(name), FAR) for name in "abcde"]
        end = time.monotonic() + 20
        while len(model.batches) < 2 and time.monotonic() < end:
            time.sleep(0.005)
        assert sorted(map(sorted, model.batches)) == [["a", "b"], ["c", "d"]]  # and the fifth waits
        assert batcher.waiting() == 1
        model.gate.set()
        assert all(future.result(20) for future in futures)
    assert len(model.batches) == 3


def test_clients_share_a_batch_one_question_each_before_anyones_second() -> None:
    model = Gated()
    with running(model, batch=3) as batcher:
        occupy(model, batcher)
        futures = [batcher.compare(asked("a1", "a2", "a3"), FAR), batcher.compare(asked("b1"), FAR)]
        futures.append(batcher.compare(asked("c1", "c2"), FAR))
        assert batcher.waiting() == 6
        model.gate.set()
        answers = [future.result(20) for future in futures]
    assert model.batches == [["first"], ["a1", "b1", "c1"], ["a2", "a3", "c2"]]
    assert [answer.question for answer in answers[0]] == ["a1 0", "a2 0", "a3 0"]  # in the order of the question


def test_a_listeners_batch_holds_several_traces_of_each_pair_and_they_stand_together() -> None:
    class Notes:
        name = "notes"

        def p_first(self, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
            heard.append([str(trace) for trace in traces])
            return np.full(len(traces), 0.5)

    heard: list[list[str]] = []
    model = Gated(listener=Notes())
    pair = asked("p")[0].pair
    with running(model, batch=2) as batcher:
        occupy(model, batcher)
        clients = {"a": 17, "b": 3}
        futures = [batcher.listen([Hearing(pair, f"{name}{k}") for k in range(n)], FAR) for name, n in clients.items()]
        model.gate.set()
        assert [len(future.result(20)) for future in futures] == [17, 3]
    first = [f"a{k}" for k in range(16)]
    assert heard == [[*first[:8], *first[8:], "b0", "b1", "b2"], ["a16"]]


def test_a_batch_waits_for_requests_that_are_still_read_but_not_for_long() -> None:
    model, now, under_way = Gated(), [0.0], [2]
    model.gate.set()
    with running(model, batch=2, clock=lambda: now[0], let_in=lambda: under_way[0]) as batcher:
        first = batcher.compare(asked("a"), FAR)
        assert not model.entered.wait(0.05)  # it has looked at the clock
        now[0] = 0.9 * READING_S  # longer than anybody would wait who knew of no other
        assert not model.entered.wait(0.05)
        second = batcher.compare(asked("b"), FAR)
        first.result(20), second.result(20)
        model.entered.clear()
        third = batcher.compare(asked("c"), FAR)
        assert not model.entered.wait(0.05)
        now[0] += 1.1 * READING_S
        third.result(20)
        model.entered.clear()
        under_way[0] = 1  # it is the only one
        alone = batcher.compare(asked("d"), FAR)
        assert not model.entered.wait(0.05)
        now[0] += 0.2 * READING_S
        alone.result(20)
    assert model.batches == [["a", "b"], ["c"], ["d"]]


def test_a_batch_does_not_wait_for_those_that_are_with_the_model_already() -> None:
    model = Gated()
    now, under_way = [0.0], [1]
    clock: dict[str, Any] = {"clock": lambda: now[0], "let_in": lambda: under_way[0]}
    with running(model, batch=2, at_once=2, **clock) as batcher:
        first = batcher.compare(asked("a"), FAR)
        assert not model.entered.wait(0.05)
        now[0] += 0.2 * READING_S
        assert model.entered.wait(20)
        model.entered.clear()
        under_way[0] = 2  # of which the model has one
        second = batcher.compare(asked("b"), FAR)
        assert not model.entered.wait(0.05)
        now[0] += 0.2 * READING_S
        assert model.entered.wait(2)
        model.gate.set()
        first.result(20), second.result(20)
        model.entered.clear()
        third = batcher.compare(asked("c"), FAR)  # and another is still read
        assert not model.entered.wait(0.05)
        now[0] += 0.9 * READING_S
        assert not model.entered.wait(0.05)
        now[0] += 0.2 * READING_S
        third.result(20)
    assert model.batches == [["a"], ["b"], ["c"]]


def test_a_client_that_left_is_not_asked_for() -> None:
    model = Gated()
    with running(model) as batcher:
        occupy(model, batcher)
        gone, stays = batcher.compare(asked("gone"), FAR), batcher.compare(asked("stays"), FAR)
        gone.cancel()
        assert batcher.waiting() == 1
        model.gate.set()
        stays.result(20)
    assert model.batches == [["first"], ["stays"]]


def test_a_deadline_that_passes_in_the_queue_is_said_and_not_asked_for() -> None:
    model = Gated()
    with running(model) as batcher:
        occupy(model, batcher)
        late = batcher.compare(asked("late"), time.monotonic() + 0.05)
        time.sleep(0.06)
        model.gate.set()
        with pytest.raises(Refusal, match="deadline") as refused:
            late.result(20)
    assert (refused.value.status, model.batches) == (504, [["first"]])


def test_what_nobody_wants_any_more_is_cut_while_it_is_written() -> None:
    @dataclass
    class Writes:
        """Goes on until no question of the batch is wanted."""

        gate: threading.Event = field(default_factory=threading.Event)
        seen: list[list[bool]] = field(default_factory=list)
        listener: Any = None
        samples: int = 1

        def try_answer(self, questions: Sequence[Question], wanted: Wanted | None) -> list[Judgement]:
            assert wanted is not None
            end = time.monotonic() + 20
            while any(still := [wanted(k) for k in range(len(questions))]) and time.monotonic() < end:
                if not self.seen or self.seen[-1] != still:
                    self.seen.append(still)
                self.gate.set()
                time.sleep(0.001)
            return Constant().try_answer(questions)

    model = Writes()
    with running(model, batch=2, linger_s=1.0) as batcher:
        gone, late = batcher.compare(asked("gone"), FAR), batcher.compare(asked("late"), time.monotonic() + 0.3)
        assert model.gate.wait(20)
        gone.cancel()
        with pytest.raises(Refusal, match="deadline"):
            late.result(20)
    assert model.seen == [[True, True], [False, True]]


def test_one_clients_question_that_breaks_the_model_fails_no_others() -> None:
    model = Gated(poison="poison")
    with running(model) as batcher:
        occupy(model, batcher)
        sound = [batcher.compare(asked(name), FAR) for name in ("a", "b")]
        broken = batcher.compare(asked("poison"), FAR)
        model.gate.set()
        assert [future.result(20)[0].question for future in sound] == ["a 0", "b 0"]
        with pytest.raises(Refusal) as refused:
            broken.result(20)
    assert (refused.value.status, "0xdeadbeef" in refused.value.message) == (500, False)


def test_a_listener_that_is_down_is_no_fault_of_the_request() -> None:
    model = Gated(poison="first", error=ListenerUnavailable("http://10.0.0.1:8000 is down"))
    model.gate.set()
    with running(model) as batcher, pytest.raises(Refusal) as refused:
        batcher.compare(asked("first"), FAR).result(20)
    assert (refused.value.status, refused.value.told("1").retryable) == (503, True)
    assert "10.0.0.1" not in refused.value.message


def test_stopping_answers_what_was_submitted() -> None:
    model = Gated()
    with running(model, batch=2) as batcher:
        occupy(model, batcher)
        futures = [batcher.compare(asked(str(k)), FAR) for k in range(7)]
        threading.Timer(0.05, model.gate.set).start()
        batcher.stop()
        assert all(future.done() for future in futures)
