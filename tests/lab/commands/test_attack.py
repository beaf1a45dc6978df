"""`earshot lab attack` from the command line, on untrained models of the world."""

import json
import shutil
from pathlib import Path

import pytest

from earshot.cli.main import main
from earshot.lab.commands.attack import honest_traces
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from earshot.world.make import Recipe, make_set

SIZE = TinySize(hidden=64, layers=1, vision_hidden=32, vision_layers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two listeners and three pairs."""
    folder = tmp_path_factory.mktemp("attack")
    for family in ("qwen2_5_vl", "llava"):
        build_tiny(family, corpus(40), size=SIZE).save(folder / family)
    make_set(folder / "pairs", Recipe("test"), 3, workers=1)
    return folder


def call(folder: Path, out: Path, *more: str) -> int:
    base = [
        "lab",
        "attack",
        "--listener",
        f"ours={folder / 'qwen2_5_vl'}",
        "--data",
        str(folder / "pairs"),
        "--out",
        str(out),
    ]
    # All attacks take minutes; tests/lab/attack puts every one of them to a fake.
    groups = () if "--group" in more else ("empty", "opener", "to the judge", "honest trace", "another pair's", "drawn")
    return main([*base, "--resamples", "50", *more, *(word for group in groups for word in ("--group", group))])


def test_it_writes_what_it_found_about_every_listener(folder: Path, tmp_path: Path, capsys) -> None:
    more = ["--listener", str(folder / "llava"), "--claims", str(folder / "llava"), "--redaction", "verdict"]
    assert call(folder, tmp_path / "run", *more) == 0
    shown = capsys.readouterr().out
    assert "## ours, redaction `verdict`, plain" in shown and "## llava, redaction `verdict`, claims" in shown
    assert "Each text apart" not in shown
    record = json.loads((tmp_path / "run" / "attack.json").read_text())
    assert (record["pairs"], sorted(record["listeners"]), sorted(record["models"])) == (
        3,
        ["llava", "ours"],
        ["claims", "llava", "ours"],
    )
    rows = {(r["group"], r["text"], r["option"]): r for r in record["listeners"]["ours"]}
    assert rows["empty", None, "plain"]["moved"]["value"] == 0.0
    assert rows["to the judge", None, "plain"]["flipped"]["n"] == 3 * 2 * 10  # pairs, sides, texts
    assert rows["honest trace", None, "claims"]["reward"]["n"] == 3
    assert "## ours, redaction `verdict`, plain" in (tmp_path / "run" / "attack.md").read_text()


def test_json_and_the_first_pairs_alone(folder: Path, tmp_path: Path, capsys) -> None:
    assert call(folder, tmp_path / "run", "--json", "--pairs", "2", "--redaction", "none") == 0
    record = json.loads(capsys.readouterr().out)
    assert record["pairs"] == 2
    assert {row["redaction"] for row in record["listeners"]["ours"]} == {"none"}


def test_only_the_groups_that_were_asked_for_are_put(folder: Path, tmp_path: Path, capsys) -> None:
    more = (
        "--json",
        "--pairs",
        "2",
        "--redaction",
        "verdict",
        "--group",
        "endings held out, after",
        "--group",
        "empty",
    )
    assert call(folder, tmp_path / "run", *more) == 0
    groups = {row["group"] for row in json.loads(capsys.readouterr().out)["listeners"]["ours"]}
    assert {"empty", "endings held out, after honest", "endings held out, after honest: hint"} <= groups
    assert all(one == "empty" or one.startswith("endings held out, after honest") for one in groups)


def test_what_claims_nothing_is_no_trace_unless_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    moved = {}
    for flag in ("--needs-claims", "--no-needs-claims"):
        assert call(folder, tmp_path / flag, flag, "--pairs", "2", "--redaction", "answer") == 0
        record = json.loads((tmp_path / flag / "attack.json").read_text())
        assert record["needs_claims"] is (flag == "--needs-claims")
        rows = {(r["group"], r["text"], r["option"]): r for r in record["listeners"]["ours"]}
        moved[flag] = [
            rows[group, None, "plain"]["moved"]["value"] for group in ("opener", "to the judge", "another pair's")
        ]
    assert moved["--needs-claims"][:2] == [0.0, 0.0] and min(moved["--no-needs-claims"]) > 0
    assert moved["--needs-claims"][2] == moved["--no-needs-claims"][2]


def test_the_sets_own_traces_are_the_honest_ones(folder: Path, tmp_path: Path, capsys) -> None:
    pairs = Path(shutil.copytree(folder / "pairs", tmp_path / "pairs"))
    assert len(honest_traces(pairs)) == 3
    (pairs / "traces.jsonl").write_text('{"id": "a", "trace": "x"}\n{"id": 3}\n')
    assert call(folder, tmp_path / "run", "--data", str(pairs)) == 2
    assert "traces.jsonl:2: found {'id': 3}, expected an id and a trace" in capsys.readouterr().err
    (pairs / "traces.jsonl").unlink()
    assert honest_traces(pairs) == {}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (["--redaction", "some"], "--redaction is 'some', expected none or answer or verdict or evidence"),
        (["--group", "nothing"], "--group is 'nothing', expected how one of these begins: empty, opener"),
        (["--listener", "ours=elsewhere"], "two listeners are called 'ours'"),
    ],
)
def test_a_wrong_call_says_so(folder: Path, tmp_path: Path, capsys, more: list[str], problem: str) -> None:
    assert call(folder, tmp_path / "run", *more) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
