"""On a GPU, trainers have TRL's numbers, lessons a CPU's, and a model below its adapter those of a copy."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot.lab.curriculum import describe_one
from earshot.lab.pretraining import Schedule, check_loss, learn, supervised_loss
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.vlm import load
from earshot.world.claims import draw_questions
from tests.train.equality import LORA, both, differences, train
from tests.vlm.models import any_size, fresh, noisy_pair

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    ("lora", "how"),
    [
        (False, {}),
        (True, {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}),
    ],
    ids=["full", "lora, checkpointed"],
)
def test_a_step_has_the_numbers_of_stock(
    lora: bool, how: dict[str, Any], device: str, tmp_path: Path, record_property: Any
) -> None:
    ours, stock = both(
        lambda side: train(side, tmp_path, "qwen2_5_vl", lora=lora, device=device, num_iterations=2, **how)
    )
    found = differences(ours, stock)
    for name, value in found.items():
        record_property(name, value)
    assert all(value <= (1e-3 if name == "gradient" else 1e-4) for name, value in found.items()), found


@pytest.mark.parametrize("trade", ["sees", "checks"])
def test_a_lesson_has_the_loss_of_a_cpu(trade: str, device: str) -> None:
    losses = []
    for where in ("cpu", device):
        vlm, rng = load("world:listener", device=where, dtype="float32"), np.random.default_rng(0)
        lessons = {
            "sees": (lambda rng=rng: describe_one(rng, 56), supervised_loss),
            "checks": (lambda rng=rng: draw_questions(rng, 56, 4), check_loss),
        }
        draw, loss_of = lessons[trade]
        losses.append(learn(vlm, draw, Schedule(3, 1e-4, batch_size=4), loss_of=loss_of))
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")  # PEFT asks by an old name
def test_a_model_below_its_adapter_reads_as_a_copy(device: str) -> None:
    from peft import LoraConfig, get_peft_model

    vlm = any_size(fresh("qwen2_5_vl"))
    vlm.model.to(device)
    pairs, traces = [noisy_pair("a")] * 2 + [noisy_pair("b", seed=1)], ["red", None, "blue"]
    apart = copy.copy(vlm)
    apart.model = copy.deepcopy(vlm.model)
    wanted = LocalListener(apart.freeze()).p_first(pairs, traces)
    get_peft_model(vlm.model, LoraConfig(**LORA, init_lora_weights=False)).train()
    assert not np.allclose(LocalListener(vlm).p_first(pairs, traces), wanted, atol=1e-4)
    vlm.under_adapters = True
    np.testing.assert_allclose(LocalListener(vlm).p_first(pairs, traces), wanted, atol=1e-5)


def test_shipped_models_answer_as_on_a_cpu(device: str, record_property: Any) -> None:
    pairs = [noisy_pair(str(k), seed=k) for k in range(8)]
    told = []
    for where in ("cpu", device):
        reasoner = Reasoner(load("world:reasoner", device=where, dtype="float32").freeze(), max_new_tokens=60)
        ear = LocalListener(load("world:listener", device=where, dtype="float32").freeze())
        samples = [one for row in reasoner.judge(pairs, samples=2) for one in row]
        heard = ear.p_first(pairs, ["left red , clean ."] * len(pairs))
        told.append(([(one.trace, one.side) for one in samples], heard))
    (here, p_here), (there, p_there) = told
    same = sum(a == b for a, b in zip(here, there, strict=True)) / len(here)
    record_property("same_texts", same)
    record_property("listener_apart", float(np.abs(p_here - p_there).max()))
    assert same >= 0.9
    np.testing.assert_allclose(p_there, p_here, atol=1e-4)
