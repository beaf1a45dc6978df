"""TRL's GRPO trainer, shallow: generation on shared prefixes, a guard, and a resume that is exact."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch.utils.data import Sampler
from trl import GRPOTrainer
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from earshot.errors import InputError, ListenerUnavailable
from earshot.train.base import TrainerBase
from earshot.train.callbacks import on_any_process
from earshot.train.credit import Credit, Written, advantages_by_token
from earshot.train.drawing import PolicyOnVllm, needs_trl_generation, sample_completions, sample_on_vllm
from earshot.train.prompts import StepPrompts, encode_step
from earshot.train.reward import CombinedReward
from earshot.vlm import Vlm
from earshot.vlm.prefix import TOKENS_AT_ONCE, Prefix, encode_prefix, logps_of_rows, shared_logps
from earshot.vlm.prefix.head import join


class ListenerGrpoTrainer(TrainerBase, GRPOTrainer):
    """What is ours: a pair's prompt and images are computed once for all its completions, and bad steps are dropped.

    TRL does not get to see the images: they are decoded, preprocessed and moved to the model's device once a step, and
    not repeated. Where TRL generates, TRL needs them, and prepares them for every row.

    Args:
        vlm: The reasoner; its model is trained.
        reward: The reward function, where it may have nobody left to ask.
        credit: Which tokens get no share of what was paid; None gives all tokens all of it.
        **kwargs: Go to TRL's trainer as they are.
    """

    _buffered_inputs: Any  # TRL's, as are the next two, where vLLM draws
    vllm_generation: PolicyOnVllm
    _last_loaded_step: int
    prompts: StepPrompts | None = None
    """The prompts of the step whose completions are being made or scored; None where TRL prepares its own."""
    _rows: list[tuple[StepPrompts, int]] | None = None
    """Which prompts the rows of the current batch continue."""
    kept: Any = None
    """The cache of the step's prompts as generation made it, for the one backward pass that may go through it."""

    def __init__(
        self, *, vlm: Vlm, reward: CombinedReward | None = None, credit: Credit | None = None, **kwargs: Any
    ) -> None:
        self.vlm = vlm
        self.reward = reward
        self.credit = credit
        if reward is not None:
            kwargs["reward_funcs"] = [reward]
        _refuse_split_groups(kwargs["args"])
        args = kwargs["args"]
        # TRL would start vLLM its own way.
        on_vllm, args.use_vllm = args.use_vllm, False
        rollout = sample_on_vllm if on_vllm else None if needs_trl_generation(args) else sample_completions
        with warnings.catch_warnings():
            # TRL calls the hook experimental; the contract test holds the version that has it as it is used here.
            warnings.filterwarnings("ignore", message=".*'rollout_func'.*")
            super().__init__(model=vlm.model, processing_class=vlm.processor, rollout_func=rollout, **kwargs)
        if on_vllm:
            self.use_vllm = args.use_vllm = True
            self.vllm_generation = PolicyOnVllm(vlm, self)
            self._last_loaded_step = -1

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's, but the completions of a pair stay together, in one micro-batch where it holds whole groups."""
        if not self.model.training:
            return self._generate_and_score_completions(generation_batch)
        steps = self.args.steps_per_generation
        if self._step % (steps * self.num_iterations) == 0 or self._buffered_inputs is None:
            scored = split_pixel_values_by_grid(self._generate_and_score_completions(generation_batch))
            self._buffered_inputs = [unsplit_pixel_values_by_grid(part) for part in split_tensor_dict(scored, steps)]
        return self._buffered_inputs[self._step % steps]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's, on prompts that are encoded here, each once; the output says which of them every row continues.

        Raises:
            ListenerUnavailable: Nobody is left to pay for traces, on this process or another.
        """
        scored = self._scored(inputs)
        if (reward := self.reward) is None or not self.model.training:
            return scored
        if on_any_process(reward.stopped, self.model):
            raise ListenerUnavailable(str(reward.failure if reward.stopped else "another process's listener stopped"))
        if self.credit is not None:
            scored["advantages"] = self._credited(scored, reward)
        return scored

    def _scored(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.prompts = self._rows = self.kept = None
        if self.rollout_func is None:
            return super()._generate_and_score_completions(inputs)
        prompts = encode_step(self.vlm, self.accelerator.unwrap_model(self.model), inputs, self.accelerator.device)
        if self.model.training:
            prompts.refuse_split_groups(self.num_generations)
        self.prompts = prompts
        if self.aux_loss_enabled:  # rows will stay whole, with images of their own
            return super()._generate_and_score_completions(inputs)
        rows = self._rows = [(prompts, row) for row in range(len(inputs))]
        without_images = [{name: value for name, value in row.items() if name != "images"} for row in inputs]
        scored = super()._generate_and_score_completions(without_images)
        if (ratio := scored.get("importance_sampling_ratio")) is not None:
            masked = ((ratio == 0) & scored["completion_mask"].bool()).sum() / scored["completion_mask"].sum()
            shares = self.accelerator.gather(masked.float())
            self._metrics["train" if self.model.training else "eval"]["sampling/masked_share"].append(
                shares.mean().item()
            )
        return {**scored, "rows": rows}

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._rows = inputs.get("rows")
        return super()._compute_loss(model, inputs)

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
        if self._rows is not None:
            completions, mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
            cache, self.kept = (self.kept, None) if torch.is_grad_enabled() else (None, self.kept)
            shares = [*self._rows[0][0].of([row for _, row in self._rows])]
            with self.accelerator.autocast():
                parts = [
                    shared_logps(
                        model,
                        share.inputs,
                        share.owners,
                        completions[share.places],
                        mask[share.places],
                        with_entropy=compute_entropy,
                        fused_head=True,
                        pictures=share.pictures,
                        cache=cache,
                    )
                    for share in shares
                ]
            logps, entropies = join(parts)
            order = torch.tensor([place for share in shares for place in share.places], device=logps.device).argsort()
            return logps[order], None if entropies is None else entropies[order], None
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

    def encode_prompts(self, model: Any, inputs: Mapping[str, Any]) -> Prefix:
        """Prompts of the step, encoded for generation.

        Where the training pass comes next, under the same weights and over all rows of the step at once, what it needs
        of them is kept: then prompts and images are encoded once a step, and not once more for their gradients.
        """
        assert self.prompts is not None
        tokens = self.prompts.tokens() + len(self.prompts.owners) * self.max_completion_length
        keep = (
            model.training
            and self.prompts.pictures is not None
            and self.args.steps_per_generation == 1
            and self.args.gradient_accumulation_steps == 1
            and not self.args.gradient_checkpointing
            and self.accelerator.num_processes == 1
            and tokens <= TOKENS_AT_ONCE
            and not any(m.training and m.p > 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
        )
        with self.accelerator.autocast():
            prefix = encode_prefix(model, inputs, with_gradients=keep)
        self.kept = prefix.cache if keep else None
        return prefix

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> Any:
        with quiet_about_missing_rewards():
            rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if self.guard is not None and bool(rewards.isinf().any()):  # NaN is a missing reward, and none of our parts
            self.guard.suspect("a reward is infinite")
        return rewards

    def _credited(self, scored: dict[str, Any], reward: CombinedReward) -> Float[torch.Tensor, "r c"]:
        """The advantages by token."""
        ids, mask, advantages = scored["completion_ids"], scored["completion_mask"], scored["advantages"]
        assert self.credit is not None
        told = advantages_by_token(
            self.credit,
            advantages.double().cpu().numpy(),
            reward.paid,
            [Written(self.vlm, row[: int(n)].tolist()) for row, n in zip(ids, mask.sum(1), strict=True)],
            group=self.num_generations,
            trace_end=self.vlm.prompts.trace_end,
            width=ids.size(1),
        )
        return torch.from_numpy(told).to(advantages)

    def is_place(self, step: int) -> bool:
        """Also: completions that several steps share have been used up."""
        return super().is_place(step) and self._step % (self.args.steps_per_generation * self.num_iterations) == 0

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        """TRL's, which knows its epoch: a run that is resumed in a later one sees the pairs that it would have seen."""
        return EpochSampler(super()._get_train_sampler(dataset))


