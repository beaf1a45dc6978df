"""The policy over scenes: its KL and its expectations against enumeration, and what known rewards make of it."""

from itertools import product

import numpy as np
import pytest

from earshot.lab.overoptimise.best_of import kl_of_best
from earshot.lab.overoptimise.pictures import START, draw, every_scene
from earshot.lab.overoptimise.policy import (
    Training,
    attainable,
    expected,
    joint,
    kl_between,
    optimise,
    reinforce,
    spread,
)
from earshot.lab.overoptimise.reached import best, points
from earshot.world.scene import FAULTS, KIND_CHANCES

PROMPTS = 24
QUICK = Training(steps=150)


@pytest.fixture(scope="module")
def gold() -> np.ndarray:
    (one,) = draw(1, 2)
    return np.tile(every_scene(one.wanted).gold, (PROMPTS, 1))


def random_policy(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.ones(len(one))) for one in START]


def test_the_kl_and_the_expectation_are_those_of_an_enumeration(gold: np.ndarray) -> None:
    policy = random_policy(1)
    kl, worth, total = 0.0, 0.0, 0.0
    for place, values in enumerate(product(*(range(len(one)) for one in START))):
        p, q = (np.prod([one[value] for one, value in zip(c, values, strict=True)]) for c in (policy, START))
        kl += p * np.log(p / q)
        worth += p * gold[0, place]
        total += q
        assert joint(policy)[place] == pytest.approx(p)
    assert total == pytest.approx(1.0)
    assert kl_between(policy, START) == pytest.approx(kl)
    assert expected(joint(policy)[None], gold[:1]) == pytest.approx([worth])
    assert kl_between(START, START) == 0.0


def test_what_is_not_known_is_left_out_of_an_expectation_in_proportion() -> None:
    scenes = np.array([[0.5, 0.25, 0.25]])
    assert expected(scenes, np.array([[1.0, 4.0, np.nan]])) == pytest.approx([2.0])  # (0.5 + 1) / 0.75
    assert np.isnan(expected(scenes, np.full((1, 3), np.nan))).all()


def test_the_start_is_the_generator(gold: np.ndarray) -> None:
    drawn = draw(1500, 2, seed=5, size_px=16)
    # One draw has a deviation of about 0.8: 0.8 / sqrt(3000) = 0.015.
    mean = np.mean([one.gold.mean() for one in drawn])
    assert expected(joint(START)[None], gold[:1])[0] == pytest.approx(mean, abs=0.05)


def test_every_scene_is_the_prompt_s_own_and_the_same_for_the_same_seed() -> None:
    (one,) = draw(1, 2)
    scenes, again, other = (every_scene(one.wanted, seed=0, number=number) for number in (0, 0, 1))
    assert len(scenes.images) == len(KIND_CHANCES) ** 2 * len(FAULTS) == 100
    assert scenes.images == again.images and scenes.images != other.images
    assert scenes.prompt == one.prompt
    assert scenes.gold[0] == scenes.gold.max() == 2.0  # both things right, rendered clean
    assert (scenes.gold == other.gold).all()


def test_no_policy_of_the_same_kl_is_worth_more_than_what_is_attainable(gold: np.ndarray) -> None:
    for seed in range(40):
        policy = random_policy(seed)
        kl = kl_between(policy, START)
        assert expected(joint(policy)[None], gold[:1]) <= attainable(gold[:1], START, np.atleast_1d(kl)) + 1e-9
    tilted = [one * np.exp(2 * np.eye(len(one))[0]) for one in START]
    within = [one / one.sum() for one in tilted]  # more of what is right, in every decision: nearly the best there is
    kl = kl_between(within, START)
    assert expected(joint(within)[None], gold[:1]) > 0.97 * attainable(gold[:1], START, np.atleast_1d(kl))
    assert attainable(gold[:1], START, np.array([0.0])) == pytest.approx(expected(joint(START)[None], gold[:1]))
    assert attainable(gold[:1], START, np.array([20.0])) == pytest.approx([2.0])


def test_best_of_n_never_has_more_than_is_attainable_at_its_kl(gold: np.ndarray) -> None:
    begin, order = joint(START), np.argsort(gold[0])
    for n in (2, 8, 64):
        cumulative = np.concatenate([[0.0], np.cumsum(begin[order])]) ** n
        worth = np.diff(cumulative) @ gold[0][order]
        assert worth <= attainable(gold[:1], START, np.array([kl_of_best(n)]))[0] + 1e-9


def test_a_reward_that_is_gold_captures_all(gold: np.ndarray) -> None:
    reached = optimise(gold, gold, START, Training())
    told = points(reached, resamples=200)
    assert told[0].kl.value == 0.0 and told[0].captured.value is None
    assert all(one.captured.value == pytest.approx(1.0, abs=0.01) for one in told[1:])
    assert best(reached) == len(reached) - 1
    kl = [one.kl.value for one in told]
    assert kl == sorted(kl)
    # An affine change of a reward is none: a coefficient is in its own deviations.
    other = optimise(7 * gold - 3, gold, START, Training())
    assert np.allclose(other[-1].kl, reached[-1].kl)


