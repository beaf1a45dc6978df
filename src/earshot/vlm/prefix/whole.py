"""Rows of prompt and suffix in full, as stock transformers computes them: what holds for every model.

Prompts lose their padding, and rows are padded on the right, where no token of a row sees it: neither windows that
count places nor states that padding would pass through. Positions are the model's own.

Shapes: N prompts, R rows, S suffix tokens (padded on the right), L tokens of the longest row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int

from earshot.errors import ModelError
from earshot.vlm.mechanisms import OF_TEXT, PER_IMAGE, PER_TOKEN, check_inputs
from earshot.vlm.prefix.pictures import Pictures, picture_inputs


class WholeRows(NamedTuple):
    """R rows for a pass.

    Attributes:
        inputs: What the model takes.
        starts: Where each row's suffix begins.
    """

    inputs: dict[str, Any]
    starts: Int[torch.Tensor, " r"]


def whole_rows(
    model: Any,
    inputs: Mapping[str, Any],
    pictures: Pictures | None,
    owners: Sequence[int],
    suffixes: Int[torch.Tensor, "r s"],
    mask: Int[torch.Tensor, "r s"],
) -> WholeRows:
    """Rows in full, each with the images of its prompt.

    Args:
        model: Which will compute them.
        inputs: N prompts, padded on the left.
        pictures: Their images by prompt; None where they cannot be told apart, and then there is one prompt, or one
            row for each.
        owners: For each row, which prompt it continues.
        suffixes: Token ids.
        mask: 1 where a suffix token is real.

    Raises:
        ModelError: Something that the processor made for each token is not known, or as `repeated_images`.
    """
    check_inputs(inputs)
    prompts = inputs["attention_mask"].bool()
    starts = prompts.sum(1)[list(owners)]
    lengths = starts + mask.sum(1)
    length = int(lengths.max())

    def joined(name: str, after: torch.Tensor | None) -> torch.Tensor:
        rows = []
        for row, owner in enumerate(owners):
            before = inputs[name][owner][prompts[owner]]
            last = before[-1:].expand(suffixes.size(1), *before.shape[1:]) if after is None else after[row]
            both = torch.cat([before, last.to(before.dtype)])
            short = length - both.size(0)
            rows.append(both[:length] if short <= 0 else torch.cat([both, both.new_zeros(short, *both.shape[1:])]))
        return torch.stack(rows)

    places = torch.arange(length, device=lengths.device)
    given: dict[str, Any] = {
        "input_ids": joined("input_ids", suffixes),
        "attention_mask": (places < lengths[:, None]).to(inputs["attention_mask"].dtype),
    }
    for name in set(inputs) & set(PER_TOKEN):
        given[name] = joined(name, torch.zeros_like(suffixes) if PER_TOKEN[name] == "zero" else None)
    if pictures is None:
        return WholeRows(given | repeated_images(inputs, owners), starts)
    own = pictures.of(owners)
    given |= picture_inputs(model, own)
    if own.grid is not None and own.pixels:
        given["image_grid_thw"] = own.grid
    return WholeRows(given, starts)


def repeated_images(inputs: Mapping[str, Any], owners: Sequence[int]) -> dict[str, Any]:
    """What a processor made of images that cannot be told apart, for rows with these owners.

    Raises:
        ModelError: There are several prompts with other numbers of rows than one, or it is not known how something
            that the processor made goes on.
    """
    images = {name: value for name, value in inputs.items() if name not in OF_TEXT}
    prompts = inputs["input_ids"].size(0)
    if not images or list(owners) == list(range(prompts)):
        return images
    if prompts > 1:
        raise ModelError(f"the images of {prompts} prompts cannot be told apart; encode one prompt at a time")
    if unknown := sorted(set(images) - PER_IMAGE):
        raise ModelError(f"its processor makes {' and '.join(unknown)}, which Earshot cannot repeat; give one row")
    return {
        name: torch.cat([value] * len(owners)) if isinstance(value, torch.Tensor) else list(value) * len(owners)
        for name, value in images.items()
    }


def rows_at_once(inputs: Mapping[str, Any], pictures: Pictures | None, rows: int) -> int:
    """How many of so many rows one pass may hold: 1 where it is not known how to repeat what a processor made."""
    known = set(inputs) <= OF_TEXT | PER_IMAGE
    return rows if pictures is not None or known else 1
