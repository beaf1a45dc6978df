"""The shell around the commands: light to start, one line for whatever goes wrong, the right exit code."""

import json
import subprocess
import sys

import pytest
import typer

import earshot
from earshot.cli import main as shell
from earshot.errors import CannotWrite, ConfigError, ListenerUnavailable

FULL = "no room is left on its disk; make some, and give the same command"
HEAVY = ["torch", "numpy", "pydantic", "PIL", "transformers", "yaml", "pyarrow", "trl", "rich"]


@pytest.fixture
def command(monkeypatch):
    """Puts a command of the test's own into the table under the name `probe`."""

    def command(target):
        monkeypatch.setattr(sys.modules[__name__], "probe", target, raising=False)
        monkeypatch.setitem(sys.modules, "probe_module", sys.modules[__name__])
        monkeypatch.setitem(shell.COMMANDS, "probe", shell.Command("probe_module:probe", "A probe."))

    return command


def raising(error):
    def fail() -> None:
        raise error

    return fail


def imported_by(*words):
    """Modules of HEAVY that `earshot words…` imports, in a process of its own."""
    code = (
        "import json, sys\n"
        "from earshot.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        f"print(json.dumps([code, [name for name in {HEAVY} if name in sys.modules]]), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    return run.stdout, *json.loads(run.stderr.splitlines()[-1])


def test_help_lists_every_command_and_imports_nothing_heavy():
    text, code, heavy = imported_by("--help")
    assert (code, heavy) == (0, [])
    for name, listed in shell.COMMANDS.items():
        assert (f"{name} " in text and listed.summary in text) != listed.hidden


def test_the_version_is_the_packages_own(capsys):
    assert shell.main(["--version"]) == 0
    assert capsys.readouterr().out == f"earshot {earshot.__version__}\n"


@pytest.mark.parametrize("name", list(shell.COMMANDS))
def test_every_command_of_the_table_explains_itself_and_imports_nothing_heavy(name):
    _, code, heavy = imported_by(name, "--help")
    assert code == 0
    # Typer itself takes pydantic, and rich for the help of a command.
    assert set(heavy) <= {"pydantic", "rich"}


@pytest.mark.parametrize(
    "words", [["eval"], ["train", "grpo"], ["data", "check"], ["lab", "bench", "step"], ["lab", "attack"]]
)
def test_help_has_one_look_at_all_levels(capsys, words):
    assert shell.main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: earshot ") and "\nOptions:\n" in shown and "─" not in shown


def test_a_call_without_a_command_prints_the_help_and_is_wrong(capsys):
    assert shell.main([]) == 2
    assert "Commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["evla"], "error: earshot: no command 'evla', did you mean 'eval'?; the commands are "),
        (["--nonsense"], "error: earshot: No such option: --nonsense; see 'earshot --help'"),
        (["doctor", "--nonsense"], "error: earshot doctor: No such option: --nonsense; see 'earshot doctor --help'"),
        (
            ["train", "a/b.yaml"],
            "error: earshot train: no command 'a/b.yaml', did you mean 'earshot train sft|grpo a/b.yaml'?",
        ),
        (
            ["train", "grop"],
            "error: earshot train: no command 'grop', did you mean 'grpo'?; the commands are sft, grpo",
        ),
        (["data", "chek"], "error: earshot data: no command 'chek', did you mean 'check'?"),
        (
            ["train", "sft", "a", "--out", "x"],
            "error: earshot train sft: No such option: --out; what is configured is set as KEY=VALUE: out=…",
        ),
        (
            ["train", "sft", "a", "--max-steps", "1"],
            "error: earshot train sft: No such option: --max-steps; what is configured is set as KEY=VALUE: trl.max_st",
        ),
        (
            ["compare", "--model", "m", "--prompt", "p", "a", "b", "c"],
            "error: 3 images given, expected 2; 'earshot rank' orders more",
        ),
        (
            ["compare", "--model", "m", "--device", "gpu", "a"],
            "error: earshot compare: Invalid value for '--device': 'gpu' is not one of 'auto', 'cpu'",
        ),
        (
            ["compare", "--model", "m", "--prompt", "p", "gone.png", "b"],
            "error: FIRST: gone.png: is missing, expected an image file",
        ),
        (["doctor", "extra"], "error: earshot doctor: Got unexpected extra argument"),
    ],
)
def test_a_wrong_call_is_one_line_and_exits_2(capsys, words, line):
    assert shell.main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (ConfigError("a.yaml:3: seed is\n  'x'"), "error: a.yaml:3: seed is 'x'\n", 2),
        (ListenerUnavailable("listener l: timed out"), "error: listener l: timed out\n", 1),
        (
            FileExistsError(17, "File exists", "/runs/a"),
            "error: /runs/a: File exists; check the path, and what may be written there\n",
            2,
        ),
        (
            OSError(28, "No space left on device"),
            f"error: what was to be written: {FULL}\n",
            1,
        ),
        (OSError("odd"), "error: OSError: odd (unexpected; --debug shows where)\n", 1),
        (CannotWrite("sets: full"), "error: sets: full\n", 1),
        (ValueError("odd"), "error: ValueError: odd (unexpected; --debug shows where)\n", 1),
        (
            ModuleNotFoundError("No module named 'trl'", name="trl"),
            "error: 'trl' is not installed; 'earshot doctor' lists what each part of Earshot needs\n",
            1,
        ),
        (OSError(28, "No space left on device", "a/b"), f"error: a/b: {FULL}\n", 1),
        (OSError(122, "Disk quota exceeded"), f"error: what was to be written: {FULL}\n", 1),
        (
            RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
            f"error: what was to be written: {FULL}\n",
            1,
        ),
        (KeyboardInterrupt(), "interrupted\n", 130),
        (typer.Exit(7), "", 7),
    ],
)
def test_whatever_a_command_raises_is_one_line_and_an_exit_code(command, capsys, error, line, code):
    command(raising(error))
    assert shell.main(["probe"]) == code
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", line)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["eval", "--out", "x"], "; the same command goes on"),
        (["judge", "a", "b"], "; the same command goes on"),
        (["lab", "experiment", "run", "x"], "; the same command goes on"),
        (["lab", "experiment", "report", "x"], ""),
        (["train", "grpo", "x"], "; the same command goes on with --resume"),
        (["quickstart"], ""),
    ],
)
def test_an_interrupt_says_how_to_go_on_where_that_can_be_done(monkeypatch, capsys, words, told):
    def make_context(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(typer.main.get_command(shell.app).__class__, "make_context", make_context)
    assert shell.main(words) == 130
    assert capsys.readouterr().err == f"interrupted{told}\n"


@pytest.mark.parametrize("words", [["--debug", "probe"], ["probe", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(command, capsys, words):
    command(raising(ConfigError("a.yaml: odd")))
    assert shell.main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "error: a.yaml: odd"


def test_a_debug_behind_two_dashes_belongs_to_the_command(command):
    taken = []

    def take(words: list[str] = typer.Argument()) -> None:
        taken.extend(words)

    command(take)
    assert shell.main(["probe", "a=b", "--", "--debug"]) == 0
    assert taken == ["a=b", "--debug"]


def test_what_a_command_returns_is_not_the_exit_code(command):
    def count() -> int:
        return 3

    command(count)
    assert shell.main(["probe"]) == 0


def test_a_group_of_one_command_is_still_a_group(command, capsys):
    group = typer.Typer()

    @group.command("make")
    def make(out: str) -> None:
        print(f"made {out}")

    command(group)
    assert shell.main(["probe", "make", "here"]) == 0
    assert capsys.readouterr().out == "made here\n"
    assert shell.main(["probe"]) == 2


@pytest.mark.parametrize("markup", ["rich", None])
def test_a_group_called_without_a_command_can_print_its_help_and_is_wrong(command, capsys, markup):
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=markup)

    @group.command("make")
    def make(out: str) -> None: ...

    command(group)
    assert shell.main(["probe"]) == 2
    printed = capsys.readouterr()
    assert "make" in printed.out + printed.err
    assert "error" not in printed.err


def test_a_reader_that_goes_away_is_no_error():
    code = (
        "import sys\n"
        "from earshot.cli import main as shell\n"
        "def chatter() -> None:\n"
        "    for _ in range(100_000): print('a line')\n"
        "shell.COMMANDS['chatter'] = shell.Command('__main__:chatter', 'x')\n"
        "sys.exit(shell.main(['chatter']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(("line", "found"), [("earshot tra", "train"), ("earshot train grpo --dry", "--dry-run")])
def test_a_shell_is_told_how_a_line_may_go_on(monkeypatch, capsys, line, found):
    monkeypatch.setenv("_EARSHOT_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split()) - 1))
    with pytest.raises(SystemExit):
        shell.main([])
    assert capsys.readouterr().out.split() == [found]