@contextmanager
def quiet_about_missing_rewards() -> Iterator[None]:
    """TRL prints a whole row, images included, for a reward that is missing; `RolloutLog` says it in a line."""

    def says_more(record: logging.LogRecord) -> bool:
        return "All reward functions returned None" not in str(record.msg)

    logger = logging.getLogger(GRPOTrainer.__module__)
    logger.addFilter(says_more)
    try:
        yield
    finally:
        logger.removeFilter(says_more)


class EpochSampler(Sampler[int]):
    """TRL's order of rows, made again for any epoch.

    TRL draws one epoch's order after another's from a generator that begins anew when a run is resumed.

    Args:
        stock: TRL's sampler.
    """

    def __init__(self, stock: Any) -> None:
        self._stock = stock
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Which epoch is read next; transformers says so."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._stock)

    def __iter__(self) -> Iterator[int]:
        if self._stock.shuffle:
            self._stock.generator.manual_seed(self._stock.seed)
            for _ in range(self._epoch):
                torch.randperm(self._stock.num_samples, generator=self._stock.generator)
        return iter(self._stock)


def _refuse_split_groups(args: Any) -> None:
    """Every process must hold whole groups, or a pair's prompt and images would be computed on several.

    Raises:
        InputError: One is split; the message names its first row.
    """
    rows, group = args.per_device_train_batch_size * args.steps_per_generation, args.num_generations
    if args.world_size > 1 and rows % group:
        raise InputError(
            f"row {rows // group * group} of a step: its group of {group} completions is split over processes, which "
            f"take {rows} rows each; make per_device_train_batch_size * steps_per_generation a multiple of "
            "num_generations"
        )
