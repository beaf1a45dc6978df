"""The items of a JSON list one after another: a list of a gigabyte takes the memory of its largest item."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from earshot.errors import DataError
from earshot.files import open_regular

MAX_ITEM = 16_000_000
"""Characters; what is longer is no entry of a set, and would be taken into memory whole."""

_CHUNK = 1 << 18
_SPACES, _DECODER = re.compile(r"[ \t\n\r]*"), json.JSONDecoder()
_AFTER_A_NUMBER = {",", "]", " ", "\t", "\n", "\r"}  # or more of it may follow in what is not read yet


def iter_json_list(path: Path) -> Iterator[Any]:
    """Yields each item of a file that holds a JSON list.

    Raises:
        InputError: The file cannot be read.
        DataError: It holds no JSON, no list, or an item that is too long; items before that have been given.
    """
    with open_regular(path, what="a JSON list") as file:
        try:
            yield from _Reader(file).items()
        except _Damaged as error:
            raise DataError(f"{path}: {error}; get the file again") from error
        except (
            ValueError,
            RecursionError,
        ) as error:  # not UTF-8, a number of thousands of digits, brackets without end
            raise DataError(f"{path}: is no JSON ({error}); get the file again") from error


class _Damaged(Exception):
    """What is wrong with the file."""


class _Reader:
    """Some text of a file, and where in it one stands."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._at, self._passed, self._ended = "", 0, 0, False

    def items(self) -> Iterator[Any]:
        if self._next() != "[":
            self._at = 0
            self._refuse_other(self._item())
        self._at += 1
        if self._next() != "]":
            yield self._item()
            while self._next() == ",":
                self._at += 1
                yield self._item()
        if self._next() != "]":
            raise _Damaged(f"is no JSON (expected ',' or ']' at character {self._passed + self._at})")
        self._at += 1
        if self._next():
            raise _Damaged(f"is no JSON (something follows the list at character {self._passed + self._at})")

    def _refuse_other(self, found: Any) -> None:
        raise _Damaged(f"holds a JSON {type(found).__name__}, expected a list of entries")

    def _read(self) -> None:
        """Takes more of the file: as much as there is already, lest a long item be parsed again at every step."""
        self._text, self._passed, self._at = self._text[self._at :], self._passed + self._at, 0
        data = self._file.read(max(_CHUNK, len(self._text)))
        self._ended = not data
        self._text += self._decoder.decode(data, final=self._ended)

    def _next(self) -> str:
        """The next character that is no space; nothing at the end of the file."""
        while True:
            self._at = _SPACES.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._read()

    def _item(self) -> Any:
        self._next()
        while True:
            try:
                item, end = _DECODER.raw_decode(self._text, self._at)
                goes_on = isinstance(item, int | float) and self._text[end : end + 1] not in _AFTER_A_NUMBER
                if self._ended or not goes_on:
                    self._at = end
                    return item
            except json.JSONDecodeError as error:
                if self._ended:
                    raise _Damaged(f"is no JSON ({error.msg} at character {self._passed + error.pos})") from error
            if len(self._text) - self._at > MAX_ITEM:
                raise _Damaged(f"is no JSON, or has an entry of more than {MAX_ITEM} characters, "
                               f"at character {self._passed + self._at}")  # fmt: skip
            self._read()
