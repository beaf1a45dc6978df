"""`earshot lab attack`: put the attack set to a listener."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from earshot.lab.attack import Measured
    from earshot.types import Pair
    from earshot.vlm import Vlm


def attack_command(
    listener: Annotated[
        list[str], typer.Option(help="A listener: a model folder or hub id, or NAME=MODEL. Repeatable.")
    ],
    data: Annotated[
        Path, typer.Option(help="The pair set; its traces.jsonl and truth.jsonl are used where it has them.")
    ],
    out: Annotated[Path, typer.Option(help="Where attack.json and attack.md go.")],
    redaction: Annotated[
        list[str], typer.Option(help="What a trace loses before it is read: none, answer or verdict. Repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    needs_claims: Annotated[
        bool, typer.Option(help="Hear a trace that claims nothing as no trace, as training does by default.")
    ] = True,
    claims: Annotated[str | None, typer.Option(help="A model that checks claims: a folder or hub id.")] = None,
    traces: Annotated[
        Path | None, typer.Option(help="Honest traces, JSON lines of 'id' and 'trace'; the set's own by default.")
    ] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Attack only the first so many pairs.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pairs asked about at a time.")] = 4,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print attack.json instead of tables.")] = False,
) -> None:
    """Try to talk a listener into a side: how far each attack moves it, and what it would earn."""
    import json
    from itertools import islice

    from earshot.cli.evaluate import listener_names, model_settings, progress_bar, relative
    from earshot.data.pairset import read_pairs
    from earshot.errors import InputError

    levels = tuple(dict.fromkeys(redaction)) or ("none", "answer", "verdict")
    if unknown := set(levels) - {"none", "answer", "verdict"}:
        raise InputError(f"--redaction is {min(unknown)!r}, expected none, answer or verdict")
    names = listener_names(listener)
    chosen = list(islice(read_pairs(data), pairs))
    from rich.console import Console

    from earshot.lab.attack import as_markdown, as_tables
    from earshot.rundir import describe_environment, write_json, write_text
    from earshot.vlm import load

    sources = {**names, **({"claims": claims} if claims else {})}
    models = {name: load(path, dtype=dtype, device=device).freeze() for name, path in sources.items()}
    found: dict[str, list[Measured]] = {}
    for name in names:
        with progress_bar(f"attacking {name}") as tell:
            found[name] = _attack(
                name, models[name], models.get("claims"), chosen, data, traces,
                needs_claims,
                {"redactions": levels, "resamples": resamples, "seed": seed, "batch": batch, "progress": tell},
            )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    record = {
        **model_settings(out, models, sources),
        "data": relative(data, out),
        "pairs": len(chosen),
        "seed": seed,
        "needs_claims": needs_claims,
        "environment": describe_environment(),
        "listeners": {name: [row.row() for row in rows] for name, rows in found.items()},
    }
    write_json(out / "attack.json", record)
    write_text(out / "attack.md", as_markdown(found))
    if as_json:
        typer.echo(json.dumps(record, indent=2))
        return
    for table in as_tables(found):
        Console().print(table)
    typer.echo(f"{out}: attack.json, attack.md")


def _attack(
    name: str,
    vlm: Vlm,
    checker: Vlm | None,
    pairs: list[Pair],
    data: Path,
    traces: Path | None,
    needs_claims: bool,
    options: dict[str, Any],
) -> list[Measured]:
    from earshot.lab.attack import materials, measure_attacks
    from earshot.listener.claims import SPLITTERS, ClaimListener, LocalChecker
    from earshot.listener.controls import SWAPS
    from earshot.listener.evidence import EvidenceListener
    from earshot.listener.local import LocalListener
    from earshot.world.truth import read_truth

    made = materials(pairs, traces=honest_traces(data, traces), truths=read_truth(data), chat=chat_of(vlm))
    claims = None
    if checker is not None:
        claims = ClaimListener((LocalChecker(checker, name="claims"),), SPLITTERS[checker.prompts.name])
    local = LocalListener(vlm, name=name, batch_size=options["batch"])
    listener = EvidenceListener(local, SPLITTERS[vlm.prompts.name]) if needs_claims else local
    return measure_attacks(listener, made, claims=claims, swap=SWAPS[vlm.prompts.name], **options)


def honest_traces(data: Path, traces: Path | None) -> dict[str, str]:
    """Honest traces by pair id: those of a file, or of the pair set where it has some.

    Raises:
        InputError: The file that was asked for is not there.
        DataError: A row has no text for `id` or `trace`.
    """
    from earshot.data.rows import TRACES_FILE, read_traces
    from earshot.errors import InputError

    file = traces or data / TRACES_FILE
    if not file.exists():
        if traces is not None:
            raise InputError(f"{traces}: no such file, expected JSON lines of 'id' and 'trace'")
        return {}
    return {row["id"]: row["trace"] for row in read_traces(file)}


def chat_of(vlm: Vlm) -> Any:
    """A conversation in the model's own chat format, whose last word is the answer given."""

    def write(answer: str) -> str:
        messages = [
            {"role": "user", "content": [{"type": "text", "text": f"Answer {answer}."}]},
            {"role": "assistant", "content": [{"type": "text", "text": f"<answer>{answer}</answer>"}]},
        ]
        return str(vlm.processor.apply_chat_template(messages, tokenize=False))

    return write
