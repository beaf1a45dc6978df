"""TRL's GRPO trainer, shallow: generation on shared prefixes, a guard, and a resume that is exact."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from trl import GRPOTrainer
from trl.models import unwrap_model_for_generation
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from earshot.train.base import TrainerBase
from earshot.vlm import Vlm
from earshot.vlm.prefix import Sampling, encode_prefix, logps_of_rows, sample

# Sampling that `vlm.prefix` does not do, and the value at which TRL leaves it off.
_LEFT_TO_TRL = {
    "top_p": 1.0,
    "top_k": (0, None),
    "min_p": None,
    "repetition_penalty": 1.0,
    "cache_implementation": None,
}


class ListenerGrpoTrainer(TrainerBase, GRPOTrainer):
    """What is ours: a pair's prompt and images are computed once for all its completions, and bad steps are dropped.

    Args:
        vlm: The reasoner; its model is trained.
        **kwargs: Go to TRL's trainer as they are.
    """

    _buffered_inputs: Any  # TRL's

    def __init__(self, *, vlm: Vlm, **kwargs: Any) -> None:
        self.vlm = vlm
        rollout = None if _needs_trl_generation(kwargs["args"]) else sample_completions
        with warnings.catch_warnings():
            # TRL calls the hook experimental; the contract test holds the version that has it as it is used here.
            warnings.filterwarnings("ignore", message=".*'rollout_func'.*")
            super().__init__(model=vlm.model, processing_class=vlm.processor, rollout_func=rollout, **kwargs)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's, but the completions of a pair stay together, in one micro-batch where it holds whole groups."""
        if not self.model.training:
            return self._generate_and_score_completions(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            scored = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            self._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(scored, steps)]
        return self._buffered_inputs[self._step % steps]

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Any,
        attention_mask: Any,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        num_images: list[int] | None = None,
        **images: Any,
    ) -> Any:
        """TRL's, but every prompt and image is computed once, however many completions it has."""
        if compute_aux_loss:  # a mixture of experts: its loss counts tokens, and must see every row's
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, batch_size, compute_entropy, compute_aux_loss,
                num_images=num_images, **images,
            )  # fmt: skip
        with self.accelerator.autocast():
            scores = logps_of_rows(
                model,
                input_ids,
                attention_mask,
                logits_to_keep,
                num_images=num_images,
                with_entropy=compute_entropy,
                fused_head=True,
                **images,
            )
        return scores.logps, scores.entropies, None

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.guard is not None and bool(rewards.isinf().any()):  # NaN is a missing reward, and none of our parts
            self.guard.suspect("a reward is infinite")
        return rewards

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            # TRL counts micro-steps from 0 again after a resume, and would train on no fresh completions at first.
            self._step = self.state.global_step * self.args.gradient_accumulation_steps


def sample_completions(prompts: list[list[dict[str, Any]]], trainer: ListenerGrpoTrainer) -> dict[str, Any]:
    """Completions of the prompts, each distinct prompt and its images encoded once; TRL's `rollout_func`.

    Args:
        prompts: Conversations with their images in them; the completions of one prompt stand together.
        trainer: Whose model, processor and sampling options are used.
    """
    vlm, args = trainer.vlm, trainer.args
    distinct: list[list[dict[str, Any]]] = []
    owners: list[int] = []
    for prompt in prompts:
        if not distinct or _identity(distinct[-1]) != _identity(prompt):
            distinct.append(prompt)
        owners.append(len(distinct) - 1)
    inputs = vlm.encode(distinct, [_images(prompt) for prompt in distinct]).to(trainer.accelerator.device)
    sampling = Sampling(
        max_new_tokens=trainer.max_completion_length,
        temperature=trainer.temperature,
        stop_ids=vlm.stop_ids,
        forbidden_ids=args.generation_kwargs["suppress_tokens"],
        pad_id=vlm.tokenizer.pad_token_id,
    )
    uniforms = torch.rand(len(prompts), sampling.max_new_tokens)
    with unwrap_model_for_generation(
        trainer.model_wrapped,
        trainer.accelerator,
        gather_deepspeed3_params=args.ds3_gather_for_generation,
        gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs,
    ) as model:
        completions = sample(model, encode_prefix(model, inputs), owners, uniforms, sampling)
    ids = [row[mask.bool()].tolist() for row, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]
    return {"prompt_ids": [ids[owner] for owner in owners], "completion_ids": completions, "logprobs": None}


def _needs_trl_generation(args: Any) -> bool:
    """Whether the configuration asks for something that only TRL's own generation does."""
    if args.use_vllm or getattr(args, "use_transformers_continuous_batching", False):
        return True
    asked = [
        name
        for name, off in _LEFT_TO_TRL.items()
        if getattr(args, name, None) not in (off if isinstance(off, tuple) else (off,))
    ]
    return bool(asked) or bool(set(args.generation_kwargs or {}) - {"suppress_tokens"})


def _images(prompt: list[dict[str, Any]]) -> list[Any]:
    return [
        part["image"]
        for message in prompt
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image"
    ]


def _identity(prompt: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Tells prompts apart: their texts, and their images by identity (a pair's rows share the decoded images)."""
    parts: list[Any] = []
    for message in prompt:
        content = message["content"]
        for part in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            parts.append((message["role"], id(part["image"]) if part["type"] == "image" else part["text"]))
    return tuple(parts)
