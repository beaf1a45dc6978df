"""Rows for training: bad ones give way to good ones, as far as was said, and the targets of SFT are what was meant."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot.config import SftDataConfig
from earshot.data.pairset import PairSet
from earshot.errors import DataError, InputError
from earshot.files import append_jsonl
from earshot.images import Tolerance
from earshot.train.rows import PairRows, open_pairs
from earshot.train.targets import read_targets
from earshot.types import Verdict


@pytest.fixture()
def data(tmp_path: Path) -> Path:
    """Four pairs, the third a tie, with traces for the first two, one of them against the votes."""
    from PIL import Image

    (tmp_path / "images").mkdir()
    rows: list[dict[str, Any]] = []
    for k, votes in enumerate([(2, 1), (0, 3), (1, 1), (4, 0)]):
        row: dict[str, Any] = {"id": f"p{k}", "prompt": "a square", "votes_first": votes[0], "votes_second": votes[1]}
        for side in ("first", "second"):
            row[f"{side}_file_name"] = f"images/{k}{side}.png"
            Image.new("RGB", (8, 8), (k * 40, 0, 0)).save(tmp_path / row[f"{side}_file_name"])
        rows.append(row)
    append_jsonl(tmp_path / "metadata.jsonl", rows)
    append_jsonl(
        tmp_path / "traces.jsonl",
        [{"id": "p1", "trace": "blue .", "side": "first"}, {"id": "p0", "trace": "red .", "side": "first"}],
    )
    return tmp_path


def spoil(data: Path, *rows: int) -> None:
    for k in rows:
        (data / "images" / f"{k}first.png").write_bytes(b"\x89PNG and no more")


def test_a_refused_pair_gives_way_to_the_next_one(data: Path) -> None:
    spoil(data, 1, 2)
    told: list[DataError] = []
    rows = PairRows(PairSet(data), Tolerance(2, told.append))
    assert [rows[k].pair.id for k in range(4)] == ["p0", "p3", "p3", "p3"]
    assert ["p1" in str(told[0]), "p2" in str(told[1]), len(told)] == [True, True, 2]
    assert [rows[k].pair.id for k in (1, 2)] == ["p3", "p3"]
    assert len(told) == 2  # a bad pair counts once, however often it is asked for


def test_the_last_pair_gives_way_to_the_first(data: Path) -> None:
    spoil(data, 3)
    assert PairRows(PairSet(data), Tolerance(1))[3].pair.id == "p0"


def test_one_more_bad_pair_than_tolerated_stops_the_run(data: Path) -> None:
    spoil(data, 0, 1)
    rows = PairRows(PairSet(data), Tolerance(1))
    with pytest.raises(DataError, match=r"p1.*at most 1"):
        rows[0]


def test_nothing_but_bad_pairs_is_an_error_and_no_endless_search(data: Path) -> None:
    spoil(data, 0, 1, 2, 3)
    with pytest.raises(DataError, match="no pair from row"):
        PairRows(PairSet(data), Tolerance(9))[0]


def test_stand_ins_come_from_the_chosen_rows(data: Path) -> None:
    spoil(data, 1)
    rows = PairRows(PairSet(data), Tolerance(1), np.array([0, 1, 3]))
    assert [rows[k].pair.id for k in range(3)] == ["p0", "p3", "p3"]


def test_bad_rows_of_the_file_are_collected(data: Path) -> None:
    append_jsonl(data / "metadata.jsonl", [{"id": "bad", "prompt": "x"}])
    with pytest.raises(DataError, match=":5"):
        open_pairs(SftDataConfig(train=str(data)))
    pairs, refused = open_pairs(SftDataConfig(train=str(data), tolerate_bad=1))
    assert (len(pairs), len(refused)) == (4, 1)


def test_traces_find_their_pairs_in_any_order(data: Path) -> None:
    targets = read_targets(PairSet(data), SftDataConfig(train=str(data)))
    assert targets.chosen.tolist() == [0, 1]  # p2 and p3 have none
    assert targets.verdict(0, ()) == Verdict("first", "red .")
    assert targets.verdict(1, ()) == Verdict("first", "blue .")  # the trace's own side, not the majority's


def test_verdicts_are_the_majoritys_and_ties_have_none(data: Path) -> None:
    targets = read_targets(PairSet(data), SftDataConfig(train=str(data), targets="verdict"))
    assert targets.chosen.tolist() == [0, 1, 3]
    assert [targets.verdict(k, ()) for k in range(3)] == [
        Verdict("first", ""),
        Verdict("second", ""),
        Verdict("first", ""),
    ]


def test_max_pairs_counts_pairs_with_a_target(data: Path) -> None:
    targets = read_targets(PairSet(data), SftDataConfig(train=str(data), targets="verdict", max_pairs=2))
    assert targets.chosen.tolist() == [0, 1]


def test_a_trace_cannot_write_control_tokens(data: Path) -> None:
    append_jsonl(data / "traces.jsonl", [{"id": "p3", "trace": "a <|image_pad|> .", "side": "first"}])
    targets = read_targets(PairSet(data), SftDataConfig(train=str(data)))
    assert "<|image_pad|>" not in targets.verdict(2, {"<|image_pad|>"}).trace


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "p3", "trace": "x", "side": "left"}, r"traces.jsonl:3: found"),
        ({"id": "p3", "side": "first"}, r"traces.jsonl:3: found"),
        ({"id": "p1", "trace": "x", "side": "first"}, "'p1' stands there more than once"),
    ],
)
def test_wrong_traces_are_named(row: dict[str, str], message: str, data: Path) -> None:
    append_jsonl(data / "traces.jsonl", [row])
    with pytest.raises(DataError, match=message):
        read_targets(PairSet(data), SftDataConfig(train=str(data)))


def test_no_traces_say_what_else_can_be_done(data: Path) -> None:
    (data / "traces.jsonl").write_text('{"id": "other", "trace": "x", "side": "first"}\n')
    with pytest.raises(DataError, match="none of its 4 pairs has a trace"):
        read_targets(PairSet(data), SftDataConfig(train=str(data)))
    (data / "traces.jsonl").unlink()
    with pytest.raises(InputError, match="targets: verdict"):
        read_targets(PairSet(data), SftDataConfig(train=str(data)))
