"""The texts in files of answers, beside what was answered and what people preferred."""

import json
from pathlib import Path
from typing import Any

import pytest

from earshot.benchmarks.explanations import read_explanations
from earshot.errors import DataError
from earshot.predictions.table import FIRST, NONE, SECOND, TIE


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_judges_texts_stand_beside_their_answers(tmp_path: Path) -> None:
    said = [("leftvote", "red [[A>B]]"), ("rightvote", "blue [[A=B=Good]]"), ("tievote", "hm")]
    rows = [{"idx": i, "instruct_prompt": "q", "response": t, "human_vote": v} for i, (v, t) in enumerate(said)]
    told = read_explanations(write(tmp_path / "judge.jsonl", rows))
    assert told.texts == ("red [[A>B]]", "blue [[A=B=Good]]", "hm")
    assert (told.pair.tolist(), told.choice.tolist()) == ([0, 1, 2], [FIRST, TIE, NONE])
    assert told.judged.majority.tolist() == [FIRST, SECOND, TIE]
    assert not told.turned.any()
    assert str(told.margin.tolist()) == "[nan, nan, nan]"  # one person was asked once


def test_a_runs_traces_are_turned_where_the_images_were(tmp_path: Path) -> None:
    samples = [
        {"order": "forward", "trace": "red", "side": "first", "malformed": None, "verdict": 1, "p_first": 0.9},
        {"order": "swapped", "trace": "blue", "side": "first", "malformed": None, "verdict": 2, "p_first": 0.8},
        {"order": "swapped", "trace": "cut", "side": None, "malformed": "no answer", "verdict": None, "p_first": None},
    ]
    row = {"prompt_id": "q", "p_first": 0.8, "p_first_forward": 0.9, "p_first_swapped": 0.7}
    rows = [
        {**row, "id": "a", "votes_first": 3, "votes_second": 1, "samples": samples},
        {"id": "b", "error": "no picture"},
        {**row, "id": "c", "votes_first": 0, "votes_second": 0, "samples": samples[:1]},
    ]
    told = read_explanations(write(tmp_path / "predictions.jsonl", rows))
    assert told.texts == ("red", "blue", "cut", "red")
    assert (told.pair.tolist(), told.choice.tolist()) == ([0, 0, 0, 1], [FIRST, FIRST, NONE, FIRST])
    assert told.turned.tolist() == [False, True, True, False]
    assert str(told.margin.tolist()) == "[0.5, nan]"  # (3 - 1) / 4


def test_a_file_without_texts_is_refused_by_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "choices.jsonl", [{"id": "a", "choice": "first"}])
    with pytest.raises(DataError, match="has the columns id, choice, expected judges' texts"):
        read_explanations(path)
