"""`earshot lab screen`: what a reward would select among the rollouts that a training has kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earshot.cli.reward_model import AsJson

if TYPE_CHECKING:
    import numpy as np

    from earshot.lab.screen import Selected
    from earshot.listener.spec import ListenerSpec


def screen_command(
    run: Annotated[Path, typer.Argument(help="The folder of a GRPO run; its rollouts and its training set are read.")],
    reward: Annotated[
        list[str] | None,
        typer.Option(
            "--reward",
            help="A weighted sum of parts, such as accuracy=0.5,listener=0.5: recorded ones, NAME, the label's "
            "probability as --listener NAME reads the trace, NAME.speaker, how likely it finds the words, and "
            "NAME.read_agreement, whether verdict and reader both name the label. "
            "Repeatable; every part alone by default.",
        ),
    ] = None,
    listener: Annotated[
        list[str] | None,
        typer.Option("--listener", help="Who reads the traces anew: [NAME=]MODEL[,KEY=VALUE…]. Repeatable."),
    ] = None,
    steps: Annotated[str, typer.Option("--steps", help="Only these, such as 0-5 or 40-; all by default.")] = "",
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap and of the random rewards.")] = 0,
    resamples: Annotated[int, typer.Option(min=1, help="Of the prompts, for the intervals.")] = 10_000,
    as_json: AsJson = False,
) -> None:
    """Prints what is right and what is true in the best completion of each group, by each reward, beside its mean."""
    import json
    from dataclasses import asdict

    from earshot.cli.evaluate import claim_counter
    from earshot.errors import InputError
    from earshot.lab.screen import gather, screen, weighted
    from earshot.listener.spec import parse_listeners
    from earshot.predictions.rollout import read_rollouts
    from earshot.predictions.run import read_runs

    specs = parse_listeners(listener or [])
    wanted = {text: _weights(text) for text in reward or ()}
    (one,) = read_runs([run], who="lab screen")
    first, last = _span(steps)
    rows = [row for row in read_rollouts(one.rollout_files) if first <= row["step"] <= last]
    if not rows:
        raise InputError(f"{run}: holds no rollouts of such steps, expected a run of 'earshot train grpo'")
    if any("claim_credit" in weights for weights in wanted.values()) and _beyond_grey(one.settings):
        raise InputError(
            "--reward: claim_credit cannot be told of this run, which pays what is believed beyond a grey image "
            "(claims.prior_corrected): rollouts do not keep what that was; screen 'claims', which is recorded"
        )
    data = one.training_set
    count = None if data is None else claim_counter(data)
    readers, speakers = _listen(rows, specs, data) if specs else ({}, {})
    rollouts = gather(
        rows,
        count=None if count is None else lambda pair, trace: count(pair, trace, "forward"),
        more=readers | {f"{name}.speaker": values for name, values in speakers.items()},
        readers=readers,
    )
    rewards = {text: weighted(rollouts, weights) for text, weights in wanted.items()}
    found = screen(rollouts, rewards or _alone(rollouts.parts), resamples=resamples, seed=seed)
    about = {"rollouts": len(rollouts.groups), "groups": len(rollouts.clusters), "left_out": rollouts.left_out}
    if as_json:
        typer.echo(json.dumps(about | {"selected": {name: asdict(one) for name, one in found.items()}}, indent=2))
        return
    _tell(found, about)


def _beyond_grey(settings: Mapping[str, Any]) -> bool:
    claims = settings.get("claims")
    return isinstance(claims, Mapping) and bool(claims.get("prior_corrected"))


def _weights(text: str) -> dict[str, float]:
    from earshot.errors import InputError

    weights = {}
    for part in text.split(","):
        name, equals, weight = part.strip().partition("=")
        try:
            weights[name] = float(weight) if equals else 1.0
        except ValueError as error:
            raise InputError(
                f"--reward is {text!r}, expected NAME=WEIGHT,…, such as accuracy=0.5,listener=0.5"
            ) from error
    return weights


def _span(text: str) -> tuple[int, float]:
    from earshot.errors import InputError

    if not text:
        return 0, float("inf")
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (last and not last.isdecimal()):
        raise InputError(f"--steps is {text!r}, expected a range such as 0-5 or 40-")
    return int(first), (int(last) if last else float("inf")) if dash else int(first)


def _alone(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import numpy as np

    return {name: values for name, values in parts.items() if np.isfinite(values).all() and np.ptp(values) > 0}


def _listen(
    rows: list[dict[str, Any]], specs: dict[str, ListenerSpec], data: Path | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The label's probability as each listener reads the traces, and how likely it finds their words."""
    import numpy as np

    from earshot.cli.progress import progress_bar
    from earshot.data.pairset import read_pairs
    from earshot.errors import InputError
    from earshot.listener import ask, speaks
    from earshot.listener.build import Loaded, build_listener
    from earshot.protocol import redact_trace

    if data is None or not data.is_dir():
        raise InputError("the run's training set is not where its configuration names it; without it nobody can listen")
    loaded: Loaded = {}
    listeners = {name: build_listener(spec, loaded) for name, spec in specs.items()}
    needed = {row["pair_id"] for row in rows}
    pairs = {pair.id: pair for pair in read_pairs(data) if pair.id in needed}
    formed = [k for k, row in enumerate(rows) if row["malformed"] is None and row["pair_id"] in pairs]
    told = {name: np.full(len(rows), np.nan) for name in listeners}
    said = {name: np.full(len(rows), np.nan) for name in listeners}
    with progress_bar("listening") as tell:
        for start in range(0, len(formed), 128):
            part = formed[start : start + 128]
            asked = [pairs[rows[k]["pair_id"]] for k in part]
            traces = [redact_trace(rows[k]["trace"], "verdict") for k in part]
            first = np.array([rows[k]["votes_first"] > rows[k]["votes_second"] for k in part])
            for name, who in listeners.items():
                if speaks(who):
                    p, said[name][part] = who.read(asked, traces)
                else:
                    p = ask(who, asked, traces)
                told[name][part] = np.where(first, p, 1 - p)
            tell(start + len(part), len(formed))
    return told, {name: values for name, values in said.items() if np.isfinite(values[formed]).all()}


def _tell(found: dict[str, Selected], about: dict[str, int]) -> None:
    """A block for each outcome: the mean of the best, and how far it is from the mean of its group."""
    outcomes = next(iter(found.values())).outcomes
    wide = max(map(len, found))
    for outcome in outcomes:
        percent = outcome.startswith("right")
        typer.echo(
            f"{outcome}{', %' if percent else ' a trace'}: of the best of each group; change from the group's mean"
        )
        for name, one in found.items():
            if outcome in one.outcomes:
                best = " ".join(one.outcomes[outcome].numbers(percent=percent)[:1])
                change, *ends = one.changes[outcome].numbers(percent=percent, signed=True)
                between = f" [{', '.join(ends)}]" if ends else ""
                typer.echo(f"  {name:{wide}}  {best:>7}  {change}{between}")
    typer.echo(
        f"{about['rollouts']:,} completions in {about['groups']:,} groups; {about['left_out']:,} malformed ones, or of "
        "pairs without a label, left out; 95 % intervals, prompts resampled"
    )
