"""`earshot report`: one page about one or more run directories, or the tables of a model card."""

from pathlib import Path

import typer


def report_command(
    runs: list[Path] = typer.Argument(
        ..., metavar="RUN...", help="Run directories, folders of an evaluation, or a folder of runs."
    ),
    out: Path | None = typer.Option(
        None, help="The HTML file to write. By default report.html in the run's folder, or in the folder above several."
    ),
    markdown: Path | None = typer.Option(
        None, help="Write the tables for a model card to this file instead, under the hub's metadata; --out for both."
    ),
) -> None:
    """Write the report of one or more run directories: one HTML file that opens offline.

    Every two of up to five runs are compared, and of more each with the first. Runs named NAME-seed0, NAME-seed1 are
    also told together, as seeds of NAME.
    """
    import importlib.util
    import os

    from earshot.errors import InputError

    for file, kind in ((out, "an HTML"), (markdown, "a Markdown")):
        if file is not None and file.is_dir():
            name = "report.html" if kind == "an HTML" else "README.md"
            raise InputError(f"{file}: is a folder, expected the name of {kind} file; try {file / name}")
    if out is None and markdown is None:
        # Of one run this is the run itself, of several the folder that holds them all.
        out = Path(os.path.commonpath([run.resolve() for run in runs])) / "report.html"
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing and out is not None:
        raise InputError(f"a report needs {' and '.join(missing)}; pip install 'earshot-rm[report]'")
    from earshot.report import write_model_card, write_report

    if out is not None:
        typer.echo(write_report(runs, out))
    if markdown is not None:
        typer.echo(write_model_card(runs, markdown))
