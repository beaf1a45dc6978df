"""Other judges' texts on GenAI-Bench, parsed strictly; the published figures recomputed from the real texts."""

from pathlib import Path

import pytest

from earshot.benchmarks.genai_bench_text import choice_of
from earshot.benchmarks.protocols import find_protocol
from earshot.benchmarks.published import FIGURES
from earshot.benchmarks.scores import read_judged
from earshot.predictions.table import BOTH_BAD, FIRST, NONE, SECOND, TIE

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "genai_bench"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("Model A is better: [[A>B]]", FIRST),
        ("[[A>>B]]", FIRST),
        ("[[ B>A ]]", SECOND),
        ("[[A=B=Good]]", TIE),
        ("[[A=B=Bad]]", BOTH_BAD),
        ("[[Model A is better: [[A>B]] ]]", FIRST),  # stored with its outer brackets, and so counted wrong
        ("[[A=B=Bad]] ... again: [[A=B=Bad]]", BOTH_BAD),
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
        "quality: [[B>A]], in all: [[A>B]]",
        "[[A=B]] or rather [[A=B=Good]]",
    ],
)
def test_no_verdict_and_verdicts_that_differ_are_no_answer(text: str) -> None:
    assert choice_of(text) == NONE


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="response is 3, expected text"):
        choice_of(3)


@pytest.mark.skipif(not REAL.is_dir(), reason="no published data beside the repository")
@pytest.mark.parametrize(
    ("judge", "four_way", "strict", "missing"),
    [("gpt4o", 45.6, 55.4, 11), ("llava", 37.0, 49.2, 1), ("gemini-1.5-pro", 44.7, 56.4, 52)],
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
