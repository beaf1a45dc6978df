"""Rows that share a prefix give what plain rows give, and sampling depends on nothing but the row itself."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from earshot.errors import ModelError
from earshot.vlm.mechanisms import attention_of
from earshot.vlm.prefix import Sampling, continued, encode_prefix, sample, suffix_logits
from earshot.vlm.prefix.attention import sharing_attention
from earshot.vlm.prefix.pictures import Pictures, _distinct
from earshot.vlm.prefix.sampling import _rows_of
from tests.vlm.models import FAMILIES, any_size, fresh, images_of, mixed_prompts, plain_row, text_prompts, tiny

OWNERS = [0, 0, 0, 1, 2, 2]  # unequal groups, one of a single row
SUFFIXES = [[7, 9, 11], [30], [12, 13, 14, 15, 16, 17], [40, 41], [8], [9, 10, 11, 12]]


SAMPLING = "earshot.vlm.prefix.sampling"


@pytest.fixture(params=["shared", "copied", "captured"])
def either_way(request, monkeypatch):
    """Prompts that lie in memory once, copies of them for each row, and a GPU's form, but for the graph."""
    shared, captured = request.param != "copied", request.param == "captured"
    monkeypatch.setattr(f"{SAMPLING}.can_share_prompts", lambda model, cache: shared)
    if captured:
        monkeypatch.setattr(f"{SAMPLING}.can_capture", lambda model, device: True)
        monkeypatch.setattr(f"{SAMPLING}._WORTH_CAPTURING", 1)
        monkeypatch.setattr(f"{SAMPLING}._tokens_unseen", lambda device: 8)


def sampling_of(vlm, **changes):
    given = {"max_new_tokens": 12, "temperature": 1.0, "stop_ids": vlm.stop_ids, "forbidden_ids": vlm.forbidden_ids}
    return Sampling(**{**given, "pad_id": vlm.tokenizer.pad_token_id, **changes})


class Questions(TorchDispatchMode):
    """Counts what a GPU would have to finish its work for: numbers read from tensors, and sizes that hang on values."""

    def __init__(self):
        super().__init__()
        self.asked = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.asked += func.overloadpacket.__name__ in {
            "_local_scalar_dense",
            "nonzero",
            "equal",
            "_unique2",
            "bincount",
        }
        return func(*args, **(kwargs or {}))


