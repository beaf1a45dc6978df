"""What both of our trainers add to TRL's: a guard, and a resume that really loads the weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from earshot.train.callbacks import FiniteGuard


class TrainerBase:
    """Goes before a trainer class of TRL."""

    guard: FiniteGuard | None = None

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """TRL's, and tells the guard of a loss that is not finite before it is averaged away."""
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if self.guard is not None and not bool(torch.isfinite(loss)):
            self.guard.suspect(f"the loss is {loss.item()}")
        return loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Loads a checkpoint's weights the way `from_pretrained` does.

        The stock method (transformers 5.23) takes the names in the file as they are. Some families, Qwen2.5-VL among
        them, are written under other names than they have in memory: none fits, and the run goes on from the weights
        it began with, with no more than a warning.
        """
        model = self.model if model is None else model  # type: ignore[attr-defined]
        if self.is_fsdp_enabled or not isinstance(model, PreTrainedModel):  # type: ignore[attr-defined]
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype, use_safetensors=True)
        model.load_state_dict(saved.state_dict())
