"""Earshot: reasoning reward models of image preference, trained with a listener.

`earshot.load(path_or_id)` gives a reward model to compare, rank and score images with; it is imported when it is used,
so that `import earshot` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from earshot.judging.model import load as load

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        from earshot.judging.model import load

        return load
    raise AttributeError(f"module 'earshot' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
