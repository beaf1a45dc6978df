"""The recipe that makes the world's warm models from nothing, offline, in minutes (`earshot world pretrain`).

A plain supervised loop over examples drawn as it goes; SFT and GRPO on pair sets are TRL's work.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from transformers import get_cosine_schedule_with_warmup

from earshot.errors import InputError, TrainingAborted
from earshot.files import read_json_object, write_json
from earshot.lab.curriculum import Example, compare, describe_both, describe_one, doubt, listen, vote_flips
from earshot.listener.claims import ClaimQuestion
from earshot.vlm import Vlm, load
from earshot.vlm.folder import place_of
from earshot.vlm.model import resolve_device
from earshot.vlm.prefix import shared_logps
from earshot.vlm.rows import IGNORED, supervised_batch
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.claims import Questions, draw_questions
from earshot.world.corpus import corpus
from earshot.world.language import Corruption
from earshot.world.pairs import LESSONS, Population
from earshot.world.raters import PROMPT_ALONE, Raters
from earshot.world.render import Style

OnStep = Callable[[int, int, float], None]
"""Told of every step its number, how many there are, and the loss."""
IMAGE_PX = TinySize().image_px


class Schedule(NamedTuple):
    """Length and pace of one lesson; the learning rate warms up over 30 steps and then follows a cosine."""

    steps: int
    learning_rate: float
    batch_size: int = 64


def supervised_loss(vlm: Vlm, examples: Sequence[Example]) -> torch.Tensor:
    """Mean over examples of the mean over their learned tokens: a single answer counts as much as a long trace."""
    batch = supervised_batch(
        vlm,
        [e.messages for e in examples],
        [e.images for e in examples],
        [e.completion for e in examples],
        [e.given for e in examples],
    )
    batch = {name: value.to(vlm.device) for name, value in batch.items()}
    labels = batch.pop("labels")
    width = labels.size(1) - int((labels != IGNORED).any(dim=0).float().argmax())  # completions stand on the right
    labels = labels[:, -width:]
    logits = vlm.model(**batch, logits_to_keep=width + 1).logits[:, :-1]
    nats = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return (nats.sum(dim=1) / (labels != IGNORED).sum(dim=1)).mean()


def check_loss(vlm: Vlm, asked: Sequence[Questions]) -> torch.Tensor:
    """Mean over questions, in nats; each image is encoded once for all of its questions.

    Every question is a conversation of its own that shares its image with others, as the checker is asked later. An
    answer is a single token: one question an image taught too little too slowly (docs/notebook.md).
    """
    question = ClaimQuestion.of(vlm)
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


def learn(
    vlm: Vlm,
    draw: Callable[[], Any],
    schedule: Schedule,
    on_step: OnStep = lambda step, steps, loss: None,
    *,
    loss_of: Callable[[Vlm, Sequence[Any]], torch.Tensor] = supervised_loss,
) -> float:
    """One lesson: AdamW on the whole model, down the losses of batches that are drawn as it goes.

    Args:
        vlm: The model.
        draw: Draws one of what `loss_of` takes: an example, by default, whose completion is learned.
        schedule: Its length and pace.
        on_step: Told of every step.
        loss_of: The loss of a batch.

    Returns:
        The last step's loss, in nats.

    Raises:
        TrainingAborted: The loss is no longer finite.
    """
    model = vlm.model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    scheduler = get_cosine_schedule_with_warmup(optimiser, 30, schedule.steps)
    loss_value = float("nan")
    for step in range(schedule.steps):
        loss = loss_of(vlm, [draw() for _ in range(schedule.batch_size)])
        loss_value = loss.item()
        if not torch.isfinite(loss):
            raise TrainingAborted(f"pretrain: step {step}: the loss is {loss_value}; lower the learning rate")
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad(set_to_none=True)
        on_step(step, schedule.steps, loss_value)
    return loss_value


class WarmModel(NamedTuple):
    """How one of the world's warm models is made: two lessons in seeing, then its trade."""

    family: str
    seed: int
    trade: str
    """`reason`: to write traces and verdicts, some of them wrong. `rationalise`: the same, with facts bent to verdicts.
    `listen`: to judge with somebody's trace. `know`: the same by what was asked for, having seen more, and no vote.
    `check`: to say of one claim whether it is true of one image. `doubt`: to judge with a trace that may be an
    advocate's."""
    first_steps: int
    """Steps of the first lesson; CLIP's larger patches take longer to tell shapes apart."""


