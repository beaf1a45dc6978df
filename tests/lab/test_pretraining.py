"""The recipe of the warm models, cut to a step a lesson."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from earshot.cli.main import main
from earshot.errors import InputError
from earshot.lab.curriculum import Example, describe_one
from earshot.lab.pretraining import (
    RECIPES,
    SHIPPED,
    Schedule,
    check_loss,
    learn,
    make_warm_models,
    supervised_loss,
)
from earshot.vlm import Vlm, load
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from earshot.world.pairs import LESSONS
from tests.pretended_gpu import CUDA, PretendedGpu, put

SMALL = TinySize(hidden=64, layers=1, vision_hidden=32, vision_layers=1)


def test_every_recipe_writes_a_model_that_loads(tmp_path: Path) -> None:
    lessons: list[str] = []
    names = list(RECIPES)
    make_warm_models(tmp_path, names, scale=0.001, size=SMALL, on_step=lambda lesson, *_: lessons.append(lesson))
    assert [load(tmp_path / name).prompts.name for name in names] == ["brief"] * len(names)
    # one step a lesson; the lessons in seeing are shared by the models of a family
    assert lessons == [
        *("qwen2_5_vl: one image", "qwen2_5_vl: both images", "reasoner", "reasoner: taste", "listener"),
        *("llava: one image", "llava: both images", "held-out"),
        *("qwen2_5_vl, all there is: one image", "qwen2_5_vl, all there is: both images", "knowing"),
        "checker",
        *("rationaliser", "rationaliser: taste"),
        "doubter",
    ]


@pytest.mark.parametrize("trade", ["sees", "checks"])
def test_a_model_on_a_gpu_is_taught_there(trade: str) -> None:
    import numpy as np

    from earshot.world.claims import draw_questions

    vlm, rng = build_tiny("qwen2_5_vl", corpus(40), size=SMALL), np.random.default_rng(0)
    lessons: dict[str, tuple[Callable[[], Any], Any]] = {
        "sees": (lambda: describe_one(rng, 56), supervised_loss),
        "checks": (lambda: draw_questions(rng, 56, 4), check_loss),
    }
    draw, loss_of = lessons[trade]
    put(vlm.model)
    with PretendedGpu():
        assert np.isfinite(learn(vlm, draw, Schedule(2, 1e-3, batch_size=2), loss_of=loss_of))


def test_models_are_made_on_the_gpu_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taught(vlm: Vlm, *_: Any, **__: Any) -> None:
        taught_on.append(vlm.device)

    taught_on: list[torch.device] = []
    monkeypatch.setattr("earshot.lab.pretraining.learn", taught)
    monkeypatch.setattr("earshot.lab.pretraining.resolve_device", lambda device: CUDA)
    with PretendedGpu():
        make_warm_models(tmp_path, ["listener"], scale=0.001, size=SMALL)
    assert taught_on == [CUDA] * 3


def test_three_of_the_recipes_ship() -> None:
    assert set(SHIPPED) == set(RECIPES) - {"checker", "rationaliser", "knowing", "doubter"}


def test_a_listener_on_flipped_votes_learns_otherwise_and_says_so(tmp_path: Path) -> None:
    for flip in (0.0, 0.5):
        make_warm_models(tmp_path / str(flip), ["listener"], scale=0.005, size=SMALL, flip_votes=flip)
    plain, flipped = (tmp_path / str(flip) / "listener" for flip in (0.0, 0.5))
    assert load(plain).fingerprint() != load(flipped).fingerprint()
    made = json.loads((flipped / "pretrain.json").read_text())
    assert (made["flip_votes"], made["flip_seed"], made["seed"]) == (0.5, RECIPES["listener"].seed, 0)
    with pytest.raises(InputError, match="expected a model that learns to listen"):
        make_warm_models(tmp_path / "x", ["reasoner"], flip_votes=0.5)
    with pytest.raises(InputError, match=r"expected a multiple of 0\.05"):
        make_warm_models(tmp_path / "x", ["listener"], flip_votes=0.33)


def test_the_held_out_listener_is_of_another_family_and_shares_no_lesson() -> None:
    assert RECIPES["held-out"].family != RECIPES["listener"].family == RECIPES["reasoner"].family


def test_a_knowing_listener_is_shown_all_there_is_and_never_a_vote(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever people vote, its lessons are the same, picture for picture and word for word."""
    import numpy as np

    from earshot.lab.pretraining import _sight, _trade
    from earshot.types import Votes
    from earshot.world import pairs

    vlm = build_tiny("qwen2_5_vl", corpus(40), size=SMALL)
    vote = pairs.vote

    def lessons(name: str, told: Callable[[Votes], Votes]) -> list[Any]:
        monkeypatch.setattr(pairs, "vote", lambda *asked: told(vote(*asked)))
        made = [
            lesson.draw()
            for lesson in (
                *_sight(RECIPES[name], 0, LESSONS["colours"]),
                *_trade(name, vlm, 0, 0.0, LESSONS["colours"]),
            )
            for _ in range(40)
        ]
        return [(e.messages, e.given, e.completion, [image.tobytes() for image in e.images]) for e in made]

    everybody = [
        lambda votes: votes,
        lambda votes: Votes(votes.second, votes.first),
        lambda votes: Votes(15.0, 0.0),
        lambda votes: Votes(0.0, 15.0),
    ]
    first, *others = (lessons("knowing", told) for told in everybody)
    assert all(one == first for one in others)
    assert lessons("listener", everybody[0]) != lessons("listener", everybody[1])
    asked = [message["content"][-1]["text"] for messages, *_ in first[40:] for message in messages]
    assert any("purple star" in text for text in asked) and any("red circle" in text for text in asked)
    styles = [np.ptp(np.frombuffer(images[0], np.uint8).reshape(56, 56, 3)[::54, 0, 0]) for *_, images in first[:40]]
    assert min(styles) == 0 and max(styles) > 20  # flat grounds, and the gradients of sketches


