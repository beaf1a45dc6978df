"""A listener alone is a reward in the call shapes of TRL and verl; what is missing is never a number."""

import numpy as np
import pytest

from earshot.adapters import trl_listener_reward, verl_listener_reward
from earshot.errors import InputError, ListenerUnavailable
from tests.judging.opinions import Hears, shade

GOOD = "<think> the second is brighter . so image 2 is better </think><answer>2</answer>"
IMAGES = [shade(100), shade(140)]  # people prefer the second: σ(2) = 0.8808


class Down(Hears):
    def p_first(self, pairs, traces):
        raise ListenerUnavailable("down")


class NotANumber(Hears):
    def p_first(self, pairs, traces):
        return np.full(len(pairs), np.nan)


def trl(listener, completions, **changed):
    """As `GRPOTrainer._calculate_rewards` calls: prompts, completions, ids, every column, and what helps to log."""
    n = len(completions)
    columns = {"images": [IMAGES] * n, "caption": ["a grey square"] * n, "side": ["second"] * n, "source": ["x"] * n}
    return trl_listener_reward(listener)(
        prompts=[[{"role": "user", "content": "?"}]] * n,
        completions=completions,
        completion_ids=[[1, 2]] * n,
        trainer_state=None,
        log_extra=None,
        log_metric=None,
        **(columns | changed),
    )


def test_trl_gets_the_listeners_confidence_and_zero_for_nonsense():
    listener = Hears()
    chat = [[{"role": "assistant", "content": GOOD}], [{"role": "assistant", "content": "no idea"}]]
    assert trl(listener, chat) == pytest.approx([0.8808, 0.0], abs=1e-4)
    assert trl(listener, [GOOD, "no idea"]) == pytest.approx([0.8808, 0.0], abs=1e-4)
    assert trl(listener, [GOOD], side=["first"]) == pytest.approx([0.1192], abs=1e-4)
    assert "better" not in " ".join(listener.traces)  # its conclusion was taken out
    assert trl(listener, ["no idea"]) == [0.0]


def test_trl_takes_a_function_with_a_name():
    assert trl_listener_reward(Hears()).__name__ == "earshot_listener"


@pytest.mark.parametrize("listener", [Down(), NotANumber()])
def test_a_listener_that_is_down_gives_trl_no_number_and_verl_an_error(listener):
    assert trl(listener, [GOOD, GOOD]) == [None, None]
    with pytest.raises(ListenerUnavailable):
        verl(listener)


def verl(listener, **changed):
    """As verl's naive reward manager calls."""
    given = {
        "data_source": "pairs",
        "solution_str": GOOD,
        "ground_truth": "second",
        "extra_info": {"caption": "a grey square", "images": IMAGES, "index": 3},
    }
    return verl_listener_reward(listener)(**(given | changed))


def test_verl_gets_a_float():
    assert verl(Hears()) == pytest.approx(0.8808, abs=1e-4)
    assert verl(Hears(), ground_truth="1") == pytest.approx(0.1192, abs=1e-4)
    assert verl(Hears(), solution_str="no idea") == 0.0


def test_rows_without_what_the_listener_needs_are_refused():
    with pytest.raises(InputError, match="extra_info: has no caption and images"):
        verl(Hears(), extra_info=None)
    with pytest.raises(InputError, match="side is 'tie'"):
        verl(Hears(), ground_truth="tie")
    with pytest.raises(InputError, match="images: holds 1"):
        trl(Hears(), [GOOD], images=[IMAGES[:1]])
