"""Ranking several images: the games, their outcome, and what is said of every image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int
from PIL.Image import Image
from scipy.special import expit
from scipy.stats import rankdata

from earshot.judging.pictures import Picture
from earshot.judging.question import Question
from earshot.judging.tournament import ALL_PAIRS_UP_TO, all_pairs, cycles, n_rounds, swiss_round
from earshot.predictions.judgement import Judgement
from earshot.predictions.notebook import bar, table, thumbnail
from earshot.stats.bradley_terry import Strengths, fit_strengths
from earshot.types import Estimate

_EQUAL_DECIMALS = 6
"""Strengths that agree to so many decimals share a rank."""

Answer: TypeAlias = Callable[[Sequence[Question]], Sequence[Judgement]]
"""Judges questions together."""


@dataclass(frozen=True, slots=True)
class RankedImage:
    """What a ranking says of one image."""

    rank: int | None
    """1 is the best; equals share the better rank. None where no comparison of the image came out."""
    strength: Estimate
    """Bradley–Terry log-odds against the average image of the list, with a 95 % interval; `n` counts comparisons."""
    win_rate: float | None
    """Mean probability of being preferred to another image of the list: as compared, and by the strengths where two
    were not. In [0, 1]."""


@dataclass(frozen=True, slots=True, repr=False)
class ImageRanking:
    """Images ranked by comparisons in both orders.

    Attributes:
        images: One for each image, in the order in which they were given.
        order: The images' places, best first; those without a rank are left out.
        cycles: Images that contradict each other, each preferred to the next and the last to the first: one shortest
            circle for each group that no single order fits.
        games: The couples that were compared, in order, with what came out.
        n_missing: How many of them came to nothing, because an order had no well-formed sample.
        digests: The hash of each image's pixels: the same picture has the same one.
        pictures: The images where `RewardModel.rank` was asked, for a notebook; no part of equality or `as_dict`.
    """

    images: tuple[RankedImage, ...]
    order: tuple[int, ...]
    cycles: tuple[tuple[int, ...], ...]
    games: tuple[tuple[int, int, Judgement], ...]
    n_missing: int
    digests: tuple[str, ...]
    pictures: tuple[Image, ...] | None = field(default=None, compare=False)

    def __repr__(self) -> str:
        agree = [game.orders_agree for _, _, game in self.games]
        told = f"both orders agree in {agree.count(True)} of {len(agree)} comparisons"
        shown = ", ".join(
            f"{k}: unranked" if image.win_rate is None else f"{k}: rank {image.rank}, win_rate={image.win_rate:.2f}"
            for k, image in enumerate(self.images[:8])
        )
        return f"ImageRanking({shown}{', …' * (len(self.images) > 8)}; {told})"

    def _repr_html_(self) -> str:
        rows = [
            ["–" if image.rank is None else str(image.rank), str(k), bar(image.win_rate)]
            + ([] if self.pictures is None else [thumbnail(self.pictures[k])])
            for k, image in enumerate(self.images)
        ]
        in_order = [rows[k] for k in self.order] + [row for k, row in enumerate(rows) if k not in self.order]
        return table(["rank", "image", "preferred to another", ""][: 3 + (self.pictures is not None)], in_order)

    @property
    def ranks(self) -> list[int | None]:
        """The rank of each image."""
        return [image.rank for image in self.images]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the comparisons without their traces."""
        told = self.as_row()
        games = [{name: value for name, value in game.items() if name != "samples"} for game in told["comparisons"]]
        images = [{name: value for name, value in image.items() if name != "digest"} for image in told["images"]]
        return told | {"images": images, "comparisons": games}

    def as_row(self) -> dict[str, Any]:
        """All of it, for a file: comparisons with their traces, and by its pixels which picture an image is."""
        return {
            "images": [
                {**asdict(image), "digest": digest} for image, digest in zip(self.images, self.digests, strict=True)
            ],
            "order": list(self.order),
            "cycles": [list(cycle) for cycle in self.cycles],
            "n_missing": self.n_missing,
            "comparisons": [{"first": i, "second": j, **game.as_dict()} for i, j, game in self.games],
        }


def score_images(
    prompt: str,
    images: Sequence[Picture],
    references: Sequence[Picture],
    answer: Answer,
    *,
    seed: int,
    original: Picture | None = None,
) -> list[float | None]:
    """For each image the mean probability of being preferred to a reference; None where no comparison came out."""
    known = p_against(prompt, images, references, answer, seed=seed, original=original)
    return [sum(row) / len(row) if row else None for row in known]


