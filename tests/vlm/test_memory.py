"""The estimate of memory: weights and caches are exact, a training pass within a tenth of its measured peak."""

from functools import cache
from typing import Any

import pytest
import torch

from earshot.lab.bench.memory import peak_memory
from earshot.vlm import Vlm
from earshot.vlm.memory import Memory, Training, Work, _with_adapter, estimate_memory, largest_prompt
from earshot.vlm.prefix import TOKENS_AT_ONCE, encode_prefix, shared_logps
from earshot.vlm.prefix.growing import cache_rows
from earshot.vlm.runs import attend_by_runs
from earshot.vlm.tiny import TinySize, build_tiny
from tests.vlm.families import FAMILIES as CHECKPOINTS
from tests.vlm.families import build
from tests.vlm.models import CORPUS, FAMILIES, noisy_pair, tiny

ROWS, NEW_TOKENS = 4, 64
QKVO = {"r": 8, "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj"]}


@cache
def wide(family: str) -> Vlm:
    """Wide enough that layers count and not what stands once for all of them, such as masks."""
    return build_tiny(family, CORPUS, size=TinySize(hidden=256, image_px=112), vocab_size=330)


def estimated(vlm: Vlm, training: Training | None = None, rows: int = ROWS, new_tokens: int = NEW_TOKENS) -> Memory:
    work = Work(largest_prompt(vlm), prompts=1, rows=rows, new_tokens=new_tokens)
    return estimate_memory(vlm.model.config, work, dtype=torch.float32, training=training)


def completions(vlm: Vlm, rows: int = ROWS) -> torch.Tensor:
    return torch.full((rows, NEW_TOKENS), vlm.tokenizer("1", add_special_tokens=False)["input_ids"][0])


