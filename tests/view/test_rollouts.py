"""The index of rollouts/*.parquet: what a row counts as, files written again, damaged files, search."""

from pathlib import Path

import numpy as np
import pytest

from earshot.view.columns import OPEN, RIGHT, WRONG
from earshot.view.rollouts import RolloutIndex
from earshot.view.sources import Source
from tests.view.runs import ROLLOUTS, rollout, write_rollouts


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    for name, rows in ROLLOUTS.items():
        write_rollouts(tmp_path / name, rows)
    return tmp_path


def index_of(folder: Path) -> RolloutIndex:
    index = RolloutIndex([Source("run", "rollouts", folder, None)])
    index.refresh()
    return index


def test_every_row_is_what_it_says_beside_it(folder: Path) -> None:
    columns = index_of(folder).columns.snapshot()
    assert columns["outcome"].tolist() == [RIGHT, WRONG, WRONG, WRONG, OPEN]
    assert columns["malformed"].tolist() == [False, False, True, False, False]
    assert columns["step"].tolist() == [0, 0, 0, 2, 2]
    np.testing.assert_allclose(columns["reward"], [1.5, 0.5, 0.0, np.nan, 2.0])
    # A verdict of second is 0, the listener says 0.8.
    np.testing.assert_allclose(columns["gap.listener"], [np.nan, 0.8, np.nan, np.nan, np.nan], rtol=1e-6)


def test_rows_are_read_back_across_row_groups_and_files(folder: Path) -> None:
    found = index_of(folder).read([4, 2, 0])  # a row group holds two rows
    assert [row and row["reward"] for row in found] == [2.0, 0.0, 1.5]


def test_new_files_are_followed_and_half_written_ones_are_not(folder: Path) -> None:
    index = index_of(folder)
    write_rollouts(folder / ".tmp-ab-step-000004-rank0.parquet", [rollout(4)])
    assert index.refresh() == 0
    write_rollouts(folder / "step-000004-rank0.parquet", [rollout(4), rollout(4)])
    assert index.refresh() == 2
    assert index.refresh() == 0


def test_a_file_that_was_written_again_or_removed_is_no_longer_shown(folder: Path) -> None:
    index = index_of(folder)
    first, second = (folder / name for name in ROLLOUTS)
    first.unlink()
    write_rollouts(first, [rollout(0, reward=9.0)])
    assert index.read([0]) == [None]
    second.unlink()
    index.refresh()
    assert index.columns.snapshot()["alive"].tolist() == [False] * 5 + [True]
    assert [row and row["reward"] for row in index.read([5])] == [9.0]


def test_a_damaged_file_is_named_and_the_others_are_shown(folder: Path) -> None:
    (folder / "step-000001-rank0.parquet").write_bytes(b"PAR1 no parquet")
    index = index_of(folder)
    assert len(index.columns) == 5
    (note,) = index.notes
    assert note.startswith("run: step-000001-rank0.parquet cannot be read")
    index.refresh()
    assert len(index.notes) == 1


@pytest.mark.parametrize(
    ("text", "rows"),
    [("other WORDS", [3]), ("words of step 0", [0, 1, 2]), ("<script>", [0, 1, 2, 3, 4]), ("two answers", [])],
)
def test_search_looks_at_prompts_and_completions(folder: Path, text: str, rows: list[int]) -> None:
    assert np.flatnonzero(index_of(folder).search(text, 0, 5)).tolist() == rows