def test_a_random_reward_is_paid_ever_more_and_captures_nothing_in_the_end(gold: np.ndarray) -> None:
    reached = optimise(np.random.default_rng(0).random(gold.shape), gold, START, QUICK)
    told = points(reached, resamples=500)
    assert told[-1].reward.low > told[0].reward.high
    assert told[-1].captured.low < 0 < told[-1].captured.high
    # In between it may capture some: independent decisions that are paid for anything gather on what the generator does
    # often, which is often right. Over 300 prompts 23 % at most.
    assert max(one.captured.value for one in told[1:]) < 0.45


def test_a_reward_that_likes_a_fault_is_over_optimised(gold: np.ndarray) -> None:
    pale = np.tile([float(fault == "pale") for fault in FAULTS], gold.shape[1] // len(FAULTS))
    likes_it = optimise(np.tile(pale, (PROMPTS, 1)), gold, START, QUICK)
    mean = [one.gold.mean() for one in likes_it]
    assert mean == sorted(mean, reverse=True) and mean[-1] < mean[0] - 0.5
    assert best(likes_it) == 0
    # A pale picture costs the raters 0.9. Where the reward finds it better than a clean one by 0.3 and is right of all
    # else, a little pressure mends the things, which the generator often has right; much goes for the fault.
    mostly_right = optimise(gold + 1.2 * pale, gold, START, Training())
    told = points(mostly_right, resamples=200)
    assert 0 < best(mostly_right) < len(told) - 1
    assert told[best(mostly_right)].gold.low > told[-1].gold.high
    assert told[-1].reward.low > told[best(mostly_right)].reward.high


def test_what_is_missing_pays_nothing_and_costs_nothing(gold: np.ndarray) -> None:
    silent = reinforce(np.full(gold.shape, np.nan), START, QUICK)
    assert all(np.allclose(one, begin, atol=1e-3) for one, begin in zip(silent, START, strict=True))
    assert spread(np.full(gold.shape, np.nan), START) == 1.0
    level = np.where(gold > 0.5, 0.1 + 0.2, 0.3)  # which differ by rounding alone
    assert spread(level, START) == 1.0
    trained = reinforce(level, START, QUICK)
    assert all(np.allclose(one, begin, atol=1e-3) for one, begin in zip(trained, START, strict=True))
    reward = gold.copy()
    reward[:, 3::7] = np.nan  # the best scene, which is the first, is known
    told = points(optimise(reward, gold, START, QUICK), resamples=200)
    assert told[-1].captured.value > 0.8


def test_a_step_goes_up_the_gradient_of_the_reward_less_the_price_of_the_kl() -> None:
    reward = np.random.default_rng(4).random((1, 100))
    price = 0.7
    begin = random_policy(6)  # the start of the policy; its KL is to itself, so that one step has none, and two have
    scale = spread(reward, begin)

    def objective(logits: list[np.ndarray]) -> float:
        policy = [np.exp(one) / np.exp(one).sum() for one in logits]
        return float(expected(joint(policy)[None], reward)[0] / scale - price * kl_between(policy, begin))

    at = [np.log(one) for one in begin]
    for steps in (1, 2):
        trained = reinforce(reward, begin, Training((price,), steps=steps, batch=200_000, rate=2.0))
        # The rate falls to 0 in a line: 2, or 2 and then 1.
        climbed = [one.copy() for one in at]
        for rate in (2.0, 1.0)[:steps]:
            slopes = []
            for place, one in enumerate(climbed):
                slopes.append(np.zeros_like(one))
                for value in range(len(one)):
                    ends = []
                    for shift in (1e-5, -1e-5):
                        moved = [other.copy() for other in climbed]
                        moved[place][value] += shift
                        ends.append(objective(moved))
                    slopes[-1][value] = (ends[0] - ends[1]) / 2e-5
            climbed = [one + rate * slope for one, slope in zip(climbed, slopes, strict=True)]
        for one, logits in zip(trained, climbed, strict=True):
            assert one[0, 0] == pytest.approx(np.exp(logits) / np.exp(logits).sum(), abs=3e-3)


def test_the_same_seed_gives_the_same_policy_and_another_another(gold: np.ndarray) -> None:
    one, same, other = (reinforce(gold, START, QUICK._replace(seed=seed)) for seed in (0, 0, 1))
    assert all((a == b).all() for a, b in zip(one, same, strict=True))
    assert not all((a == b).all() for a, b in zip(one, other, strict=True))


def test_prompts_are_independent_of_one_another(gold: np.ndarray) -> None:
    """A prompt's policy does not see the others' scores, but for the scale of all of them, which is the same here."""
    reward = np.tile(np.random.default_rng(3).random(100), (PROMPTS, 1))
    changed = reward.copy()
    changed[1:] = changed[1:, ::-1]
    scale = spread(reward, START)
    changed[1:] *= scale / spread(changed[1:], START)
    one, other = reinforce(reward, START, QUICK), reinforce(changed, START, QUICK)
    assert all(np.allclose(a[:, 0], b[:, 0], atol=1e-6) for a, b in zip(one, other, strict=True))
    assert not all(np.allclose(a[:, 1], b[:, 1], atol=1e-3) for a, b in zip(one, other, strict=True))
