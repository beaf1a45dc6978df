"""A config made small keeps its class, every kind of layer, and what the processor agrees on with the model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, Gemma4TextConfig, MllamaConfig, Qwen2_5_VLConfig, Qwen3VLConfig, Qwen3VLMoeConfig

from earshot.errors import ModelError
from earshot.vlm import load
from earshot.vlm.shrink import small_config, small_model
from tests.vlm.families import FAMILIES
from tests.vlm.grown import grown
from tests.vlm.test_conformance import REFUSED


def test_the_first_layer_of_every_kind_stays_and_lists_of_layers_point_at_it() -> None:
    config = Qwen3VLConfig(vision_config={"depth": 27, "deepstack_visual_indexes": [8, 16, 24]})
    small = small_config(config)
    # Layers 0 and 8 of the tower; the language model's are all of one kind, of which two stay.
    assert (small.vision_config.depth, small.vision_config.deepstack_visual_indexes) == (2, [1])
    assert small.text_config.num_hidden_layers == 2
    assert type(small) is type(config)
    small = small_config(Qwen2_5_VLConfig(vision_config={"depth": 32, "fullatt_block_indexes": [7, 15, 23, 31]}))
    assert (small.vision_config.depth, small.vision_config.fullatt_block_indexes) == (2, [1])
    small = small_config(MllamaConfig())  # 40 layers, of which 3, 8, … 38 look at the images
    assert (small.text_config.num_hidden_layers, small.text_config.cross_attention_layers) == (2, [1])
    # One layer's output beside the last one's, of width 64.
    assert len(small.vision_config.intermediate_layers_indices) == 1
    assert small.vision_config.vision_output_dim == 2 * 64


def test_layers_that_share_keys_are_a_kind_of_their_own() -> None:
    kinds = (["sliding_attention"] * 4 + ["full_attention"]) * 7
    small = small_config(Gemma4TextConfig(num_hidden_layers=35, layer_types=kinds, num_kv_shared_layers=20))
    # Layers 0 and 4, and the first that share: 15 and 19.
    assert small.layer_types == ["sliding_attention", "full_attention"] * 2
    assert small.num_kv_shared_layers == 2
    # Heads of 256 numbers where attention slides, of 512 where it does not.
    assert [layer.head_dim for layer in small.per_layer_config] == [32, 64, 32, 64]


def test_heads_and_rotary_positions_keep_their_proportions() -> None:
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_section": [24, 20, 20], "mrope_interleaved": True}
    text = {"hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128}
    small = small_config(Qwen3VLConfig(text_config={**text, "rope_parameters": rope})).text_config
    assert (small.hidden_size, small.num_attention_heads, small.num_key_value_heads, small.head_dim) == (64, 2, 1, 32)
    # Half a head's 32 numbers, in proportion 24 : 20 : 20.
    assert small.rope_parameters["mrope_section"] == [6, 5, 5]
    assert small.rope_parameters["rope_theta"] == 5e6


def test_experts_are_few_and_still_several_for_a_token() -> None:
    small = small_config(Qwen3VLMoeConfig(text_config={"num_experts": 128, "num_experts_per_tok": 8})).text_config
    assert (small.num_experts, small.num_experts_per_tok) == (4, 2)


def test_what_the_processor_and_the_tokenizer_agree_on_stays(tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(grown("qwen3_vl", tmp_path))
    config.text_config.vocab_size = 151_936
    small = small_config(config)

    def agreed(one: Any) -> tuple[Any, ...]:
        vision = one.vision_config
        return one.image_token_id, one.text_config.vocab_size, vision.patch_size, vision.spatial_merge_size

    assert agreed(small) == agreed(config)


def test_a_quantised_base_is_small_and_whole() -> None:
    config = Qwen3VLConfig()
    config.quantization_config = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    assert not hasattr(small_config(config), "quantization_config")


@pytest.mark.conformance
@pytest.mark.filterwarnings("ignore")  # what libraries say of a family is not the matter here
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in REFUSED])
def test_every_family_that_loads_can_be_made_small(name: str, tmp_path: Path) -> None:
    real = load(grown(name, tmp_path), device="cpu", weights=False)
    small = small_model(real)
    assert small.model.num_parameters() < 3_000_000 < 200_000_000 < real.model.num_parameters()
    assert type(small.model) is type(real.model)
    assert (small.processor, small.prompts) == (real.processor, real.prompts)


def test_sizes_that_do_not_fit_together_are_an_error_with_the_reason(tmp_path: Path) -> None:
    real = load(grown("qwen3_vl", tmp_path), device="cpu", weights=False)
    real.model.config.vision_config.spatial_merge_size = 4  # the processor merges 2 × 2 patches
    with pytest.raises(ModelError, match=r"qwen3_vl cannot be rehearsed small: .* its config breaks"):
        small_model(real)
    real.model.config.vision_config.spatial_merge_size = 2
    assert torch.isfinite(small_model(real).model.get_output_embeddings().weight).all()
