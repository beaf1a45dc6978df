"""Slices and rankings as rows of dots: the numbers of `metrics`, on one scale, with what is left out said."""

import pytest

from earshot.metrics.slices import by_disagreement, by_margin
from earshot.report.slicing import MOST_ROWS, accuracy_strips, ranking_view, strip_of
from earshot.types import Estimate
from tests.report.runs import row, table

MARGINS = [row("a", 0.9, (4, 0)), row("b", 0.1, (4, 0)), row("c", 0.9, (3, 2)), row("d", 0.9, (3, 2))]


def test_slices_hold_the_numbers_of_metrics():
    predictions = table(MARGINS)
    margin = next(s for s in accuracy_strips([(0, predictions)]) if s.title == "Vote margin")
    assert [r.name for r in margin.rows] == ["up to 0.2", "0.8 to 1"]
    assert [r.cells[0].value for r in margin.rows] == ["100.0 %", "50.0 %"]  # c and d right; a right, b wrong
    assert [r.cells[0].n for r in margin.rows] == [2, 2]
    assert [s.accuracy.value for s in by_margin(predictions)] == [1.0, 0.5]


def test_what_cannot_be_told_apart_has_no_strip():
    one_voter = table([row("a", 0.9, (1, 0)), row("b", 0.9, (0, 1))])
    titles = [s.title for s in accuracy_strips([(0, one_voter)])]
    assert "Vote margin" not in titles
    assert not {"Question asked", "Category of the prompt", "Generators compared"} & set(titles)
    alike = table([row("a", 0.9, category="people"), row("b", 0.1, category="people")])
    assert "Category of the prompt" not in [s.title for s in accuracy_strips([(0, alike)])]
    assert accuracy_strips([]) == []


def test_many_rows_are_cut_and_counted():
    rows = [row(f"p{i}", 0.9, category=f"kind {i}") for i in range(MOST_ROWS + 5)]
    strip = next(s for s in accuracy_strips([(0, table(rows))]) if s.title == "Category of the prompt")
    assert (len(strip.rows), strip.left_out) == (MOST_ROWS, 5)


def test_runs_with_traces_of_other_lengths_share_their_bins():
    short = table([row(f"p{i}", 0.9, trace="a b c") for i in range(4)])
    long = table([row(f"p{i}", 0.1, trace="a b c d e f g") for i in range(4)])
    strip = next(s for s in accuracy_strips([(0, short), (1, long)]) if s.title == "Words of the trace")
    assert [r.name for r in strip.rows] == ["up to 3", "3 to 7"]
    assert [[c.value for c in r.cells] for r in strip.rows] == [["100.0 %", "–"], ["–", "0.0 %"]]
    assert [len(r.marks) for r in strip.rows] == [1, 1]


def test_dots_lie_on_one_scale_of_whole_steps():
    lines = [("a", [(0, Estimate(0.75, 0.65, 0.85, 9))]), ("b", [(0, Estimate(0.9, None, None, 1))]), ("c", [])]
    strip = strip_of("t", "m", lines, percent=True)
    # From 60 to 90 %, with 4 percent of room at either side: 0.75 is half of the 92 between them along.
    assert [text for _, text in strip.ticks] == ["60 %", "90 %"]
    (mark,) = strip.rows[0].marks
    assert mark.x == pytest.approx(4 + 92 * 0.5)
    assert (mark.low, mark.high) == (pytest.approx(4 + 92 / 6, abs=0.01), pytest.approx(4 + 92 * 5 / 6, abs=0.01))
    assert (strip.rows[1].marks[0].x, strip.rows[1].marks[0].low) == (96, None)
    assert strip.rows[2].marks == []
    assert strip.middle is None  # an even guess is not among them
    missing = strip_of("t", "m", [("a", [(0, Estimate.missing())])], percent=True)
    assert [(row.marks, row.cells[0].value) for row in missing.rows] == [([], "–")]


