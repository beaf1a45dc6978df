"""`earshot lab readers` from the command line."""

import json
from pathlib import Path

import pytest

from earshot.cli.main import main
from tests.lab.readers.made_up import SIDES, praise

VOTES = {"first": "leftvote", "second": "rightvote"}
WORDS = ("--permutations", "4", "--resamples", "100")


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two judges' texts on sixty pairs; the second one's last twenty verdicts are not what its texts say."""
    folder = tmp_path_factory.mktemp("judges")
    files = []
    for name, contrary in (("long-winded-judge.jsonl", 0), ("other.jsonl", 20)):
        rows = []
        for i in range(60):
            side = SIDES[i * 7 % 3 % 2]
            said = "[[A>B]]" if (side == "first") == (i < 60 - contrary) else "[[B>A]]"
            text = f"{praise(side)} {said}"
            rows.append({"idx": i, "prompt": f"q{i}", "response": text, "human_vote": VOTES[side]})
        files.append(folder / name)
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def test_a_table_for_each_judge_that_fits_a_terminal(judges: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "readers", *map(str, judges), *WORDS]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    first, second = shown.split("\n\n")[1:]
    assert first.startswith("long-winded-judge.jsonl: 60 texts on 60 pairs; left out 0 unparsed,")
    told = [{line[:32].strip(): line[32:].split() for line in part.splitlines()} for part in (first, second)]
    assert told[0]["reader agrees"] == ["100.0", "[100.0,", "100.0]"] * 2
    assert told[0]["judge right where it differs"] == ["–", "–"]
    assert told[1]["that the reader differs on"] == ["20", "20"]
    assert told[1]["judge right where it differs"] == ["0.0", "[0.0,", "0.0]"] * 2
    assert told[1]["difference"] == ["+100.0", "[+100.0,", "+100.0]"] * 2


def test_json_has_every_number_and_how_it_was_made(judges: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "readers", *map(str, judges), *WORDS, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"] == {"prompts": "standard", "folds": 5, "permutations": 4, "resamples": 100, "seed": 0}
    one, other = found["files"].values()
    assert one["difficulty"] == ["other judges"] and other["difficulty"] == []
    assert other["left_out"] == {"unparsed": 0, "people_tied": 0, "judge_tied": 0}
    assert other["redaction"]["verdict"]["agrees"]["value"] == pytest.approx(2 / 3)
    assert other["redaction"]["verdict"]["kept"] < other["redaction"]["none"]["kept"] == 1.0
    assert other["redaction"]["verdict"]["at_equal_difficulty"] == {"value": None, "low": None, "high": None, "n": 0}
    assert other["permuted"]["difference"]["n"] <= 4


def test_a_judge_without_a_verdict_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"idx": i, "prompt": f"q{i}", "response": praise("first"), "human_vote": "leftvote"} for i in range(5)]
    path = tmp_path / "judge.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["lab", "readers", str(path), *WORDS]) == 0
    assert capsys.readouterr().out.endswith("\nno text on which people, judge and reader have a side\n")


def test_wrong_calls(judges: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = tmp_path / "scores.csv"
    scores.write_text("image,score\na.png,1\n")
    few = tmp_path / "few.jsonl"
    few.write_text("".join(judges[0].read_text().splitlines(keepends=True)[:4]))
    strange = tmp_path / "strange.jsonl"
    strange.write_text(judges[0].read_text().replace('"idx": ', '"idx": 9'))
    for files, message in (
        ([judges[0], judges[0]], "is given twice"),
        ([scores], "has the columns image, score, expected judges' texts"),
        ([few], "4 prompts to be read, expected at least 5, one a fold; give more pairs, or --folds"),
        ([judges[0], strange], "share no pair"),
        ([tmp_path], "is a folder without a predictions.jsonl"),
    ):
        assert main(["lab", "readers", *map(str, files), *WORDS]) == 2
        assert message in capsys.readouterr().err
