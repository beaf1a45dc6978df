"""A listener by what a user calls it: an address is asked, and anything else is a model that is loaded here."""

from __future__ import annotations

import os
from pathlib import Path

from earshot.listener import Listener
from earshot.listener.local import LocalListener
from earshot.listener.remote import remote_listener
from earshot.remote import is_address
from earshot.vlm import load


def named_listener(
    source: str | Path, *, name: str | None = None, batch_size: int = 16, device: str = "auto", dtype: str = "auto"
) -> Listener:
    """The listener at an address, with the key in EARSHOT_LISTENER_KEY, or the frozen model of a folder or a hub id.

    Training has options for each kind, and two listeners on one model: see `train.grpo`.

    Args:
        source: What it is called.
        name: What logs call a model that is loaded here; its own name by default.
        batch_size: Pairs that a model here encodes at a time.
        device: Of a model here: `auto`, `cpu` or `cuda`.
        dtype: Of a model here: `auto`, `float32` or `bfloat16`.

    Raises:
        InputError: It is an address of another kind.
        ModelError: The model cannot be loaded, or its answers are not single tokens.
    """
    if is_address(source):
        return remote_listener(str(source), key=os.environ.get("EARSHOT_LISTENER_KEY"))
    vlm = load(source, device=device, dtype=dtype).freeze()
    return LocalListener(vlm, name=name or vlm.name, batch_size=batch_size)
