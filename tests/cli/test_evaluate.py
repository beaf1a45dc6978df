"""`earshot eval` from end to end on tiny untrained models, and what wrong calls get."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from earshot.cli.evaluate import claim_counter, relative
from earshot.cli.main import main
from earshot.files import append_jsonl, read_jsonl
from earshot.protocol import prompt_set
from tests.servers import FakeVllm, Reply, answering
from tests.vlm.models import tiny


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reasoner of one family and a listener of another, as untrained as they come."""
    from earshot.vlm.tiny import build_tiny

    folder = tmp_path_factory.mktemp("models")
    corpus = ["a red square and a blue circle", "image 1 is better"]
    build_tiny("qwen2_5_vl", corpus, seed=0).save(folder / "reasoner")
    build_tiny("llava", corpus, seed=1).save(folder / "listener")
    return folder


@pytest.fixture()
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(3):
        row: dict[str, Any] = {"id": f"p{i}", "prompt": f"a red square {i}", "votes_first": 2, "votes_second": i}
        for side in ("first", "second"):
            row[f"{side}_file_name"] = f"images/{i}_{side}.png"
            pixels = rng.integers(0, 255, (56, 56, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / row[f"{side}_file_name"])
        rows.append(row)
    append_jsonl(folder / "metadata.jsonl", rows)
    return folder


def call(models: Path, data: Path, out: Path, *more: str) -> int:
    words = ["eval", "--model", models / "reasoner", "--data", data, "--out", out, "--max-new-tokens", "6"]
    return main([*map(str, words), "--resamples", "50", "--device", "cpu", *more])


def test_it_judges_in_both_orders_and_prints_a_table(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call(models, data, out, "--listener", f"far={models / 'listener'}", "--samples", "2") == 0
    rows = list(read_jsonl(out / "predictions.jsonl"))
    assert [row["id"] for row in rows] == ["p0", "p1", "p2"]
    assert [s["order"] for s in rows[0]["samples"]] == ["forward"] * 2 + ["swapped"] * 2
    metrics = json.loads((out / "metrics.json").read_text())
    assert (metrics["n_pairs"], metrics["n_samples"], metrics["n_ties"]) == (3, 12, 1)
    assert "disagreement.far" in metrics
    settings = json.loads((out / "evaluation.json").read_text())
    assert settings["data"] == "../data"
    assert str(tmp_path) not in (out / "evaluation.json").read_text()
    assert len(settings["models"]["far"]["sha256"]) == 64
    printed = capsys.readouterr()
    assert "malformed" in printed.out
    assert "Loading weights" not in printed.err  # transformers' own bars


def test_json_is_metrics_json_and_going_on_judges_nothing_twice(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert call(models, data, out, "--pairs", "2") == 0
    before = (out / "predictions.jsonl").read_text()
    capsys.readouterr()
    assert call(models, data, out, "--json") == 0
    assert (out / "predictions.jsonl").read_text().startswith(before)
    assert json.loads(capsys.readouterr().out) == json.loads((out / "metrics.json").read_text())
    assert call(models, data, out, "--temperature", "0.5") == 2
    assert "made with temperature" in capsys.readouterr().err


def test_images_that_are_bad_stop_it_or_are_tolerated(
    models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "images" / "1_first.png").write_bytes(b"\x89PNG no picture")
    assert call(models, data, tmp_path / "strict") == 2
    assert "p1" in capsys.readouterr().err
    assert call(models, data, tmp_path / "lenient", "--tolerate", "1", "--json") == 0
    metrics = json.loads(capsys.readouterr().out)
    assert (metrics["n_pairs"], metrics["n_refused"]) == (2, 1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--redaction", "all"], "'all' is not one of 'none', 'answer', 'verdict'"),
        (["--temperature", "0", "--samples", "2"], "greedy"),
        (["--listener", "x/a", "--listener", "y/a"], "two listeners are called 'a'"),
        (["--data", "nowhere"], "nowhere"),
        (["--model", "nowhere/model"], "nowhere/model"),
    ],
)
def test_wrong_calls_are_one_line_and_write_nothing(
    more: list[str], message: str, models: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(models, data, tmp_path / "run", *more) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.glob("run/*"))


def test_paths_are_told_as_seen_from_the_run(tmp_path: Path) -> None:
    assert relative(tmp_path / "data", tmp_path / "runs" / "one") == "../../data"


def test_without_ground_truth_no_claims_are_counted(data: Path) -> None:
    assert claim_counter(data) is None


def test_a_reasoner_on_a_server_is_evaluated_in_shards_with_two_listeners_as_in_one_go(
    models: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is there is as untrained as it comes, and hardly ever answers.
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)

    def listens(path: str, body: dict[str, list[str]], headers: object) -> Reply:
        return Reply({"p_first": [0.75] * len(body["traces"])})

    vlm = replace(tiny("qwen2_5_vl"), prompts=prompt_set("standard"))
    writes = "<think> the red one </think><answer>1</answer>"
    with answering(FakeVllm(vlm, writes=writes)) as url, answering(listens) as other:
        words = ["eval", "--model", f"{url}/v1#tiny", "--data", str(data), "--resamples", "50", "--batch", "1"]
        words += ["--listener", f"far={models / 'listener'}", "--listener", f"near={other}", "--device", "cpu"]
        assert main([*words, "--out", str(tmp_path / "whole")]) == 0
        for shard in ("2/2", "1/2"):
            assert main([*words, "--out", str(tmp_path / "shards"), "--shard", shard]) == 0
    for name in ("predictions.jsonl", "metrics.json"):
        assert (tmp_path / "shards" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert metrics["disagreement.far"]["n"] == metrics["disagreement.near"]["n"] == 6
    settings = json.loads((tmp_path / "whole" / "evaluation.json").read_text())
    assert settings["models"]["near"] == {"source": other, "sha256": None}
