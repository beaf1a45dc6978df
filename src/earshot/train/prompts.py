"""A step's distinct prompts, encoded once: TRL would decode, preprocess and render each as often as it has completions.

Shapes: B rows of a batch, N distinct prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from earshot.errors import ModelError
from earshot.vlm import Vlm
from earshot.vlm.prefix.pictures import Pictures, layout_is_known, prompts_with_pictures, split_pictures


class Share(NamedTuple):
    """Rows of a step whose prompts are computed in one batch.

    Attributes:
        places: Where they stand among the rows that were asked for.
        inputs: The prompts, as the processor made them.
        owners: Which of these prompts each row continues.
        pictures: Their images by prompt; None where these cannot be told apart.
    """

    places: list[int]
    inputs: dict[str, Any]
    owners: list[int]
    pictures: Pictures | None


@dataclass(frozen=True, eq=False)
class StepPrompts:
    """The N distinct prompts of a step.

    Attributes:
        batches: What the processor made of them, left-padded, on the model's device: one batch of all where their
            images can be told apart, else one of each.
        owners: Which prompt each row of the step continues.
        pictures: The images by prompt; None where the family's images come in a form that cannot be split.
        texts: The prompts as text, in which each image is one place.
        images: Their images, as the processor was given them.
    """

    batches: list[dict[str, Any]]
    owners: list[int]
    pictures: Pictures | None
    texts: list[str]
    images: list[list[Any]]

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
        return [
            row[mask.bool()].tolist()
            for batch in self.batches
            for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]

    def tokens(self) -> int:
        """How many tokens the prompts have, padding included."""
        return sum(batch["input_ids"].numel() for batch in self.batches)

    def whole(self) -> Iterator[Share]:
        """All rows of the step, with all prompts of each batch."""
        if len(self.batches) == 1:
            yield Share(list(range(len(self.owners))), self.batches[0], self.owners, self.pictures)
        else:
            yield from self.of(range(len(self.owners)))

    def of(self, rows: Sequence[int]) -> Iterator[Share]:
        """These rows of the step, with the prompts that they continue and no others."""
        wanted = [self.owners[row] for row in rows]
        prompts = sorted(set(wanted))
        if self.pictures is None and len(self.batches) > 1:
            for prompt in prompts:
                places = [place for place, owner in enumerate(wanted) if owner == prompt]
                yield Share(places, self.batches[prompt], [0] * len(places), None)
            return
        (batch,) = self.batches
        if self.pictures is None:
            yield Share(list(range(len(rows))), batch, wanted, None)
            return
        inputs, pictures = prompts_with_pictures(batch, self.pictures, prompts)
        yield Share(list(range(len(rows))), inputs, [prompts.index(prompt) for prompt in wanted], pictures)


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
    texts, images = vlm.asked_in([row["prompt"] for row in distinct], [row.get("images") or [] for row in distinct])
    inputs = dict(vlm.processed(texts, images).to(device))
    if layout_is_known(model, inputs):
        return StepPrompts([inputs], owners, split_pictures(model, inputs), texts, images)
    batches = [dict(vlm.processed([text], [own]).to(device)) for text, own in zip(texts, images, strict=True)]
    return StepPrompts(batches, owners, None, texts, images)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    images = [[id(image) for image in row.get("images") or []] for row in (one, other)]
    return images[0] == images[1] and bool(one["prompt"] == other["prompt"])
