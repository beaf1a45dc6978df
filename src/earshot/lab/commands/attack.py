"""`earshot lab attack`: put the attack set to a listener."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from earshot.cli.reward_model import Device, Dtype
from earshot.types import RedactionLevel

if TYPE_CHECKING:
    from earshot.lab.attack.measure import Measured
    from earshot.types import Side
    from earshot.vlm import Vlm


def attack_command(
    listener: Annotated[
        list[str], typer.Option(help="A listener: [NAME=]MODEL[,KEY=VALUE…], as for 'earshot eval'. Repeatable.")
    ],
    data: Annotated[
        Path, typer.Option(help="The pair set; its traces.jsonl and truth.jsonl are used where it has them.")
    ],
    out: Annotated[Path, typer.Option(help="Where attack.json and attack.md go.")],
    redaction: Annotated[
        list[str],
        typer.Option(help="What a trace loses before it is read: none, answer, verdict or evidence. Repeatable."),
    ] = [],  # noqa: B006 - typer copies it
    needs_claims: Annotated[
        bool, typer.Option(help="Hear a trace that claims nothing as no trace, as training does by default.")
    ] = True,
    group: Annotated[
        list[str], typer.Option(help="Only groups of attacks that begin so, such as 'endings held out'. Repeatable.")
    ] = [],  # noqa: B006 - typer copies it
    claims: Annotated[str | None, typer.Option(help="A model that checks claims: a folder or hub id.")] = None,
    pairs: Annotated[int, typer.Option(min=2, help="Attack only the first so many pairs.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Pairs asked about at a time.")] = 4,
    device: Device = "auto",
    dtype: Dtype = "auto",
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print attack.json instead of the tables.")] = False,
) -> None:
    """Try to talk a listener into a side: how far each attack moves it, and what it would earn."""
    import json
    from dataclasses import replace
    from itertools import islice

    from earshot.cli.evaluate import model_records, relative
    from earshot.cli.progress import progress_bar, quiet_loading
    from earshot.data.pairset import read_pairs
    from earshot.errors import InputError
    from earshot.listener.spec import parse_listener, parse_listeners

    levels = tuple(dict.fromkeys(redaction)) or get_args(RedactionLevel)
    if unknown := set(levels) - {*get_args(RedactionLevel)}:
        raise InputError(f"--redaction is {min(unknown)!r}, expected {' or '.join(get_args(RedactionLevel))}")
    from earshot.lab.attack.traces import ATTACKS, materials

    attacks = [one for one in ATTACKS if not group or one.group.startswith(tuple(group))]
    if not attacks:
        known = ", ".join(dict.fromkeys(one.group for one in ATTACKS))
        raise InputError(f"--group is {' and '.join(map(repr, group))}, expected how one of these begins: {known}")
    specs = {
        name: replace(spec, needs_claims=needs_claims).filled(batch_size=batch, device=device, dtype=dtype)
        for name, spec in parse_listeners(listener).items()
    }
    chosen = list(islice(read_pairs(data), pairs))
    from earshot.files import check_folder, write_json, write_text
    from earshot.lab.attack.measure import measure_attacks
    from earshot.lab.attack.table import as_markdown
    from earshot.listener.build import Loaded, build_checker, build_listener, models_of
    from earshot.rundir import describe_environment
    from earshot.world.truth import read_truth

    check_folder(out, "a folder for what is measured")
    quiet_loading()
    loaded: Loaded = {}
    who = dict(specs)
    checker = None
    if claims is not None:
        # Images go to a checker one by one, and many at a time.
        who["claims"] = parse_listener(claims).filled(batch_size=64, device=device, dtype=dtype)
        checker = build_checker(who["claims"], loaded)
    found: dict[str, list[Measured]] = {}
    for name, spec in specs.items():
        reader = build_listener(replace(spec, name=name), loaded)
        models = list(models_of(spec, loaded).values())
        chat = chat_of(models[0]) if len(models) == 1 else None
        made = materials(chosen, traces=honest_traces(data), truths=read_truth(data), chat=chat)
        with progress_bar(f"attacking {name}") as tell:
            found[name] = measure_attacks(
                reader, made, redactions=levels, attacks=attacks, claims=checker,  # type: ignore[arg-type]
                resamples=resamples, seed=seed, batch=batch, progress=tell,
            )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    hashes = {
        name: "+".join(vlm.fingerprint() for vlm in models_of(spec, loaded).values()) or None
        for name, spec in who.items()
    }
    record = {
        "models": model_records(out, {name: "+".join(spec.sources) for name, spec in who.items()}, hashes),
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
    typer.echo(as_markdown(found, texts=False))
    typer.echo(f"{out}: attack.json, attack.md")


def honest_traces(data: Path) -> dict[str, str]:
    """The pair set's own traces by pair id, where it has some.

    Raises:
        DataError: A row has no text for `id` or `trace`.
    """
    from earshot.data.rows import TRACES_FILE, read_traces

    file = data / TRACES_FILE
    return {row["id"]: row["trace"] for row in read_traces(file)} if file.exists() else {}


def chat_of(vlm: Vlm) -> Any:
    """A conversation in the model's own chat format, that ends with the answer for a side."""

    def write(side: Side) -> str:
        answer = vlm.prompts.answer.of(side)
        messages = [
            {"role": "user", "content": [{"type": "text", "text": f"Answer {answer}."}]},
            {
                "role": "assistant",
                "content": [{"type": "text", "text": f"{vlm.prompts.answer.open}{answer}{vlm.prompts.answer.close}"}],
            },
        ]
        return str(vlm.processor.apply_chat_template(messages, tokenize=False))

    return write
