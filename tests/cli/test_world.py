"""`earshot world make`: what it writes and prints, and what it refuses before it writes anything."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from earshot.cli.main import main
from earshot.data.rows import iter_rows
from earshot.world.pairs import POPULATIONS


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["world", "make", *(str(word) for word in words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_all_sets_are_made_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, tmp_path / "w", "--pairs", 5, "--test-pairs", 2, "--size", 16)
    assert code == 0
    assert out.startswith(f"{tmp_path / 'w'}: train 5 pairs, validation 2 pairs, test 2 pairs, ")
    assert {path.name: len(list(iter_rows(path))) for path in (tmp_path / "w").iterdir()} == {
        name: 5 if name == "train" else 2 for name in POPULATIONS
    }
    assert all(name in err for name in POPULATIONS) and "5/5" in err  # the bars


def test_chosen_sets_are_made_once_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--sets", "test, ood_style,test,", "--test-pairs", 2, "--size", 16, "--seed", 9)
    code, out, _ = run(capsys, tmp_path, *words)
    assert code == 0 and out == f"{tmp_path}: test 2 pairs, ood_style 2 pairs\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ood_style", "test"]


def test_out_of_distribution_sets_can_be_smaller(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--sets", "test,ood_raters", "--test-pairs", 3, "--ood-pairs", 2, "--size", 16)
    code, out, _ = run(capsys, tmp_path, *words)
    assert code == 0 and out == f"{tmp_path}: test 3 pairs, ood_raters 2 pairs\n"


def test_a_world_has_its_own_number_of_training_pairs_and_a_set_is_found_without_its_world(tmp_path, capsys) -> None:
    code, out, _ = run(capsys, tmp_path / "few", "--world", "few", "--test-pairs", 2, "--size", 16)
    assert code == 0
    assert out == f"{tmp_path / 'few'}: few_train 240 pairs, few_fresh 2 pairs, few_combinations 2 pairs\n"
    words = ("--sets", "few_train,test", "--test-pairs", 2, "--size", 16, "--pairs", 3)
    assert run(capsys, tmp_path / "some", *words)[:2] == (
        0,
        f"{tmp_path / 'some'}: few_train 3 pairs, test 2 pairs\n",
    )


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--sets", "train,ood_stile"], "no set 'ood_stile', did you mean 'ood_style'?; expected some of train, "),
        (["--sets", "zzz"], "no set 'zzz'; expected some of train, validation, test, "),
        (["--pairs", "0"], "--pairs"),
        (["--test-pairs", "-3"], "--test-pairs"),
        (["--size", "8"], "--size"),
        (["--size", "99999"], "--size"),
        (["--seed", "-1"], "--seed"),
        (["--workers", "0"], "--workers"),
    ],
)
def test_a_wrong_call_is_one_line_and_writes_nothing(tmp_path, capsys, words, found) -> None:
    code, out, err = run(capsys, tmp_path / "w", *words)
    assert (code, out) == (2, "")
    assert found in err and err.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_a_set_in_use_is_refused_before_another_is_written(tmp_path, capsys) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "mine.txt").write_text("keep")
    code, _, err = run(capsys, tmp_path, "--pairs", 2, "--test-pairs", 2)
    assert code == 2 and err.count("\n") == 1 and "empty folder" in err
    assert [path.name for path in tmp_path.iterdir()] == ["test"]
    assert (tmp_path / "test" / "mine.txt").read_text() == "keep"


def test_ceilings_are_told_of_every_set_and_stand_below_metrics_on_it(tmp_path, capsys) -> None:
    assert main(["world", "ceilings", "--world", "shortcut", "--sets", "shortcut_with,shortcut_none"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"shortcut_with: a judge who\n    knows these raters +99\.6\n", out)
    assert "sees the mark alone" in out and "100.0" in out.split("shortcut_none")[0]
    assert main(["world", "ceilings", "--sets", "ood_raters", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["accuracy"]["ood_raters"]
    assert round(told["knows the training raters"], 3) == 0.818
    assert main(["world", "make", str(tmp_path), "--sets", "ood_raters", "--test-pairs", "3", "--size", "16"]) == 0
    assert main(["metrics", "--data", str(tmp_path / "ood_raters"), "--resamples", "20"]) == 0
    assert "accuracy: at most 81.8 % by a perfect student of the training raters" in capsys.readouterr().out
