"""Other judges' texts on GenAI-Bench, parsed strictly; the published figures recomputed from the real texts."""

from pathlib import Path

import pytest

from earshot.errors import DataError
from earshot.metrics.judgements import Judgement, compare_with_stored, parse_judgement
from earshot.metrics.protocols import find_protocol
from earshot.metrics.row_files import iter_row_file
from earshot.metrics.scores import read_judged
from earshot.metrics.table import BOTH_BAD, FIRST, SECOND, TIE
from earshot.types import Malformed

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
    parsed = parse_judgement(text)
    assert isinstance(parsed, Judgement) and parsed.choice == choice


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A>B", "no verdict"),
        ("[A>B]", "no verdict"),
        ("", "empty"),
        ("block_reason: OTHER\n", "blocked by the provider"),
        ("[[A is better]]", "unknown verdict in brackets"),
        ("[[a>b]]", "unknown verdict in brackets"),
        ("quality: [[B>A]], in all: [[A>B]]", "verdicts that differ"),
        ("[[A=B]] or rather [[A=B=Good]]", "verdicts that differ"),
    ],
)
def test_what_is_no_verdict_is_told_by_reason(text: str, reason: str) -> None:
    assert parse_judgement(text) == Malformed(reason)


def test_a_row_that_lacks_a_field_is_named() -> None:
    with pytest.raises(DataError, match=r"x:1: KeyError: 'human_vote'"):
        compare_with_stored([{"response": ""}], where="x")


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
    if judge == "llava":
        assert int((judged.choice == FIRST).sum()) == 1734


@pytest.mark.skipif(not REAL.is_dir(), reason="no published data beside the repository")
def test_where_our_parser_differs_from_the_stored_votes() -> None:
    found = {p.stem: compare_with_stored(iter_row_file(p)) for p in sorted(REAL.glob("*.jsonl"))}
    assert (found["gpt4o"].differ, found["llava"].differ) == ({}, {})
    assert found["gpt4o"].correct_as_stored == found["gpt4o"].correct_as_parsed == 791
    gemini = found["gemini-1.5-pro"]
    assert gemini.differ == {
        ("[[A=B]]", "none (verdicts that differ)"): 2,
        ("[[A=B=Bad]]", "none (verdicts that differ)"): 2,
        ("[[Model A is better: [[A>B]] ]]", "[[A>B]]"): 1,
        ("[[Model B is better: [[B>A]] ]]", "[[B>A]]"): 1,
    }
    # 48 without any verdict, as stored: 40 "block_reason: OTHER", 2 empty, 6 that refuse in words.
    assert gemini.unparsed == {"blocked by the provider": 40, "no verdict": 6, "empty": 2, "verdicts that differ": 4}
    assert (gemini.correct_as_stored, gemini.correct_as_parsed) == (775, 776)
