"""The one reader of what a run directory holds of judged pairs: which sets were judged, and their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from earshot.config import parse_yaml
from earshot.data.rows import read_info
from earshot.errors import ConfigError, DataError
from earshot.predictions.people import People
from earshot.predictions.table import PredictionTable
from earshot.rundir import RunDir, read_json_object, read_jsonl

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """A test set that was judged in a run.

    Attributes:
        run: The run's name.
        folder: Where the evaluation lies: the run's own folder, or one in its `eval/`.
        settings: evaluation.json: what it was made with.
        metrics: metrics.json; empty until it is there.
    """

    run: str
    folder: Path
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @property
    def set_name(self) -> str:
        """Its place below `eval/`, else the folder of the pair set that was judged."""
        if self.folder.resolve().parent.name == "eval":
            return self.folder.resolve().name
        data = self.settings.get("data")
        return (Path(data).name if isinstance(data, str) else "") or "evaluation"

    @property
    def data_folder(self) -> Path | None:
        """The pair set that was judged; None where the settings do not say."""
        data = self.settings.get("data")
        try:
            return None if not isinstance(data, str) else (self.folder / data).resolve()
        except (OSError, ValueError):  # text that is no path
            return None

    @property
    def listeners(self) -> tuple[str, ...]:
        """Who was asked, as far as the settings say; the rows may name more."""
        asked = self.settings.get("listeners")
        return tuple(str(name) for name in asked) if isinstance(asked, list) else ()

    @cached_property
    def info(self) -> Mapping[str, Any]:
        """What dataset.json says of the pair set; empty where it is not at hand."""
        try:
            return {} if self.data_folder is None else read_info(self.data_folder)
        except DataError:
            return {}

    def files(self) -> list[Path]:
        """Where the predictions lie: predictions.jsonl, and the parts of it while some are missing."""
        run = RunDir(self.folder)
        return [run.predictions] if run.predictions.is_file() else sorted(run.parts.glob("part-*.jsonl"))

    def people(self) -> People:
        return People(RunDir(self.folder).people)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The predictions, each with what people say of its pair, read in a stream; without the bad rows.

        Raises:
            DataError: A file is damaged, or the set has changed since the pairs were judged.
        """
        people = self.people()
        yield from (people.joined(row) for file in self.files() for row in read_jsonl(file) if "error" not in row)

    def table(self, watch: Callable[[Iterable[Row]], Iterable[Row]] = lambda rows: rows) -> PredictionTable:
        """The predictions as flat arrays.

        Args:
            watch: Sees the rows go by.

        Raises:
            DataError: As `rows`, or a row is not what `earshot eval` writes.
        """
        return PredictionTable.from_rows(watch(self.rows()), where=str(RunDir(self.folder).predictions))


def evaluations_of(path: Path, run: str, *, strict: bool = True) -> list[Evaluation]:
    """What was judged in a run directory, its own set and those in `eval/`.

    Args:
        path: The run directory.
        run: What the run is called.
        strict: Whether a damaged settings or metrics file is an error; else it counts as empty.

    Raises:
        DataError: One is damaged.
    """
    read = read_object if strict else _whatever
    found = (
        Evaluation(run, judged.path, read(judged.settings), read(judged.metrics))
        for judged in RunDir(path).evaluations()
    )
    return [one for one in found if one.metrics or one.files()]


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file.

    Raises:
        DataError: It holds something else.
    """
    return read_json_object(path, what="what a run writes there") if path.exists() else {}


def _whatever(path: Path) -> dict[str, Any]:
    try:
        return read_object(path)
    except DataError:
        return {}


def config_of(path: Path) -> Mapping[str, Any]:
    """The configuration of a run, read as it was written; empty where there is none, or it is no YAML.

    What cannot be read costs what only it would say: pictures and weights.
    """
    try:
        found = parse_yaml(RunDir(path).config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ConfigError):
        return {}
    return found if isinstance(found, Mapping) else {}
