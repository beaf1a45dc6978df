"""Ceilings of the world's sets: sums over all kinds of pairs, beside judges who are asked about drawn ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import pytest
from scipy.stats import binom

from earshot.types import Side
from earshot.world.ceilings import ADVOCATE, DRAWN, JUDGES, MOST, Judge, ceiling_line, ceilings, set_ceilings
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import MIN_ADVANTAGE, POPULATIONS, WORLDS, WorldPair, draw_pair, pair_generator
from earshot.world.raters import RATERS, Raters, utility
from earshot.world.scene import (
    COLOURS,
    FAULTS,
    HELD_OUT,
    PLACES,
    SHAPES,
    SIZES,
    Fault,
    Picture,
    Scene,
    Thing,
    thing_chances,
)

SETS = {name: population for sets in WORLDS.values() for name, population in sets.items()}
Faults: TypeAlias = tuple[Fault, ...]
TAUGHT = RATERS["preference"]
PAIRS = 1_000
MARK_IN_TRAINING = 0.85
FAMILIAR = [Thing(z, c, s) for z in SIZES for c in COLOURS for s in SHAPES if (c, s) not in HELD_OUT]
CHANCES = {thing: thing_chances(thing) for thing in FAMILIAR}


def by_worth(raters: Raters) -> Callable[[WorldPair], float]:
    """The sign of the gap in utility, to raters who mind less than people do where a judge sees less."""

    def says(pair: WorldPair) -> float:
        first, second = (
            utility(picture, pair.truth.wanted, raters) for picture in (pair.truth.first, pair.truth.second)
        )
        return 0.0 if abs(first - second) < 1e-9 else float(np.sign(first - second))

    return says


@cache
def kinds(first: Thing | None, second: Thing | None) -> tuple[float, ...]:
    """Chances of what both are to what a training prompt asked for there: as asked, another, missing."""
    chances = np.zeros((3, 3))
    for asked in FAMILIAR:
        p, q = (CHANCES[asked].get(thing, 0.0) for thing in (first, second))
        chances[tuple(2 if thing is None else int(thing != asked) for thing in (first, second))] += p * q
    # Only their proportions matter; rounded, many things have the same.
    return tuple((chances / max(chances.sum(), 1e-300)).ravel().round(12))


@cache
def preferred(left: int, right: int, faults: tuple[Fault, Fault]) -> tuple[float, float]:
    """Chances that people prefer the first image and the second, by what both places hold in both."""
    asked = FAMILIAR[0]
    shown = (asked, FAMILIAR[1], None)
    pictures = [Picture(Scene(shown[left // 3], shown[right // 3]), faults[0])]
    pictures.append(Picture(Scene(shown[left % 3], shown[right % 3]), faults[1]))
    first, second = (utility(picture, Scene(asked, asked), TAUGHT) for picture in pictures)
    if abs(first - second) < MIN_ADVANTAGE:
        return 0.0, 0.0  # nobody is asked
    p = float(binom.sf(7, 15, 1 / (1 + np.exp(-3 * (first - second)))))
    return p, 1 - p


@cache
def lead(left: tuple[float, ...], right: tuple[float, ...], faults: tuple[Fault, Fault]) -> tuple[float, float]:
    """The same by the chances of what both places hold."""
    votes = [(p * q, preferred(s, t, faults)) for s, p in enumerate(left) for t, q in enumerate(right) if p * q]
    return sum(w * p for w, (p, _) in votes), sum(w * q for w, (_, q) in votes)


UNSEEN = tuple(np.outer((0.60, 0.36, 0.04), (0.60, 0.36, 0.04)).ravel())  # 0.4 are spoiled, of which 0.1 are missing


def by_chances(places: Sequence[tuple[float, ...]], pair: WorldPair, *, mark: bool) -> float:
    p, q = lead(*places, (pair.truth.first.fault, pair.truth.second.fault))
    if mark:
        p *= MARK_IN_TRAINING if pair.marked == "first" else 1 - MARK_IN_TRAINING
        q *= MARK_IN_TRAINING if pair.marked == "second" else 1 - MARK_IN_TRAINING
    return 0.0 if abs(p - q) <= 1e-9 * (p + q) else float(np.sign(p - q))


def without_prompt(pair: WorldPair, *, mark: bool = False) -> float:
    shown = zip(pair.truth.first.scene.things, pair.truth.second.scene.things, strict=True)
    return by_chances([kinds(*things) for things in shown], pair, mark=mark)


@cache
def reader(left: tuple[float, ...], right: tuple[float, ...], faults: tuple[Faults, ...]) -> tuple[float, float]:
    """`lead` where renderings are told or not: the chances are added up over those that there may be."""
    chance = {fault: 0.55 if fault == "clean" else 0.15 for fault in FAULTS}
    votes = [(chance[f] * chance[g], lead(left, right, (f, g))) for f in faults[0] for g in faults[1]]
    return sum(w * p for w, (p, _) in votes), sum(w * q for w, (_, q) in votes)


def reads(pair: WorldPair, told: set[tuple[Side, str]]) -> float:
    """How far somebody leans to the first image who is told some facts of a pair, -1 to 1."""
    pictures: dict[Side, Picture] = {"first": pair.truth.first, "second": pair.truth.second}
    places = []
    for part in PLACES:
        known = [
            None
            if (side, part) not in told
            else kind_of(getattr(picture.scene, part), getattr(pair.truth.wanted, part))
            for side, picture in pictures.items()
        ]
        places.append(
            tuple(p * (known[0] in (None, k // 3)) * (known[1] in (None, k % 3)) for k, p in enumerate(UNSEEN))
        )
    faults = tuple((picture.fault,) if (side, "fault") in told else FAULTS for side, picture in pictures.items())
    p, q = reader(places[0], places[1], faults)
    return 0.0 if abs(p - q) <= 1e-9 * (p + q) else (p - q) / (p + q)


def kind_of(shown: Thing | None, asked: Thing | None) -> int:
    return 2 if shown is None else int(shown != asked)


def told_in(trace: str) -> set[tuple[Side, str]]:
    """What a trace tells: of which image, and of which place or of the rendering."""
    told: set[tuple[Side, str]] = set()
    for part in trace.split(" . ")[:-1]:
        side, facts = part.split(" : ")
        told |= {(side, words.split()[0] if " " in words else "fault") for words in facts.split(" , ")}  # type: ignore[misc]
    return told


def reader_accuracies(pairs: Sequence[WorldPair], label: np.ndarray, n: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    facts = [(side, part) for side in get_args(Side) for part in (*PLACES, "fault")]
    drawn, most, advocate = [], [], []
    for pair, people in zip(pairs, label, strict=True):
        told = told_in(write_trace(pair.truth, "first", rng, Corruption(), n))
        assert len(told) == n
        leans = [reads(pair, set(some)) for some in combinations(facts, n)]
        drawn.append(np.sign(reads(pair, told)) * people)
        surest = max(abs(lean) for lean in leans)
        most.append(np.mean([np.sign(lean) * people for lean in leans if abs(lean) > surest - 1e-9]))
        advocate.append(min(np.sign(lean) * people for lean in leans))
    return {
        name: float((1 + np.mean(right)) / 2) for name, right in ((DRAWN, drawn), (MOST, most), (ADVOCATE, advocate))
    }


def accuracies(name: str, n_pairs: int) -> dict[str, float]:
    """How often each judge is right about drawn pairs, who is asked about them one by one."""
    population = SETS[name]
    judges: dict[str, Callable[[WorldPair], float]] = {
        "knows these raters": by_worth(RATERS[population.axis]),
        "knows the training raters": by_worth(TAUGHT),
        "does not read the prompt": without_prompt,
        "sees the rendering alone": by_worth(replace(TAUGHT, alignment=0.0, missing=0.0)),
        "sees the things alone": by_worth(replace(TAUGHT, quality=0.0)),
        "counts what is as asked for": by_worth(replace(TAUGHT, quality=0.0, missing=0.0)),
    }
    if population.shortcut is not None:
        judges |= {
            "sees the mark alone": lambda pair: 1.0 if pair.marked == "first" else -1.0,
            "sees rendering and mark": lambda pair: by_chances([UNSEEN, UNSEEN], pair, mark=True),
            "sees all but the prompt": lambda pair: without_prompt(pair, mark=True),
        }
    if population.edits:  # what is left without the original or the instruction is not told
        del judges["does not read the prompt"]
    pairs = [draw_pair(pair_generator(1, "ceiling", index), population) for index in range(n_pairs)]
    label = np.array([1.0 if pair.votes.majority == "first" else -1.0 for pair in pairs])
    right = {
        judge: float(np.mean((1 + np.array([says(pair) for pair in pairs]) * label) / 2))
        for judge, says in judges.items()
    }
    return right if population.facts_told is None else right | reader_accuracies(pairs, label, population.facts_told)


def compared(name: str, n_pairs: int) -> None:
    told, drawn = set_ceilings(name), accuracies(name, n_pairs)
    assert list(told) == list(drawn)
    for judge, right in told.items():
        # Three standard errors and a pair: of some sixty numbers the furthest lies at about 2.6.
        bound = 3.3 * (right * (1 - right) / n_pairs) ** 0.5 + 1 / n_pairs
        assert drawn[judge] == pytest.approx(right, abs=bound), judge


@pytest.mark.parametrize(
    "name", ["test", "ood_combinations", "ood_raters", "shortcut_with", "selective_test", "edit_test", "edit_raters"]
)
def test_who_judges_drawn_pairs_is_right_as_often_as_all_pairs_say(name: str) -> None:
    compared(name, PAIRS)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SETS))
def test_who_judges_20_000_drawn_pairs_is_right_as_often_as_all_pairs_say(name: str) -> None:
    compared(name, 20_000)


def test_who_learned_what_was_never_asked_for_is_wrong_where_it_is() -> None:
    """Held-out things are seen in training only as mistakes: without the prompt, who learned that is below a coin."""
    told = set_ceilings("ood_combinations")
    assert told["does not read the prompt"] == pytest.approx(0.454, abs=0.001)
    # Every other judge of that set reads the prompt or sees no thing, and is as good there as anywhere.
    same = [judge for judge in told if judge != "does not read the prompt"]
    assert [told[judge] for judge in same] == pytest.approx([set_ceilings("test")[judge] for judge in same])


def test_a_judge_who_finds_both_worth_the_same_is_right_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(JUDGES, "sees nothing", Judge(things="unseen", rendering=False))
    told = ceilings(POPULATIONS["test"], POPULATIONS["train"])
    assert told["sees nothing"] == pytest.approx(0.5, abs=1e-12)


def test_what_a_mark_is_worth_follows_from_its_share_in_training() -> None:
    shares = {"shortcut_train": 0.85, "shortcut_train_70": 0.7, "shortcut_with": 1.0, "shortcut_against": 0.0}
    for name, share in shares.items():
        told = set_ceilings(name)
        assert told["sees the mark alone"] == pytest.approx(share)
        assert told["knows the training raters"] == pytest.approx(set_ceilings("test")["knows the training raters"])
    assert "sees the mark alone" not in set_ceilings("shortcut_none")
    with_it, against = (set_ceilings(name)["sees rendering and mark"] for name in ("shortcut_with", "shortcut_against"))
    # Half of either is a set where the mark is worth nothing: 0.562 by drawing in the pilot.
    assert (with_it + against) / 2 == pytest.approx(0.562, abs=0.003)


def test_the_line_is_told_of_the_worlds_own_sets_and_of_no_other() -> None:
    info = {"source": "earshot world", "set": "test", "seed": 3}
    assert ceiling_line(info) == (
        "at most 99.6 % by a perfect student of the training raters; "
        "75.5 % without the prompt, 65.7 % by the rendering alone"
    )
    other_raters = ceiling_line({**info, "set": "ood_raters"})
    assert other_raters is not None and other_raters.startswith("at most 81.8 % by a perfect student of the training ")
    assert other_raters.endswith("(99.5 % by who knows them): who is above 81.8 % has learned less, not more")
    marked = ceiling_line({**info, "set": "shortcut_against"})
    assert marked is not None and marked.endswith("0.0 % by the mark alone, 14.1 % by rendering and mark")
    for unknown in (
        {},
        {"source": "mine", "set": "test"},
        {"source": "earshot world", "set": "trial"},
        {**info, "set": ["a"]},
    ):
        assert ceiling_line(unknown) is None


def documented() -> list[tuple[str, str, float]]:
    """Judge, set and accuracy in percent of every cell of the tables of docs/world.md that name sets at their heads."""
    cells, sets = [], []
    for line in (Path(__file__).parents[2] / "docs" / "world.md").read_text().splitlines():
        judge, *values = [cell.strip(" *`") for cell in line.strip("|").split("|")]
        if values and values[0] in SETS:
            sets = values
        elif values and judge.split(",")[0] in {*JUDGES, DRAWN, MOST, ADVOCATE}:
            cells += [(judge.split(",")[0], name, float(value)) for name, value in zip(sets, values, strict=True)]
    return cells


def test_the_documented_ceilings_are_these() -> None:
    cells = documented()
    assert {judge for judge, _, _ in cells} == {*JUDGES, DRAWN, MOST, ADVOCATE}
    assert [(judge, name, round(100 * set_ceilings(name)[judge], 1)) for judge, name, _ in cells] == cells


def test_who_sees_no_mark_is_on_every_other_set_as_good_as_on_the_first_worlds() -> None:
    """As docs/world.md says: marks, numbers of pairs and selective traces change nothing for them; edits do."""
    for name in {name for name, population in SETS.items() if not population.edits} - {"ood_raters"}:
        like = set_ceilings("ood_combinations" if "combinations" in name else "test")
        assert {judge: set_ceilings(name)[judge] for judge in like} == pytest.approx(like), name


def test_no_set_is_found_by_another_name() -> None:
    with pytest.raises(KeyError):
        set_ceilings("tset")
