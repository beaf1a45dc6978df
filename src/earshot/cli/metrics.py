"""`earshot metrics`: anybody's scores or choices under the published protocols."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earshot.types import Estimate

if TYPE_CHECKING:
    from earshot.benchmarks.answers import Judged
    from earshot.benchmarks.protocols import Protocol


def metrics_command(
    predictions: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PREDICTIONS]",
            help="Scores per image, choices or probabilities per pair, judges' texts or predictions.jsonl; jsonl, "
            "json, csv or parquet. Left out, only the judge who always names the first image is measured.",
        ),
    ] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="A published metric by name. Repeatable.")] = None,
    data: Annotated[Path | None, typer.Option(help="The pair set that was judged.")] = None,
    annotations: Annotated[
        Path | None, typer.Option(help="The publisher's own files instead, in the published sides and order.")
    ] = None,
    set_name: Annotated[
        str, typer.Option("--set", help="What --annotations are, by the name of an importer.")
    ] = "imagereward",
    absent: Annotated[
        str, typer.Option(help="What a pair without a row is: refused, or unanswered and worth what the protocol says.")
    ] = "refused",
    threshold: Annotated[
        float | None, typer.Option(min=0.0, help="The gap up to which images are called equal, where one is needed.")
    ] = None,
    validation: Annotated[
        Path | None, typer.Option(help="Answers to other pairs, on which to fit that gap instead.")
    ] = None,
    validation_data: Annotated[Path | None, typer.Option(help="The pair set of --validation.")] = None,
    without: Annotated[
        Path | None, typer.Option(help="Measure also without these pairs: what 'earshot data overlap --out' wrote.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    list_them: Annotated[bool, typer.Option("--list", help="List the protocols; with --protocol, its rules.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Measure anybody's answers by the metric of each benchmark, with 95 % intervals over prompts.

    Beside every number stands what the judge gets who always names the first image.
    """
    import json

    from earshot.benchmarks.protocols import PROTOCOLS, find_protocol

    if list_them:
        _list(protocol or [], as_json)
        return
    asked = [find_protocol(name) for name in protocol or ("earshot", "earshot-macro")]
    judged = _answers(predictions, data, annotations, set_name, absent)
    if threshold is not None:
        asked = [p.with_threshold(threshold) if p.tunes is not None else p for p in asked]
    elif validation is not None:
        other = _answers(validation, validation_data, None, set_name, "refused")
        asked = [p.fitted(other, judged) if p.tunes is not None else p for p in asked]
    cases = {"": judged}
    if without is not None:
        from earshot.benchmarks.answers import without_pairs
        from earshot.data.overlap import read_overlapping

        cases["without"] = without_pairs(judged, read_overlapping(without), str(without))
    results = {
        p.name: {
            case: {
                **p.evaluate(answers, resamples=resamples, seed=seed).record(),
                "always_first": p.evaluate(answers.always_first(), resamples=resamples, seed=seed).estimate.as_record(),
            }
            for case, answers in cases.items()
        }
        for p in asked
    }
    if as_json:
        flat = {name: {**cases.pop(""), **cases} for name, cases in results.items()}
        typer.echo(json.dumps({"n_pairs": len(judged), "protocols": flat}, indent=2))
    else:
        _print(results, {name: PROTOCOLS[name] for name in results}, predictions)


def _answers(path: Path | None, data: Path | None, annotations: Path | None, set_name: str, absent: str) -> "Judged":
    """The answers of the file; without one, of the judge who always names the first image."""
    from earshot.benchmarks.forms import form_of
    from earshot.benchmarks.scores import read_judged, unanswered
    from earshot.benchmarks.truth import truth_of_pairset, truth_of_published
    from earshot.errors import InputError

    if absent not in ("refused", "unanswered"):
        raise InputError(f"--absent is {absent!r}, expected refused or unanswered")
    if data is not None and annotations is not None:
        raise InputError("--data and --annotations both say what people preferred; give one of them")
    if path is not None and path.is_dir():
        path = path / "predictions.jsonl"
    key = None if path is None else form_of(path).key
    truth = None
    if data is not None:
        truth = truth_of_pairset(data, key=key or "id")
    elif annotations is not None:
        truth = truth_of_published(set_name, annotations, key=key or "id")
    if path is None:
        if truth is None:
            raise InputError("nothing to measure: give PREDICTIONS, or --data or --annotations for the blind judge")
        return unanswered(truth).always_first()
    return read_judged(path, truth, absent=absent)  # type: ignore[arg-type]


def _list(names: list[str], as_json: bool) -> None:
    import json

    from earshot.benchmarks.protocols import PROTOCOLS, find_protocol

    fields = ("source", "truth", "ties", "missing")
    rows = {p.name: {f: getattr(p, f) for f in fields} | {"average": "macro" if p.macro else "micro"}
            for p in map(find_protocol, names or PROTOCOLS)}  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    elif not names:
        for name, row in rows.items():
            typer.echo(f"{name:<22} {row['average']}  {row['source']}")
        typer.echo("\nThe rules of one: earshot metrics --list --protocol NAME; all of them: docs/protocols.md")
    for name, row in rows.items() if names and not as_json else ():
        typer.echo(f"{name}\n" + "\n".join(f"    {field}: {text}" for field, text in row.items()))


def _print(results: "dict[str, dict[str, Any]]", protocols: "dict[str, Protocol]", path: Path | None) -> None:
    typer.echo(f"{'always the first image' if path is None else path}: scores in %, 95 % intervals, prompts resampled")
    for name, cases in results.items():
        for case, record in cases.items():
            typer.echo("")
            typer.echo(name if not case else f"{name}, without the overlapping pairs")
            typer.echo(f"    score         {Estimate.from_record(record).text(percent=True)}")
            typer.echo(f"    always first  {Estimate.from_record(record['always_first']).text(percent=True)}")
            counts = ", ".join(f"{record[f'n_{what}']:,} {what}" for what in ("pairs", "ties", "missing", "prompts"))
            mean = "mean over prompts" if protocols[name].macro else "mean"
            typer.echo(f"    {mean}, n {record['n']:,}; {counts}")
            if "threshold" in record:
                typer.echo(f"    equal up to a gap of {record['threshold']:g}")
