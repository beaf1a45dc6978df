"""A token's pass as one graph that a GPU replays, where launching its 1,500 kernels takes longer than they do.

A graph always reads and writes the same places. So the rows' own keys and values lie in room for all tokens that may be
drawn, the number of those written is kept on the device, and attention hides what is not yet written.

Shapes: R rows, H heads, T tokens that there is room for, D size of a head, V vocabulary.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any, Final

import torch
from jaxtyping import Float, Int
from transformers.cache_utils import DynamicLayer

from earshot.errors import first_line
from earshot.vlm.mechanisms import is_distributed
from earshot.vlm.prefix.attention import share_prompts
from earshot.vlm.prefix.encode import Prefix, next_logits

_EQUAL: Final = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}  # relative, of replayed logits


def can_capture(model: Any, device: torch.device) -> bool:
    """Whether passes of this model are tried as a graph: on a GPU, and where no other process takes part in them."""
    return device.type == "cuda" and not is_distributed(model)


class FixedLayer(DynamicLayer):
    """Keys and values of one layer, each token's written where the device says; without gradients.

    Args:
        like: A layer of the prompts' cache.
        rows: How many rows there are.
        room: For how many tokens.
        place: Where the next token is written.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, like: Any, rows: int, room: int, place: Int[torch.Tensor, " 1"]) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = like.keys.dtype, like.keys.device, True
        # Zeros, for what is hidden is multiplied by 0 and must be finite.
        self.keys = like.keys.new_zeros(rows, like.keys.size(1), room, like.keys.size(3))
        self.values = like.values.new_zeros(rows, like.values.size(1), room, like.values.size(3))
        self._place = place

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Takes in the new token's keys and values and returns all there is room for."""
        self.keys.index_copy_(2, self._place, key_states)
        self.values.index_copy_(2, self._place, value_states)
        return self.keys, self.values


class CapturedRows:
    """Rows that share prompts, whose tokens' passes are replayed; plain passes over the same places off a GPU.

    Args:
        model: The model that encoded `prefix`; its attention takes shared prompts.
        prefix: What the rows continue.
        owners: The prompt of each row.
        room: How many tokens may be drawn.
    """

    worth_dropping = 0.5  # a graph is made anew for fewer rows, which takes as long as some tokens

    def __init__(self, model: Any, prefix: Prefix, owners: Int[torch.Tensor, " r"], room: int) -> None:
        assert prefix.next_position is not None
        self._model, self._prefix, self._owners = model, prefix, owners
        self._written, device = 0, owners.device
        self._may_capture = owners.is_cuda
        self._first = prefix.next_position
        self._place = torch.zeros(1, dtype=torch.long, device=device)
        self._unwritten = torch.ones(1, 1, 1, room, dtype=torch.bool, device=device)
        self._position = self._first[owners][:, None]
        self._ids = torch.zeros_like(self._position)
        self._cache = copy.copy(prefix.cache)
        self._cache.layers = [FixedLayer(like, owners.numel(), room, self._place) for like in prefix.cache.layers]
        self._share()

    def logits(self, ids: Int[torch.Tensor, " r"]) -> Float[torch.Tensor, "r v"]:
        """Next-token logits after one more token of each row; they last until the next call."""
        self._ids.copy_(ids[:, None])
        if self._replay is None and self._may_capture:
            self._capture()
        self._written += 1
        if self._replay is None:
            return self._pass()
        self._replay.replay()
        return self._found

    def keep(self, rows: Int[torch.Tensor, " k"]) -> None:
        """Leaves out the other rows, and prompts that none continues any more."""
        self._owners, self._position, self._ids = self._owners[rows], self._position[rows], self._ids[rows]
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
        self._share()

    def _share(self) -> None:
        prompts = share_prompts(self._prefix.cache, self._prefix.mask, self._owners)
        self._prompts = prompts._replace(unwritten=self._unwritten)
        self._replay: torch.cuda.CUDAGraph | None = None
        self._found = torch.empty(0)

    def _pass(self) -> Float[torch.Tensor, "r v"]:
        self._unwritten.index_fill_(3, self._place, False)
        logits = next_logits(self._model, self._ids, self._position, self._cache, shared_prompts=self._prompts)
        self._place.add_(1)
        self._position.add_(1)
        return logits

    def _forget(self) -> None:
        """As it was before the pass: what the layers were given is written over by the next one."""
        self._place.fill_(self._written)
        self._position.copy_(self._first[self._owners][:, None] + self._written)

    def _capture(self) -> None:
        """Makes the graph, and sees that what it finds is what a plain pass does; else says why and leaves it."""
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            plain = self._pass().clone()
            self._forget()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                found = self._pass()
            graph.replay()
            apart = float((found - plain).float().norm() / plain.float().norm())
            wrong = f"replayed, it is {apart:.2g} off" if not apart <= _EQUAL[plain.dtype] else None
        except RuntimeError as error:
            wrong = first_line(error)
        self._forget()
        if wrong is None:
            self._replay, self._found = graph, found
        else:
            self._may_capture = False
            warnings.warn(f"a token's pass is not captured as a graph: {wrong}", stacklevel=4)
