"""Which of the compared pairs of ranked pictures are preference data, and why each of the others is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from earshot.data.overlap import normalised_prompt
from earshot.errors import InputError
from earshot.predictions.ranked import Game, RankedRow
from earshot.predictions.sides import side_of
from earshot.types import hash_of

Select: TypeAlias = Literal["all", "best-against-rest", "best-against-worst"]
"""Every pair that passes; those whose better picture is the best of its prompt; of these one a prompt, against the
worst picture that it was compared with."""

KEPT: Final = "kept"
WHY = MappingProxyType(
    {
        KEPT: "kept",
        "duplicate_prompt": "an earlier row has the same prompt",
        "no_answer": "the comparison came to nothing",
        "tie": "the probability is exactly one half",
        "orders": "the two orders of the pictures have different winners",
        "margin": "the winner's probability is too close to the loser's",
        "agreement": "the author or a listener has the other winner, or none",
        "ranking": "the whole ranking has the loser above the winner, or beside it",
        "duplicate_picture": "an earlier row has one of the two pictures",
        "completions": "the author did not write completions for both sides in one order",
        "selection": "passes, and is not among those that the selection takes",
    }
)
"""Why a pair was kept or left, by the word in the file; the first rule that it fails, in this order."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a pair has to be.

    Attributes:
        margin: The least that the winner's probability is above the loser's, in [0, 1].
        agreement: Whether the author and every listener in the file must have the same winner.
        select: Which of the pairs that pass are taken.

    Raises:
        InputError: The margin is outside [0, 1].
    """

    margin: float = 0.2
    agreement: bool = True
    select: Select = "all"

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 1:
            raise InputError(f"margin is {self.margin}, expected 0 to 1: a difference of two probabilities")


@dataclass(frozen=True, slots=True)
class Choice:
    """What became of a compared pair.

    Attributes:
        game: What was compared.
        chosen: The place of the winner; None where there is none.
        rejected: That of the loser.
        margin: The winner's probability less the loser's.
        agree: Whether the author and every listener have the same winner.
        reason: A key of `WHY`.
    """

    game: Game
    chosen: int | None
    rejected: int | None
    margin: float | None
    agree: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """Prompts and pictures of the rows so far, by 64 bits of each."""

    prompts: set[int] = field(default_factory=set)
    pictures: set[int] = field(default_factory=set)


def choose(row: RankedRow, rules: Rules, seen: Seen, usable: Callable[[Game], bool] | None = None) -> list[Choice]:
    """What becomes of each pair of a row, in the order in which they were compared; the row is then among the seen.

    A prompt is the same that differs in case, spaces or punctuation, a picture the same that has the same pixels.

    Args:
        row: A prompt with its ranked pictures.
        rules: What a pair has to be.
        seen: The rows before it.
        usable: Whether what is to be written can be made of a pair; None where it always can.
    """
    prompt = hash_of(normalised_prompt(row.prompt))
    pictures = [hash_of(digest) for digest in row.digests]
    told = [_choice(row, game, rules) for game in row.games]
    for k, one in enumerate(told):
        if prompt in seen.prompts:
            told[k] = replace(one, reason="duplicate_prompt")
        elif one.reason != KEPT:
            continue
        elif pictures[one.game.first] in seen.pictures or pictures[one.game.second] in seen.pictures:
            told[k] = replace(one, reason="duplicate_picture")
        elif usable is not None and not usable(one.game):
            told[k] = replace(one, reason="completions")
    seen.prompts.add(prompt)
    seen.pictures.update(pictures)
    taken = _selected(row, told, rules.select)
    return [one if one.reason != KEPT or k in taken else replace(one, reason="selection") for k, one in enumerate(told)]


def _choice(row: RankedRow, game: Game, rules: Rules) -> Choice:
    """By what is said of the pair and its two pictures alone."""
    side = side_of(game.p_first)
    if game.p_first is None or side is None:
        return Choice(game, None, None, None, None, "no_answer" if game.p_first is None else "tie")
    chosen, rejected = (game.first, game.second) if side == "first" else (game.second, game.first)
    margin = abs(2 * game.p_first - 1)
    agree = all(side_of(p) == side for p in (game.p_author, *game.p_read.values()))
    better, worse = row.strengths[chosen], row.strengths[rejected]
    if not game.orders_agree:
        reason = "orders"
    elif margin < rules.margin:
        reason = "margin"
    elif rules.agreement and not agree:
        reason = "agreement"
    elif better is None or worse is None or better <= worse:
        reason = "ranking"
    else:
        reason = KEPT
    return Choice(game, chosen, rejected, margin, agree, reason)


def _selected(row: RankedRow, told: Sequence[Choice], select: Select) -> set[int]:
    """The places of the choices that are taken, among those that pass."""
    passing = [k for k, one in enumerate(told) if one.reason == KEPT]
    if select == "all":
        return set(passing)

    def rank(picture: int | None) -> int:
        place = None if picture is None else row.ranks[picture]
        assert place is not None  # of pictures whose comparison came out
        return place

    of_best = [k for k in passing if rank(told[k].chosen) == 1]
    if select == "best-against-rest" or not of_best:
        return set(of_best)
    return {max(of_best, key=lambda k: rank(told[k].rejected))}
