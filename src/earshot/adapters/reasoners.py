"""Rewards for reasoners in other trainers: a listener alone, as a reward of TRL's GRPO or of verl."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from earshot.errors import InputError, ListenerUnavailable
from earshot.listener import Listener, ask
from earshot.protocol import PromptSet, parse_completion, prompt_set, redact_trace, reopened
from earshot.rewards import MALFORMED_REWARD, listener_reward
from earshot.types import ImageSource, Pair, RedactionLevel, Verdict, Votes

_VOTES = {"first": Votes(1.0, 0.0), "second": Votes(0.0, 1.0), "1": Votes(1.0, 0.0), "2": Votes(0.0, 1.0)}


def trl_listener_reward(
    listener: Listener, *, redaction: RedactionLevel = "verdict", prompts: str | Path | PromptSet = "standard"
) -> Callable[..., list[float | None]]:
    """A reward function for `trl.GRPOTrainer(reward_funcs=...)`: the listener's confidence in the side people prefer.

    The data set has, beside TRL's own `prompt` and `images` (the first and the second of each pair), the columns
    `caption` (what the images were made from) and `side` (`first` or `second`: whom people prefer). Completions are
    written in the form of `prompts`, such as `<think>…</think><answer>1|2</answer>`; what a chat template has opened
    for the model may be missing.

    Args:
        listener: Who reads the traces.
        redaction: What a trace loses before it is read: `none`, `answer`, `verdict` or `evidence`.
        prompts: In which form completions are written: the name of a prompt set, its YAML file, or the set itself.

    Returns:
        A function that TRL calls by keyword, for the listener's probability of the preferred side, in [0, 1], of each
        completion. A malformed one earns 0, by rule; where the listener is down every reward is None, which TRL leaves
        out of the sum. With further reward functions beside it, TRL would then add up what is left: use it alone, or
        Earshot's own trainer, which drops such a completion.

    Source of the shape: `GRPOTrainer._calculate_rewards` of TRL 1.16, which passes every column of the data set.
    """

    form = prompt_set(prompts)

    def earshot_listener(
        *,
        completions: Sequence[Any],
        caption: Sequence[str],
        images: Sequence[Sequence[ImageSource]],
        side: Sequence[str],
        **_: Any,
    ) -> list[float | None]:
        texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
        pairs = [_pair(*row) for row in zip(caption, images, side, strict=True)]
        try:
            return list(_rewards(listener, pairs, texts, redaction, form))
        except ListenerUnavailable:
            return [None] * len(texts)

    return earshot_listener


def verl_listener_reward(
    listener: Listener, *, redaction: RedactionLevel = "verdict", prompts: str | Path | PromptSet = "standard"
) -> Callable[..., float]:
    """A `compute_score` for verl (`custom_reward_function.path` and `.name`): the listener's confidence.

    `ground_truth` is `first` or `second`; `extra_info` holds `caption` and `images` (paths or bytes, the first and the
    second).

    Args:
        listener: Who reads the traces.
        redaction: What a trace loses before it is read: `none`, `answer`, `verdict` or `evidence`.
        prompts: In which form completions are written: the name of a prompt set, its YAML file, or the set itself.

    Returns:
        The function, whose value is the listener's probability of the side that people prefer, in [0, 1], and 0 for a
        malformed completion. It is for the naive reward manager, which asks for one completion at a time. It raises an
        InputError for a row without its columns. verl has no missing reward: where the listener is down it raises a
        ListenerUnavailable, so that the step fails; some versions of the batch manager would catch that and write 0.

    Source of the shape: `verl/workers/reward_manager/naive.py` in volcengine/verl (commit 0df61dc).
    """

    form = prompt_set(prompts)

    def compute_score(
        data_source: Any, solution_str: str, ground_truth: str, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> float:
        if extra_info is None or not {"caption", "images"} <= extra_info.keys():
            raise InputError(
                "extra_info: has no caption and images, expected both; put them into the data's extra_info"
            )
        pair = _pair(extra_info["caption"], extra_info["images"], ground_truth)
        return _rewards(listener, [pair], [solution_str], redaction, form)[0]

    return compute_score


def _rewards(
    listener: Listener, pairs: Sequence[Pair], texts: Sequence[str], redaction: RedactionLevel, prompts: PromptSet
) -> list[float]:
    """What each completion earns; the listener is asked once about all that are well-formed.

    Raises:
        ListenerUnavailable: The listener broke.
    """
    parsed = [parse_completion(reopened(text, prompts), prompts) for text in texts]
    asked = [k for k, verdict in enumerate(parsed) if isinstance(verdict, Verdict)]
    traces = [redact_trace(verdict.trace, redaction) for verdict in parsed if isinstance(verdict, Verdict)]
    p_first = ask(listener, [pairs[k] for k in asked], traces).tolist() if asked else []
    assert MALFORMED_REWARD.listener is not None
    rewards = [MALFORMED_REWARD.listener] * len(texts)
    for k, p in zip(asked, p_first, strict=True):
        reward = listener_reward(p, pairs[k].votes)
        assert reward is not None, "there is a label, and `ask` has found a probability"
        rewards[k] = reward
    return rewards


def _pair(caption: str, images: Sequence[ImageSource], side: str) -> Pair:
    """Rows about the same objects are the same pair, whose images and prompt the listener computes once."""
    if len(images) != 2:
        raise InputError(f"images: holds {len(images)}, expected the first and the second of the pair")
    votes = _VOTES.get(str(side))
    if votes is None:
        raise InputError(f"side is {side!r}, expected 'first' or 'second': the image that people prefer")
    return Pair(caption, caption, _source(images[0]), _source(images[1]), votes)


def _source(image: Any) -> ImageSource:
    if isinstance(image, Mapping):  # the hub's embedded images
        image = image.get("bytes") or image.get("path")
    return Path(image) if isinstance(image, str) else image
