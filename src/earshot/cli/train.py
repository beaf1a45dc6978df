"""`earshot train`: supervised fine-tuning and GRPO, from a configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earshot.cli.lazy import Group

if TYPE_CHECKING:
    from collections.abc import Callable

app = typer.Typer(
    cls=Group, no_args_is_help=True, help="Train a reasoner: SFT on reference traces, or GRPO against a listener."
)

ConfigFile = Annotated[
    Path, typer.Argument(help="A YAML configuration, or the name of one of ours, such as qwen2.5-vl-7b-lora.")
]
Overrides = Annotated[list[str] | None, typer.Argument(help="key=value or key.sub=value; they win over the file.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last complete checkpoint of the run in 'out'.")]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="One step on small models of the same families and your first pairs; keeps nothing."
    ),
]


@app.command("sft")
def sft(config: ConfigFile, overrides: Overrides = None, resume: Resume = False, dry_run: DryRun = False) -> None:
    """Fine-tunes a model to write the reference traces, or the majority's verdict, of a pair set."""
    from earshot.config import SftConfig, load_config

    loaded = load_config(SftConfig, config, overrides or [])
    _need_trainers()
    from earshot.train.sft import train_sft

    _run(loaded, train_sft, resume=resume, rehearse=dry_run)


@app.command("grpo")
def grpo(config: ConfigFile, overrides: Overrides = None, resume: Resume = False, dry_run: DryRun = False) -> None:
    """Trains a reasoner with GRPO, paid for format, accuracy and, if there is one, the listener's confidence."""
    from earshot.config import GrpoConfig, load_config

    loaded = load_config(GrpoConfig, config, overrides or [])
    _need_trainers()
    from earshot.train.grpo import train_grpo

    _run(loaded, train_grpo, resume=resume, rehearse=dry_run)


def _need_trainers() -> None:
    """Says what to install before anything slow begins."""
    from importlib.util import find_spec

    from earshot.errors import InputError

    if missing := [name for name in ("torch", "transformers", "trl", "datasets", "peft") if find_spec(name) is None]:
        raise InputError(f"training needs {', '.join(missing)}; pip install 'earshot-rm[train]'")


def _run(config: Any, train: Callable[..., Path], *, resume: bool, rehearse: bool) -> None:
    from earshot.cli.progress import quiet_loading

    quiet_loading()
    if rehearse:
        from earshot.train.dry_run import dry_run, told_of

        for line in told_of(dry_run(config, train)):
            typer.echo(line)
        return
    out = train(config, resume=resume, aloud=True)
    if os.environ.get("RANK", "0") == "0":  # of several processes, one tells
        typer.echo(f"{out}: the trained model is in {out / 'model'}; 'earshot report {out}' shows the run")
