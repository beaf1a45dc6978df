"""The reasoner: a vision-language model that thinks about a pair before it names a side."""

from earshot.reasoner.local import Reasoner

__all__ = ["Reasoner"]
