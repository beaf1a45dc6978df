"""`earshot metrics` and `earshot data overlap` as commands, on the real annotations where they are there."""

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from earshot.cli.evaluate import chosen_protocols
from earshot.cli.main import main
from earshot.data.writer import PairSetWriter
from earshot.errors import InputError
from earshot.types import Pair, Votes
from tests.report.runs import RIGHT, WRONG, row, write_evaluation

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "imagereward" / "imagereward_test.json"
has_real = pytest.mark.skipif(not REAL.is_file(), reason="no published data beside the repository")


def call(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    assert main([*map(str, words), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err


@has_real
def test_imagereward_first_listed_is_better_in_59_percent_of_6399_strict_pairs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ("imagereward-micro", "imagereward-macro")
    found = call(capsys, "metrics", "--annotations", REAL, *(f"--protocol={n}" for n in names), "--resamples", 200)
    micro, macro = (found["protocols"][name] for name in names)
    assert (micro["n"], micro["n_pairs"], micro["n_ties"], micro["n_prompts"]) == (6399, 7230, 831, 466)
    assert round(100 * micro["value"], 1) == 59.0
    assert macro["n"] == 466


@has_real
def test_the_same_scores_of_every_image_differ_micro_and_macro(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scorer that knows small groups and guesses in large ones, in the format of ImageReward's own test.py."""
    groups = json.loads(REAL.read_text())
    guess = random.Random(0)
    rows = [
        {"id": g["id"], "rewards": [-rank if len(g["ranking"]) <= 4 else guess.random() for rank in g["ranking"]]}
        for g in groups
    ]
    path = tmp_path / "rewards.json"
    path.write_text(json.dumps(rows))
    found = call(
        capsys, "metrics", path, "--annotations", REAL, "--protocol", "imagereward-micro", "--protocol",
        "imagereward-macro", "--resamples", 50,
    )["protocols"]  # fmt: skip
    micro, macro = found["imagereward-micro"]["value"], found["imagereward-macro"]["value"]

    def right(group: dict[str, Any], row: dict[str, Any]) -> tuple[int, int]:
        """Counted again as ImageReward's test.py does."""
        cells = [
            (a < b, x > y, x < y)
            for i, (a, x) in enumerate(zip(group["ranking"], row["rewards"], strict=True))
            for b, y in zip(group["ranking"][i + 1 :], row["rewards"][i + 1 :], strict=True)
            if a != b
        ]
        return sum(higher if better else lower for better, higher, lower in cells), len(cells)

    counted = [right(g, r) for g, r in zip(groups, rows, strict=True)]
    assert micro == pytest.approx(sum(k for k, _ in counted) / sum(n for _, n in counted))
    assert macro == pytest.approx(sum(k / n for k, n in counted) / len(counted))
    assert macro - micro > 0.1  # a large group weighs more among the pairs


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 60 + shade).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture()
def sets(tmp_path: Path) -> tuple[Path, Path]:
    """A training set of one pair, and a test set of four, of which the first has its image and another its prompt."""
    shared = png(0)
    with PairSetWriter(tmp_path / "train") as writer:
        writer.add(Pair("t", "a red cube", shared, png(1), Votes(1.0, 0.0)))
    with PairSetWriter(tmp_path / "test") as writer:
        for i, first in enumerate([shared, png(2), png(3), png(4)]):
            prompt = "A red cube." if i == 1 else f"something else {i}"
            writer.add(Pair(f"p{i}", prompt, first, png(10 + i), Votes(1.0, 0.0)))
    return tmp_path / "train", tmp_path / "test"


def test_overlap_is_counted_listed_and_left_out_of_the_metric(
    tmp_path: Path, sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "overlap.jsonl"
    found = call(capsys, "data", "overlap", *sets, "--out", out, "--workers", 1)
    assert found["n_by_kind"] == {"image": 1, "near": 0, "prompt": 1}
    assert (found["n_overlapping"], found["n_test_pairs"], found["n_train_images"]) == (2, 4, 2)
    choices = tmp_path / "choices.csv"
    choices.write_text("id,choice\np0,first\np1,first\np2,second\np3,first\n")
    words = ("metrics", choices, "--data", sets[1], "--protocol", "hpdv3", "--resamples", 20)
    protocol = call(capsys, *words, "--without", out)["protocols"]["hpdv3"]
    assert (protocol["value"], protocol["n"]) == (3 / 4, 4)
    assert (protocol["without"]["value"], protocol["without"]["n"]) == (1 / 2, 2)  # p2 and p3
    assert protocol["without"]["always_first"]["value"] == 1.0
    assert main([*map(str, words), "--without", str(out)]) == 0
    text = capsys.readouterr().out
    assert "choices.csv, by the rule of hpdv3, without the overlapping pairs\n    score         50.0" in text
    assert main(["data", "overlap", *map(str, sets), "--kind", "prompt"]) == 0
    assert "1 test pairs share something with the training set (prompt 1)" in capsys.readouterr().out
    assert "--kind is 'faces', expected one of image" in refused(capsys, "data", "overlap", *sets, "--kind", "faces")


def test_a_threshold_is_given_or_fitted_on_validation_answers(
    tmp_path: Path, sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train, test = sets
    p = tmp_path / "p.csv"
    p.write_text("id,p_first\np0,0.9\np1,0.6\np2,0.6\np3,0.2\n")
    words = ("metrics", p, "--data", test, "--protocol", "pickapic-official", "--resamples", 20)
    assert "--validation FILE" in refused(capsys, *words)
    given = call(capsys, *words, "--threshold", 0.3)["protocols"]["pickapic-official"]
    assert (given["value"], given["threshold"]) == ((1 + 0.5 + 0.5 + 0) / 4, 0.3)
    validation = tmp_path / "v.csv"
    validation.write_text("id,p_first\nt,0.6\n")
    fitted = call(capsys, *words, "--validation", validation, "--validation-data", train)
    assert fitted["protocols"]["pickapic-official"]["threshold"] == 0.0
    assert "validation pairs are test pairs" in refused(capsys, *words, "--validation", p, "--validation-data", test)


def test_every_protocol_is_listed_in_a_line_and_with_its_rules(capsys: pytest.CaptureFixture[str]) -> None:
    listed = call(capsys, "metrics", "--list")
    assert listed["hpdv2"]["average"] == "macro"
    assert main(["metrics", "--list"]) == 0
    out = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in out if line.startswith("    ")] == [*listed]
    assert all(len(line) <= 100 for line in out)
    assert [line for line in out if not line.startswith(" ")].count("ImageReward's test set") == 1
    for words in (["--list", "hpdv2"], ["--list", "--protocol", "hpdv2"]):
        assert main(["metrics", *words]) == 0
        told = capsys.readouterr().out
        assert told.startswith(f"hpdv2\n    words: {listed['hpdv2']['words']}\n    source: ")
        assert "\n    file: the lines 'image,score' and 'test/000000.jpg,0.71'\n" in told
        assert "published, quoted: HPSv3 85.4" in told
    assert "no protocol is called 'hpd'" in refused(capsys, "metrics", "--list", "hpd")


def answers(path: Path, choices: str, **named: str) -> Path:
    path.write_text("".join([f"{named.get('id', 'id')},{named.get('choice', 'choice')}\n", *choices.split(";")]))
    return path


def test_files_are_compared_with_the_first_over_the_pairs_that_both_have(
    tmp_path: Path, sets: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    a = answers(tmp_path / "a.csv", "p0,first\n;p1,first\n;p2,first\n;p3,second\n")
    b = answers(tmp_path / "b.csv", "p0,second\n;p1,first\n;p2,second\n", id="pair", choice="hps")
    words = ("metrics", a, b, "--data", sets[1], "--protocol", "hpdv3", "--resamples", 50)
    named = ("--column", "id=pair", "--column", "choice=hps")
    assert "b.csv: has the columns pair, hps, expected for example" in refused(capsys, *words)
    found = call(capsys, *words, *named)
    assert [found["files"][str(p)]["protocols"]["hpdv3"]["value"] for p in (a, b)] == [3 / 4, pytest.approx(1 / 3)]
    (difference,) = found["differences"]
    assert (difference["file"], difference["against"]) == (str(b), str(a))
    assert difference["value"] == pytest.approx(1 / 3 - 1)
    assert (difference["n_shared"], difference["n_only"], difference["n_only_against"]) == (3, 0, 1)
    assert main([*map(str, words), *named]) == 0
    out = capsys.readouterr().out
    assert "\na.csv, b.csv, by the rule of hpdv3\n    a.csv\n        score         75.0 [" in out
    assert "\n        less a.csv: −66.7 [" in out and "paired, over the 3 pairs that both have\n" in out
    assert "left out are 0 pairs that only b.csv has, 1 that only a.csv has\n" in out
    # One file alone, or whoever says so, has no pair without a row.
    alone = ("metrics", b, *words[3:], *named)
    for asked in (alone, (*words, *named, "--absent", "refused")):
        assert "1 of 4 pairs" in refused(capsys, *asked)
    assert "is given twice" in refused(capsys, "metrics", a, a, "--data", sets[1])
    assert "--threshold was given 1 times for 2 files" in refused(capsys, *words, *named, "--threshold", 0.1)
    # Which of two files tells what people preferred itself is each file's own matter.
    row = {"prompt_id": "q", "p_first": 0.8, "p_first_forward": 0.9, "p_first_swapped": 0.7,
           "votes_first": 1, "votes_second": 0, "samples": []}  # fmt: skip
    own = tmp_path / "run" / "predictions.jsonl"
    own.parent.mkdir()
    own.write_text("".join(json.dumps({**row, "id": f"p{i}", "prompt_id": f"q{i}"}) + "\n" for i in range(4)))
    (difference,) = call(capsys, "metrics", a, own.parent, *words[3:])["differences"]
    assert (difference["value"], difference["n"]) == (1 / 4, 4)
    assert call(capsys, "metrics", b, own.parent, *words[3:], *named)["differences"][0]["n"] == 3
    assert "a.csv: has no column hps for choice" in refused(capsys, "metrics", a, *words[3:], "--column", "choice=hps")


@has_real
def test_a_benchmarks_name_and_published_numbers_stand_over_its_own_data_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = REAL.parents[1] / "genai_bench" / "gpt4o.jsonl"
    names = ("imagereward-micro", "genai-bench-diff")
    assert main(["metrics", str(texts), *(f"--protocol={name}" for name in names), "--resamples=5"]) == 0
    _, wrong, right = capsys.readouterr().out.split("\n\n")
    assert wrong.startswith("gpt4o.jsonl, by the rule of imagereward-micro\n") and "published" not in wrong
    assert "these are 1,735 pairs of genai-bench-tiger; not ImageReward's test set, 7,230 pairs" in wrong
    assert right.startswith("genai-bench-diff\n") and "published, recounted: gpt4o 55.4, " in right
    assert "published, quoted: UnifiedReward-Flex 73.4, " in right and "these are" not in right
    strange = call(capsys, "metrics", texts, "--protocol", names[0], "--resamples", 5)["protocols"][names[0]]
    assert strange["published"] == [] and strange["benchmark"]["not"].startswith("1,735 pairs of genai-bench-tiger")
    part = tmp_path / "part.jsonl"
    part.write_text("".join(texts.read_text().splitlines(keepends=True)[:100]))
    assert main(["metrics", str(texts), str(part), "--protocol", names[1], "--resamples=5"]) == 0
    both = capsys.readouterr().out
    assert "these are 100 of the 1,735 pairs of TIGER-Lab's GenAI-Bench" in both and "published" not in both
    found = call(capsys, "metrics", "--annotations", REAL, "--protocol", "imagereward-micro", "--resamples", 5)
    micro = found["protocols"]["imagereward-micro"]
    assert micro["benchmark"] == {"title": "ImageReward's test set", "n_pairs": 7230, "not": None}
    assert micro["published"][0] == {"who": "MPS", "value": 0.675, "source": "PROTOCOLS.md", "how": "quoted"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--protocol", "hpd"], "no protocol is called 'hpd'"),
        ([], "nothing to measure"),
        (["--data", "a", "--annotations", "b"], "give one of them"),
        (["--absent", "wrong", "--data", "a"], "--absent is 'wrong'"),
        (["nowhere.csv"], "nowhere.csv: is no file"),
        (["--column", "score", "x.csv"], "--column is 'score', expected FIELD=NAME, where FIELD is one of id, image,"),
        (["--column", "prompt=x", "x.csv"], "--column is 'prompt=x'"),
        (["."], ".: is a folder without a predictions.jsonl"),
        (["--annotations", "nowhere.json"], "nowhere.json"),
    ],
)
def test_wrong_calls(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(capsys, "metrics", *words)


def test_a_run_directory_stands_for_its_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "a", "prompt_id": "q", "p_first": 0.8, "p_first_forward": 0.9, "p_first_swapped": 0.7,
           "votes_first": 2, "votes_second": 1, "samples": []}  # fmt: skip
    (tmp_path / "predictions.jsonl").write_text(json.dumps(row) + "\n")
    found = call(capsys, "metrics", tmp_path, "--resamples", 5)["protocols"]
    assert found["earshot"]["value"] == found["earshot-macro"]["value"] == 1.0


def test_an_evaluation_takes_protocols_by_name() -> None:
    assert [p.name for p in chosen_protocols(["hpdv3", "mmrb2", "hpdv3"], None)] == ["hpdv3", "mmrb2"]
    assert chosen_protocols(["genai-bench-tau"], 0.2)[0].threshold == 0.2
    with pytest.raises(InputError, match="--threshold"):
        chosen_protocols(["genai-bench-tau"], None)
    with pytest.raises(InputError, match="'hpd'"):
        chosen_protocols(["hpd"], None)


def test_without_predictions_a_set_tells_what_judges_get_who_read_no_prompt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with PairSetWriter(tmp_path / "set") as writer:
        for n in range(6):
            light, dark = (Image.new("L", (12, 10), shade) for shade in (200 + n, 10))
            writer.add(Pair(f"p{n}", f"prompt {n}", light, dark, Votes(float(n > 0), float(n == 0))))
    told = call(capsys, "metrics", "--data", tmp_path / "set", "--resamples", 50)
    # The first is the brighter one, and preferred in five of six.
    for rule in ("always_first", "brighter"):
        assert told[f"blind.{rule}"]["value"] == pytest.approx(5 / 6) and told[f"blind.{rule}"]["n"] == 6
    assert told["blind.contrast"]["value"] is None  # plain pictures
    assert main(["metrics", "--data", str(tmp_path / "set"), "--resamples", "50"]) == 0
    printed = capsys.readouterr().out
    assert "judges who read no prompt" in printed and "the brighter picture" in printed
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"id": f"p{n}", "p_first": 0.9}) + "\n" for n in range(6)))
    assert "blind.brighter" not in call(capsys, "metrics", answers, "--data", tmp_path / "set", "--resamples", 50)


def test_a_run_on_a_set_of_the_world_is_told_with_what_anybody_could_reach_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_evaluation(tmp_path / "run", [row("a", RIGHT), row("b", WRONG)], data="../world")
    (tmp_path / "world").mkdir()
    for info, told in (({"source": "earshot world", "set": "ood_raters"}, 1), ({"set": "ood_raters"}, 0)):
        (tmp_path / "world" / "dataset.json").write_text(json.dumps(info))
        for answers in (tmp_path / "run", tmp_path / "run" / "predictions.jsonl"):
            assert main(["metrics", str(answers), "--resamples", "20"]) == 0
            assert capsys.readouterr().out.count("accuracy: at most 81.8 % by a perfect student") == told
