"""What a model is and how it will be computed, said by the code that computes; its weights are not looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, get_args

from earshot.errors import ModelError
from earshot.vlm import Vlm, answer_token_ids
from earshot.vlm.mechanisms import (
    CHECKPOINTED,
    check_inputs,
    check_trainable,
    reason_for_whole_rows,
    reason_for_whole_steps,
)
from earshot.vlm.memory import Memory, Prompt, Training, Work, estimate_memory, largest_prompt
from earshot.vlm.prefix import Form
from earshot.vlm.prefix.forms import reason_against_form
from earshot.vlm.prefix.logps import reason_for_plain_rows
from earshot.vlm.prefix.pictures import layout_is_known

TOGETHER = 16  # prompts that are judged at a time by default
GROUP = 8  # completions of one pair
LORA: dict[str, Any] = {"r": 16, "target_modules": "all-linear"}


class Part(NamedTuple):
    """How one part of the work is computed.

    Attributes:
        how: `shared`: a prompt and its images once for all that continue it; `whole`: every row from its first token;
            `refused`.
        why: Of the latter two.
    """

    how: Literal["shared", "whole", "refused"]
    why: str | None = None


@dataclass(frozen=True)
class Examination:
    """What is known of a model before its weights are read.

    Attributes:
        name: For logs and results.
        family: Its `model_type`.
        architecture: Its class in transformers.
        parameters: How many there are.
        dtype: Of the weights, as they would be loaded.
        prompts: The name of the prompt set that it is asked with.
        opened: What its chat template has written when its turn begins: `<think>`, or nothing.
        answers: The tokens of the two answers, and their ids.
        context_tokens: How many tokens it was made for; None where it does not say.
        max_pixels: To how many pixels (width × height) larger images are shrunk; None where the processor decides.
        largest_prompt: A short question about two images of that size.
        together: Whether prompts of several pairs stand in one batch.
        parts: How judging, listening, log-probabilities and training (also with checkpointed layers) are computed.
        forms: Of log-probabilities, and what speaks against each.
        memory: Estimates, of judging `TOGETHER` prompts and of a step of GRPO on `GROUP` completions of one pair.
    """

    name: str
    family: str
    architecture: str
    parameters: int
    dtype: str
    prompts: str
    opened: str
    answers: dict[str, int]
    context_tokens: int | None
    max_pixels: int | None
    largest_prompt: Prompt
    together: bool
    parts: dict[str, Part]
    forms: dict[Form, str | None]
    memory: dict[str, Memory]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        memory = {name: {**one._asdict(), "total": one.total} for name, one in self.memory.items()}
        prompt = {"tokens": self.largest_prompt.tokens, "patches": self.largest_prompt.patches}
        parts = {name: part._asdict() for name, part in self.parts.items()}
        return {**asdict(self), "largest_prompt": prompt, "parts": parts, "memory": memory}


def examine(vlm: Vlm, *, new_tokens: int) -> Examination:
    """Examines a model, of whose weights only the shapes count.

    Args:
        vlm: The model; without weights it will do (`load(weights=False)`).
        new_tokens: Of the longest completion.

    Raises:
        ModelError: It cannot be used.
    """
    inputs = vlm.grey_question()
    check_inputs(inputs)
    prompt = largest_prompt(vlm)
    ids = answer_token_ids(vlm)
    weights = next(vlm.model.parameters())
    pictures, tokens = layout_is_known(vlm.model, inputs), prompt.tokens + new_tokens

    def plain(*, checkpointed: bool) -> str | None:
        return reason_for_plain_rows(
            vlm.model, inputs, tokens, pictures=pictures, one_pass=CHECKPOINTED if checkpointed else None
        )

    def against(form: Form) -> str | None:
        return reason_against_form(form, vlm.model, inputs, pictures=pictures, one_pass=None)

    step = reason_for_whole_steps(vlm.model)
    asked = _part(reason_for_whole_rows(vlm.model, inputs))
    refused, adapted = (_refusal(vlm, with_adapter=adapter) for adapter in (False, True))
    return Examination(
        name=vlm.name,
        family=vlm.model.config.model_type,
        architecture=type(vlm.model).__name__,
        parameters=vlm.model.num_parameters(),
        dtype=str(weights.dtype).removeprefix("torch."),
        prompts=vlm.prompts.name,
        opened=vlm.opened,
        answers=dict(zip(vlm.tokenizer.convert_ids_to_tokens(list(ids)), ids, strict=True)),
        context_tokens=vlm.context_tokens,
        max_pixels=vlm.sight.max_pixels,
        largest_prompt=prompt._replace(pictures={}),  # what is told is compared and printed
        together=vlm.shares_prompts,
        parts={
            "judging": asked,
            "listening": asked,
            "logps": _part(plain(checkpointed=False)),
            "grpo": refused or _part(step or plain(checkpointed=False)),
            "grpo_checkpointed": refused or _part(step or plain(checkpointed=True)),
            "sft": refused or Part("whole", "every pair has one completion"),
        },
        forms={form: against(form) for form in get_args(Form)},
        memory=_estimates(vlm, prompt, new_tokens, ways=(refused is None, adapted is None)),
    )


def _part(why_whole: str | None) -> Part:
    return Part("shared") if why_whole is None else Part("whole", why_whole)


def _refusal(vlm: Vlm, *, with_adapter: bool) -> Part | None:
    try:
        check_trainable(vlm.model, with_adapter=with_adapter)
    except ModelError as error:
        return Part("refused", str(error))
    return None


def _estimates(vlm: Vlm, prompt: Prompt, new_tokens: int, *, ways: tuple[bool, bool]) -> dict[str, Memory]:
    dtype = next(vlm.model.parameters()).dtype
    together = TOGETHER if vlm.shares_prompts else 1
    judged, step = Work(prompt, together, together, new_tokens), Work(prompt, 1, GROUP, new_tokens)
    found = {"judging": estimate_memory(vlm.model.config, judged, dtype=dtype)}
    for (name, lora), trained in zip((("grpo", None), ("grpo_lora", LORA)), ways, strict=True):
        for layers, checkpointed in (("", False), ("_checkpointed", True)) if trained else ():
            how = Training(lora, checkpointed=checkpointed, compute=dtype)
            found[name + layers] = estimate_memory(vlm.model.config, step, dtype=dtype, training=how)
    return found
