"""Earshot: reasoning reward models of image preference, trained with a listener.

`earshot.load(path_or_id)` gives a reward model to compare, rank and score images with, `earshot.Client(url)` one that a
server has; each is imported when it is used, so that `import earshot` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earshot.judging.model import load as load
    from earshot.judging.served import AsyncClient as AsyncClient
    from earshot.judging.served import Client as Client

__version__ = "0.2.0"
__all__ = ["AsyncClient", "Client", "__version__", "load"]
_PLACES = {"load": "served", "Client": "served", "AsyncClient": "served"}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"earshot.judging.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'earshot' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
