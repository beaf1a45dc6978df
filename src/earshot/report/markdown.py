"""The tables for a model card: Markdown under YAML front matter with the hub's `model-index`.

The schema is the hub's (huggingface/hub-docs, modelcard.md): a result needs `task.type`, `dataset.type`, `dataset.name`
and each metric's `type` and `value`. Every value is one of metrics.json, as it stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from earshot.errors import EarshotError, InputError, first_line
from earshot.files import write_text
from earshot.locks import sole_writer
from earshot.metrics import read_estimate
from earshot.metrics.blind import warnings_of
from earshot.predictions.run import Evaluation, Run, read_runs
from earshot.protocol import reasoner_messages, write_completion
from earshot.report.comparing import differences
from earshot.report.provenance import data_facts, run_facts
from earshot.report.tables import Cell, Row, estimate_rows, label_of, summary_rows
from earshot.report.views import at_most, protocol_rows, test_sets
from earshot.rundir import RunDir
from earshot.types import Verdict

TASK = {"type": "image-text-to-text", "name": "Image preference"}
"""The hub's task of a model that reads images and text and writes text."""
USE = """## How to use it

The first line installs Earshot; MODEL is this folder or its hub id.

    pip install 'earshot-rm[train]'
    earshot compare --model MODEL --prompt "what was asked for" first.png second.png

```python
import earshot

model = earshot.load("MODEL")
told = model.compare(prompt="what was asked for", first="first.png", second="second.png", seed=0)
print(told.verdict, told.p_first, told.trace)
```
"""
WEAK = """- It compares two images of one prompt; there is no scale on which one image alone has a score.
- Its reasons are text that it wrote, not a record of how it decided: they can be false where the verdict is right.
- It was measured on the sets below only; other prompts, generators and people may differ.
"""
METRIC_TYPES: Mapping[str, str] = {
    "accuracy": "accuracy",
    "accuracy_macro": "accuracy",
    "selective_accuracy.80": "accuracy",
    "brier": "brier_score",
    "ece": "expected_calibration_error",
    "nll": "negative_log_likelihood",
    "position_consistency": "position_consistency",
    "malformed_rate": "malformed_rate",
}
"""Keys of metrics.json that go into the metadata, and what the hub is to call them; its own ids where it has one.
`protocol.*` and `disagreement.*` go there as well, the former as accuracies."""
_HUB_DATASET = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$])")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
MAX_TEXT_CHARACTERS = 300


def write_model_card(runs: Sequence[Path], out: Path) -> Path:
    """Write the tables of runs in Markdown, to be put into a model card.

    Args:
        runs: Run directories; each may hold `metrics.json` and `eval/<set>/metrics.json`.
        out: The file, written whole.

    Raises:
        InputError: A path holds no run, or another process writes the file.
        DataError: A file of a run cannot be read.
    """
    runs_read = [run for run in read_runs(runs, who="report") if run.done]
    if not runs_read:
        raise InputError(
            f"{runs[0]}: holds no run that was trained or judged, expected one for a model card; 'earshot report "
            f"{runs[0]}' makes a page of what is there"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(out):
        write_text(out, model_card(runs_read))
    return out


def model_card(runs: Sequence[Run]) -> str:
    """Front matter, how to use the models, their results on each test set with differences, and what was run."""
    results = [_results(*one) for one in test_sets([e for run in runs for e in run.measured])]
    parts = [front_matter(runs), "# A reward model of image preference\n", USE, *_models(runs), *results]
    return "\n".join([*parts, _what_was_run(runs)])


def _models(runs: Sequence[Run]) -> list[str]:
    """What the models of the runs were taught and are asked, as their folders say it; nothing where there is none."""
    told = {run.name: _model(RunDir(run.path).model) for run in runs if RunDir(run.path).model.is_dir()}
    parts = []
    for place, heading in enumerate(("## Limits\n", "## Prompt and chat format\n") if told else ()):
        parts.append(heading)
        for part in dict.fromkeys(one[place] for one in told.values()):
            names = [name for name, one in told.items() if one[place] == part]
            parts += [part] if len(names) == len(told) else [f"Of {text(', '.join(names))}:\n", part]
    return parts


def _model(folder: Path) -> tuple[str, str]:
    """The limits of a model, and its prompt and chat format."""
    try:
        from earshot.vlm.card import read_prompts, read_taught_on

        prompts, pictures = read_prompts(folder), read_taught_on(folder)
    except (ImportError, EarshotError) as error:
        return WEAK, f"Not known here: {text(first_line(error))}.\n"
    alone = f"- It was taught on {pictures} alone: of photographs and anything else its answers mean nothing.\n"
    lines = []
    for message in reasoner_messages("{prompt}", prompts):
        parts = (part.get("text", "<image>") for part in message["content"])
        lines.append(f"{message['role']}: {''.join(parts)}")
    lines.append(f"assistant: {write_completion(Verdict('first', 'why'), prompts)}")
    shown = "".join(f"    {_CONTROL.sub(' ', line)}\n" for one in lines for line in one.splitlines())
    first, second = (text(answer) for answer in prompts.answer.texts)
    which = f"{first} names the image shown first, {second} the second; the chat template is the tokenizer's own.\n"
    return f"{alone if pictures else ''}{WEAK}", f"{shown}\n{which}"


def front_matter(runs: Sequence[Run]) -> str:
    """The metadata between `---` lines, with one entry of `model-index` a run that was evaluated."""
    metadata: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": TASK["type"],
        "tags": ["earshot", "reward-model", "image-preference"],
    }
    index = [{"name": _plain(run.name), "results": results} for run in runs if (results := _index_results(run))]
    if index:
        metadata["model-index"] = index
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=120)}---\n"


