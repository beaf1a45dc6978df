"""Sets of edits: an instruction, the picture that was to be edited, and two results."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earshot.data.check import Note, check_pairset
from earshot.data.equalising import equalise_set
from earshot.data.overlap import find_overlap, fingerprint
from earshot.data.pairset import PairSet, read_pairs
from earshot.data.splitting import split_set
from earshot.errors import DataError, ImageError
from earshot.images import load_image
from earshot.types import Pair, Votes
from tests.data.conftest import png

Write = Callable[..., Path]
FORMATS = pytest.mark.parametrize("format", ["parquet", "jsonl"])


def edit(id: str, original: int, first: int = 20, second: int = 30, prompt: str = "make it darker") -> Pair:
    return Pair(id, prompt, png(first), png(second), Votes(2.0, 1.0), original=png(original))


@FORMATS
def test_an_original_is_read_as_it_was_written(write: Write, format: str) -> None:
    folder = write([edit("e1", 90), edit("e2", 91)], format)
    assert [load_image(pair.original).getpixel((0, 0))[0] for pair in read_pairs(folder)] == [90, 91]
    assert PairSet(folder)[1].images[0].read_bytes() == png(91)
    assert list(check_pairset(folder)) == []


@FORMATS
def test_pairs_without_an_original_have_none_beside_those_that_have(
    write: Write, pairs: list[Pair], format: str
) -> None:
    one, other = read_pairs(write([pairs[0], edit("e1", 90)], format))
    assert (one.original, len(one.images), len(other.images)) == (None, 2, 3)


def test_swapping_exchanges_the_results_and_leaves_the_original() -> None:
    pair = edit("e1", 90)
    assert pair.swapped().images == (pair.original, pair.second, pair.first)
    assert pair.swapped().swapped() == pair


def test_an_original_is_refused_as_any_image_is(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="pair 'e1', original image: is no JPEG"):
        write([replace(edit("e1", 90), original=b"no image")])
    folder = write([edit("e1", 90), edit("e2", 91)], "jsonl", name="damaged")
    stored = PairSet(folder)[0].original
    assert isinstance(stored, Path)
    stored.unlink()
    (problem,) = check_pairset(folder)
    assert problem.row == 1 and "missing" in problem.reason
    with pytest.raises(ImageError, match="is missing"):
        list(read_pairs(folder))


def test_an_original_without_results_is_no_row(write: Write) -> None:
    folder = write([edit("e1", 90)], "jsonl")
    file = folder / "metadata.jsonl"
    text = file.read_text().replace("first_file_name", "first_name").replace("second_file_name", "second_name")
    file.write_text(text)
    with pytest.raises(DataError, match="first_file_name is None"):
        list(read_pairs(folder, require_images=False))


def test_a_set_without_images_has_no_originals(write: Write) -> None:
    (pair,) = read_pairs(write([edit("e1", 90)], store_images=False), require_images=False)
    assert pair.original is None


def test_the_same_results_of_another_original_repeat_no_pair(write: Write) -> None:
    notes: list[Note] = []
    list(check_pairset(write([edit("e1", 90), edit("e2", 91)]), on_note=notes.append))
    assert notes == []
    list(check_pairset(write([edit("e1", 90), edit("e2", 90)], name="again"), on_note=notes.append))
    assert [note.kind for note in notes] == ["repeated_pair"]


def test_an_original_in_the_training_set_is_an_overlap(write: Write) -> None:
    train, test = (fingerprint(write([one], name=one.id)) for one in (edit("a", 90, 1, 2), edit("b", 90, 3, 4)))
    (found,) = find_overlap(train, test, kinds=("image",))
    assert [(match.side, match.train_side) for match in found.matches] == [("original", "original")]


def test_pairs_that_share_an_original_are_not_parted(write: Write, tmp_path: Path) -> None:
    many = [edit(f"e{k}", 100 + k // 2, 2 * k, 2 * k + 1) for k in range(20)]
    split_set(write(many), tmp_path / "parts", {"test": "40%"}, by="image")
    originals = [
        {load_image(pair.original).getpixel((0, 0))[0] for pair in read_pairs(tmp_path / "parts" / part)}
        for part in ("train", "test")
    ]
    assert all(originals) and not originals[0] & originals[1]


def test_sets_without_originals_are_split_by_image_as_before(write: Write, tmp_path: Path) -> None:
    many = [Pair(f"p{k}", "x", png(2 * k), png(2 * k + 1), Votes(1.0, 0.0)) for k in range(10)]
    parts = split_set(write(many), tmp_path / "parts", {"test": "50%"}, by="image")
    assert [(part.pairs, part.groups) for part in parts] == [(5, 5), (5, 5)]


def test_equalising_leaves_the_original_as_it_is(write: Write, tmp_path: Path) -> None:
    equalise_set(write([edit("e1", 90)]), tmp_path / "equal")
    (pair,) = read_pairs(tmp_path / "equal")
    assert pair.original.read_bytes() == png(90)
    assert pair.first.suffix == ".jpg"
    assert np.asarray(load_image(pair.first)).shape == (10, 12, 3)
