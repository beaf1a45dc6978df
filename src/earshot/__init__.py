"""Earshot: reasoning reward models of image preference, trained with a listener."""

__version__ = "0.1.0"
