"""Judging rows of any number: in a stream, in shards, and to the same result however often it is killed.

The rows are cut into parts at fixed places. An engine judges parts, in any order and wherever it likes; a part is
written whole into a folder, and when all are there they are put together. What was killed goes on with the parts that
are missing, on the same engine or another, with the same batches, so that the outcome holds the same bytes as after a
run that was left alone. `judge_file` puts them together to a parquet file, `evaluate` to a run's predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from PIL.Image import Image

from earshot.errors import DataError, InputError
from earshot.files import read_json_object, read_jsonl, write_json, write_jsonl
from earshot.judging.pictures import take_picture
from earshot.judging.question import Question
from earshot.judging.ranking import rank_images
from earshot.judging.rows import BadRow, Row, RowFile
from earshot.locks import locked
from earshot.measured import compared
from earshot.predictions.judgement import Judgement
from earshot.predictions.people import by_side, content_of, sha256_of

Json = dict[str, Any]


@runtime_checkable
class Answers(Protocol):
    """Who is asked; `model.RewardModel` is one."""

    def question(self, *, prompt: str, first: Any, second: Any, original: Any = None, seed: int = 0) -> Question:
        """Checks and decodes; raises an InputError for a bad row."""
        ...

    def try_answer(self, questions: Sequence[Question]) -> list[Judgement | InputError]:
        """Judges questions together; an error in the place of one that cannot be asked."""
        ...


@dataclass(frozen=True)
class Job:
    """What is to be judged, and how; it can be sent to another process, or another machine."""

    rows: RowFile
    fingerprint: str
    """Of the rows' file, to see elsewhere that it is the same one."""
    seed: int
    batch: int
    tolerate: int
    with_content: bool = False
    """Whether a judgement keeps the hash of its row's prompt and image files, and what is measured of the pictures."""


class Bounds(NamedTuple):
    """The rows of a part."""

    start: int
    stop: int


class Part(NamedTuple):
    """A part that was judged."""

    bounds: Bounds
    rows: list[Json]
    """`Judgement.as_dict()`, or of groups `ImageRanking.as_row()` and `sha256`, with the number of the `row` and its
    own `id`; of a bad one also `error`, `sha256`."""


@runtime_checkable
class Engine(Protocol):
    """Who judges the parts of a job: `Local` in this process, `on_ray.RayEngine` in many."""

    def parts(self, job: Job, missing: Sequence[Bounds]) -> Iterator[Part]:
        """Yields the missing parts, each once, in any order."""
        ...


@dataclass(frozen=True)
class Local:
    """Judges the parts in this process, one after another."""

    model: Answers

    def parts(self, job: Job, missing: Sequence[Bounds]) -> Iterator[Part]:
        for run in _runs(missing):
            rows = job.rows.read(run[0].start, run[-1].stop)
            for bounds in run:
                yield judge_part(job, self.model, rows, bounds)


def _runs(missing: Sequence[Bounds]) -> list[list[Bounds]]:
    """Parts that follow one another stand together: the rows of a run are read in one stream."""
    runs: list[list[Bounds]] = []
    for bounds in missing:
        if runs and runs[-1][-1].stop == bounds.start:
            runs[-1].append(bounds)
        else:
            runs.append([bounds])
    return runs


def cut(start: int, stop: int, part_rows: int) -> list[Bounds]:
    """The parts of these rows."""
    return [Bounds(at, min(stop, at + part_rows)) for at in range(start, stop, part_rows)]


def share(n: int, index: int, of: int) -> tuple[int, int]:
    """The `index`-th of `of` shares of `n` things, from 1, as `(start, stop)`; together they are all, each once.

    Raises:
        InputError: There is no such share.
    """
    if not 1 <= index <= of:
        raise InputError(f"shard is {index}/{of}, expected i/n with 1 ≤ i ≤ n")
    return n * (index - 1) // of, n * index // of


