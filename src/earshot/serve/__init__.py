"""`earshot serve`: a reward model over HTTP, for many clients at a time."""

from earshot.serve.admission import Limits
from earshot.serve.app import Server
from earshot.serve.serving import read_key, serve
from earshot.serve.workers import Workers

__all__ = ["Limits", "Server", "Workers", "read_key", "serve"]
