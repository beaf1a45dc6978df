"""What judges are asked, and what is made of their answers for each method and model."""

import numpy as np
import pytest

from earshot.judging.model import RewardModel
from earshot.judging.question import Question
from earshot.lab.overoptimise.curves import Asked, ask, gains, measure, scenes_of
from earshot.lab.overoptimise.judged import OWN, Judged, by_references, round_robin
from earshot.lab.overoptimise.pictures import Drawn, draw
from earshot.lab.overoptimise.policy import Training
from earshot.lab.screen import CONTROLS
from earshot.predictions.overoptimised import GOLD
from tests.judging.opinions import Hears, Opinionated

QUICK = Training(coefficients=(1.0, 0.1), steps=60)


class Counting(RewardModel):
    """Keeps every question that it is asked."""

    def answer(self, questions, wanted=None):  # type: ignore[no-untyped-def]
        seen: list[Question] = self.__dict__.setdefault("seen", [])
        seen.extend(questions)
        return super().answer(questions, wanted)


def test_every_picture_meets_all_others_or_as_many_as_are_asked_for() -> None:
    (drawn,) = draw(1, 8)
    model = RewardModel(Opinionated())
    all_of_them, some = (round_robin(model, drawn, against=against) for against in (None, 4))
    assert (all_of_them.asked, some.asked) == (28, 16)
    assert all_of_them.lost == 0 and all_of_them.scores[OWN].shape == (8,)
    assert all_of_them.scores[OWN].mean() == pytest.approx(0.5)


def test_a_scene_s_score_is_the_one_that_python_gives_with_the_same_references() -> None:
    (drawn,) = draw(1, 3)
    (scenes,) = scenes_of([drawn])
    few = Drawn(scenes.wanted, scenes.images[:6], scenes.gold[:6])
    model = RewardModel(Opinionated(), {"hears": Hears()})
    told = by_references(model, few, drawn.images, seed=4)
    assert told.asked == 18 and list(told.scores) == [OWN, "hears"]
    wanted = model.score(few.prompt, few.images, references=drawn.images, seed=4)
    assert told.scores[OWN] == pytest.approx(wanted)


def test_a_comparison_that_comes_to_nothing_is_counted_and_never_scored() -> None:
    (drawn,) = draw(1, 3)
    told = round_robin(RewardModel(Opinionated(malformed=("swapped",))), drawn)
    assert told.lost == told.asked == 3
    assert np.isnan(told.scores[OWN]).all()


def test_every_scene_is_asked_about_once_however_many_policies_are_trained() -> None:
    drawn = draw(3, 4)
    scenes = scenes_of(drawn[:2])
    model = Counting(Opinionated(), {"hears": Hears()})
    done: list[tuple[int, int]] = []
    asked = ask(model, drawn, scenes, references=2, tell=lambda *now: done.append(now))
    assert len(model.__dict__["seen"]) == 3 * 6 + 2 * 100 * 2
    assert asked.lost == (0, 3 * 6 + 2 * 100 * 2)
    assert done == [(n, 5) for n in range(1, 6)]
    measure(drawn, scenes, {"m": asked}, training=QUICK, resamples=20)
    assert len(model.__dict__["seen"]) == 3 * 6 + 2 * 100 * 2


def told(drawn: list[Drawn], scenes: list[Drawn], sign: float) -> Asked:
    """Of somebody whose own verdict is the truth, or its opposite, and whose reader always knows."""

    def judged(one: Drawn) -> Judged:
        return Judged({OWN: 0.5 + sign * one.gold / 10, "reader": 0.5 + one.gold / 10}, 1, 0)

    return Asked([judged(one) for one in drawn], [judged(one) for one in scenes])


def test_each_method_has_its_baselines_and_every_judge_of_every_model() -> None:
    drawn = draw(40, 8, seed=1)
    scenes = scenes_of(drawn[:20], seed=1)
    asked = {"wise": told(drawn, scenes, 1.0), "contrary": told(drawn, scenes, -1.0)}
    measured = measure(drawn, scenes, asked, training=QUICK, resamples=200)
    who = [(None, GOLD), *((None, name) for name in CONTROLS)]
    who += [("wise", OWN), ("wise", "reader"), ("contrary", OWN), ("contrary", "reader")]
    assert [(c.method, c.model, c.judge) for c, _ in measured] == [
        (method, *one) for method in ("best-of-n", "policy") for one in who
    ]
    by = {(c.method, c.model, c.judge): c for c, _ in measured}
    for method in ("best-of-n", "policy"):
        assert by[method, "wise", OWN].points[-1].captured.value == pytest.approx(1.0, abs=0.05)
        contrary = by[method, "contrary", OWN]
        assert contrary.best == 0 and contrary.points[-1].gold.value < contrary.points[0].gold.value
        assert by[method, "contrary", "reader"].points == by[method, "wise", "reader"].points
    for name in CONTROLS:
        captured = by["best-of-n", None, name].points[-1].captured
        assert captured.low < 0 < captured.high
    assert [curve.method for curve, _ in measure(drawn, [], {}, training=QUICK, resamples=20)] == ["best-of-n"] * 3

    more = gains(measured, resamples=200)
    assert {(one.model, one.less) for one in more} == {("contrary", "wise")}
    assert [(one.method, one.judge, one.pressure) for one in more] == [
        *(("best-of-n", judge, n) for judge in (OWN, "reader") for n in (2, 4, 8)),
        *(("policy", judge, None) for judge in (OWN, "reader")),
    ]
    for one in more:
        own = one.judge == OWN
        assert one.estimate.high < 0 if own else one.estimate.value == one.estimate.low == one.estimate.high == 0.0
    last = next(one for one in more if one.pressure == 8)
    gap = by["best-of-n", "contrary", OWN].points[-1].captured.value - 1.0
    assert last.what == "captured" and last.estimate.value == pytest.approx(gap)
    policy = next(one for one in more if one.method == "policy")
    assert policy.what == "gold"
    assert policy.estimate.value == pytest.approx(  # contrary is best where it has not begun
        by["policy", "contrary", OWN].points[0].gold.value - by["policy", "wise", OWN].points[-1].gold.value
    )
