"""What a model's folder says of it: how it is asked, how its images are made ready, what it was taught on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from earshot.errors import ConfigError, InputError, ModelError, first_line, short
from earshot.images import Sight
from earshot.protocol import PromptSet, prompt_set
from earshot.vlm.folder import read

SIDECAR: Final = "earshot.json"


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


def read_taught_on(folder: Path) -> str | None:
    """The pictures that a model was made from, where its folder says that there were no others."""
    said = _said_of_itself(folder).get("taught_on")
    if said is None or (isinstance(said, str) and said.isprintable() and 0 < len(said) <= 100):
        return said
    raise ModelError(
        f"{folder / SIDECAR}: 'taught_on' is {short(said)}, expected a line of at most 100 characters; take it out"
    )


def _said_of_itself(folder: Path) -> dict[str, Any]:
    return read(folder / SIDECAR) if (folder / SIDECAR).is_file() else {}
