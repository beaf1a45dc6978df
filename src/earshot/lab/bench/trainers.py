"""Two trainers on the same data, ours and TRL's, whose steps can be run one at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from earshot.lab.bench.like import trainable
from earshot.lab.bench.memory import peak_memory
from earshot.lab.bench.paired import SIDES, seconds_since
from earshot.lab.bench.shape import Shape
from earshot.lab.bench.stock import plain_listener
from earshot.lab.bench.work import Work, counted
from earshot.listener.local import LocalListener
from earshot.train.run import lora_config
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.types import Pair
from earshot.vlm import Vlm
from earshot.vlm.prepared import PREPARED, remembering

PARTS = ("generate", "listener", "train_pass")


class Stepper(TrainerCallback):
    """A trainer that takes one step at a time, each from the beginning of its data.

    Attributes:
        device: Where it computes.
        seconds: Of the parts of the latest step.
        work: By part, where it was asked for.
        peak_bytes: Of the latest step, where it was asked for.
    """

    def __init__(self, trainer: GRPOTrainer, models: Sequence[Any]) -> None:
        self.device: torch.device = trainer.accelerator.device
        self.seconds: dict[str, float] = {}
        self.work: dict[str, Work] = {}
        self.peak_bytes = 0
        self._trainer = trainer
        self._models = models
        self._watched: str | None = None
        self._began = 0.0
        self._measuring = ExitStack()
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(self)
        self._watch()

    def step(self, watched: str | None = None) -> dict[str, float]:
        """Runs one whole step and returns its seconds, `step` among the parts.

        Args:
            watched: `work` counts the work by part and `memory` measures the step's peak; both take time.
        """
        PREPARED.forget()  # every step shows the same pictures here
        self._watched, self.seconds, self.work = watched, dict.fromkeys(PARTS, 0.0), {}
        # Not a thread each: OpenMP gives every thread workers of its own, and once these are more than the cores they
        # no longer wait awake, which slows small operations by half.
        self._trainer.train()
        return self.seconds

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._watched == "memory":
            # From the beginning of the step: what generation keeps for the training pass counts as the latter's.
            self._peak = self._measuring.enter_context(peak_memory(self.device))
        self._began = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.seconds["step"] = seconds_since(self._began, self.device)
        self._measuring.close()
        if self._watched == "memory":
            self.peak_bytes = self._peak.bytes

    def _watch(self) -> None:
        """Puts a stop-watch around the parts of a step; generation begins with the preparation of its prompts."""
        trainer: Any = self._trainer
        began = [0.0]
        whole, generate = trainer._generate_and_score_completions, trainer._generate
        rewards, prepare, train = trainer._calculate_rewards, trainer._prepare_inputs, trainer.training_step

        def noting_the_beginning(inputs: Any) -> Any:
            began[0] = time.perf_counter()
            return whole(inputs)

        def generating(prompts: Any) -> Any:
            with self._counting("generate"):
                result = generate(prompts)
            self.seconds["generate"] = seconds_since(began[0], self.device)
            return result

        def training(*args: Any, **kwargs: Any) -> Any:
            start, prepared = time.perf_counter(), [0.0]
            inside = ExitStack()

            def preparing(batch: Any) -> Any:
                inputs = prepare(batch)
                prepared[0] += seconds_since(start, self.device)
                inside.enter_context(self._counting("train_pass"))
                return inputs

            trainer._prepare_inputs = preparing
            with inside:
                loss = train(*args, **kwargs)
            self.seconds["train_pass"] += seconds_since(start, self.device) - prepared[0]
            return loss

        trainer._generate_and_score_completions, trainer._generate = noting_the_beginning, generating
        trainer._calculate_rewards = self._timed("listener", rewards)
        trainer.training_step = training

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            with self._counting(part):
                result = function(*args, **kwargs)
            self.seconds[part] += seconds_since(start, self.device)
            return result

        return timed

    def _counting(self, part: str) -> ExitStack:
        stack = ExitStack()
        if self._watched == "work":
            work = self.work.setdefault(part, Work())
            for model in self._models:
                stack.enter_context(counted(model, work))
        return stack


def both_trainers(shape: Shape, out: str) -> dict[str, Stepper]:
    """Ours and TRL's on the same weights and pairs, with one listener of the same size where there are images."""
    steppers = {}
    listener = shape.build(seed=1).freeze()
    for side in SIDES:
        vlm = shape.build(seed=0)
        pairs = shape.pairs(vlm, shape.groups)
        data = dataset(shape, vlm, pairs)
        adapter = lora_config(trainable(shape.lora))
        shared: dict[str, Any] = {"args": arguments(shape, vlm, out), "train_dataset": data, "peft_config": adapter}
        if side == "ours":
            remembering(vlm.processor.image_processor)
            reward = _reward(shape, LocalListener(_remembering(listener)).p_first)
            trainer = ListenerGrpoTrainer(vlm=vlm, reward_funcs=[reward], **shared)
        else:
            reward = _reward(shape, partial(plain_listener, listener))
            vlm.model.set_attn_implementation("sdpa")
            trainer = GRPOTrainer(model=vlm.model, processing_class=vlm.processor, reward_funcs=[reward], **shared)
        steppers[side] = Stepper(trainer, [vlm.model, listener.model])
    return steppers


def _remembering(vlm: Vlm) -> Vlm:
    """The same model behind a processor that makes each picture once, where others have it behind a stock one."""
    processor = copy(vlm.processor)
    processor.image_processor = remembering(copy(processor.image_processor))
    return replace(vlm, processor=processor)


def arguments(shape: Shape, vlm: Vlm, out: str) -> GRPOConfig:
    """TRL's configuration of one step for the shape: all completions in one micro-batch, none of them shorter."""
    return GRPOConfig(
        output_dir=out,
        per_device_train_batch_size=shape.group * shape.groups,
        num_generations=shape.group,
        max_completion_length=shape.new_tokens,
        generation_kwargs={"suppress_tokens": vlm.forbidden_ids},
        max_steps=1,
        shuffle_dataset=False,
        learning_rate=1e-6,
        beta=0.0,
        loss_type="grpo",
        gradient_checkpointing=shape.checkpointed,
        bf16=shape.dtype == "bfloat16",  # autocast, as in our runs
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=vlm.device.type == "cpu",
    )


def dataset(shape: Shape, vlm: Vlm, pairs: Sequence[Pair]) -> Dataset:
    """Every pair once a step; TRL repeats the rows. Images are decoded already, and rows of a pair share them."""

    def decode(batch: dict[str, Sequence[int]]) -> dict[str, list[Any]]:
        taken = [pairs[index] for index in batch["index"]]
        columns: dict[str, list[Any]] = {"prompt": [shape.messages(vlm, pair) for pair in taken], "pair": taken}
        columns["files"] = [("first", "second")] * len(taken)
        return columns | ({"images": [shape.images(pair) for pair in taken]} if shape.pixels else {})

    rows = Dataset.from_dict({"index": list(range(len(pairs)))})
    rows.set_transform(decode)
    return rows


def _reward(
    shape: Shape, listen: Callable[[Sequence[Pair], Sequence[str]], Iterable[float]]
) -> Callable[..., list[float]]:
    def reward(*, completions: Sequence[Any], pair: Sequence[Pair], **_: Any) -> list[float]:
        texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
        return [float(p) for p in listen(pair, texts)] if shape.pixels else _arbitrary(texts)

    return reward


def _arbitrary(texts: Sequence[str]) -> list[float]:
    """A reward that costs nothing, for prompts without images: nobody listens to these."""
    return [text.count("red") / max(1, len(text)) for text in texts]
