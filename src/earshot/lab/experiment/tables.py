"""An experiment's results as tables in Markdown."""

from collections.abc import Mapping, Sequence

from earshot.lab.experiment.analysis import Comparison, Decision, absolute, differences, primary
from earshot.lab.experiment.endpoints import PER_LISTENER, endpoint, of_listener
from earshot.lab.experiment.summary import Summary
from earshot.report.markdown import grid
from earshot.types import Estimate

NOTE = (
    "Means over seeds; in brackets 95 % intervals over prompts and seeds. An arm in *italics* is a control. † the "
    "listener took part in this arm's reward, so that agreement with it is no evidence."
)


class Results:
    """Everything that tables and figures are made of, computed once."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary
        self.absolute = absolute(summary)
        self.differences = differences(summary)
        self.primary: list[tuple[Comparison, Decision]] = primary(summary) if summary.about["primary"] else []


def markdown(results: Results) -> str:
    """The page of tables."""
    summary = results.summary
    lines = [NOTE, "", _seeds(summary), "", *_registered(summary)]
    if results.primary:
        for family in dict.fromkeys(one.family for one, _ in results.primary):
            lines += [f"## Primary comparisons: {family}", "", _primary_table(results, family)]
    for name in summary.sets:
        pairs, prompts = summary.size(name)
        parts = summary.mixtures.get(name, {})
        made_of = f" ({', '.join(f'{share:.0%} {part}' for part, share in parts.items())})" if parts else ""
        lines += [f"## {name}{made_of}: {pairs} pairs of {prompts} prompts", ""]
        lines += [_table(results, name, _shown(summary), results.absolute)]
        lines += [
            f"Minus {summary.title(summary.about['reference'])} (exploratory: not corrected for their number):",
            "",
        ]
        lines += [_difference_table(results, name)]
        lines += [*_conditional(results, name)]
    return "\n".join(lines).rstrip() + "\n"


def _shown(summary: Summary) -> list[str]:
    """The columns of the first table; the conditional accuracies have their own."""
    return [key for key in summary.endpoints if of_listener(key)[0] not in ("accuracy_agree", "accuracy_disagree")]


def _seeds(summary: Summary) -> str:
    counts = {arm: max((len(summary.seeds(arm, name)) for name in summary.sets), default=0) for arm in summary.arms}
    missing = summary.about["missing"]
    text = f"Seeds: {', '.join(f'{summary.title(arm)} {count}' for arm, count in counts.items())}."
    return text + (f" {len(missing)} evaluations of the plan are missing." if missing else "")


def _registered(summary: Summary) -> list[str]:
    """When the plan was committed, and each change of it, with the number of runs that were known by then."""
    lines = []
    for number, one in enumerate(summary.about.get("registered", [])):
        what = f"changed ({'; '.join(one['changed'])})" if number else f"registered ({one['page']})"
        lines += [f"Plan {what} in commit {one['commit'][:12]}, {one['date']}, after {one['runs']} runs.", ""]
    return lines


def _primary_table(results: Results, family: str) -> str:
    summary = results.summary
    rows = []
    for one, decision in [entry for entry in results.primary if entry[0].family == family]:
        read = endpoint(one.endpoint)
        percent = read.percent or one.relative
        words = f"{read.label}{', relative' if one.relative else ''}"
        if one.against_endpoint not in (None, one.endpoint):
            words += f" − {endpoint(one.against_endpoint).label}"
        rows.append(
            [
                f"{_name(summary, one.arm)} − {_name(summary, one.against)}",
                f"{words}{_dagger(summary, one.arm, one.endpoint)}",
                one.set_name,
                decision.estimate.text(percent=percent, signed=True),
                _interval(decision.simultaneous, percent),
                _p(decision.p_value),
                _p(decision.adjusted_p),
                "" if one.goal is None else Estimate(one.goal, None, None, 0).text(percent=percent, signed=True),
                "yes" if decision.shown else "no",
            ]
        )
    head = ["comparison", "endpoint", "set", "difference [95 %]", f"simultaneous over {len(rows)}", "p", "p, Holm"]
    return grid([*head, "hoped for", "shown"], rows)


def _table(results: Results, name: str, keys: Sequence[str], estimates: Mapping[tuple[str, str, str], Estimate]) -> str:
    summary = results.summary
    rows = []
    for arm in summary.arms:
        if (arm, name, keys[0]) in estimates:
            cells = [
                estimates[arm, name, key].text(percent=endpoint(key).percent) + _dagger(summary, arm, key)
                for key in keys
            ]
            rows.append([_name(summary, arm), *cells])
    return grid(["", *(_head(key) for key in keys)], rows)


def _difference_table(results: Results, name: str) -> str:
    summary, found = results.summary, results.differences
    reference = summary.about["reference"]
    columns = [
        (key, relative)
        for key in _shown(summary)
        for relative in ((False, True) if endpoint(key).relative else (False,))
    ]
    rows = []
    for arm in summary.arms:
        cells = []
        for key, relative in columns:
            estimate = found.get(Comparison(arm, reference, name, key, relative), Estimate.missing())
            percent = relative or endpoint(key).percent
            cells.append(estimate.text(percent=percent, signed=True) + _dagger(summary, arm, key))
        if arm != reference:
            rows.append([_name(summary, arm), *cells])
    heads = [f"relative {_head(key, percent=True)}" if relative else _head(key) for key, relative in columns]
    return grid(["", *heads], rows)


def _conditional(results: Results, name: str) -> list[str]:
    """Accuracy where a listener agrees and where it does not, for each listener."""
    summary = results.summary
    lines: list[str] = []
    for listener in summary.about["listeners"]:
        kinds = [f"{kind}.{listener}" for kind in PER_LISTENER if kind.startswith("accuracy_")]
        if all(key in summary.endpoints for key in kinds):
            lines += [_table(results, name, kinds, results.absolute)]
    return ["Single completions, by whether a listener agrees with their verdict:", "", *lines] if lines else []


def _name(summary: Summary, arm: str) -> str:
    title = summary.title(arm).replace("|", "\\|")
    return f"*{title}*" if summary.about["arms"][arm]["role"] == "control" else title


def _dagger(summary: Summary, arm: str, key: str) -> str:
    return "†" if of_listener(key)[1] in summary.about["arms"][arm]["trained_with"] else ""


def _head(key: str, *, percent: bool | None = None) -> str:
    read = endpoint(key)
    return f"{read.label}, %" if (read.percent if percent is None else percent) else read.label


def _interval(estimate: Estimate, percent: bool) -> str:
    ends = estimate.numbers(percent=percent)[1:]
    return f"[{', '.join(ends)}]" if ends else ""


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
