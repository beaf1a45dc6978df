"""Passes that end where nobody waits for them any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.nn import ModuleList


class Unwanted(Exception):
    """Nobody waits for what is computed."""


@contextmanager
def while_wanted(model: Any, wanted: Callable[[], bool] | None) -> Iterator[None]:
    """Within, a pass goes on from layer to layer only while it is wanted.

    Args:
        model: Its stacks of layers, of text and of images, are its module lists.
        wanted: Asked at once and before every layer; None lets all passes end.

    Raises:
        Unwanted: It is not.
    """

    def look(*_: Any) -> None:
        if wanted is not None and not wanted():
            raise Unwanted

    look()
    stacks = [module for module in model.modules() if isinstance(module, ModuleList)] if wanted is not None else []
    hooks = [layer.register_forward_pre_hook(look) for stack in stacks for layer in stack]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