# Reasoner and training listener share the lessons in seeing; the held-out listener shares nothing with them.
RECIPES = {
    "reasoner": WarmModel("qwen2_5_vl", 1, "reason", 600),
    "listener": WarmModel("qwen2_5_vl", 2, "listen", 600),
    "held-out": WarmModel("llava", 3, "listen", 1000),
    # It has seen sketches and all combinations, and never what people prefer.
    "knowing": WarmModel("qwen2_5_vl", 7, "know", 1000),
    # A listener can see and knows the words; it is taught to say yes and no of them, and forgets to listen.
    "checker": WarmModel("qwen2_5_vl", 4, "check", 600),
    # The reasoner's lessons, in which part of the traces are made to fit a verdict that was there before them.
    "rationaliser": WarmModel("qwen2_5_vl", 6, "rationalise", 600),
    # It reads as a listener does, and looks before it believes.
    "doubter": WarmModel("qwen2_5_vl", 5, "doubt", 600),
}
SHIPPED = ("reasoner", "listener", "held-out")
BEGIN_AS_LISTENERS = ("check", "doubt")
MADE_WITH = "pretrain.json"
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
BENT = 0.3  # of a rationaliser's lessons


class Lesson(NamedTuple):
    """What `learn` is told of one lesson."""

    title: str
    draw: Callable[[], Any]
    schedule: Schedule
    loss_of: Callable[[Vlm, Sequence[Any]], torch.Tensor] = supervised_loss


def make_warm_models(
    out: Path,
    names: Sequence[str],
    *,
    scale: float = 1.0,
    seed: int = 0,
    size: TinySize | None = None,
    flip_votes: float = 0.0,
    world: str = "colours",
    shipped: bool = False,
    on_step: Callable[[str, int, int, float], None] = lambda lesson, step, steps, loss: None,
) -> None:
    """Makes the named warm models from nothing and writes each to `out/NAME`, in bfloat16.

    Checker and doubter begin with the listener that was made beside them, or else with the one that ships.

    Args:
        out: A folder. A model that lies in it finished, made by the same recipe, is left as it is.
        names: Keys of `RECIPES`.
        scale: Multiplies the steps of every lesson.
        seed: Of initialisation; examples have seeds of their own.
        size: Dimensions; those of the shipped models by default.
        flip_votes: The share of the pairs whose votes a listener learns the wrong way round; one half makes the control
            that is uncorrelated with votes. What each model was made with stands in its `pretrain.json`.
        world: A key of `earshot.world.pairs.LESSONS`.
        shipped: Take those that ship where they are of this very recipe, instead of making them again.
        on_step: Told the lesson, the step, how many there are, and the loss.

    Raises:
        InputError: A model's folder holds something else, or votes are to be flipped of a model that is no listener.
    """
    names = [name for name in RECIPES if name in names]  # the listener comes before those that begin as one
    for name in names:
        if flip_votes and RECIPES[name].trade != "listen":
            raise InputError(f"world: flip_votes {flip_votes} for {name!r}, expected a model that learns to listen")
    vote_flips(flip_votes, 0)  # refuses a wrong share before anything is learned
    recipes = {name: _made_with(name, names, out, scale, seed, flip_votes, world) for name in names}
    if shipped and (seed, scale, flip_votes, world) == (0, 1.0, 0.0, "colours") and size is None:
        recipes |= {name: recipes[name] | {"shipped": True} for name in SHIPPED if name in names}
    missing = [name for name in names if not _is_made(out / name, recipes[name])]

    def teach(vlm: Vlm, lessons: Sequence[Lesson]) -> None:
        for title, draw, full, loss_of in lessons:
            schedule = full._replace(steps=max(1, round(full.steps * scale)))
            learn(vlm, draw, schedule, partial(on_step, title), loss_of=loss_of)

    seen: dict[Any, dict[str, torch.Tensor]] = {}
    for name in missing:
        recipe = RECIPES[name]
        if recipes[name].get("shipped"):
            shutil.copytree(place_of(f"world:{name}"), out / name)
            write_json(out / name / MADE_WITH, recipes[name])
            continue
        if recipe.trade in BEGIN_AS_LISTENERS:
            beside = out / "listener"
            vlm = load(beside if beside.exists() else "world:listener", dtype="float32").asked(LESSONS[world].prompts)
        else:
            of = LESSONS[world]
            vlm = build_tiny(recipe.family, corpus(of=of), size=size, seed=seed, prompts=of.prompts)
            vlm.model.to(resolve_device("auto"))
            sight = recipe.family, _shown(recipe, LESSONS[world])
            if sight not in seen:
                teach(vlm, _sight(recipe, seed, LESSONS[world]))
                seen[sight] = {key: value.clone() for key, value in vlm.model.state_dict().items()}
            vlm.model.load_state_dict(seen[sight])
        teach(vlm, _trade(name, vlm, seed, flip_votes, LESSONS[world]))
        vlm.model.to(torch.bfloat16)
        vlm.taught_on = "made-up pictures of coloured shapes"
        vlm.save(out / name)
        write_json(out / name / MADE_WITH, recipes[name])


