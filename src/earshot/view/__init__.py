"""`earshot view`: a run's judged pairs and training rollouts, to browse and filter in a browser on this machine."""

from earshot.view.app import create_app, serve
from earshot.view.library import Library

__all__ = ["Library", "create_app", "serve"]
