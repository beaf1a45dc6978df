"""The reward functions of image generators' trainers get win rates within each prompt's group."""

import numpy as np
import pytest
import torch

from earshot.adapters import group_win_rates
from earshot.errors import ImageError, InputError
from earshot.judging.model import RewardModel
from tests.judging.opinions import Opinionated, shade

PROMPTS = ["a", "b", "a", "b", "a"]
BRIGHTNESS = [100, 40, 120, 60, 140]
# Within "a": 100, 120, 140; a step of 20 is σ(1) = 0.7311, of 40 σ(2) = 0.8808. Within "b": 40, 60.
EXPECTED = [(0.2689 + 0.1192) / 2, 0.2689, 0.5, 0.7311, (0.7311 + 0.8808) / 2]


def arrays():
    return np.stack([np.asarray(shade(b)) for b in BRIGHTNESS])


def tensors():
    return torch.from_numpy(arrays()).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize(
    "images",
    [arrays(), torch.from_numpy(arrays()), tensors(), [shade(b) for b in BRIGHTNESS]],
    ids=["NHWC", "uint8 tensor", "NCHW", "list"],
)
def test_scores_are_win_rates_within_the_prompt(images):
    # As flow_grpo/rewards.py calls its parts: score_fns[name](images, prompts, metadata)
    scores, rest = group_win_rates(RewardModel(Opinionated()))(images, PROMPTS, [{}] * 5)
    assert scores == pytest.approx(EXPECTED, abs=1e-4)
    assert rest == {}
    assert [0.5 * score for score in scores] == pytest.approx(0.5 * np.array(EXPECTED), abs=1e-4)


def test_prompts_may_be_a_tuple_and_metadata_nothing():
    scores, _ = group_win_rates(RewardModel(Opinionated()))(arrays(), tuple(PROMPTS), None)
    assert scores == pytest.approx(EXPECTED, abs=1e-4)


def test_a_collapsed_generator_earns_one_half():
    scores, _ = group_win_rates(RewardModel(Opinionated()))([shade(90)] * 4, ["a"] * 4, None)
    assert scores.tolist() == [0.5] * 4


def test_a_group_of_one_has_no_win_rate_but_by_references():
    reward = group_win_rates(RewardModel(Opinionated()))
    with pytest.raises(InputError, match="gather a prompt's images into one call"):
        reward([shade(90)], ["a"], [{}])
    measured = group_win_rates(RewardModel(Opinionated()), references=lambda prompt, about: [shade(about["grey"])])
    assert measured([shade(90)], ["a"], [{"grey": 70}])[0] == pytest.approx([0.7311], abs=1e-4)


def test_what_did_not_come_out_is_not_a_number():
    scores, _ = group_win_rates(RewardModel(Opinionated(malformed=("swapped",))))(arrays(), PROMPTS, None)
    assert np.isnan(scores).all()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 16, 16, 3), "expected \\(n, 3, height, width\\)"),
        (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), "expected uint8 and \\(height, width, 3\\)"),
        (torch.full((2, 3, 16, 16), 200.0), "outside \\[0, 1\\]"),
        (torch.full((2, 3, 16, 16), float("nan")), "outside \\[0, 1\\]"),
        (np.zeros((16, 16, 3), dtype=np.uint8), "expected \\(n, height, width, 3\\)"),
        (np.zeros((2, 16, 16, 3)), "images\\[0\\]: is an array of float64"),
        ([shade(1), None], "images\\[1\\]: is of type NoneType"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(images, message):
    with pytest.raises(ImageError, match=message):
        group_win_rates(RewardModel(Opinionated()))(images, ["a", "a"], None)


def test_as_many_prompts_as_images():
    with pytest.raises(InputError, match="5 images for 1 prompts"):
        group_win_rates(RewardModel(Opinionated()))(arrays(), ["a"], None)
