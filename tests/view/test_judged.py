"""The index of predictions.jsonl: what a row counts as, growing files, search."""

from pathlib import Path

import numpy as np
import pytest

from earshot.files import append_jsonl
from earshot.predictions.facts import listener_gaps, outcome_of
from earshot.view.query import Query, select
from earshot.view.rows import Rows
from tests.view.runs import LONG, PAIRS, P, judged_rows, prediction


@pytest.fixture()
def file(tmp_path: Path) -> Path:
    append_jsonl(tmp_path / "predictions.jsonl", [prediction(name, pair) for name, pair in PAIRS.items()])
    return tmp_path / "predictions.jsonl"


def rows_of(*files: Path) -> Rows:
    rows = judged_rows(*(file.parent for file in files))
    rows.refresh()
    return rows


def found(rows: Rows, text: str) -> list[int]:
    return select(rows.table(), Query(text=text)).rows.tolist()


def test_every_row_is_what_it_says_beside_it(file: Path) -> None:
    table = rows_of(file).table()
    columns = {name: table[name].to_numpy() for name in table.column_names if name != "votes"}
    # a right, b wrong, c right, d wrong (no p_first), e tie, f wrong (0.5), g wrong, h right, i open (no votes)
    expected = ["right", "wrong", "right", "wrong", "open", "wrong", "wrong", "right", "open"]
    assert columns["outcome"].tolist() == expected
    assert np.flatnonzero(columns["malformed"]).tolist() == [3]
    assert np.flatnonzero(columns["flip"]).tolist() == [1, 5]
    np.testing.assert_allclose(columns["gap.far"][:3], [0.7, 0.6, 0.4], rtol=1e-6)
    assert np.isnan(columns["gap.far"][3:]).all()
    assert np.flatnonzero(~np.isnan(columns["gap.kin"])).tolist() == [6]
    np.testing.assert_allclose(columns["gap.kin"][6], 0.85, rtol=1e-6)
    # |p_first - 0.5|: a 0.85, b 0.55, c 0.2, d none, e 0.6, f 0.5, g 0.05, h 0.7, i 0.4
    np.testing.assert_allclose(columns["confidence"], [0.35, 0.05, 0.3, np.nan, 0.1, 0, 0.45, 0.2, 0.1], atol=1e-6)


def test_swapping_a_pairs_sides_changes_none_of_it() -> None:
    for pair in PAIRS.values():
        row = prediction("x", pair)
        turned = prediction("x", P(*(None if p is None else 1 - p for p in pair[:2]), pair.votes[::-1]))
        for key in ("label",):
            if key in row:
                turned[key] = {"first": "second", "second": "first"}[row[key]]
        for there, here in zip(turned["samples"], row["samples"], strict=True):
            there["listener"] = {name: 1 - p for name, p in here["listener"].items()}
            if here["p_first"] == 0.5:  # a verdict at exactly 0.5 is the sample's own
                there["side"] = {"first": "second", "second": "first"}[here["side"]]
        assert outcome_of(row) == outcome_of(turned)
        assert listener_gaps(row["samples"]) == pytest.approx(listener_gaps(turned["samples"]))


def test_a_file_that_grows_is_followed_and_a_half_written_line_waits(file: Path) -> None:
    rows = rows_of(file)
    line = b'{"id": "late", "prompt_id": "late", "p_first": 0.9, "p_first_forward": 0.9, "p_first_swapped": 0.9, '
    with file.open("ab") as out:
        out.write(line)
    assert rows.refresh() == 0
    with file.open("ab") as out:
        out.write(b'"votes_first": 1, "votes_second": 0, "samples": []}\n')
    assert rows.refresh() == 1
    assert rows.table()["id"].to_pylist() == [*PAIRS, "late"]
    assert rows.table()["index"].to_pylist() == [*range(10)]  # a row keeps its number
    assert rows.state()["notes"] == []


def test_rows_of_a_file_that_was_replaced_are_no_longer_shown(file: Path) -> None:
    rows = rows_of(file)
    other = file.with_name("other")
    append_jsonl(other, [prediction("new", PAIRS["a"]), prediction("newer", PAIRS["b"])])
    other.replace(file)
    assert rows.refresh() == 2
    assert rows.table()["id"].to_pylist() == ["new", "newer"]
    assert rows.table()["index"].to_pylist() == [9, 10]  # the old numbers lead to nothing, not to another row
    file.unlink()
    assert rows.refresh() == 0
    assert len(rows.table()) == 0


def test_a_bad_line_is_left_out_counted_and_named(file: Path) -> None:
    with file.open("ab") as out:
        out.write(b'not json\n{"id": "x"}\n[1]\n')
    append_jsonl(file, [prediction("after", PAIRS["a"]), prediction("p", PAIRS["a"]) | {"p_first": 7}])
    rows = rows_of(file)
    assert len(rows.table()) == 10
    assert rows.state()["left_out"] == 4
    (note,) = rows.state()["notes"]
    assert note.startswith("run 0, evaluation: line 10: ValueError: no JSON")


def test_a_listener_first_heard_late_is_unheard_before(tmp_path: Path) -> None:
    rows = [prediction(f"p{k}", PAIRS["a"]) for k in range(3000)]
    for sample in rows[-1]["samples"]:
        sample["listener"]["late"] = 0.1
    append_jsonl(tmp_path / "predictions.jsonl", rows)
    table = rows_of(tmp_path / "predictions.jsonl").table()
    assert len(table) == 3000
    assert np.flatnonzero(~np.isnan(table["gap.late"].to_numpy())).tolist() == [2999]
    assert np.isfinite(table["gap.far"].to_numpy()).all()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("plain WORDS", "abcdefg"),
        ("prompt b", "b"),
        ("<script>window.pwned", "h"),
        ('"><img src=x', "h"),
        ("grün END", "i"),
        ("'quoted'", "h"),
        ("{{ 7 * 7 }}", "h"),
        ("<I>generator", "abcdefghi"),
        ("no answer block", "d"),
        ("p_first_forward", ""),  # a key of the file is no text
        ("forward", ""),
        ("far", ""),
        ("u202e", ""),
        ("\u202e", "h"),
    ],
)
def test_search_looks_at_what_people_and_models_wrote(file: Path, text: str, rows: str) -> None:
    assert "".join(list(PAIRS)[row] for row in found(rows_of(file), text)) == rows


def test_search_looks_in_all_files(file: Path, tmp_path: Path) -> None:
    second = tmp_path / "second" / "predictions.jsonl"
    second.parent.mkdir()
    append_jsonl(second, [prediction("z", PAIRS["i"]), prediction("y", PAIRS["a"])])
    rows = rows_of(file, second)  # rows 0-8 of the first, 9 and 10 of the second
    assert found(rows, LONG[:14]) == [8, 9]
    assert found(rows, "plain") == [0, 1, 2, 3, 4, 5, 6, 10]
