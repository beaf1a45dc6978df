"""`earshot judge --rank` and `prefer` from end to end: pictures of the world become a step of TRL's DPO."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer

from earshot.cli.main import main
from earshot.vlm import load
from earshot.world.render import render
from earshot.world.scene import Scene, draw_picture, draw_thing, prompt_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prompts of the world with three pictures each, ranked with a listener."""
    folder = tmp_path_factory.mktemp("world")
    lines = []
    for k in range(3):
        rng = np.random.default_rng(k)
        wanted = Scene(*(draw_thing(rng, held_out=False) for _ in range(2)))
        names = [f"{k}-{j}.png" for j in range(3)]
        for name in names:
            render(draw_picture(wanted, rng), rng).save(folder / name)
        lines.append(json.dumps({"prompt": prompt_text(wanted), "images": names}))
    (folder / "generated.jsonl").write_text("\n".join(lines))
    words = ["--model", "world:reasoner", "--listener", "world:listener", "--samples", "3", "--device", "cpu"]
    files = [str(folder / "generated.jsonl"), str(folder / "ranked.parquet")]
    assert main(["judge", *files, "--rank", "images", *words, "--max-new-tokens", "64"]) == 0
    return folder


def test_pairs_of_a_ranking_pass_our_check(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["prefer", str(folder / "ranked.parquet"), out, "--format", "pairs", "--margin", "0.1"]) == 0
    said = capsys.readouterr().out
    assert "pairs that were compared" in said and "rows of 3 prompts" in said
    assert main(["data", "check", out]) == 0


@pytest.mark.filterwarnings("ignore")  # of TRL's own
def test_trl_takes_a_step_on_the_dpo_rows(folder: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    words = ["--format", "dpo", "--margin", "0", "--no-agreement"]
    assert main(["prefer", str(folder / "ranked.parquet"), out, *words]) == 0
    rows = load_dataset(out, split="train", cache_dir=str(tmp_path / "cache"))
    vlm = load("world:reasoner", device="cpu")
    before = {name: weight.detach().clone() for name, weight in vlm.model.named_parameters()}
    how = DPOConfig(
        output_dir=str(tmp_path / "run"),
        per_device_train_batch_size=2,
        max_steps=1,
        learning_rate=1e-3,
        max_length=None,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        gradient_checkpointing=False,
    )
    trainer = DPOTrainer(vlm.model, args=how, train_dataset=rows, processing_class=vlm.processor)
    trainer.train()
    (told,) = (row for row in trainer.state.log_history if "train_loss" in row)
    # Before the first step the model is its own reference: -log σ(0) = log 2.
    assert told["train_loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert any(not torch.equal(before[name], weight) for name, weight in vlm.model.named_parameters())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prefer", "gone.parquet", "out", "--format", "pairs"], "gone.parquet: is no file of rankings"),
        (["prefer", "RANKED", "out", "--format", "pairs", "--margin", "1"], "no pair is kept of 9 in 3 prompts"),
        (["prefer", "RANKED", "out", "--format", "csv"], "'csv' is not one of"),
        (
            ["judge", "IN", "out.parquet", "--model", "world:reasoner", "--rank", "pictures"],
            "expected prompt and pictures",
        ),
        (
            ["judge", "IN", "out.parquet", "--model", "world:reasoner", "--rank", "a", "--first-column", "b"],
            "--rank ranks lists",
        ),
    ],
)
def test_wrong_calls_are_told_in_one_line(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"RANKED": str(folder / "ranked.parquet"), "IN": str(folder / "generated.jsonl")}
    assert main([named.get(word, word) for word in words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
