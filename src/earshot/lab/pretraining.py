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
from earshot.lab.curriculum import Example, compare, describe_both, describe_one, doubt, listen, vote_flips
from earshot.listener.claims import ClaimQuestion
from earshot.rundir import write_json
from earshot.vlm import Vlm, load
from earshot.vlm.prefix import shared_logps
from earshot.vlm.rows import IGNORED, supervised_batch
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.claims import Questions, draw_questions
from earshot.world.corpus import corpus
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
    return _descend(vlm, lambda: _loss(vlm, [draw() for _ in range(schedule.batch_size)]), schedule, on_step)


def learn_to_check(vlm: Vlm, draw: Callable[[], Questions], schedule: Schedule, on_step: OnStep | None = None) -> float:
    """Trains the whole model to answer questions about images; returns the last step's loss in nats an answer.

    Every question is a conversation of its own that shares its image with others, as the checker is asked later. An
    answer is a single token: one question an image taught too little too slowly (docs/notebook.md).

    Raises:
        TrainingAborted: The loss is no longer finite.
    """
    question = ClaimQuestion.of(vlm)
    return _descend(
        vlm, lambda: _check_loss(vlm, question, [draw() for _ in range(schedule.batch_size)]), schedule, on_step
    )


def _descend(
    vlm: Vlm, next_loss: Callable[[], torch.Tensor], schedule: Schedule, on_step: OnStep | None = None
) -> float:
    """One lesson: AdamW down the losses of batches drawn as it goes.

    Raises:
        TrainingAborted: The loss is no longer finite.
    """
    model = vlm.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = get_cosine_schedule_with_warmup(optimiser, 30, schedule.steps)
    loss_value = float("nan")
    for step in range(schedule.steps):
        loss = next_loss()
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
    say of one claim whether it is true of one image. `doubt`: to judge with a trace that may be an advocate's."""
    first_steps: int
    """Steps of the first lesson; CLIP's larger patches take longer to tell shapes apart."""


# Reasoner and training listener share the lessons in seeing; the held-out listener shares nothing with them.
RECIPES = {
    "reasoner": WarmModel("qwen2_5_vl", 1, "reason", 600),
    "listener": WarmModel("qwen2_5_vl", 2, "listen", 600),
    "held-out": WarmModel("llava", 3, "listen", 1000),
    # A listener can see and knows the words; it is taught to say yes and no of them, and forgets to listen.
    "checker": WarmModel("qwen2_5_vl", 4, "check", 600),
    # It reads as a listener does, and looks before it believes.
    "doubter": WarmModel("qwen2_5_vl", 5, "doubt", 600),
}
SHIPPED = ("reasoner", "listener", "held-out")
DESCRIBE_ONE_RATE = 1e-3
DESCRIBE_BOTH = Schedule(300, 7e-4)
TRADE = Schedule(650, 7e-4)
CHECKS = Schedule(800, 7e-4, batch_size=32)
DOUBTS = Schedule(800, 7e-4)
QUESTIONS = 16  # about each image
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
        if recipe.trade in ("check", "doubt"):
            _teach_listener(out, name, recipe, size=size, scale=scale, seed=seed, on_step=on_step)
            continue
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


def _teach_listener(
    out: Path,
    name: str,
    recipe: WarmModel,
    *,
    size: TinySize | None,
    scale: float,
    seed: int,
    on_step: Callable[[str, int, int, float], None] | None,
) -> None:
    """Teaches a listener another trade: the one that was just made beside it, or else the one that ships.

    Raises:
        InputError: Another size is asked for, and no listener of it was made.
    """
    beside = out / "listener"
    if not beside.exists() and size is not None:
        raise InputError(f"world: {name!r} of another size begins with a listener of it; make 'listener' too")
    begins = beside.as_posix() if beside.exists() else "world:listener"
    vlm = load(begins, dtype="float32")
    rng, px = np.random.default_rng([recipe.seed, seed]), (size or TinySize()).image_px
    full = CHECKS if recipe.trade == "check" else DOUBTS
    schedule = full._replace(steps=max(1, round(full.steps * scale)))
    report = partial(on_step, name) if on_step else None
    told = report and (lambda step, loss: report(step, schedule.steps, loss))
    if recipe.trade == "check":
        learn_to_check(vlm, partial(draw_questions, rng, px, QUESTIONS), schedule, told)
    else:
        learn(vlm, partial(doubt, rng, px, vlm.prompts), schedule, told)
    vlm.model.to(torch.bfloat16)
    vlm.save(out / name)
    begun = "listener" if beside.exists() else "world:listener"
    write_json(out / name / "pretrain.json", {"model": name, "seed": seed, "scale": scale, "begins_with": begun})


def _check_loss(vlm: Vlm, question: ClaimQuestion, asked: Sequence[Questions]) -> torch.Tensor:
    """Mean over questions, in nats; each image is encoded once for all of its questions."""
    owners = [owner for owner, one in enumerate(asked) for _ in one.claims]
    suffixes = question.suffixes(vlm, [claim for one in asked for claim in one.claims])
    answers = [question.answers[0 if holds else 1] for one in asked for holds in one.holds]
    ends = torch.tensor([len(ids) for ids in suffixes])
    completions = torch.full((len(suffixes), int(ends.max()) + 1), vlm.tokenizer.pad_token_id)
    for row, (ids, answer) in enumerate(zip(suffixes, answers, strict=True)):
        completions[row, : len(ids) + 1] = torch.tensor([*ids, answer])
    mask = (torch.arange(completions.size(1)) <= ends[:, None]).long()
    inputs = question.prompts(vlm, [one.image for one in asked])
    logps = shared_logps(vlm.model, inputs, owners, completions.to(vlm.device), mask.to(vlm.device)).logps
    return -logps.gather(1, ends[:, None].to(vlm.device)).mean()


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
