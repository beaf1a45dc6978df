"""Other judges' texts on GenAI-Bench, read as published; the published figures recomputed from the real texts."""

from pathlib import Path

import pytest

from earshot.benchmarks.answers import EITHER_TIE
from earshot.benchmarks.genai_bench_text import agreed_choice, choice_of
from earshot.benchmarks.protocols import find_protocol
from earshot.benchmarks.published import FIGURES
from earshot.benchmarks.scores import read_judged
from earshot.files import read_jsonl
from earshot.predictions.table import BOTH_BAD, FIRST, NONE, SECOND, TIE

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "genai_bench"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Model A is better: [[A>B]]", FIRST),
        ("[[A>>B]]", FIRST),
        ("[[B>>A]]", SECOND),
        ("[[A=B=Good]]", TIE),
        ("[[A=B=Bad]]", BOTH_BAD),
        ("Quality: [[B>A]]\nIn all: [[A>B]]", SECOND),
    ],
)
def test_a_verdict_is_read(text: str, choice: int) -> None:
    assert choice_of(text) == choice


@pytest.mark.parametrize(
    "text",
    [
        "A>B",
        "[A>B]",
        "",
        "block_reason: OTHER\n",
        "[[A is better]]",
        "[[a>b]]",
        "[[ B>A ]]",
        "[[Model A is better: [[A>B]] ]]",
        "[[A=B=Bad]] ... again: [[A=B=Bad]]",
        "quality: [[B>A]], in all: [[A>B]]",
        "[[A=B]] or rather [[A=B=Good]]",
    ],
)
def test_no_verdict_and_several_on_a_line_are_no_answer(text: str) -> None:
    assert choice_of(text) == NONE


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Model A is better: [[A>B]]", FIRST),
        ("[[ B>A ]]", SECOND),
        ("[[Model A is better: [[A>B]] ]]", FIRST),
        ("[[A=B=Bad]] ... again: [[A=B=Bad]]", BOTH_BAD),
        ("Quality: [[B>A]]\nIn all: [[A>B]]", NONE),
        ("[[A=B]] or rather [[A=B=Good]]", NONE),
        ("[[a>b]]", NONE),
    ],
)
def test_reasons_have_a_verdict_where_all_of_theirs_agree(text: str, choice: int) -> None:
    assert agreed_choice(text) == choice


def test_what_is_no_text_is_refused() -> None:
    for read in (choice_of, agreed_choice):
        with pytest.raises(ValueError, match="response is 3, expected text"):
            read(3)


@pytest.mark.skipif(not REAL.is_dir(), reason="no published data beside the repository")
@pytest.mark.parametrize(
    ("judge", "four_way", "strict", "missing"),
    [("gpt4o", 45.6, 55.4, 11), ("llava", 37.0, 49.2, 1), ("gemini-1.5-pro", 44.7, 56.2, 50)],
)
def test_the_published_figures_from_the_texts_alone(judge: str, four_way: float, strict: float, missing: int) -> None:
    judged = read_judged(REAL / f"{judge}.jsonl")
    votes = [int((judged.label == code).sum()) for code in (FIRST, SECOND, TIE, BOTH_BAD)]
    assert (len(judged), votes) == (1735, [643, 663, 156, 273])
    result = find_protocol("genai-bench-four-way").evaluate(judged, resamples=5)
    assert round(100 * (result.estimate.value or 0), 1) == four_way
    assert (result.n_missing, result.n_prompts) == (missing, 1205)
    left_right = find_protocol("genai-bench-diff").evaluate(judged, resamples=5)
    assert (left_right.estimate.n, round(100 * (left_right.estimate.value or 0), 1)) == (1306, strict)
    for name, percent in {"genai-bench-four-way": four_way, "genai-bench-diff": strict}.items():
        assert [f.percent for f in FIGURES[name] if f.recounted and f.who == judge] == [percent]
    if judge == "llava":
        assert int((judged.choice == FIRST).sum()) == 1734


@pytest.mark.skipif(not REAL.is_dir(), reason="no published data beside the repository")
@pytest.mark.parametrize(
    ("judge", "four_way", "strict", "missing"),
    [
        ("gpt4o", 53.5, 72.2, 0),
        ("gemini-1.5-pro", 55.9, 65.2, 0),
        ("qwenVL", 14.9, 25.6, 259),
        ("cogvlm", 0.0, 0.0, 919),
    ],
)
def test_the_published_figures_of_edits(judge: str, four_way: float, strict: float, missing: int) -> None:
    judged = read_judged(REAL / "image_edition" / f"{judge}.jsonl")
    votes = [int((judged.label == code).sum()) for code in (FIRST, SECOND, TIE, BOTH_BAD)]
    assert (len(judged), votes) == (919, [240, 263, 24, 392])
    for name, percent, n in (("genai-bench-edit-four-way", four_way, 919), ("genai-bench-edit-diff", strict, 503)):
        protocol = find_protocol(name)
        assert protocol.benchmark.stranger(judged) is None
        result = protocol.evaluate(judged, resamples=5)
        assert (result.estimate.n, round(100 * (result.estimate.value or 0), 1)) == (n, percent)
        assert [figure.percent for figure in FIGURES[name] if figure.who == judge] == [percent] * (percent > 0)
        assert result.n_missing == missing or name != "genai-bench-edit-four-way"


@pytest.mark.skipif(not REAL.is_dir(), reason="no published data beside the repository")
def test_every_row_is_right_where_the_publisher_counts_it_right() -> None:
    right = {"leftvote": {FIRST}, "rightvote": {SECOND}, "tievote": {TIE}, "bothbad_vote": {BOTH_BAD}}
    for file in sorted(REAL.rglob("*.jsonl")):
        for row in read_jsonl(file):
            choice, vote = choice_of(row["response"]), row["human_vote"]
            either = choice == EITHER_TIE and vote in ("tievote", "bothbad_vote")
            assert (choice in right[vote] or either) == row["correct"], (file.name, row["idx"])
