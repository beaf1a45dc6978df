"""What is said of a model before its weights are read is what the engine then does with it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from earshot.errors import ModelError
from earshot.images import Sight
from earshot.judging.examine import Part, examine
from earshot.vlm import load
from earshot.vlm.prefix import Form, encode_prefix, shared_logps
from tests.vlm.families import FAMILIES, build
from tests.vlm.models import noisy_pair

SHARED = Part("shared")
SLIDES = "its attention slides over 96 tokens and rows have"
CHECKPOINTED = "its layers are checkpointed"
# How each is judged, trained, and trained with checkpointed layers: shared, or the beginning of why not.
SAID: dict[str, tuple[str | None, str | None, str | None]] = {
    "qwen2_5_vl": (None, None, None),
    "qwen3_vl_thinking": (None, None, CHECKPOINTED),
    "llava_onevision": (None, None, CHECKPOINTED),
    "smolvlm": (None, None, CHECKPOINTED),
    "gemma3_short_window": (None, SLIDES, SLIDES),
    "qwen3_5": ("it has linear_attention layers",) * 3,
    "mllama": ("its layers read images through cross_attention_mask",) * 3,
}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds a family's checkpoint once."""
    folder = tmp_path_factory.mktemp("families")
    return cache(lambda name: build(name, folder))


@pytest.mark.parametrize("name", SAID)
def test_each_part_is_shared_or_whole_for_the_reason_that_the_family_has(name: str, folder_of: Any) -> None:
    found = examine(load(folder_of(name), weights=False), new_tokens=16)
    for parts, why in zip(
        (("judging", "listening"), ("logps", "grpo"), ("grpo_checkpointed",)), SAID[name], strict=True
    ):
        for part in parts:
            how, said = found.parts[part]
            assert how == ("shared" if why is None else "whole")
            assert said is None if why is None else str(said).startswith(why), said


@pytest.mark.parametrize("name", SAID)
def test_what_is_said_of_judging_and_of_the_forms_is_what_the_engine_does(name: str, folder_of: Any) -> None:
    vlm = load(folder_of(name)).freeze()
    found = examine(vlm, new_tokens=16)
    prompts = vlm.encode_pairs([noisy_pair("p")])
    assert (encode_prefix(vlm.model, prompts).cache is not None) == (found.parts["judging"] == SHARED)
    completions = torch.tensor([vlm.tokenizer("1 2", add_special_tokens=False)["input_ids"]] * 2)
    for form in get_args(Form):
        try:
            shared_logps(vlm.model, dict(prompts), [0, 0], completions, torch.ones_like(completions), form=form)
            refused = None
        except ModelError as error:
            refused = str(error)
        assert (refused is None) == (found.forms[form] is None), (form, refused, found.forms[form])
        assert refused is None or str(found.forms[form]) in refused


def test_a_model_is_told_alike_with_and_without_its_weights(folder_of: Any) -> None:
    folder = folder_of("qwen3_vl_thinking")
    assert examine(load(folder, weights=False), new_tokens=16) == examine(load(folder), new_tokens=16)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # GLM's processor, of transformers
def test_what_cannot_be_trained_has_no_estimate_of_training_and_judges(folder_of: Any) -> None:
    found = examine(load(folder_of("glm4v_moe"), weights=False), new_tokens=16)
    assert {found.parts[name].how for name in ("grpo", "grpo_checkpointed", "sft")} == {"refused"}
    assert "balancing loss" in str(found.parts["grpo"].why)
    assert found.parts["judging"] == SHARED
    assert found.memory.keys() == {"judging"}


def test_a_loss_that_balances_experts_makes_whole_steps_of_what_is_otherwise_shared(folder_of: Any) -> None:
    vlm = load(folder_of("qwen3_vl_moe"), weights=False)
    text = vlm.model.config.get_text_config()
    found = {}
    for weight in (0.0, 0.01):
        text.router_aux_loss_coef = weight
        parts = examine(vlm, new_tokens=16).parts
        assert parts["judging"] == parts["logps"] == SHARED
        found[weight] = parts["grpo"]
    assert found == {
        0.0: SHARED,
        0.01: Part("whole", "a loss balances its experts, and counts the tokens of every row"),
    }


def test_a_template_that_opens_the_thoughts_and_prompts_that_stand_alone_are_told(folder_of: Any) -> None:
    thinking, plain, alone = (
        examine(load(folder_of(name), weights=False), new_tokens=16)
        for name in ("qwen3_vl_thinking", "qwen2_5_vl", "smolvlm")
    )
    assert (thinking.opened, plain.opened) == ("<think>\n", "")
    assert (plain.together, alone.together) == (True, False)
    assert list(plain.answers) == ["1", "2"]
    assert plain.context_tokens == 32_768


def test_a_limit_of_pixels_bounds_the_largest_prompt_and_the_memory(folder_of: Any) -> None:
    folder = folder_of("qwen2_5_vl")
    small, large = (
        examine(load(folder, weights=False, sight=Sight(max_pixels=side**2)), new_tokens=16) for side in (112, 224)
    )
    assert (small.max_pixels, large.max_pixels) == (112**2, 224**2)
    # One token for 28 × 28 pixels, four patches of 14 × 14 each; two images.
    assert large.largest_prompt.tokens - small.largest_prompt.tokens == 2 * (8**2 - 4**2)
    assert (small.largest_prompt.patches, large.largest_prompt.patches) == (2 * 8**2, 2 * 16**2)
    assert small.memory["judging"].cache < large.memory["judging"].cache


def test_answers_that_are_no_single_tokens_are_refused(folder_of: Any) -> None:
    vlm = load(folder_of("qwen2_5_vl"), weights=False)
    vlm.tokenizer.add_tokens(["<answer>1"])
    with pytest.raises(ModelError, match="do not differ at one token"):
        examine(vlm, new_tokens=16)


@pytest.mark.conformance
@pytest.mark.filterwarnings("ignore::Warning:transformers")
@pytest.mark.parametrize("name", [name for name, one in FAMILIES.items() if one.chat is not None])
def test_every_family_is_examined_or_refused(name: str, folder_of: Any) -> None:
    try:
        found = examine(load(folder_of(name), weights=False), new_tokens=16)
    except ModelError as error:
        assert "orchvision" in str(error) or "decoder" in str(error), error
        return
    assert found.memory["judging"].total > 0 and found.parts.keys() == {
        *("judging", "listening", "logps", "grpo", "grpo_checkpointed", "sft")
    }
