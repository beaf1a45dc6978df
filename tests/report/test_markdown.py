"""The model card: YAML that the hub reads, values of metrics.json, tables that hostile names cannot break."""

import json
import re
from pathlib import Path

import pytest
import yaml

from earshot.files import write_json, write_text
from earshot.predictions.run import read_runs
from earshot.protocol import prompt_set
from earshot.report.markdown import METRIC_TYPES, model_card, table, text, write_model_card
from earshot.report.tables import QUANTITIES
from tests.report.conftest import make_run
from tests.report.runs import RIGHT, WRONG, row, write_evaluation

CARD = "imagereward"


def make_card(folder: Path) -> tuple[str, dict[str, object]]:
    origin = "https://huggingface.co/datasets/THUDM/ImageRewardDB (test.json: github.com/THUDM/ImageReward)"
    info = {"title": "ImageReward", "origin": origin, "split": "test", "revision": "abc123", "licence": "Apache-2.0"}
    write_json(folder / "data" / "dataset.json", info)
    for name, ps in (("one", (RIGHT, RIGHT, WRONG)), ("two", (RIGHT, RIGHT, RIGHT))):
        rows = [row(f"p{i}", p, heard={"kin | <b>": 0.8}) for i, p in enumerate(ps)]
        write_evaluation(folder / name / "eval" / CARD, rows, protocols=["imagereward-micro"], data="../../../data")
    written = write_model_card([folder / "one", folder / "two"], folder / "README.md").read_text(encoding="utf-8")
    _, front, body = written.split("---\n", 2)
    return body, yaml.safe_load(front)


def test_the_index_holds_the_values_of_metrics_json(tmp_path: Path):
    _, front = make_card(tmp_path)
    assert [entry["name"] for entry in front["model-index"]] == ["one", "two"]
    for entry in front["model-index"]:
        metrics = json.loads((tmp_path / entry["name"] / "eval" / CARD / "metrics.json").read_text())
        told = {METRIC_TYPES[k]: metrics[k]["value"] for k in METRIC_TYPES if metrics[k]["value"] is not None}
        (result,) = entry["results"]
        by_name = {metric["name"]: metric for metric in result["metrics"]}
        assert by_name["accuracy"]["value"] == metrics["accuracy"]["value"]
        assert (
            by_name["accuracy by the protocol imagereward-micro"]["value"]
            == metrics["protocol.imagereward-micro"]["value"]
        )
        assert by_name["disagreement with kin | <b>"]["value"] == metrics["disagreement.kin | <b>"]["value"]
        assert {m["type"] for m in result["metrics"]} == {*told, "disagreement"}
        values = {m["value"] for m in result["metrics"]}
        assert values <= {v["value"] for v in metrics.values() if isinstance(v, dict)}
        assert result["dataset"] == {
            "type": "THUDM/ImageRewardDB", "name": "ImageReward (imagereward)", "split": "test", "revision": "abc123"
        }  # fmt: skip
        assert result["task"]["type"] == front["pipeline_tag"] == "image-text-to-text"


def test_the_hubs_own_code_reads_the_index(tmp_path: Path):
    hub = pytest.importorskip("huggingface_hub", reason="no huggingface_hub; pip install 'earshot-rm[train]'")
    make_card(tmp_path)
    card = hub.ModelCard.load(tmp_path / "README.md")
    found = card.data.eval_results
    assert {result.dataset_type for result in found} == {"THUDM/ImageRewardDB"}
    assert {result.dataset_revision for result in found} == {"abc123"}
    assert next(r.metric_value for r in found if r.metric_name == "accuracy") == pytest.approx(2 / 3)


def test_every_table_has_as_many_cells_in_every_row(tmp_path: Path):
    body, _ = make_card(tmp_path)
    blocks = [block for block in body.split("\n\n") if block.lstrip().startswith("|")]
    assert len(blocks) >= 4
    for block in blocks:
        lines = block.strip().splitlines()
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "| accuracy | 66.7 % (" in body
    assert "+33.3 points" in body  # two minus one
    assert "imagereward-micro" in body
    assert "<b>" not in body


