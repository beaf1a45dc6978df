"""What a step asks of a device, counted on a CPU: where arithmetic is little, a GPU's time goes by launches and waits.

    python benchmarks/counts.py --out benchmarks/counts.json

The model has Qwen2.5-VL-7B's layers (28 of text, 32 of the vision tower in its windows) a few numbers wide: counts do
not hang on widths. "Before" is the same code with each of three things taken out: windows computed together, the device
asked every eighth token, and pictures made once. A captured graph is one launch, and was never made here.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils._python_dispatch import TorchDispatchMode

from earshot.files import write_json
from earshot.lab.bench.stock import stock_attention
from earshot.listener.local import LocalListener
from earshot.rundir import describe_environment
from earshot.types import Pair, Votes
from earshot.vlm import Vlm
from earshot.vlm.prefix import Sampling, encode_prefix, sample
from earshot.vlm.prepared import PREPARED, remembering
from earshot.vlm.tiny import TinySize, build_tiny

SIDE_PX = 756
LAYERS, VISION_LAYERS, WHOLE_IMAGES = 28, 32, (7, 15, 23, 31)
PAIRS, GROUP = 2, 8
FEW, MANY = 8, 24  # tokens, of whose difference the cost of one is taken
SAMPLING = "earshot.vlm.prefix.sampling"

_WAITS = frozenset({"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal"})
_VIEWS = """view _unsafe_view reshape transpose t permute slice select expand unsqueeze squeeze split split_with_sizes
unbind detach alias as_strided unflatten chunk narrow empty empty_like new_empty lift_fresh view_as expand_as"""
_NO_LAUNCH = _WAITS | {*_VIEWS.split()}


class Operations(TorchDispatchMode):
    """Counts what would be launched on a GPU, and what would wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.by_name[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))

    @property
    def launches(self) -> int:
        return sum(n for name, n in self.by_name.items() if name not in _NO_LAUNCH)

    @property
    def waits(self) -> int:
        return sum(self.by_name[name] for name in _WAITS)

    @property
    def attention(self) -> int:
        return sum(n for name, n in self.by_name.items() if "scaled_dot_product" in name)


def deep() -> Vlm:
    """A model of the published depth, and of little width."""
    size = TinySize(hidden=64, layers=LAYERS, vision_hidden=32, vision_layers=VISION_LAYERS, image_px=SIDE_PX)
    vlm = build_tiny("qwen2_5_vl", ["a red circle"] * 8, size=size)
    vlm.model.model.visual.fullatt_block_indexes = list(WHOLE_IMAGES)
    return vlm.freeze()


def noise() -> list[Pair]:
    """Pairs of pictures."""
    draw = np.random.default_rng(0)
    shape = (PAIRS, 2, SIDE_PX, SIDE_PX, 3)
    pictures = draw.integers(0, 255, shape, dtype=np.uint8)
    return [Pair(str(k), "red", *map(Image.fromarray, both), Votes(1.0, 0.0)) for k, both in enumerate(pictures)]


def of_tower(vlm: Vlm, pairs: Sequence[Pair], *, together: bool) -> dict[str, float]:
    """A pass of the vision tower over all pictures."""
    inputs = vlm.encode_pairs(pairs)
    tower = vlm.model.model.visual
    with nullcontext() if together else stock_attention(vlm.model), torch.no_grad(), Operations() as seen:
        tower(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    return {"attention_calls": seen.attention, "launches": seen.launches}


def of_token(vlm: Vlm, pairs: Sequence[Pair], *, unseen: int, fixed: bool) -> dict[str, float]:
    """A token of all completions."""
    prefix = encode_prefix(vlm.model, vlm.encode_pairs(pairs))
    owners = [pair for pair in range(len(pairs)) for _ in range(GROUP)]
    seen = {}
    with patch(f"{SAMPLING}._tokens_unseen", lambda device: unseen), ExitStack() as forms:
        if fixed:
            forms.enter_context(patch(f"{SAMPLING}.can_capture", lambda model, device: True))
            forms.enter_context(patch(f"{SAMPLING}._WORTH_CAPTURING", 1))
        for tokens in (FEW, MANY):
            how = Sampling(tokens, 1.0, [], vlm.forbidden_ids, vlm.tokenizer.pad_token_id)
            with Operations() as seen[tokens]:
                sample(vlm.model, prefix, owners, torch.rand(len(owners), tokens), how)
    of = {name: (getattr(seen[MANY], name) - getattr(seen[FEW], name)) / (MANY - FEW) for name in ("launches", "waits")}
    return of | {"of_these_in_a_graph": _of_pass(vlm, prefix, owners) if fixed else 0.0}


def _of_pass(vlm: Vlm, prefix: Any, owners: Sequence[int]) -> float:
    from earshot.vlm.prefix.attention import sharing_attention
    from earshot.vlm.prefix.captured import CapturedRows

    rows = CapturedRows(vlm.model, prefix, torch.tensor(owners), MANY)
    with torch.no_grad(), sharing_attention(vlm.model), Operations() as seen:
        rows._pass()
    return float(seen.launches)


def of_pictures(reasoner: Vlm, listener: Vlm, pairs: Sequence[Pair]) -> dict[str, float]:
    """Pictures that processors scale and cut for a step in which a reasoner judges and a listener reads."""
    made = 0
    kind = type(reasoner.processor.image_processor)
    plain = getattr(kind, "stock", kind).preprocess

    def counting(self: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal made
        made += sum(len(row) if isinstance(row, list) else 1 for row in images)
        return plain(self, images, *args, **kwargs)

    assert reasoner.shares_prompts and listener.shares_prompts  # for which each looks at a grey picture, once
    PREPARED.forget()
    with patch.object(getattr(kind, "stock", kind), "preprocess", counting):
        reasoner.encode_pairs([order for pair in pairs for order in (pair, pair.swapped())])
        LocalListener(listener).p_first([pair for pair in pairs for _ in range(GROUP)], ["red"] * GROUP * len(pairs))
    return {"pictures_made": made, "pictures": 2 * len(pairs)}


def measure() -> dict[str, dict[str, dict[str, float]]]:
    """By what is counted, before and after."""
    vlm, pairs = deep(), noise()
    found: dict[str, dict[str, dict[str, float]]] = {
        f"vision tower, {2 * PAIRS} pictures of {SIDE_PX} px": {
            "before": of_tower(vlm, pairs, together=False),
            "after": of_tower(vlm, pairs, together=True),
        },
        f"a token of {PAIRS} x {GROUP} completions": {
            "before": of_token(vlm, pairs, unseen=1, fixed=False),
            "after": of_token(vlm, pairs, unseen=8, fixed=True),
        },
    }
    before = of_pictures(vlm, vlm, pairs)
    remembering(vlm.processor.image_processor)
    found[f"judging and listening, {PAIRS} pairs"] = {"before": before, "after": of_pictures(vlm, vlm, pairs)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="Where the counts go.")
    asked = parser.parse_args()
    found = measure()
    table = Table("", "", "before", "after")
    for what, sides in found.items():
        for name in sides["before"]:
            table.add_row(what, name.replace("_", " "), *(f"{sides[side][name]:,.1f}" for side in ("before", "after")))
    Console().print(table)
    if asked.out is not None:
        write_json(asked.out, {"counts": found, "environment": describe_environment()})


if __name__ == "__main__":
    main()
