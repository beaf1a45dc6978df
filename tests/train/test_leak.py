"""The leak alarm: silent at its level, and how soon it hears a planted leak."""

import math

import numpy as np
import pytest

from earshot.errors import ConfigError
from earshot.train.leak import FALSE_ALARM_CHECKS, REFERENCE_CHECKS, BinomialCusum, LeakAlarm
from earshot.types import Pair
from tests.fakes import FakeListener, fake_pair

N = 64  # pairs a check, where a step has so many


def delays(share: float, level: float, runs: int = 400, limit: int = 2000) -> list[int]:
    """Checks until the alarm, in simulated runs whose blind listener names the label in `share` of the pairs."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(runs):
        cusum = BinomialCusum(level)
        hits = rng.binomial(N, share, size=limit).astype(float)
        found.append(next((k + 1 for k, h in enumerate(hits.tolist()) if cusum.add(h, N)), limit))
    return found


def test_the_sum_is_the_log_likelihood_ratio_and_never_below_zero() -> None:
    cusum = BinomialCusum(0.5)
    # 40 of 64 at 0.6 against 0.5: 40 ln 1.2 + 24 ln 0.8 = 7.2929 − 5.3554 = 1.9374
    assert not cusum.add(40.0, 64)
    assert cusum.total == pytest.approx(40 * math.log(1.2) + 24 * math.log(0.8)) == pytest.approx(1.9374, abs=1e-4)
    cusum.add(10.0, 64)
    assert cusum.total == 0.0
    assert cusum.add(64.0, 64)  # 64 ln 1.2 = 11.7 > ln 1000 = 6.9


@pytest.mark.parametrize(
    ("bias", "median"),
    [(0.05, 21), (0.1, 5), (0.2, 2), (0.3, 2)],
)
def test_a_planted_leak_is_heard_after_so_many_checks(bias: float, median: int) -> None:
    # Blind accuracy rises at once from 0.5 by `bias`; the medians are those of docs/experiments/attacks.md.
    assert abs(np.median(delays(0.5 + bias, 0.5)) - median) <= max(1, 0.15 * median)


def test_without_a_leak_false_alarms_are_a_thousand_checks_apart() -> None:
    waited = np.array(delays(0.5, 0.5, runs=200, limit=4 * FALSE_ALARM_CHECKS))
    assert waited.mean() > FALSE_ALARM_CHECKS  # cut at four times that, so an underestimate


def test_an_honest_level_above_one_half_is_no_leak() -> None:
    assert np.mean(np.array(delays(0.8, 0.8, runs=100, limit=200)) < 200) < 0.2  # ≤ 200/1000 in expectation
    assert np.median(delays(0.9, 0.8, runs=100)) <= 6


@pytest.mark.parametrize("level", [0.0, 0.5, 0.95, 1.0])
def test_every_share_has_a_finite_sum(level: float) -> None:
    cusum = BinomialCusum(level)
    for hits in (0.0, 64.0, 32.0):
        cusum.add(hits, 64)
    assert math.isfinite(cusum.total)
    with pytest.raises(ConfigError, match=r"level 1\.5"):
        BinomialCusum(1.5)


def tells(pair: Pair, trace: str | None) -> float:
    """Believes a trace that names a side."""
    return {"so first": 0.9, "so second": 0.1}.get(trace or "", 0.5)


def pairs_of(n: int) -> list[Pair]:
    return [fake_pair(f"p{k}", votes=(3.0, 1.0) if k % 2 else (1.0, 3.0)) for k in range(n)]


def test_it_asks_every_so_many_steps_and_only_of_labelled_well_formed_rollouts_of_different_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("earshot.train.leak.ROLLOUTS", 3)
    listener = FakeListener(tells)
    alarm = LeakAlarm(listener, every_steps=5, _cusum=BinomialCusum(0.5))
    pairs = [pair for pair in [fake_pair("tie", votes=(1.0, 1.0)), *pairs_of(3)] for _ in range(4)]
    traces = [None if k % 4 == 0 else f"so {'first' if pair.votes.majority == 'first' else 'second'}"
              for k, pair in enumerate(pairs)]  # fmt: skip
    assert alarm.watch(4, pairs, traces) == {} and listener.calls == []
    logged = alarm.watch(5, pairs, traces)
    assert logged["leak/blind_accuracy"] == 1.0 and logged["leak/alarm"] == 0.0
    assert [pair.id for pair in listener.calls[0][0]] == ["p0", "p1", "p2"]
    assert alarm.watch(5, pairs, traces) == {}  # the step's second call


def measured() -> LeakAlarm:
    """An alarm that has its level: ten checks of ten pairs of which it could tell nothing."""
    alarm = LeakAlarm(FakeListener(0.5), every_steps=1)
    for step in range(REFERENCE_CHECKS):
        assert alarm.watch(step, pairs_of(10), ["x"] * 10) == {"leak/blind_accuracy": 0.5, "leak/pairs": 10.0}
    alarm.blind = FakeListener(tells)
    return alarm


def leaking(alarm: LeakAlarm, step: int) -> dict[str, float]:
    return alarm.watch(step, pairs_of(10), [f"so {pair.votes.majority}" for pair in pairs_of(10)])


def test_the_level_is_that_of_the_first_checks_and_a_standard_error() -> None:
    alarm = measured()
    values = [leaking(alarm, 10 + k) for k in range(5)]
    # 0.5 + √(0.25/100) = 0.55, and 0.65 when risen: 10 ln(0.65/0.55) = 1.67 a check, and ln 1000 = 6.91 is due
    assert values[0]["leak/cusum"] == pytest.approx(10 * math.log(0.65 / 0.55)) == pytest.approx(1.6705, abs=1e-4)
    assert [row["leak/alarm"] for row in values] == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_a_run_that_goes_on_takes_no_leak_for_its_level() -> None:
    before = measured()
    log = [{"step": step + 1, "loss": 0.1, "leak/blind_accuracy": 0.5, "leak/pairs": 10.0} for step in range(10)]
    log += [{"step": 11 + k, **leaking(before, 10 + k)} for k in range(5)]
    after = LeakAlarm(FakeListener(tells), every_steps=1)
    after.recall([*log, {"step": 16, "loss": 0.1}])
    assert leaking(after, 15) == leaking(before, 15)


def test_the_traces_of_a_pair_are_one_observation() -> None:
    # The right side for two of the three traces of p1, and for the one of p0: (2/3 + 1)/2.
    alarm = LeakAlarm(FakeListener(tells), every_steps=1, _cusum=BinomialCusum(0.5))
    zero, one = pairs_of(2)
    logged = alarm.watch(0, [one, one, zero, one], ["so first", "so first", "so second", "so second"])
    assert (logged["leak/blind_accuracy"], logged["leak/pairs"]) == (pytest.approx(5 / 6), 2.0)
    assert logged["leak/cusum"] == pytest.approx(5 / 3 * math.log(1.2) + 1 / 3 * math.log(0.8))


def runs_with_alarm(level: float, share: float, pairs: int, checks: int) -> float:
    """The share of simulated runs that have an alarm by so many checks after those that give the level."""
    rng = np.random.default_rng(1)
    alarms = 0
    for _ in range(400):
        alarm = LeakAlarm(FakeListener(), every_steps=1)
        means = [*(rng.binomial(pairs, level, REFERENCE_CHECKS) / pairs), *(rng.binomial(pairs, share, checks) / pairs)]
        alarms += any(alarm.take_in(float(mean), pairs).get("leak/alarm") for mean in means)
    return alarms / 400


@pytest.mark.parametrize("level", [0.5, 0.8])
def test_with_a_level_that_was_measured_false_alarms_are_rare_and_leaks_are_heard(level: float) -> None:
    assert runs_with_alarm(level, level, pairs=24, checks=200) <= 0.06
    assert runs_with_alarm(level, level + 0.15, pairs=24, checks=40) >= 0.9


def test_a_listener_that_fails_is_no_measurement() -> None:
    alarm = LeakAlarm(FakeListener(fails=True), every_steps=1)
    assert alarm.watch(0, pairs_of(4), ["x"] * 4) == {}
    assert LeakAlarm(FakeListener(), every_steps=1).watch(0, pairs_of(2), [None, None]) == {}
