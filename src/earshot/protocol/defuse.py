"""Text from users and models can never become control tokens."""

import re
from collections.abc import Collection
from functools import lru_cache

from earshot.errors import ModelError


def defuse(text: str, control_tokens: Collection[str]) -> str:
    """Break every control token in `text` by a space after its first character, until none is left.

    Breaking one token can complete another (`a b` after `ab` was broken), hence until none is left. That ends:
    tokens are taken without their outer spaces, so each insertion widens the gap between two characters, and a gap
    wider than any inside a token is never touched again.

    Args:
        text: Anything.
        control_tokens: Strings that the tokenizer turns into special tokens.

    Returns:
        A text that contains none of the tokens; the same text where it contained none.

    Raises:
        ModelError: A control token has fewer than two characters, so that no space can break it.
    """
    breaker = _breaker(tuple(sorted(set(control_tokens))))
    if breaker is None:
        return text
    while (broken := breaker.sub(r"\g<0> ", text)) != text:
        text = broken
    return text


@lru_cache(maxsize=64)
def _breaker(control_tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    """A pattern that matches the first character of every control token; None where there are no tokens."""
    bare = sorted({token.strip(" ") for token in control_tokens})
    for token in bare:
        if len(token) < 2:
            raise ModelError(
                f"control token {token!r} has {len(token)} characters, expected at least 2: text cannot be kept "
                "from forming it; give the tokenizer a longer one"
            )
    if not bare:
        return None
    firsts = "".join(re.escape(c) for c in sorted({token[0] for token in bare}))
    return re.compile(f"(?=(?:{'|'.join(map(re.escape, bare))}))[{firsts}]", re.DOTALL)
