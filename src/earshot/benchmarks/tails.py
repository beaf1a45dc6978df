"""Images found by the ends of their names: as people write them, with other folders, a drive or an address before."""

from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from earshot.errors import short


class Tails:
    """What of the known names ends how.

    Args:
        known: As `truth.known_as` gives them.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._ends: dict[str, list[str]] = {}
        for text in known:
            prompt, parts = _parts(text)
            stem = parts[-1].rpartition(".")[0] if parts else ""
            for start in range(len(parts)):
                for last in {parts[-1], stem or parts[-1]}:
                    ends = self._ends.setdefault("/".join((prompt, *parts[start:-1], last)), [])
                    if len(ends) < 2:
                        ends.append(text)

    def find(self, text: str) -> str | None:
        """The known name that shares with this one the shortest end that only one has; None where none shares any.

        The last part may lack its suffix.

        Raises:
            ValueError: Several share the longest end that any shares.
        """
        prompt, parts = _parts(text)
        several: list[str] = []
        for start in reversed(range(len(parts))):
            ends = self._ends.get("/".join((prompt, *parts[start:])), [])
            if len(ends) == 1:
                return ends[0]
            if not ends:
                break
            several = ends
        if several:
            one, two = (short(plain(name)) for name in several)
            raise ValueError(f"image {short(plain(text))} may be {one} or {two}; give more of its path")
        return None


def plain(text: str) -> str:
    """The name of an image without its prompt."""
    return text.rpartition("\0")[2]


def _parts(text: str) -> tuple[str, list[str]]:
    """The prompt before a name with its mark, and the folders and file of a path of any system, or of an address."""
    prompt, mark, name = text.rpartition("\0")
    if "://" in name:
        name = unquote(urlsplit(name).path)
    return prompt + mark, [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
