"""`earshot metrics`: anybody's scores or choices under the published protocols, and files of them side by side."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from earshot.benchmarks.answers import Judged
    from earshot.benchmarks.protocols import Protocol
    from earshot.types import Estimate


class _Truth(NamedTuple):
    """Where it is said what people preferred, and how the files' columns are called."""

    data: Path | None
    annotations: Path | None
    set_name: str
    columns: Mapping[str, list[str]]
    example: Mapping[str, Any]


def metrics_command(
    predictions: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PREDICTIONS",
            help="Scores per image, choices or probabilities per pair, judges' texts or predictions.jsonl; jsonl, "
            "json, csv or parquet. Further files are compared with the first. Left out, only the judge who always "
            "names the first image is measured, and of --data those who go by one number of each picture, which are "
            "decoded for it.",
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
    image_column: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What a file calls its images' names.")
    ] = None,
    score_column: Annotated[list[str] | None, typer.Option(metavar="NAME", help="What it calls their scores.")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=NAME", help="What it calls any other field, as in id=pair_id. Repeatable."),
    ] = None,
    absent: Annotated[
        str | None,
        typer.Option(
            help="What a pair without a row is: refused, unanswered and worth what the protocol says, or left-out. "
            "By default refused, and left-out (counted and said) where files are compared."
        ),
    ] = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(min=0.0, help="The gap up to which images are called equal, where one is needed; one a file."),
    ] = None,
    validation: Annotated[
        list[Path] | None, typer.Option(help="Answers to other pairs, on which to fit that gap instead; one a file.")
    ] = None,
    validation_data: Annotated[Path | None, typer.Option(help="The pair set of --validation.")] = None,
    without: Annotated[
        Path | None, typer.Option(help="Measure also without these pairs: what 'earshot data overlap --out' wrote.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    list_them: Annotated[
        bool, typer.Option("--list", help="List the protocols; with a name behind it, its rules.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Measure anybody's answers by the metric of each benchmark, with 95 % intervals over prompts.

    Beside every number stands what the judge gets who always names the first image.
    """
    import json

    from earshot.benchmarks.forms import answers_file, refuse_misnamed
    from earshot.benchmarks.protocols import PROTOCOLS, find_protocol
    from earshot.benchmarks.text import list_text, results_text, rules_of

    if list_them:
        names = [*(protocol or []), *map(str, predictions or [])]
        listed = [find_protocol(name) for name in names or PROTOCOLS]
        rules = {protocol.name: rules_of(protocol) for protocol in listed}
        typer.echo(json.dumps(rules, indent=2) if as_json else list_text(listed, rules=bool(names)))
        return
    asked = [find_protocol(name) for name in dict.fromkeys(protocol or ("earshot", "earshot-macro"))]
    columns = _columns(image_column or [], score_column or [], column or [])
    refuse_misnamed([answers_file(path) for path in (*(predictions or []), *(validation or []))], columns)
    truth = _Truth(data, annotations, set_name, columns, asked[0].benchmark.example)
    judged = _answers(predictions or [], truth, absent)
    others = None
    if validation:
        where = truth._replace(data=validation_data, annotations=None)
        others = list(_answers(validation, where, "refused").values())
    tuned = _tuned(asked, list(judged.values()), threshold or [], others)
    cases = [("", judged)] if without is None else [("", judged), ("without", _without(judged, without))]
    files = {
        name: {"n_pairs": len(answers), **_measured(tuned[i], [(c, j[name]) for c, j in cases], resamples, seed)}
        for i, (name, answers) in enumerate(judged.items())
    }
    blind = _blind(data, resamples, seed) if data is not None and not predictions else {}
    for name in files:
        files[name] |= {rule: estimate.as_record() for rule, estimate in blind.items()}
    differences = [d for case, j in cases for d in _differences(tuned, j, case, resamples, seed)]
    if not as_json:
        typer.echo(
            "\n".join(
                [results_text(files, differences, asked), *_blind_text(blind), *_ceiling_text(data, predictions or [])]
            )
        )
    elif len(files) == 1:
        typer.echo(json.dumps(*files.values(), indent=2))
    else:
        typer.echo(json.dumps({"files": files, "differences": differences}, indent=2))


def _blind(folder: Path, resamples: int, seed: int) -> "dict[str, Estimate]":
    """What the judges get who read no prompt, each picture of the set decoded once."""
    from earshot.cli.progress import counting
    from earshot.metrics.blind import blind_of_set

    with counting() as on_pair:
        return blind_of_set(folder, resamples=resamples, seed=seed, on_pair=lambda done: on_pair("measuring", done))


def _blind_text(blind: "Mapping[str, Estimate]") -> list[str]:
    from earshot.metrics.blind import blind_lines

    return ["", "judges who read no prompt", *(f"    {line}" for line in blind_lines(blind))] if blind else []


def _ceiling_text(data: Path | None, predictions: list[Path]) -> list[str]:
    """What anybody could reach on the set, which is given or which a run of ours has judged."""
    from earshot.data.rows import read_info
    from earshot.predictions.run import Run
    from earshot.world.ceilings import ceiling_line

    infos: list[Mapping[str, Any]] = [] if data is None else [read_info(data)]
    for path in predictions if data is None else []:
        folder = path.parent if path.name == "predictions.jsonl" else path
        infos += [one.info for one in Run(path.name, folder, strict=False).evaluations if one.folder == folder]
    lines = dict.fromkeys(line for info in infos if (line := ceiling_line(info)))
    return ["", *(f"accuracy: {line}" for line in lines)] if lines else []


def _columns(image: list[str], score: list[str], others: list[str]) -> dict[str, list[str]]:
    """By each field that is called otherwise in the files, what it is called."""
    from earshot.benchmarks.forms import FIELDS
    from earshot.errors import InputError

    columns: dict[str, list[str]] = {}
    for text in [*(f"image={name}" for name in image), *(f"score={name}" for name in score), *others]:
        field, _, name = text.partition("=")
        if not name or field not in FIELDS:
            raise InputError(f"--column is {text!r}, expected FIELD=NAME, where FIELD is one of {', '.join(FIELDS)}")
        columns.setdefault(field, []).append(name)
    return columns


def _answers(paths: list[Path], truth: _Truth, absent: str | None) -> "dict[str, Judged]":
    """By its name, the answers of each file; without one, of the judge who always names the first image."""
    from earshot.benchmarks.forms import answers_file, form_of
    from earshot.benchmarks.scores import read_judged, unanswered
    from earshot.errors import InputError

    if absent not in (None, "refused", "unanswered", "left-out"):
        raise InputError(f"--absent is {absent!r}, expected refused, unanswered or left-out")
    if truth.data is not None and truth.annotations is not None:
        raise InputError("--data and --annotations both say what people preferred; give one of them")
    if repeated := next((path for path in paths if paths.count(path) > 1), None):
        raise InputError(f"{repeated}: is given twice, expected different files to compare; leave one out")
    if not paths:
        if (people := _people(truth, "id")) is None:
            raise InputError("nothing to measure: give PREDICTIONS, or --data or --annotations for the blind judge")
        return {"always the first image": unanswered(people).always_first()}
    files = {str(path): answers_file(path) for path in paths}
    forms = {name: form_of(path, truth.columns, truth.example) for name, path in files.items()}
    # Where only some of the files tell what people preferred, it has to be given for the others.
    mixed = any(form.key for form in forms.values())
    people = cache(lambda key: _people(truth, key))
    rows = absent or ("refused" if len(files) == 1 else "left-out")
    return {
        name: read_judged(
            path,
            None if forms[name].key is None and mixed else people(forms[name].key or "id"),
            absent=rows,  # type: ignore[arg-type]
            columns=truth.columns,
        )
        for name, path in files.items()
    }


def _people(truth: _Truth, key: Any) -> Any:
    """What people said, with what the answers are joined to it by; None where it was not given."""
    from earshot.benchmarks.truth import truth_of_pairset, truth_of_published

    if truth.data is not None:
        return truth_of_pairset(truth.data, key=key)
    return None if truth.annotations is None else truth_of_published(truth.set_name, truth.annotations, key=key)


def _tuned(
    asked: "list[Protocol]", judged: "list[Judged]", thresholds: list[float], others: "list[Judged] | None"
) -> "list[list[Protocol]]":
    """Of each file the protocols, with its own threshold where they take one: files' scores have their own scales."""
    from earshot.errors import InputError

    for option, given in ("--threshold", len(thresholds)), ("--validation", len(others or [])):
        if given not in (0, len(judged)):
            raise InputError(f"{option} was given {given} times for {len(judged)} files; give it once a file, in order")

    def own(protocol: "Protocol", i: int) -> "Protocol":
        if protocol.tunes is None or not (thresholds or others):
            return protocol
        return protocol.with_threshold(thresholds[i]) if thresholds else protocol.fitted(others[i], judged[i])  # type: ignore[index]

    return [[own(protocol, i) for protocol in asked] for i in range(len(judged))]


def _without(judged: "dict[str, Judged]", path: Path) -> "dict[str, Judged]":
    from earshot.benchmarks.answers import without_pairs
    from earshot.data.overlap import read_overlapping

    listed = read_overlapping(path)
    return {name: without_pairs(answers, listed, str(path)) for name, answers in judged.items()}


def _measured(
    protocols: "list[Protocol]", cases: "list[tuple[str, Judged]]", resamples: int, seed: int
) -> dict[str, Any]:
    """A file's record: by protocol the metric with what stands beside it, and under the case's name those of less."""
    note = {"note": cases[0][1].note} if cases[0][1].note else {}
    records: dict[str, Any] = {}
    for protocol in protocols:
        record = records[protocol.name] = _record(protocol, cases[0][1], resamples, seed)
        record |= {case: _record(protocol, judged, resamples, seed) for case, judged in cases[1:]}
    return {**note, "protocols": records}


def _record(protocol: "Protocol", judged: "Judged", resamples: int, seed: int) -> dict[str, Any]:
    from earshot.benchmarks.published import FIGURES

    figures = () if protocol.benchmark.stranger(judged) else FIGURES.get(protocol.name, ())
    blind = protocol.evaluate(judged.always_first(), resamples=resamples, seed=seed)
    return {
        **protocol.evaluate(judged, resamples=resamples, seed=seed).record(),
        "always_first": blind.estimate.as_record(),
        "benchmark": protocol.benchmark.record(judged),
        "published": [figure.record() for figure in figures],
    }


def _differences(
    tuned: "list[list[Protocol]]", judged: "dict[str, Judged]", case: str, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Every file's metrics less those of the first, over the pairs that both have."""
    from earshot.benchmarks.comparing import compare

    (first, answers), *others = judged.items()
    records = []
    for i, (name, other) in enumerate(others, start=1):
        for mine, its in zip(tuned[i], tuned[0], strict=True):
            found = compare((mine, other), (its, answers), resamples=resamples, seed=seed)
            about = {"protocol": mine.name, "file": name, "against": first, **({"case": case} if case else {})}
            records.append({**about, **found.record()})
    return records