def test_differences_lie_about_zero_wherever_they_are():
    strip = strip_of("t", "m", [("a", [(-1, Estimate(0.12, 0.08, 0.16, 9))])], percent=True, signed=True)
    assert [text for _, text in strip.ticks] == ["0", "+20"]
    assert strip.middle == 4
    assert strip.rows[0].cells[0].value == "+12.0 points"
    both = strip_of("t", "m", [("a", [(-1, Estimate(-0.12, -0.16, 0.14, 9))])], percent=True, signed=True)
    assert [text for _, text in both.ticks] == ["−20", "0", "+15"]


def test_all_slices_are_on_one_scale():
    predictions = table([row(f"p{i}", p, (4 - i, i), category=f"kind {i}") for i, p in enumerate((0.9, 0.9, 0.1, 0.1))])
    strips = accuracy_strips([(0, predictions), (1, predictions)])
    assert len(strips) > 2
    assert {tuple(strip.ticks) for strip in strips} == {((4.0, "0 %"), (50.0, "50 %"), (96.0, "100 %"))}


def test_a_scale_of_equal_numbers_is_not_empty():
    strip = strip_of("t", "m", [("a", [(-1, Estimate(0.0, None, None, 3))])])
    assert strip.rows[0].marks[0].x == 4
    assert strip.rows[0].marks[0].colour == "currentColor"


def test_a_listener_that_was_not_heard_has_no_slices():
    heard = table([row("a", 0.9, heard={"kin": 0.8}), row("b", 0.1, heard={"kin": 0.9})])
    slices = {s.name: s.accuracy.value for s in by_disagreement(heard, "kin")}
    assert slices == {"up to 0.1": 1.0, "0.7 to 0.8": 0.0, "agrees": 1.0, "disagrees": 0.0}
    assert by_disagreement(heard, "far") == []


def contest() -> list[dict[str, object]]:
    # People: red beats green 2 : 1 and blue 2 : 1, green beats blue 2 : 1. The reasoner turns red and blue round.
    rows = []
    for n, (first, second) in enumerate((("red", "green"), ("red", "blue"), ("green", "blue"))):
        for k, votes in enumerate(((3, 1), (3, 1), (1, 3))):
            people_first = votes[0] > votes[1]
            p = (0.2 if people_first else 0.8) if (first, second) == ("red", "blue") else (0.8 if people_first else 0.2)
            rows.append(row(f"{n}{k}", p, votes, prompt=f"q{k}", model_first=first, model_second=second))
    return rows


def test_generators_are_ranked_by_people_and_by_each_run():
    predictions = table(contest())
    view, fault = ranking_view([(0, "run", predictions)])
    assert fault is None
    assert view is not None
    assert list(view.ranks) == ["red", "green", "blue"]
    # People: wins 4 3 2 of 6. The run: red 2 + 1, green 1 + 2, blue 2 + 1, so all are level and share rank 1.
    assert [ranks[0].split(" ")[0] for ranks in view.ranks.values()] == ["1", "2", "3"]
    assert [ranks[1].split(" ")[0] for ranks in view.ranks.values()] == ["1", "1", "1"]
    assert [len(r.marks) for r in view.strip.rows] == [2, 2, 2]
    assert view.places_of_runs == [0]
    # People's ranking needs the third prompt and another: (2/3)³ + 1/27 of the resamples lack one of them.
    (note,) = view.notes
    assert int(note.removeprefix("run: ").partition(" of 1000 resamples")[0]) == pytest.approx(1000 * 9 / 27, abs=45)


def test_why_there_is_no_ranking_is_said():
    assert ranking_view([(0, "run", table(MARGINS))]) == (None, "the pairs do not name the generators of their images")
    always = table([row("a", 0.9, model_first="red", model_second="blue")])
    view, fault = ranking_view([(0, "run", always)])
    assert view is None
    assert "never lost to another" in str(fault)
    many = table([row(f"p{i}", 0.9, model_first=f"m{i}", model_second=f"n{i}") for i in range(20)])
    assert "more than the 30" in str(ranking_view([(0, "run", many)])[1])
