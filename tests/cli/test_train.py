"""`earshot train`: what it prints, what it refuses, and that a dry run keeps nothing."""

from pathlib import Path

import pytest

from earshot.cli.main import main

CONFIG = """
model: {path: Some/Model-7B}
data: {train: nowhere}
out: runs/x
listener: {control: random}
trl: {max_steps: 500, bf16: true, per_device_train_batch_size: 64, num_generations: 8, learning_rate: 1e-6}
"""


@pytest.fixture()
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    return file


def test_a_dry_run_says_what_it_changed_and_keeps_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "grpo", str(config), "trl.beta=0.1", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "trl.bf16: left out" in out
    assert "trl.max_steps: 1" in out
    assert "trl.beta" not in out  # kept as it is
    assert "one step done, WITHOUT Some/Model-7B, nowhere, for which others stood in; nothing was kept" in out
    assert "model: Some/Model-7B: NOT REHEARSED (Some/Model-7B: no such folder, and the hub" in out
    assert "not estimated, for Some/Model-7B could not be looked at" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trl.learning_rat=1", "--dry-run"], "trl.learning_rat: unknown key of GRPOConfig; the nearest known key is"),
        (["trl.learning_rat=1"], "the nearest known key is 'trl.learning_rate'"),
        (["modell.path=x"], "unknown key 'modell'; the nearest known key is 'model'"),
        (["model.family=llava", "--dry-run"], "unknown key 'model.family'"),
        (["lora.rank=8", "--dry-run"], "lora.rank: unknown key of LoraConfig"),
        (["rewards.listener=-1"], "'rewards.listener' is -1"),
        ([], "nowhere: is no folder, expected a pair set"),
    ],
)
def test_wrong_calls_are_one_line(
    words: list[str], message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "grpo", str(config), *words]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and len(err.splitlines()) == 1
    assert message in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml"]


def test_sft_asks_for_its_own_keys(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "sft", str(config)]) == 2
    assert "unknown key 'listener'" in capsys.readouterr().err
    assert main(["train", "sft", "none.yaml"]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_world_model_that_does_not_ship_is_named(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from earshot.world.make import Recipe, make_set

    make_set(config.parent / "pairs", Recipe("train"), 2, workers=1)
    assert (
        main(
            [
                "train",
                "grpo",
                str(config),
                "model.path=world:nobody",
                "data.train=pairs",
                "trl.per_device_train_batch_size=2",
                "trl.num_generations=2",
            ]
        )
        == 2
    )
    assert "world:nobody: no such model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "trl", "planned"),
    [
        ("grpo", "max_steps: 500, num_generations: 4", "500 steps of 8 completions of up to 512 tokens"),
        ("sft", "num_train_epochs: 2", "2 passes over the pairs, in steps of 8 pairs"),
    ],
)
def test_what_a_run_does_and_needs_is_said_before_a_model_is_loaded(
    command: str,
    trl: str,
    planned: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from earshot.errors import InputError
    from earshot.world.make import Recipe, make_set

    def load_model(config: object) -> None:
        raise InputError("no further")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"earshot.train.{command}.load_model", load_model)
    make_set(tmp_path / "pairs", Recipe("train"), 2, workers=1)
    listener = "listener: {paths: world:listener}" if command == "grpo" else ""
    text = f"model: {{path: world:reasoner}}\ndata: {{train: pairs}}\nout: x\n{listener}\n"
    Path("c.yaml").write_text(f"{text}trl: {{per_device_train_batch_size: 8, {trl}}}\n")
    assert main(["train", command, "c.yaml"]) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"planned: {planned}; how long they take is told after the first ones"
    assert second.startswith("memory, an estimate (more of it: --dry-run): about ") and "iB on one device" in second