def measured(vlm: Vlm, model: Any, training: Training, rows: int = 8) -> int:
    """The peak in bytes of a second step's pass over one prompt's completions, above what was there before."""
    prompts, written = dict(vlm.encode_pairs([noisy_pair("p", "a")])), completions(vlm, rows)
    if training.checkpointed:
        vlm.model.activation_checkpointing_enable({"use_reentrant": False})
        if training.lora is not None:
            vlm.model.enable_input_require_grads()

    def step() -> None:
        if training.micro_batches == 1:
            model.zero_grad()
        shared_logps(model, prompts, [0] * rows, written, torch.ones_like(written)).logps.sum().backward()

    model.train()
    step()
    model.zero_grad(set_to_none=training.micro_batches == 1)
    with peak_memory(torch.device("cpu")) as peak:
        step()
    return peak.bytes


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


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["kept", "again"])
@pytest.mark.parametrize("lora", [None, QKVO], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_peak_of_a_training_pass_is_within_a_tenth(
    family: str, lora: dict[str, Any] | None, checkpointed: bool, micro_batches: int
) -> None:
    vlm = build_tiny(family, CORPUS, size=TinySize(hidden=256, layers=8, image_px=112), vocab_size=330)
    training = Training(lora, checkpointed, micro_batches)
    memory = estimated(vlm, training, rows=8 * micro_batches)
    model = vlm.model if lora is None else _with_adapter(vlm.model, lora)
    there = 0 if micro_batches == 1 else memory.gradients
    ratio = (memory.gradients + memory.activations - there) / measured(vlm, model, training)
    assert not memory.by_rule
    assert 0.9 < ratio < 1.1, ratio


def test_a_family_whose_code_looks_at_values_is_estimated_by_rule_and_says_so(tmp_path) -> None:
    from earshot.vlm import load

    vlm = load(build("smolvlm", tmp_path), device="cpu", weights=False)
    memory = estimated(vlm, Training())
    assert memory.by_rule and memory.activations > 0


def test_a_model_that_was_loaded_is_estimated_as_its_configuration_is() -> None:
    vlm = tiny("qwen2_5_vl")
    attend_by_runs(vlm.model)
    assert estimated(vlm).weights == bytes_of((*vlm.model.parameters(), *vlm.model.buffers()))


def test_shards_divide_what_is_trained_and_sampling_has_all_weights() -> None:
    alone, shared = (estimated(wide("llava"), Training(micro_batches=2, processes=n)) for n in (1, 4))
    assert (shared.weights, shared.gradients, shared.optimizer) == tuple(
        one // 4 for one in (alone.weights, alone.gradients, alone.optimizer)
    )
    assert shared.prefill - alone.prefill == alone.gradients  # one number for every weight, as gradients are
    assert shared.activations == alone.activations


def test_checkpointed_layers_keep_a_fraction_and_training_in_parts_less() -> None:
    vlm, parts = wide("qwen2_5_vl"), {"micro_batches": 2}
    whole, again, more = (
        estimated(vlm, how, rows=16).activations
        for how in (Training(**parts), Training(checkpointed=True, **parts), Training(micro_batches=4))
    )
    assert again < whole / 2
    assert whole / 2 < more < whole  # the prompt is there in every part


def test_adam_keeps_two_moments_of_every_weight_that_is_trained() -> None:
    vlm = tiny("qwen2_5_vl")
    memory = estimated(vlm, Training())
    assert memory.gradients == bytes_of(vlm.model.parameters())
    assert memory.optimizer == 2 * memory.gradients


def test_an_adapter_of_the_language_model_has_its_own_size_and_spares_the_tower() -> None:
    lora = {"r": 4, "target_modules": ["q_proj", "o_proj"]}
    vlm = build_tiny("qwen2_5_vl", CORPUS, size=TinySize(hidden=256, image_px=112), vocab_size=330)
    full, memory = (estimated(vlm, Training(lora=how, micro_batches=2)) for how in (None, lora))
    # 4 layers of width 256; two matrices for each of two projections, 4 × 256 numbers each, 4 bytes a number.
    assert memory.gradients == 4 * 2 * 2 * 4 * 256 * 4
    assert memory.weights == full.weights + memory.gradients
    assert memory.activations < full.activations


def test_adapters_are_float32_whatever_their_base_is_in() -> None:
    vlm, lora = wide("qwen2_5_vl"), {"r": 2, "target_modules": ["q_proj"]}
    work = Work(largest_prompt(vlm), 1, ROWS, NEW_TOKENS)
    memory = estimate_memory(vlm.model.config, work, dtype=torch.bfloat16, training=Training(lora=lora))
    assert memory.gradients == 4 * 2 * 2 * 256 * 4  # 4 layers; 2 × 256 numbers in either matrix, 4 bytes a number


def test_rows_that_share_nothing_each_keep_a_prompt() -> None:
    vlm = wide("qwen2_5_vl")
    prompt = largest_prompt(vlm)
    unknown = prompt._replace(inputs=prompt.inputs | {"something_else"})  # so that nobody knows how it would go on
    shared, one, four = (
        estimate_memory(
            vlm.model.config,
            Work(known, 1, rows * 2, NEW_TOKENS),
            dtype=torch.float32,
            training=Training(micro_batches=2),
        )
        for known, rows in ((prompt, 4), (unknown, 1), (unknown, 4))
    )
    assert four.activations == pytest.approx(4 * one.activations, rel=0.05)
    assert shared.activations < four.activations


def test_what_one_pass_does_not_hold_is_computed_in_parts_and_needs_no_more() -> None:
    vlm = wide("qwen2_5_vl")
    limit = TOKENS_AT_ONCE // 1024
    small, large, larger = (
        estimated(vlm, Training(), rows, 1024).activations for rows in (limit // 2, limit * 2, limit * 4)
    )
    assert small < 0.6 * large and abs(larger / large - 1) < 0.01


def test_autocast_holds_copies_of_what_it_trains() -> None:
    vlm = wide("llava")
    own, cast = (
        estimated(vlm, Training(compute=compute, micro_batches=2)) for compute in (torch.float32, torch.bfloat16)
    )
    assert own.gradients == cast.gradients
    assert cast.cache == own.cache / 2
    # Half of what a pass holds, but for what is computed in float32 anyway; and two bytes a weight.
    assert own.activations / 2 < cast.activations - own.gradients // 2 < 0.75 * own.activations


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
    assert min(memory._replace(by_rule=True)) > 0
