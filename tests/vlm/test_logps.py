"""Shared prompts give the log-probabilities, entropies and gradients of stock rows, whatever the form."""

import copy
import math
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention.flex_attention import flex_attention
from transformers.integrations import flex_attention as flex

from earshot.errors import ModelError
from earshot.protocol import reasoner_messages
from earshot.vlm.mechanisms import attention_of, takes_mask_by_rule, takes_own_mask
from earshot.vlm.prefix import logps as engine
from earshot.vlm.prefix import logps_of_rows, shared_logps
from earshot.vlm.prefix.head import score
from earshot.vlm.prefix.pictures import split_pictures
from earshot.vlm.rows import append_completions
from tests.vlm.models import FAMILIES, any_size, fresh, mixed_prompts, picture, plain_row, text_prompts

FORMS = ("cache", "packed", "plain")
OWNERS = [0, 0, 0, 1, 2, 2]  # unequal groups, one of a single row
LISTS = [[17, 19, 21], [30], [12, 13, 14, 15, 16, 17], [40, 41], [18], [19, 20, 21, 22]]


def padded(lists):
    width = max(map(len, lists))
    ids = torch.tensor([row + [9] * (width - len(row)) for row in lists])
    return ids, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in lists])


def stock(model, inputs, owners, lists, temperature=1.0):
    """Log-probabilities and entropies by one stock forward pass for each row, padded with 0."""
    width = max(map(len, lists))
    logps, entropies = [], []
    for owner, tokens in zip(owners, lists, strict=True):
        row = plain_row(inputs, owner, tokens)
        logits = model(**row).logits[0, -len(tokens) - 1 : -1] / temperature
        log_p = logits.log_softmax(-1)
        room = (0, width - len(tokens))
        logps.append(torch.nn.functional.pad(log_p.gather(1, torch.tensor(tokens)[:, None])[:, 0], room))
        entropies.append(torch.nn.functional.pad(-(log_p.exp() * log_p).sum(-1), room))
    return torch.stack(logps), torch.stack(entropies)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours, theirs, relative=1e-4):
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        # A bias of keys has no gradient but rounding; it is compared on the scale of all gradients.
        scale = max(wanted.norm(), 1e-4 * max(g.norm() for g in theirs.values()))
        assert (ours[name] - wanted).norm() <= relative * scale, name


def weights_like(values, seed=0):
    return torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))


