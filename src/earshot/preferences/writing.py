"""Preference data in three forms: our pair set, rows for TRL's DPO, and rows for Diffusion-DPO."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeAlias, get_args

import pyarrow as pa

from earshot.data.importing import shuffle_sides
from earshot.data.row_files import RowWriter, image_features
from earshot.data.rows import INFO
from earshot.data.writer import PairSetWriter, Tell
from earshot.errors import DataError, InputError
from earshot.files import check_folder, plain, whole, write_json
from earshot.predictions.ranked import Game, RankedFile, RankedRow
from earshot.preferences.choosing import KEPT, Choice, Rules, Seen, choose
from earshot.protocol import PromptSet, prompt_set, reasoner_messages, write_completion
from earshot.protocol.prompt_sets import shipped_sets
from earshot.types import Order, Pair, Verdict, Votes

Format: TypeAlias = Literal["pairs", "dpo", "diffusion-dpo"]
Row = dict[str, Any]

CHOICES_FILE: Final = "choices.jsonl"
"""Beside the data: a line for each pair that was compared, with why it was kept or left."""
TABLE: Final = "data/train-00000-of-00001.parquet"
"""Where `datasets.load_dataset(OUT)` finds the rows of a table, and nothing else of the folder."""
_SOURCE = "earshot prefer"
_NOTE = "which picture is preferred is a model's verdict, and no person's vote"

_TEXT = pa.string()
_MESSAGES = pa.list_(pa.struct([("role", _TEXT), ("content", pa.list_(pa.struct([("type", _TEXT), ("text", _TEXT)])))]))
_IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", _TEXT)]))
_DPO = pa.schema(
    [("id", _TEXT), ("prompt", _MESSAGES), ("chosen", _MESSAGES), ("rejected", _MESSAGES), ("images", _IMAGES)],
    image_features(images="images"),
)
_DIFFUSION_DPO = pa.schema(
    [
        ("caption", _TEXT),
        ("jpg_0", pa.binary()),
        ("jpg_1", pa.binary()),
        ("label_0", pa.float64()),
        ("label_1", pa.float64()),
        ("has_label", pa.bool_()),
        ("are_different", pa.bool_()),
        ("image_0_uid", _TEXT),
        ("image_1_uid", _TEXT),
        ("best_image_uid", _TEXT),
    ]
)


class Tally(NamedTuple):
    """What came of a file of rankings."""

    reasons: Counter[str]
    """How many of the compared pairs were kept, and left for each reason: keys of `choosing.WHY`."""
    prompts: int
    """Rows that were read."""
    bad: int
    """Rows that are errors in the file, and were passed over."""
    rows: int
    """That were written; a pair may be several rows for `dpo`."""


def write_preferences(
    ranked: Path,
    out: Path,
    form: Format,
    rules: Rules | None = None,
    *,
    seed: int = 0,
    prompts: str | Path | None = None,
    tell: Tell | None = None,
) -> Tally:
    """Writes the pairs of ranked pictures that follow the rules, and beside them why each was kept or left.

    Args:
        ranked: What `earshot judge --rank` wrote: a file, or a folder of the shards' files.
        out: A new or an empty folder.
        form: `pairs` is a pair set. `dpo` has the author's own completions about two pictures, one that ends in the
            winner and one that ends in the loser, each as the pictures were shown; for a trainer of judges.
            `diffusion-dpo` has the columns of Pick-a-Pic, for a trainer of generators.
        rules: What a pair has to be.
        seed: Decides which picture of a pair comes first, where the form does not.
        prompts: For `dpo`, how the author was asked, where that is none of the sets that ship with Earshot.
        tell: Hears when a set that was never finished is begun anew.

    Raises:
        InputError: There is no such file, or `out` holds something.
        DataError: The file holds no rankings, or no pair follows the rules; nothing is kept then.
    """
    if prompts is not None and form != "dpo":
        raise InputError(f"prompts are the words of format dpo, and the format is {form}; leave them out")
    rules, source, seen = rules or Rules(), RankedFile(ranked), Seen()
    info = {"source": _SOURCE, "note": _NOTE, "format": form, "rules": asdict(rules), "seed": seed}
    info["ranked"] = {name: source.settings.get(name) for name in ("source", "seed", "model")}
    usable = _has_both if form == "dpo" else None
    if form == "dpo":
        asked = _asked_with(source, prompts)
        opened = _table(out, _DPO, info, partial(_dpo_rows, prompts=asked))
    elif form == "diffusion-dpo":
        opened = _table(out, _DIFFUSION_DPO, info, partial(_diffusion_rows, seed=seed))
    else:
        opened = _pair_set(out, info, seed, tell)
    reasons: Counter[str] = Counter()
    n_prompts = n_rows = 0
    with opened as sink:
        for row in source:
            n_prompts += 1
            for choice in choose(row, rules, seen, usable):
                reasons[choice.reason] += 1
                sink.note(_told(row, choice))
                if choice.reason == KEPT:
                    n_rows += sink.keep(row, choice)
        if not reasons[KEPT]:
            left = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common()) or "no two pictures were compared"
            raise DataError(
                f"{ranked}: no pair is kept of {reasons.total()} in {n_prompts} prompts ({left}); loosen the rules "
                "(--margin, --no-agreement, --select all), or rank more pictures with more --samples"
            )
    return Tally(reasons, n_prompts, source.bad, n_rows)


class _Sink(NamedTuple):
    """Where a pair goes, and where what became of it."""

    keep: Callable[[RankedRow, Choice], int]
    """Writes a pair; gives the number of rows that it made."""
    note: Callable[[Row], None]


@contextmanager
def _pair_set(out: Path, info: Row, seed: int, tell: Tell | None) -> Iterator[_Sink]:
    with PairSetWriter(out, info=info, verify=False, beside=(CHOICES_FILE,), tell=tell) as writer:

        def keep(row: RankedRow, choice: Choice) -> int:
            writer.add(shuffle_sides(_pair(row, choice), seed))
            return 1

        yield _Sink(keep, partial(writer.write_beside, CHOICES_FILE))


@contextmanager
def _table(
    out: Path, schema: pa.Schema, info: Row, rows_of: Callable[[RankedRow, Choice], Iterable[Row]]
) -> Iterator[_Sink]:
    """A folder with a parquet table, which gets its name when all is written."""
    check_folder(out, "a folder for the preference data")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out}: holds other files ({next(out.iterdir()).name}), expected a new or an empty folder")
    with whole(out) as folder:
        (folder / TABLE).parent.mkdir(parents=True)
        write_json(folder / INFO, plain(info))
        with RowWriter(folder / TABLE, schema) as table, (folder / CHOICES_FILE).open("w", encoding="utf-8") as choices:

            def keep(row: RankedRow, choice: Choice) -> int:
                made = list(rows_of(row, choice))
                for one in made:
                    table.add(one, sum(map(len, (row.images[choice.game.first], row.images[choice.game.second]))))
                return len(made)

            def note(row: Row) -> None:
                choices.write(f"{json.dumps(row)}\n")

            yield _Sink(keep, note)


def _id(row: RankedRow, game: Game) -> str:
    return f"{row.row}-{game.first}-{game.second}"


def _told(row: RankedRow, choice: Choice) -> Row:
    """A line of the choices' file."""
    game = choice.game
    return {
        "id": _id(row, game),
        "row_id": row.id,
        "prompt": row.prompt,
        "first": game.first,
        "second": game.second,
        "kept": choice.reason == KEPT,
        "reason": choice.reason,
        "chosen": choice.chosen,
        "margin": choice.margin,
        "agree": choice.agree,
        "p_first": game.p_first,
        "orders_agree": game.orders_agree,
        "p_author": game.p_author,
        "p_read": dict(game.p_read),
        "rank_first": row.ranks[game.first],
        "rank_second": row.ranks[game.second],
        "digest_first": row.digests[game.first],
        "digest_second": row.digests[game.second],
    }


