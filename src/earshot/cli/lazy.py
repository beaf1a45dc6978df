"""Groups of commands that import only the one that is called, so that `--help` stays fast."""

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup


class Command(NamedTuple):
    """A line of a table of commands."""

    target: str
    """`module:name` of a Typer app or of a function with Typer annotations."""
    summary: str
    hidden: bool = False
    """Whether help leaves it out."""


class Group(TyperGroup):
    """A group that says of a word that is no command of it what may have been meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        names = self.list_commands(ctx)
        # The base class looks for similar names among the commands that were added to it, which a table's are not.
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            close = difflib.get_close_matches(args[0], names, n=1)
            hint = f", did you mean '{close[0]}'?" if close else ""
            if f"--{args[0]}" in {"--help", *(name for one in ctx.command.params for name in one.opts)}:
                hint = f", did you mean '{ctx.command_path} --{args[0]}'?"
            if Path(args[0]).suffix and len(names) < 5:
                hint = f", did you mean '{ctx.command_path} {'|'.join(names)} {args[0]}'?"
            ctx.fail(f"no command '{args[0]}'{hint}; the commands are {', '.join(names)}")
        return super().resolve_command(ctx, args)


def lazy_app(name: str, commands: Mapping[str, Command], **options: Any) -> typer.Typer:
    """A group of commands that are named by a table, and imported when they are called.

    Args:
        name: What the group is called.
        commands: By their names; the table may grow later.
        options: Of `typer.Typer`.
    """

    class Table(Group):
        def list_commands(self, ctx: Any) -> list[str]:
            return [name for name, command in commands.items() if not command.hidden]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return load_command(cmd_name, commands) if cmd_name in commands else None

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            with formatter.section("Commands"):
                formatter.write_dl([(name, commands[name].summary) for name in self.list_commands(ctx)])

    # Rich's help takes three times as long to import as everything else that --help needs.
    options = {"add_completion": False, **options}
    return typer.Typer(cls=Table, name=name, rich_markup_mode=None, no_args_is_help=True, **options)


def load_command(name: str, commands: Mapping[str, Command]) -> Any:
    """Import one command of a table, as the parser's own command object."""
    module_name, _, attribute = commands[name].target.partition(":")
    target = getattr(importlib.import_module(module_name), attribute)
    if isinstance(target, typer.Typer):
        target.rich_markup_mode = None  # help has one look at all levels
        # Not get_command: it turns an app of one command into that command, and `world make` into `world`.
        return typer.main.get_group(target)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name)(target)
    return typer.main.get_command(single)
