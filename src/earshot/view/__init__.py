"""`earshot view`: a run's judged pairs and training rollouts, to browse and filter in a browser on this machine."""

from earshot.view.app import create_app
from earshot.view.library import Library
from earshot.view.serving import serve
from earshot.view.sources import find_sources

__all__ = ["Library", "create_app", "find_sources", "serve"]
