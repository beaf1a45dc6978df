"""What is left of rewards stands on the page where a folder holds it, with the numbers of the file."""

from pathlib import Path

import pytest

from earshot.errors import DataError, InputError
from earshot.files import write_json, write_text
from earshot.predictions.run import read_runs
from earshot.report import write_model_card, write_report
from earshot.report.drawing import line_style
from earshot.report.overoptimising import overoptimised_views
from tests.report.conftest import make_overoptimised
from tests.report.test_sections import Elements, judged, report


def sections(page: Elements) -> list[str | None]:
    return [attrs["id"] for attrs in page.of("section")]


def test_the_section_is_there_exactly_where_the_file_is(tmp_path: Path) -> None:
    run = judged(tmp_path / "run")
    assert "optimised" not in sections(report(run))
    page = report(make_overoptimised(run, "warm", "run"))
    assert sections(page) == ["results", "where", "optimised", "examples", "run"]
    text = " ".join(page.text.split())
    assert text.count("Gold against KL") == text.count("Reward against KL") == 2 * 2  # a caption and a name each
    assert "By the best of n pictures" in text and "By a policy over scenes" in text
    assert "warm (SHA-256 000000000000), read by" in text and "147 of 4040 comparisons came to nothing" in text
    assert "30 prompts of 8 pictures; policies for 16 of them, each scene compared with 2 pictures; seed 0" in text
    assert "run − warm: its own verdict" in text and "+30.0 points" in text


def test_a_table_tells_where_gold_is_highest_and_the_end(tmp_path: Path) -> None:
    (view,) = overoptimised_views(read_runs([make_overoptimised(tmp_path / "found", "warm")], who="report"))
    (_, rows), _ = view.tables
    assert [row.name for row in rows[:3]] == ["gold", "random, once", "warm: its own verdict"]
    values = {name: (cell.value, cell.interval) for name, cell in rows[2].cells}
    assert values == {
        "gold is highest at a KL of": ("0.40", "0.30 to 0.50"),
        "gold there": ("1.20", "1.10 to 1.30"),
        "captured there": ("60.0 %", "50.0 to 70.0"),
        "KL at the end": ("0.80", "0.70 to 0.90"),
        "gold at the end": ("1.10", "1.00 to 1.20"),
        "captured at the end": ("60.0 %", "50.0 to 70.0"),
    }
    assert dict(rows[1].cells)["captured there"].value == "–"  # a random reward is best where it has not begun


def test_a_model_that_is_a_run_here_has_that_run_s_colour(tmp_path: Path) -> None:
    runs = [judged(tmp_path / name) for name in ("one", "two")]
    make_overoptimised(runs[0], "world:reasoner", "two", "one")
    (view,) = overoptimised_views(read_runs(runs, who="report"))
    assert [(line.name, line.colour) for line in view.lines] == [
        (name, line_style(place)[0]) for name, place in (("world:reasoner", 2), ("two", 1), ("one", 0))
    ]


def test_a_folder_of_nothing_else_is_no_run_and_has_a_page(tmp_path: Path) -> None:
    run, found = judged(tmp_path / "runs" / "run"), make_overoptimised(tmp_path / "runs" / "found", "warm")
    alone = report(found)
    assert sections(alone) == ["optimised", "run"]
    both = report(tmp_path / "runs")
    assert sections(both) == ["results", "where", "optimised", "examples", "run"]
    assert not [attrs for attrs in both.of("td") if attrs.get("data-of") == "found"]  # no column is its own
    make_overoptimised(tmp_path / "runs", "warm")  # beside the runs is a place for it, too
    text = report(tmp_path / "runs").text
    assert "run" in text and text.count("By a policy over scenes") == 2
    with pytest.raises(InputError, match="holds no run that was trained or judged"):
        write_model_card([found], tmp_path / "README.md")
    assert "found" not in write_model_card([run, found], tmp_path / "README.md").read_text()


def test_what_cannot_be_read_is_told_with_its_place(tmp_path: Path) -> None:
    run = judged(tmp_path / "run")
    write_json(run / "overoptimise.json", {"format": 1})
    with pytest.raises(DataError, match=r"overoptimise\.json: is damaged"):
        write_report([run], tmp_path / "report.html")
    write_text(run / "overoptimise.json", "[")
    with pytest.raises(DataError, match=r"overoptimise\.json"):
        write_report([run], tmp_path / "report.html")
