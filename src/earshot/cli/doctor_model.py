"""What `earshot doctor --model` prints: how a model is computed, what it needs, and a check of its numbers."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from earshot.cli.reward_model import need_torch
from earshot.cli.table import facts
from earshot.errors import InputError, ModelError

if TYPE_CHECKING:
    from earshot.images import Sight
    from earshot.judging.examine import Examination, Part
    from earshot.judging.self_check import Check
    from earshot.vlm import Vlm

_GIB = 2**30
_NAMES = {
    "judging": "judging",
    "listening": "listening",
    "logps": "log-probabilities",
    "grpo": "GRPO",
    "grpo_checkpointed": "GRPO with checkpointed layers",
    "grpo_lora": "GRPO with LoRA",
    "grpo_lora_checkpointed": "GRPO with LoRA and checkpointed layers",
    "sft": "SFT",
}


def examine_model(
    model: str,
    memory_gib: float | None,
    *,
    max_new_tokens: int,
    device: str,
    dtype: str,
    sight: "Sight",
    prompts: str | None,
    as_json: bool,
) -> None:
    """Examines a model, prints what is found, and ends with 1 where its numbers are wrong, 2 where it cannot be loaded.

    Args:
        model: As it is named.
        memory_gib: Of the device; None where it is not known.
        max_new_tokens: Of the longest completion.
        device: Where it is computed.
        dtype: Of its weights.
        sight: How images are made ready for it.
        prompts: How it is asked.
        as_json: Print an object instead of a table.

    Raises:
        InputError: It is on a server.
        ModelError: It cannot be used anywhere.
    """
    need_torch()
    from earshot.cli.progress import quiet_loading
    from earshot.judging.examine import examine
    from earshot.judging.self_check import self_check
    from earshot.remote import is_address
    from earshot.vlm import load

    if is_address(model):
        raise InputError(
            f"{model}: on a server, and only models that run here can be looked at; ask the server for its own"
        )

    quiet_loading()

    def loaded(*, weights: bool) -> "Vlm":
        return load(model, device=device, dtype=dtype, sight=sight, weights=weights).freeze().asked(prompts)

    examined = examine(loaded(weights=False), new_tokens=max_new_tokens)
    needed = examined.memory["judging"].weights
    checks: list[Check] = []
    unchecked = None
    if memory_gib is not None and needed > memory_gib * _GIB:
        unchecked = f"its weights take {_size(needed)}, and this device has {memory_gib:.1f} GiB"
    else:
        try:
            checks = self_check(loaded(weights=True), new_tokens=max_new_tokens)
        except ModelError as error:  # of the weights: all else has been looked at
            unchecked = str(error)
    failed = any(check.outcome == "failed" for check in checks)
    if as_json:
        told = {"model": model, **examined.as_dict(), "checks": [check._asdict() for check in checks]}
        print(json.dumps({**told, "unchecked": unchecked, "ok": not failed and unchecked is None}, indent=2))
    else:
        print(facts(_rows(examined, max_new_tokens, memory_gib)))
        print()
        checked = [(check.outcome, f"{check.name}: {check.found}") for check in checks]
        print(facts(checked if unchecked is None else [*checked, ("not checked", unchecked)]))
    if failed or unchecked is not None:
        raise typer.Exit(1 if failed else 2)


def _rows(found: "Examination", max_new_tokens: int, memory_gib: float | None) -> Iterator[tuple[str, str]]:
    from earshot.judging.examine import GROUP, LORA, TOGETHER

    yield (
        "model",
        f"{found.name}: {found.family} ({found.architecture}), {found.parameters:,} parameters, {found.dtype}",
    )
    opens = f"its chat template opens {found.opened.strip()}" if found.opened else "it opens its thoughts itself"
    answers = " or ".join(f"'{token}' (id {id})" for token, id in found.answers.items())
    yield "asked", f"in the prompt set '{found.prompts}'; {opens}; it answers {answers}"
    limit = found.max_pixels
    yield "images", "of the sizes that its processor gives them" if limit is None else f"of at most {limit:,} pixels"
    tokens, context = found.largest_prompt.tokens, found.context_tokens
    long = context is not None and tokens + max_new_tokens > context
    advice = f", and {max_new_tokens} more do not fit: give --max-pixels" if long else ""
    length = "unknown" if context is None else f"{context:,} tokens"
    yield "context", f"{length}; two such images with a short question take {tokens:,}{advice}"
    alone = "one pair at a time, for its processor pads images to those beside them"
    yield "batches", "several pairs at a time" if found.together else alone
    alike: dict[Part, list[str]] = {}
    for name, part in found.parts.items():
        alike.setdefault(part, []).append(_NAMES[name])
    for part, names in alike.items():
        yield part.how, f"{', '.join(names)}: {part.why or 'a prompt and its images once for all that continue it'}"
    forms = [form if why is None else f"not {form} ({why})" for form, why in found.forms.items()]
    yield "forms", f"of log-probabilities: {', '.join(forms)}"
    for name, memory in found.memory.items():
        sizes = {part: size for part, size in memory._asdict().items() if part != "by_rule" and size}
        parts = ", ".join(f"{part} {_size(size)}" for part, size in sizes.items())
        parts += " by a rule, which may say half of it or twice as much" * memory.by_rule
        fits = memory_gib is None or memory.total <= memory_gib * _GIB
        room = "" if fits else f"; more than the {memory_gib:.1f} GiB here"
        yield "memory", f"{_NAMES[name]}: {_size(memory.total)} ({parts}){room}"
    judged = TOGETHER if found.together else 1
    told = (
        f"estimates: {judged} prompts judged at a time, {GROUP} completions of one pair in a step; two such images and "
        f"{max_new_tokens} new tokens each; Adam; LoRA of rank {LORA['r']} in all linear layers"
    )
    yield "", told


def _size(n: int) -> str:
    return f"{n / _GIB:.1f} GiB" if n >= _GIB else f"{n / 2**20:.1f} MiB"
