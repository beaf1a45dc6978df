"""What steps take of a GPU is told by role and phase before a model is loaded."""

import json
from pathlib import Path

import pytest

from earshot.cli.main import main
from earshot.lab.bench.plan import CARDS, ROOM, plan
from tests.vlm.families import build

SMALL = """model:
  path: {model}
  dtype: bfloat16
data:
  train: nowhere
out: nowhere
listener:
  paths: {model}
  dtype: bfloat16
claims:
  paths: {model}
  dtype: bfloat16
rewards:
  claims: 0.5
{lora}trl:
  bf16: true
  per_device_train_batch_size: 8
  num_generations: 8
  max_completion_length: 16
"""


def written(folder: Path, lora: bool) -> str:
    file = folder / f"{'lora' if lora else 'full'}.yaml"
    told = "lora:\n  r: 4\n  target_modules: [q_proj]\n" if lora else ""
    file.write_text(SMALL.format(model=folder / "qwen2_5_vl", lora=told))
    return str(file)


def test_phases_that_come_at_another_time_do_not_add_up_and_a_base_is_there_once(tmp_path: Path) -> None:
    build("qwen2_5_vl", tmp_path)
    full, lora = plan([written(tmp_path, False), written(tmp_path, True)])
    assert (full.config, lora.config) == ("full", "lora")
    # A listener that is the model below its adapter has no weights of its own; the checker is that listener.
    assert lora.bytes["listener"] == lora.bytes["claims"] == 0 < full.bytes["listener"]
    assert full.bytes["claims"] == 0 < full.bytes["claims reads"] == full.bytes["listener reads"]
    assert lora.bytes["adapter"] * 2 == lora.bytes["moments"] and full.bytes["adapter"] == 0
    for line in (full, lora):
        told = line.bytes
        standing = told["weights"] + told["adapter"] + told["moments"] + told["listener"]
        learning, sampling = told["gradients"] + told["kept"], told["prefill"] + told["cache"]
        assert line.peak == standing + max(learning, sampling, told["listener reads"])
        assert line.fits == {card: line.peak <= ROOM * size * 2**30 for card, size in CARDS.items()}


@pytest.mark.slow
def test_a_shipped_configuration_fits_where_its_header_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "bench", "plan", "qwen2.5-vl-7b-lora", "--like", "7b", "--json"]) == 0
    (line,) = json.loads(capsys.readouterr().out)["steps"]
    assert line["bytes"]["weights"] == pytest.approx(2 * 8_292_166_656, rel=1e-4)
    assert line["bytes"]["listener"] == 0 and line["fits"]["80 GB"] and not line["fits"]["24 GB"]
