"""Checkpoints of families at the sizes that people download, without their weights.

A family's tiny folder, and in its config the sizes that transformers gives the class when nothing is said: 300 million
to 100 billion weights. What tokenizer and processor agree on with the model stays the tiny folder's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from tests.vlm.families import build

_OF_THE_PROCESSOR = re.compile(
    r"\w*(_ids?|_index|token\w*|vocab_size\w*|image_size|patch\w*|merge_size|_channels|position\w*|projector\w+dict)"
    r"|scale_factor|downsample_factor|pooling_kernel_size|window_size|sliding_window|hidden_stride|max_\w+|_\w+"
    r"|channel_multiplier|attn_resolutions|num_embeddings|codebook_size|supported_aspect_ratios|\w*pinpoints|\w*latents"
)


def grown(name: str, folder: Path) -> Path:
    """A checkpoint of the family in a folder of its name within `folder`, large and without weights."""
    made = build(name, folder)
    own = AutoConfig.from_pretrained(made)
    (made / "config.json").write_text(json.dumps(_grown(own.to_dict(), type(own)().to_dict()), default=list))
    for weights in made.glob("*.safetensors"):
        weights.unlink()
    return made


def _grown(own: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, Any]:
    large = dict(own)
    for name, value in own.items():
        there = usual.get(name)
        if isinstance(value, dict) and name.endswith("_config"):
            large[name] = _grown(value, there or {})
        elif name == "rope_parameters" and "mrope_section" in (value or {}):
            size = usual.get("head_dim") or usual["hidden_size"] // usual["num_attention_heads"]
            half = int(size * value.get("partial_rotary_factor", 1.0)) // 2
            large[name] = {**value, "mrope_section": [half - 2 * (half // 3), half // 3, half // 3]}
        elif not _OF_THE_PROCESSOR.fullmatch(name) and _is_size(there):
            large[name] = there
    heads = large.get("num_attention_heads")
    if heads and large["hidden_size"] % heads:  # transformers' own default of one family's tower
        large["num_attention_heads"] = 16
    return large


def _is_size(value: Any) -> bool:
    of_layers = isinstance(value, list) and len(value) > 0
    return of_layers or (isinstance(value, int) and not isinstance(value, bool) and value > 0)
