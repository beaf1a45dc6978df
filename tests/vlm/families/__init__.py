"""Tiny random checkpoints of many model families, one for each mechanism at least."""

from pathlib import Path

from tests.vlm.families import cohere, gemma, glm, llama, llava, others, qwen, traps
from tests.vlm.families.family import Family, write

FAMILIES: dict[str, Family] = {
    family.name: family
    for group in (qwen, gemma, llama, llava, cohere, glm, others, traps)
    for family in group.FAMILIES
}

__all__ = ["FAMILIES", "Family", "build"]


def build(name: str, folder: Path) -> Path:
    """A checkpoint of the family, in a folder of its name within `folder`."""
    return write(FAMILIES[name], folder / name)
