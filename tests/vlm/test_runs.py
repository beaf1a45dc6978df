"""Runs of patches are attended to together, with the numbers of one call for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from transformers import AutoModelForImageTextToText
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from earshot.vlm import runs
from earshot.vlm.runs import ALL_RUNS, attend_by_runs
from tests.vlm.models import any_size, fresh, mixed_prompts, tiny


@contextmanager
def counted_calls() -> Iterator[list[torch.Size]]:
    """The shapes of the keys of each call of attention that towers make within."""
    calls: list[torch.Size] = []
    stock = runs.sdpa_attention_forward

    def noting(module, query, key, *args, **kwargs):
        calls.append(key.shape)
        return stock(module, query, key, *args, **kwargs)

    with patch.object(runs, "sdpa_attention_forward", noting):
        yield calls


def tower(depth: int) -> Qwen2_5_VisionTransformerPretrainedModel:
    """The vision tower of Qwen2.5-VL-7B, its windows and its layers, a few numbers wide."""
    torch.manual_seed(0)
    full = [layer for layer in (7, 15, 23, 31) if layer < depth]
    config = Qwen2_5_VLVisionConfig(
        depth=depth, hidden_size=32, intermediate_size=32, num_heads=2, out_hidden_size=32, fullatt_block_indexes=full
    )
    config._attn_implementation = "sdpa"
    return Qwen2_5_VisionTransformerPretrainedModel(config).eval()


def seen_by(model: Qwen2_5_VisionTransformerPretrainedModel, sides_px: list[tuple[int, int]]) -> torch.Tensor:
    grid = torch.tensor([[1, height // 14, width // 14] for height, width in sides_px])
    patches = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(patches, grid_thw=grid).pooler_output


def test_a_tower_of_32_layers_makes_32_calls_for_any_number_of_images_of_one_size():
    model = tower(32)
    attend_by_runs(model)
    for images in (1, 3):
        with counted_calls() as calls:
            seen_by(model, [(252, 196)] * images)
        # A layer of windows is one call, padded to 64 patches; one of images, 18 × 14 patches each, is one for all.
        assert len(calls) == 32
        assert {(shape[0], shape[2]) for shape in calls} == {(images * 3 * 2, 64), (images, 252)}


@pytest.mark.parametrize(
    "sides_px",
    [[(252, 196)], [(252, 196), (112, 112), (252, 196)], [(56, 28), (224, 224), (308, 140)], [(28, 28)]],
)
def test_runs_of_any_lengths_give_the_numbers_of_one_call_for_each(sides_px):
    model = tower(8)
    apart = seen_by(model, sides_px)
    attend_by_runs(model)
    together = seen_by(model, sides_px)
    assert torch.allclose(together, apart, atol=2e-6, rtol=1e-5)


def test_gradients_are_those_of_one_call_for_each():
    grid = torch.tensor([[1, 18, 14], [1, 8, 8]])
    patches = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * 14 * 14)
    found = []
    for together in (False, True):
        model = tower(8)
        if together:
            attend_by_runs(model)
        model(patches, grid_thw=grid).pooler_output.square().sum().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 1e-5


def test_lengths_are_asked_of_the_device_once_a_pass_and_not_in_every_layer():
    model = tower(32)
    attend_by_runs(model)
    with patch.object(runs, "_made", wraps=runs._made) as made:
        seen_by(model, [(252, 196)] * 2)
    assert made.call_count == 2  # of windows, and of images


def test_a_whole_model_sees_what_it_saw_and_says_nothing_of_it_in_its_folder(tmp_path: Path):
    vlm = any_size(fresh("qwen2_5_vl"))
    inputs = mixed_prompts(vlm)
    with torch.no_grad():
        together = vlm.model(**inputs).logits
        vlm.model.set_attn_implementation("sdpa")
        apart = vlm.model(**inputs).logits
    assert torch.allclose(together, apart, atol=1e-5)
    attend_by_runs(vlm.model)
    assert vlm.model.model.visual.config._attn_implementation == ALL_RUNS
    AutoModelForImageTextToText.from_config(vlm.model.config)  # which looks for a package of each attention it names
    vlm.save(tmp_path / "model")
    assert ALL_RUNS not in (tmp_path / "model" / "config.json").read_text()


def test_a_tower_that_sees_each_image_in_a_row_of_its_own_is_left_as_it_is():
    vision = tiny("llava").model.config.vision_config
    assert vision._attn_implementation == "sdpa"


def test_who_chose_another_attention_keeps_it():
    model = tower(2)
    model.config._attn_implementation = "eager"
    attend_by_runs(model)
    assert model.config._attn_implementation == "eager"