def p_against(
    prompt: str,
    images: Sequence[Picture],
    references: Sequence[Picture],
    answer: Answer,
    *,
    seed: int,
    original: Picture | None = None,
) -> list[list[float]]:
    """For each image its probabilities of being preferred to the references, those that came out."""
    answers = iter(answer([Question.of(prompt, a, b, seed, original) for a in images for b in references]))
    return [[p for _ in references if (p := next(answers).p_first) is not None] for _ in images]


def rank_images(
    prompt: str, images: Sequence[Picture], answer: Answer, *, seed: int, original: Picture | None = None
) -> ImageRanking:
    """Rank images by what comes out of comparing them.

    Up to eight meet each other once; more play 2⌈log2 n⌉ Swiss rounds, neighbours by strength, each couple at most
    once. Equal pictures are one player. The schedule follows from the digests and the seed, so that images given in
    another order get the same ranks.

    Args:
        prompt: What the images were made from.
        images: Two or more.
        answer: Who is asked.
        seed: Of the sampling, and of the schedule among equals.
        original: The picture of which all are edits.
    """
    digests = [image.digest for image in images]
    players = sorted(set(digests))
    places = [digests.index(digest) for digest in players]  # an image that stands for the player
    wins = np.zeros((len(players), len(players)))
    met = np.zeros(wins.shape, dtype=np.int64)
    games: list[tuple[int, int, Judgement]] = []
    for couples in _schedule(wins, met, seed):
        met_now = [(images[places[i]], images[places[j]]) for i, j in couples.tolist()]
        asked = [Question.of(prompt, one, other, seed, original) for one, other in met_now]
        for (i, j), game in zip(couples.tolist(), answer(asked), strict=True):
            games.append((places[i], places[j], game))
            met[i, j] = met[j, i] = 1
            if game.p_first is not None:
                wins[i, j] += game.p_first
                wins[j, i] += 1 - game.p_first
    return ImageRanking(
        *_standings(wins, np.array([players.index(digest) for digest in digests])),
        cycles=tuple(tuple(places[player] for player in circle) for circle in cycles(wins > wins.T)),
        games=tuple(games),
        n_missing=sum(game.p_first is None for _, _, game in games),
        digests=tuple(digests),
    )


def _schedule(
    wins: Float[np.ndarray, "g g"], met: Int[np.ndarray, "g g"], seed: int
) -> Iterator[Int[np.ndarray, "games 2"]]:
    """Rounds of couples; each is made when the one before has been played and stands in the tables."""
    n = len(wins)
    if n <= ALL_PAIRS_UP_TO:
        yield all_pairs(n)
        return
    tie_break = np.random.default_rng(seed).permutation(n)
    for _ in range(n_rounds(n)):
        yield swiss_round(fit_strengths(wins).value, met, tie_break)


def _standings(
    wins: Float[np.ndarray, "g g"], of_image: Int[np.ndarray, " i"]
) -> tuple[tuple[RankedImage, ...], tuple[int, ...]]:
    """What is said of each image, and the images' places, best first; copies of a picture share their player's."""
    known = (wins + wins.T).sum(axis=1)
    strengths = fit_strengths(wins)
    rated = (known > 0) | (len(wins) == 1)
    # Copies are ranked beside each other: a rank counts the images that are better, not the players.
    standing = np.where(rated[of_image], -strengths.value.round(_EQUAL_DECIMALS)[of_image], np.inf)
    ranks = rankdata(standing, method="min")
    rates = _win_rates(wins, strengths, of_image)
    images = tuple(
        RankedImage(
            rank=int(ranks[k]) if rated[player] else None,
            strength=_estimate(strengths, player, int(known[player].round())) if rated[player] else Estimate.missing(),
            win_rate=float(rates[player]) if rated[player] else None,
        )
        for k, player in enumerate(of_image.tolist())
    )
    return images, tuple(int(k) for k in np.argsort(standing, kind="stable") if rated[of_image[k]])


def _estimate(strengths: Strengths, player: int, n: int) -> Estimate:
    if n == 0:  # all images are one picture: equal to the average by definition
        return Estimate(0.0, None, None, 0)
    value, low, high = (float(bound[player]) for bound in strengths)
    return Estimate(value, low, high, n)


def _win_rates(
    wins: Float[np.ndarray, "g g"], strengths: Strengths, of_image: Int[np.ndarray, " i"]
) -> Float[np.ndarray, " g"]:
    """For each player the mean over all other images, copies of itself among them, at one half."""
    counted = wins + wins.T
    expected = expit(strengths.value[:, None] - strengths.value[None, :])
    p = np.where(counted > 0, wins / np.maximum(counted, 1e-300), expected)
    np.fill_diagonal(p, 0.5)
    copies = np.bincount(of_image, minlength=len(wins))
    return (p @ copies - 0.5) / (len(of_image) - 1)
