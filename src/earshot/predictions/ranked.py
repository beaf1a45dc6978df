"""A row of a file of rankings, as `earshot judge --rank` writes it: a prompt, all of its pictures, and their games."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from earshot.data.row_files import open_parquet, parquet_rows
from earshot.errors import DataError, InputError

SETTINGS_KEY: Final = b"earshot.rank"
"""Of the file's metadata: what it was made with, as JSON."""
_COLUMNS = ("row", "id", "prompt", "images", "ranking", "comparisons", "error")
_MEND = "'earshot judge IN OUT --rank images' makes it anew"


class Game(NamedTuple):
    """Two pictures of a prompt that were compared, by their places in the row."""

    first: int
    second: int
    p_first: float | None
    orders_agree: bool | None
    p_author: float | None
    p_read: Mapping[str, float | None]
    samples: Sequence[Mapping[str, Any]]
    """As `JudgedSample.as_dict` gives them."""


class RankedRow(NamedTuple):
    """What a file of rankings says of one prompt.

    Attributes:
        row: Its place in the file that was ranked, from 0.
        id: Its own id there, or its place.
        prompt: What the pictures were made from.
        images: The files of the pictures.
        digests: Of their pixels: the same picture has the same one.
        ranks: 1 is the best; None where no comparison of the picture came out.
        strengths: Bradley–Terry log-odds against the average picture of the row.
        games: What was compared.
    """

    row: int
    id: str
    prompt: str
    images: tuple[bytes, ...]
    digests: tuple[str, ...]
    ranks: tuple[int | None, ...]
    strengths: tuple[float | None, ...]
    games: tuple[Game, ...]


class RankedFile:
    """The rankings of one file, or of a folder's files, which are shards of one job.

    Attributes:
        settings: What the numbers were made with.
        bad: How many rows were errors, of those that were read.

    Args:
        path: The parquet file, or the folder.

    Raises:
        InputError: There is no such file, or the files of a folder were made with different models.
        DataError: A file is damaged, or holds no rankings.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bad = 0
        self._files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        if not self._files or not all(file.is_file() for file in self._files):
            raise InputError(f"{path}: is no file of rankings and no folder of some; {_MEND}")
        told = [_settings(file) for file in self._files]
        self.settings = told[0]
        for file, one in zip(self._files, told, strict=True):
            if any(one.get(name) != told[0].get(name) for name in ("source", "model", "seed")):
                raise InputError(f"{file}: is of another job than {self._files[0].name}, expected shards of one")

    def __iter__(self) -> Iterator[RankedRow]:
        """The rankings; bad rows are counted and passed over.

        Raises:
            DataError: A file is damaged.
        """
        for path in self._files:
            with open_parquet(path, _MEND) as file:
                for row in parquet_rows(file, _COLUMNS, name=path):
                    if row["error"] is not None:
                        self.bad += 1
                        continue
                    try:
                        ranked = _row(row)
                    except (KeyError, TypeError) as error:
                        raise DataError(f"{path}: row {row['row']} is no ranking ({error!r}); {_MEND}") from error
                    yield ranked


def _settings(path: Path) -> dict[str, Any]:
    with open_parquet(path, _MEND) as file:
        names, metadata = file.schema_arrow.names, file.schema_arrow.metadata or {}
    if missing := [name for name in _COLUMNS if name not in names]:
        raise DataError(
            f"{path}: has columns {', '.join(names)}, expected those of a ranking and {', '.join(missing)} among them; "
            f"{_MEND}"
        )
    try:
        found = json.loads(metadata[SETTINGS_KEY])
    except (KeyError, ValueError) as error:
        raise DataError(f"{path}: does not say what it was ranked with; {_MEND}") from error
    if not isinstance(found, dict):
        raise DataError(f"{path}: does not say what it was ranked with; {_MEND}")
    return found


def _row(row: Mapping[str, Any]) -> RankedRow:
    ranking = row["ranking"]
    return RankedRow(
        row=row["row"],
        id=row["id"],
        prompt=row["prompt"],
        images=tuple(image["bytes"] for image in row["images"]),
        digests=tuple(image["digest"] for image in ranking),
        ranks=tuple(image["rank"] for image in ranking),
        strengths=tuple(image["strength"]["value"] for image in ranking),
        games=tuple(
            Game(
                **{name: game[name] for name in ("first", "second", "p_first", "orders_agree", "p_author", "samples")},
                p_read=game.get("p_read") or {},
            )
            for game in row["comparisons"]
        ),
    )
