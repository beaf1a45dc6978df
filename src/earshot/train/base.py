"""What both of our trainers add to TRL's: a guard, and a resume that really loads the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from earshot.files import read_json_object
from earshot.train.callbacks import FiniteGuard
from earshot.train.checkpoints import OURS
from earshot.vlm.folder import check

# Of TRL: micro-steps, by which it knows when to draw new completions, and the tokens seen.
_COUNTERS = {"_step", "_total_train_tokens"}


class TrainerBase:
    """Goes before a trainer class of TRL."""

    guard: FiniteGuard | None = None

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's, and tells the guard of a loss that is not finite before it is averaged away."""
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if self.guard is not None and not bool(torch.isfinite(loss)):
            self.guard.suspect(f"the loss is {loss.item()}")
        return loss

    def is_place(self, step: int) -> bool:
        """Whether a checkpoint after this step holds all that the next ones need: sums are logged, and none is open."""
        return bool(step % max(1, int(self.state.logging_steps)) == 0)  # type: ignore[attr-defined]

    def own_state(self) -> dict[str, Any]:
        """What transformers keeps in no checkpoint, and later rows of the log depend on."""
        guard = {} if self.guard is None else {"bad_steps": self.guard.total, "in_a_row": self.guard.in_a_row}
        return guard | {name: getattr(self, name) for name in _COUNTERS if hasattr(self, name)}

    def take_own_state(self, told: Mapping[str, Any]) -> None:
        """Takes up what `own_state` gave."""
        if self.guard is not None:
            self.guard.total, self.guard.in_a_row = told["bad_steps"], told["in_a_row"]
        for name in _COUNTERS & told.keys():
            setattr(self, name, told[name])

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        self.take_own_state(read_json_object(Path(checkpoint) / OURS, what="what Earshot keeps of a trainer"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads a checkpoint's weights the way `from_pretrained` does.

        The stock method (transformers 5.23) takes the names in the file as they are. Some families, Qwen2.5-VL among
        them, are written under other names than they have in memory: none fits, and the run goes on from the weights
        it began with, with no more than a warning.
        """
        model = self.model if model is None else model  # type: ignore[attr-defined]
        if self.is_fsdp_enabled:  # type: ignore[attr-defined]  # shards, which are of no folder that a model is read of
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        check(resume_from_checkpoint)
        if not isinstance(model, PreTrainedModel):
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype, use_safetensors=True)
        model.load_state_dict(saved.state_dict())
