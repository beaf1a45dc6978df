"""What a verdict is worth where a reader agrees and where it differs, on made-up judges and on real ones."""

from pathlib import Path

import numpy as np
import pytest

from earshot.benchmarks.explanations import Explanations, read_explanations
from earshot.errors import DataError
from earshot.lab.readers.measure import Measured, Seen, measure_reader, strata_of, stratified_difference
from earshot.protocol import split_claims
from earshot.types import Estimate, other
from tests.benchmarks.judging import judged
from tests.lab.readers.made_up import SIDES, explanations, praise

PEOPLE = [SIDES[(7 * i + i // 4) % 2] for i in range(120)]
PLANTED = [i for i in range(120) if i % 6 == 5]
"""The pairs on which the judge names the side that its text speaks against: 20 of 120."""


def measure(told: Explanations, **options: object) -> Measured:
    return measure_reader(told, **{"split": split_claims, "permutations": 8, "resamples": 200, **options})  # type: ignore[arg-type]


def planted() -> Explanations:
    """Texts that say what people prefer, and verdicts that follow them but where it is planted otherwise."""
    choices = [other(side) if i in PLANTED else side for i, side in enumerate(PEOPLE)]  # type: ignore[arg-type]
    return explanations(PEOPLE, choices, [praise(side) for side in PEOPLE], prompts=[i // 2 for i in range(120)])


def test_verdicts_against_their_own_texts_are_found() -> None:
    found = measure(planted())
    reading = found.readings["verdict"]
    assert (reading.n, reading.n_differ, reading.n_silent, found.n_prompts) == (120, 20, 0, 60)
    told = {name: estimate.value for name, estimate in reading.estimates.items()}
    assert told["agrees"] == pytest.approx(100 / 120)
    assert (told["judge_right"], told["reader_right"]) == (pytest.approx(100 / 120), 1.0)
    assert (told["right_agreeing"], told["right_differing"], told["difference"]) == (1.0, 0.0, 1.0)
    assert reading.estimates["difference"].n == 20  # of the kind of which there are fewer
    assert reading.estimates["at_equal_difficulty"] == Estimate.missing()  # nothing tells which pairs are hard
    assert found.difficulty == ()
    low, high = reading.estimates["agrees"].low, reading.estimates["agrees"].high
    assert low is not None and high is not None and low < 100 / 120 < high


def test_readers_that_were_taught_other_pairs_votes_find_nothing() -> None:
    """Each of them may well be far off, to either side alike: the texts hold little but the side."""
    noise = np.random.default_rng(1)
    words = ["oak", "elm", "ash", "yew", "fir", "box", "bay", "fig"]
    texts = [f"{praise(side, f' and {noise.choice(words)}')} Image B has {noise.choice(words)}." for side in PEOPLE]
    choices = [side if noise.random() < 0.7 else other(side) for side in PEOPLE]  # type: ignore[arg-type]
    found = measure(explanations(PEOPLE, choices, texts), permutations=40, resamples=2)
    real, permuted = found.readings["verdict"].estimates, found.permuted
    assert real["difference"].value == pytest.approx(1.0, abs=0.01)
    assert permuted["difference"].n <= 40
    assert "judge_right" not in permuted
    for name, chance in {"agrees": 0.5, "reader_right": 0.5, "difference": 0.0}.items():
        value, low, high = permuted[name].value, permuted[name].low, permuted[name].high
        assert value is not None and low is not None and high is not None
        assert abs(value - chance) < 0.2 and low <= chance <= high, name


def test_what_cannot_be_compared_is_left_out_and_counted() -> None:
    people = [*PEOPLE[:40], *[None] * 5, *PEOPLE[40:55]]
    texts = [praise(side or "first") for side in people]
    choices: list[str | None] = list(people)
    choices[0:3] = [None] * 3  # unparsed
    choices[3:7] = ["tie", "both_bad", "equal", "tie"]
    # Where people have no side: the first is unparsed, the others count as theirs.
    choices[40:45] = [None, "tie", "first", "second", "first"]
    texts[10] = "Nothing is said of either."
    found = measure(explanations(people, choices, texts))
    assert (found.n_texts, found.n_pairs) == (60, 60)
    assert found.left_out == {"unparsed": 4, "people_tied": 4, "judge_tied": 4}
    for reading in found.readings.values():
        assert (reading.n, reading.n_silent) == (60 - 4 - 4 - 4 - 1, 1)


def test_conclusions_are_read_only_before_they_are_taken_out() -> None:
    """The texts say nothing but which image is better: with it gone there is nothing to read."""
    texts = [f"Image {'A' if side == 'first' else 'B'} is better." for side in PEOPLE]
    found = measure(explanations(PEOPLE, PEOPLE, texts))
    before, after = found.readings["none"], found.readings["verdict"]
    assert (before.kept, before.n, before.estimates["agrees"].value) == (1.0, 120, 1.0)
    assert (after.kept, after.n, after.n_silent) == (0.0, 0, 120)
    assert set(after.estimates.values()) == {Estimate.missing()} == set(found.permuted.values())


def test_texts_about_exchanged_images_are_read_the_other_way_round() -> None:
    turned = [i % 3 == 0 for i in range(120)]
    sides = [other(side) if swap else side for side, swap in zip(PEOPLE, turned, strict=True)]  # type: ignore[arg-type]
    told = explanations(PEOPLE, PEOPLE, [praise(side) for side in sides], turned=turned)
    assert measure(told).readings["verdict"].estimates["agrees"].value == 1.0


def test_a_seed_gives_the_same_numbers_again() -> None:
    assert measure(planted()) == measure(planted())
    assert measure(planted(), seed=1).permuted != measure(planted()).permuted


def test_texts_of_nothing_and_too_few_prompts_are_refused() -> None:
    with pytest.raises(DataError, match="made up: none of 120 texts claims anything of one image"):
        measure(explanations(PEOPLE, PEOPLE, ["Nice."] * 120))
    with pytest.raises(DataError, match="4 prompts to be read, expected at least 5"):
        measure(explanations(PEOPLE[:4], PEOPLE[:4], [praise(side) for side in PEOPLE[:4]]))


def seen(rows: list[tuple[int, bool, bool]]) -> Seen:
    """Texts by stratum, whether the reader agrees and whether the judge is right; each of its own prompt."""
    stratum, agrees, right = (np.array(column) for column in zip(*rows, strict=True))
    return Seen(right, agrees, stratum, np.arange(len(rows)), len(rows))


def test_accuracies_are_compared_within_strata() -> None:
    easy = [(0, True, True)] * 3 + [(0, True, False)] + [(0, False, True)] * 1 + [(0, False, False)] * 1
    hard = [(1, True, True)] + [(1, True, False)] * 1 + [(1, False, False)] * 2
    alone = [(2, True, True)] * 5  # nothing to compare with
    # easy: A = 4, a = 3/4; D = 2, d = 1/2; w = 8/6. hard: A = 2, a = 1/2; D = 2, d = 0; w = 1.
    expected = (8 / 6 * 1 / 4 + 1 * 1 / 2) / (8 / 6 + 1)
    statistic = stratified_difference(seen([*easy, *hard, *alone]))
    assert statistic.value() == pytest.approx(expected)
    assert statistic.n == 4
    assert np.isnan(stratified_difference(seen(alone)).value())


def test_a_reader_that_agrees_on_easy_pairs_alone_makes_no_difference_within_them() -> None:
    rows = []
    for stratum, (agreeing, differing, right) in enumerate([(80, 20, 0.9), (20, 80, 0.5)]):
        for agrees, n in ((True, agreeing), (False, differing)):
            rows += [(stratum, agrees, k < right * n) for k in range(n)]
    one = seen(rows)
    plain = stratified_difference(one._replace(stratum=np.zeros_like(one.stratum)))
    assert plain.value() == pytest.approx(0.82 - 0.58)  # (72 + 10) / 100 - (18 + 40) / 100
    assert stratified_difference(one).value() == pytest.approx(0)


def test_pairs_are_as_hard_as_other_judges_and_people_find_them() -> None:
    people = ["first", "second", "first", "second"]
    told = explanations(people, people, [""] * 4, margin=[1.0, 1.0, 0.1, 0.1])
    right, half, tied = judged(people, people), judged(people, ["first"] * 4), judged(people, ["tie"] * 4)
    strata, by = strata_of(told, [right, half])
    assert by == ("other judges", "clearness of votes")
    assert len(set(strata.tolist())) == 4  # right: 2, 1, 2, 1 of two; votes: clear, clear, narrow, narrow
    assert strata_of(told, [right, tied])[1] == ("clearness of votes",)  # one of two is right everywhere
    part = right.where(np.arange(2))
    clear = explanations(people, people, [""] * 4)
    strata, by = strata_of(clear, [part])
    assert by == ("other judges",) and strata.tolist() == [1, 1, 0, 0]  # asked and right, or not asked
    assert strata_of(clear, [])[1] == ()
    with pytest.raises(DataError, match="have other votes"):
        strata_of(told, [judged(people[::-1], people)])


# Where the reader agrees and where it differs, of an exploratory study of 2026-11 with another reader and redaction.
FOUND = {
    "gpt4o.jsonl": (0.761, 0.647),
    "gemini-1.5-pro.jsonl": (0.703, 0.537),
    "image_edition/gpt4o.jsonl": (0.884, 0.422),
    "image_edition/gemini-1.5-pro.jsonl": (0.882, 0.474),
}


@pytest.mark.parametrize(
    "judge", [pytest.param(name, marks=[] if "edition/gemini" in name else pytest.mark.slow) for name in FOUND]
)
def test_real_judges_are_right_more_often_where_a_reader_of_their_texts_agrees(shared_data: Path, judge: str) -> None:
    path = shared_data / "genai_bench" / judge
    if not path.is_file():
        pytest.skip(f"no {judge} in the published data")
    found = measure(read_explanations(path), permutations=1, resamples=1000)
    reading = found.readings["verdict"]
    assert 0.9 < (reading.kept or 0) < 1
    assert 0.05 < reading.n_differ / reading.n < 0.25
    for name, value in zip(("right_agreeing", "right_differing"), FOUND[judge], strict=True):
        estimate = reading.estimates[name]
        assert estimate.low is not None and estimate.high is not None and estimate.low <= value <= estimate.high, name
    difference = reading.estimates["difference"]
    assert difference.low is not None and difference.low > 0
