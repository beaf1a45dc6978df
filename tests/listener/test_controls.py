"""Each control does to its base exactly what it says, and nothing else."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.errors import ConfigError, InputError, ListenerUnavailable
from earshot.listener import Listener, ask, checked
from earshot.listener.controls import (
    BlindListener,
    BothOrdersListener,
    EnsembleListener,
    NoTraceListener,
    RandomListener,
    ShuffledListener,
    TemperedListener,
)
from tests.fakes import FakeListener, believes_words, colour_of, fake_pair, prefers_red

RED_FIRST = fake_pair("a", first="red", second="blue")
BLUE_FIRST = fake_pair("b", first="blue", second="red")


def all_controls(base):
    return [
        RandomListener(0),
        ShuffledListener(base),
        BlindListener(base),
        NoTraceListener(base),
        BothOrdersListener(base),
        EnsembleListener((base, base)),
        TemperedListener(base, 2.0),
    ]


def test_every_control_is_a_listener_with_a_name_of_its_own():
    controls = all_controls(FakeListener(name="base"))
    assert all(isinstance(control, Listener) for control in controls)
    assert len({control.name for control in controls}) == len(controls)


def test_every_control_answers_for_every_row_and_for_none():
    for control in all_controls(FakeListener(prefers_red)):
        assert ask(control, [RED_FIRST, BLUE_FIRST, RED_FIRST], ["x", "y", None]).shape == (3,)
        assert ask(control, [], []).shape == (0,)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_an_answer_that_is_no_probability_makes_every_wrapper_unavailable(value):
    with pytest.raises(ListenerUnavailable, match="position 0"):
        checked(np.array([value]))
    for control in all_controls(FakeListener(value))[1:]:
        with pytest.raises(ListenerUnavailable, match="'fake'"):
            control.p_first([RED_FIRST, BLUE_FIRST], ["x", "y"])


def test_a_base_that_fails_fails_every_wrapper():
    for control in all_controls(FakeListener(fails=True))[1:]:
        with pytest.raises(ListenerUnavailable, match="told to fail"):
            control.p_first([RED_FIRST, BLUE_FIRST], ["x", "y"])


def test_an_answer_of_the_wrong_length_is_refused():
    with pytest.raises(ListenerUnavailable, match="2 probabilities for 3 pairs"):
        checked(np.array([0.1, 0.2]), n=3)
    with pytest.raises(InputError, match="1 traces for 2 pairs"):
        ask(FakeListener(), [RED_FIRST, BLUE_FIRST], ["x"])


def test_checked_hands_probabilities_on_unchanged():
    p = np.array([0.0, 0.25, 1.0])
    assert checked(p, n=3) is p


def test_random_scores_depend_on_seed_pair_and_trace_and_on_nothing_else():
    once = RandomListener(1).p_first([RED_FIRST, BLUE_FIRST, RED_FIRST], ["x", "x", "y"])
    again = RandomListener(1).p_first([RED_FIRST, RED_FIRST, BLUE_FIRST], ["y", "x", "x"])
    assert once.tolist() == [again[1], again[2], again[0]]
    assert len({*once, *RandomListener(2).p_first([RED_FIRST], ["x"])}) == 4


def test_random_scores_are_spread_evenly():
    p = RandomListener(0).p_first([RED_FIRST] * 2000, [str(i) for i in range(2000)])
    # Standard error of the mean of 2000 uniform numbers: sqrt(1/12/2000) = 0.0065.
    assert abs(p.mean() - 0.5) < 4 * 0.0065
    assert abs((p < 0.1).mean() - 0.1) < 4 * math.sqrt(0.09 / 2000)


@given(sizes=st.lists(st.integers(1, 6), min_size=2, max_size=8), seed=st.integers(-5, 5), data=st.data())
def test_shuffled_gives_no_pair_a_trace_of_its_own(sizes, seed, data):
    ids = data.draw(st.permutations([str(i) for i, size in enumerate(sizes) for _ in range(size)]))
    base = FakeListener()
    ShuffledListener(base, seed).p_first([fake_pair(i) for i in ids], [f"{i}:{row}" for row, i in enumerate(ids)])
    _, given_traces = base.calls[0]
    assert all(trace.split(":")[0] != i for i, trace in zip(ids, given_traces, strict=True))
    if max(Counter(ids).values()) <= len(ids) / 2:
        assert len(set(given_traces)) == len(ids)


def test_shuffled_is_the_same_for_the_same_seed_and_other_for_another():
    pairs, traces = [fake_pair(str(i)) for i in range(12)], [str(i) for i in range(12)]
    base = FakeListener()
    for seed in (1, 1, 2):
        ShuffledListener(base, seed).p_first(pairs, traces)
    first, again, otherwise = (asked for _, asked in base.calls)
    assert first == again != otherwise


def test_shuffled_refuses_a_call_about_one_pair():
    with pytest.raises(ListenerUnavailable, match="at least two pairs"):
        ShuffledListener(FakeListener()).p_first([RED_FIRST] * 3, ["x", "y", "z"])


def test_blind_shows_grey_images_of_the_same_size_and_the_same_trace():
    base = FakeListener(prefers_red)
    assert BlindListener(base).p_first([RED_FIRST, RED_FIRST], ["x", "y"]).tolist() == [0.5, 0.5]
    (seen, again), traces = base.calls[0]
    assert traces == ["x", "y"]
    assert seen is again
    assert seen.first.size == seen.second.size == (12, 10)
    assert colour_of(seen.first) == colour_of(seen.second) == (128, 128, 128)
    assert (seen.id, seen.prompt, seen.votes) == (RED_FIRST.id, RED_FIRST.prompt, RED_FIRST.votes)


def test_no_trace_asks_once_for_each_pair_and_answers_for_each_row():
    base = FakeListener(prefers_red)
    p = NoTraceListener(base).p_first([RED_FIRST, BLUE_FIRST, RED_FIRST], ["first", "first", "second"])
    assert p.tolist() == pytest.approx([0.9, 0.1, 0.9])
    assert base.calls[0] == ([RED_FIRST, BLUE_FIRST], [None, None])


def test_no_trace_tells_a_pair_from_the_same_pair_swapped():
    p = NoTraceListener(FakeListener(prefers_red)).p_first([RED_FIRST, RED_FIRST.swapped()], ["x", "x"])
    assert p.tolist() == pytest.approx([0.9, 0.1])


def test_both_orders_cancels_a_listener_that_always_says_first():
    # (0.9 + (1 - 0.9)) / 2 = 0.5
    assert BothOrdersListener(FakeListener(0.9)).p_first([RED_FIRST], ["x"]).tolist() == pytest.approx([0.5])


def test_both_orders_leaves_a_symmetric_listener_as_it_is():
    pairs, traces = [RED_FIRST, BLUE_FIRST], ["the first is red", None]
    assert BothOrdersListener(FakeListener(prefers_red)).p_first(pairs, traces).tolist() == pytest.approx([0.9, 0.1])


def test_both_orders_swaps_the_words_with_the_images():
    base = FakeListener(believes_words)
    # Forward 0.8 for "first"; swapped it reads "second" and says 0.2, which is 0.8 for the first: mean 0.8.
    assert BothOrdersListener(base).p_first([RED_FIRST], ["first is red"]).tolist() == pytest.approx([0.8])
    (shown,), traces = base.calls[1]
    assert shown == RED_FIRST.swapped()
    assert traces == ["second is red"]


def test_swapping_the_images_of_both_orders_gives_one_minus_p():
    lopsided = BothOrdersListener(FakeListener(lambda pair, _: 0.3 + 0.6 * prefers_red(pair, None)))
    p, swapped = lopsided.p_first([RED_FIRST, RED_FIRST.swapped()], ["first", "second"])
    assert p == pytest.approx(1 - swapped)


def test_an_ensemble_is_the_mean_of_its_listeners():
    # (0.2 + 0.5 + 0.8 * 1) / 3 = 0.5
    bases = (FakeListener(0.2), FakeListener(0.5), FakeListener(believes_words))
    assert EnsembleListener(bases).p_first([RED_FIRST], ["first"]).tolist() == pytest.approx([0.5])


@pytest.mark.parametrize(
    ("p", "temperature", "expected"),
    [
        (0.8, 1.0, 0.8),
        (0.8, 2.0, 2 / 3),  # odds 4, at temperature 2 odds sqrt(4) = 2, so 2/3
        (0.8, 0.5, 16 / 17),  # odds 4² = 16
        (0.5, 3.0, 0.5),
        (0.0, 2.0, 0.0),
        (1.0, 2.0, 1.0),
    ],
)
def test_a_temperature_divides_the_logit(p, temperature, expected):
    got = TemperedListener(FakeListener(p), temperature).p_first([RED_FIRST], ["x"])
    assert got.tolist() == pytest.approx([expected])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_an_impossible_temperature_is_refused(temperature):
    with pytest.raises(ConfigError, match="temperature"):
        TemperedListener(FakeListener(), temperature)
