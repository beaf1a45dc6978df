"""A step's completions, drawn on shared prompts, or by a vLLM that is given the weights anew; TRL's `rollout_func`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import torch
from accelerate.utils import broadcast
from jaxtyping import Float
from trl.generation import vllm_generation
from trl.models import unwrap_model_for_generation

from earshot.errors import ConfigError, ModelError
from earshot.train.sharding import gathered
from earshot.vlm import Vlm
from earshot.vlm.on_vllm import (
    check_written_out,
    draw,
    drawn,
    laid_out,
    need_vllm,
    own_options,
    question,
    sampling,
    weights_kept,
)
from earshot.vlm.prefix import Sampling, sample

if TYPE_CHECKING:
    from earshot.train.trainer import ListenerGrpoTrainer

# Sampling that `vlm.prefix` does not do, and the value at which TRL leaves it off.
_LEFT_TO_TRL: Final = {
    "top_p": 1.0,
    "top_k": (0, None),
    "min_p": None,
    "repetition_penalty": 1.0,
    "cache_implementation": None,
}


def needs_trl_generation(args: Any) -> bool:
    """Whether the configuration asks for something that only TRL's own generation does."""
    if getattr(args, "use_transformers_continuous_batching", False):
        return True
    asked = [
        name
        for name, off in _LEFT_TO_TRL.items()
        if getattr(args, name, None) not in (off if isinstance(off, tuple) else (off,))
    ]
    return bool(asked) or bool(set(args.generation_kwargs or {}) - {"suppress_tokens"})


def sample_completions(prompts: list[Any], trainer: ListenerGrpoTrainer) -> dict[str, Any]:
    """Completions of the prompts that the trainer has encoded for this step.

    Args:
        prompts: The conversations, one for each completion; the trainer has them encoded already.
        trainer: Whose model, prompts and sampling options are used.
    """
    vlm, args, encoded = trainer.vlm, trainer.args, trainer.prompts
    assert encoded is not None
    assert len(encoded.owners) == len(prompts)
    options = Sampling(
        max_new_tokens=trainer.max_completion_length,
        temperature=trainer.temperature,
        stop_ids=vlm.stop_ids,
        forbidden_ids=args.generation_kwargs["suppress_tokens"],
        pad_id=vlm.tokenizer.pad_token_id,
    )
    uniforms = own_uniforms(len(prompts), options.max_new_tokens, trainer.accelerator)
    with (
        unwrap_model_for_generation(
            trainer.model_wrapped,
            trainer.accelerator,
            gather_deepspeed3_params=args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=args.gradient_checkpointing_kwargs,
        ) as model,
        gathered(model, trainer.accelerator),
    ):
        completions: list[list[int]] = [[] for _ in prompts]
        for share in encoded.whole():
            prefix = trainer.encode_prompts(model, share.inputs)
            own = sample(model, prefix, share.owners, uniforms[share.places], options)
            for place, completion in zip(share.places, own, strict=True):
                completions[place] = completion
    ids = encoded.ids()
    return {"prompt_ids": [ids[owner] for owner in encoded.owners], "completion_ids": completions, "logprobs": None}


def own_uniforms(rows: int, tokens: int, accelerator: Any) -> Float[torch.Tensor, "r s"]:
    """Random numbers in [0, 1) for this process's rows: of a step's rows those that one process would draw for all."""
    drawn = torch.rand(accelerator.num_processes * rows, tokens)
    if accelerator.num_processes == 1:
        return drawn
    own: torch.Tensor = broadcast(drawn.to(accelerator.device))
    return own[accelerator.process_index * rows :][:rows]