@dataclass(frozen=True)
class Parts:
    """The folder of a job's parts.

    Attributes:
        folder: It is made when it is missing.
        bounds: All the parts of the job, those of other shards too.
    """

    folder: Path
    bounds: Sequence[Bounds]

    def claim(self, record: Mapping[str, Any]) -> None:
        """Keep what the parts are made with, or find that it is what those in the folder were made with.

        Raises:
            InputError: They were made with something else.
        """
        path = self.folder / "settings.json"
        if not path.exists():
            write_json(path, record)
        same_settings(self.folder, read_json_object(path, what="settings"), record)

    @contextmanager
    def held(self, shard: tuple[int, int] = (1, 1)) -> Iterator[None]:
        """Holds a lock on a shard, or on all parts, which the system lets go of when the process dies.

        Raises:
            InputError: Another process is at work on them.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        taken = f"{self.folder}: another process is judging into it"
        own = self.folder / f"lock-{shard[0]}-of-{shard[1]}"
        with locked(self.folder / "lock", taken=taken, shared=shard[1] > 1), locked(own, taken=taken):
            yield

    @contextmanager
    def merging(self) -> Iterator[None]:
        """Waits until no other process puts the parts together."""
        self.folder.mkdir(parents=True, exist_ok=True)  # another may have put them together, and away
        with locked(self.folder / "merging", taken="", wait=True):
            yield

    def missing(self, bounds: Sequence[Bounds]) -> list[Bounds]:
        """Those of these parts that are not there."""
        names = {path.name for path in self.folder.iterdir()} if self.folder.exists() else set()
        return [one for one in bounds if self.file(one).name not in names]

    def file(self, bounds: Bounds) -> Path:
        return self.folder / f"part-{bounds.start:012d}.jsonl"

    def read(self, bounds: Bounds) -> Iterator[Json]:
        """The rows of a part that is there."""
        yield from read_jsonl(self.file(bounds), allow_cut=False)

    def write(self, bounds: Bounds, rows: Sequence[Json]) -> None:
        """A part, whole."""
        write_jsonl(self.file(bounds), rows)

    def judge(
        self,
        job: Job,
        engine: Engine,
        bounds: Sequence[Bounds],
        *,
        told: Callable[[Json], Json] = lambda row: row,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Write those of these parts that are missing; gives the number of bad rows in all of them.

        Args:
            job: Whose parts they are.
            engine: Who judges.
            bounds: Of the parts.
            told: Adds to a row what is known here of its pair.
            progress: Called with the rows done and the rows of these parts.

        Raises:
            DataError: There is one more bad row than tolerated, or the source is damaged.
            ListenerUnavailable: A listener broke; what was judged is kept.
        """
        missing = self.missing(bounds)
        there = [one for one in bounds if one not in set(missing)]
        errors = sum("error" in row for one in there for row in self.read(one))
        _within(errors, job, "")
        total, done = (sum(one.stop - one.start for one in these) for these in (bounds, there))
        if progress is not None:
            progress(done, total)
        for part in engine.parts(job, missing) if missing else ():
            for bad in (row for row in part.rows if "error" in row):
                errors += 1
                _within(errors, job, f"row {bad['row']} '{bad['id']}': {bad['error']} ")
            self.write(part.bounds, [told(row) for row in part.rows])
            done += part.bounds.stop - part.bounds.start
            if progress is not None:
                progress(done, total)
        return errors


def same_settings(where: Path, found: Any, record: Mapping[str, Any]) -> None:
    """Refuses to go on with other settings than those that are there.

    Raises:
        InputError: A setting differs; the message has both values.
    """
    found = found if isinstance(found, dict) else {}
    for key, value in record.items():
        if found.get(key) != value:
            raise InputError(
                f"{where}: was made with {key} {found.get(key)!r}, asked for {value!r}; choose another place to write "
                "to, or the same settings"
            )


