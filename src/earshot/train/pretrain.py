"""The recipe that makes the world's warm models from nothing, offline, in minutes (`earshot world pretrain`).

A plain supervised loop over examples drawn as it goes; SFT and GRPO on pair sets are TRL's work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from transformers import get_cosine_schedule_with_warmup

from earshot.errors import InputError, TrainingAborted
from earshot.rundir import write_json
from earshot.vlm import Vlm
from earshot.vlm.rows import IGNORED, supervised_batch
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.claims import check_claim
from earshot.world.curriculum import Example, compare, corpus, describe_both, describe_one, listen, vote_flips
from earshot.world.language import Corruption
from earshot.world.raters import Raters

OnStep = Callable[[int, float], None]


class Schedule(NamedTuple):
    """Length and pace of one lesson; the learning rate warms up over 30 steps and then follows a cosine."""

    steps: int
    learning_rate: float
    batch_size: int = 64


def learn(vlm: Vlm, draw: Callable[[], Example], schedule: Schedule, on_step: OnStep | None = None) -> float:
    """Trains the whole model to write the examples' completions; returns the last step's loss in nats a token.

    Raises:
        TrainingAborted: The loss is no longer finite.
    """
    model = vlm.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = get_cosine_schedule_with_warmup(optimiser, 30, schedule.steps)
    loss_value = float("nan")
    for step in range(schedule.steps):
        loss = _loss(vlm, [draw() for _ in range(schedule.batch_size)])
        loss_value = loss.item()
        if not torch.isfinite(loss):
            raise TrainingAborted(f"pretrain: step {step}: the loss is {loss_value}; lower the learning rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad(set_to_none=True)
        if on_step:
            on_step(step, loss_value)
    return loss_value


class WarmModel(NamedTuple):
    """How one of the world's warm models is made: two lessons in seeing, then its trade."""

    family: str
    seed: int
    trade: str
    """`reason`: to write traces and verdicts, some of them wrong. `listen`: to judge with somebody's trace. `check`: to
    say of one claim whether it is true of one image."""
    first_steps: int
    """Steps of the first lesson; CLIP's larger patches take longer to tell shapes apart."""


# Reasoner and training listener share the lessons in seeing; the held-out listener shares nothing with them.
RECIPES = {
    "reasoner": WarmModel("qwen2_5_vl", 1, "reason", 600),
    "listener": WarmModel("qwen2_5_vl", 2, "listen", 600),
    "held-out": WarmModel("llava", 3, "listen", 1000),
    "checker": WarmModel("qwen2_5_vl", 4, "check", 600),
}
SHIPPED = ("reasoner", "listener", "held-out")
DESCRIBE_ONE_RATE = 1e-3
DESCRIBE_BOTH = Schedule(300, 7e-4)
TRADE = Schedule(650, 7e-4)
# An example is one token long, so that a step costs half of one of the lessons in seeing.
CHECKS = Schedule(600, 7e-4)
# Decent but not good: real reasoners say false things too, and now and then contradict themselves.
WARM_CORRUPTION = Corruption(facts=0.05, verdict=0.10)
# Its last lesson comes from a teacher who looks at the rendering alone. People mind what is shown, and GRPO learns it
# from their votes: a warm reasoner whose only faults are random has little that a verdict's reward could teach it.
TEACHER_TASTE = Raters(alignment=0.0, missing=0.0)
TASTE = Schedule(200, 3e-4)


