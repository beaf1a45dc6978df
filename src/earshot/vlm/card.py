"""What a model's folder says of the model: how it is asked, how its images are made ready, and what it knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from earshot.errors import ConfigError, InputError, ModelError, first_line, short
from earshot.images import Sight
from earshot.protocol import PromptSet, prompt_set
from earshot.vlm.folder import place_of, read

SIDECAR: Final = "earshot.json"


def only_about(source: str) -> str | None:
    """What a model was taught about alone, in words, by the language of its traces; None for pictures of any kind.

    Args:
        source: A folder, `world:NAME`, or a hub id, of which nothing is fetched.

    Raises:
        ModelError: The folder holds no model.
    """
    place = Path(place_of(source))
    return read_prompts(place).language.about if place.is_dir() else None


def read_prompts(folder: Path, default: PromptSet | None = None) -> PromptSet:
    """What a folder was trained with: the set as it stands there, or in older folders its name."""
    said = _said_of_itself(folder).get("prompts", default or "standard")
    try:
        if isinstance(said, dict | str | PromptSet):
            return prompt_set(said)
    except ConfigError as error:
        raise ModelError(f"{folder / SIDECAR}: {error}") from error
    raise ModelError(f"{folder / SIDECAR}: 'prompts' is {short(said)}, expected a prompt set or its name")


def read_sight(folder: Path) -> Sight:
    """How images were made ready for a model when it was written, where its processor cannot say it."""
    try:
        return Sight(**_said_of_itself(folder).get("images", {}))
    except (InputError, TypeError) as error:
        raise ModelError(f"{folder / SIDECAR}: 'images' is not as Earshot writes it ({first_line(error)})") from error


def _said_of_itself(folder: Path) -> dict[str, Any]:
    return read(folder / SIDECAR) if (folder / SIDECAR).is_file() else {}