def judge_part(job: Job, model: Answers, rows: Iterator[Row | BadRow], bounds: Bounds) -> Part:
    """Judge the next rows of a stream, which are those of a part.

    Raises:
        DataError: There are fewer of them, or the file is damaged.
        ListenerUnavailable: A listener broke.
    """
    records: list[Json] = []
    n_bad, n = 0, bounds.stop - bounds.start
    while len(records) < n:
        chunk = list(islice(rows, min(job.batch, n - len(records))))
        if not chunk:
            raise DataError(
                f"{job.rows.path}: ends before row {bounds.stop}; it has changed, so start anew in another place"
            )
        for record in (_judged if job.rows.groups is None else _ranked)(job, model, chunk):
            records.append(record)
            n_bad += "error" in record
            if n_bad > job.tolerate:  # it stops short, for the whole job tolerates no more, whatever other parts hold
                return Part(bounds, records)
    return Part(bounds, records)


def _judged(job: Job, model: Answers, chunk: Sequence[Row | BadRow]) -> Iterator[Json]:
    """The rows of a batch as they are written."""
    questions = [_ask(job, model, row) for row in chunk]
    answers = iter(model.try_answer([one for one in questions if isinstance(one, Question)]))
    for row, question in zip(chunk, questions, strict=True):
        answer = next(answers) if isinstance(question, Question) else question
        place = {"row": row.number, "id": row.id}
        if isinstance(answer, Judgement):
            known: Json = {}
            if job.with_content and isinstance(row, Row) and isinstance(question, Question):
                known = {"content": content_of(row.prompt, *row.files), **_measured(question)}
            yield answer.as_dict() | place | known
        else:
            yield place | (answer if isinstance(answer, BadRow) else _refused(row, str(answer))).fault()


def _ranked(job: Job, model: Answers, chunk: Sequence[Row | BadRow]) -> Iterator[Json]:
    """The same of rows with all pictures of a prompt; each is a tournament of its own."""
    for row in chunk:
        place = {"row": row.number, "id": row.id}
        yield place | (row.fault() if isinstance(row, BadRow) else _rank(job, model, row))


def _rank(job: Job, model: Answers, row: Row) -> Json:
    try:
        pictures = [take_picture(image, argument=f"images[{k}]") for k, image in enumerate(row.images)]
        ranking = rank_images(row.prompt, pictures, partial(_all_of, model), seed=job.seed)
    except InputError as error:
        return _refused(row, job.rows.placeless(str(error))).fault()
    return ranking.as_row() | {"sha256": sha256_of(row.prompt, *row.files)}


def _all_of(model: Answers, questions: Sequence[Question]) -> list[Judgement]:
    """The answers; the first question that cannot be asked is an error."""
    answers = []
    for answer in model.try_answer(questions):
        if isinstance(answer, InputError):
            raise answer
        answers.append(answer)
    return answers


def _measured(question: Question) -> Json:
    """What a blind judge may go by, of the pictures that were decoded to be judged, in the row's own sides."""
    pair = question.pair.swapped() if question.turned else question.pair
    return by_side([compared(picture) for picture in (pair.first, pair.second) if isinstance(picture, Image)])


def _ask(job: Job, model: Answers, row: Row | BadRow) -> Question | BadRow:
    if isinstance(row, BadRow):
        return row
    try:
        first, second = row.images
        return model.question(prompt=row.prompt, first=first, second=second, original=row.original, seed=job.seed)
    except InputError as error:
        return _refused(row, job.rows.placeless(str(error)))


def _refused(row: Row | BadRow, error: str) -> BadRow:
    assert isinstance(row, Row)
    return BadRow(row.number, row.id, error, sha256_of(row.prompt, *row.files))


def _within(errors: int, job: Job, last: str) -> None:
    if errors > job.tolerate:
        raise DataError(
            f"{job.rows.path}: {last}(bad row {errors}, tolerated are {job.tolerate}; mend it or raise --tolerate)"
        )
