"""A short question waits for no queue of long ones, whoever asks them, and long ones are asked, too."""

import time
from typing import Any

from PIL import Image

from earshot.judging.question import Question
from earshot.serve.batching import Batcher
from earshot.serve.queueing import Hearing, Job, Queue
from earshot.types import Pair, Votes
from tests.serve.test_batching import FAR, Gated, asked, running
from tests.serve.test_life import wait


def question(name: str, tokens: int = 100, pixels: int = 0) -> Question:
    side = Image.new("RGB", (pixels // 8, 8)) if pixels else None
    return Question(Pair(name, name.ljust(tokens), side, side, Votes(0.0, 0.0)), False, 0)  # type: ignore[arg-type]


def job(name: str, tokens: int = 100, client: str = "", n: int = 1, pixels: int = 0) -> Job:
    return Job("compare", [question(f"{name}{k}", tokens, pixels) for k in range(n)], FAR, client)


def queue(*jobs: Job, batch: int = 4, tokens: int = 4096) -> Queue:
    queue = Queue(batch, tokens)
    for one in jobs:
        queue.add(one, 0.0)
    return queue


def batches(queue: Queue, **how: Any) -> list[list[str]]:
    found = []
    while queue.waiting(0.0, **how):
        found.append([one.items[k].pair.prompt.strip() for one, k in queue.take(**how).pieces])
    return found


def test_tokens_are_bytes_of_text_and_a_kibi_of_pixels() -> None:
    assert job("a", 100).tokens == 100
    assert job("é" * 50).tokens == 150  # with as many spaces
    assert job("a", 100, pixels=10_240).tokens == 100 + 2 * 10
    pair = question("a", 100).pair
    assert Job("listen", [Hearing(pair, "b" * 50), Hearing(pair, None)], FAR).tokens == 150


def test_a_short_question_is_asked_next_however_many_long_ones_wait_of_the_same_client() -> None:
    waiting = queue(*(job(f"long{k}.", 4000) for k in range(10)))
    assert waiting.take().pieces[0][0].tokens == 4000
    waiting.add(job("short"), 0.0)
    assert batches(waiting)[0] == ["short0"]


def test_a_client_with_one_question_does_not_wait_for_another_with_many() -> None:
    waiting = queue(job("a", client="a", n=20))
    assert [len(waiting.take().pieces) for _ in range(2)] == [4, 4]
    waiting.add(job("b", client="b"), 0.0)
    assert "b0" in [one.items[k].pair.prompt.strip() for one, k in waiting.take().pieces]


def test_a_client_gets_no_more_for_asking_at_many_lengths() -> None:
    hog = [job(f"{size}.", size, client="hog", n=50) for size in (100, 400, 1600)]
    waiting = queue(*hog, job("b", 100, client="b", n=200), batch=4, tokens=1600)
    had = {"hog": 0, "b": 0}
    for _ in range(20):
        for one, _k in waiting.take().pieces:
            had[one.client] += one.tokens
    assert 0.6 < had["b"] / had["hog"] < 1.7


def test_long_questions_are_asked_among_short_ones_that_never_end() -> None:
    waiting = queue(job("long", 1600))
    for k in range(100):
        waiting.add(job(f"short{k}.", 100, n=4), 0.0)
        if "long" in str([one.items[0].pair.prompt for one, _ in waiting.take().pieces]):
            break
    assert k < 10


def test_nor_do_short_ones_that_come_one_by_one_keep_a_long_one_waiting() -> None:
    waiting = queue(*(job(f"long{k}.", 1600) for k in range(3)))
    had = [waiting.take().pieces[0][0].tokens]
    for k in range(40):
        waiting.add(job(f"short{k}.", 100), 0.0)  # the line was empty
        had.append(waiting.take().pieces[0][0].tokens)
    assert had.count(1600) == 2 and had[1:4] == [100] * 3


def test_a_batch_is_bounded_by_the_tokens_of_its_rows_as_long_as_the_longest() -> None:
    assert batches(queue(job("a", 1024, n=9), batch=16)) == [
        [f"a{k}" for k in ks] for ks in ((0, 1, 2, 3), (4, 5, 6, 7), (8,))
    ]
    assert batches(queue(job("a", 9000, n=2), batch=16)) == [["a0"], ["a1"]]
    # What is as long as others is asked with them; what is much longer is not.
    found = batches(queue(job("a", 100), job("b", 140), job("c", 700), batch=16))
    assert sorted(map(sorted, found)) == [["a0", "b0"], ["c0"]]


def test_of_two_batches_at_a_time_one_is_for_short_questions() -> None:
    model = Gated()
    with running(model, batch=1, at_once=2) as batcher:
        short = batcher.compare(asked("short"), FAR)
        model.gate.set()
        assert short.result(20)
        model.gate.clear()
        long = [batcher.compare([question(f"long{k}", 2000)], FAR) for k in range(3)]
        assert wait(lambda: len(model.batches) == 2)
        time.sleep(0.05)
        assert len(model.batches) == 2  # not a second long one, though a thread is free
        another = batcher.compare(asked("another"), FAR)
        assert wait(lambda: model.batches[2:] == [["another"]])
        model.gate.set()
        assert another.result(20) and all(one.result(20) for one in long)


def test_without_short_questions_long_ones_have_all_batches() -> None:
    model = Gated()
    with running(model, batch=1, at_once=2) as batcher:
        long = [batcher.compare([question(f"long{k}", 2000)], FAR) for k in range(2)]
        assert wait(lambda: len(model.batches) == 2)
        model.gate.set()
        assert all(one.result(20) for one in long)


def test_a_prompt_that_is_too_long_costs_those_asked_with_it_nothing() -> None:
    from earshot.errors import InputError
    from earshot.serve.refusals import Refusal
    from tests.judging.constant import Constant

    calls = []

    class Model:
        listener, samples = None, 1

        def try_answer(self, questions: Any, wanted: Any = None) -> list[Any]:
            calls.append(len(questions))
            told = Constant().try_answer(questions)
            return [
                InputError("prompt: it is long") if "long" in q.pair.prompt else a
                for q, a in zip(questions, told, strict=True)
            ]

    batcher = Batcher(Model(), linger_s=0.3)
    batcher.start()
    futures = [batcher.compare(asked(name), FAR) for name in ("long", "one", "two")]
    assert futures[1].result(20) and futures[2].result(20)
    error = futures[0].exception(20)
    assert isinstance(error, Refusal) and (error.status, error.code) == (422, "invalid_request")
    assert calls == [3]
    batcher.stop()
