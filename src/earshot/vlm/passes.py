"""The most that a training pass holds, found by going through it without values.

The pass is the one that training makes: the decoder's own code, forwards and backwards, on torch's meta device, with
the prompts' cache copied to rows or the packed row, the head in blocks, and layers computed again where they are. Every
tensor that is made is counted from then until it is let go. In place of attention stands a fused kernel, which keeps
what goes in and comes out.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from earshot.vlm.mechanisms import base_of, core_of
from earshot.vlm.prefix.growing import cache_rows
from earshot.vlm.prefix.head import score


class Pass(NamedTuple):
    """One forward and backward pass.

    Attributes:
        form: As `vlm.prefix.forms` has it.
        prompts: How many.
        prompt_tokens: Of each, images included.
        rows: Completions of each.
        new_tokens: Of each completion.
        checkpointed: Whether layers are computed again.
        mask_entries: Of the largest mask that is written out.
    """

    form: str
    prompts: int
    prompt_tokens: int
    rows: int
    new_tokens: int
    checkpointed: bool
    mask_entries: int


def most_held(model: Any, one: Pass, pictures: Mapping[str, torch.Tensor] | None, *, again: bool) -> int:
    """Bytes that a pass holds at its highest, gradients included, weights not.

    Args:
        model: Without weights, possibly wrapped by PEFT; it is put into training.
        one: The pass.
        pictures: What the processor makes of one prompt's images, where the tower that sees them is trained.
        again: Whether gradients of an earlier pass are there already, which are then not counted.

    Raises:
        RuntimeError: The family's code looks at values, or has no part that sees images alone.
    """
    if pictures is not None and not hasattr(core_of(model), "get_image_features"):
        raise RuntimeError("the tower cannot be gone through alone")
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    held = _Held([*model.parameters(), *model.buffers()])
    if again:
        for weight in trained:
            weight.grad = torch.empty_like(weight)
            held.leave_out(weight.grad)
    model.train()
    if one.checkpointed:
        how = {"use_reentrant": False, "context_fn": lambda: (nullcontext(), _FusedAttention())}
        base_of(model).activation_checkpointing_enable(how)
        if len(trained) < sum(1 for _ in model.parameters()):
            base_of(model).enable_input_require_grads()
    with torch.device("meta"), held, _FusedAttention():
        hidden = _HIDDEN[one.form](base_of(model), one, pictures)
        head = base_of(model).get_output_embeddings()
        logps, _ = score(hidden, _ids(hidden.size(0)), head, temperature=1.0, with_entropy=False)
        del hidden
        loss = logps.sum()
        del logps
        loss.backward()
    return held.most


def _cached(model: Any, one: Pass, pictures: Mapping[str, torch.Tensor] | None) -> torch.Tensor:
    decoder, before = model.get_decoder(), one.prompt_tokens - 1
    cache = decoder(**_read(model, one.prompts, before, pictures), use_cache=True).past_key_values
    owners = _ids(one.prompts * one.rows)
    after = {
        "input_ids": _ids(len(owners), one.new_tokens),
        "attention_mask": _mask(len(owners), one.new_tokens, before + one.new_tokens),
        "past_key_values": cache_rows(cache, owners),
    }
    hidden: torch.Tensor = decoder(**after, use_cache=True).last_hidden_state
    return hidden.flatten(0, 1)


def _packed(model: Any, one: Pass, pictures: Mapping[str, torch.Tensor] | None) -> torch.Tensor:
    before, length = one.prompt_tokens - 1, one.prompt_tokens - 1 + one.rows * one.new_tokens
    written = one.prompts * length**2 <= one.mask_entries
    mask = _mask(one.prompts, length, length) if written else _mask(1, 1, 1)
    inputs = _read(model, one.prompts, length, pictures)
    hidden: torch.Tensor = model.get_decoder()(**inputs, attention_mask=mask, use_cache=False).last_hidden_state
    return hidden[:, before:].flatten(0, 1)


def _plain(model: Any, one: Pass, pictures: Mapping[str, torch.Tensor] | None) -> torch.Tensor:
    rows, length = one.prompts * one.rows, one.prompt_tokens + one.new_tokens
    # A mask of one entry, for transformers would look at the values of one that is not there.
    how = {"attention_mask": _mask(1, 1, 1), "use_cache": False} if one.checkpointed else {"use_cache": True}
    hidden: torch.Tensor = model.get_decoder()(**_read(model, rows, length, pictures), **how).last_hidden_state
    return hidden[:, one.prompt_tokens - 1 : -1].flatten(0, 1)


_HIDDEN = {"cache": _cached, "packed": _packed, "plain": _plain}


def _read(model: Any, rows: int, tokens: int, pictures: Mapping[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
    """What the decoder is given: ids, or where the tower learns, what it and the embedding make."""
    if pictures is None:
        return {"input_ids": _ids(rows, tokens)}
    with torch.device("cpu"):  # sizes have values, and so has what follows from them
        many = {name: value.repeat(rows, *[1] * (value.dim() - 1)) for name, value in pictures.items()}
        seen = core_of(model).get_image_features(**many, return_dict=True).pooler_output
        features = seen if isinstance(seen, torch.Tensor) else torch.cat([*seen])
    words = model.get_input_embeddings()(_ids(rows, tokens))
    features = features.reshape(rows, -1, words.size(-1))
    return {"inputs_embeds": torch.cat([features, words[:, features.size(1) :]], dim=1)}


def _ids(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.long, device="meta")


def _mask(rows: int, tokens: int, seen: int) -> torch.Tensor:
    return torch.zeros(rows, 1, tokens, seen, dtype=torch.bool, device="meta")


class _Held(TorchDispatchMode):
    """Counts bytes on the meta device, each from when it is made until nobody has it.

    What has values, the sizes of images and what follows from them, may stand beside what has none.

    Attributes:
        most: At the highest.
    """

    def __init__(self, left_out: list[torch.Tensor]) -> None:
        super().__init__()
        self.most = self._now = 0
        self._known: dict[int, weakref.ref[Any]] = {}
        for tensor in left_out:
            self.leave_out(tensor)

    def leave_out(self, tensor: torch.Tensor) -> None:
        """What is there beforehand."""
        storage = tensor.untyped_storage()
        self._known[storage._cdata] = weakref.ref(storage)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = (args, kwargs or {})
        if len({leaf.is_meta for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)}) > 1:
            given = tree_map_only(torch.Tensor, lambda one: one.to("meta"), given)
        made = func(*given[0], **given[1])
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.is_meta:
                self._see(tensor.untyped_storage())
        return made

    def _see(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def let_go(_: Any) -> None:
            self._now -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, let_go)
        self._now += size
        self.most = max(self.most, self._now)


class _FusedAttention(TorchFunctionMode):
    """Stands for attention by a fused kernel, whatever the meta device would take in its place."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = [*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :])][:3]
        mask = args[3] if len(args) > 3 else kwargs.get("attn_mask")
        if mask is not None and mask.dtype == torch.bool:
            mask = torch.empty_like(mask, dtype=query.dtype)  # as kernels take it
        return _Attention.apply(query, key, value, mask)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any) -> torch.Tensor:
        rows, heads, tokens, _ = query.shape
        seen = query.new_empty(rows, tokens, heads, value.size(-1)).transpose(1, 2)
        ctx.save_for_backward(query, key, value, seen, mask, query.new_empty(rows, heads, tokens, dtype=torch.float32))
        return seen

    @staticmethod
    def backward(ctx: Any, *of_seen: torch.Tensor) -> Any:
        return *(torch.empty_like(one) for one in ctx.saved_tensors[:3]), None
