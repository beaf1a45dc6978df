"""A section is on the page exactly when there is something for it; else a line says why; and all can read it."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from earshot.files import append_jsonl, write_json
from earshot.predictions.facts import label_against_votes
from earshot.predictions.run import Run
from earshot.report import write_report
from earshot.report.examples import Budget
from earshot.report.markdown import write_model_card
from earshot.report.page import ExampleViews
from earshot.report.views import read_member
from tests.report.conftest import make_three_runs
from tests.report.runs import RIGHT, WRONG, row, write_evaluation

VOID = {"meta", "br", "img", "line", "circle", "path", "use", "rect"}


class Elements(HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def report(*runs: Path) -> Elements:
    return Elements(write_report(list(runs), runs[0].parent / "report.html").read_text(encoding="utf-8"))


def judged(path: Path, predictions: tuple[float | None, ...] = (RIGHT, WRONG), **more: Any) -> Path:
    settings = more.pop("settings", {})
    protocols = more.pop("protocols", [])
    rows = [row(f"p{i}", p, **more) for i, p in enumerate(predictions)]
    write_evaluation(path / "eval" / "test", rows, protocols=protocols, **settings)
    return path


def test_one_run_has_no_differences_and_two_have_paired_ones(tmp_path: Path) -> None:
    one, two = (
        judged(tmp_path / "one", (RIGHT, RIGHT, WRONG, WRONG)),
        judged(tmp_path / "two", (RIGHT, RIGHT, RIGHT, WRONG)),
    )
    alone = report(one).text
    assert "differences, which need a second run" in alone
    assert "two − one" not in alone
    both = report(one, two).text
    assert "two − one" in both
    assert "+25.0 points" in both  # 3 of 4 minus 2 of 4


def test_a_report_begins_with_its_answer_and_ends_with_what_was_run(tmp_path: Path) -> None:
    runs = [
        judged(tmp_path / name, (RIGHT,) * n + (WRONG,) * (8 - n))
        for name, n in (("sft", 1), ("naive", 7), ("heard", 8))
    ]
    page = report(*runs)
    text = " ".join(page.text.split())
    assert "On test, heard is right most often, on 100.0 % of 8 pairs (100.0 to 100.0): ahead of sft by 87.5" in text
    assert "and not told apart from naive (+12.5 points, 0.0 to +50.0)." in text
    assert "So many pairs show a difference of" in text
    assert text.index("naive − sft") < text.index("heard − naive") < text.index("Values with 95 % intervals")
    assert [attrs["id"] for attrs in page.of("section")] == ["results", "where", "examples", "run"]
    assert page.text.index("Accuracy, on one scale throughout") < page.text.index("The Brier score is")
    alone = " ".join(report(runs[1]).text.split())
    assert "On test, naive is right on 87.5 % of 8 pairs" in alone
    assert "So many pairs" not in alone
    tied = judged(tmp_path / "tied", (RIGHT,), votes=(1, 1))
    assert "Left out: an answer, because no pair has a majority of votes" in report(tied).text


def test_what_is_the_pairs_own_is_told_once_and_without_the_weight_of_a_result(tmp_path: Path) -> None:
    page = report(judged(tmp_path / "one", (RIGHT, WRONG)), judged(tmp_path / "two", (RIGHT, RIGHT)))
    shared = [attrs for attrs in page.of("td") if attrs.get("class") == "shared"]
    assert shared
    assert all(attrs["colspan"] == "2" for attrs in shared)
    assert not [attrs for attrs in report(tmp_path / "one").of("td") if attrs.get("class") == "shared"]


def test_runs_of_other_pairs_stand_side_by_side_and_say_so(tmp_path: Path) -> None:
    one, two = judged(tmp_path / "one", (RIGHT, WRONG)), judged(tmp_path / "two", (RIGHT,))
    text = report(one, two).text
    assert "two is not compared with one: judged 1 and 2 pairs, 1 of them the same" in text
    assert "two − one" not in text


def test_seeds_are_told_together(tmp_path: Path) -> None:
    seeds = [judged(tmp_path / f"arm-seed{i}", p) for i, p in enumerate(((RIGHT, WRONG), (RIGHT, RIGHT)))]
    text = report(*seeds).text
    assert "arm: 2 seeds together" in text
    assert "75.0 %" in text  # the mean of 50 and 100
    assert "seeds together" not in report(seeds[0]).text


def test_listeners_have_their_section_when_they_were_heard(tmp_path: Path) -> None:
    text = report(judged(tmp_path / "heard", heard={"kin": 0.8})).text
    assert "Accuracy against disagreement: kin" in text
    assert "disagreement with kin" in text
    silent = report(judged(tmp_path / "silent"))
    assert "no listener was heard" in silent.text
    assert "Accuracy against disagreement:" not in silent.text


def test_the_ceiling_needs_two_votes(tmp_path: Path) -> None:
    assert "is the human ceiling" in report(judged(tmp_path / "many", votes=(3, 1))).text
    single = report(judged(tmp_path / "single", votes=(1, 0))).text
    assert "the human ceiling, which needs pairs with two or more votes" in single
    assert "one person with the others" not in single
    assert "Vote margin" not in single


def test_without_votes_there_is_no_calibration(tmp_path: Path) -> None:
    text = report(judged(tmp_path / "run", votes=(0, 0))).text
    assert "run: no pair has both votes and an answer" in text
    assert "no pair has a majority" in text
    assert "Reliability" not in text


def test_generators_are_ranked_where_they_are_named(tmp_path: Path) -> None:
    rows = [row(f"p{i}", p, v, prompt=f"q{i}", model_first="red", model_second="blue")
            for i, (p, v) in enumerate(((0.9, (3, 1)), (0.8, (3, 1)), (0.2, (1, 3))))]  # fmt: skip
    write_evaluation(tmp_path / "run" / "eval" / "test", rows)
    text = report(tmp_path / "run").text
    assert "Bradley–Terry" in text
    assert "red against blue" in text
    assert "blind: generator prior" in text
    assert "do not name the generators" in report(judged(tmp_path / "plain")).text


def test_a_temperature_is_told_where_a_validation_split_was_judged(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", (0.9, 0.9))
    assert "may not be fitted on the test set" in report(run).text
    # Always 0.9 where three of four votes agree: ln 9 / T = ln 3, so T = 2.
    write_evaluation(run / "eval" / "validation", [row(f"v{i}", 0.9, (3, 1)) for i in range(5)])
    text = " ".join(report(run).text.split())
    assert "2.00 5 pairs of validation" in text.replace("2.005", "2.00 5")


def test_protocols_and_warnings_are_those_of_metrics_json(tmp_path: Path) -> None:
    run = judged(tmp_path / "run", (RIGHT, WRONG), votes=(1, 0), protocols=["imagereward-micro"])
    text = report(run).text
    assert "imagereward-micro" in text
    assert "arXiv 2304.05977" in text
    assert (
        "a judge who does not read the prompt does as well: always the first image is right in 100.0% of 2 pairs"
        in text
    )
    assert "By the rules of published benchmarks" not in report(judged(tmp_path / "plain")).text


def test_without_predictions_the_numbers_stand_alone(tmp_path: Path) -> None:
    run = judged(tmp_path / "run")
    (run / "eval" / "test" / "predictions.jsonl").unlink()
    page = report(run)
    assert "50.0 %" in page.text
    assert "predictions.jsonl is not there, so there are no plots and examples: run" in page.text
    assert "Slices" not in page.text
    assert "Examples" not in page.text


def test_examples_are_chosen_by_stated_rules(tmp_path: Path) -> None:
    rows = [row("wrong", 0.2), row("sure", 0.05), row("flip", None, orders=(0.9, 0.2)), row("bad", None)]
    write_evaluation(tmp_path / "run" / "eval" / "test", rows)
    text = report(tmp_path / "run").text
    for title in ("Most confident mistakes", "Verdicts that turn with the order", "Malformed"):
        assert title in text
    assert "with p(first) farthest from an even guess" in text
    assert text.index("pair sure") < text.index("pair wrong") < text.index("pair flip") < text.index("pair bad")
    assert "malformed (no answer block)" in text
    assert text.count("there is no such pair here") == 1  # no listener was heard


def test_curves_are_there_when_steps_were_logged(tmp_path: Path) -> None:
    run = judged(tmp_path / "run")
    assert "no training steps were logged" in report(run).text
    append_jsonl(run / "metrics.jsonl", [{"step": s, "reward": s} for s in (1, 2)])
    assert "no training steps were logged" not in report(run).text


def test_nothing_that_could_not_be_computed_is_shown_as_a_number(tmp_path: Path) -> None:
    runs = [
        judged(tmp_path / "none", (None, None)),
        judged(tmp_path / "tied", (0.5, 0.5), votes=(2, 2)),
        judged(tmp_path / "one", (0.9,), heard={"quiet": None}),
    ]
    for runs_shown in ([run] for run in runs):
        page = report(*runs_shown)
        assert not re.search(r"\b(nan|None|inf)\b", page.text), page.text
        assert "–" in page.text or page.of("svg")
    assert not re.search(r"\b(nan|None|inf)\b", report(*runs).text)


def test_hostile_names_are_text_and_short(tmp_path: Path) -> None:
    hostile = '<script>alert(1)</script>"><img src=x onerror=alert(1)> $x^2$ \u202e \x00 \ud83d {{ 7 * 7 }}'
    names = {"axis": hostile, "category": hostile + "!", "model_first": hostile, "model_second": "y" * 300_000}
    rows = [row(f"p{i}", p, v, heard={hostile: 0.2}, **{**names, "category": f"{i} {hostile}"})
            for i, (p, v) in enumerate(((0.9, (3, 1)), (0.2, (1, 3)), (0.3, (3, 1))))]  # fmt: skip
    run = tmp_path / "a<b>&"
    metrics = write_evaluation(run / "eval" / "x<i>", rows, data=hostile.replace("\x00", ""))
    metrics |= {"warnings": [hostile], f"protocol.{hostile}": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 2}}
    write_json(run / "eval" / "x<i>" / "metrics.json", metrics)
    page = report(run)
    assert not {"script", "i"} & {tag for tag, _ in page.elements}
    assert not page.of("img")
    assert "a<b>&" in page.text
    assert "x<i>" in page.text
    assert page.text.count("<script>alert(1)</script>") > 5
    assert "49" not in re.findall(r"\{\{ 7.*?\}\}|\b49\b", page.text)
    assert "\x00" not in page.text
    assert (tmp_path / "report.html").stat().st_size < 1_000_000


def test_examples_and_charts_end_where_their_room_ends(tmp_path: Path) -> None:
    # Every trace is 100 characters of which each is escaped to five bytes; two of them, and the prompt's 12.
    rows = [row(f"p{i}", 0.1 + i / 100, trace="&" * 100) for i in range(3)]
    write_evaluation(tmp_path / "eval" / "test", rows)
    (evaluation,) = Run("run", tmp_path).measured
    member = read_member(evaluation, 0)
    views = ExampleViews(text_bytes=2 * (2 * 500 + 12))
    views.add("test", member)
    assert [len(found) for found in views.groups[0]["rules"].values()] == [2]
    assert views.text.refused == 1
    budget = Budget(10)
    assert budget.takes(8)
    assert not budget.takes(3)
    assert budget.takes(2)
    assert (budget.taken, budget.refused) == (2, 1)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Elements:
    return report(*make_three_runs(tmp_path_factory.mktemp("full")))


def test_the_page_can_be_read_without_seeing_it(full: Elements) -> None:
    assert full.of("html") == [{"lang": "en"}]
    assert [len(full.of(tag)) for tag in ("main", "h1", "header", "nav")] == [1, 1, 1, 1]
    assert full.of("th")
    assert all(attrs.get("scope") in ("row", "col") for attrs in full.of("th"))
    for attrs in full.of("svg"):
        named = attrs.get("role") == "img" and (attrs.get("aria-labelledby") or attrs.get("aria-label"))
        assert named or attrs.get("aria-hidden") == "true"
    assert full.of("img")
    assert all(attrs.get("alt") for attrs in full.of("img"))
    assert all(attrs.get("aria-labelledby") for attrs in full.of("section"))
    regions = [attrs for _, attrs in full.elements if attrs.get("role") == "region"]
    assert len(regions) == len(full.of("table"))
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in regions)


def test_headings_do_not_skip_and_ids_do_not_repeat(full: Elements) -> None:
    levels = [int(tag[1]) for tag, _ in full.elements if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = [attrs["id"] for _, attrs in full.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    references = {ref for _, attrs in full.elements for ref in (attrs.get("aria-labelledby") or "").split()}
    links = {attrs["href"][1:] for attrs in full.of("a") if attrs["href"]}
    assert references | links <= set(ids)


def test_a_label_that_is_not_the_votes_side_is_shown_beside_them(tmp_path: Path) -> None:
    rows = [row("against", WRONG, (3, 1), label="second"), row("alike", WRONG, (3, 1), label="first")]
    write_evaluation(tmp_path / "run" / "eval" / "test", rows)
    text = report(tmp_path / "run").text
    assert text.count("publisher's label second, votes count here") == 1  # a mistake by the votes, and no other rule
    assert "publisher's label first" not in text


@pytest.mark.parametrize(
    ("label", "votes", "told"),
    [
        (None, (3, 1), None),
        ("first", (3, 1), None),
        ("second", (3, 1), "second"),
        ("tie", (3, 1), "tie"),
        ("tie", (2, 2), None),
        ("both_bad", (0, 0), None),
        ("first", (2, 2), "first"),
    ],
)
def test_a_label_is_against_the_votes_where_it_names_another_side(
    label: str | None, votes: tuple[int, int], told: str | None
) -> None:
    assert label_against_votes({"label": label, "votes_first": votes[0], "votes_second": votes[1]}) == told


def test_on_a_set_of_the_world_the_page_and_the_card_say_what_anybody_could_reach(tmp_path: Path) -> None:
    run = judged(tmp_path / "one", settings={"data": "../../../data"})
    for info, told in (({"source": "earshot world", "set": "ood_raters"}, True), ({"set": "ood_raters"}, False)):
        write_json(tmp_path / "data" / "dataset.json", info)
        card = write_model_card([run], tmp_path / "README.md").read_text(encoding="utf-8")
        for text in (report(run).text, card):
            assert ("at most 81.8 % by a perfect student of the training raters" in text) is told