def _index_results(run: Run) -> list[dict[str, Any]]:
    results = []
    for evaluation in run.measured:
        metrics = _index_metrics(evaluation.metrics)
        if metrics:
            results.append({"task": dict(TASK), "dataset": _index_dataset(evaluation), "metrics": metrics})
    return results


def _index_dataset(evaluation: Evaluation) -> dict[str, Any]:
    """The hub's id of the set where dataset.json tells one, else the set's own name."""
    info = evaluation.info
    hub = _HUB_DATASET.search(str(info.get("origin") or ""))
    title = info.get("title") or info.get("source")
    name = evaluation.set_name if not title else f"{title} ({evaluation.set_name})"
    dataset = {"type": hub[1] if hub else _plain(evaluation.set_name), "name": _plain(name)}
    told = {key: info[key] for key in ("split", "revision") if isinstance(info.get(key), str)}
    return dataset | {key: _plain(value) for key, value in told.items()}


def _index_metrics(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = [*METRIC_TYPES, *sorted(k for k in metrics if k.startswith(("protocol.", "disagreement.")))]
    found = []
    for key in keys:
        estimate = read_estimate(metrics, key)
        if estimate.value is not None:
            kind = METRIC_TYPES.get(key, "accuracy" if key.startswith("protocol.") else "disagreement")
            found.append({"type": kind, "value": estimate.value, "name": _plain(_metric_name(key))})
    return found


def _metric_name(key: str) -> str:
    if key.startswith("protocol."):
        return f"accuracy by the protocol {key.removeprefix('protocol.')}"
    return label_of(key)


def _what_was_run(runs: Sequence[Run]) -> str:
    facts = [[fact.label, *fact.values] for fact in run_facts(runs)]
    data = [[d.name, d.role, d.what, d.licence, d.version, d.pairs] for d in data_facts(runs)]
    parts = ["## What was run\n"]
    if facts:
        parts.append(table(["", *(run.name for run in runs)], facts))
    if data:
        parts.append(table(["set", "use", "what", "licence", "version", "size"], data))
    return "\n".join(parts)


def _results(name: str, evaluations: Sequence[Evaluation]) -> str:
    metrics = [e.metrics for e in evaluations]
    runs = [e.run for e in evaluations]
    parts = [f"## Results on {text(name)}\n", "Values with 95 % intervals, prompts resampled.\n"]
    # The parts of a Brier score are for the page, where there is room to say what they are.
    parts.append(table(["", *runs], [_row(row) for row in summary_rows(metrics) if row.place != "calibration"]))
    if line := at_most(evaluations):
        parts.append(f"Accuracy: {line}.\n")
    protocols = [[p.name, *(_cell(c) for c in p.cells), p.rules] for p in protocol_rows(metrics)]
    if protocols:
        parts.append(table(["protocol", *runs, "rules"], protocols))
    parts += [f"> Warning, {text(e.run)}: {text(w)}\n" for e in evaluations for w in warnings_of(e.metrics)]
    return "\n".join([*parts, *_differences(evaluations)])


def _differences(evaluations: Sequence[Evaluation]) -> list[str]:
    judged = {e.run: e.table() for e in evaluations if e.files()} if len(evaluations) > 1 else {}
    if len(judged) < 2:
        return []
    found = differences(judged)
    compared = [gap for gap in found if not gap.fault]
    parts = [
        f"Not compared, {text(gap.run)} with {text(gap.against)}: {text(gap.fault)}.\n" for gap in found if gap.fault
    ]
    if compared:
        rows = [_row(row) for row in estimate_rows([gap.estimates for gap in compared], signed=True)]
        parts.append("Differences, the first named minus the second, on the same pairs.\n")
        parts.append(table(["", *(f"{gap.run} − {gap.against}" for gap in compared)], rows))
    return parts


def _row(row: Row) -> list[str]:
    return [row.label, *(_cell(cell) for cell in row.cells)]


def _cell(cell: Cell) -> str:
    return f"{cell.value} ({cell.interval}; n {cell.n:,})" if cell.interval else cell.value


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table of texts, all of which are escaped."""
    return grid([text(head) for head in heads], [[text(cell) for cell in row] for row in rows])


def grid(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are Markdown themselves."""
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *rows))


def text(words: object) -> str:
    """Words that stand for themselves in Markdown: one line, no markup, no HTML, no turning of the writing."""
    return _MARKUP.sub(_escaped, _plain(words))


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", ">": "&gt;"}.get(found[0], f"\\{found[0]}")


def _plain(words: object) -> str:
    shown = _CONTROL.sub(" ", str(words))
    return shown if len(shown) <= MAX_TEXT_CHARACTERS else f"{shown[:MAX_TEXT_CHARACTERS]}…"
