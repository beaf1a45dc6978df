"""`earshot doctor --model` ends with 0 where all is well, 1 where numbers are wrong, 2 where a model cannot be used."""

import json
import re
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model
from transformers import Qwen2Config, Qwen2ForCausalLM

from earshot.cli import doctor
from earshot.cli.main import main
from earshot.judging import self_check
from earshot.judging.self_check import Check
from earshot.vlm import load
from tests.vlm.families import build
from tests.vlm.models import fresh, tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untaught model."""
    path = tmp_path_factory.mktemp("model") / "tiny"
    fresh("qwen2_5_vl").save(path)  # others set limits on the one that they share
    return path


def asked(path: object, *words: str) -> int:
    return main(["doctor", "--model", str(path), "--max-new-tokens", "8", *words])


def test_a_model_that_is_computed_rightly_ends_with_0_untaught_or_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked(folder) == 0
    text = " ".join(capsys.readouterr().out.split())
    for said in (
        "tiny: qwen2_5_vl (Qwen2_5_VLForConditionalGeneration)",
        "in the prompt set 'brief'; it opens its thoughts itself; it answers '1' (id",
        "of at most 3,136 pixels",
        "4,096 tokens; two such images with a short question take",
        "shared judging, listening, log-probabilities, GRPO, GRPO with checkpointed layers:",
        "whole SFT: every pair has one completion",
        "of log-probabilities: cache, packed, plain",
        "memory judging:",
        "memory GRPO with LoRA and checkpointed layers:",
        "8 new tokens each",
        "ok p(first) is one stock row's, in both orders: at most",
        "warning completions parse: 0 of 4",
    ):
        assert said in text, said


def test_one_object_holds_all_of_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert asked(folder, "--json", "--max-pixels", "1568", "--dtype", "bfloat16", "--device", "cpu") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["family"], told["max_pixels"], told["dtype"]) == (
        *(str(folder), "qwen2_5_vl", 1568, "bfloat16"),
    )
    assert told["parts"]["judging"] == {"how": "shared", "why": None}
    memory = told["memory"]["judging"]
    assert memory["total"] == memory["weights"] + memory["cache"] + memory["prefill"]
    assert [check["outcome"] for check in told["checks"]] == ["ok", "ok", "ok", "ok", "warning"]
    assert (told["ok"], told["unchecked"]) == (True, None)


def test_the_model_that_ships_with_earshot_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert asked("world:reasoner") == 0


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_an_adapter_is_examined_with_its_base(folder: Path, tmp_path: Path) -> None:
    adapted = get_peft_model(load(folder).model, LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    assert asked(tmp_path / "adapter") == 0


def test_wrong_numbers_end_with_1(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_check, "self_check", lambda vlm, new_tokens: [Check("p(first)", "failed", "0.4 apart")])
    assert asked(folder) == 1
    assert "failed p(first): 0.4 apart" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: build("paligemma2", path), "a base model, for it has no chat template"),
        (lambda path: build("florence2", path), "cannot be asked for a next token|chat template"),
        (lambda path: _text_only(path), "type qwen2 .* no image-text-to-text model"),
        (lambda path: path / "nowhere", "no such folder"),
        (lambda path: "owner/name", "hf download owner/name"),
        (lambda path: "http://localhost:8000/v1#name", "on a server"),
        (lambda path: "world:nobody", "no such model, expected one of: world:"),
    ],
)
def test_what_cannot_be_used_ends_with_2_and_one_line(make, reason, tmp_path, capsys) -> None:
    path = make(tmp_path)
    capsys.readouterr()
    assert asked(path) == 2
    out, error = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert re.search(reason, line), line


def test_a_model_whose_weights_are_not_here_is_told_but_for_its_numbers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    assert asked(tmp_path, "--json") == 2
    told = json.loads(capsys.readouterr().out)
    assert (told["checks"], told["ok"], told["family"]) == ([], False, "qwen2_5_vl")
    assert "safetensors" in told["unchecked"]


def test_a_model_that_is_larger_than_the_memory_is_not_loaded(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_room_gib", lambda facts, device: 0.0001)
    assert asked(folder) == 2
    text = " ".join(capsys.readouterr().out.split())
    assert "not checked its weights take" in text and "more than the 0.0 GiB here" in text


def test_options_of_a_model_want_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--max-pixels", "1000"]) == 2
    assert "give --model" in capsys.readouterr().err


def _text_only(path: Path) -> Path:
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    Qwen2ForCausalLM(config).save_pretrained(path)
    tiny("qwen2_5_vl").tokenizer.save_pretrained(path)
    return path
