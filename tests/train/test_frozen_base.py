"""A listener and a checker that are the model below the adapter are that model: loaded once, and frozen."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console

from earshot.config import GrpoConfig
from earshot.files import read_json_object
from earshot.listener.local import LocalListener
from earshot.rundir import RunDir
from earshot.train.footprint import footprint
from earshot.train.grpo import train_grpo
from earshot.train.run import has_frozen_base, lora_config
from earshot.vlm import load
from earshot.vlm.alone import leaves_base
from tests.train.shapes import LORA, grpo
from tests.vlm.grown import grown

QUIET = Console(quiet=True)


def heard(model: Path, data: Path, out: Path, listener: Path | None = None, **more: Any) -> GrpoConfig:
    """A run whose listener and checker are the model itself, or another folder's."""
    told = grpo(model, data, out, max_steps=3, **more).model_dump()
    paths = {"paths": str(listener or model), "device": "cpu"}
    asks = {"listener": {**paths, "needs_claims": False}, "claims": paths}
    return GrpoConfig.model_validate(told | asks | {"rewards": {"claims": 0.5}})


def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Where models are loaded from, from now on."""
    seen: list[str] = []

    def noting(path: Any, **how: Any) -> Any:
        seen.append(str(path))
        return load(path, **how)

    for where in ("earshot.train.run.load", "earshot.listener.build.load"):
        monkeypatch.setattr(where, noting)
    return seen


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
@pytest.mark.parametrize(
    "how",
    [{}, {"bf16": True}, {"gradient_checkpointing": True}, {"lora": {**LORA, "modules_to_save": ["norm"]}}],
    ids=["plain", "bf16", "checkpointed", "a whole module beside the adapter"],
)
def test_rewards_are_those_of_a_copy_in_another_folder(
    how: dict[str, Any], talker: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "other"
    load(talker, device="cpu").save(copy)
    rows = {}
    for name, listener, models in (("base", None, 1), ("copy", copy, 2)):
        with monkeypatch.context() as noted:
            loaded = loads(noted)
            config = heard(talker, pairs, tmp_path / name, listener, **{"lora": LORA, **how})
            run = RunDir(train_grpo(config, console=QUIET))
        assert len(loaded) == models
        rows[name] = pq.read_table(run.rollouts).to_pylist()
        told = read_json_object(run.environment, what="a record")["models"]
        assert len({one["sha256"] for one in told.values()}) == 1 and len(told) == 3
    assert len({row["step"] for row in rows["base"]}) > 1  # the adapter has learned by the later ones
    for part in ("completion", "listener_p_first", "reward"):
        assert [row[part] for row in rows["base"]] == [row[part] for row in rows["copy"]], part


def test_training_goes_on_after_the_base_was_asked(talker: Path, pairs: Path, tmp_path: Path) -> None:
    """Adapters are on again, learn, and are what is saved."""
    run = RunDir(train_grpo(heard(talker, pairs, tmp_path / "run", lora=LORA), console=QUIET))
    before, after = (load(folder, device="cpu").model.state_dict() for folder in (talker, run.model))
    moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert moved and all("q_proj" in name or "v_proj" in name for name in moved)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing")
def test_a_vlm_under_adapters_reads_as_before_and_leaves_them_as_they_were(talker: Path) -> None:
    from peft import get_peft_model

    from tests.vlm.models import noisy_pair

    vlm = load(talker, device="cpu")
    pair = [noisy_pair("a")]
    plain = LocalListener(vlm).p_first(pair, ["a"])
    adapted = get_peft_model(vlm.model, lora_config({**LORA, "init_lora_weights": False})).train()
    assert not np.allclose(LocalListener(vlm).p_first(pair, ["a"]), plain, atol=1e-4)
    vlm.under_adapters = True
    assert np.array_equal(LocalListener(vlm).p_first(pair, ["a"]), plain)
    assert adapted.training and [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert all("lora_" in name for name, p in adapted.named_parameters() if p.requires_grad)
    vlm.under_adapters = False
    assert not np.allclose(LocalListener(vlm).p_first(pair, ["a"]), plain, atol=1e-4)


@pytest.mark.parametrize(
    ("lora", "leaves"),
    [
        ({}, True),
        ({"use_dora": True}, True),
        ({"bias": "all"}, False),
        ({"init_lora_weights": "pissa"}, False),
        ({"init_lora_weights": "olora"}, False),
        ({"trainable_token_indices": [3]}, False),
    ],
)
def test_an_adapter_that_changes_what_lies_below_it_is_trained_beside_a_copy(
    lora: dict[str, Any], leaves: bool
) -> None:
    assert leaves_base(lora_config({**LORA, **lora})) is leaves


def test_who_trains_all_weights_or_asks_in_other_words_loads_a_copy(talker: Path, pairs: Path, tmp_path: Path) -> None:
    whole, adapter = (heard(talker, pairs, tmp_path / "run", lora=lora) for lora in (None, LORA))
    assert not has_frozen_base(whole, sharded=False)
    assert has_frozen_base(adapter, sharded=False)
    assert not has_frozen_base(adapter, sharded=True)
    asked = adapter.model_copy(update={"model": adapter.model.model_copy(update={"prompts": "standard"})})
    assert not has_frozen_base(asked, sharded=False)


def test_the_estimate_of_memory_counts_its_weights_once(pairs: Path, tmp_path: Path) -> None:
    folder = grown("qwen3_vl", tmp_path)
    config = heard(folder, pairs, tmp_path / "run", lora=LORA)
    real = load(folder, device="cpu", weights=False)
    named = [("model", str(folder), real), ("listener", str(folder), real), ("claims", str(folder), real)]
    told = footprint(config, named)
    assert sum("is the model without its adapter" in line for line in told) == 1
    assert not any(f"{folder}, frozen, " in line and "GiB, and" in line for line in told)
