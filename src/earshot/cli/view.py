"""`earshot view`: a run's judged pairs and rollouts in a browser on this machine."""

from pathlib import Path

import typer


def view_command(
    runs: list[Path] = typer.Argument(
        ..., metavar="RUN...", help="Run directories, folders of an evaluation, or a folder of runs."
    ),
    port: int = typer.Option(8378, min=0, max=65535, help="Of 127.0.0.1, the only address served; 0 is any free one."),
) -> None:
    """Browse and filter the judged pairs and training rollouts of runs in a browser, until Ctrl-C."""
    import importlib.util
    from contextlib import suppress

    from earshot.errors import InputError

    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"view needs {' and '.join(missing)}; pip install 'earshot-rm[serve]'")
    from earshot.view import Library, serve

    library = Library(runs)
    with suppress(KeyboardInterrupt):  # how a reader closes it
        serve(library, port, lambda address: typer.echo(f"{address}  (Ctrl-C ends it)"))