class PolicyOnVllm(vllm_generation.VLLMGeneration):
    """TRL's vLLM beside the training, which loads it and gives it the weights anew after every step.

    It is given prompts as `vlm.on_vllm` asks questions: TRL would give it prompts whose images are written out already,
    and vLLM would write them out again.

    Args:
        vlm: The policy.
        trainer: Whose model, processes and options it shares.

    Raises:
        ModelError: vLLM is missing, or does not know the model.
        ConfigError: It is asked for in a way that is not known to train.
    """

    _llm_weights_sleeping: bool  # TRL's

    def __init__(self, vlm: Vlm, trainer: ListenerGrpoTrainer) -> None:
        need_vllm()
        args = trainer.args
        if args.vllm_mode != "colocate":
            raise ConfigError(
                f"trl.vllm_mode: {args.vllm_mode!r} has not been shown to draw what is trained on; expected 'colocate'"
            )
        if args.vllm_tensor_parallel_size != 1:
            raise ConfigError(
                f"trl.vllm_tensor_parallel_size: {args.vllm_tensor_parallel_size}, expected 1: each process draws the "
                "completions of its own pairs"
            )
        self.vlm = vlm
        super().__init__(
            model=trainer.model,
            accelerator=trainer.accelerator,
            processing_class=vlm.processor,
            mode=args.vllm_mode,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=args.vllm_max_model_length,
            max_num_seqs=args.per_device_train_batch_size * args.steps_per_generation,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            model_impl=args.vllm_model_impl,
        )

    def _init_vllm(self) -> None:
        """TRL's, with the model as it is laid out for vLLM, and computed as it is trained."""
        stock = vllm_generation.LLM
        dtype = (
            "bfloat16"
            if self.accelerator.mixed_precision == "bf16"
            else str(self.vlm.model.dtype).removeprefix("torch.")
        )
        told = f"sampling.engine: {self.vlm.name}"
        with laid_out(self.vlm, self.vlm.model.name_or_path, told=told) as (folder, _), weights_kept():
            ours = own_options(self.vlm, dtype, self.max_model_length) | {"model": folder}
            vllm_generation.LLM = lambda **given: stock(**{**given, **ours})
            try:
                super()._init_vllm()
            finally:
                vllm_generation.LLM = stock

    @contextmanager
    def awake(self) -> Iterator[Any]:
        """vLLM with the policy's weights, and with room for what it computes."""
        if not self.enable_sleep_mode:
            yield self.llm
            return
        if self._llm_weights_sleeping:  # it has forgotten them
            self.sync_weights()
        self.llm.wake_up(tags=["kv_cache"])
        try:
            yield self.llm
        finally:
            self.llm.sleep(level=2)
            self._llm_weights_sleeping = True


def sample_on_vllm(prompts: list[Any], trainer: ListenerGrpoTrainer) -> dict[str, Any]:
    """The same by vLLM: each prompt goes in once, with as many completions as it has rows.

    The seed of a prompt comes from the same stream of random numbers as our own drawing, so that a run that is resumed
    asks with the seeds that it would have asked with.

    Raises:
        ModelError: vLLM computes another prompt than is trained on, or cuts what follows.
        RemoteError: It failed.
    """
    vlm, encoded, args = trainer.vlm, trainer.prompts, trainer.args
    assert encoded is not None
    numbers = own_uniforms(len(prompts), 1, trainer.accelerator)[:, 0].tolist()
    starts = [(owner, [*rows]) for owner, rows in groupby(range(len(prompts)), key=encoded.owners.__getitem__)]
    text_ids = vlm.tokenizer(encoded.texts, add_special_tokens=False)["input_ids"]
    more = {
        name: value
        for name in ("top_p", "top_k", "min_p", "repetition_penalty")
        if (value := getattr(args, name)) is not None
    }
    params = [
        sampling(
            vlm,
            n=len(rows),
            temperature=trainer.temperature,
            max_new_tokens=trainer.max_completion_length,
            seed=int(numbers[rows[0]] * 2**31),
            logprobs=0,
            **more,
            **(args.generation_kwargs or {}),
        )
        for _, rows in starts
    ]
    questions = [question(text_ids[owner], encoded.images[owner]) for owner, _ in starts]
    with trainer.vllm_generation.awake() as llm:
        outputs = draw(llm, vlm, questions, params)
    ids = encoded.ids()
    check_written_out(vlm, [output.prompt_token_ids for output in outputs], [ids[owner] for owner, _ in starts])
    longest = max(len(output.prompt_token_ids) for output in outputs)
    if longest + trainer.max_completion_length > (room := llm.llm_engine.model_config.max_model_len):
        raise ModelError(
            f"sampling.engine: a prompt of {longest} tokens and trl.max_completion_length of "
            f"{trainer.max_completion_length} do not fit into vLLM's {room}, which would cut what follows; raise "
            "trl.vllm_max_model_length, or lower images.max_pixels"
        )
    rows = [drawn(one) for output in outputs for one in output.outputs]
    return {
        "prompt_ids": [ids[owner] for owner in encoded.owners],
        "completion_ids": [row.ids for row in rows],
        "logprobs": [row.logps for row in rows],
    }
