"""Rewards for image generators: `fn(images, prompts, metadata) -> (scores, {})`, in process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from earshot.errors import ImageError, InputError
from earshot.judging.pictures import PictureLike

if TYPE_CHECKING:
    from earshot.judging.model import RewardModel

RewardFunction: TypeAlias = Callable[[Any, Sequence[str], Any], tuple[np.ndarray, dict[str, Any]]]
References: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[PictureLike]]


def group_win_rates(model: RewardModel, *, references: References | None = None, seed: int = 0) -> RewardFunction:
    """The reward function of DDPO and Flow-GRPO: each image's win rate among the images of its prompt.

    The images of a call that share a prompt are a group, and are compared with each other; an image's score is the
    mean probability of being preferred to another of its group, in [0, 1]. An image of which no comparison came out
    is NaN, never a guess. Samplers that spread a prompt's images over processes leave groups of one, which have no
    win rate: gather them first, or give `references`.

    Args:
        model: Who judges.
        references: Gives the images to measure by, from a prompt and its metadata; each image is then compared with
            these instead of with its group.
        seed: Of the sampling.

    Returns:
        A function of `(images, prompts, metadata)`: images as a torch tensor (n, 3, height, width) of floats in
        [0, 1], as a tensor or array (n, height, width, 3) of uint8, or as a list of what `compare` takes; n prompts; n
        mappings or nothing.
        It raises an InputError for a group of one without references, and an ImageError for a refused image.

    Source of the shapes: `ddpo_pytorch/rewards.py` in kvablack/ddpo-pytorch (commit 1958463) and `flow_grpo/rewards.py`
    in yifan123/flow_grpo (commit 54809b5), which scale and transpose tensors in the same way.
    """

    def reward(images: Any, prompts: Sequence[str], metadata: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        pictures = unstack(images)
        if len(pictures) != len(prompts):
            raise InputError(f"{len(pictures)} images for {len(prompts)} prompts, expected as many")
        groups: dict[str, list[int]] = {}
        for k, prompt in enumerate(prompts):
            groups.setdefault(prompt, []).append(k)
        scores = np.full(len(pictures), np.nan)
        for prompt, places in groups.items():
            members = [pictures[k] for k in places]
            if references is None:
                if len(members) == 1:
                    raise InputError(
                        f"prompt {prompt[:40]!r} has 1 image in this call, expected a group of at least 2: this model "
                        "compares, so gather a prompt's images into one call, or give references"
                    )
                rates = [image.win_rate for image in model.rank(prompt=prompt, images=members, seed=seed).images]
            else:
                about = metadata[places[0]] if metadata else {}
                rates = model.score(prompt=prompt, images=members, references=references(prompt, about), seed=seed)
            scores[places] = np.array(rates, dtype=float)  # in which None is NaN
        return scores, {}

    return reward


def unstack(images: Any) -> list[PictureLike]:
    """The images of a batch, one by one.

    Raises:
        ImageError: A tensor or array is not of the shape and range that `group_win_rates` names.
    """
    if hasattr(images, "detach"):  # a torch tensor, which this need not import
        images = images.detach().cpu()
        images = _scaled(images.float().numpy()) if images.is_floating_point() else images.numpy()
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise ImageError(f"images: is an array of shape {images.shape}, expected (n, height, width, 3)")
    return list(images)


def _scaled(values: np.ndarray) -> np.ndarray:
    if values.ndim != 4 or values.shape[1] != 3:
        raise ImageError(f"images: is a tensor of shape {values.shape}, expected (n, 3, height, width)")
    if not np.isfinite(values).all() or values.min(initial=0.0) < -0.01 or values.max(initial=0.0) > 1.01:
        raise ImageError("images: is a tensor with values outside [0, 1], expected pixels in that range")
    return (values * 255).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
