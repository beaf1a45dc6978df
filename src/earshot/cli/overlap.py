"""`earshot data overlap`: what a training set and a test set share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from earshot.cli.options import Roots

if TYPE_CHECKING:
    from earshot.data.overlap import Fingerprints

DISTANCE = 6


def overlap_command(
    train: Annotated[Path, typer.Argument(metavar="TRAIN", help="The pair set that was trained on.")],
    test: Annotated[Path, typer.Argument(metavar="TEST", help="The pair set that is tested on.")],
    out: Annotated[
        Path | None, typer.Option(help="List the pairs in this .jsonl file, for 'earshot metrics --without'.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="What to compare: image, near, prompt. Repeatable; all where left out.")
    ] = None,
    distance: Annotated[
        int, typer.Option(min=0, max=15, help="Bits of 64 in which the hashes of near pictures may differ.")
    ] = DISTANCE,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode images; one a processor.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
    root: Roots = None,
) -> None:
    """List the test pairs that share an image, a nearly equal picture or a prompt with a training set.

    image: the same bytes (SHA-256). near: perceptual hashes that differ in few bits, as after resizing or another
    compression. prompt: the same words, whatever their case, spaces and punctuation.
    """
    import json

    from earshot.data.overlap import KINDS, MOST_MATCHES, count_overlap, find_overlap
    from earshot.data.rows import find_metadata
    from earshot.errors import InputError

    kinds: Any = tuple(kind or KINDS)
    if unknown := [name for name in kinds if name not in KINDS]:
        raise InputError(f"--kind is {unknown[0]!r}, expected one of {', '.join(KINDS)}")
    for folder in (train, test):  # both before the first is read
        find_metadata(folder)
    if out is not None and out.is_dir():
        raise InputError(f"{out}: is a folder, expected the name of a file; try {out / 'overlap.jsonl'}")
    prints = [_prints(folder, kinds, workers, root or ()) for folder in (train, test)]
    found = find_overlap(*prints, kinds=kinds, distance=distance)
    counts = count_overlap(found, out)
    summary = {
        "n_train_pairs": len(prints[0].ids), "n_train_images": len(prints[0].sha256),
        "n_test_pairs": len(prints[1].ids), "n_test_images": len(prints[1].sha256),
        "distance": distance, "n_overlapping": counts["pairs"],
        "n_by_kind": {name: counts[name] for name in kinds},
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
        return
    for name, prefix in ((train, "n_train"), (test, "n_test")):
        typer.echo(f"{name}: {summary[f'{prefix}_pairs']:,} pairs, {summary[f'{prefix}_images']:,} images")
    by_kind = ", ".join(f"{name} {counts[name]:,}" for name in kinds)
    typer.echo(f"{counts['pairs']:,} test pairs share something with the training set ({by_kind})")
    if out is not None:
        typer.echo(f"{out}: these pairs, with up to {MOST_MATCHES} matches of each kind and image")


def _prints(folder: Path, kinds: Any, workers: int | None, roots: Sequence[Path]) -> "Fingerprints":
    from earshot.cli.progress import progress
    from earshot.data.overlap import fingerprint

    with progress() as bar:
        task = bar.add_task(f"reading {folder.name}", total=None)
        return fingerprint(
            folder,
            kinds=kinds,
            workers=workers,
            roots=roots,
            progress=lambda done, images: bar.update(task, completed=done, total=images),
        )