def _made_with(
    name: str, names: Sequence[str], out: Path, scale: float, seed: int, flip_votes: float, world: str
) -> dict[str, Any]:
    """What stands in a model's `pretrain.json`."""
    made = {"model": name, "seed": seed, "scale": scale, "world": world}
    if RECIPES[name].trade in BEGIN_AS_LISTENERS:
        beside = "listener" in names or (out / "listener").exists()
        return made | {"begins_with": "listener" if beside else "world:listener"}
    return made | {"flip_votes": flip_votes, "flip_seed": RECIPES[name].seed}


def _is_made(folder: Path, recipe: Mapping[str, Any]) -> bool:
    """Whether a model lies there that was finished by this very recipe.

    Raises:
        InputError: Something else does.
    """
    if not folder.exists():
        return False
    written = folder / MADE_WITH
    if not written.exists():
        raise InputError(f"{folder}: exists and holds no finished warm model; choose a new folder or remove it")
    if (found := read_json_object(written, what="a warm model's recipe")) != recipe:
        raise InputError(f"{folder}: was made by another recipe ({found}); choose a new folder or remove it")
    return True


def _sight(recipe: WarmModel, seed: int, of: Population) -> list[Lesson]:
    """The lessons in seeing, which the models of a family share that are shown the same."""
    rng = np.random.default_rng(seed)
    first, shown = Schedule(recipe.first_steps, DESCRIBE_ONE_RATE), _shown(recipe, of)
    kind = f"{recipe.family}, all there is" if len(shown) > 1 else recipe.family
    return [
        Lesson(f"{kind}: one image", lambda: describe_one(rng, IMAGE_PX, _one(shown, rng)), first),
        Lesson(f"{kind}: both images", lambda: describe_both(rng, IMAGE_PX, _one(shown, rng)), DESCRIBE_BOTH),
    ]


def _shown(recipe: WarmModel, of: Population) -> tuple[Population, ...]:
    """Whose pictures a model is shown: those of training, or also sketches, and what is asked for nowhere else."""
    if recipe.trade != "know":
        return (of,)
    return tuple(replace(of, held_out=held_out, style=style) for held_out in (False, True) for style in get_args(Style))


def _one(populations: Sequence[Population], rng: np.random.Generator) -> Population:
    return populations[0] if len(populations) == 1 else populations[int(rng.integers(len(populations)))]


def _trade(name: str, vlm: Vlm, seed: int, flip_votes: float, of: Population) -> list[Lesson]:
    """The lessons after those."""
    recipe, prompts = RECIPES[name], vlm.prompts
    rng = np.random.default_rng(recipe.seed)
    if recipe.trade in ("reason", "rationalise"):
        bent = BENT if recipe.trade == "rationalise" else 0.0
        reason = partial(compare, size_px=IMAGE_PX, prompts=prompts, corruption=WARM_CORRUPTION, bent=bent, of=of)
        taste = partial(reason, np.random.default_rng(recipe.seed + 10), taste=TEACHER_TASTE)
        return [Lesson(name, partial(reason, rng), TRADE), Lesson(f"{name}: taste", taste, TASTE)]
    if recipe.trade == "listen":
        flips = vote_flips(flip_votes, recipe.seed)
        return [Lesson(name, lambda: listen(rng, IMAGE_PX, prompts, flipped=next(flips), of=of), TRADE)]
    own = np.random.default_rng([recipe.seed, seed])
    if recipe.trade == "know":
        shown = _shown(recipe, of)
        know = partial(listen, own, IMAGE_PX, prompts, taste=PROMPT_ALONE)
        return [Lesson(name, lambda: know(of=_one(shown, own)), TRADE)]
    if recipe.trade == "doubt":
        return [Lesson(name, partial(doubt, own, IMAGE_PX, prompts, of=of), DOUBTS)]
    return [Lesson(name, partial(draw_questions, own, IMAGE_PX, QUESTIONS, of.mark), CHECKS, check_loss)]
