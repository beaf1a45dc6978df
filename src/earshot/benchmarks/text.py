"""What `earshot metrics` prints: the list of protocols, and results as text."""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from earshot.benchmarks.forms import as_line
from earshot.benchmarks.protocols import Protocol
from earshot.benchmarks.published import FIGURES
from earshot.types import Estimate


def list_text(protocols: Sequence[Protocol], *, rules: bool) -> str:
    """A line for each protocol, by benchmark, or all the rules of each."""
    lines = []
    if rules:
        for protocol in protocols:
            told = {**rules_of(protocol), "file": as_line(protocol.benchmark.example, ".csv")}
            published = _figures(told.pop("published")) or ["published: no number known to us"]
            lines += [protocol.name, *(f"    {rule}: {text}" for rule, text in told.items())]
            lines += [f"    {line}" for line in published]
        return "\n".join(lines)
    for benchmark, several in groupby(protocols, lambda protocol: protocol.benchmark):
        lines.append(f"{benchmark.title[0].upper()}{benchmark.title[1:]}")
        lines += [f"    {protocol.name:<21} {protocol.words}" for protocol in several]
    return "\n".join([*lines, "", "The rules of one, and a file as it wants it: earshot metrics --list NAME"])


def rules_of(protocol: Protocol) -> dict[str, Any]:
    """As they stand in a JSON file."""
    fields = ("words", "source", "truth", "ties", "missing")
    return {
        **{field: getattr(protocol, field) for field in fields},
        "average": "macro" if protocol.macro else "micro",
        "benchmark": protocol.benchmark.title,
        "published": [figure.record() for figure in FIGURES.get(protocol.name, ())],
    }


def results_text(
    files: Mapping[str, Any], differences: Sequence[Mapping[str, Any]], protocols: Sequence[Protocol]
) -> str:
    """By protocol what each file gets, how each differs from the first, and what others have published.

    Args:
        files: The records of `earshot metrics --json`, by file.
        differences: Its records of differences.
        protocols: By which they were measured.
    """
    names = dict(zip(files, short_names(files), strict=True))
    lines = [f"{', '.join(names.values())}: scores in %, 95 % intervals, prompts resampled"]
    lines += [f"{names[file]}: {found['note']}" for file, found in files.items() if "note" in found]
    for protocol in protocols:
        records = {file: found["protocols"][protocol.name] for file, found in files.items()}
        for case in ("", *(["without"] if all("without" in record for record in records.values()) else [])):
            mine = {d["file"]: d for d in differences if (d["protocol"], d.get("case", "")) == (protocol.name, case)}
            told = {names[file]: (record[case] if case else record, mine.get(file)) for file, record in records.items()}
            lines += ["", *_of_protocol(protocol, told, case)]
    return "\n".join(lines)


def short_names(names: Iterable[str]) -> list[str]:
    """Files' names without the folder that all are in."""
    paths = [*map(Path, names)]
    depth = (
        len(os.path.commonpath([path.parent for path in paths])) if len({p.is_absolute() for p in paths}) == 1 else 0
    )
    return [str(path)[depth:].lstrip(os.sep) if depth else str(path) for path in paths]


def _of_protocol(
    protocol: Protocol, told: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]], case: str
) -> list[str]:
    strange = any(record["benchmark"]["not"] for record, _ in told.values())
    title = f"{', '.join(told)}, by the rule of {protocol.name}" if strange else protocol.name
    lines = []
    first = next(iter(told))
    for name, (record, difference) in told.items():
        own = _lines(protocol, record) + ([] if difference is None else _difference(difference, name, first))
        lines += own if len(told) == 1 else [name, *(f"    {line}" for line in own)]
    lines += [] if strange else _figures(told[first][0]["published"])
    return [f"{title}, without the overlapping pairs" if case else title, *(f"    {line}" for line in lines)]


def _lines(protocol: Protocol, record: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{record[f'n_{what}']:,} {what}" for what in ("pairs", "ties", "missing", "prompts"))
    lines = [
        f"score         {_estimate(record)}",
        f"always first  {_estimate(record['always_first'])}",
        f"{'mean over prompts' if protocol.macro else 'mean'}, n {record['n']:,}; {counts}",
    ]
    if "threshold" in record:
        lines.append(f"equal up to a gap of {record['threshold']:g}")
    benchmark = record["benchmark"]
    if benchmark["not"]:
        lines.append(f"these are {benchmark['not']}")
    elif benchmark["n_pairs"] is None and protocol.benchmark.source is not None:
        lines.append(f"how many pairs {benchmark['title']} has is not known to us")
    return lines


def _difference(d: Mapping[str, Any], name: str, first: str) -> list[str]:
    """How much more a file has than the first, and which pairs that rests on."""
    lines = [f"less {first}: {_estimate(d, signed=True)}, paired, over the {d['n_shared']:,} pairs that both have"]
    if d["n_only"] or d["n_only_against"]:
        lines.append(
            f"there {_estimate(d['score'])} against {_estimate(d['score_against'])}; left out are "
            f"{d['n_only']:,} pairs that only {name} has, {d['n_only_against']:,} that only {first} has"
        )
    return lines


def _figures(published: Sequence[Mapping[str, Any]]) -> list[str]:
    """Published numbers, those of one source on a line."""
    by_source: dict[tuple[str, str], list[str]] = {}
    for figure in published:
        number = f"{figure['who']} {100 * figure['value']:.1f}"
        by_source.setdefault((figure["how"], figure["source"]), []).append(number)
    return [f"published, {how}: {', '.join(told)} (from {source})" for (how, source), told in by_source.items()]


def _estimate(record: Mapping[str, Any], *, signed: bool = False) -> str:
    return Estimate.from_record(record).text(percent=True, signed=signed)
