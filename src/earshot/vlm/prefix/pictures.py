"""Which images belong to which prompt, and each distinct one encoded once."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from transformers.modeling_outputs import BaseModelOutputWithPooling

from earshot.errors import ModelError
from earshot.vlm.mechanisms import base_of, core_of, is_sharded

IMAGES = ("pixel_values", "image_grid_thw")
"""The inputs that hold images, in families whose images can be told apart."""
_TEXT = frozenset({"input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"})
_FEATURES = frozenset({"pooler_output", "last_hidden_state", "hidden_states", "attentions"})


@dataclass(frozen=True)
class Pictures:
    """The images of some prompts, in order.

    Attributes:
        pixels: What the processor made of each image, a leading axis of its patches or of 1.
        grid: Patches of each image in time, height and width, (images, 3); None in families of one image size.
        per_prompt: How many images each prompt has.
    """

    pixels: list[torch.Tensor]
    grid: torch.Tensor | None
    per_prompt: list[int]

    def of(self, prompts: Sequence[int]) -> Pictures:
        """The images of these prompts."""
        starts = [sum(self.per_prompt[:k]) for k in prompts]
        kept = [i for k, start in zip(prompts, starts, strict=True) for i in range(start, start + self.per_prompt[k])]
        grid = None if self.grid is None else self.grid[kept]
        return Pictures([self.pixels[i] for i in kept], grid, [self.per_prompt[k] for k in prompts])

    def inputs(self) -> dict[str, torch.Tensor]:
        """What the model takes, one entry for each image."""
        if not self.pixels:
            return {}
        grid = {} if self.grid is None else {"image_grid_thw": self.grid}
        return {"pixel_values": torch.cat(self.pixels), **grid}


def prompts_with_pictures(
    inputs: Mapping[str, Any], pictures: Pictures, prompts: Sequence[int]
) -> tuple[dict[str, Any], Pictures]:
    """These prompts of a batch, and their images, of which the inputs keep the grids alone."""
    kept = torch.tensor(prompts, device=inputs["input_ids"].device)
    own = pictures.of(prompts)
    texts = {name: value[kept] for name, value in inputs.items() if name not in IMAGES}
    return texts | {name: value for name, value in own.inputs().items() if name != "pixel_values"}, own


def layout_is_known(model: Any, inputs: Mapping[str, Any]) -> bool:
    """Whether images can be told apart in these inputs; if not, they can only be passed on as they are."""
    given = {name for name, value in inputs.items() if value is not None}
    pixels = inputs.get("pixel_values")
    if pixels is None:
        return given <= _TEXT
    if getattr(base_of(model).config, "image_token_id", None) is None:
        return False
    return given <= _TEXT.union(IMAGES) and ("image_grid_thw" in given or pixels.dim() == 4)


def split_pictures(model: Any, inputs: Mapping[str, Any], counts: Sequence[int] | None = None) -> Pictures:
    """The images of a batch by prompt, each prompt's image tokens counted against them.

    Args:
        model: Its config says which token stands for images and how many one image takes.
        inputs: A batch whose layout is known.
        counts: Images of each prompt, where the caller knows; else as many as its image tokens ask for.

    Raises:
        ModelError: A prompt's image tokens are not those of its images; the message names the row.
    """
    config = base_of(model).config
    prompts = inputs["input_ids"].size(0)
    found = (inputs["input_ids"] == getattr(config, "image_token_id", None)).sum(1).tolist()
    pixels, grid = inputs.get("pixel_values"), inputs.get("image_grid_thw")
    if pixels is None:
        pieces: list[torch.Tensor] = []
        tokens: list[int] = []
    elif grid is not None:
        patches = grid.prod(-1).tolist()
        if sum(patches) != pixels.size(0):
            raise ModelError(f"images: {pixels.size(0)} patches, but their grids have {sum(patches)}")
        pieces = list(pixels.split(patches))
        tokens = [n // config.vision_config.spatial_merge_size**2 for n in patches]
    else:
        pieces = list(pixels.split(1))
        tokens = [sum(found) // len(pieces)] * len(pieces)  # all images of such a family take as many
    per_prompt = _counts(found, tokens) if counts is None else list(counts)
    start = 0
    for row in range(prompts):
        wanted = sum(tokens[start : start + per_prompt[row]])
        start += per_prompt[row]
        if wanted != found[row]:
            raise ModelError(
                f"row {row}: {found[row]} image tokens in the text, but its {per_prompt[row]} images take {wanted}; "
                "pass ids and images as the processor gave them together"
            )
    if start != len(pieces):
        raise ModelError(f"row {prompts - 1} is the last, but {len(pieces) - start} images belong to no row")
    return Pictures(pieces, grid, per_prompt)


def picture_inputs(model: Any, pictures: Pictures) -> dict[str, Any]:
    """What the model takes for these images, each distinct one encoded once where the family allows it."""
    firsts, which = _distinct(pictures)
    if len(firsts) == len(which) or not _takes_features(model):
        return pictures.inputs()
    core = core_of(model)
    grid = {} if pictures.grid is None else {"image_grid_thw": pictures.grid[firsts]}
    output = core.get_image_features(torch.cat([pictures.pixels[i] for i in firsts]), **grid, return_dict=True)
    found = output.pooler_output  # one for each image: a list of them, or one tensor where all are of one size
    if found is None or len(found) != len(firsts) or not set(output) <= _FEATURES:
        return pictures.inputs()  # features of another kind enter elsewhere, and cannot be copied image by image
    features = found[torch.tensor(which, device=found.device)] if torch.is_tensor(found) else [found[k] for k in which]
    return {"mm_encoder_outputs": {"image": BaseModelOutputWithPooling(pooler_output=features)}}


def same_pictures(a: Pictures, b: Pictures) -> bool:
    """Whether both hold the same images in the same order."""
    return len(a.pixels) == len(b.pixels) and all(
        x.shape == y.shape and torch.equal(x, y) for x, y in zip(a.pixels, b.pixels, strict=True)
    )


def refuse_image_tokens(model: Any, ids: Int[torch.Tensor, "r c"]) -> None:
    """Raises a `ModelError` that names the first completion which holds an image token: no image belongs to it."""
    image_token = getattr(base_of(model).config, "image_token_id", None)
    if image_token is None:
        return
    held = (ids == image_token).any(1)
    if bool(held.any()):
        raise ModelError(
            f"row {int(held.int().argmax())}: its completion holds an image token, but no image is its own"
        )


def _counts(found: Sequence[int], tokens: Sequence[int]) -> list[int]:
    """How many images each prompt takes until its image tokens are used up."""
    counts, image = [], 0
    for wanted in found:
        start = image
        while wanted > 0 and image < len(tokens):
            wanted -= tokens[image]
            image += 1
        counts.append(image - start)
    return counts


def _distinct(pictures: Pictures) -> tuple[list[int], list[int]]:
    """Indices of the first of each distinct image, and for every image which of them it is."""
    grids = [()] * len(pictures.pixels) if pictures.grid is None else [tuple(row) for row in pictures.grid.tolist()]
    sums = torch.stack([pixels.double().sum() for pixels in pictures.pixels]).tolist() if pictures.pixels else []
    firsts: list[int] = []
    which: list[int] = []
    seen: dict[tuple[Any, ...], list[int]] = {}
    for index, (pixels, grid, total) in enumerate(zip(pictures.pixels, grids, sums, strict=True)):
        alike = seen.setdefault((grid, total), [])
        match = next((k for k in alike if torch.equal(pictures.pixels[firsts[k]], pixels)), None)
        if match is None:
            match = len(firsts)
            firsts.append(index)
            alike.append(match)
        which.append(match)
    return firsts, which


def _takes_features(model: Any) -> bool:
    core = core_of(model)
    if "mm_encoder_outputs" not in inspect.signature(type(core).forward).parameters:
        return False
    if hasattr(base_of(model).config.vision_config, "deepstack_visual_indexes"):
        return False  # features enter at several layers, in a form that cannot be copied image by image
    return not is_sharded(model)  # whose weights are gathered only inside its own forward pass