def check_against_stock(vlm, inputs, owners, lists, **options):
    ids, mask = padded(lists)
    ours = shared_logps(vlm.model, inputs, owners, ids, mask, with_entropy=True, **options)
    logps, entropies = stock(vlm.model, inputs, owners, lists, options.get("temperature", 1.0))
    torch.testing.assert_close(ours.logps, logps, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.entropies, entropies, atol=1e-5, rtol=1e-5)
    w, v = weights_like(logps), weights_like(logps, 1)
    assert_same_gradients(
        gradients(vlm.model, (ours.logps * w + ours.entropies * v).sum()),
        gradients(vlm.model, (logps * w + entropies * v).sum()),
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_values_and_gradients_are_those_of_stock_rows(family, form):
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    check_against_stock(vlm, inputs, OWNERS, LISTS, form=form)
    seen = {name.split(".")[1] for name, p in vlm.model.named_parameters() if p.grad is not None and p.grad.any()}
    assert {"visual", "vision_tower"} & seen  # gradients reached the vision tower


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_order_of_rows_and_parts_of_any_size_change_nothing(family, form):
    vlm = any_size(fresh(family))
    order = [3, 0, 5, 1, 4, 2]  # rows of a group need not stand together
    for tokens_at_once in (1, 60, 150):
        check_against_stock(
            vlm,
            mixed_prompts(vlm),
            [OWNERS[k] for k in order],
            [LISTS[k] for k in order],
            form=form,
            tokens_at_once=tokens_at_once,
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_without_images(family, form):
    vlm = fresh(family)
    inputs = text_prompts(vlm, ["a red circle", "two blue squares and a red circle", "red"])
    check_against_stock(vlm, inputs, OWNERS, LISTS, form=form)


@pytest.mark.parametrize("form", FORMS)
def test_temperature_divides_the_logits(form):
    vlm = any_size(fresh("qwen2_5_vl"))
    check_against_stock(vlm, mixed_prompts(vlm), OWNERS, LISTS, form=form, temperature=0.7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_groups_of_one_and_empty_completions(family, form):
    vlm = any_size(fresh(family))
    check_against_stock(vlm, mixed_prompts(vlm), [2, 0, 1], LISTS[:3], form=form)
    ids, mask = padded(LISTS[:3])
    mask[1] = 0
    ours = shared_logps(vlm.model, mixed_prompts(vlm), [2, 0, 1], ids, mask, form=form).logps
    assert (ours[1] == 0).all() and (ours[2] < 0).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_either_attention_gives_the_same(form, implementation):
    vlm = any_size(fresh("llava"))
    vlm.model.set_attn_implementation(implementation)
    check_against_stock(vlm, mixed_prompts(vlm), OWNERS, LISTS, form=form)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_that_is_not_written_out_gives_the_same(family, monkeypatch):
    """FlexAttention has no gradients on a CPU, and takes minutes to compile: values only, and not compiled."""
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    ids, mask = padded(LISTS)
    with torch.no_grad():
        dense = shared_logps(vlm.model, inputs, OWNERS, ids, mask, form="packed", with_entropy=True)
        rules = []
        monkeypatch.setattr(flex, "compile_friendly_flex_attention", not_compiled(rules))
        for place in ("forms", "logps"):
            monkeypatch.setattr(f"earshot.vlm.prefix.{place}.takes_mask_by_rule", lambda model: True)
        monkeypatch.setattr("earshot.vlm.prefix.forms.MASK_ENTRIES", 0)
        by_rule = shared_logps(vlm.model, inputs, OWNERS, ids, mask, form="packed", with_entropy=True)
    assert len(rules) == 2  # layers
    torch.testing.assert_close(by_rule, dense, atol=1e-5, rtol=1e-5)
    monkeypatch.undo()
    assert attention_of(vlm.model) == "earshot"
    check_against_stock(vlm, inputs, OWNERS, LISTS, form="packed")  # under dense masks it is what it was
    check_against_stock(vlm, inputs, OWNERS, LISTS, form="cache")


def not_compiled(called):
    def flexible(query, key, value, training=False, return_aux=None, **options):
        called.append(options["block_mask"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it is slow so
            return flex_attention(query, key, value, **options)

    return flexible


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_masks_are_rules_on_a_gpu_alone(device, monkeypatch):
    vlm = fresh("qwen2_5_vl")
    weight = SimpleNamespace(device=SimpleNamespace(type=device))
    monkeypatch.setattr("earshot.vlm.mechanisms.core_of", lambda m: SimpleNamespace(parameters=lambda: iter([weight])))
    assert takes_mask_by_rule(vlm.model) == (device == "cuda")
    vlm.model.config.get_text_config()._attn_implementation = "eager"
    assert not takes_mask_by_rule(vlm.model)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointed_layers_give_the_same(family):
    vlm = any_size(fresh(family))
    vlm.model.train()
    inputs = mixed_prompts(vlm)
    ids, mask = padded(LISTS)
    w = weights_like(mask)
    plainly = gradients(vlm.model, (shared_logps(vlm.model, inputs, OWNERS, ids, mask).logps * w).sum())
    vlm.model.activation_checkpointing_enable({"use_reentrant": False})
    assert any(getattr(module, "gradient_checkpointing", False) for module in vlm.model.modules())
    ours = gradients(vlm.model, (shared_logps(vlm.model, inputs, OWNERS, ids, mask).logps * w).sum())
    assert_same_gradients(ours, plainly)
    with pytest.raises(ModelError, match="leaves no cache"):
        shared_logps(vlm.model, inputs, OWNERS, ids, mask, form="cache")


@pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # peft asks for a property that is going away
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_get_their_gradients(family, form):
    from peft import LoraConfig, get_peft_model

    vlm = any_size(fresh(family))
    vlm.model = get_peft_model(vlm.model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in vlm.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)  # drawn as 0, and then the other half has no gradient
    check_against_stock(vlm, mixed_prompts(vlm), OWNERS, LISTS, form=form)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_head_gives_the_same(family, form):
    from trl.trainer.utils import add_fused_lm_head

    vlm = any_size(fresh(family))
    fused = copy.deepcopy(vlm.model)
    add_fused_lm_head(fused, temperature=0.7, outputs=("log_probs", "entropy"))
    ids, mask = padded(LISTS)
    inputs = mixed_prompts(vlm)
    ours = shared_logps(fused, inputs, OWNERS, ids, mask, with_entropy=True, fused_head=True, form=form)
    logps, entropies = stock(vlm.model, inputs, OWNERS, LISTS, 0.7)
    torch.testing.assert_close(ours.logps, logps, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.entropies, entropies, atol=1e-5, rtol=1e-5)
    w = weights_like(logps)
    assert_same_gradients(gradients(fused, (ours.logps * w).sum()), gradients(vlm.model, (logps * w).sum()))


def counted(vlm, monkeypatch):
    """How many images each call of the vision tower encodes."""
    calls = []
    core = vlm.model.model
    original = core.get_image_features

    def count(pixel_values, image_grid_thw=None, **options):
        calls.append(len(pixel_values) if image_grid_thw is None else len(image_grid_thw))
        if image_grid_thw is None:
            return original(pixel_values=pixel_values, **options)
        return original(pixel_values, image_grid_thw, **options)

    monkeypatch.setattr(core, "get_image_features", count)
    return calls


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_both_orders_of_a_pair_share_their_images(family, form, monkeypatch):
    vlm = any_size(fresh(family))
    messages = [reasoner_messages("a red circle", vlm.prompts)] * 2
    images = [picture(0, 56, 84), picture(1, 84, 56)]
    inputs = dict(vlm.encode(messages, [images, images[::-1]]))
    check_against_stock(vlm, inputs, [0, 0, 1], LISTS[:3], form=form)
    calls = counted(vlm, monkeypatch)
    ids, mask = padded(LISTS[:3])
    shared_logps(vlm.model, inputs, [0, 0, 1], ids, mask, form=form)
    assert calls == [2]


def whole_rows(vlm, inputs, owners, lists):
    """Rows as a trainer holds them: prompts and images repeated for every completion."""
    prompts = {name: inputs[name][owners] for name in inputs if name not in ("pixel_values", "image_grid_thw")}
    rows, width = append_completions(prompts, lists, pad_id=9)
    pieces = [plain_row(inputs, owner, []) for owner in owners]
    if "pixel_values" in inputs:
        for name in ("pixel_values", "image_grid_thw"):
            if name in inputs:
                rows[name] = torch.cat([piece[name] for piece in pieces])
    return rows, width


@pytest.mark.parametrize("form", [None, *FORMS])
@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_whole_rows_are_grouped_and_computed_once(family, counts, form, monkeypatch):
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    rows, width = whole_rows(vlm, inputs, OWNERS, LISTS)
    logps, entropies = stock(vlm.model, inputs, OWNERS, LISTS)
    calls = counted(vlm, monkeypatch)
    ours = logps_of_rows(
        vlm.model, logits_to_keep=width, num_images=[2] * 6 if counts else None, with_entropy=True, form=form, **rows
    )
    torch.testing.assert_close(ours.logps, logps, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.entropies, entropies, atol=1e-5, rtol=1e-5)
    assert calls == [6]  # of the 12 images that the rows hold


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_one_prompt_and_other_images_are_two_groups(family):
    vlm = any_size(fresh(family))
    messages = [reasoner_messages("a red circle", vlm.prompts)] * 2
    inputs = dict(vlm.encode(messages, [[picture(0), picture(1)], [picture(0), picture(2)]]))
    rows, width = whole_rows(vlm, inputs, [0, 0, 1], LISTS[:3])
    ours = logps_of_rows(vlm.model, logits_to_keep=width, **rows).logps
    torch.testing.assert_close(ours, stock(vlm.model, inputs, [0, 0, 1], LISTS[:3])[0], atol=1e-5, rtol=1e-5)


def test_image_tokens_that_disagree_with_the_images_are_named():
    vlm = any_size(fresh("qwen2_5_vl"))
    inputs = mixed_prompts(vlm)
    ids, mask = padded(LISTS)
    image = vlm.model.config.image_token_id
    moved = inputs["input_ids"].clone()
    moved[0, (moved[0] == image).nonzero()[0]] = 9  # one token fewer here, one more there: in sum they still agree
    moved[1, -1] = image
    with pytest.raises(ModelError, match=r"row 0: \d+ image tokens"):
        shared_logps(vlm.model, {**inputs, "input_ids": moved}, OWNERS, ids, mask)
    swapped = {**inputs, "image_grid_thw": inputs["image_grid_thw"].flip(0)}
    with pytest.raises(ModelError, match="row 0"):
        shared_logps(vlm.model, swapped, OWNERS, ids, mask)
    rows, width = whole_rows(vlm, inputs, OWNERS, LISTS)
    with pytest.raises(ModelError, match="row 3"):
        logps_of_rows(vlm.model, logits_to_keep=width, num_images=[2, 2, 2, 1, 3, 2], **rows)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_token_in_a_completion_is_named(family):
    vlm = fresh(family)
    ids, mask = padded(LISTS)
    ids[2, 1] = vlm.model.config.image_token_id
    with pytest.raises(ModelError, match="row 2: its completion holds an image token"):
        shared_logps(vlm.model, mixed_prompts(vlm), OWNERS, ids, mask)
    mask[2, 1:] = 0  # in the padding it is nothing
    shared_logps(vlm.model, mixed_prompts(vlm), OWNERS, ids, mask)


def test_a_window_shorter_than_the_rows_leaves_them_plain_and_is_said_once():
    vlm = fresh("llava")
    text = vlm.model.config.get_text_config()
    text.sliding_window, text.layer_types = 8, ["sliding_attention"] * text.num_hidden_layers
    ids, mask = padded(LISTS)
    inputs = mixed_prompts(vlm)
    engine._said.clear()
    with pytest.warns(UserWarning, match="slides over 8 tokens"):
        ours = shared_logps(vlm.model, inputs, OWNERS, ids, mask)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shared_logps(vlm.model, inputs, OWNERS, ids, mask)
    text.sliding_window, text.layer_types = None, None
    torch.testing.assert_close(ours.logps, stock(vlm.model, inputs, OWNERS, LISTS)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "layers", [{"layer_types": ["sliding_attention"] * 2, "sliding_window": 64}, {"attn_logit_softcapping": 50.0}]
)
def test_a_mask_of_ours_stands_in_for_plain_attention_alone_whatever_the_family_is_called(layers):
    vlm = fresh("llava")
    ids, mask = padded(LISTS)
    assert takes_own_mask(vlm.model)
    vlm.model.config.get_text_config().update(layers)
    with pytest.raises(ModelError, match="form 'packed'"):
        shared_logps(vlm.model, mixed_prompts(vlm), OWNERS, ids, mask, form="packed")


def test_the_form_follows_from_what_is_shared_and_what_the_model_can_do():
    vlm = fresh("qwen2_5_vl")
    vlm.model.train()
    inputs, (ids, mask) = mixed_prompts(vlm), padded(LISTS)
    pictures = split_pictures(vlm.model, inputs)
    several = engine.Batch(inputs, pictures, torch.tensor(OWNERS), ids, mask)
    assert engine.choose_form(vlm.model, several) == "cache"
    assert engine.choose_form(vlm.model, several.rows([1, 3, 5])) == "plain"  # groups of one share nothing
    vlm.model.activation_checkpointing_enable()
    assert engine.choose_form(vlm.model, several) == "packed"
    with torch.no_grad():
        assert engine.choose_form(vlm.model.eval(), several) == "cache"


def test_linear_attention_leaves_rows_plain():
    vlm = fresh("qwen2_5_vl")
    vlm.model.config.text_config.layer_types = ["linear_attention", "full_attention"]
    engine._said.clear()
    inputs, (ids, mask) = mixed_prompts(vlm), padded(LISTS)
    batch = engine.Batch(inputs, None, torch.tensor(OWNERS), ids, mask)
    with pytest.warns(UserWarning, match="linear_attention"):
        assert engine.choose_form(vlm.model, batch) == "plain"


def test_images_in_an_unknown_form_leave_rows_plain():
    vlm = fresh("llava")
    inputs = mixed_prompts(vlm)
    rows, width = whole_rows(vlm, inputs, OWNERS, LISTS)
    engine._said.clear()
    with pytest.warns(UserWarning, match="cannot be split"):
        ours = logps_of_rows(vlm.model, logits_to_keep=width, vision_feature_layer=-1, **rows).logps
    torch.testing.assert_close(ours, stock(vlm.model, inputs, OWNERS, LISTS)[0], atol=1e-5, rtol=1e-5)


def test_blocks_of_logits_change_nothing(monkeypatch):
    head = torch.nn.Linear(6, 50)
    hidden = torch.randn(23, 6, requires_grad=True)
    targets = torch.randint(0, 50, (23,))

    def run():
        logps, entropies = score(hidden, targets, head, temperature=0.5, with_entropy=True)
        return logps, entropies, *torch.autograd.grad((logps * entropies).sum(), [hidden, head.weight])

    at_once = run()
    monkeypatch.setattr("earshot.vlm.prefix.head.LOGITS_AT_ONCE", 200)  # 4 rows of 50
    for a, b in zip(run(), at_once, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_is_as_near_to_float32_in_every_form_as_in_stock_rows(family):
    vlm = any_size(fresh(family))
    inputs = mixed_prompts(vlm)
    ids, mask = padded(LISTS)
    with torch.no_grad():
        exact, _ = stock(vlm.model, inputs, OWNERS, LISTS)
        vlm.model.to(torch.bfloat16)
        inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
        theirs = (stock(vlm.model, inputs, OWNERS, LISTS)[0] - exact).abs()
        for form in FORMS:
            ours = (shared_logps(vlm.model, inputs, OWNERS, ids, mask, form=form).logps - exact).abs()
            # Another order of sums rounds differently: as far from stock's bfloat16 as that is from float32.
            assert ours.sum() <= 1.5 * theirs.sum()
            assert ours.max() <= 0.05  # nats; 0.013 at the sizes of docs/decisions/shared-prefix.md


def test_an_even_guess_has_the_entropy_of_its_vocabulary():
    head = torch.nn.Linear(6, 50)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    logps, entropies = score(torch.randn(3, 6), torch.tensor([0, 7, 49]), head, temperature=2.0, with_entropy=True)
    torch.testing.assert_close(logps, torch.full((3,), -math.log(50)))
    torch.testing.assert_close(entropies, torch.full((3,), math.log(50)))


def test_memory_is_bounded_by_parts():
    vlm = any_size(fresh("qwen2_5_vl"))
    messages = [reasoner_messages("a red circle", vlm.prompts)] * 4
    inputs = dict(vlm.encode(messages, [[picture(9, 140, 140), picture(k)] for k in range(4)]))
    owners = [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    ids, mask = padded([[12] * 30] * 16)

    def saved(tokens_at_once):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            shared_logps(vlm.model, inputs, owners, ids, mask, tokens_at_once=tokens_at_once)
        return total

    assert saved(250) < 0.1 * saved(10_000)
