"""The index of rollouts/*.parquet: what a row counts as, files written again, damaged files, search."""

from pathlib import Path

import numpy as np
import pytest

from earshot.predictions.run import Run
from earshot.view.pictures import Pairs
from earshot.view.query import Query, select
from earshot.view.rollouts import RolloutSource
from earshot.view.rows import Rows
from tests.view.runs import ROLLOUTS, rollout, write_rollouts


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for name, rows in ROLLOUTS.items():
        write_rollouts(tmp_path / "rollouts" / name, rows)
    return tmp_path / "rollouts"


def rows_of(folder: Path) -> Rows:
    rows = Rows([RolloutSource(Run("run", folder.parent), Pairs(None))])
    rows.refresh()
    return rows


def test_every_row_is_what_it_says_beside_it(folder: Path) -> None:
    table = rows_of(folder).table()
    columns = {name: table[name].to_numpy() for name in ("outcome", "malformed", "step", "reward", "gap.listener")}
    assert columns["outcome"].tolist() == ["right", "wrong", "wrong", "wrong", "open"]
    assert columns["malformed"].tolist() == [0, 0, 1, 0, 0]
    assert columns["step"].tolist() == [0, 0, 0, 2, 2]
    np.testing.assert_allclose(columns["reward"], [1.5, 0.5, 0.0, np.nan, 2.0])
    # A verdict of second is 0, the listener says 0.8.
    np.testing.assert_allclose(columns["gap.listener"], [np.nan, 0.8, np.nan, np.nan, np.nan], rtol=1e-6)


def test_new_files_are_followed_and_half_written_ones_are_not(folder: Path) -> None:
    rows = rows_of(folder)
    write_rollouts(folder / ".tmp-ab-step-000004-rank0.parquet", [rollout(4)])
    assert rows.refresh() == 0
    write_rollouts(folder / "step-000004-rank0.parquet", [rollout(4), rollout(4)])
    assert rows.refresh() == 2
    assert rows.refresh() == 0


def test_a_file_that_was_written_again_or_removed_is_no_longer_shown(folder: Path) -> None:
    rows = rows_of(folder)
    first, second = (folder / name for name in ROLLOUTS)
    first.unlink()
    write_rollouts(first, [rollout(0, reward=9.0)])
    second.unlink()
    assert rows.refresh() == 1
    assert rows.table()["reward"].to_pylist() == [9.0]
    assert rows.table()["index"].to_pylist() == [5]  # the old numbers lead to nothing, not to another row


def test_a_damaged_file_is_named_and_the_others_are_shown(folder: Path) -> None:
    (folder / "step-000001-rank0.parquet").write_bytes(b"PAR1 no parquet")
    rows = rows_of(folder)
    assert len(rows.table()) == 5
    (note,) = rows.state()["notes"]
    assert note.startswith("run, rollouts: step-000001-rank0.parquet cannot be read")
    rows.refresh()
    assert len(rows.state()["notes"]) == 1


def test_a_file_that_lacks_what_a_row_needs_is_left_out_and_a_null_is_an_empty_text(folder: Path) -> None:
    write_rollouts(folder / "step-000004-rank0.parquet", [rollout(4, pair_id=None, prompt=None)])
    write_rollouts(folder / "step-000006-rank0.parquet", [rollout(6, votes_first=None)])
    rows = rows_of(folder)
    assert len(rows.table()) == 6
    assert (rows.table()["id"][5].as_py(), rows.table()["prompt"][5].as_py()) == ("", "")
    assert rows.state()["left_out"] == 1


@pytest.mark.parametrize(
    ("text", "rows"),
    [("other WORDS", [3]), ("words of step 0", [0, 1, 2]), ("<script>", [0, 1, 2, 3, 4]), ("two answers", [])],
)
def test_search_looks_at_prompts_and_completions(folder: Path, text: str, rows: list[int]) -> None:
    assert select(rows_of(folder).table(), Query(text=text)).rows.tolist() == rows
