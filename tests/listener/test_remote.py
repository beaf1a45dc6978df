"""A listener on another machine says what the same model says here, or that it is unavailable."""

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from earshot.errors import ListenerUnavailable
from earshot.judging.model import RewardModel
from earshot.listener import Listener, ask
from earshot.listener.local import LocalListener
from earshot.listener.remote import TRACES_AT_ONCE
from earshot.serve import Server
from tests.judging.opinions import Opinionated
from tests.servers import FakeVllm, Reply, answering, remote_listener, served
from tests.vlm.models import FAMILIES, noisy_pair, tiny

PAIRS = [noisy_pair("a", "a red circle", 0), noisy_pair("b", "two blue squares and a red circle", 1)]
TRACES = ["first is red", None, "second is blue and first is red and", "red"]
ROWS = [PAIRS[0], PAIRS[0], PAIRS[1], PAIRS[0]]  # the first pair comes back after the second


def serving(listener: Listener) -> Server:
    return Server(RewardModel(Opinionated(), {"listener": listener}))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("how", [{}, {"by_id": False}, {"tokenizes": False}], ids=["by-id", "older", "top-only"])
def test_a_chat_api_says_what_the_model_says_here(
    family: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)  # of an untrained model
    vlm = tiny(family)
    fake = FakeVllm(vlm, top=10**6, **how)
    with answering(fake) as url:
        listener = remote_listener(f"{url}/v1", prompts=vlm.prompts.name)
        assert listener.name == "tiny"
        p = ask(listener, ROWS, TRACES)
    np.testing.assert_allclose(p, LocalListener(vlm).p_first(ROWS, TRACES), atol=1e-6)
    assert len(fake.asked) == len(ROWS)
    assert all(("logprob_token_ids" in body) == fake.tokenizes for body in fake.asked)


def test_answers_that_are_not_among_the_most_probable_cannot_be_read() -> None:
    fake = FakeVllm(tiny("llava"), top=1, by_id=False)
    with answering(fake) as url, pytest.raises(ListenerUnavailable, match="no log-probability of the answer"):
        remote_listener(f"{url}/v1", prompts="brief").p_first(ROWS, TRACES)


def test_a_server_that_does_not_continue_the_turn_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    vlm = tiny("llava")
    both = [*_answers(FakeVllm(vlm)), *_answers(FakeVllm(vlm, continues=False))]
    mass = np.exp(both).sum(1).tolist()
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", (mass[0] + mass[1]) / 2)
    fakes = [FakeVllm(vlm), FakeVllm(vlm, continues=False)]
    heard = []
    for fake in fakes:
        with answering(fake) as url:
            try:
                remote_listener(f"{url}/v1", prompts="brief").p_first(PAIRS[:1], [None])
                heard.append(True)
            except ListenerUnavailable as error:
                assert "does not continue the turn" in str(error)
                heard.append(False)
    assert heard == [mass[0] > mass[1], mass[1] > mass[0]]


def _answers(fake: FakeVllm) -> list[list[float]]:
    with answering(fake) as url:
        listener: Any = remote_listener(f"{url}/v1", prompts="brief")
        return listener.model.log_probabilities(PAIRS[:1], [0], [None]).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_earshot_serve_says_what_the_model_says_here(family: str) -> None:
    local = LocalListener(tiny(family))
    with served(serving(local)) as url:
        p = ask(remote_listener(url), ROWS, TRACES)
    np.testing.assert_allclose(p, local.p_first(ROWS, TRACES), atol=1e-6)


def test_the_images_of_a_pair_go_once_for_all_its_traces() -> None:
    bodies = []

    def heard(path: str, body: Any, headers: Mapping[str, str]) -> Reply:
        bodies.append(body)
        return Reply({"p_first": [0.25] * len(body["traces"])})

    traces: list[str | None] = [f"trace {k}" for k in range(TRACES_AT_ONCE + 3)]
    with answering(heard) as url:
        p = ask(remote_listener(url, concurrency=1), [PAIRS[0]] * len(traces) + [PAIRS[1]], [*traces, None])
    assert p.tolist() == [0.25] * (len(traces) + 1)
    assert [len(body["traces"]) for body in bodies] == [TRACES_AT_ONCE, 3, 1]


@pytest.mark.parametrize(
    "told", [{"p_first": [0.5]}, {"p_first": [0.5, None]}, {"p_first": [0.5, 2.0]}, {"p_first": 0.5}, [], None]
)
def test_an_answer_that_is_no_probability_for_each_is_none(told: Any) -> None:
    with answering(lambda path, body, headers: Reply(told)) as url, pytest.raises(ListenerUnavailable):
        remote_listener(url).p_first([PAIRS[0]] * 2, TRACES[:2])


@pytest.mark.parametrize("kind", ["", "/v1"])
def test_a_failure_ends_what_has_not_begun_and_leaves_no_threads(kind: str) -> None:
    asked = []

    def refusing(path: str, body: Any, headers: Mapping[str, str]) -> Reply:
        if path == "/v1/models":
            return Reply({"data": [{"id": "tiny"}]})
        if path == "/tokenize":
            return Reply({}, 404)
        asked.append(body)
        return Reply({"message": "no"}, 400)

    with answering(refusing) as url, pytest.raises(ListenerUnavailable, match="refused with 400"):
        remote_listener(url + kind, concurrency=1).p_first(ROWS, TRACES)
    assert len(asked) == 1
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("earshot-remote")]


def test_a_server_that_is_away_for_a_while_is_waited_for() -> None:
    local = LocalListener(tiny("llava"))
    with served(serving(local)) as url:
        pass
    port = int(url.rpartition(":")[2])
    listener = remote_listener(url, patience_s=30.0)
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(ask(listener, ROWS, TRACES)))
    asking.start()
    asking.join(0.5)
    assert asking.is_alive()

    def back(path: str, body: Any, headers: Mapping[str, str]) -> Reply:
        return Reply({"p_first": [0.5] * len(body["traces"])})

    with answering(back, port=port):
        asking.join(30)
    assert answers[0].tolist() == [0.5] * len(ROWS)
    with pytest.raises(ListenerUnavailable, match="no answer"):
        remote_listener(url, patience_s=0.1).p_first(ROWS, TRACES)
