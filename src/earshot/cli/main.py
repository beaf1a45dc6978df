"""`earshot`: the commands, and how anything that goes wrong becomes one line and an exit code.

Exit codes: 0 done, 1 the work failed, 2 the call or its input is wrong, 130 interrupted, 141 the reader went away.
"""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer
from typer.exceptions import TyperException

from earshot import __version__
from earshot.cli.lazy import Command, lazy_app
from earshot.errors import EarshotError, disk_is_full, one_line

FAILED, WRONG_CALL, INTERRUPTED, READER_GONE = 1, 2, 130, 141

# What the system says of a place where something cannot be, as in a folder that is a file.
_OF_THE_PATH = {
    errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS,
    errno.ENAMETOOLONG, errno.ELOOP,
}  # fmt: skip


COMMANDS = {
    "quickstart": Command(
        "earshot.lab.commands.quickstart:quickstart_command", "The main job on the synthetic world, offline."
    ),
    "world": Command("earshot.cli.world:app", "Make synthetic pair sets with ground truth."),
    "data": Command("earshot.cli.data:app", "Import published pair sets, check them, find what two share."),
    "train": Command("earshot.cli.train:app", "Train a reasoner with SFT or GRPO."),
    "eval": Command("earshot.cli.evaluate:evaluate_command", "Judge a pair set in both image orders and measure it."),
    "metrics": Command("earshot.cli.metrics:metrics_command", "Anybody's scores under the published protocols."),
    "compare": Command("earshot.cli.compare:compare_command", "Which of two images people prefer, and why."),
    "rank": Command("earshot.cli.rank:rank_command", "Several images of one prompt, best first."),
    "score": Command(
        "earshot.cli.score:score_command", "One number for a picture, against a set of reference pictures."
    ),
    "scale": Command("earshot.cli.score:scale_command", "What a point of 'score' is worth to people."),
    "judge": Command("earshot.cli.judge:judge_command", "Every row of a file of any size, resumable, in shards."),
    "prefer": Command("earshot.cli.prefer:prefer_command", "Preference data for trainers, from ranked pictures."),
    "serve": Command("earshot.cli.serve:serve_command", "Compare, rank and score over HTTP, and a page to try it."),
    "report": Command("earshot.cli.report:report_command", "Write the report of one or more run directories."),
    "view": Command("earshot.cli.view:view_command", "Browse a run's judged pairs and rollouts in a browser."),
    "lab": Command("earshot.lab.commands:app", "What evidence is made with: bench, experiment, attack, readers."),
    "doctor": Command("earshot.cli.doctor:doctor_command", "What is installed, and what this machine can do."),
    # Names from before there was a laboratory, which recorded pages and plans call.
    "bench": Command("earshot.lab.commands.bench:app", "See lab.", hidden=True),
    "experiment": Command("earshot.lab.commands.experiment:app", "See lab.", hidden=True),
    "attack": Command("earshot.lab.commands.attack:attack_command", "See lab.", hidden=True),
}

app = lazy_app("earshot", COMMANDS, add_completion=True, context_settings={"help_option_names": ["-h", "--help"]})


def _print_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"earshot {__version__}")
        raise typer.Exit()
    return wanted


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version.", callback=_print_version, is_eager=True),
    # main() takes --debug out before the parser sees it; it stands here for the help.
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error. Works after any command too."),
) -> None:
    """Train, evaluate and use reward models that reason about which of two images people prefer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `earshot`; None takes them from the process.

    Returns:
        The exit code of the process.
    """
    words, debug = _take_debug(list(sys.argv[1:] if argv is None else argv))
    words = _at_home(words)
    command = typer.main.get_command(app)
    if "_EARSHOT_COMPLETE" in os.environ:  # the shell asks how a line may go on
        command.main(words, prog_name="earshot")
    try:
        # Not command.main(): it has its own ideas of what a broken pipe and an interrupt are worth.
        with command.make_context("earshot", words) as context:
            command.invoke(context)
        sys.stdout.flush()
        return 0
    except typer.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        # Python flushes stdout once more on its way out; give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except (KeyboardInterrupt, typer.Abort):
        print(f"interrupted{_how_to_go_on(words)}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        if explanation := _explain(error, debug=debug):
            print(explanation, file=sys.stderr)
        return _exit_code(error)


def _take_debug(words: list[str]) -> tuple[list[str], bool]:
    """Split off `--debug`, which may stand anywhere before a `--`."""
    end = words.index("--") if "--" in words else len(words)
    kept = [word for word in words[:end] if word != "--debug"]
    return kept + words[end:], len(kept) < end


def _at_home(words: list[str]) -> list[str]:
    """The words with `~/` as the user's own folder, where no shell has read it."""
    from earshot.paths import at_home

    free = {place + 1 for place, word in enumerate(words) if word == "--prompt"}  # text, and no path
    return [word if k in free else at_home(word) for k, word in enumerate(words)]


# What an interrupted command leaves is taken up by...
_GO_ON = {
    ("eval",): "the same command goes on",
    ("judge",): "the same command goes on",
    ("lab", "experiment", "run"): "the same command goes on",
    ("train",): "the same command goes on with --resume",
}


def _how_to_go_on(words: list[str]) -> str:
    return next((f"; {told}" for command, told in _GO_ON.items() if tuple(words[: len(command)]) == command), "")


def _exit_code(error: Exception) -> int:
    if isinstance(error, OSError) and error.filename is not None and error.errno in _OF_THE_PATH:
        return WRONG_CALL
    return error.exit_code if isinstance(error, EarshotError | TyperException) else FAILED


def _explain(error: Exception, *, debug: bool) -> str:
    """The one line that says what went wrong; the help of a group that was called without a command."""
    if isinstance(error, EarshotError):
        return "error: " + one_line(str(error))
    if isinstance(error, TyperException):
        return _explain_wrong_call(error)
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("earshot"):
        return f"error: '{error.name}' is not installed; 'earshot doctor' lists what each part of Earshot needs"
    if disk_is_full(error):
        place = getattr(error, "filename", None) or "what was to be written"
        return f"error: {place}: no room is left on its disk; make some, and give the same command"
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"error: {error.filename!s}: {one_line(error.strerror)}; check the path, and what may be written there"
    hint = "" if debug else " (unexpected; --debug shows where)"
    return f"error: {one_line(f'{type(error).__name__}: {error}')}{hint}"


def _explain_wrong_call(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    message = error.format_message()
    if context is None:
        return f"error: {one_line(message).rstrip('.')}; see 'earshot COMMAND --help'"
    # A group that was called without a command carries its help, or has printed it already.
    if not message or message.startswith("Usage:"):
        return message
    path = context.command_path
    message = one_line(message).rstrip(".").replace("Value error, ", "")  # of pydantic's, which looks at choices
    return f"error: {path}: {message}{_as_setting(error, context)}; see '{path} --help'"


def _as_setting(error: TyperException, context: Any) -> str:
    """For an option that is none: how it is set where a command takes a configuration's keys."""
    option = getattr(error, "option_name", None)
    if option is None or "overrides" not in {parameter.name for parameter in context.command.params}:
        return ""
    from earshot.config import GrpoConfig, SftConfig
    from earshot.config.loading import key_of

    keys = key_of(SftConfig if context.info_name == "sft" else GrpoConfig, option.lstrip("-").replace("-", "_"))
    return f"; what is configured is set as KEY=VALUE{': ' if keys else ''}{' or '.join(f'{key}=…' for key in keys)}"


if __name__ == "__main__":
    sys.exit(main())
