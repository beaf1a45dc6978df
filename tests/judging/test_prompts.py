"""A model is asked in the words of its folder, or of whoever asks, and its answers are read where they part."""

import json
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from earshot.cli.main import app
from earshot.errors import ConfigError, ListenerUnavailable, ModelError
from earshot.judging.model import describe, load
from earshot.listener.build import language_of
from earshot.listener.local import LocalListener
from earshot.listener.spec import ListenerSpec
from earshot.protocol import prompt_set
from earshot.reasoner import Reasoner
from earshot.vlm import load as load_vlm
from earshot.world.make import Recipe, make_set
from tests.servers import FakeVllm, answering, remote_listener
from tests.vlm.models import noisy_pair, tiny

UNIFIED = prompt_set("unifiedreward-think")
HERS = prompt_set(
    {
        "name": "hers",
        "question": "{prompt} ?",
        "system": "You judge.",
        "answer": {"first": "Image 1 is better", "second": "Image 2 is better"},
    }
)
PAIR = noisy_pair("a", "a red circle", 0)
RED, BLUE = (Image.new("RGB", (56, 56), colour) for colour in ("red", "blue"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny("qwen2_5_vl").save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def hers(tmp_path: Path) -> Path:
    file = tmp_path / "hers.yaml"
    file.write_text(json.dumps(HERS.model_dump()))  # JSON is YAML
    return file


def test_the_reasoner_is_asked_as_it_is_said_and_its_listener_in_the_words_of_its_own_folder(folder, hers):
    model = load(str(folder), listener=str(folder), device="cpu", prompts=hers)
    listener = model.listener
    assert isinstance(model.reasoner, Reasoner) and isinstance(listener, LocalListener)
    assert (model.reasoner.vlm.prompts, listener.vlm.prompts.name) == (HERS, "brief")
    assert model.reasoner.vlm.model is listener.vlm.model  # loaded once
    told = describe(model)
    assert told["model"]["prompts"] == HERS.fingerprint
    both = load(str(folder), listener=f"{folder},prompts={hers}", device="cpu")
    assert isinstance(both.listener, LocalListener) and both.listener.vlm.prompts == HERS
    assert describe(both)["listeners"]["model"]["prompts"] == HERS.fingerprint


def test_a_folder_carries_its_words_whole_and_older_ones_their_name(folder, tmp_path):
    vlm = load_vlm(folder, device="cpu")
    vlm.asked(HERS).save(tmp_path / "trained")
    assert load_vlm(tmp_path / "trained", device="cpu").prompts == HERS
    (folder / "earshot.json").write_text('{"prompts": "standard"}')
    assert load_vlm(folder, device="cpu").prompts == prompt_set("standard")
    (folder / "earshot.json").write_text('{"prompts": {"name": "x", "question": "?"}}')
    with pytest.raises(ModelError, match=r"earshot.json: prompts: question holds '\{prompt\}' 0 times"):
        load_vlm(folder, device="cpu")


def test_what_a_published_reasoner_writes_is_read_in_its_own_form():
    vlm = tiny("qwen2_5_vl").asked(UNIFIED)
    texts = [f"<think>\n1. Red.\n</think>\n<answer>Image {n} is better</answer>" for n in (1, 2)]
    written = [vlm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    with patch("earshot.reasoner.local.sample", lambda *_, **__: written):
        (forward, back) = Reasoner(vlm, max_new_tokens=64).judge([PAIR])[0]
    assert (forward.side, back.side, forward.trace) == ("first", "first", "1. Red.")
    one, two = written
    part = next(k for k, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    prompt = dict(vlm.encode_pairs([PAIR]))
    new = {"input_ids": one[:part], "attention_mask": [1] * part, "mm_token_type_ids": [0] * part}
    row = {k: torch.cat([v, torch.tensor([new[k]])], dim=1) if k in new else v for k, v in prompt.items()}
    with torch.no_grad():
        p = torch.softmax(vlm.model(**row).logits[0, -1, [one[part], two[part]]].double(), -1)[0]
    assert forward.p_first == pytest.approx(float(p), abs=1e-5)


def test_what_a_chat_template_cannot_say_is_refused():
    vlm = tiny("qwen2_5_vl")
    with pytest.raises(ModelError, match="knows no option 'enable_thinking', which prompt set 'hers' sets"):
        vlm.asked(HERS.model_copy(update={"template": {"enable_thinking": True}}))
    deaf = vlm.processor.chat_template.replace("in messages", "in messages[1:]", 1)
    with (
        patch.object(vlm.processor, "chat_template", deaf),
        pytest.raises(ModelError, match="no place for the system turn of prompt set 'hers'"),
    ):
        vlm.asked(HERS)


def test_a_system_turn_stands_in_the_prompt_once_whatever_form_the_template_reads():
    vlm = tiny("qwen2_5_vl")
    plain = (
        "{%- for m in messages %}<|im_start|>{{ m['role'] }}\n{%- if m['content'] is string %}{{ m['content'] }}"
        "{%- else %}{%- for c in m['content'] %}"
        "{{ '<|vision_start|><|image_pad|><|vision_end|>' if c['type'] == 'image' else"
        " c['text'] if m['role'] == 'user' else c }}{%- endfor %}{%- endif %}<|im_end|>\n{%- endfor %}"
    )
    for template in (vlm.processor.chat_template, plain):
        with patch.object(vlm.processor, "chat_template", template):
            asked = vlm.asked(HERS)
            text = asked.rendered(asked.messages("a cat"))
        assert text.count("You judge.") == 1 and "'text'" not in text and "a cat ?" in text


def test_prompts_that_are_not_there_are_an_error_before_anything_is_judged(folder):
    with pytest.raises(ConfigError, match="prompts 'nobody': no such file, expected one or a name"):
        load(str(folder), device="cpu", prompts="nobody")


def test_answers_part_where_a_servers_tokenizer_says(hers, monkeypatch):
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)  # of an untrained model
    vlm = tiny("qwen2_5_vl").asked(HERS)
    fake = FakeVllm(vlm)
    with answering(fake) as url:
        p = remote_listener(f"{url}/v1", prompts=str(hers)).p_first([PAIR, PAIR], ["red", None])
    assert p.tolist() == pytest.approx(LocalListener(vlm).p_first([PAIR, PAIR], ["red", None]).tolist(), abs=1e-6)
    system, user, begun = max((body["messages"] for body in fake.asked), key=lambda said: len(said[-1]["content"]))
    assert system == {"role": "system", "content": "You judge."} and user["role"] == "user"
    assert begun["content"].startswith("<think> red </think><answer>Image")


def test_answers_that_begin_alike_are_refused_where_nobody_tells_where_they_part(hers):
    fake = FakeVllm(tiny("qwen2_5_vl").asked(HERS), tokenizes=False)
    with (
        answering(fake) as url,
        pytest.raises(ListenerUnavailable, match="begin alike, and the server has no /tokenize"),
    ):
        remote_listener(f"{url}/v1", prompts=str(hers)).p_first([PAIR], [None])


@pytest.mark.parametrize(
    "message",
    [
        {"content": "<think>red</think><answer>Image 2 is better</answer>"},
        {"content": "red</think><answer>Image 2 is better</answer>"},  # the template has opened it
        {"content": "\n<answer>Image 2 is better</answer>", "reasoning_content": "red"},  # the server parses
        {"content": "\n<answer>Image 2 is better</answer>", "reasoning": "red"},
    ],
)
def test_a_completion_is_whole_whatever_a_server_has_taken_out_of_it(message, monkeypatch):
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)
    fake = FakeVllm(tiny("qwen2_5_vl").asked(HERS), says=message)
    with answering(fake) as url:
        model = load(f"{url}/v1", prompts=HERS.model_copy(update={"template": {"enable_thinking": True}}))
        found = model.compare(prompt="a", first=RED, second=BLUE)
    assert [sample.malformed for sample in found.samples] == [None, None]
    assert {sample.trace for sample in found.samples} == {"red"}
    assert all(body["chat_template_kwargs"] == {"enable_thinking": True} for body in fake.asked)


def test_thoughts_that_were_cut_off_are_malformed_and_no_error():
    fake = FakeVllm(tiny("qwen2_5_vl").asked(HERS), says={"content": None, "reasoning_content": "red and"})
    with answering(fake) as url:
        found = load(f"{url}/v1", prompts=HERS).compare(prompt="a", first=RED, second=BLUE)
    assert {sample.malformed for sample in found.samples} == {"unclosed think"}


def test_models_that_are_asked_differently_may_read_the_same_traces(folder, hers):
    spec = ListenerSpec((str(folder),), prompts=str(hers))
    assert language_of(spec, {}) == prompt_set("standard").language


def test_the_command_takes_prompts_and_does_not_mix_them_in_a_run(folder, hers, tmp_path):
    make_set(tmp_path / "set", Recipe("test"), 2, workers=1)
    out = ["--data", str(tmp_path / "set"), "--out", str(tmp_path / "run"), "--max-new-tokens", "2"]
    call = ["eval", "--model", str(folder), *out, "--temperature", "0"]
    assert CliRunner().invoke(app, [*call, "--prompts", str(hers)]).exit_code == 0
    found = CliRunner().invoke(app, [*call, "--prompts", "standard"])
    assert found.exit_code != 0 and "prompts" in str(found.exception)
