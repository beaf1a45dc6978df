"""Importing a small set into a new folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earshot.data.importing import import_set
from tests.data.public.sets import Done


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Done]:
    """Imports a set into a new folder."""
    count = iter(range(100))

    def run(name: str, source: Path, *, seed: int = 0, images: bool = True, **options: Any) -> Done:
        out = tmp_path / f"out{next(count)}"
        imported = import_set(name, source, out, seed=seed, images=images, **options)
        return Done(out, imported, seed, images)

    return run
