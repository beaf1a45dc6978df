"""The page and the figures: what stands in them, and that the same summary gives the same bytes."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from earshot.lab.experiment.analysis import primary
from earshot.lab.experiment.figures import STYLE, WIDTH_IN, _Drawn, _ends, look
from earshot.lab.experiment.report import FOREST, PAGE, SCATTER, write_results
from earshot.lab.experiment.summary import read_summary, summarise, write_summary
from earshot.lab.experiment.tables import Results, markdown


def test_everything_is_made_again_from_the_recorded_summary(experiment: Path, tmp_path: Path) -> None:
    first = write_results(summarise(experiment), tmp_path / "a", name="made up")
    write_summary(summarise(experiment), tmp_path / "kept")
    second = write_results(read_summary(tmp_path / "kept"), tmp_path / "b", name="made up")
    assert [path.name for path in first] == [PAGE, SCATTER, FOREST]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes(), one.name


def test_the_page_has_the_primary_comparisons_and_marks_controls_and_training_listeners(experiment: Path) -> None:
    summary = summarise(experiment)
    text = markdown(Results(summary))
    assert "with listener − naive | accuracy | test | +" in text
    assert "| *blind* |" in text
    held_out = next(line for line in text.splitlines() if line.startswith("| with listener |"))
    assert held_out.count("†") == 3  # accuracy as the training listener reads, disagreement with it, and the gap to it
    assert "test: 120 pairs of 60 prompts" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|") and "nan" not in line.lower()


def test_the_numbers_are_those_of_the_analysis(experiment: Path) -> None:
    results = Results(summarise(experiment))
    comparison, decision = results.primary[0]
    assert decision == primary(results.summary)[0][1] and decision.shown and comparison.goal == 0.06
    blind = {one.endpoint: estimate for one, estimate in results.differences.items() if one.arm == "blind"}
    assert blind["accuracy"].value == blind["false_claims"].value == 0
    assert results.absolute["naive", "test", "malformed_rate"].value == 0
    cell = decision.estimate.text(percent=True, signed=True)
    assert f"| with listener − naive | accuracy | test | {cell} |" in markdown(results)


def test_figures_are_svg_with_every_arm(experiment: Path, tmp_path: Path) -> None:
    write_results(summarise(experiment), tmp_path, name="x")
    for file in (SCATTER, FOREST):
        root = ElementTree.parse(tmp_path / file).getroot()
        texts = {element.text or "" for element in root.iter() if element.tag.endswith("text")}
        assert "test" in texts
        counts = (" (3)",) if file == FOREST else ("  1", "  2", "  3")  # of seeds; or the number of the arm's point
        for title in ("naive", "with listener", "blind"):
            assert any(f"{title}{count}" in texts for count in counts), (file, title, sorted(texts))


def test_an_outlier_does_not_set_the_axis() -> None:
    def at(value: float) -> _Drawn:
        return _Drawn(value, [[1.0], [2.0]])

    # Quartiles 11 and 13: beyond 8 and 16 is far off. From 10 - 1 to 14 + 2, and 6 % of these 7 at either end.
    near = [at(value) for value in (10.0, 11.0, 12.0, 13.0, 14.0)]
    assert _ends(near) == pytest.approx((9 - 0.42, 16 + 0.42))
    assert _ends([*near, at(12.0), at(60.0)]) == pytest.approx((9 - 0.42, 16 + 0.42))
    low, high = _ends([_Drawn(5.0, [[0.0], [0.0]])])
    assert low < 5.0 < high


def test_words_are_read_at_eight_points_in_a_column_of_text() -> None:
    column_pt = 620  # of a page on the hub, 830 CSS pixels
    assert STYLE["font.size"] * column_pt / (72 * WIDTH_IN) >= 8


def test_no_two_arms_look_alike() -> None:
    looks = [look(place, control=False) for place in range(100)] + [look(place, control=True) for place in range(10)]
    assert len(set(looks)) == len(looks)


def test_an_arm_without_runs_leaves_a_gap_and_no_number(experiment: Path, tmp_path: Path) -> None:
    summary = summarise(experiment)
    for seed in range(3):
        del summary.totals["listener", seed, "test"]  # type: ignore[attr-defined]
    write_results(summary, tmp_path, name="x")
    results = Results(summary)
    _, decision = results.primary[0]
    assert decision.estimate.value is None and not decision.shown
    assert ("listener", "test", "accuracy") not in results.absolute
