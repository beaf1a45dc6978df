"""Every file that ships as a configuration is read, explains itself, and does one step."""

from pathlib import Path
from typing import Any

import pytest

from earshot.config import GrpoConfig, SftConfig, load_config

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(ROOT.glob("configs/*.yaml"))
FULL = ROOT / "configs" / "qwen2.5-vl-7b-full.yaml"


def load(file: Path) -> SftConfig | GrpoConfig:
    return load_config(SftConfig if "targets:" in file.read_text() else GrpoConfig, file)


def sets(config: SftConfig | GrpoConfig) -> set[str | None]:
    return {config.data.train, config.data.validation}


def test_there_are_configurations() -> None:
    ours = {"world-sft", "world-grpo", "world-listener-grpo"}
    assert ours | {f"qwen2.5-vl-7b-{name}" for name in ("sft", "lora", "full")} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_opens_with_its_command_hardware_and_duration(file: Path) -> None:
    head = file.read_text(encoding="utf-8").split("\nmodel:")[0]
    assert all(word in head for word in ("# Command:", "# Hardware:", "# Duration:")), f"{file.name}: {head}"
    assert file.name in head, "the command names the file"
    assert "[B]" in head or "[C]" in head, "which numbers come from where"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_does_one_step_and_keeps_nothing(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from earshot.train.dry_run import dry_run
    from earshot.train.grpo import train_grpo
    from earshot.train.sft import train_sft

    monkeypatch.chdir(tmp_path)
    config = load(file)
    trainer: Any = train_sft if isinstance(config, SftConfig) else train_grpo
    done = dry_run(config, trainer)
    assert done.metrics["step"] == 1
    assert done.metrics["grad_norm"] > 0
    assert set(done.missing) <= {"Qwen/Qwen2.5-VL-7B-Instruct", "runs/models/checker", *sets(config)}
    assert list(tmp_path.iterdir()) == []


def test_naive_and_listener_grpo_differ_in_one_weight() -> None:
    naive, listening = (
        load_config(GrpoConfig, ROOT / "configs" / f"{name}.yaml").model_dump()
        for name in ("world-grpo", "world-listener-grpo")
    )
    assert (naive["rewards"].pop("listener"), listening["rewards"].pop("listener")) == (0.0, 0.5)
    naive.pop("out"), listening.pop("out")
    assert naive == listening


def test_the_7b_is_taught_with_images_as_it_samples_with() -> None:
    sft, grpo = (load(ROOT / "configs" / f"qwen2.5-vl-7b-{name}.yaml") for name in ("sft", "lora"))
    assert isinstance(sft, SftConfig) and (sft.images, sft.lora, sft.model) == (grpo.images, grpo.lora, grpo.model)


def test_the_sft_baseline_gets_the_steps_and_pairs_of_grpo() -> None:
    sft = load_config(SftConfig, ROOT / "configs" / "world-sft.yaml").trl
    grpo = load_config(GrpoConfig, ROOT / "configs" / "world-grpo.yaml").trl
    assert sft["max_steps"] == grpo["max_steps"]
    assert sft["per_device_train_batch_size"] * grpo["num_generations"] == grpo["per_device_train_batch_size"]


def test_the_sharding_is_what_transformers_and_accelerate_read() -> None:
    """The dry run leaves FSDP out; here its keys go where the real run's go, short of the GPUs."""
    from accelerate.utils import FullyShardedDataParallelPlugin
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl
    from trl import GRPOConfig

    from earshot.train.run import trl_arguments, without_known_warnings

    config = load_config(GrpoConfig, FULL)
    wrapped = config.trl["fsdp_config"]["transformer_layer_cls_to_wrap"]
    assert all(hasattr(modeling_qwen2_5_vl, name) for name in wrapped)
    here = {"output_dir": "unused", "use_cpu": True, "bf16": False}
    kept = {name: value for name, value in config.trl.items() if name not in here}
    with without_known_warnings():
        arguments = trl_arguments(GRPOConfig, kept, here, {"gradient_checkpointing": False})
    assert set(config.trl["fsdp_config"]) <= set(arguments.fsdp_config)
    assert arguments.fsdp_plugin_args == {
        "fsdp_version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "transformer_cls_names_to_wrap": "Qwen2_5_VLDecoderLayer,Qwen2_5_VLVisionBlock",
        "cpu_ram_efficient_loading": False,
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": True,
        "reshard_after_forward": True,
    }
    assert FullyShardedDataParallelPlugin(**arguments.fsdp_plugin_args).fsdp_version == 2


@pytest.mark.parametrize("name", ["qwen2.5-vl-7b-lora", "qwen2.5-vl-7b-sft"])
def test_the_lora_recipes_leave_the_vision_tower_alone(name: str) -> None:
    import torch
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    with torch.device("meta"):
        stock = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig())
    config = load(ROOT / "configs" / f"{name}.yaml")
    assert config.lora is not None
    hit = [name for name, _ in stock.named_modules() if name.rsplit(".", 1)[-1] in config.lora["target_modules"]]
    assert hit
    assert all(".language_model." in name for name in hit)
