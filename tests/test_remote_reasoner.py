"""A reasoner behind a chat API judges as it does here, and a reward model can be made of servers alone."""

from collections.abc import Mapping

import numpy as np
import pytest

import earshot
from earshot.config import ListenerConfig
from earshot.errors import InputError, ListenerUnavailable, RemoteError
from earshot.judging.model import describe
from earshot.judging.model import load as load_here
from earshot.listener.build import Loaded, build_listener
from earshot.listener.engine import EngineListener
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.reasoner.engine import EngineReasoner
from earshot.train.grpo import listener_spec
from tests.judging.opinions import shade
from tests.servers import FakeVllm, Reply, answering, remote_listener
from tests.vlm.models import noisy_pair, tiny

PAIRS = [noisy_pair("a", "a red circle", 0), noisy_pair("b", "two blue squares", 1)]
TRACE = "<think> red </think><answer>1</answer>"


@pytest.fixture(autouse=True)
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)


def chat(url: str) -> EngineListener:
    listener = remote_listener(f"{url}/v1", prompts="brief")
    assert isinstance(listener, EngineListener)
    return listener


def test_it_writes_what_the_model_writes_here() -> None:
    vlm = tiny("llava")
    with answering(FakeVllm(vlm)) as url:
        judged = EngineReasoner(chat(url), max_new_tokens=6, temperature=0.0).judge(PAIRS, samples=1, seed=3)
    assert judged == Reasoner(vlm, max_new_tokens=6, temperature=0.0).judge(PAIRS, samples=1, seed=3)


def test_its_samples_are_told_in_the_pairs_own_sides_with_its_own_probabilities() -> None:
    vlm = tiny("qwen2_5_vl")
    fake = FakeVllm(vlm, writes=TRACE)
    with answering(fake) as url:
        (judged, _) = EngineReasoner(chat(url)).judge(PAIRS, samples=2)
    assert [sample.order for sample in judged] == ["forward"] * 2 + ["swapped"] * 2
    assert [sample.side for sample in judged] == ["first"] * 2 + ["second"] * 2
    forward, swapped = LocalListener(vlm).p_first([PAIRS[0], PAIRS[0].swapped()], ["red", "red"])
    found = [sample.p_first for sample in judged]
    np.testing.assert_allclose(found, [forward, forward, 1 - swapped, 1 - swapped], atol=1e-6)
    seeds = [body["seed"] for body in fake.asked if "seed" in body]
    assert len(set(seeds)) == 4  # two pairs in two orders


def test_a_reward_model_of_servers() -> None:
    vlm = tiny("llava")

    def listens(path: str, body: object, headers: object) -> Reply:
        return Reply({"p_first": [0.75]})

    with answering(FakeVllm(vlm, writes=TRACE)) as url, answering(listens) as other:
        model = earshot.load(f"{url}/v1#tiny,prompts=brief", listener=other)
        told = model.compare(prompt="red", first=shade(90), second=shade(130))
        assert told.p_read["served"] == pytest.approx(0.5)  # 0.75 for whichever is shown first
        assert describe(model)["model"] == {"name": "tiny", "prompts": vlm.prompts.fingerprint}
    with pytest.raises(InputError, match=r"judges by itself, and is asked by earshot\.Client"):
        load_here("http://127.0.0.1:9")


@pytest.mark.parametrize("option", ["orders=both", "temperature=2", "redaction=answer", "dtype=bfloat16"])
def test_a_reasoner_on_a_server_takes_only_what_is_about_its_server(option: str) -> None:
    with pytest.raises(InputError, match="takes no option but prompts, key_env"):
        earshot.load(f"http://127.0.0.1:9/v1#x,{option}")
    with pytest.raises(InputError, match="unknown key 'prompt'; the nearest known key is 'prompts'"):
        earshot.load("http://127.0.0.1:9/v1#x,prompt=brief")


def test_its_key_is_the_reasoners_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARSHOT_REASONER_KEY", "ours")
    monkeypatch.setenv("OTHER", "theirs")
    keys = []

    def listens(path: str, body: object, headers: Mapping[str, str]) -> Reply:
        keys.append(headers.get("authorization"))
        return Reply({"data": [{"id": "tiny"}]})

    with answering(listens) as url:
        for address in (f"{url}/v1", f"{url}/v1,key_env=OTHER"):
            assert describe(earshot.load(address))["model"]["name"] == "tiny"
    assert keys == ["Bearer ours", "Bearer theirs"]


def test_a_server_that_gives_other_than_asked_is_an_error() -> None:
    nothing = Reply({"choices": [], "data": [{"id": "m"}]})
    with (
        answering(lambda path, body, headers: nothing) as url,
        pytest.raises(RemoteError, match="0 completions, expected 1"),
    ):
        EngineReasoner(chat(url)).judge(PAIRS[:1])


def test_training_takes_an_address_for_a_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []

    def listens(path: str, body: dict[str, list[str]], headers: dict[str, str]) -> Reply:
        keys.append(headers["authorization"])
        return Reply({"p_first": [0.75] * len(body["traces"])})

    monkeypatch.setenv("MINE", "secret")
    with answering(listens) as url:
        remote = {"key_env": "MINE", "patience_s": 0.1}
        config = ListenerConfig.model_validate(
            {"paths": url, "prompts": "brief", "remote": remote, "both_orders": True}
        )
        loaded: Loaded = {}
        listener = build_listener(listener_spec(config), loaded)
        assert listener.p_first(PAIRS[:1], ["first : left red , clean ."]).tolist() == [0.5]
    assert loaded == {} and set(keys) == {"Bearer secret"}
    again = build_listener(listener_spec(config))  # not over the connection that is still open
    with pytest.raises(ListenerUnavailable):
        again.p_first(PAIRS[:1], [None])
