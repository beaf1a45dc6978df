"""`earshot serve`: a reward model over HTTP, for many clients at a time.

Its parts are imported when they are used: a process that only decodes images needs no server.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from earshot.serve.admission import Limits
    from earshot.serve.app import Server
    from earshot.serve.decoding import Decoders
    from earshot.serve.secret_files import watch_keys, watch_tls
    from earshot.serve.serving import serve
    from earshot.serve.workers import Workers

__all__ = ["Decoders", "Limits", "Server", "Workers", "serve", "watch_keys", "watch_tls"]
_PLACES: Final = {
    "Decoders": "decoding", "Limits": "admission", "Server": "app", "Workers": "workers",
    "serve": "serving", "watch_keys": "secret_files", "watch_tls": "secret_files",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(f"earshot.serve.{_PLACES[name]}"), name)
    raise AttributeError(f"module 'earshot.serve' has no attribute '{name}'")
