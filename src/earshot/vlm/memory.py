"""How much memory a model needs to judge and to be trained, from its configuration.

The model is made without values (on torch's meta device): its weights and its cache are counted, and what a training
pass holds is found by going through it (`vlm.passes`). A rule, the inputs and outputs of linear layers and norms, says
what the pass over prompts needs, one layer at a time, and what a training pass keeps in the families whose code looks
at values (`Memory.by_rule`).
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from transformers import AutoModelForImageTextToText
from transformers.modeling_layers import GradientCheckpointingLayer

from earshot.vlm.mechanisms import (
    CHECKPOINTED,
    core_of,
    reason_for_whole_rows,
    reason_for_whole_steps,
    takes_mask_by_rule,
)
from earshot.vlm.model import Vlm
from earshot.vlm.passes import Pass, most_held
from earshot.vlm.prefix.forms import MASK_ENTRIES
from earshot.vlm.prefix.logps import PACKED_AT_ONCE, TOKENS_AT_ONCE, reason_for_plain_rows
from earshot.vlm.runs import attend_by_runs

UNLIMITED_PX = 1024  # side of the images where nothing limits them: what most generators of images make
_MOMENTS = 2  # that Adam keeps of every weight that it trains


class Prompt(NamedTuple):
    """A prompt with its images, as a model takes it.

    Attributes:
        tokens: Its length, images included.
        patches: Of all of them, as the vision tower takes them.
        inputs: What the processor makes of it, by name.
        pictures: What the tower takes of that, in which only sizes have values.
    """

    tokens: int
    patches: int
    inputs: frozenset[str]
    pictures: Mapping[str, torch.Tensor]


class Work(NamedTuple):
    """What is computed at a time.

    Attributes:
        prompt: The longest.
        prompts: How many there are.
        rows: Completions of all of them.
        new_tokens: Of the longest completion.
    """

    prompt: Prompt
    prompts: int
    rows: int
    new_tokens: int


class Training(NamedTuple):
    """How a model is trained on such work.

    Attributes:
        lora: `peft.LoraConfig`'s fields; None trains all weights.
        checkpointed: Whether layers are computed again in the backward pass.
        micro_batches: In how many parts the rows are trained on, one after another.
        generates: Whether the model samples the completions itself, as in GRPO.
        compute: What it is computed in; where that is not the weights' own dtype, by autocast. None is their own.
        processes: How many have shards of its weights, gradients and moments (FSDP); they sample with all weights.
    """

    lora: Mapping[str, Any] | None = None
    checkpointed: bool = False
    micro_batches: int = 1
    generates: bool = True
    compute: torch.dtype | None = None
    processes: int = 1


class Memory(NamedTuple):
    """Bytes, by what they hold.

    Attributes:
        weights: The model's own, and its adapter's.
        cache: Keys and values of prompts and completions while these are sampled and read.
        prefill: What the pass over the prompts needs, one layer at a time.
        gradients: Of the weights that are trained.
        optimizer: Adam's moments.
        activations: What a training pass holds at its highest, beside as many gradients as there are in the end.
        by_rule: Whether that was not found by going through it, and may be half of it or twice as much.
    """

    weights: int
    cache: int
    prefill: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    by_rule: bool = False

    @property
    def total(self) -> int:
        """At the highest: what sampling needs is gone before there are gradients."""
        return self.weights + self.optimizer + max(self.cache + self.prefill, self.gradients + self.activations)


def largest_prompt(vlm: Vlm) -> Prompt:
    """A short question about square images as large as the model sees them; weights are not looked at."""
    side = int((vlm.sight.max_pixels or UNLIMITED_PX**2) ** 0.5)
    inputs = vlm.grey_question(side)
    patches = inputs["pixel_values"].numel() // _Parts(vlm.model).numbers_of_a_patch
    core = core_of(vlm.model)
    taken = inspect.signature(core.get_image_features).parameters if hasattr(core, "get_image_features") else ()
    pictures = {
        name: value.to("meta") if value.is_floating_point() else value
        for name, value in inputs.items()
        if name in taken and isinstance(value, torch.Tensor)
    }
    return Prompt(inputs["input_ids"].size(1), patches, frozenset(inputs), pictures)


def estimate_memory(config: Any, work: Work, *, dtype: torch.dtype, training: Training | None = None) -> Memory:
    """The memory on one device that holds all of the model.

    Args:
        config: The model's configuration, of transformers.
        work: What is judged together; in training, what one step is made of.
        dtype: Of the weights.
        training: How it is trained; None only judges.
    """
    with torch.device("meta"):
        # Some kinds of experts are there for this dtype alone.
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16).eval()
    parts, compute = _Parts(model), (training and training.compute) or dtype
    prompts, row = work.prompts, work.prompt.tokens + work.new_tokens
    shared = reason_for_whole_rows(model, dict.fromkeys(work.prompt.inputs)) is None
    cache = (prompts * parts.cache(work.prompt.tokens) if shared else 0) + work.rows * parts.cache(row)
    prefill = prompts * max(work.prompt.tokens * parts.text.largest, work.prompt.patches * parts.tower.largest)
    weights = sum(weight.numel() for weight in model.parameters()) * dtype.itemsize
    weights += sum(buffer.nbytes for buffer in model.buffers())  # these keep their own dtype
    judging = Memory(weights, cache * compute.itemsize, prefill * compute.itemsize)
    return judging if training is None else _trained(judging, model, parts, work, dtype, training)


def _trained(judging: Memory, model: Any, parts: _Parts, work: Work, dtype: torch.dtype, training: Training) -> Memory:
    """The memory of a model that is trained, from what it takes to judge."""
    own, compute = dtype, training.compute or dtype
    if training.lora is not None:
        own = torch.float32  # PEFT's choice for adapters, whatever their base is in
        model = _with_adapter(model, training.lora)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    numbers = sum(weight.numel() for weight in trained)
    n, prefill = training.processes, judging.prefill
    copies = numbers if compute != own and n == 1 else 0  # autocast makes them of what is trained
    if n > 1:
        prefill += sum(weight.numel() for weight in model.parameters()) * compute.itemsize
    attend_by_runs(model)
    again, one, numbers_there = training.micro_batches > 1, _pass(model, work, training), numbers * compute.itemsize
    pictures = work.prompt.pictures if parts.tower_holds(trained) else None
    try:
        # Some kinds of experts are there for one dtype alone: of these, twice as much.
        times = compute.itemsize // torch.bfloat16.itemsize if parts.has_experts else 1
        most = times * most_held(model if times > 1 else model.to(compute), one, pictures, again=again)
        held, by_rule = most - (0 if again else numbers_there), False
    except RuntimeError:  # what the meta device says where code looks at values
        held, by_rule = parts.kept(one, work.prompt.patches * (pictures is not None)) * compute.itemsize, True
    return Memory(
        (judging.weights + (numbers * own.itemsize if training.lora is not None else 0)) // n,
        judging.cache if training.generates else 0,
        prefill if training.generates else 0,
        gradients=numbers * own.itemsize // n,
        optimizer=numbers * own.itemsize * _MOMENTS // n,
        activations=held + copies * compute.itemsize,
        by_rule=by_rule,
    )


def _pass(model: Any, work: Work, training: Training) -> Pass:
    """The largest pass of a step, as `vlm.prefix.logps` parts its rows."""
    inputs, prompt, new = dict.fromkeys(work.prompt.inputs), work.prompt.tokens, work.new_tokens
    one_pass = CHECKPOINTED if training.checkpointed else None
    whole = reason_for_whole_steps(model) or reason_for_plain_rows(
        model, inputs, prompt + new, pictures=True, one_pass=one_pass
    )
    rows = -(-work.rows // training.micro_batches)
    prompts = min(work.prompts, rows)
    each = -(-rows // prompts)
    if whole is not None or each == 1:
        prompts, each, form = rows, 1, "plain"
    else:
        form = "packed" if training.checkpointed else "cache"
    at_once = PACKED_AT_ONCE if form == "packed" and not takes_mask_by_rule(model) else TOKENS_AT_ONCE
    each = max(1, min(each, (at_once - prompt) // new))
    prompts = max(1, min(prompts, at_once // (prompt + each * new)))
    return Pass(form, prompts, prompt, each, new, training.checkpointed, MASK_ENTRIES)


class _Width(NamedTuple):
    """Numbers that a part of a model makes of each of its tokens or patches, by the rule.

    Attributes:
        all: Inputs and outputs of its linear layers and norms.
        largest: Those of the largest of its layers.
        again: What is kept where layers are computed again: the inputs of all, and the largest.
    """

    all: int
    largest: int
    again: int

    @classmethod
    def of(cls, modules: Sequence[torch.nn.Module], experts: int) -> _Width:
        layers = [module for module in modules if isinstance(module, GradientCheckpointingLayer)]
        largest = max((_width(layer.modules(), experts) for layer in layers), default=0)
        inputs = sum(next(layer.parameters()).size(-1) for layer in layers)
        return cls(_width(modules, experts), largest, inputs + largest)


class _Parts:
    """A model, of whose weights only the shapes count: its language model, and the tower that sees images."""

    def __init__(self, model: Any) -> None:
        self._decoder, self._head = model.get_decoder(), model.get_output_embeddings()
        inside = {*self._decoder.modules(), self._head}
        tower = [module for module in model.modules() if module not in inside]
        experts = getattr(model.config.get_text_config(), "num_experts_per_tok", None) or 1
        self.text = _Width.of([module for module in inside if module is not self._head], experts)
        self.tower = _Width.of(tower, 1)
        self.has_experts = any(weight.dim() == 3 for part in inside for weight in part.parameters(recurse=False))
        first = next(m for m in tower if isinstance(m, torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Linear))
        self.numbers_of_a_patch = first.weight[0].numel()

    def cache(self, tokens: int) -> int:
        """Numbers that the language model remembers of one row of so many tokens."""
        with torch.no_grad():
            ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
            cache = self._decoder(input_ids=ids, use_cache=True).past_key_values
        kept = (value for layer in cache.layers for value in vars(layer).values() if isinstance(value, torch.Tensor))
        return sum(value.numel() for value in kept if value.dim() > 1)

    def tower_holds(self, weights: Iterable[torch.Tensor]) -> bool:
        """Whether any of these weights is in the tower."""
        inside = {id(weight) for part in (self._decoder, self._head) for weight in part.parameters()}
        return any(id(weight) not in inside for weight in weights)

    def kept(self, one: Pass, patches: int) -> int:
        """Numbers that a pass keeps by the rule, of which the tower sees so many patches for each prompt."""
        text, images = (part.again if one.checkpointed else part.all for part in (self.text, self.tower))
        tokens = one.prompts * (one.prompt_tokens + one.rows * one.new_tokens)
        kept = tokens * text + one.prompts * patches * images
        if one.form == "cache":  # the prompts', copied to the rows that continue them
            kept += one.prompts * one.rows * self.cache(one.prompt_tokens + one.new_tokens)
        return kept


def _width(modules: Iterable[torch.nn.Module], experts: int) -> int:
    """Inputs and outputs of linear layers and norms; of experts those that a token goes through."""
    width = 0
    for module in modules:
        for name, weight in module.named_parameters(recurse=False):
            if isinstance(module, torch.nn.Linear) and name == "weight":
                width += sum(weight.shape)
            elif weight.dim() == 3:
                width += experts * sum(weight.shape[1:])
            elif weight.dim() == 1 and name == "weight":
                width += 2 * weight.numel()
    return width


def _with_adapter(model: Any, lora: Mapping[str, Any]) -> Any:
    from peft import LoraConfig, get_peft_model  # a second to import, which few calls need

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # PEFT asks by an old name
        return get_peft_model(model, LoraConfig(**{"task_type": "CAUSAL_LM", **lora}))
