"""Bradley–Terry strengths by hand and of generators that were made up, and what has none."""

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.metrics.ranking import Ranking, compare_rankings


def rank(first: list[str], second: list[str], share: np.ndarray, clusters: np.ndarray, resamples: int = 50) -> Ranking:
    """People's ranking alone."""
    return compare_rankings(first, second, share, share, clusters, resamples=resamples).people


def test_a_tie_is_half_a_win_for_either() -> None:
    first, second = ["a", "a", "b", "b"], ["b", "b", "a", "a"]
    # a wins 1 + 0.5 + 0 + 1 = 2.5 of 4; the side does not matter.
    ranking = rank(first, second, np.array([0.7, 0.5, 0.9, 0.2]), np.arange(4), resamples=50)
    best, worst = ranking.generators
    assert (best.name, best.rank, worst.name, worst.rank) == ("a", 1, "b", 2)
    assert best.strength.value - worst.strength.value == pytest.approx(np.log(2.5 / 1.5), abs=1e-6)
    assert best.strength.n == 4


def made_up(true: np.ndarray, prompts: int, seed: int) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    rng, g = np.random.default_rng(seed), len(true)
    first = rng.integers(0, g, size=prompts * 10)
    second = (first + rng.integers(1, g, size=prompts * 10)) % g
    share = (rng.random(len(first)) < 1 / (1 + np.exp(true[second] - true[first]))).astype(float)
    return [f"g{i}" for i in first], [f"g{i}" for i in second], share, np.repeat(np.arange(prompts), 10)


def test_made_up_strengths_lie_in_their_intervals() -> None:
    true = np.array([1.0, 0.3, -0.2, -1.1])
    ranking = rank(*made_up(true, 200, 0), resamples=300)
    assert [g.name for g in ranking.generators] == ["g0", "g1", "g2", "g3"]
    for place, generator in enumerate(ranking.generators):
        assert generator.strength.low < true[place] < generator.strength.high
        assert generator.rank_low <= generator.rank <= generator.rank_high
        assert generator.strength.high - generator.strength.low < 0.5


def test_generators_that_are_alike_share_ranks_in_their_intervals() -> None:
    ranking = rank(*made_up(np.zeros(4), 30, 1), resamples=200)
    assert all(g.rank_high - g.rank_low >= 2 for g in ranking.generators)


def test_showing_the_images_swapped_changes_nothing() -> None:
    first, second, share, clusters = made_up(np.array([0.5, 0.0, -0.5]), 20, 2)
    plain = rank(first, second, share, clusters, resamples=30)
    swapped = rank(second, first, 1 - share, clusters, resamples=30)
    for a, b in zip(plain.generators, swapped.generators, strict=True):
        assert (a.name, a.strength.value) == (b.name, pytest.approx(b.strength.value, abs=1e-6))


def test_a_judge_that_agrees_with_people_ranks_as_they_do_and_one_that_disagrees_the_other_way_round() -> None:
    first, second, share, clusters = made_up(np.array([2.0, 0.7, -0.7, -2.0]), 100, 3)
    same = compare_rankings(first, second, share, share * 0.8 + 0.1, clusters, resamples=50)
    assert (same.kendall.value, same.kendall.low, same.spearman.value, same.kendall.n) == pytest.approx((1, 1, 1, 4))
    against = compare_rankings(first, second, share, 1 - share, clusters, resamples=50)
    assert (against.kendall.value, against.spearman.value) == pytest.approx((-1, -1))
    assert [g.name for g in against.reasoner.generators] == [g.name for g in same.people.generators][::-1]


def test_a_generator_that_always_wins_has_no_strength() -> None:
    first, second = ["best", "best", "a", "b"], ["a", "b", "b", "a"]
    with pytest.raises(DataError, match=r"3 generators fall into 2 groups.*one is best"):
        rank(first, second, np.ones(4), np.arange(4))


def test_resamples_in_which_one_always_wins_are_left_out_and_counted() -> None:
    first, second = ["a"] * 3, ["b"] * 3
    # a loses the third prompt only: it is not drawn in (2/3)³ = 30 % of resamples, and alone in 1/27 = 4 %.
    ranking = rank(first, second, np.array([1.0, 1.0, 0.0]), np.arange(3), resamples=2_000)
    assert ranking.n_disconnected / 2_000 == pytest.approx(9 / 27, abs=0.04)


def test_one_prompt_has_a_ranking_without_intervals() -> None:
    ranking = rank(["a", "b"], ["b", "a"], np.array([1.0, 1.0]), np.array([0, 0]), resamples=20)
    assert [(g.rank, g.strength.low, g.rank_low) for g in ranking.generators] == [(1, None, None), (1, None, None)]


def test_a_generator_against_itself_is_no_match() -> None:
    with pytest.raises(DataError, match="no pair of two different generators"):
        rank(["a"], ["a"], np.array([1.0]), np.array([0]))
