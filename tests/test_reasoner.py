"""A reasoner judges both orders, tells everything in the pair's own sides, and is deterministic under its seed."""

import pytest
import torch

from earshot.listener.local import LocalListener
from earshot.protocol import parse_completion, prompt_set
from earshot.reasoner import Reasoner
from earshot.types import Malformed
from tests.vlm.models import FAMILIES, fresh, noisy_pair, tiny

PAIRS = [noisy_pair(str(k), prompt, k) for k, prompt in enumerate(["a red circle", "two blue squares", "red"])]


class Scripted(Reasoner):
    """Writes what it is told to, in place of the model: the completions in the order in which pairs are shown."""

    def write(self, texts):
        self.texts = list(texts)
        return self

    def _complete(self, prefix, shown, samples, seed, wanted=None):
        return [self.texts.pop(0) for _ in range(len(shown) * samples)]


def scripted(texts, **options):
    return Scripted(tiny("qwen2_5_vl"), **options).write(texts)


FIRST, SECOND = "<think> red </think><answer>1</answer>", "<think> blue </think><answer>2</answer>"


def test_there_are_samples_in_both_orders_of_every_pair():
    judged = Reasoner(tiny("llava"), max_new_tokens=6).judge(PAIRS, samples=2)
    assert [[sample.order for sample in row] for row in judged] == [["forward"] * 2 + ["swapped"] * 2] * 3


def test_a_pair_that_is_no_longer_wanted_is_cut_and_changes_no_other():
    reasoner = Reasoner(tiny("qwen2_5_vl"), max_new_tokens=12, batch_size=4)
    whole = reasoner.judge(PAIRS, samples=2)
    asked = [0, 0, 0]

    def wanted(k):
        asked[k] += 1
        return k != 1 or asked[1] <= 6  # three tokens, for it is shown in two orders

    cut = reasoner.judge(PAIRS, samples=2, wanted=wanted)
    assert [cut[0], cut[2]] == [whole[0], whole[2]]
    for short, long in zip(cut[1], whole[1], strict=True):
        assert long.trace.startswith(short.trace) and len(short.trace) < len(long.trace)
    nothing = reasoner.judge(PAIRS[:1], wanted=lambda k: False)
    assert [sample.trace for sample in nothing[0]] == ["", ""]


def test_a_prompt_that_nobody_waits_for_is_read_no_further():
    reasoner = Reasoner(tiny("qwen2_5_vl"), max_new_tokens=4)
    read, layers = [], reasoner.vlm.model.model.language_model.layers
    hooks = [layer.register_forward_hook(lambda *_, k=k: read.append(k)) for k, layer in enumerate(layers)]
    try:
        judged = reasoner.judge(PAIRS[:1], wanted=lambda k: not read)
    finally:
        for hook in hooks:
            hook.remove()
    assert read == [0] and len(layers) > 1
    assert [sample.trace for sample in judged[0]] == ["", ""]
    assert reasoner.judge(PAIRS[:1]) == reasoner.judge(PAIRS[:1], wanted=lambda k: True)


def test_a_swapped_sample_is_told_in_the_pairs_own_sides():
    forward, swapped = scripted([FIRST, FIRST]).judge(PAIRS[:1])[0]
    # The same words, "1", mean the first image where the pair is shown as it is, and the second where it is swapped.
    assert (forward.side, swapped.side) == ("first", "second")
    own = LocalListener(tiny("qwen2_5_vl"))
    p_forward, p_swapped = own.p_first([PAIRS[0]], ["red"])[0], own.p_first([PAIRS[0].swapped()], ["red"])[0]
    assert forward.p_first == pytest.approx(p_forward, abs=1e-6)
    assert swapped.p_first == pytest.approx(1 - p_swapped, abs=1e-6)
    assert forward.trace.strip() == swapped.trace.strip() == "red"


def test_swapping_the_pair_swaps_what_is_said_of_it():
    texts = [FIRST, SECOND]
    one = scripted(texts).judge(PAIRS[:1])[0]
    other = scripted(texts[::-1]).judge([PAIRS[0].swapped()])[0]
    for ours, theirs in ((one[0], other[1]), (one[1], other[0])):
        assert {ours.side, theirs.side} == {"first", "second"}
        assert ours.p_first == pytest.approx(1 - theirs.p_first, abs=1e-6)


def test_malformed_completions_are_kept_and_said_why():
    texts = ["no idea", SECOND, FIRST, "<think>red</think><answer>3</answer>"]
    judged = scripted(texts).judge(PAIRS[:2])
    samples = [sample for row in judged for sample in row]
    assert [sample.side for sample in samples] == [None, "first", "first", None]
    assert samples[0].trace == "no idea" and samples[0].p_first is None
    for text, sample in zip(texts, samples, strict=True):
        parsed = parse_completion(text, prompt_set("brief"))
        assert sample.malformed == (parsed.reason if isinstance(parsed, Malformed) else None)


def test_all_may_be_malformed():
    judged = scripted(["no idea"] * 4).judge(PAIRS[:2])
    assert all(sample.malformed and sample.p_first is None for row in judged for sample in row)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_texts_in_any_batch(family):
    def texts(batch_size, pairs=PAIRS, seed=3):
        judged = Reasoner(tiny(family), max_new_tokens=8, batch_size=batch_size).judge(pairs, samples=2, seed=seed)
        return [[sample.trace for sample in row] for row in judged]

    together = texts(16)
    assert texts(16) == together == texts(1) == texts(4)
    assert texts(16, PAIRS[::-1]) == together[::-1]
    assert texts(16, PAIRS[1:2]) == together[1:2]
    assert texts(16, seed=4) != together


def test_samples_of_one_pair_differ():
    row = Reasoner(tiny("llava"), max_new_tokens=8).judge(PAIRS[:1], samples=4)[0]
    assert len({sample.trace for sample in row}) > 1


def test_a_cold_reasoner_repeats_itself():
    row = Reasoner(tiny("llava"), max_new_tokens=8, temperature=0.0).judge(PAIRS[:1], samples=3)[0]
    assert len({sample.trace for sample in row[:3]}) == len({sample.trace for sample in row[3:]}) == 1


def test_no_pairs_have_no_samples():
    assert Reasoner(tiny("llava")).judge([]) == []


def test_judging_leaves_a_model_in_training_as_it_was():
    vlm = fresh("llava")
    vlm.model.train()
    before = vlm.fingerprint()
    Reasoner(vlm, max_new_tokens=4).judge(PAIRS[:1])
    assert vlm.model.training and vlm.fingerprint() == before
    assert all(p.requires_grad and p.grad is None for p in vlm.model.parameters())


def test_a_model_that_breaks_half_way_is_left_in_training():
    vlm = fresh("llava")
    vlm.model.train()
    with torch.no_grad():
        vlm.model.model.language_model.norm.weight.fill_(float("nan"))
    with pytest.raises(Exception, match="not finite"):
        Reasoner(vlm, max_new_tokens=4).judge(PAIRS[:1])
    assert vlm.model.training
