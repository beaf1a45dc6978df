"""Rows that share a prefix with images, computed once.

G completions of one pair, or G traces read by the listener, share the prompt and two images, which are most of the
tokens. The prefix is encoded once, and only the rows' own tokens are computed on top: the same numbers as G separate
rows, to rounding, in sampling, in reading one logit, and in log-probabilities with their gradients.

Nothing here knows of a trainer.
"""

from earshot.vlm.prefix.encode import Continued, Prefix, continued, encode_prefix, suffix_logits
from earshot.vlm.prefix.ending import Unwanted, while_wanted
from earshot.vlm.prefix.forms import Form
from earshot.vlm.prefix.logps import TOKENS_AT_ONCE, Logps, logps_of_rows, shared_logps
from earshot.vlm.prefix.sampling import Sampling, sample

__all__ = [
    "TOKENS_AT_ONCE",
    "Continued",
    "Form",
    "Logps",
    "Prefix",
    "Sampling",
    "Unwanted",
    "continued",
    "encode_prefix",
    "logps_of_rows",
    "sample",
    "shared_logps",
    "suffix_logits",
    "while_wanted",
]