def test_the_same_seed_makes_the_same_weights(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        make_warm_models(tmp_path / folder, ["listener"], scale=0.001, size=SMALL)
    assert load(tmp_path / "a" / "listener").fingerprint() == load(tmp_path / "b" / "listener").fingerprint()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "reasoner").mkdir()
    with pytest.raises(InputError, match="exists"):
        make_warm_models(tmp_path, ["reasoner"], scale=0.001, size=SMALL)


def test_what_is_finished_by_the_same_recipe_is_left_and_the_rest_is_made_as_if_at_once(tmp_path: Path) -> None:
    make_warm_models(tmp_path / "once", ["checker", "listener"], scale=0.001, size=SMALL)
    lessons: list[str] = []
    make_warm_models(tmp_path / "twice", ["listener"], scale=0.001, size=SMALL)
    make_warm_models(
        tmp_path / "twice",
        ["checker", "listener"],
        scale=0.001,
        size=SMALL,
        on_step=lambda lesson, *_: lessons.append(lesson),
    )
    assert lessons == ["checker"]
    for name in ("listener", "checker"):
        once, twice = (tmp_path / folder / name for folder in ("once", "twice"))
        assert load(once).fingerprint() == load(twice).fingerprint()
        assert (once / "pretrain.json").read_text() == (twice / "pretrain.json").read_text()
    with pytest.raises(InputError, match="was made by another recipe"):
        make_warm_models(tmp_path / "twice", ["listener"], scale=0.002, size=SMALL)


def test_those_that_ship_stand_for_the_recipe_that_they_are_of(tmp_path: Path) -> None:
    make_warm_models(tmp_path, ["held-out"], shipped=True)
    assert load(tmp_path / "held-out").fingerprint() == load("world:held-out").fingerprint()
    assert json.loads((tmp_path / "held-out" / "pretrain.json").read_text())["shipped"] is True
    make_warm_models(tmp_path / "other", ["held-out"], shipped=True, seed=1, scale=0.001)
    assert load(tmp_path / "other" / "held-out").fingerprint() != load("world:held-out").fingerprint()
    assert "shipped" not in json.loads((tmp_path / "other" / "held-out" / "pretrain.json").read_text())


def test_what_is_given_is_not_learned_and_every_example_weighs_the_same() -> None:
    import numpy as np

    vlm = build_tiny("qwen2_5_vl", corpus(40), size=SMALL)
    example = describe_one(np.random.default_rng(0), 56)
    given = Example(example.messages, example.images, "1", given=" first : left")
    alone = [supervised_loss(vlm, [one]).item() for one in (example, given)]
    together = supervised_loss(vlm, [example, given]).item()
    assert together == pytest.approx(sum(alone) / 2, rel=1e-4)


def test_a_lesson_lowers_the_loss() -> None:
    import numpy as np

    torch.manual_seed(0)
    vlm = build_tiny("llava", corpus(40), size=SMALL)
    rng = np.random.default_rng(0)
    losses: list[float] = []
    learn(vlm, lambda: describe_one(rng, 56), Schedule(12, 1e-2, 8), lambda step, steps, loss: losses.append(loss))
    assert losses[-1] < losses[0] - 0.5


def test_a_checker_learns_its_answers_as_it_will_be_asked() -> None:
    import numpy as np

    from earshot.listener.claims import LocalChecker
    from earshot.world.claims import draw_questions

    torch.manual_seed(0)
    vlm = build_tiny("qwen2_5_vl", corpus(40), size=SMALL)
    asked = [draw_questions(np.random.default_rng(k), 56, n) for k, n in ((0, 3), (1, 1))]
    loss = check_loss(vlm, asked).item()
    images = [one.image for one in asked for _ in one.claims]
    p_yes = LocalChecker(vlm).p_yes(images, [claim for one in asked for claim in one.claims])
    rng = np.random.default_rng(0)
    losses: list[float] = []
    before = vlm.fingerprint()
    schedule = Schedule(8, 1e-2, 8)
    learn(vlm, lambda: draw_questions(rng, 56, 4), schedule, lambda *told: losses.append(told[2]), loss_of=check_loss)
    # Over the whole vocabulary at first, which an untrained model spreads its guess over.
    assert loss > -np.log(np.where([h for one in asked for h in one.holds], p_yes, 1 - p_yes)).mean() + 1
    assert losses[-1] < losses[0] - 1 and vlm.fingerprint() != before


@pytest.mark.parametrize("name", ["checker", "doubter"])
def test_a_listeners_other_trades_begin_with_the_listener_beside_them(tmp_path: Path, name: str) -> None:
    make_warm_models(tmp_path, ["listener", name], scale=0.001, size=SMALL)
    made = json.loads((tmp_path / name / "pretrain.json").read_text())
    assert made["begins_with"] == "listener"
    make_warm_models(tmp_path / "shipped", [name], scale=0.001)
    made = json.loads((tmp_path / "shipped" / name / "pretrain.json").read_text())
    assert made["begins_with"] == "world:listener"


def test_another_model_is_refused_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["world", "pretrain", str(tmp_path), "--models", "listner"]) == 2
    assert "no warm model 'listner', did you mean 'listener'?" in capsys.readouterr().err


def test_models_of_the_world_of_edits_are_asked_about_edits(tmp_path: Path) -> None:
    make_warm_models(tmp_path, ["reasoner"], scale=0.001, size=SMALL, world="edit")
    assert load(tmp_path / "reasoner").prompts.name == "brief-edit"
