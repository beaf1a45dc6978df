"""Parts of key-value caches: rows, beginnings, and room to grow, so that a new token does not copy all before it.

The stock cache concatenates at every token: measured, that copying was half to three quarters of sampling's time.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float, Int
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_ROOM = 64  # tokens by which a full layer grows


class GrowingLayer(DynamicLayer):
    """Keys and values of one layer, written into buffers; without gradients.

    Args:
        keys: Keys so far; copied.
        values: Values so far; copied.
        rows: The rows to take of them.
    """

    keys: torch.Tensor
    values: torch.Tensor
    _key_room: torch.Tensor
    _value_room: torch.Tensor

    def __init__(
        self,
        keys: Float[torch.Tensor, "n h p k"],
        values: Float[torch.Tensor, "n h p v"],
        rows: Int[torch.Tensor, " r"],
    ) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._set(keys, values, rows)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes in the new tokens' keys and values and returns all so far."""
        start, end = self.keys.size(2), self.keys.size(2) + key_states.size(2)
        if end > self._key_room.size(2):
            self._set(self.keys, self.values, slice(None), extra=key_states.size(2))
        self._key_room[:, :, start:end] = key_states
        self._value_room[:, :, start:end] = value_states
        self.keys, self.values = self._key_room[:, :, :end], self._value_room[:, :, :end]
        return self.keys, self.values

    def batch_select_indices(self, indices: Int[torch.Tensor, " r"]) -> None:
        """Keeps these rows."""
        self._set(self.keys, self.values, indices)

    def _set(self, keys: torch.Tensor, values: torch.Tensor, rows: Any, extra: int = 0) -> None:
        self._key_room, self.keys = _with_room(keys, rows, extra)
        self._value_room, self.values = _with_room(values, rows, extra)


def growing_cache(cache: Any, rows: Int[torch.Tensor, " r"], *, tokens: int | None = None) -> Any:
    """A cache whose row `i` is row `rows[i]` of the given one, which stays as it is.

    Args:
        cache: A cache of transformers.
        rows: The rows to take of it.
        tokens: How many of its tokens to take, all by default; where given, all layers must be plain ones.
    """
    copied = copy.copy(cache)
    copied.layers = [_growing(layer, rows, tokens) for layer in cache.layers]
    return copied


def cache_before(cache: Any, tokens: int) -> Any:
    """The first so many tokens of a cache, which stays as it is; gradients flow back into it."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]
    for layer in copied.layers:
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length -= layer.keys.size(2) - tokens
        layer.keys, layer.values = layer.keys[:, :, :tokens], layer.values[:, :, :tokens]
    return copied


def cache_rows(cache: Any, rows: Int[torch.Tensor, " r"]) -> Any:
    """A cache whose row `i` is row `rows[i]` of the given one, which stays as it is; gradients flow back into it."""
    copied = copy.copy(cache)
    copied.layers = [copy.copy(layer) for layer in cache.layers]  # layers exchange their tensors, never write in them
    copied.batch_select_indices(rows)
    return copied


def _growing(layer: Any, rows: torch.Tensor, tokens: int | None) -> Any:
    if type(layer) is DynamicLayer and layer.get_seq_length() > 0:
        return GrowingLayer(layer.keys[:, :, :tokens], layer.values[:, :, :tokens], rows)
    copied = copy.copy(layer)  # layers of other kinds exchange their tensors, and never write in them
    copied.batch_select_indices(rows)
    return copied


def _with_room(states: torch.Tensor, rows: Any, extra: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A buffer that begins with these rows of `states`, and the view of what is filled."""
    taken = states[rows]
    n, heads, tokens, size = taken.shape
    room = taken.new_empty(n, heads, tokens + _ROOM + extra, size)
    room[:, :, :tokens] = taken
    return room, room[:, :, :tokens]
