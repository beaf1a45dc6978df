"""Keys of clients and of TLS: files that nobody else may read, and that are read again when they change."""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path
from typing import Final, Generic, TypeVar

from earshot.errors import InputError

log = logging.getLogger("earshot.serve")
T = TypeVar("T")

_LOOK_S = 1.0
_MOST_BYTES: Final = 2**16
_MOST_KEYS: Final = 64
_LINE = re.compile(r"(?:(?P<name>[A-Za-z0-9._-]{1,32})[ \t]+)?(?P<key>[\x21-\x7e]{16,256})")
_NAMELESS: Final = "key"
_HOW: Final = """expected lines of 'NAME KEY' with keys of 16 to 256 ASCII characters; \
'echo "me $(openssl rand -hex 32)" >> {path}' adds one"""


class Watched(Generic[T]):
    """What files say. It is looked for at most once a second whether they have changed; where the new content is
    refused, that is logged once, and what they said before holds.

    Args:
        read: Reads them.
        files: They.

    Raises:
        InputError: What `read` raises, the first time.
    """

    def __init__(self, read: Callable[[], T], *files: Path) -> None:
        self._read = read
        self._files = files
        self._seen, self._looked = self._state(), time.monotonic()
        self._said = read()

    def __call__(self) -> T:
        """What they say now."""
        if time.monotonic() - self._looked >= _LOOK_S:
            seen, self._looked = self._state(), time.monotonic()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._said = self._read()
                    log.info("%s: read again", self._files[0])
                except InputError as error:
                    log.error("%s; what was there before holds", error)
        return self._said

    def _state(self) -> list[tuple[int, ...] | None]:
        return [*map(_state, self._files)]


def _state(file: Path) -> tuple[int, ...] | None:
    try:
        told = file.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_ino


class Keys:
    """Whose requests are answered, by the fingerprints of their keys: what is compared has one length."""

    def __init__(self, names: dict[bytes, str]) -> None:
        self._names = names

    def name(self, shown: bytes) -> str | None:
        """Whose key is shown, in as long a time whatever is shown; None where it is nobody's."""
        found, digest = None, sha256(shown).digest()
        for key, name in self._names.items():
            if compare_digest(key, digest):
                found = name
        return found


def watch_keys(path: Path) -> Watched[Keys]:
    """The keys in a file, a line `NAME KEY` each, or KEY, called `key`; blank lines and comments (#) are left out.

    A name may stand in several lines, so that its next key is there before the last is taken away.

    Raises:
        InputError: It cannot be read, others may read it, or it holds none.
    """
    return Watched(lambda: Keys(dict(_keys(path, read_private(path, "a file with keys")))), path)


def _keys(path: Path, text: bytes) -> Iterator[tuple[bytes, str]]:
    lines = text.decode("latin-1").splitlines()
    said = [(k, line.strip()) for k, line in enumerate(lines, 1) if line.strip() and not line.lstrip().startswith("#")]
    if not 0 < len(said) <= _MOST_KEYS:
        raise InputError(f"{path}: holds {len(said) or 'no'} keys, of at most {_MOST_KEYS}, {_HOW.format(path=path)}")
    seen: dict[bytes, int] = {}
    for k, line in said:
        found = _LINE.fullmatch(line)
        if found is None:  # without the line itself, which may be a key
            raise InputError(f"{path}:{k}: no name and key, {_HOW.format(path=path)}")
        key = sha256(found["key"].encode()).digest()
        if seen.setdefault(key, k) != k:
            raise InputError(f"{path}:{k}: the key of line {seen[key]} again; give each line its own")
        yield key, found["name"] or _NAMELESS


def read_private(path: Path, what: str) -> bytes:
    """A small file that nobody but its owner may read.

    Raises:
        InputError: It cannot be read, or others may read it, too.
    """
    try:
        with path.open("rb") as file:
            mode, text = path.stat().st_mode & 0o777, file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {what}") from error
    if mode & 0o077:
        raise InputError(f"{path}: others on this machine may read it (mode {mode:o}); chmod 600 it")
    if len(text) > _MOST_BYTES:
        raise InputError(f"{path}: has more than {_MOST_BYTES} bytes, expected {what}")
    return text


def watch_tls(certificate: Path, key: Path) -> Watched[ssl.SSLContext]:
    """What connections are encrypted with.

    Args:
        certificate: In PEM, with those that it follows from.
        key: Its private key, without a password.

    Raises:
        InputError: They cannot be read, others may read the key, or they do not belong together.
    """

    def read() -> ssl.SSLContext:
        read_private(key, "a private key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except OSError as error:
            if error.errno and not isinstance(error, ssl.SSLError):
                raise InputError(f"{certificate}: cannot be read ({error.strerror}), expected a certificate") from error
            if "MISMATCH" in str(error):
                raise InputError(
                    f"{key}: is not the key of {certificate}; give those that were made together"
                ) from error
            text = "are no certificate and its key in PEM, the key without a password"
            raise InputError(f"{certificate} and {key} {text}; 'openssl x509 -text' and 'openssl pkey' show") from error
        return context

    return Watched(read, certificate, key)


def following(tls: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """A context whose every handshake is made with what `tls` says by then."""
    context = tls()
    context.sni_callback = lambda connection, name, _: setattr(connection, "context", tls())
    return context


def _no_password() -> bytes:
    return b""  # instead of asking for one on the terminal
