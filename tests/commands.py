"""The command that some words call, and the options it has."""

from collections.abc import Sequence

import typer

from earshot.cli.main import app


def options_of(words: Sequence[str]) -> set[str]:
    """The options of the command that these words after `earshot` begin with.

    Raises:
        AssertionError: There is no such command.
    """
    command = typer.main.get_command(app)
    words = list(words)
    while hasattr(command, "get_command"):
        found = command.get_command(None, words[0])
        assert found is not None, f"no command {words[0]}"
        command, words = found, words[1:]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
