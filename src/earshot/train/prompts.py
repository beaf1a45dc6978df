"""A step's distinct prompts, encoded once: TRL would decode, preprocess and render each as often as it has completions.

Shapes: B rows of a batch, N distinct prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from earshot.errors import ModelError
from earshot.vlm import Vlm
from earshot.vlm.prefix.pictures import Pictures, layout_is_known, split_pictures

_PIXELS = "pixel_values"
_IMAGES = (_PIXELS, "image_grid_thw")


@dataclass(frozen=True, eq=False)
class StepPrompts:
    """The N distinct prompts of a step.

    Attributes:
        inputs: What the processor made of them, left-padded, on the model's device.
        owners: Which prompt each row of the step continues.
        pictures: Their images by prompt; None where the family's images come in a form that cannot be split.
    """

    inputs: dict[str, Any]
    owners: list[int]
    pictures: Pictures | None

    def refuse_split_groups(self, group: int) -> None:
        """Sees that rows stand in whole groups.

        Raises:
            ModelError: A prompt has not a multiple of `group` rows one after another; the message names the first.
        """
        for row in range(0, len(self.owners), group):
            if len(set(self.owners[row : row + group])) > 1 or row + group > len(self.owners):
                raise ModelError(
                    f"row {row} of a step: the {group} rows from here on are not all of one prompt and its images; "
                    "keep the rows of a group together and in one process"
                )

    def ids(self) -> list[list[int]]:
        """The token ids of the prompts, without padding."""
        masks = self.inputs["attention_mask"].bool()
        return [row[mask].tolist() for row, mask in zip(self.inputs["input_ids"], masks, strict=True)]

    def of(self, rows: Sequence[int]) -> tuple[dict[str, Any], list[int], Pictures]:
        """What `shared_logps` takes of the prompts that these rows of the step continue: inputs, owners, pictures."""
        assert self.pictures is not None
        wanted = [self.owners[row] for row in rows]
        prompts = sorted(set(wanted))
        kept = torch.tensor(prompts, device=self.inputs["input_ids"].device)
        inputs = {name: value[kept] for name, value in self.inputs.items() if name not in _IMAGES}
        pictures = self.pictures.of(prompts)
        inputs |= {name: value for name, value in pictures.inputs().items() if name != _PIXELS}
        return inputs, [prompts.index(prompt) for prompt in wanted], pictures


def encode_step(vlm: Vlm, model: Any, rows: Sequence[dict[str, Any]], device: torch.device) -> StepPrompts:
    """Encodes the prompts of a step, rows that follow one another with the same prompt and images only once.

    Args:
        vlm: Whose processor makes the inputs.
        model: The model that will read them.
        rows: As the data set gives them: `prompt`, a conversation, and `images`, decoded, where it has any. Rows of one
            pair share the decoded images; these are told apart by identity.
        device: Where the model is.
    """
    distinct: list[dict[str, Any]] = []
    owners: list[int] = []
    for row in rows:
        if not distinct or not _same(distinct[-1], row):
            distinct.append(row)
        owners.append(len(distinct) - 1)
    images = [row.get("images") or [] for row in distinct]
    inputs = dict(vlm.encode([row["prompt"] for row in distinct], images).to(device))
    pictures = split_pictures(model, inputs) if layout_is_known(model, inputs) else None
    return StepPrompts(inputs, owners, pictures)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    images = [[id(image) for image in row.get("images") or []] for row in (one, other)]
    return images[0] == images[1] and bool(one["prompt"] == other["prompt"])