def uniforms_of(rows, length, seed=0):
    return torch.rand(rows, length, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_after_a_prefix_are_those_of_a_plain_row(family):
    vlm = any_size(fresh(family))
    vlm.model.eval()
    inputs = mixed_prompts(vlm)
    assert (inputs["attention_mask"].sum(1).unique().numel()) == 3  # the prompts are padded differently
    prefix = encode_prefix(vlm.model, inputs)
    shared = suffix_logits(vlm.model, prefix, OWNERS, SUFFIXES, pad_id=vlm.tokenizer.pad_token_id)
    for row, (owner, suffix) in enumerate(zip(OWNERS, SUFFIXES, strict=True)):
        with torch.no_grad():
            plain = vlm.model(**plain_row(inputs, owner, suffix)).logits[0, -1]
        torch.testing.assert_close(shared[row], plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("owners", "passes"), [([0, 1, 2], 1), ([0, 1, 1, 2], 2), ([2, 0, 1], 2)])
def test_prompts_are_encoded_apart_only_where_one_has_several_suffixes(family, owners, passes, monkeypatch):
    vlm = any_size(fresh(family))
    vlm.model.eval()
    inputs = mixed_prompts(vlm)
    language, seen = vlm.model.model.language_model, []
    compute = language.forward
    monkeypatch.setattr(language, "forward", lambda *args, **given: (seen.append(1), compute(*args, **given))[1])
    shared = continued(vlm.model, inputs, owners, SUFFIXES[: len(owners)], pad_id=0, spoken=True)
    assert len(seen) == passes  # what says how likely the suffixes are comes from the same ones
    for row, owner in enumerate(owners):
        suffix = SUFFIXES[row]
        with torch.no_grad():
            plain = vlm.model(**plain_row(inputs, owner, suffix)).logits[0, -len(suffix) :]
        torch.testing.assert_close(shared.logits[row], plain[-1], atol=1e-5, rtol=1e-5)
        said = plain[:-1].log_softmax(-1)[range(len(suffix) - 1), suffix[1:]]
        torch.testing.assert_close(shared.logps[row, 1 : len(suffix)], said, atol=1e-5, rtol=1e-5)
        assert not shared.logps[row, 0] and not shared.logps[row, len(suffix) :].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_right_after_the_prompt_are_those_of_a_plain_row(family):
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    prefix = encode_prefix(vlm.model.eval(), inputs)
    for row in range(3):
        with torch.no_grad():
            plain = vlm.model(**plain_row(inputs, row, [])).logits[0, -1]
        torch.testing.assert_close(prefix.logits[row], plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_without_images_are_shared_too(family):
    vlm = tiny(family)
    inputs = text_prompts(vlm, ["a red circle", "two blue squares and a red circle"])
    prefix = encode_prefix(vlm.model.eval(), inputs)
    shared = suffix_logits(vlm.model, prefix, [0, 1, 1], [[9], [10, 11], [12]], pad_id=0)
    for row, (owner, suffix) in enumerate([(0, [9]), (1, [10, 11]), (1, [12])]):
        with torch.no_grad():
            plain = vlm.model(**plain_row(inputs, owner, suffix)).logits[0, -1]
        torch.testing.assert_close(shared[row], plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_can_be_continued_again_and_again(family):
    vlm = tiny(family)
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    once = suffix_logits(vlm.model, prefix, [0, 2], [[9, 8], [7]], pad_id=0)
    sample(vlm.model, prefix, [1, 1], uniforms_of(2, 12), sampling_of(vlm))
    again = suffix_logits(vlm.model, prefix, [0, 2], [[9, 8], [7]], pad_id=0)
    assert torch.equal(once, again)


@pytest.mark.parametrize("family", FAMILIES)
def test_cold_sampling_is_greedy_generation(family, either_way):
    vlm = any_size(fresh(family))
    vlm.model.eval()
    inputs = mixed_prompts(vlm)
    texts = sample(
        vlm.model, encode_prefix(vlm.model, inputs), [0, 1, 2], uniforms_of(3, 12), sampling_of(vlm, temperature=0.0)
    )
    for row, tokens in enumerate(texts):
        whole = vlm.model.generate(
            **plain_row(inputs, row, []),
            max_new_tokens=12,
            do_sample=False,
            suppress_tokens=vlm.forbidden_ids,
            eos_token_id=vlm.stop_ids,
            pad_token_id=vlm.tokenizer.pad_token_id,
        )
        assert tokens == whole[0, int(inputs["attention_mask"][row].sum()) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rows_text_does_not_depend_on_what_it_is_batched_with(family, either_way):
    vlm = any_size(fresh(family))
    vlm.model.eval()
    inputs = mixed_prompts(vlm)
    uniforms = uniforms_of(6, 12)
    together = sample(vlm.model, encode_prefix(vlm.model, inputs), OWNERS, uniforms, sampling_of(vlm))
    for row, owner in enumerate(OWNERS):
        prefix = encode_prefix(vlm.model, plain_row(inputs, owner, []))
        assert sample(vlm.model, prefix, [0], uniforms[row : row + 1], sampling_of(vlm)) == [together[row]]


@pytest.mark.parametrize("family", FAMILIES)
def test_long_texts_and_ended_rows_change_nothing(family, either_way, monkeypatch):
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    prefix = encode_prefix(vlm.model.eval(), inputs)
    stops = list(range(5, 12))  # rows end all along the way, and are dropped from the cache
    uniforms = uniforms_of(6, 40)
    monkeypatch.setattr("earshot.vlm.prefix.growing._ROOM", 3)
    texts = sample(vlm.model, prefix, OWNERS, uniforms, sampling_of(vlm, max_new_tokens=40, stop_ids=stops))
    assert len({len(text) for text in texts}) >= 3
    for row, text in enumerate(texts):
        logits = prefix.logits[OWNERS[row]][None]
        if len(text) > 1:
            before = [text[:k] for k in range(1, len(text))]
            after = suffix_logits(vlm.model, prefix, [OWNERS[row]] * len(before), before, pad_id=0)
            logits = torch.cat([logits, after])
        logits[:, vlm.forbidden_ids] = -torch.inf
        cumulative = logits.softmax(-1).cumsum(-1)
        for k, token in enumerate(text):  # each token is where the row's own uniform number falls
            low = cumulative[k, token - 1] if token else 0.0
            assert low - 1e-5 <= uniforms[row, k] <= cumulative[k, token] + 1e-5


def test_tokens_come_with_the_probabilities_of_the_model():
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    n = 4000
    # Evenly spread uniforms hit a token as often as it is likely, to within one of n.
    uniforms = ((torch.arange(n) + 0.5) / n)[:, None]
    sampling = sampling_of(vlm, max_new_tokens=1, temperature=0.7, forbidden_ids=[])
    drawn = torch.tensor(sample(vlm.model, prefix, [0] * n, uniforms, sampling))[:, 0]
    wanted = (prefix.logits[0] / 0.7).softmax(-1)
    seen = torch.bincount(drawn, minlength=wanted.numel()) / n
    assert (seen - wanted).abs().max() <= 1.01 / n


def test_forbidden_tokens_are_never_drawn():
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    allowed = {9, 10, 11}
    forbidden = [i for i in range(prefix.logits.size(1)) if i not in allowed]
    uniforms = uniforms_of(60, 8)
    uniforms[:, 0], uniforms[0, :] = 1 - 2**-24, 0.0  # the very ends too
    sampling = sampling_of(vlm, max_new_tokens=8, forbidden_ids=forbidden, stop_ids=[])
    texts = sample(vlm.model, prefix, [0] * 60, uniforms, sampling)
    assert {token for text in texts for token in text} == allowed


@pytest.mark.usefixtures("either_way")
def test_rows_of_a_prompt_that_is_no_longer_wanted_are_cut_there_and_others_stay_what_they_were():
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    arguments = ([0, 1, 2] * 10, uniforms_of(30, 12), sampling_of(vlm, stop_ids=list(range(5, 40))))
    whole = sample(vlm.model, prefix, *arguments)
    passes = []
    hook = vlm.model.register_forward_pre_hook(lambda *_: passes.append(1))
    try:
        # The third prompt's rows are cut at four tokens.
        texts = sample(vlm.model, prefix, *arguments, wanted=lambda prompt: prompt != 2 or len(passes) < 3)
    finally:
        hook.remove()
    assert len({len(text) for text in whole}) > 3
    assert texts == [text[:4] if row % 3 == 2 else text for row, text in enumerate(whole)]


def test_a_stop_token_ends_its_row_and_is_kept():
    vlm = tiny("llava")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    stops = list(range(5, 150))  # likely, so that rows end at different places
    texts = sample(vlm.model, prefix, [0, 1, 2] * 10, uniforms_of(30, 12), sampling_of(vlm, stop_ids=stops))
    assert len({len(text) for text in texts}) > 1
    for text in texts:
        assert not set(text[:-1]) & set(stops)
        assert text[-1] in stops or len(text) == 12


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize(("few", "many", "more"), [(2, 8, 0), (8, 9, 2), (9, 16, 0), (2, 40, 4 * 2)])
def test_a_gpu_is_asked_which_rows_have_ended_every_eighth_token_and_nothing_else(
    few, many, more, captured, monkeypatch
):
    monkeypatch.setattr(f"{SAMPLING}.can_capture", lambda model, device: captured)
    monkeypatch.setattr(f"{SAMPLING}._WORTH_CAPTURING", 1)
    monkeypatch.setattr(f"{SAMPLING}._tokens_unseen", lambda device: 8)
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    asked = []
    for tokens in (few, many):
        with Questions() as questions:
            sample(
                vlm.model, prefix, OWNERS, uniforms_of(6, tokens), sampling_of(vlm, max_new_tokens=tokens, stop_ids=[])
            )
        asked.append(questions.asked)
    assert asked[1] - asked[0] == more  # whether all was finite, and which rows go on


@pytest.mark.usefixtures("either_way")
def test_words_are_the_same_however_seldom_the_device_is_asked(monkeypatch):
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    given = (OWNERS * 4, uniforms_of(24, 30), sampling_of(vlm, max_new_tokens=30, stop_ids=list(range(5, 30))))
    words = []
    for unseen in (1, 3, 8, 100):
        monkeypatch.setattr(f"{SAMPLING}._tokens_unseen", lambda device, unseen=unseen: unseen)
        words.append(sample(vlm.model, prefix, *given))
    assert len({len(row) for row in words[0]}) > 5
    assert words == [words[0]] * 4


def test_rows_in_any_order_are_those_in_order(either_way):
    vlm = any_size(fresh("qwen2_5_vl"))
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    uniforms, order = uniforms_of(6, 12), torch.tensor([3, 0, 5, 1, 4, 2])
    texts = sample(vlm.model, prefix, OWNERS, uniforms, sampling_of(vlm))
    mixed = sample(vlm.model, prefix, [OWNERS[k] for k in order], uniforms[order], sampling_of(vlm))
    assert mixed == [texts[k] for k in order]


@pytest.mark.parametrize(
    ("owners", "plainly_causal", "on_gpu", "form"),
    [
        ([0, 1, 2, 1], True, False, "_SharedRows"),
        ([2, 0, 1], True, False, "_CopiedRows"),
        ([0, 1, 2, 1], False, False, "_CopiedRows"),
        ([2, 0, 1], True, True, "CapturedRows"),
        ([0, 1, 2, 1], False, True, "_CopiedRows"),
    ],
)
def test_prompts_are_shared_where_two_rows_have_one_and_attention_is_plainly_causal(
    owners, plainly_causal, on_gpu, form, monkeypatch
):
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    monkeypatch.setattr("earshot.vlm.prefix.attention.takes_own_mask", lambda model: plainly_causal)
    monkeypatch.setattr(f"{SAMPLING}.can_capture", lambda model, device: on_gpu)
    with _rows_of(vlm.model, prefix, torch.tensor(owners), 32) as rows:
        assert type(rows).__name__ == form


def test_sampling_leaves_the_models_attention_as_it_was():
    vlm = tiny("qwen2_5_vl")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    before = attention_of(vlm.model)
    with pytest.raises(RuntimeError, match="broken"), sharing_attention(vlm.model):
        assert attention_of(vlm.model) != before
        raise RuntimeError("broken")
    assert attention_of(vlm.model) == before
    assert encode_prefix(vlm.model, mixed_prompts(vlm)).logits.equal(prefix.logits)


def test_all_rows_may_end_at_once():
    vlm = tiny("llava")
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    everything = list(range(prefix.logits.size(1)))
    texts = sample(vlm.model, prefix, [0, 1], uniforms_of(2, 12), sampling_of(vlm, stop_ids=everything))
    assert [len(text) for text in texts] == [1, 1]


def test_sampling_from_broken_logits_is_an_error_not_a_text():
    vlm = fresh("qwen2_5_vl")
    with torch.no_grad():
        vlm.model.model.language_model.norm.weight.fill_(float("nan"))
    prefix = encode_prefix(vlm.model.eval(), mixed_prompts(vlm))
    with pytest.raises(ModelError, match="not finite"):
        sample(vlm.model, prefix, [0], uniforms_of(1, 12), sampling_of(vlm))


def test_images_of_a_batch_are_split_by_prompt():  # the helper that the comparisons above rest on
    vlm = any_size(fresh("qwen2_5_vl"))
    inputs = mixed_prompts(vlm)
    rows = [images_of(inputs, k)["pixel_values"] for k in range(3)]
    assert torch.equal(torch.cat(rows), inputs["pixel_values"])


@pytest.mark.parametrize("grid", [None, torch.tensor([[1, 4, 4]] * 3)])
def test_a_picture_and_its_mirror_image_are_two_pictures(grid):
    # Of one size and one sum, which is all that is looked at before the pixels themselves.
    picture = torch.arange(48.0).reshape(1, 3, 4, 4)
    pictures = Pictures([picture, picture.flip(-1), picture.clone()], grid, [2, 1])
    assert pictures.pixels[0].sum() == pictures.pixels[1].sum()
    assert _distinct(pictures) == ([0, 1], [0, 1, 0])
