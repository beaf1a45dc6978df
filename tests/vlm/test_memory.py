"""The estimate of memory: weights and caches are exact, activations near what autograd keeps."""

from functools import cache
from typing import Any

import pytest
import torch

from earshot.vlm import Vlm
from earshot.vlm.memory import Memory, Training, Work, _with_adapter, estimate_memory, largest_prompt
from earshot.vlm.prefix import encode_prefix, shared_logps
from earshot.vlm.prefix.growing import cache_rows
from earshot.vlm.tiny import TinySize, build_tiny
from tests.vlm.families import FAMILIES as CHECKPOINTS
from tests.vlm.families import build
from tests.vlm.models import CORPUS, FAMILIES, noisy_pair, tiny

ROWS, NEW_TOKENS = 4, 64


@cache
def wide(family: str) -> Vlm:
    """Wide enough that layers count and not what stands once for all of them, such as masks."""
    return build_tiny(family, CORPUS, size=TinySize(hidden=256, image_px=112), vocab_size=330)


def estimated(vlm: Vlm, training: Training | None = None, rows: int = ROWS, new_tokens: int = NEW_TOKENS) -> Memory:
    work = Work(largest_prompt(vlm), prompts=1, rows=rows, new_tokens=new_tokens)
    return estimate_memory(vlm.model.config, work, dtype=torch.float32, training=training)


def completions(vlm: Vlm) -> torch.Tensor:
    return torch.full((ROWS, NEW_TOKENS), vlm.tokenizer("1", add_special_tokens=False)["input_ids"][0])


def kept_by_autograd(vlm: Vlm, model: Any = None) -> int:
    """Bytes that a training pass over one prompt's completions saves for its gradients, weights left out."""
    model = vlm.model if model is None else model
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    prompts, written = dict(vlm.encode_pairs([noisy_pair("p", "a")])), completions(vlm)
    alive = []  # or freed storage would be counted twice under one address
    with torch.autograd.graph.saved_tensors_hooks(lambda x: alive.append(x) or pack(x), lambda x: x):
        shared_logps(model, prompts, [0] * ROWS, written, torch.ones_like(written))
    for tensor in (*model.parameters(), *model.buffers()):
        seen.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(seen.values())


def bytes_of(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_counted_to_the_byte(family: str) -> None:
    vlm = tiny(family)
    assert estimated(vlm).weights == bytes_of((*vlm.model.parameters(), *vlm.model.buffers()))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_cache_of_prompts_and_of_rows_put_onto_them_is_counted_to_the_byte(family: str) -> None:
    vlm = wide(family)
    prompts = vlm.encode_pairs([noisy_pair("p", "a")])
    before = encode_prefix(vlm.model, prompts).cache
    after = cache_rows(before, torch.zeros(ROWS, dtype=torch.long))
    with torch.no_grad():
        positions = torch.arange(NEW_TOKENS).expand(ROWS, -1)
        axes = positions.expand(3, -1, -1) if family == "qwen2_5_vl" else positions
        vlm.model(input_ids=completions(vlm), position_ids=axes, past_key_values=after)
    held = bytes_of(
        tensor for cache in (before, after) for layer in cache.layers for tensor in (layer.keys, layer.values)
    )
    assert estimated(vlm).cache == held


def test_a_window_forgets_what_lies_before_it(tmp_path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(build("gemma3_short_window", tmp_path))
    window = config.text_config.sliding_window
    kinds = config.text_config.layer_types
    assert set(kinds) == {"full_attention", "sliding_attention"}
    prompt = largest_prompt(tiny("llava"))._replace(tokens=10 * window)
    memory = estimate_memory(config, Work(prompt, 1, 0, 0), dtype=torch.float32)
    # Keys and values: 2 × 4 bytes a number; a window of w remembers the w - 1 tokens before the next.
    text = config.text_config
    per_token = 2 * 4 * text.num_key_value_heads * text.head_dim
    tokens = sum(10 * window if kind == "full_attention" else window - 1 for kind in kinds)
    assert memory.cache == per_token * tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_are_near_what_autograd_keeps(family: str) -> None:
    vlm = wide(family)
    ratio = estimated(vlm, Training()).activations / kept_by_autograd(vlm)
    assert 0.9 < ratio < 1.3, ratio


def test_checkpointed_layers_keep_a_fraction_and_training_in_parts_less() -> None:
    vlm = wide("qwen2_5_vl")
    whole, again, parts = (
        estimated(vlm, how).activations for how in (Training(), Training(checkpointed=True), Training(micro_batches=2))
    )
    assert again < whole / 2
    assert whole / 2 < parts < whole  # the prompt is there in either part


def test_adam_keeps_two_moments_of_every_weight_that_is_trained() -> None:
    vlm = tiny("qwen2_5_vl")
    memory = estimated(vlm, Training())
    assert memory.gradients == bytes_of(vlm.model.parameters())
    assert memory.optimizer == 2 * memory.gradients


def test_an_adapter_of_the_language_model_has_its_own_size_and_spares_the_tower() -> None:
    lora = {"r": 4, "target_modules": ["q_proj", "o_proj"]}
    vlm = build_tiny("qwen2_5_vl", CORPUS, size=TinySize(hidden=256, image_px=112), vocab_size=330)
    full, memory = estimated(vlm, Training()), estimated(vlm, Training(lora=lora))
    # 4 layers of width 256; two matrices for each of two projections, 4 × 256 numbers each, 4 bytes a number.
    assert memory.gradients == 4 * 2 * 2 * 4 * 256 * 4
    assert memory.weights == full.weights + memory.gradients
    assert memory.activations < full.activations
    ratio = memory.activations / kept_by_autograd(vlm, _with_adapter(vlm.model, lora))
    assert 0.9 < ratio < 1.7, ratio  # layers that are not trained keep less than all their inputs and outputs


def test_autocast_holds_copies_of_what_it_trains() -> None:
    vlm = wide("llava")
    own, cast = (estimated(vlm, Training(compute=compute)) for compute in (torch.float32, torch.bfloat16))
    assert own.gradients == cast.gradients
    assert cast.cache == own.cache / 2
    # Half of what is kept beside logits (4 copies of 4 × 64 × vocabulary in float32), and two bytes a weight.
    logits = 4 * ROWS * NEW_TOKENS * vlm.model.config.text_config.vocab_size * 4
    assert cast.activations == (own.activations - logits) // 2 + logits + own.gradients // 2


def test_who_does_not_train_needs_no_gradients_and_who_does_not_sample_no_cache() -> None:
    vlm = tiny("llava")
    judging, sft = estimated(vlm), estimated(vlm, Training(generates=False))
    assert (judging.gradients, judging.optimizer, judging.activations) == (0, 0, 0)
    assert (sft.cache, sft.prefill) == (0, 0)
    assert judging.total == judging.weights + judging.cache + judging.prefill
    assert sft.total == sft.weights + sft.optimizer + sft.gradients + sft.activations


@pytest.mark.conformance
@pytest.mark.parametrize("name", [name for name, one in CHECKPOINTS.items() if one.chat is not None])
def test_every_family_has_an_estimate(name: str, tmp_path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(build(name, tmp_path))
    work = Work(largest_prompt(tiny("llava")), prompts=1, rows=ROWS, new_tokens=NEW_TOKENS)
    memory = estimate_memory(config, work, dtype=torch.float32, training=Training())
    assert min(memory) > 0
