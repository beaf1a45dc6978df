"""The hub, which is asked once: its client repeats a request that no network carries for half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

from earshot.errors import ModelOutOfReach, first_line
from earshot.vlm.folder import CONFIG, base_of, check, is_adapter, place_of

_PATIENCE_S: Final = 5.0


@contextmanager
def reachable_or_offline(source: str) -> Iterator[None]:
    """Within, a model of the hub that cannot be reached is read from this machine's cache, and nothing is asked again.

    Args:
        source: A folder, which needs no hub, or a hub id.

    Raises:
        ModelOutOfReach: The hub cannot be reached, and the model is not in the cache, or not all of it.
    """
    why = None if Path(source).is_dir() else _why_not_reached(source)
    if why is None:
        yield
        return
    advice = f"where there is a network, 'hf download {source}' brings it; or give a folder's path"
    if not isinstance(try_to_load_from_cache(source, CONFIG), str):
        raise ModelOutOfReach(f"{source}: no such folder, and the hub cannot be asked for it ({why}); {advice}")
    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except (OSError, ValueError) as error:
        raise ModelOutOfReach(
            f"{source}: not all of it is on this machine ({first_line(error)}), and the hub cannot be asked for the "
            f"rest ({why}); {advice}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = before


def look(source: str) -> None:
    """Refuses a model at once, before others are loaded, where it cannot be had or brings what it must not.

    Raises:
        ModelError: As `load` would, when its turn comes.
    """
    place = place_of(source)
    if Path(place).is_dir():
        check(place)
        if is_adapter(place):
            look(base_of(place))
    else:
        with reachable_or_offline(place):
            pass


def _why_not_reached(source: str) -> str | None:
    """Why the hub does not answer; None where it does, whatever it says."""
    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE is set"
    try:
        get_hf_file_metadata(hf_hub_url(source, CONFIG), timeout=_PATIENCE_S)
    except (HfHubHTTPError, ValueError):
        return None  # it answered, or the name is none: transformers says which
    except Exception as error:  # of the client's own HTTP library, which may change
        return f"{constants.ENDPOINT}: {first_line(error)}"
    return None
