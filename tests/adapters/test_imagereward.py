"""The calls of ImageReward's own example work, and what cannot be told is not made up."""

import math

import pytest

from earshot.adapters import ImageRewardStyle
from earshot.errors import InputError
from earshot.judging.model import RewardModel
from tests.judging.opinions import Opinionated, shade

MODEL = RewardModel(Opinionated())


@pytest.fixture()
def images(tmp_path):
    paths = []
    for k, brightness in enumerate((100, 160, 130), start=1):
        paths.append(str(tmp_path / f"{k}.png"))
        shade(brightness).save(paths[-1])
    return paths


def test_the_example_of_its_readme_runs(images):
    model = ImageRewardStyle(MODEL)
    ranking, rewards = model.inference_rank("a grey square", images)
    assert ranking == [3, 1, 2]
    assert rewards[1] > rewards[2] > rewards[0]
    assert model.score("a grey square", images) == rewards


def test_a_single_image_needs_references(images):
    with pytest.raises(InputError, match=r"no absolute scale.*ImageRewardStyle\(model, references="):
        ImageRewardStyle(MODEL).score("a grey square", images[0])
    score = ImageRewardStyle(MODEL, references=[images[0]]).score("a grey square", images[1])
    assert score == pytest.approx(0.9526, abs=1e-4)  # σ(60 / 20)


def test_what_did_not_come_out_is_last_and_not_a_number(images):
    ranking, rewards = ImageRewardStyle(RewardModel(Opinionated(malformed=("forward",)))).inference_rank("a", images)
    assert ranking == [3, 3, 3]
    assert all(math.isnan(reward) for reward in rewards)
