"""What vLLM is asked, and what is refused of it; `fake_vllm` answers, and the real one in `make engines`."""

from pathlib import Path

import numpy as np
import pytest
from pytest import MonkeyPatch

import earshot
from earshot.errors import InputError, ModelError, PromptTooLong
from earshot.judging.model import describe, load
from earshot.listener.engine import EngineListener
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.reasoner.engine import EngineReasoner
from earshot.vlm import load as load_vlm
from earshot.vlm.on_vllm import VllmModel, load_on_vllm
from tests.vlm import fake_vllm
from tests.vlm.models import noisy_pair, tiny

PAIRS = [noisy_pair("a", "a red circle", 0), noisy_pair("b", "two blue squares", 1)]


@pytest.fixture(autouse=True)
def fake(monkeypatch: MonkeyPatch) -> None:
    fake_vllm.install(monkeypatch)
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)  # the models are untrained


@pytest.fixture(scope="module", params=["qwen2_5_vl", "llava"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where: Path = tmp_path_factory.mktemp("models") / request.param
    tiny(request.param).save(where)
    return where


def on_vllm(folder: Path, **options: object) -> VllmModel:
    return load_on_vllm(str(folder), dtype="float32", options=options)


def test_it_writes_and_answers_what_the_model_writes_and_answers_here(folder: Path) -> None:
    model, here = on_vllm(folder), load_vlm(folder, dtype="float32").freeze()
    judged = EngineReasoner(EngineListener(model), max_new_tokens=6, temperature=0.0).judge(PAIRS)
    assert judged == Reasoner(here, max_new_tokens=6, temperature=0.0).judge(PAIRS)
    rows, traces = [PAIRS[0], PAIRS[0], PAIRS[1]], ["red", None, "two blue"]
    found = EngineListener(model).p_first(rows, traces)
    np.testing.assert_allclose(found, LocalListener(here).p_first(rows, traces), atol=1e-6)


def test_images_go_in_once_for_all_completions_and_what_ends_and_is_banned_is_ours(folder: Path) -> None:
    model = on_vllm(folder)
    model.llm.asked.clear()
    texts = model.complete(PAIRS, [3, 4], n=5, temperature=0.7, max_new_tokens=4)
    assert [len(several) for several in texts] == [5, 5]
    (_, one), (prompt, other) = model.llm.asked
    assert (one.seed, other.seed, other.n, other.temperature, other.max_tokens) == (3, 4, 5, 0.7, 4)
    assert one.stop_token_ids == model.vlm.stop_ids
    assert one.logit_bias == dict.fromkeys(model.vlm.forbidden_ids, -100.0)
    image = model.vlm.tokenizer.convert_tokens_to_ids(model.vlm.processor.image_token)
    assert prompt["prompt_token_ids"].count(image) == len(prompt["multi_modal_data"]["image"]) == 2


def test_a_prompt_that_vllm_writes_out_in_another_way_is_refused_before_anything_is_judged(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"vLLM computes prompt 0 as \d+ tokens and Earshot as \d+"):
        on_vllm(folder, images_again=2)


def test_what_vllm_would_cut_without_a_word_is_refused(folder: Path) -> None:
    here = load_vlm(folder, dtype="float32")
    n = int(here.encode_pairs(PAIRS[:1])["attention_mask"].sum())
    room = n + 5  # the pair that an engine is tried with is shorter, or as long, and is given one token
    model = VllmModel(here, on_vllm(folder).llm, here_limits(), "")
    model.llm.llm_engine.model_config.max_model_len = room
    model.complete(PAIRS[:1], [0], n=1, temperature=0.0, max_new_tokens=5)
    with pytest.raises(PromptTooLong, match=rf"up to 6 follow; vLLM was given room for {room}"):
        model.complete(PAIRS[:1], [0], n=1, temperature=0.0, max_new_tokens=6)
    model.llm.llm_engine.model_config.max_model_len = n - 1  # here it fails by itself
    with pytest.raises(PromptTooLong, match="so shorten it"):
        model.complete(PAIRS[:1], [0], n=1, temperature=0.0, max_new_tokens=1)


def here_limits() -> earshot.images.ImageLimits:
    return earshot.images.DEFAULT_LIMITS


def test_a_model_that_vllm_does_not_know_is_told_by_its_own_words(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"vLLM does not load it \(ValueError: Model architectures \['Unheard'\]"):
        on_vllm(folder, knows=False)


def test_a_reward_model_on_vllm_gives_the_numbers_of_one_that_is_not(folder: Path) -> None:
    how = {"temperature": 0.0, "max_new_tokens": 5, "dtype": "float32", "prompts": "brief"}
    there = load(folder, listener={"ear": str(folder)}, engine="vllm", **how)
    here = load(folder, listener={"ear": str(folder)}, **how)
    one, other = (model.compare(prompt="red", first=PAIRS[0].first, second=PAIRS[0].second) for model in (there, here))
    assert [sample.trace for sample in one.samples] == [sample.trace for sample in other.samples] != []
    heard = [model.listeners["ear"].p_first(PAIRS, ["red", None]) for model in (there, here)]
    np.testing.assert_allclose(*heard, atol=1e-6)
    told = describe(there)
    assert told["model"]["vllm"] == told["listeners"]["ear"]["vllm"] == "0.fake"
    assert told["model"]["files_sha256"] == told["listeners"]["ear"]["files_sha256"] != ""
    # The listener is the reasoner's engine: there is one.
    assert there.listeners["ear"].model.llm is there.reasoner.own.model.llm  # type: ignore[attr-defined]


def test_options_without_the_engine_that_has_them_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="engine_options are of engine vllm"):
        load(folder, engine_options={"max_model_len": 100})
    with pytest.raises(InputError, match="has an engine of its own"):
        load("http://127.0.0.1:9/v1#x", engine="vllm")
    with pytest.raises(ModelError, match="device 'cuda' was asked for, and this vLLM computes on 'cpu'"):
        load(folder, engine="vllm", device="cuda")


def test_without_vllm_its_name_and_the_place_to_read_are_told(folder: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="the package vllm is not installed"):
        load(folder, engine="vllm")
