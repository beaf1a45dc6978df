"""Vision-language models: loading, tiny ones built from a config, and rows that share a prefix."""

from earshot.vlm.model import Vlm, answer_token_ids, answer_tokens, load

__all__ = ["Vlm", "answer_token_ids", "answer_tokens", "load"]
