"""What was run, as the files of a run tell it; a dash where none does."""

from pathlib import Path

from earshot.files import append_jsonl, write_json, write_text
from earshot.predictions.run import Run, read_runs
from earshot.report.provenance import data_facts, describe_data, duration, run_facts
from tests.report.conftest import make_run
from tests.report.runs import row, write_evaluation


def test_facts_are_those_of_the_files(tmp_path: Path):
    run = tmp_path / "run"
    write_text(run / "config.yaml", "model: {path: world:reasoner}\ndata: {train: nowhere/train}\nseed: 7\n")
    models = {"reasoner": {"name": "r", "sha256": "a" * 64}, "listener:world:listener": {"sha256": "b" * 64}}
    write_json(run / "environment.json", {"models": models, "commit": "c" * 40, "packages": {"torch": "2.13"}})
    rows = [{"step": s, "step_seconds": 30.0, "trl/num_tokens": 1000.0 * s} for s in (1, 2, 3)]
    append_jsonl(run / "metrics.jsonl", rows)
    judged = {"model": {"source": "../../model", "sha256": "d" * 64}, "far": {"source": "hub/far"}}
    write_evaluation(run / "eval" / "test", [row("p", 0.9)], seed=3, listeners=["far"], models=judged)
    facts = {fact.label: fact.values[0] for fact in run_facts([Run("run", run)])}
    assert facts["starting model"] == "world:reasoner (aaaaaaaaaaaa)"
    assert facts["listeners in the reward"] == "world:listener (bbbbbbbbbbbb)"
    assert facts["judged model"] == "run/model (dddddddddddd)"
    assert facts["listeners asked"] == "far = hub/far"
    assert facts["seed"] == "training 7, judging 3"
    assert facts["training"] == "3 steps"
    assert facts["training time"] == "1 min 30 s, 30 s a step"
    assert facts["training volume"] == "3,000 tokens"
    assert facts["judging"].startswith("2 completions")
    assert facts["commit"] == "c" * 12
    assert "torch 2.13" in facts["versions"]


def test_listeners_that_were_paid_are_told_from_those_that_were_measured(tmp_path: Path):
    models = {"reasoner": {"sha256": "a" * 64}, "listener:kin": {"sha256": "b" * 64}, "claims:far": {}}
    for name, rewards in (
        ("paid", "{listener: 0.5, claims: 0}"),
        ("not", "{listener: 0.0, claims: 1}"),
        ("hostile", "3"),
    ):
        write_text(tmp_path / name / "config.yaml", f"rewards: {rewards}\n")
        write_json(tmp_path / name / "environment.json", {"models": models})
    facts = {fact.label: fact.values for fact in run_facts([Run(n, tmp_path / n) for n in ("paid", "not", "hostile")])}
    assert facts["listeners in the reward"] == [
        "kin (bbbbbbbbbbbb), weight 0.5", "checks claims: far, weight 1", "kin (bbbbbbbbbbbb); checks claims: far"
    ]  # fmt: skip
    assert facts["measured, not paid"] == ["checks claims: far", "kin (bbbbbbbbbbbb)", "–"]


def test_data_is_told_by_its_dataset_json_where_that_is_at_hand(tmp_path: Path):
    info = {"title": "ImageReward", "origin": "https://x", "licence": "Apache-2.0", "revision": "r1", "split": "test",
            "shuffle_seed": 0, "annotations": {"file": "test.json", "sha256": "e" * 64}}  # fmt: skip
    assert describe_data(info) == (
        "ImageReward, https://x",
        "Apache-2.0",
        "revision r1, split test, sides shuffled with seed 0, SHA-256 eeeeeeeeeeee"
    )  # fmt: skip
    assert describe_data({"shards": [{"footer_sha256": "f" * 64}, {"footer_sha256": "0" * 64}]})[2] == (
        "SHA-256 ffffffffffff, and of 1 more files"
    )
    assert describe_data({}) == ("–", "–", "–")
    write_json(tmp_path / "data" / "dataset.json", info)
    for name in ("a", "b"):
        write_evaluation(tmp_path / name / "eval" / "test", [row("p", 0.9)], data="../../../data")
    write_evaluation(tmp_path / "a" / "eval" / "gone", [row("p", 0.9)], data="../../../gone")
    facts = data_facts(read_runs([tmp_path / "a", tmp_path / "b"], who="a report"))
    assert [(f.name, f.licence, f.pairs, f.note) for f in facts] == [
        ("gone", "–", "1 pairs, 1 prompts", "its dataset.json is not at hand"),
        ("test", "Apache-2.0", "1 pairs, 1 prompts", ""),
    ]


def test_a_hostile_config_is_no_fault(tmp_path: Path):
    run = make_run(tmp_path / "run", steps=2)
    for config in ("[", "a: &a [*a]\n", "- 1", "data: 3", "\x00"):
        write_text(run / "config.yaml", config)
        assert run_facts([Run("run", run)])
        assert data_facts([Run("run", run)])


def test_durations_are_read_at_a_glance():
    assert [duration(s) for s in (0.4, 59.4, 60.0, 200.0, 7_500.0)] == [
        "0 s",
        "59 s",
        "1 min 00 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
