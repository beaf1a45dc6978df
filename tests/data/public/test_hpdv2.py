"""HPDv2: votes of annotators, the order of their mean, holes, single choices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earshot.data.public.hpdv2 import find_hole
from earshot.data.rows import read_info
from earshot.errors import DataError, InputError
from tests.data.public.sets import write_json

NAMES = ["a.jpg", "b.jpg", "c.jpg"]
SHADES = {f"test/{name}": 50 * n for n, name in enumerate(NAMES)}


def annotated(*rankings: Any, key: str = "rank") -> list[dict[str, Any]]:
    return [{key: ranking, "user_hash": f"u{n}"} for n, ranking in enumerate(rankings)]


def entry(**changes: Any) -> dict[str, Any]:
    rankings = annotated([1, 2, 3], [2, 1, 3], [1, 3, 2])
    return {"prompt": "a cat", "image_path": NAMES, "rank": [1, 2, 3], "raw_annotations": rankings} | changes


def test_a_pairs_votes_are_those_who_rank_one_higher_and_its_label_the_order_of_the_mean(
    tmp_path: Path, run: Any
) -> None:
    # Images a, b, c by three people: 1 2 3, 2 1 3, 1 3 2. a over b: first and third, 2 to 1; a over c: all, 3 to 0;
    # b over c: first and second, 2 to 1. The mean as published says that b and c are level.
    done = run("hpdv2-test", write_json(tmp_path / "s", "test.json", [entry(rank=[1, 2.5, 2.5])], SHADES))
    assert done.votes() == [(2.0, 1.0), (3.0, 0.0), (2.0, 1.0)]
    assert [pair.label for pair in done.pairs.values()] == ["first", "first", "tie"]
    assert done.shades() == [(0, 50), (0, 100), (50, 100)]
    assert {pair.prompt_id for pair in done.pairs.values()} == {"test-0"}
    assert {(p.axis, p.split, p.category, p.model_first) for p in done.pairs.values()} == {
        ("preference", "test", None, None)
    }


def test_a_label_against_the_votes_is_kept_and_counted(tmp_path: Path, run: Any) -> None:
    # Two of three put a first, the mean is said to be 2 against 1: the label is b's, the votes are a's.
    source = write_json(tmp_path / "s", "test.json", [entry(rank=[2, 1, 3])], SHADES)
    done = run("hpdv2-test", source)
    assert done.pairs["test-0-0-1"].label == "second" and done.imported.label_against_votes == 1
    assert read_info(done.out)["label_against_votes"] == 1


def test_images_that_an_annotator_puts_level_get_no_vote(tmp_path: Path, run: Any) -> None:
    level = entry(raw_annotations=annotated([1, 1, 3], [1, 1, 2], [2, 1, 3], key="annotation"))
    done = run("hpdv2-test", write_json(tmp_path / "s", "test.json", [level], SHADES))
    assert done.votes() == [(0.0, 1.0), (3.0, 0.0), (3.0, 0.0)]


def test_images_may_lie_beside_the_file_too(tmp_path: Path, run: Any) -> None:
    beside = {name: 50 * n for n, name in enumerate(NAMES)}
    assert run("hpdv2-test", write_json(tmp_path / "s", "test.json", [entry()], beside)).shades()[0] == (0, 50)


@pytest.mark.parametrize(
    ("ranks", "hole"),
    [
        ([1, 2, 3], None),
        ([0, 1, 2], None),
        ([3, 4, 5], None),  # where it begins is not said
        ([1, 2, 2, 4], None),  # two share rank 2 and take 3 too
        ([1, 3, 3, 4], None),  # two share rank 3, the worse of 2 and 3
        ([1, 2, 2, 3], None),
        ([1, 2, 4], (2, 4)),
        ([1, 1, 4], (1, 4)),
        ([5, 1, 2, 3], (3, 5)),
    ],
)
def test_a_hole_is_a_step_that_no_tie_explains(ranks: list[float], hole: Any) -> None:
    assert find_hole([float(rank) for rank in ranks]) == hole


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"raw_annotations": annotated([1, 2, 4])}, r"raw_annotations 0: rank is \[1, 2, 4\].*nothing between 2 and 4"),
        (
            {"raw_annotations": annotated([1, 2, 3], [1, 2])},
            "raw_annotations 1: rank has 2 items, expected a list of 3",
        ),
        ({"raw_annotations": annotated([1, None, 3])}, "rank is None, expected a finite number"),
        ({"raw_annotations": annotated([1, "2", 3])}, "rank is '2', expected a finite number"),
        ({"raw_annotations": annotated([1, 2.5, 3])}, "expected whole numbers"),
        ({"raw_annotations": annotated([1, -2, 3])}, "rank is -2"),
        ({"raw_annotations": [{"user_hash": "u"}]}, "has no rank, found user_hash"),
        ({"raw_annotations": []}, r"raw_annotations is \[\]"),
        ({"rank": [1, 2]}, "rank has 2 items, expected a list of 3"),
        ({"rank": [1, None, 3]}, "rank is None"),
        ({"rank": [1, float("nan"), 3]}, "rank is nan"),
        ({"image_path": ["a.jpg", "a.jpg", "b.jpg"]}, "image_path holds 'a.jpg' twice"),
        ({"image_path": ["a.jpg", None, "b.jpg"]}, "an image is None"),
        ({"image_path": ["a.jpg", "../b.jpg", "c.jpg"]}, "holds '..'"),
        ({"image_path": "a.jpg"}, "image_path is 'a.jpg', expected a list"),
        ({"prompt": " "}, "prompt is ' ', expected text"),
    ],
)
def test_a_bad_entry_is_named_with_what_was_found(tmp_path: Path, run: Any, changes: Any, message: str) -> None:
    source = write_json(tmp_path / "s", "test.json", [entry(), entry(**changes)], SHADES)
    with pytest.raises(DataError, match=rf"test\.json: entry 1.*{message}"):
        run("hpdv2-test", source, images=False)
    done = run("hpdv2-test", source, images=False, tolerate=1)
    assert len(done.pairs) == 3 and done.imported.refused == 1


def test_a_renamed_or_missing_field_is_named_with_the_nearest(tmp_path: Path, run: Any) -> None:
    renamed = {("image_paths" if name == "image_path" else name): value for name, value in entry().items()}
    with pytest.raises(
        DataError, match=r"entry 0: has no image_path, found image_paths, prompt.*'image_paths' is near"
    ):
        run("hpdv2-test", write_json(tmp_path / "a", "test.json", [renamed]))
    first_release = {name: value for name, value in entry().items() if name != "raw_annotations"}
    with pytest.raises(DataError, match="first release has no annotators"):
        run("hpdv2-test", write_json(tmp_path / "b", "test.json", [first_release]))
    with pytest.raises(DataError, match="this is the training set, hpdv2-train"):
        run("hpdv2-test", write_json(tmp_path / "c", "test.json", [choice()]))
    with pytest.raises(DataError, match=r"expected one test\.json, found none beside train\.json"):
        run("hpdv2-test", write_json(tmp_path / "d", "train.json", [choice()]))
    with pytest.raises(InputError, match="has no splits"):
        run("hpdv2-test", tmp_path / "a", split="test")


def choice(**changes: Any) -> dict[str, Any]:
    return {"prompt": "a cat", "file_path": ["x.jpg", "y.jpg"], "human_preference": [0, 1], "user_hash": "u"} | changes


def test_a_choice_of_the_training_set_is_one_vote(tmp_path: Path, run: Any) -> None:
    entries = [choice(), choice(human_preference=[1, 0])]
    images = {"train/x.jpg": 30, "train/y.jpg": 60}
    done = run("hpdv2-train", write_json(tmp_path / "s", "train.json", entries, images))
    assert done.votes() == [(0.0, 1.0), (1.0, 0.0)] and done.shades() == [(30, 60), (30, 60)]
    assert [(pair.split, pair.label, pair.cluster) for pair in done.pairs.values()] == [("train", None, "a cat")] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"human_preference": [1, 1]}, r"human_preference is \[1, 1\], expected \[1, 0\] or \[0, 1\]"),
        ({"human_preference": [0, 0]}, r"is \[0, 0\]"),
        ({"human_preference": ["1", 0]}, r"is \['1', 0\]"),
        ({"human_preference": [True, False]}, r"is \[True, False\]"),
        ({"human_preference": [1, 0, 0]}, "has 3 items, expected a list of 2"),
        ({"file_path": ["x.jpg"]}, "file_path has 1 items"),
        ({"file_path": ["x.jpg", ""]}, "an image is ''"),
    ],
)
def test_a_bad_choice_is_named(tmp_path: Path, run: Any, changes: Any, message: str) -> None:
    source = write_json(tmp_path / "s", "train.json", [choice(**changes)])
    with pytest.raises(DataError, match=rf"train\.json: entry 0.*{message}"):
        run("hpdv2-train", source, images=False)


def test_missing_images_are_counted_over_all_pairs(tmp_path: Path, run: Any) -> None:
    source = write_json(tmp_path / "s", "test.json", [entry()], SHADES)
    (source / "test" / "c.jpg").unlink()
    with pytest.raises(DataError, match=r"c\.jpg is missing.*images of 2 of 3 pairs"):
        run("hpdv2-test", source)
