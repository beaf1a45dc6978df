"""Rankings follow opinions, do not depend on the order of the list, and say where they contradict themselves."""

import numpy as np
import pytest

from earshot.judging.model import RewardModel
from earshot.types import Estimate
from tests.judging.opinions import Opinionated, brightness, shade


def rank(brightnesses, model=None, **more):
    model = model or RewardModel(Opinionated())
    return model.rank(prompt="a grey square", images=[shade(b) for b in brightnesses], **more)


def test_the_better_is_ranked_before_the_worse_and_strengths_are_log_odds():
    ranking = rank([100, 140, 120])
    assert ranking.ranks == [3, 1, 2]
    assert ranking.order == (1, 2, 0)
    assert (ranking.cycles, ranking.n_missing) == ((), 0)
    for image in ranking.images:
        assert image.strength.low < image.strength.value < image.strength.high
        assert image.strength.n == 2
    # against 140: σ(-2) = 0.1192, against 120: σ(-1) = 0.2689
    assert ranking.images[0].win_rate == pytest.approx((0.1192 + 0.2689) / 2, abs=1e-4)


@pytest.mark.parametrize("n", [5, 8, 9, 13, 32])
def test_another_order_of_the_list_gives_the_same_ranking(n):
    rng = np.random.default_rng(n)
    brightnesses, order = rng.choice(250, n, replace=False), rng.permutation(n)
    model = RewardModel(Opinionated(noise=0.2, bias=0.1))
    one, other = rank(brightnesses.tolist(), model), rank(brightnesses[order].tolist(), model)
    assert other.ranks == [one.ranks[k] for k in order]
    strengths = [one.images[k].strength.value for k in order]
    assert [image.strength.value for image in other.images] == pytest.approx(strengths, abs=1e-9)


def test_up_to_eight_meet_each_other_once_in_one_batch():
    model = RewardModel(Opinionated())
    ranking = rank(range(10, 90, 10), model)
    assert model.reasoner.batches == [28]  # 8 · 7 / 2
    assert sorted((i, j) if i < j else (j, i) for i, j, _ in ranking.games) == [
        (i, j) for i in range(8) for j in range(i + 1, 8)
    ]


@pytest.mark.parametrize("n", [9, 16, 33, 64])
def test_more_than_eight_cost_n_log_n_and_come_out_in_order(n):
    brightnesses = np.random.default_rng(n).permutation(np.linspace(0, 255, n).astype(int)).tolist()
    ranking = rank(brightnesses)
    assert len(ranking.games) <= n * int(n - 1).bit_length()
    assert len({frozenset((i, j)) for i, j, _ in ranking.games}) == len(ranking.games)
    # Of 64 a fifth of the couples met, and neighbours differ by 4 of 255: some stand a place off (0.5 on average).
    true = np.argsort(np.argsort(brightnesses)[::-1]) + 1
    assert np.abs(np.array(ranking.ranks) - true).mean() <= (1 if n > 33 else 0)
    assert [image.strength.n for image in ranking.images] == [
        sum(k in (i, j) for i, j, _ in ranking.games) for k in range(n)
    ]


def test_a_judge_that_is_always_sure_ranks_nearly_right():
    n = 40
    brightnesses = np.random.default_rng(1).permutation(np.arange(n) * 6).tolist()
    sure = RewardModel(Opinionated(opinion=lambda pair: float(brightness(pair.first) > brightness(pair.second))))
    ranks, true = np.array(rank(brightnesses, sure).ranks), np.argsort(np.argsort(brightnesses)[::-1]) + 1
    assert true[np.argmin(ranks)] == 1
    assert np.abs(ranks - true).mean() < 2


def test_the_seed_makes_another_schedule_and_repeats_itself():
    noisy = RewardModel(Opinionated(noise=0.4))
    one, same, other = (rank(range(0, 240, 12), noisy, seed=seed) for seed in (0, 0, 1))
    assert one == same
    assert {frozenset(g[:2]) for g in one.games} != {frozenset(g[:2]) for g in other.games}


def test_equal_pictures_share_a_rank_and_cost_nothing():
    model = RewardModel(Opinionated(bias=0.2))
    ranking = rank([120, 150, 120, 90], model)
    assert ranking.ranks == [2, 1, 2, 4]
    assert model.reasoner.batches == [3]
    # Its copy is worth one half: (σ(-1.5) + ½ + σ(1.5)) / 3 = ½
    assert ranking.images[0].win_rate == pytest.approx(0.5)


def test_one_picture_many_times_is_a_tie_and_not_judged():
    model = RewardModel(Opinionated())
    ranking = rank([120] * 3, model)
    assert ranking.ranks == [1, 1, 1]
    assert [image.win_rate for image in ranking.images] == [0.5] * 3
    assert ranking.images[0].strength == Estimate(0.0, None, None, 0)
    assert model.reasoner.batches == []


def test_indifference_is_a_tie():
    ranking = rank([100, 120, 140], RewardModel(Opinionated(opinion=lambda pair: 0.5)))
    assert ranking.ranks == [1, 1, 1]


def test_a_circle_of_preferences_is_reported():
    def rock_paper_scissors(pair):
        wins = {(0, 100), (100, 200), (200, 0)}
        return 0.9 if (brightness(pair.first), brightness(pair.second)) in wins else 0.1

    ranking = rank([0, 100, 200], RewardModel(Opinionated(opinion=rock_paper_scissors)))
    assert ranking.ranks == [1, 1, 1]
    assert [set(cycle) for cycle in ranking.cycles] == [{0, 1, 2}]
    a, b = ranking.cycles[0][:2]
    assert (b - a) % 3 == 1


def test_what_does_not_come_out_is_missing_and_never_a_draw():
    ranking = rank([100, 140], RewardModel(Opinionated(malformed=("forward",))))
    assert ranking.ranks == [None, None] and ranking.order == ()
    assert [image.strength for image in ranking.images] == [Estimate.missing()] * 2
    assert [image.win_rate for image in ranking.images] == [None, None]
    assert ranking.n_missing == 1


def test_a_comparison_that_is_missing_is_filled_from_the_others():
    def some(pair):
        if {brightness(pair.first), brightness(pair.second)} == {100.0, 140.0}:
            raise KeyError
        return 1 / (1 + np.exp((brightness(pair.second) - brightness(pair.first)) / 20))

    class Partly(Opinionated):
        def _sample(self, pair, order, k, seed):
            try:
                return super()._sample(pair, order, k, seed)
            except KeyError:
                return Opinionated(malformed=(order,))._sample(pair, order, k, seed)

    ranking = rank([100, 120, 140], RewardModel(Partly(opinion=some)))
    assert ranking.n_missing == 1
    assert ranking.ranks == [3, 2, 1]
    assert [image.strength.n for image in ranking.images] == [1, 2, 1]
    assert 0 < ranking.images[0].win_rate < 0.5
