"""The report: self-contained, hostile text shown as text, the numbers of the files, examples by rule."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot.errors import DataError, InputError
from earshot.files import append_jsonl, write_jsonl, write_text
from earshot.predictions.run import Curve, read_runs
from earshot.report import write_report
from earshot.report.charts import MAX_POINTS, smoothed, thinned, training_charts
from earshot.report.drawing import line_style
from earshot.report.examples import Budget, Chooser, Pictures, confident_mistake, listener_gap, order_flip, shortened
from earshot.report.tables import format_estimate, summary_rows
from earshot.types import Estimate
from tests.report.conftest import make_pair_set, make_three_runs


class Page(HTMLParser):
    """The elements, the text and every address of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_three_runs(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def page(reported: list[Path]) -> Page:
    return Page(write_report(reported, reported[0].parent / "report.html").read_text(encoding="utf-8"))


def test_the_page_opens_offline_and_runs_nothing(page: Page) -> None:
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert {address[:5] for address in page.addresses if not address.startswith("#")} == {"data:"}
    assert page.tags.count("svg") >= 9


def test_the_page_lets_no_style_in_but_its_own(reported: list[Path], page: Page) -> None:
    text = (reported[0].parent / "report.html").read_text(encoding="utf-8")
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', text)
    (style,) = re.findall("<style>(.*?)</style>", text, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert html.unescape(policy) == f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'"
    assert "style" not in page.attributes


def test_hostile_text_is_shown_as_text(page: Page, hostile: str) -> None:
    shown = " ".join(page.text.split())
    assert f"trace 0: {' '.join(hostile.split())}" in shown  # a trace
    assert f"prompt 0 {' '.join(hostile.split())}" in shown  # a prompt
    assert f"path: {' '.join(hostile.split())}" in shown  # a config
    assert "disagreement with far <b>" in shown  # a listener's name


def test_the_page_shows_the_numbers_of_the_files(reported: list[Path], page: Page) -> None:
    for path in reported:
        metrics = json.loads((path / "eval" / "test_id" / "metrics.json").read_text())
        accuracy = metrics["accuracy"]
        assert f"{100 * accuracy['value']:.1f} %" in page.text
        assert f"{100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}" in page.text
    assert "60 steps" in page.text
    assert "1 min 30 s, 1.5 s a step" in page.text
    assert "torch 2.13.0" in page.text


def test_every_example_has_both_pictures_once(page: Page) -> None:
    pictures = [address for address in page.addresses if address.startswith("data:image/webp")]
    assert "img" in page.tags
    assert page.tags.count("img") == 2 * page.tags.count("article")
    assert len(set(pictures)) <= 24  # 12 pairs of one set, however often they are shown


def test_an_edit_is_shown_with_its_original(new_run: Callable[..., Path], tmp_path: Path) -> None:
    data = make_pair_set(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    write_jsonl(data / "metadata.jsonl", [row | {"original_file_name": row["first_file_name"]} for row in rows])
    page = Page(write_report([new_run(tmp_path / "run", data=data)], tmp_path / "report.html").read_text())
    assert page.tags.count("img") == 3 * page.tags.count("article") > 0


@pytest.mark.slow
def test_a_page_with_many_runs_and_long_traces_stays_small(new_run: Callable[..., Path], tmp_path: Path) -> None:
    paths = [new_run(tmp_path / f"run{i}", steps=3_000 if i == 0 else 30) for i in range(9)]
    row = {"id": "long", "prompt_id": "q", "p_first": 0.99, "p_first_forward": 0.99, "p_first_swapped": 0.99}
    row |= {"votes_first": 0, "votes_second": 1}
    one = {"order": "forward", "trace": "word " * 300_000, "side": "first", "malformed": None, "verdict": 1}
    append_jsonl(paths[0] / "eval" / "test_id" / "predictions.jsonl", [row | {"samples": [one | {"p_first": 0.99}]}])
    out = write_report(paths, tmp_path / "report.html")
    assert out.stat().st_size < 10_000_000
    assert "more characters" in out.read_text()


def test_a_report_does_without_images_and_says_why(new_run: Callable[..., Path], tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    assert "does not say which pair set" in Page(write_report([run], tmp_path / "a.html").read_text()).text
    settings = run / "eval" / "test_id" / "evaluation.json"
    settings.write_text('{"data": "../../../gone"}')
    text = Page(write_report([run], tmp_path / "b.html").read_text()).text
    assert "the pair set cannot be read" in text
    assert "image not at hand" in text


def test_an_evaluation_alone_and_a_run_without_one_are_reported(new_run: Callable[..., Path], tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    alone = Page(write_report([run / "eval" / "test_id"], tmp_path / "alone.html").read_text()).text
    assert "accuracy" in alone
    assert "no training steps" in alone
    bare = tmp_path / "bare"
    append_jsonl(bare / "metrics.jsonl", [{"step": 1, "reward": 1.0}, {"step": 2, "reward": 2.0}])
    text = Page(write_report([bare], tmp_path / "bare.html").read_text()).text
    assert "2 steps" in text
    assert "Results" not in text
    assert "no metrics.json" in text


def test_what_is_no_run_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
    with pytest.raises(InputError, match="no run"):
        write_report([], tmp_path / "report.html")
    write_text(tmp_path / "bad" / "metrics.json", "[1]")
    with pytest.raises(DataError, match=r"metrics\.json: holds a JSON list"):
        write_report([tmp_path / "bad"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_runs_of_one_name_are_told_apart_by_their_folders(new_run: Callable[..., Path], tmp_path: Path) -> None:
    paths = [new_run(tmp_path / folder / "listener", steps=2) for folder in ("a", "b")]
    assert [run.name for run in read_runs(paths, who="a report")] == ["a/listener", "b/listener"]


def test_thinning_averages_equal_stretches() -> None:
    curve = Curve(np.arange(8.0), np.array([0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]))
    assert thinned(curve, 4).values.tolist() == [1.0, 5.0, 9.0, 13.0]
    assert thinned(curve, 4).steps.tolist() == [0.5, 2.5, 4.5, 6.5]
    assert thinned(Curve(np.arange(1000.0), np.ones(1000))).values.tolist() == [1.0] * MAX_POINTS
    assert thinned(curve) is curve


def test_smoothing_keeps_lines_and_spreads_peaks() -> None:
    assert smoothed(np.arange(100.0))[10:90].tolist() == np.arange(10.0, 90.0).tolist()
    peak = np.zeros(40)
    peak[20] = 5.0
    assert smoothed(peak)[18:23].tolist() == [1.0] * 5  # a window of 2 · (40 // 20) + 1 = 5
    assert smoothed(np.array([3.0])).tolist() == [3.0]


def test_charts_hold_no_text_of_users_and_take_the_pages_ink(three_runs: list[Path]) -> None:
    charts = training_charts(read_runs(three_runs, who="a report"))
    assert [one.chart.title for one in charts][:3] == ["Reward", "Reward: format", "Reward: accuracy"]
    assert all(one.places == [0, 1, 2] for one in charts)
    for chart, _ in charts:
        assert chart.svg.startswith("<svg")
        assert "currentColor" in chart.svg
        assert "#010203" not in chart.svg
        assert "sft" not in chart.svg
    assert charts == training_charts(read_runs(three_runs, who="a report"))  # the same files give the same page


def trained(path: Path, weights: str, **logged: float) -> Path:
    write_text(path / "config.yaml", f"rewards: {weights}\n")
    append_jsonl(path / "metrics.jsonl", [{"step": step, **logged} for step in (1, 2, 3)])
    return path


def test_a_part_of_the_reward_is_drawn_of_those_alone_that_were_paid_for_it(tmp_path: Path) -> None:
    logged = {"reward": 1.0, "reward/listener": 0.8, "listener/p_label": 0.8, "rewards_missing": 0.0}
    paid = trained(tmp_path / "paid", "{format: 1.0, listener: 0.5}", **logged)
    unpaid = trained(tmp_path / "unpaid", "{format: 1.0, listener: 0.0}", **logged)
    judged_only = trained(tmp_path / "only", "{}")
    runs = read_runs([judged_only, unpaid, paid], who="a report")
    charts = {one.chart.title: one for one in training_charts(runs)}
    assert charts["Reward: listener"].places == [2]
    assert charts["Listener's confidence"].places == charts["Reward"].places == [1, 2]
    assert "−" not in charts["Missing rewards"].chart.svg  # no share is below 0, nor is its axis
    text = " ".join(Page(write_report([unpaid, paid], tmp_path / "two.html").read_text()).text.split())
    assert "may not be held against one another: unpaid: 1 × format; paid: 1 × format + 0.5 × listener." in text
    assert "may not be held" not in Page(write_report([paid], tmp_path / "one.html").read_text()).text


def test_every_run_has_a_line_of_its_own() -> None:
    assert len({line_style(i) for i in range(24)}) == 24


def prediction(p: float | None, votes: tuple[int, int] = (1, 0), **more: Any) -> dict[str, Any]:
    row = {"id": str(p), "p_first": p, "p_first_forward": p, "p_first_swapped": p, "samples": []}
    return row | {"votes_first": votes[0], "votes_second": votes[1]} | more


def test_a_confident_mistake_is_far_on_the_wrong_side() -> None:
    assert confident_mistake(prediction(0.1)) == pytest.approx(0.4)
    assert confident_mistake(prediction(0.9, (0, 2))) == pytest.approx(0.4)
    for right in (prediction(0.9), prediction(None), prediction(0.5), prediction(0.1, (1, 1))):
        assert confident_mistake(right) is None


def test_an_order_flip_crosses_the_middle() -> None:
    assert order_flip(prediction(0.5, p_first_forward=0.9, p_first_swapped=0.2)) == pytest.approx(0.7)
    assert order_flip(prediction(0.5, p_first_forward=0.9, p_first_swapped=0.6)) is None
    assert order_flip(prediction(0.5, p_first_forward=0.9, p_first_swapped=None)) is None


def test_a_listener_gap_needs_different_sides() -> None:
    def heard(side: str, p: float, listener: dict[str, float]) -> dict[str, Any]:
        return prediction(0.5, samples=[{"malformed": None, "side": side, "p_first": p, "listener": listener}])

    assert listener_gap(heard("first", 0.9, {"a": 0.6, "b": 0.3})) == pytest.approx(0.6)
    assert listener_gap(heard("first", 0.9, {"a": 0.6})) is None
    assert listener_gap(heard("second", 0.2, {"a": 0.8})) == pytest.approx(0.6)
    assert listener_gap(prediction(0.5, samples=[{"malformed": "no answer", "side": None, "p_first": None}])) is None


def test_the_largest_are_chosen_and_of_equals_the_earlier() -> None:
    rows = [prediction(p, id=f"p{i}") for i, p in enumerate((0.4, 0.1, 0.9, 0.1, 0.0, 0.3))]
    chooser = Chooser()
    assert list(chooser.passing(rows)) == rows
    assert [row["id"] for row in chooser.chosen()["Most confident mistakes"]] == ["p4", "p1", "p3"]


def test_pictures_are_embedded_once_and_within_the_budget(three_runs: list[Path]) -> None:
    image = three_runs[0].parent / "data" / "images" / "0_a.png"
    pictures = Pictures(Budget(100_000))
    first = pictures.url(("set", "p0"), image)
    assert first is not None
    assert first.startswith("data:image/webp;base64,")
    left = pictures.budget.left
    assert pictures.url(("set", "p0"), image) == first
    assert pictures.budget.left == left == 100_000 - len(first)
    poor = Pictures(Budget(10))
    assert poor.url(("set", "p0"), image) is None
    assert poor.budget.refused == 1
    assert Pictures(Budget(10**6)).url(("set", "x"), b"no image") is None


def test_long_text_says_how_much_was_cut() -> None:
    assert shortened("abcdef", 3) == "abc… (3 more characters)"
    assert shortened("abc", 3) == "abc"


def test_estimates_are_told_in_words() -> None:
    assert format_estimate(Estimate(0.7126, 0.68, 0.745, 800), percent=True) == ("71.3 %", "68.0 to 74.5", 800, False)
    assert format_estimate(Estimate(0.25, None, None, 3), percent=False) == ("0.250", "", 3, False)
    assert format_estimate(Estimate(21.34, 20.0, 22.0, 3), percent=False) == ("21.3", "20.0 to 22.0", 3, False)
    assert format_estimate(Estimate.missing(), percent=True) == ("–", "", 0, False)


def test_differences_carry_their_sign_and_nothing_has_none() -> None:
    assert format_estimate(Estimate(0.023, -0.007, 0.054, 9), percent=True, signed=True) == (
        "+2.3 points",
        "−0.7 to +5.4",
        9,
        False,
    )
    assert format_estimate(Estimate(-0.0001, -0.0002, 0.0, 9), percent=False, signed=True)[:2] == (
        "0.000",
        "0.000 to 0.000",
    )


def test_a_difference_is_clear_where_its_interval_leaves_zero_out() -> None:
    def clear(estimate: Estimate, *, signed: bool = True) -> bool:
        return format_estimate(estimate, percent=True, signed=signed).clear

    assert clear(Estimate(0.2, 0.1, 0.3, 5))
    assert clear(Estimate(-0.2, -0.3, -0.1, 5))
    assert not clear(Estimate(0.2, 0.0, 0.4, 5))
    assert not clear(Estimate(0.2, None, None, 5))
    assert not clear(Estimate.missing())
    assert not clear(Estimate(0.2, 0.1, 0.3, 5), signed=False)


def test_rows_are_those_that_could_be_computed_somewhere() -> None:
    one = {"accuracy": {"value": 0.5, "low": None, "high": None, "n": 2}, "ece": {"value": None, "n": 0}}
    two = {"disagreement.kin": {"value": 0.25, "low": 0.1, "high": 0.4, "n": 8}}
    rows = summary_rows([one, two])
    assert [row.key for row in rows] == ["accuracy", "disagreement.kin"]
    assert [cell.value for cell in rows[0].cells] == ["50.0 %", "–"]