def make_warm_models(
    out: Path,
    names: Sequence[str],
    *,
    scale: float = 1.0,
    seed: int = 0,
    size: TinySize | None = None,
    flip_votes: float = 0.0,
    on_step: Callable[[str, int, int, float], None] | None = None,
) -> None:
    """Makes the named warm models from nothing and writes each to `out/NAME`, in bfloat16.

    Args:
        out: A folder; a model's folder in it must not exist.
        names: Keys of `RECIPES`.
        scale: Multiplies the steps of every lesson.
        seed: Of initialisation; examples have seeds of their own.
        size: Dimensions; those of the shipped models by default.
        flip_votes: The share of the pairs whose votes a listener learns the wrong way round; one half makes the control
            that is uncorrelated with votes. What each model was made with stands in its `pretrain.json`.
        on_step: Told the lesson, the step, how many there are, and the loss.

    Raises:
        InputError: A name is not known, its folder exists, or votes are to be flipped of a model that is no listener.
    """
    for name in names:
        if name not in RECIPES:
            raise InputError(f"world: no warm model {name!r}, expected one of {', '.join(RECIPES)}")
        if (out / name).exists():
            raise InputError(f"{out / name}: exists; choose a new folder or remove it")
        if flip_votes and RECIPES[name].trade != "listen":
            raise InputError(f"world: flip_votes {flip_votes} for {name!r}, expected a model that learns to listen")
    vote_flips(flip_votes, 0)  # refuses a wrong share before anything is learned
    seen: dict[str, dict[str, torch.Tensor]] = {}
    for name in names:
        recipe = RECIPES[name]
        vlm = build_tiny(recipe.family, corpus(), size=size, seed=seed)
        px = (size or TinySize()).image_px

        def teach(lesson: str, draw: Callable[[], Example], schedule: Schedule, vlm: Vlm = vlm) -> None:
            schedule = schedule._replace(steps=max(1, round(schedule.steps * scale)))
            report = partial(on_step, lesson) if on_step else None
            learn(vlm, draw, schedule, report and (lambda step, loss: report(step, schedule.steps, loss)))

        if recipe.family not in seen:
            rng = np.random.default_rng(seed)
            teach(
                f"{recipe.family}: one image",
                partial(describe_one, rng, px),
                Schedule(recipe.first_steps, DESCRIBE_ONE_RATE),
            )
            teach(f"{recipe.family}: both images", partial(describe_both, rng, px), DESCRIBE_BOTH)
            seen[recipe.family] = {key: value.clone() for key, value in vlm.model.state_dict().items()}
        vlm.model.load_state_dict(seen[recipe.family])
        rng = np.random.default_rng(recipe.seed)
        if recipe.trade == "reason":
            teach(name, partial(compare, rng, px, vlm.prompts, WARM_CORRUPTION), TRADE)
            rng = np.random.default_rng(recipe.seed + 10)
            teach(f"{name}: taste", partial(compare, rng, px, vlm.prompts, WARM_CORRUPTION, taste=TEACHER_TASTE), TASTE)
        elif recipe.trade == "check":
            teach(name, partial(check_claim, rng, px, vlm.prompts), CHECKS)
        else:
            flips = vote_flips(flip_votes, recipe.seed)

            def hear(
                rng: np.random.Generator = rng, vlm: Vlm = vlm, px: int = px, flips: Iterator[bool] = flips
            ) -> Example:
                return listen(rng, px, vlm.prompts, flipped=next(flips))

            teach(name, hear, TRADE)
        vlm.model.to(torch.bfloat16)
        vlm.save(out / name)
        made = {"model": name, "seed": seed, "scale": scale, "flip_votes": flip_votes, "flip_seed": recipe.seed}
        write_json(out / name / "pretrain.json", made)


def _loss(vlm: Vlm, examples: Sequence[Example]) -> torch.Tensor:
    """Mean over examples of the mean over their learned tokens: a single answer counts as much as a long trace."""
    batch = supervised_batch(
        vlm,
        [e.messages for e in examples],
        [e.images for e in examples],
        [e.completion for e in examples],
        [e.given for e in examples],
    )
    labels = batch.pop("labels")
    width = labels.size(1) - int((labels != IGNORED).any(dim=0).float().argmax())  # completions stand on the right
    labels = labels[:, -width:]
    logits = vlm.model(**batch, logits_to_keep=width + 1).logits[:, :-1]
    nats = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return (nats.sum(dim=1) / (labels != IGNORED).sum(dim=1)).mean()