def test_hostile_text_is_text(tmp_path: Path, hostile: str):
    run = make_run(tmp_path / "run", steps=3)
    written = write_model_card([run], tmp_path / "card.md").read_text(encoding="utf-8")
    _, front, body = written.split("---\n", 2)
    assert yaml.safe_load(front)["model-index"][0]["name"] == "run"
    assert "<script" not in body
    assert "\u202e" not in written
    assert text("a|b\n# c <i> [x](y) `z`") == "a\\|b \\# c &lt;i&gt; \\[x\\](y) \\`z\\`"
    assert len(text("x" * 10_000)) < 400
    assert text("\ud83d\x00") == "  "
    assert table(["", "a|b"], [["r", "1"]]) == "|  | a\\|b |\n| --- | --- |\n| r | 1 |\n"


def test_a_run_without_results_has_no_index(tmp_path: Path):
    from earshot.files import append_jsonl

    append_jsonl(tmp_path / "run" / "metrics.jsonl", [{"step": 1, "reward": 1.0}])
    written = write_model_card([tmp_path / "run"], tmp_path / "card.md").read_text(encoding="utf-8")
    assert "model-index" not in yaml.safe_load(written.split("---\n", 2)[1])


def test_what_could_not_be_computed_is_not_in_the_index(tmp_path: Path):
    write_evaluation(tmp_path / "run" / "eval" / "test", [row("p", None)])
    written = write_model_card([tmp_path / "run"], tmp_path / "card.md").read_text(encoding="utf-8")
    (result,) = yaml.safe_load(written.split("---\n", 2)[1])["model-index"][0]["results"]
    assert {m["name"] for m in result["metrics"]} == {
        "accuracy", "accuracy, mean over prompts", "malformed", "accuracy on the surest 80 %"
    }  # fmt: skip
    assert "NaN" not in written
    assert "nan" not in written.split()


def test_every_metric_of_the_index_is_one_that_is_shown():
    assert set(METRIC_TYPES) <= set(QUANTITIES)


def with_model(folder: Path, taught_on: str | None = None, **more: object) -> Path:
    said = {"prompts": prompt_set("brief").model_dump() | more} | ({"taught_on": taught_on} if taught_on else {})
    write_json(folder / "model" / "earshot.json", said)
    write_text(folder / "config.yaml", "data: {train: /gone/pairs}\nout: /gone/run\n")
    return folder


def test_a_card_says_how_its_model_is_used_and_asked_and_what_it_knows(tmp_path: Path):
    shapes = with_model(tmp_path / "shapes", "made-up pictures of coloured shapes")
    card = model_card(read_runs([shapes], who="a report"))
    assert 'earshot compare --model MODEL --prompt "' in card
    assert "    user: <image><image>prompt : {prompt} . which better ?\n" in card
    assert "    assistant: <think> why </think><answer>1</answer>\n" in card
    assert "It was taught on made-up pictures of coloured shapes alone: of photographs" in card
    photos = with_model(tmp_path / "photos", traces="text", question="``` {prompt}\n\u202e# which?")
    both = model_card(read_runs([shapes, photos], who="a report"))
    assert both.count("## Limits") == both.count("## Prompt and chat format") == 1
    assert "Of shapes:\n\n- It was taught on made-up pictures" in both and "Of photos:\n\n- It compares" in both
    assert "    user: <image><image>``` {prompt}\n     # which?\n" in both  # what would end a block is in it
    write_text(photos / "model" / "earshot.json", '{"prompts": 5}')
    assert "Not known here: " in model_card(read_runs([photos], who="a report"))
    compile(re.search("```python\n(.*?)```", card, re.DOTALL)[1], "card", "exec")


def test_training_data_is_told_wherever_the_set_has_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = with_model(tmp_path / "run")
    told = {"source": "ImageReward", "licence": "Apache-2.0", "counts": {"pairs": 12}}
    write_json(run / "environment.json", {"sets": {"train": told}, "data": {"train": "f" * 64}})
    expected = "| pairs | trained on | ImageReward | Apache-2.0 | rows ffffffffffff | 12 pairs |"
    for place in (tmp_path, run):
        monkeypatch.chdir(place)
        assert expected in model_card(read_runs([run], who="a report"))
    write_json(run / "environment.json", {"data": {"train": "f" * 64}})  # of a run before that was kept
    assert "| pairs | trained on | pairs | – | rows ffffffffffff | – |" in model_card(read_runs([run], who="a report"))
