"""Models asked about edits: three pictures, of which the two results change places and the original does not."""

from dataclasses import replace

import numpy as np
import pytest

from earshot.errors import InputError, ModelError
from earshot.images import DEFAULT_LIMITS
from earshot.listener.local import LocalListener
from earshot.protocol import prompt_set
from earshot.reasoner import Reasoner
from earshot.types import Pair
from earshot.vlm.mechanisms import core_of
from earshot.vlm.on_vllm import VllmModel
from tests.vlm.models import FAMILIES, fresh, noisy_pair, picture, tiny

EDITS = prompt_set("brief-edit")


def edit(id: str, seed: int = 0, prompt: str = "a red circle") -> Pair:
    return replace(noisy_pair(id, prompt, seed), original=picture(100 + seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_three_pictures_read_together_give_what_plain_rows_give(family):
    listener = LocalListener(tiny(family).asked(EDITS))
    one, other = edit("one"), edit("other", 1, "two blue squares and a red circle")
    rows = [(one, None), (one, "first is red"), (one.swapped(), "first is red"), (other, "1 2")]
    together = listener.p_first([pair for pair, _ in rows], [trace for _, trace in rows])
    alone = [listener.p_first_stock(pair, trace) for pair, trace in rows]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(set(alone)) == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_another_original_is_another_question(family):
    listener, one = LocalListener(tiny(family).asked(EDITS)), edit("one")
    other = replace(one, original=picture(7))
    p = listener.p_first([one, other, one], ["red", "red", "red"])  # of one id, and told apart
    assert p[0] != p[1] and p[0] == pytest.approx(p[2], abs=1e-6)


def test_the_original_is_shown_first_in_either_order():
    vlm, pair = tiny("qwen2_5_vl").asked(EDITS), edit("one")
    _, (forward, swapped) = vlm.questions([pair, pair.swapped()])
    shown = {name: np.asarray(image).tobytes() for name, image in zip("ofs", pair.images, strict=True)}
    assert [np.asarray(image).tobytes() for image in forward] == [shown["o"], shown["f"], shown["s"]]
    assert [np.asarray(image).tobytes() for image in swapped] == [shown["o"], shown["s"], shown["f"]]


def test_both_orders_of_an_edit_encode_its_three_pictures_once(monkeypatch):
    vlm = fresh("qwen2_5_vl").asked(EDITS)
    core, encoded = core_of(vlm.model), []
    real = core.get_image_features

    def count(pixels, image_grid_thw, **how):
        encoded.append(len(image_grid_thw))
        return real(pixels, image_grid_thw=image_grid_thw, **how)

    monkeypatch.setattr(core, "get_image_features", count)
    (judged,) = Reasoner(vlm, max_new_tokens=4).judge([edit("one")])
    assert [sample.order for sample in judged] == ["forward", "swapped"]
    assert encoded == [3]  # and not the six that two prompts show


def test_a_completion_depends_on_its_own_edit_alone():
    reasoner = Reasoner(tiny("qwen2_5_vl").asked(EDITS), max_new_tokens=8)
    together = reasoner.judge([edit("one"), edit("other", 1)], samples=2)
    assert [reasoner.judge([one], samples=2)[0] for one in (edit("one"), edit("other", 1))] == [
        [
            replace(sample, p_first=pytest.approx(sample.p_first, abs=1e-5)) if sample.p_first else sample
            for sample in of
        ]
        for of in together
    ]


def test_a_question_that_would_leave_an_image_out_is_refused_by_name():
    pairs, edits = tiny("qwen2_5_vl"), tiny("qwen2_5_vl").asked(EDITS)
    with pytest.raises(InputError, match=r"'brief' asks about two images of a prompt, and pair 'one' has an original"):
        Reasoner(pairs, max_new_tokens=4).judge([edit("one")])
    with pytest.raises(InputError, match=r"'brief-edit' asks about edits, and pair 'p' has no original image"):
        LocalListener(edits).p_first([noisy_pair("p")], [None])


def test_vllm_has_room_for_two_images_and_says_so():
    with pytest.raises(ModelError, match=r"'brief-edit'.*room for two images a prompt; use engine local"):
        VllmModel(tiny("qwen2_5_vl").asked(EDITS), None, DEFAULT_LIMITS, "")