def _pair(row: RankedRow, choice: Choice) -> Pair:
    """In the order of the row; one vote for the winner."""
    game, won = choice.game, float(choice.chosen == choice.game.first)
    first, second = row.images[game.first], row.images[game.second]
    votes = Votes(won, 1.0 - won)
    return Pair(_id(row, game), row.prompt, first, second, votes, axis="preference", source=_SOURCE)


def _diffusion_rows(row: RankedRow, choice: Choice, *, seed: int) -> Iterator[Row]:
    game, pair = choice.game, _pair(row, choice)
    shown = shuffle_sides(pair, seed)
    digests = row.digests[game.first], row.digests[game.second]
    uid_0, uid_1 = digests if shown == pair else digests[::-1]
    yield {
        "caption": shown.prompt,
        "jpg_0": shown.first,
        "jpg_1": shown.second,
        "label_0": shown.votes.first,
        "label_1": shown.votes.second,
        "has_label": True,
        "are_different": True,
        "image_0_uid": uid_0,
        "image_1_uid": uid_1,
        "best_image_uid": uid_0 if shown.votes.first else uid_1,
    }


def _dpo_rows(row: RankedRow, choice: Choice, *, prompts: PromptSet) -> Iterator[Row]:
    """A row for each order of the two pictures in which the author came to both sides."""
    game = choice.game
    question = _in_parts(reasoner_messages(row.prompt, prompts))
    for order, for_first, for_second in _completions(game):
        won, lost = (for_first, for_second) if choice.chosen == game.first else (for_second, for_first)
        shown = (game.first, game.second) if order == "forward" else (game.second, game.first)
        yield {
            "id": f"{_id(row, game)}-{order}",
            "prompt": question,
            "chosen": _turn(won, prompts),
            "rejected": _turn(lost, prompts),
            "images": [{"bytes": row.images[k], "path": None} for k in shown],
        }


