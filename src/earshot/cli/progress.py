"""The progress bar of every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


def progress(*, transient: bool = False) -> Progress:
    """A bar with a name, a count, and the time that has passed and is left; on standard error.

    Args:
        transient: Whether it goes when the work is done.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=transient,
    )


def quiet_loading() -> None:
    """Turns off transformers' own bars of loading and writing weights; those of downloads stay, on a terminal."""
    from huggingface_hub import constants
    from huggingface_hub.utils.tqdm import enable_progress_bars
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not constants.HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """One bar while the block runs; gives `(done, total) -> None`."""
    with progress() as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def counting() -> Iterator[Callable[[str, int], None]]:
    """On a terminal a line that says what is being done and with how many pairs it has been, gone at the end."""
    bar = progress(transient=True)
    bar.disable = not bar.console.is_terminal
    with bar:
        task = bar.add_task("", total=None)
        yield lambda what, done: bar.update(task, description=what, completed=done)
