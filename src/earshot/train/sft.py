"""`earshot train sft`: supervised fine-tuning on reference traces or verdicts, on TRL's trainer.

A row is tokenised by `earshot.vlm.rows.supervised_batch`, as in pretraining, so that every stage of training and the
evaluation see the same tokens for the same pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset
from rich.console import Console
from trl import SFTConfig as TrlSftConfig
from trl import SFTTrainer

from earshot.config import SftConfig
from earshot.errors import DataError
from earshot.files import append_jsonl
from earshot.protocol import write_completion
from earshot.rundir import RunDir
from earshot.train.base import TrainerBase
from earshot.train.callbacks import FiniteGuard
from earshot.train.footprint import announce
from earshot.train.rows import PairRows, Row, open_pairs, tolerance_of
from earshot.train.run import (
    begin_run,
    carry_out,
    load_model,
    lora_config,
    told_as_ours,
    train,
    trl_arguments,
    trl_decisions,
    trl_defaults,
    without_known_warnings,
)
from earshot.train.targets import Targets, read_targets
from earshot.train.validation import MAX_NEW_TOKENS, held_pairs, validation
from earshot.types import Verdict
from earshot.vlm import Vlm
from earshot.vlm.rows import supervised_batch


class GuardedSftTrainer(TrainerBase, SFTTrainer):
    """TRL's trainer, with the guard against a loss that is not finite."""

    latest: Any = None
    """Token ids of the micro-batch under way."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.latest = inputs["input_ids"]
        return super().training_step(model, inputs, *args, **kwargs)


@dataclass
class PairCollator:
    """Makes a batch of the rows that TRL asks for by index; images are decoded here, in the loader's workers if any.

    Attributes:
        vlm: Whose processor makes the inputs; its model is not used.
        rows: The pairs that have a target.
        targets: What is learned for each of them.
        max_tokens: Longer rows are refused by name, and others stand in for them.
    """

    vlm: Vlm
    rows: PairRows
    targets: Targets
    max_tokens: int

    def __call__(self, features: Sequence[dict[str, Any]]) -> dict[str, Any]:
        wanted = [int(feature["index"]) for feature in features]
        while True:
            taken = [self.rows.row(index) for index in wanted]
            batch = self._encode(taken)
            lengths = batch["attention_mask"].sum(dim=1).tolist()
            if max(lengths) <= self.max_tokens:
                return batch
            for index, (row, length) in {i: (row, n) for (i, row), n in zip(taken, lengths, strict=True)}.items():
                if length > self.max_tokens:
                    self.rows.refuse(index, _too_long(row, length, self.max_tokens))

    def _encode(self, taken: Sequence[tuple[int, Row]]) -> dict[str, Any]:
        vlm = self.vlm
        pairs = [row.pair for _, row in taken]
        return supervised_batch(
            vlm,
            [vlm.asked_about(pair) for pair in pairs],
            [pair.images for pair in pairs],
            [vlm.continuation(write_completion(self._target(index), vlm.prompts)) for index, _ in taken],
        )

    def _target(self, index: int) -> Verdict:
        return self.targets.verdict(index, self.vlm.control_tokens)


def _too_long(row: Row, length: int, limit: int) -> DataError:
    return DataError(
        f"pair {row.pair.id!r}: {length} tokens with its images, expected at most {limit}; "
        "lower images.max_pixels, raise data.max_tokens, or leave such pairs out with data.tolerate_bad"
    )


@without_known_warnings()
def train_sft(config: SftConfig, *, resume: bool = False, console: Console | None = None, aloud: bool = False) -> Path:
    """Fine-tunes a model and returns its run directory; `model/` in it is the trained reasoner.

    `aloud` says before a model is loaded what the run will do, and an estimate of the memory.

    Raises:
        InputError: Model, data or configuration are wrong, or a run is already there.
        TrainingAborted: Three steps in a row were not finite.
        TrainingInterrupted: SIGTERM or SIGHUP came; all steps until then are saved.
    """
    return carry_out(config, partial(_train, aloud=aloud), resume=resume, console=console)


def _train(config: SftConfig, run: RunDir, console: Console, *, aloud: bool = False) -> None:
    arguments = trl_arguments(TrlSftConfig, config.trl, _decided(config), trl_defaults(config.model))
    peft = lora_config(config.lora)
    pairs, refused = open_pairs(config.data)
    targets = read_targets(pairs, config.data)
    held = held_pairs(config)
    if aloud:
        announce(config, arguments, console)
    vlm = load_model(config)
    models = {"reasoner": vlm}
    checkpoint = begin_run(run, config, arguments, models=models, command="train sft", console=console)
    rows = PairRows(pairs, tolerance_of(config.data, refused, run), targets.chosen)
    limit = config.data.max_tokens or vlm.model.config.get_text_config().max_position_embeddings
    reader = replace(vlm, model=None)  # a loader's worker has no use for the weights
    collator = PairCollator(reader, rows, targets, limit)
    with told_as_ours("trl and lora", "TRL's trainer"):
        trainer = GuardedSftTrainer(
            model=vlm.model,
            args=arguments,
            data_collator=collator,
            train_dataset=Dataset.from_dict({"index": range(len(targets.chosen))}),
            processing_class=vlm.processor,
            peft_config=peft,
        )
    guard = FiniteGuard(partial(_save_batch, run, trainer), console.print)
    evaluation = validation(config, held, vlm, trainer, run, max_new_tokens=MAX_NEW_TOKENS)
    train(trainer, vlm, run, checkpoint, guard=guard, evaluation=evaluation, console=console)


def _decided(config: SftConfig) -> dict[str, Any]:
    # max_length would cut prompts with their images; `data.max_tokens` refuses instead.
    return {**trl_decisions(config), "max_length": None, "dataset_kwargs": {"skip_prepare_dataset": True}}


def _save_batch(run: RunDir, trainer: GuardedSftTrainer) -> str:
    """Writes the texts of the micro-batch under way, prompts and completions, for whoever looks into it."""
    path = run.path / f"bad-batch-rank{trainer.args.process_index}.jsonl"
    texts = trainer.processing_class.tokenizer.batch_decode(trainer.latest, skip_special_tokens=True)
    append_jsonl(path, [{"step": trainer.state.global_step, "text": text} for text in texts])
    return str(path)
