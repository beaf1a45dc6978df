"""The lessons of the tiny models: well-formed, repeatable, and in words that their tokenizers know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import pytest

from earshot.errors import InputError
from earshot.lab.curriculum import COLOURS as TRAINING
from earshot.lab.curriculum import (
    FLIP_BLOCK,
    argue_for,
    bend_facts,
    compare,
    describe_both,
    describe_one,
    doubt,
    listen,
    vote_flips,
)
from earshot.lab.pretraining import BENT, TEACHER_TASTE
from earshot.protocol import listener_prefill, parse_completion, prompt_set
from earshot.types import Verdict
from earshot.world.checker import check_trace, favoured_sides
from earshot.world.corpus import corpus
from earshot.world.language import Corruption
from earshot.world.pairs import MIN_ADVANTAGE, POPULATIONS, WORLDS, Population, draw_pair
from earshot.world.raters import RATERS, Raters, utility
from earshot.world.scene import COLOURS, FAULTS, PLACES, SHAPES, SIZES
from earshot.world.truth import Truth

BRIEF = prompt_set("brief")
LESSONS = {
    "describe one": describe_one,
    "describe both": describe_both,
    "compare": partial(compare, prompts=BRIEF, corruption=Corruption(0.05, 0.10)),
    "rationalise": partial(compare, prompts=BRIEF, corruption=Corruption(0.05, 0.10), bent=0.3),
    "listen": partial(listen, prompts=BRIEF),
    "doubt": partial(doubt, prompts=BRIEF),
}


def placeholders(example) -> int:
    return sum(part["type"] == "image" for message in example.messages for part in message["content"])


def text_of(example) -> str:
    return " ".join(part["text"] for message in example.messages for part in message["content"] if "text" in part)


@pytest.mark.parametrize("name", list(LESSONS))
def test_a_lesson_is_the_same_for_the_same_seed(name: str) -> None:
    def lesson() -> list[tuple[object, ...]]:
        rng = np.random.default_rng(5)
        examples = [LESSONS[name](rng, 24) for _ in range(30)]
        return [(e.messages, e.completion, e.given, [image.tobytes() for image in e.images]) for e in examples]

    assert lesson() == lesson()
    assert len({completion for _, completion, *_ in lesson()}) > 1


@pytest.mark.parametrize("name", list(LESSONS))
def test_there_is_an_image_of_the_size_for_every_placeholder(name: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        example = LESSONS[name](rng, 24)
        assert placeholders(example) == len(example.images) == (1 if name == "describe one" else 2)
        assert {image.size for image in example.images} == {(24, 24)}


def test_comparisons_parse_and_are_wrong_as_often_as_asked() -> None:
    rng = np.random.default_rng(0)
    contradictions = 0
    for _ in range(600):
        example = compare(rng, 16, BRIEF, Corruption(verdict=0.4))
        verdict = parse_completion(example.completion, BRIEF)
        assert isinstance(verdict, Verdict) and example.given == ""
        contradictions += not verdict.trace.endswith(f"so {verdict.side} better")
    # Half as often as the verdict is wrong: 0.2, with a standard error of 0.016.
    assert contradictions / 600 == pytest.approx(0.2, abs=0.06)


def test_honest_comparisons_never_contradict_themselves() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        verdict = parse_completion(compare(rng, 16, BRIEF, Corruption()).completion, BRIEF)
        assert isinstance(verdict, Verdict) and verdict.trace.endswith(f"so {verdict.side} better")


def test_listening_examples_are_completions_in_one_piece_or_in_two() -> None:
    """What a listener is given and what it writes make one completion; half the time it reasons itself."""
    rng = np.random.default_rng(0)
    given = untraced = concluded = 0
    for _ in range(400):
        example = listen(rng, 16, BRIEF)
        verdict = parse_completion(example.given + example.completion, BRIEF)
        assert isinstance(verdict, Verdict)
        if example.given:
            given += 1
            assert example.completion in [f"{answer}</answer>" for answer in BRIEF.answer.texts]
            untraced += example.given == listener_prefill(None, BRIEF)
            concluded += "better" in example.given
    assert given / 400 == pytest.approx(0.5, abs=0.1)
    assert untraced / given == pytest.approx(0.15, abs=0.08)
    assert concluded / given == pytest.approx(0.85 * 0.3, abs=0.1)  # a trace, and its conclusion not redacted


def right_by_reading(lesson) -> float:
    """How often the image with more of what was asked for, by the trace, is the answer; ties are left out."""
    rng = np.random.default_rng(3)
    right = []
    for example in (lesson(rng, 16, BRIEF) for _ in range(1200)):
        first, _, second = example.given.partition("second :")
        if second and first.count(" yes") != second.count(" yes"):
            right.append((first.count(" yes") > second.count(" yes")) == (answer_of(example) == "1"))
    return float(np.mean(right))


def test_who_only_reads_is_often_wrong_in_the_lesson_of_doubt() -> None:
    assert right_by_reading(listen) > 0.8
    # Of traces with a difference some 0.6 are an advocate's, of which half are right.
    assert 0.55 < right_by_reading(doubt) < 0.75


def test_an_advocate_has_seen_all_that_was_asked_for_on_its_side() -> None:
    rng = np.random.default_rng(0)
    truth = draw_pair(rng, POPULATIONS["train"]).truth
    told = argue_for("second", truth, rng)
    assert (told.wanted, told.second.scene, told.second.fault) == (truth.wanted, truth.wanted, "clean")
    assert told.first.scene != truth.wanted
    assert argue_for("first", truth, rng).first == told.second


def bent_lessons(n: int, corruption: Corruption, **more: Any) -> Iterator[tuple[Verdict, Truth]]:
    """Lessons of a rationaliser, and what their pairs show: a lesson draws its pair before anything else."""
    for seed in range(n):
        example = compare(np.random.default_rng(seed), 16, BRIEF, corruption, bent=BENT, **more)
        verdict = parse_completion(example.completion, BRIEF)
        assert isinstance(verdict, Verdict)
        yield verdict, draw_pair(np.random.default_rng(seed), TRAINING).truth


@pytest.mark.parametrize("taste", [None, TEACHER_TASTE], ids=["by votes", "by the teacher's taste"])
def test_as_many_traces_are_bent_as_were_asked_for_and_all_to_their_verdict(taste: Raters | None) -> None:
    bent = 0
    for verdict, truth in bent_lessons(600, Corruption(verdict=0.1), taste=taste):
        false = [claim for claim in check_trace(verdict.trace, truth) if claim.status == "false"]
        favoured = favoured_sides(verdict.trace, truth)
        assert set(favoured) == ({verdict.side} if false else set())
        assert not false or verdict.trace.endswith(f"so {verdict.side} better")
        bent += bool(false)
    # Of few pairs the one image is perfect and nothing about the other is right: nothing is left to bend.
    assert bent / 600 == pytest.approx(BENT, abs=0.06)  # three standard errors


def test_verdicts_are_there_before_what_is_bent_to_them() -> None:
    for seed in range(60):
        plain, bent = (
            compare(np.random.default_rng(seed), 16, BRIEF, Corruption(verdict=0.2), bent=share) for share in (0.0, 1.0)
        )
        assert answer_of(plain) == answer_of(bent)
        assert [image.tobytes() for image in plain.images] == [image.tobytes() for image in bent.images]


def test_facts_are_bent_until_they_favour_the_side_and_no_further() -> None:
    rng = np.random.default_rng(0)
    raters, n_changed = RATERS["preference"], []
    for pair in (draw_pair(rng, TRAINING) for _ in range(300)):
        told = bend_facts("second", pair.truth, rng)
        first, second = (utility(picture, told.wanted, raters) for picture in (told.first, told.second))
        assert told.wanted == pair.truth.wanted and second - first >= MIN_ADVANTAGE
        facts = [
            [(*picture.scene.things, picture.fault) for picture in (truth.first, truth.second)]
            for truth in (pair.truth, told)
        ]
        changed = sum(a != b for before, after in zip(*facts, strict=True) for a, b in zip(before, after, strict=True))
        # Who is ahead already needs one bent fact, and he who is behind may need more.
        n_changed.append((changed, pair.advantage < 0))
    assert {n for n, ahead in n_changed if ahead} <= {0, 1} and {n for n, ahead in n_changed if not ahead} >= {1, 2, 3}


@pytest.mark.parametrize("name", ["compare", "listen", "doubt"])
def test_in_the_selective_world_traces_are_written_and_read_that_tell_some_of_the_facts(name: str) -> None:
    def told(of: Population) -> set[int]:
        rng, told = np.random.default_rng(0), set()
        for example in (LESSONS[name](rng, 16, of=of) for _ in range(60)):
            assert isinstance(parse_completion(example.given + example.completion, BRIEF), Verdict)
            trace = (example.given + example.completion).partition("</think>")[0]
            told.add(len(re.findall(rf"\b(?:yes|no|{'|'.join(FAULTS)})\b", trace)))
        return told - {0}  # without a trace

    assert told(WORLDS["selective"]["selective_train"]) == {3}
    assert told(TRAINING) == {6}


@pytest.mark.parametrize("name", [name for name in LESSONS if name != "describe one"])
def test_in_the_world_of_edits_a_lesson_has_the_original_before_both_results(name: str) -> None:
    of, rng = WORLDS["edit"]["edit_train"], np.random.default_rng(0)
    asked = {} if name == "describe both" else {"prompts": prompt_set(of.prompts)}
    known = {word for text in corpus(of=of) for word in text.split()}
    for example in (LESSONS[name](rng, 16, of=of, **asked) for _ in range(40)):
        assert placeholders(example) == len(example.images) == 3
        assert re.match(r"edit : (make|remove|add) (left|right)\b", text_of(example))
        assert {*text_of(example).split(), *re.split(r"<[^>]*>|\s", example.completion)} <= known | {"", "1", "2"}


def test_descriptions_name_the_images_they_stand_beside() -> None:
    rng = np.random.default_rng(0)
    example = describe_both(rng, 16)
    assert example.completion.startswith(" first : left ") and " . second : left " in example.completion
    one = describe_one(rng, 16)
    assert one.completion.startswith(" left ") and one.completion.split()[-1] in FAULTS


def test_the_tokenizers_corpus_has_every_word_of_the_world_and_of_its_lessons() -> None:
    known = {word for text in corpus() for word in text.split()}
    world = {*SIZES, *COLOURS, *SHAPES, *FAULTS, *PLACES, "nothing", "yes", "no", "but", "first", "second", "so"}
    assert world | {"better", ",", ".", ":"} <= known
    rng = np.random.default_rng(1)
    for name, lesson in LESSONS.items():
        for _ in range(40):
            example = lesson(rng, 16)
            written = f"{text_of(example)} {example.given} {example.completion}"
            for tag in ("<think>", "</think>", "<answer>", "</answer>"):  # the protocol's, not the world's
                written = written.replace(tag, " ")
            assert set(written.split()) - {*BRIEF.answer.texts} <= known, name


def test_the_corpus_is_the_same_every_time() -> None:
    assert list(corpus(40)) == list(corpus(40))


@pytest.mark.parametrize(("share", "flipped"), [(0.0, 0), (0.5, 10), (0.15, 3), (1.0, 20)])
def test_exactly_the_share_of_every_block_of_pairs_is_flipped(share: float, flipped: int) -> None:
    flips = list(islice(vote_flips(share, seed=2), 50 * FLIP_BLOCK))
    assert [sum(flips[k : k + FLIP_BLOCK]) for k in range(0, len(flips), FLIP_BLOCK)] == [flipped] * 50


def test_which_pairs_are_flipped_depends_on_the_seed_alone() -> None:
    one, again, other = (list(islice(vote_flips(0.5, seed), 400)) for seed in (2, 2, 3))
    assert one == again != other
    # Neighbours are as independent as half of twenty without replacement allows: 10/19 of them differ.
    assert abs(np.mean(np.array(one[:-1]) != np.array(one[1:])) - 10 / 19) < 4 * 0.025
    with pytest.raises(InputError, match=r"expected a multiple of 0\.05"):
        vote_flips(0.33, 0)


def test_flipped_votes_turn_the_answer_and_nothing_of_the_images() -> None:
    for seed in range(20):
        plain, flipped = (listen(np.random.default_rng(seed), 24, BRIEF, flipped=flip) for flip in (False, True))
        assert plain.messages == flipped.messages
        assert [image.tobytes() for image in plain.images] == [image.tobytes() for image in flipped.images]
        assert answer_of(plain) != answer_of(flipped)


def answer_of(example) -> str:
    return example.completion.removesuffix("</answer>")[-1]
