"""A GPU's numbers in float32 are a CPU's: log-probabilities and gradients in every form, the head, Flex, the tower."""

import copy
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask

import earshot.vlm.prefix.forms as forms
from earshot.vlm.prefix import shared_logps
from earshot.vlm.prefix.attention import mask_by_rule
from tests.vlm.models import FAMILIES, any_size, fresh, mixed_prompts
from tests.vlm.test_prefix import OWNERS
from tests.vlm.test_runs import seen_by, tower

pytestmark = pytest.mark.gpu
FORMS = ("plain", "cache", "packed")


class Numbers(NamedTuple):
    """Log-probabilities, entropies, and gradients by parameter, on the CPU."""

    logps: torch.Tensor
    entropies: torch.Tensor
    gradients: dict[str, torch.Tensor]


def numbers(model: Any, inputs: dict[str, Any], device: str, *, width: int = 6, **how: Any) -> Numbers:
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(40, 300, (len(OWNERS), width), generator=draw)
    mask = (torch.arange(width) < torch.randint(1, width + 1, (len(OWNERS), 1), generator=draw)).long()
    given = {name: value.to(device) for name, value in inputs.items()}
    scores = shared_logps(model, given, OWNERS, ids.to(device), mask.to(device), with_entropy=True, **how)
    weights = torch.linspace(0.1, 1.0, mask.numel(), device=device).view_as(scores.logps)
    model.zero_grad(set_to_none=True)
    (scores.logps * weights).sum().backward()
    gradients = {name: p.grad.cpu().double() for name, p in model.named_parameters() if p.grad is not None}
    return Numbers(scores.logps.detach().cpu(), scores.entropies.detach().cpu(), gradients)


def apart(found: Numbers, wanted: Numbers) -> dict[str, float]:
    """Nats, and of each parameter's gradient the share of its norm; biases whose gradient is rounding count little."""
    least = 1e-4 * max(float(one.norm()) for one in wanted.gradients.values())
    assert found.gradients.keys() == wanted.gradients.keys()
    return {
        "logps": float((found.logps - wanted.logps).abs().max()),
        "entropies": float((found.entropies - wanted.entropies).abs().max()),
        "gradients": max(
            float((found.gradients[name] - one).norm()) / max(float(one.norm()), least)
            for name, one in wanted.gradients.items()
        ),
    }


def assert_near(found: dict[str, float], nats: float, gradients: float, record: Any) -> None:
    for name, value in found.items():
        record(name, value)
    assert max(found["logps"], found["entropies"]) <= nats and found["gradients"] <= gradients, found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_form_has_a_cpus_numbers(family: str, form: str, device: str, record_property: Any) -> None:
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    there = copy.deepcopy(vlm.model).to(device)
    wanted = numbers(vlm.model, inputs, "cpu", form="plain")
    assert_near(apart(numbers(there, inputs, device, form=form), wanted), 1e-4, 1e-3, record_property)


@pytest.mark.parametrize("form", FORMS)
def test_the_fused_head_has_the_numbers_of_the_plain_one(form: str, device: str, record_property: Any) -> None:
    """On a GPU it is Triton's, whose products may be of tf32: ten bits."""
    from trl.trainer.utils import add_fused_lm_head

    vlm = any_size(fresh("qwen2_5_vl"))
    inputs, plain = mixed_prompts(vlm), vlm.model.to(device)
    fused = copy.deepcopy(plain)
    add_fused_lm_head(fused, temperature=0.7, outputs=("log_probs", "entropy"))
    wanted = numbers(plain, inputs, device, form="plain", temperature=0.7)
    found = numbers(fused, inputs, device, form=form, fused_head=True)
    assert_near(apart(found, wanted), 1e-2, 2e-2, record_property)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_masks_by_rule_have_the_numbers_of_masks_that_are_written_out(
    dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """FlexAttention forward and backward, at lengths that change as those of steps do."""
    if device == "cpu":
        pytest.skip("FlexAttention has no gradients on a CPU")
    vlm = any_size(fresh("qwen2_5_vl"))
    inputs, model = mixed_prompts(vlm), vlm.model.to(device, dtype)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    rules: list[BlockMask] = []

    def noting(*given: Any) -> BlockMask:
        rules.append(mask_by_rule(*given))
        return rules[-1]

    worst = {"logps": 0.0, "entropies": 0.0, "gradients": 0.0}
    monkeypatch.setattr(forms, "mask_by_rule", noting)
    for width in (6, 40, 9):
        dense = numbers(model, inputs, device, form="packed", width=width)
        assert not rules
        with monkeypatch.context() as patched:
            patched.setattr(forms, "MASK_ENTRIES", 0)
            found = apart(numbers(model, inputs, device, form="packed", width=width), dense)
        assert rules
        rules.clear()
        worst = {name: max(value, found[name]) for name, value in worst.items()}
    nats, gradients = (1e-4, 1e-3) if dtype == torch.float32 else (0.1, 0.1)
    assert_near(worst, nats, gradients, record_property)


def test_runs_that_are_computed_together_have_stocks_numbers(device: str, record_property: Any) -> None:
    from earshot.vlm.runs import ALL_RUNS, attend_by_runs

    model = tower(8)
    stock = seen_by(model, [(252, 196), (112, 112), (252, 196)])
    attend_by_runs(model)
    assert model.config._attn_implementation == ALL_RUNS
    grid = torch.tensor([[1, 18, 14], [1, 8, 8], [1, 18, 14]], device=device)
    patches = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * 14 * 14, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = model.to(device)(patches.to(device), grid_thw=grid).pooler_output.cpu()
    off = float((together - stock).norm() / stock.norm())
    record_property("relative", off)
    assert off < 1e-4
