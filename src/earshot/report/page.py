"""The report as one HTML file: no script, no request, light or dark as the reader likes it."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import Any

from earshot.files import write_text
from earshot.locks import sole_writer
from earshot.metrics.slices import SLICE_RESAMPLES
from earshot.predictions.facts import Row, label_against_votes
from earshot.predictions.rollout import weighted_parts
from earshot.predictions.run import Evaluation, Run, read_runs
from earshot.report.calibrating import Fitted, fitted_temperature
from earshot.report.charts import training_charts
from earshot.report.drawing import line_style, numbered
from earshot.report.examples import PER_RULE, RULES, Budget, Pictures, shortened, shown_samples
from earshot.report.overoptimising import overoptimised_views
from earshot.report.plots import RELIABILITY_MEANING
from earshot.report.provenance import data_facts, run_facts
from earshot.report.tables import estimate_rows
from earshot.report.views import Member, SetView, read_member, set_view, test_sets

PICTURE_BUDGET_BYTES = 4_500_000
"""Of data URLs; with the charts and the text the page stays below the 10 MB that mail and previews bear."""
CHART_BUDGET_BYTES = 2_500_000
EXAMPLE_TEXT_BUDGET_BYTES = 1_200_000
MAX_CONFIG_CHARACTERS = 20_000
MAX_NAME_CHARACTERS = 160
"""Of anything that should be a name: of a listener, a category, a generator."""
MAX_FACT_CHARACTERS = 600
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write one self-contained HTML page about the runs.

    Args:
        runs: Run directories; each may hold `metrics.json` and `eval/<set>/metrics.json`.
        out: The file, written whole.

    Returns:
        `out`.

    Raises:
        InputError: A path holds no run, or another process writes the file.
        DataError: A file of a run cannot be read.
    """
    runs_read = read_runs(runs, who="report")
    out.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(out):
        write_text(out, render_page(runs_read))
    return out


def render_page(runs: Sequence[Run]) -> str:
    """The page as text. Whatever users or models wrote is escaped; only the charts, drawn by us, are `safe`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("earshot.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["short"] = lambda text: shortened(str(text), MAX_NAME_CHARACTERS)
    environment.filters["fact"] = lambda text: shortened(str(text), MAX_FACT_CHARACTERS)
    environment.filters["policy"] = lambda style: f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'"
    environment.filters["grouped"] = lambda number: f"{number:,}"
    environment.filters["numbered"] = numbered
    environment.globals["estimate_rows"] = estimate_rows
    budget = Budget(CHART_BUDGET_BYTES)
    optimised = overoptimised_views(runs)
    runs = [run for run in runs if run.done]
    evaluations = [evaluation for run in runs for evaluation in run.measured]
    fitted = {run.name: fitted_temperature(run) for run in runs}
    examples = ExampleViews()
    sets = list(_sets(evaluations, [run.name for run in runs], fitted, examples))
    text = environment.get_template("page.html.j2").render(
        runs=[_run_view(run, index) for index, run in enumerate(runs)],
        facts=run_facts(runs),
        data=data_facts(runs),
        training=training_charts(runs),
        trained=[place for place, run in enumerate(runs) if run.curves],
        rewards=[(run.name, told) for run in runs if run.curves and (told := weighted_parts(run.weights))],
        paid=[(run.name, run.paid) for run in runs if run.paid is not None and run.paid.n],
        sets=sets,
        optimised=optimised,
        budget=budget,
        examples=examples,
        rules=RULES,
        per_rule=PER_RULE,
        slice_resamples=SLICE_RESAMPLES,
        reliability_meaning=RELIABILITY_MEANING,
    )
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _sets(
    evaluations: Sequence[Evaluation], runs: Sequence[str], fitted: Mapping[str, Fitted | str], examples: ExampleViews
) -> list[SetView]:
    """Each test set in turn, so that the predictions of one are in memory at a time."""
    views = []
    for name, group in test_sets(evaluations):
        members = [read_member(evaluation, runs.index(evaluation.run)) for evaluation in group]
        views.append(set_view(name, members, fitted))
        for member in members:
            examples.add(name, member)
    return views


def _run_view(run: Run, index: int) -> dict[str, Any]:
    colour, dash = line_style(index)
    packages = run.environment.get("packages")
    return {
        "name": run.name,
        "colour": colour,
        "dash": dash,
        "config": shortened(run.config, MAX_CONFIG_CHARACTERS),
        "environment": _lines({key: value for key, value in run.environment.items() if key != "packages"}),
        "packages": {str(k): str(v) for k, v in packages.items()} if isinstance(packages, Mapping) else {},
        "settings": [(e.set_name, _lines(e.settings)) for e in run.measured if e.settings],
    }


def _lines(settings: Mapping[str, Any]) -> str:
    """One a line, as text stands and everything else in JSON."""
    told = [f"{k}: {v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)}" for k, v in settings.items()]
    return shortened("\n".join(told), MAX_CONFIG_CHARACTERS)


class ExampleViews:
    """The examples of all runs and sets, while there is room for their pictures and words."""

    def __init__(self, picture_bytes: int = PICTURE_BUDGET_BYTES, text_bytes: int = EXAMPLE_TEXT_BUDGET_BYTES) -> None:
        self.groups: list[dict[str, Any]] = []
        self.pictures = Pictures(Budget(picture_bytes))
        self.text = Budget(text_bytes)

    def add(self, set_name: str, member: Member) -> None:
        """The examples of one run on one set, but for those that there is no room for."""
        rules: dict[str, list[dict[str, Any]]] = {}
        for title, found in member.examples.items():
            for row in found:
                view = self._view(member, row)
                if view is not None:
                    rules.setdefault(title, []).append(view)
        if rules:
            self.groups.append({"run": member.run, "name": set_name, "rules": rules, "fault": member.fault})

    def _view(self, member: Member, row: Row) -> dict[str, Any] | None:
        pair = member.pairs.get(str(row["id"]))
        samples = shown_samples(row["samples"])
        prompt = shortened(str(row["prompt_id"]) if pair is None else pair.prompt)
        words = [prompt, *(s["trace"] for s in samples), *(heard["name"] for s in samples for heard in s["heard"])]
        size = sum(len(escape(text).encode("utf-8", "replace")) for text in words)
        if not self.text.takes(size):
            return None
        urls: dict[str, str | None] = {"original": None, "first": None, "second": None}
        if pair is not None:
            # Runs are judged on the same sets: a picture of the same pair is embedded once for all of them.
            place = str(member.evaluation.data_folder)
            for name, image in (("original", pair.original), ("first", pair.first), ("second", pair.second)):
                urls[name] = None if image is None else self.pictures.url((place, f"{pair.id}/{name}"), image)
        return {
            "id": str(row["id"]),
            "prompt": prompt,
            "votes": {"first": row["votes_first"], "second": row["votes_second"]},
            "label": label_against_votes(row),
            "p_first": row["p_first"],
            "p_forward": row["p_first_forward"],
            "p_swapped": row["p_first_swapped"],
            "urls": urls,
            "edit": pair is not None and pair.original is not None,
            "samples": samples,
        }
