"""The report as one HTML file: no script, no request, light or dark as the reader likes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from earshot.report.charts import line_style, training_charts
from earshot.report.examples import Example, Pictures, examples_of, shortened, shown_samples
from earshot.report.reading import Evaluation, RunReading, read_runs
from earshot.report.tables import summary_rows
from earshot.rundir import write_text

PICTURE_BUDGET_BYTES = 6_000_000
"""Of data URLs; with the charts and the text the page stays below the 10 MB that mail and previews bear."""
MAX_CONFIG_CHARACTERS = 20_000
MAX_EXAMPLE_SETS = 12
"""Test sets whose examples are shown; the text of more would crowd out the rest."""


def write_report(runs: Sequence[Path], out: Path) -> Path:
    """Write one self-contained HTML page about the runs.

    Args:
        runs: Run directories; each may hold `metrics.json` and `eval/<set>/metrics.json`.
        out: The file, written whole.

    Returns:
        `out`.

    Raises:
        InputError: A path holds no run.
        DataError: A file of a run cannot be read.
    """
    write_text(out, render_page(read_runs(runs)))
    return out


def render_page(runs: Sequence[RunReading]) -> str:
    """The page as text. Whatever users or models wrote is escaped; only the charts, drawn by us, are `safe`."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("earshot.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    evaluations = [evaluation for run in runs for evaluation in run.evaluations]
    pictures = Pictures(PICTURE_BUDGET_BYTES)
    return environment.get_template("page.html.j2").render(
        runs=[_run_view(run, index) for index, run in enumerate(runs)],
        charts=training_charts(runs),
        sets=list(_set_views(evaluations)),
        example_sets=list(_example_views(evaluations[:MAX_EXAMPLE_SETS], pictures)),
        example_sets_left_out=max(0, len(evaluations) - MAX_EXAMPLE_SETS),
        pictures=pictures,
    )


def _run_view(run: RunReading, index: int) -> dict[str, Any]:
    colour, dash = line_style(index)
    environment = run.environment
    packages = environment.get("packages")
    return {
        "name": run.name,
        "colour": colour,
        "dash": dash,
        "steps": run.steps,
        "step_seconds": run.mean_step_seconds,
        "config": shortened(run.config, MAX_CONFIG_CHARACTERS),
        "environment": {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in environment.items()
            if key != "packages"
        },
        "packages": packages if isinstance(packages, Mapping) else {},
        "evaluations": run.evaluations,
    }


def _set_views(evaluations: Sequence[Evaluation]) -> Iterator[dict[str, Any]]:
    """The table of each test set: quantities down, runs across."""
    for name, group in groupby(sorted(evaluations, key=lambda e: e.set_name), key=lambda e: e.set_name):
        members = list(group)
        rows = summary_rows([e.metrics for e in members])
        yield {
            "name": name,
            "runs": [e.run for e in members],
            "counts": [{key: _count(e.metrics, key) for key in COUNTS} for e in members],
            "headline": [row for row in rows if row.headline],
            "others": [row for row in rows if not row.headline],
        }


COUNTS = ("n_pairs", "n_ties", "n_samples", "n_malformed", "n_listener_missing", "n_refused")


def _count(metrics: Mapping[str, Any], key: str) -> int:
    value = metrics.get(key)
    return int(value) if isinstance(value, int | float) else 0


def _example_views(evaluations: Sequence[Evaluation], pictures: Pictures) -> Iterator[dict[str, Any]]:
    for evaluation in evaluations:
        chosen, fault = examples_of(evaluation)
        rules = {
            title: [_example_view(evaluation, example, pictures) for example in examples]
            for title, examples in chosen.items()
            if examples
        }
        if rules:
            yield {"run": evaluation.run, "name": evaluation.set_name, "rules": rules, "fault": fault}


def _example_view(evaluation: Evaluation, example: Example, pictures: Pictures) -> dict[str, Any]:
    row, pair = example.row, example.pair
    urls: dict[str, str | None] = {"first": None, "second": None}
    if pair is not None:
        # Runs are judged on the same sets: a picture of the same pair is embedded once for all of them.
        place = str(evaluation.data_folder)
        urls["first"] = pictures.url((place, f"{pair.id}/first"), pair.first)
        urls["second"] = pictures.url((place, f"{pair.id}/second"), pair.second)
    return {
        "id": str(row["id"]),
        "prompt": shortened(str(row["prompt_id"]) if pair is None else pair.prompt),
        "votes": (row["votes_first"], row["votes_second"]),
        "p_first": row["p_first"],
        "p_forward": row["p_first_forward"],
        "p_swapped": row["p_first_swapped"],
        "urls": urls,
        "samples": shown_samples(row["samples"]),
    }
