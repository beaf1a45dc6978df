"""`earshot report`: one page about one or more run directories."""

from pathlib import Path

import typer


def report_command(
    runs: list[Path] = typer.Argument(..., metavar="RUN...", help="Run directories, or folders of an evaluation."),
    out: Path | None = typer.Option(
        None, help="The HTML file to write. By default report.html in the run's folder, or in the folder above several."
    ),
) -> None:
    """Write the report of one or more run directories: one HTML file that opens offline."""
    import importlib.util
    import os

    from earshot.errors import InputError

    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"a report needs {' and '.join(missing)}; pip install 'earshot[report]'")
    from earshot.report import write_report

    if out is None:
        # Of one run this is the run itself, of several the folder that holds them all.
        out = Path(os.path.commonpath([run.resolve() for run in runs])) / "report.html"
    if out.is_dir():
        raise InputError(f"{out}: is a folder, expected the name of an HTML file; try --out {out / 'report.html'}")
    typer.echo(write_report(runs, out))
