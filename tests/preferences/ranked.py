"""Rows of a file of rankings with known games, and the file that judging writes of grey pictures."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from earshot.judging.model import RewardModel
from earshot.judging.parts import Local
from earshot.judging.to_file import judge_file
from earshot.predictions.ranked import Game, RankedRow
from earshot.protocol import prompt_set
from tests.judging.opinions import Opinionated, shade

SETTINGS = {"model": {"name": "grey", "prompts": prompt_set("standard").fingerprint}}


def game(first: int, second: int, p_first: float | None, *, agree: bool | None = True, **said: object) -> Game:
    known = {"p_author": p_first, "p_read": {}, "samples": []} | said
    return Game(first, second, p_first, agree, **known)


def row_of(
    *games: Game, strengths: tuple[float | None, ...], prompt: str = "a fox", digests: str = "abcdefgh", number: int = 0
) -> RankedRow:
    """A row whose pictures have one letter each for their digests; ranks follow the strengths."""
    n = len(strengths)
    known = sorted((s for s in strengths if s is not None), reverse=True)
    ranks = tuple(None if s is None else 1 + known.index(s) for s in strengths)
    return RankedRow(number, f"r{number}", prompt, (b"",) * n, tuple(digests[:n]), ranks, strengths, games)


def write_rows(folder: Path, groups: list[list[int]], **replaced: dict[str, object]) -> Path:
    """A file of prompts with grey pictures of these brightnesses beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for k, group in enumerate(groups):
        for brightness in group:
            shade(brightness, 56).save(folder / f"{brightness}.png")
        rows.append({"id": f"r{k}", "prompt": f"grey {k}", "images": [f"{brightness}.png" for brightness in group]})
    for name, change in replaced.items():
        rows[int(name.removeprefix("row"))] |= change
    pq.write_table(pa.Table.from_pylist(rows), folder / "in.parquet")
    return folder / "in.parquet"


def rank(source: Path, out: Path, model: RewardModel | None = None, **more: object) -> Path:
    options = {"groups": "images", "batch": 4, "part_rows": 2, "settings": SETTINGS} | more
    judge_file(source, out, Local(model or RewardModel(Opinionated())), **options)
    return out
