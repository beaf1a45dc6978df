"""Paths as people write them."""

import re
from pathlib import Path
from typing import TypeVar

_Place = TypeVar("_Place", str, Path)


def at_home(place: _Place) -> _Place:
    """The path, or what names paths (`NAME=~/a+~/b,prompts=~/c`), with `~/` as the user's own folder."""
    home = Path.home().as_posix()
    return type(place)(re.sub(r"(^|[=+])~(?=/)", rf"\g<1>{home}", str(place)))
