"""Attention of vision towers whose patches stand one image after another: every run of a layer in few calls.

A layer of such a tower attends within runs of its one long row of patches: within an image, or within a window of
8 × 8 patches. transformers' `sdpa` is called for each run apart (2,752 times for two images of 756 px in
Qwen2.5-VL-7B), and every layer asks the device for the runs' lengths. Here runs of one length are computed together,
short ones padded to the longest, and lengths are asked for once.

Shapes: T patches, H heads, D size of a head, C runs computed together, L patches of the longest.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

ALL_RUNS: Final = "earshot_flash_runs"  # with "flash" in its name, transformers hands it all runs of a layer at once
_ATTENTION: Final = "_attn_implementation"
_SHORT = 128  # patches; windows have at most 64, and padding them costs less than a call for each length


class _Together(NamedTuple):
    """Runs that are computed in one call.

    Attributes:
        places: Where their patches stand in the row, run after run, padded with any place; None where all is in order.
        runs: C.
        length: L.
        real: True where a patch is no padding; None where none is.
    """

    places: Int[torch.Tensor, " cl"] | None
    runs: int
    length: int
    real: Bool[torch.Tensor, "c 1 1 l"] | None


class _Layout(NamedTuple):
    """How the runs of a layer are computed.

    Attributes:
        calls: The calls, each with its runs.
        back: Where each patch of the row stands in the calls' results, one after another; None where all is in order.
    """

    calls: list[_Together]
    back: Int[torch.Tensor, " t"] | None


def attend_by_runs(model: Any) -> None:
    """From here on the model's vision tower computes its runs together, where it has any and attends by `sdpa`.

    The tower gets a configuration of its own: transformers looks for a package of what stands in the model's.
    """
    own: dict[int, Any] = {}
    for module in model.modules():
        config = getattr(module, "config", None)
        if getattr(config, _ATTENTION, None) == "sdpa" and _takes_runs(module):
            setattr(own.setdefault(id(config), copy.copy(config)), _ATTENTION, ALL_RUNS)
    for module in model.modules():
        if id(getattr(module, "config", None)) in own:
            module.config = own[id(module.config)]


def _takes_runs(module: Any) -> bool:
    return getattr(module, "is_causal", None) is False and "cu_seqlens" in inspect.signature(module.forward).parameters


def run_attention(
    module: Any,
    query: Float[torch.Tensor, "1 h t d"],
    key: Float[torch.Tensor, "1 h t d"],
    value: Float[torch.Tensor, "1 h t d"],
    attention_mask: None,
    *,
    cu_seq_lens_q: Int[torch.Tensor, " bounds"],
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Float[torch.Tensor, "1 t h d"], None]:
    """Attention of each patch to those of its run.

    Args:
        module: The layer.
        query: Of the row's patches.
        key: Likewise.
        value: Likewise.
        attention_mask: None: patches see all of their run.
        cu_seq_lens_q: Where runs begin and end, from 0 to T.
        scaling: Of the products.
        dropout: Share of weights that are dropped.
        **_: What else transformers tells of attention that is not causal.
    """
    layout = _layout(cu_seq_lens_q)
    seen = []
    for places, runs, length, real in layout.calls:
        taken = [x[0] if places is None else x[0, :, places] for x in (query, key, value)]
        by_run = [x.unflatten(1, (runs, length)).transpose(0, 1) for x in taken]
        found, _none = sdpa_attention_forward(module, *by_run, real, dropout=dropout, scaling=scaling, is_causal=False)
        seen.append(found.flatten(0, 1))
    row = seen[0] if len(seen) == 1 else torch.cat(seen)
    return (row if layout.back is None else row[layout.back])[None], None


def _layout(bounds: Int[torch.Tensor, " bounds"]) -> _Layout:
    """As `_made`, which is asked once for each tensor: a tower gives all of its layers the same."""
    known = getattr(bounds, "_earshot_layout", None)
    if known is None:
        known = _made([int(end) for end in bounds.tolist()], bounds.device)
        bounds._earshot_layout = known  # type: ignore[attr-defined]
    return known


def _made(bounds: list[int], device: torch.device) -> _Layout:
    starts = torch.tensor(bounds[:-1])
    lengths = torch.tensor(bounds[1:]) - starts
    calls: list[_Together] = []
    back, done = torch.empty(bounds[-1], dtype=torch.long), 0
    for few in [lengths <= _SHORT, *(lengths == length for length in lengths[lengths > _SHORT].unique())]:
        if not bool(few.any()):
            continue
        runs, longest = int(few.sum()), int(lengths[few].max())
        inside = torch.arange(longest)
        real = inside < lengths[few, None]
        places = torch.where(real, starts[few, None] + inside, starts[few, None])
        back[places[real]] = done + real.flatten().nonzero()[:, 0]
        done += runs * longest
        seen = None if bool(real.all()) else real[:, None, None].to(device)
        calls.append(_Together(places.flatten().to(device), runs, longest, seen))
    if len(calls) == 1 and calls[0].real is None:
        return _Layout([calls[0]._replace(places=None)], None)
    return _Layout(calls, back.to(device))


AttentionInterface.register(ALL_RUNS, run_attention)
