"""The only place that knows the prompts, the chat messages, how a completion is parsed and how a trace is redacted."""

from earshot.protocol.claims import Claim, split_claims
from earshot.protocol.defuse import defuse
from earshot.protocol.parse import MALFORMATIONS, parse_completion
from earshot.protocol.prompt_sets import PromptSet, TraceLanguage, prompt_set, register_language
from earshot.protocol.prompts import claim_messages, listener_prefill, reasoner_messages, reopened, write_completion
from earshot.protocol.redact import redact_trace
from earshot.protocol.swap import swap_references

__all__ = [
    "MALFORMATIONS",
    "Claim",
    "PromptSet",
    "TraceLanguage",
    "claim_messages",
    "defuse",
    "listener_prefill",
    "parse_completion",
    "prompt_set",
    "reasoner_messages",
    "redact_trace",
    "register_language",
    "reopened",
    "split_claims",
    "swap_references",
    "write_completion",
]