def _completions(game: Game) -> Iterator[tuple[Order, Verdict, Verdict]]:
    """For each order in which the author came to both sides, a completion for the game's first picture and one for its
    second: the first of each that was drawn, of the pictures as they were shown."""
    for order in get_args(Order):
        found: dict[str, Verdict] = {}
        for sample in game.samples:
            if sample["order"] == order and sample["malformed"] is None:
                shown: Verdict = Verdict("first" if sample["verdict"] == 1 else "second", sample["trace"])
                found.setdefault(sample["side"], shown)
        if len(found) == 2:
            yield order, found["first"], found["second"]


def _has_both(game: Game) -> bool:
    return any(_completions(game))


def _turn(verdict: Verdict, prompts: PromptSet) -> list[Row]:
    return _in_parts([{"role": "assistant", "content": [{"type": "text", "text": write_completion(verdict, prompts)}]}])


def _in_parts(messages: Iterable[Row]) -> list[Row]:
    """Messages as a table holds them, in which every part has a `text`: none where it is an image."""
    return [
        {"role": one["role"], "content": [{"type": part["type"], "text": part.get("text")} for part in one["content"]]}
        for one in messages
    ]


def _asked_with(source: RankedFile, named: str | Path | None) -> PromptSet:
    """The words in which the author was asked.

    Raises:
        InputError: They are none of the sets that ship with Earshot, or other ones than those named.
    """
    settings = source.settings.get("model") or {}
    model = settings.get("model")
    told = model.get("prompts") if isinstance(model, Mapping) else None
    if named is not None:
        found = prompt_set(named)
        if told is not None and told != found.fingerprint:
            raise InputError(
                f"prompts '{named}': are {found.fingerprint}, and the author of {source.path} was asked with {told}; "
                "give those"
            )
        return found
    shipped = (prompt_set(name) for name in shipped_sets())
    known = next((one for one in shipped if one.fingerprint == told), None)
    if known is None:
        raise InputError(
            f"{source.path}: its author was asked with {told or 'words that it does not say'}, which is no prompt set "
            "that ships with Earshot; give its file (--prompts)"
        )
    return known
