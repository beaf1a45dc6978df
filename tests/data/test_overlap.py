"""Planted overlap is found, unrelated pairs are not, and near hashes are those of the whole table of distances."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from earshot.data.looks import near_pairs, perceptual_hash
from earshot.data.overlap import (
    DISTANCE,
    MOST_MATCHES,
    Overlap,
    count_overlap,
    find_overlap,
    fingerprint,
    normalised_prompt,
    read_overlapping,
)
from earshot.errors import DataError, ImageError, InputError
from earshot.types import Pair, Votes, hash_of

Write = Callable[..., Path]


def picture(seed: int, size: int = 96) -> Image.Image:
    """A smooth random picture: a few coarse colours, enlarged, as photographs have most of their power there."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str = "PNG", **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pair(id: str, prompt: str, first: Image.Image | bytes, second: Image.Image | bytes) -> Pair:
    return Pair(id, prompt, first, second, Votes(1.0, 0.0))


def overlap(train: Path, test: Path, **options: object) -> dict[str, Overlap]:
    found = find_overlap(fingerprint(train, workers=1), fingerprint(test, workers=1), **options)  # type: ignore[arg-type]
    return {o.id: o for o in found}


@pytest.fixture()
def planted(write: Write) -> dict[str, Overlap]:
    train = write([pair(f"t{i}", f"prompt {i}", picture(i), picture(100 + i)) for i in range(6)], name="train")
    small = picture(1).resize((64, 64), Image.Resampling.LANCZOS)
    test = write(
        [
            pair("same", "other a", picture(0), picture(200)),
            pair("resized", "other b", picture(201), small),
            pair("compressed", "other c", encoded(picture(102), "JPEG", quality=50), picture(202)),
            pair("asked", "  PROMPT, 3! ", picture(203), picture(204)),
            pair("unrelated", "other d", picture(205), picture(206)),
        ],
        name="test",
    )
    return overlap(train, test)


def test_each_kind_of_planted_overlap_is_found_and_nothing_else(planted: dict[str, Overlap]) -> None:
    assert {name: found.kinds for name, found in planted.items()} == {
        "same": ("image",),
        "resized": ("near",),
        "compressed": ("near",),
        "asked": ("prompt",),
    }


def test_a_match_says_which_pair_and_side(planted: dict[str, Overlap]) -> None:
    (same,) = planted["same"].matches
    assert same == ("image", "t0", "first", "first", 0)
    (resized,) = planted["resized"].matches
    assert resized[:4] == ("near", "t1", "second", "first")
    assert 0 <= resized.distance <= DISTANCE
    assert planted["compressed"].matches[0][:4] == ("near", "t2", "first", "second")
    assert planted["asked"].matches == (("prompt", "t3", None, None, 0),)


def test_only_the_kinds_asked_for_are_compared(write: Write) -> None:
    train, test = (write([pair("p", "q", picture(0), picture(1))], name=name) for name in ("train", "test"))
    assert overlap(train, test, kinds=("prompt",))["p"].kinds == ("prompt",)
    assert overlap(train, test)["p"].kinds == ("image", "prompt")
    assert overlap(train, test)["p"].n_matches == 3
    with pytest.raises(InputError, match="16 bits"):
        overlap(train, test, distance=16)


def test_what_many_pairs_share_is_counted_and_the_first_few_are_listed(write: Write) -> None:
    train = write([pair(f"t{i}", "the same", picture(0), picture(i + 1)) for i in range(20)], name="train")
    test = write([pair("p", "The same.", picture(0), picture(300))], name="test")
    found = overlap(train, test)["p"]
    assert found.n_matches == 40  # 20 by image, 20 by prompt
    assert len(found.matches) == 2 * MOST_MATCHES


def test_a_set_without_images_shares_prompts_alone(write: Write) -> None:
    pairs = [pair("p", "q", picture(0), picture(1))]
    train, test = write(pairs, name="train"), write(pairs, name="test", store_images=False)
    assert overlap(train, test)["p"].kinds == ("prompt",)


def test_a_damaged_image_is_an_error_that_names_it(write: Write) -> None:
    folder = write([pair("p", "q", picture(0), picture(1))])
    (image, *_) = (folder / "images").rglob("*.png")
    image.write_bytes(image.read_bytes()[:100])
    with pytest.raises(ImageError, match=image.name):
        fingerprint(folder, workers=1)


def test_the_list_of_pairs_survives_the_file(tmp_path: Path, planted: dict[str, Overlap]) -> None:
    path = tmp_path / "overlap.jsonl"
    assert count_overlap(planted.values(), path) == {"pairs": 4, "image": 1, "near": 2, "prompt": 1}
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows[0] == {
        "id": "same", "kinds": ["image"], "n_matches": 1,
        "matches": [{"kind": "image", "train_id": "t0", "side": "first", "train_side": "first", "distance": 0}],
    }  # fmt: skip
    assert read_overlapping(path).tolist() == [hash_of(name) for name in planted]
    path.write_text('{"kinds": []}\n')
    with pytest.raises(DataError, match=r"overlap\.jsonl:1: id is None"):
        read_overlapping(path)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A cat, sitting.", "a cat  sitting"),
        ("ＣＡＴ", "cat"),  # full-width letters
        ("Straße", "STRASSE"),
        ("a\tcat\n", "a cat"),
        ("“a cat” — red", "a cat red"),
    ],
)
def test_prompts_that_ask_for_the_same_are_the_same(one: str, other: str) -> None:
    assert normalised_prompt(one) == normalised_prompt(other)


def test_prompts_that_ask_for_something_else_differ() -> None:
    different = ["a cat", "a cat 2", "cat a", "2 < 3", "2 3", "...", "!!!", "ein Hund"]
    assert len({normalised_prompt(prompt) for prompt in different}) == len(different)


def test_the_perceptual_hash_of_a_plain_gradient_by_hand() -> None:
    # Brightness falls from left to right alone: of the 8 x 8 coefficients only the first row is not 0, and in it the
    # mean and the odd frequencies. The median is 0, so set are those above it: 0, 1, 3, 5, 7 of the first row.
    ramp = np.tile(np.linspace(255, 0, 32).round().astype(np.uint8), (32, 1))
    hash = perceptual_hash(Image.fromarray(ramp))
    assert hash >> 56 & 0b11010000 == 0b11010000


def test_the_perceptual_hash_is_that_of_the_imagehash_package() -> None:
    imagehash = pytest.importorskip("imagehash", reason="the ImageHash package is not installed")
    for seed in range(20):
        image = picture(seed)
        assert perceptual_hash(image) == int(str(imagehash.phash(image)), 16)


def test_sizes_and_compression_leave_most_bits_and_other_pictures_do_not() -> None:
    for seed in range(20):
        hash = perceptual_hash(picture(seed))
        compressed = Image.open(io.BytesIO(encoded(picture(seed), "JPEG", quality=60)))
        assert (hash ^ perceptual_hash(picture(seed).resize((61, 61)))).bit_count() <= DISTANCE
        assert (hash ^ perceptual_hash(compressed)).bit_count() <= DISTANCE
        assert (hash ^ perceptual_hash(picture(seed + 1000))).bit_count() > 2 * DISTANCE


@settings(max_examples=60)
@given(st.data())
def test_near_hashes_are_those_of_the_whole_table_of_distances(data: st.DataObject) -> None:
    seeds = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4))
    masks = st.integers(0, 63).map(lambda bit: 1 << bit)

    def changed() -> int:
        value = data.draw(st.sampled_from(seeds))
        for mask in data.draw(st.lists(masks, max_size=18)):
            value ^= mask
        return value

    test, train = (np.array([changed() for _ in range(8)], dtype=np.uint64) for _ in range(2))
    distance = data.draw(st.sampled_from([0, 1, 3, 4, 6, 7, 8]))
    one, two, bits = near_pairs(test, train, distance)
    table = np.bitwise_count(test[:, None] ^ train[None, :])
    assert sorted(zip(one.tolist(), two.tolist(), strict=True)) == [
        tuple(cell) for cell in np.argwhere(table <= distance)
    ]
    assert (bits == table[one, two]).all()


def test_nothing_is_near_nothing() -> None:
    nothing = np.zeros(0, dtype=np.uint64)
    one, two, bits = near_pairs(nothing, np.array([1], dtype=np.uint64), 3)
    assert one.size == two.size == bits.size == 0


def test_many_equal_hashes_are_compared_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earshot.data.looks._CELLS", 50)
    one, two, _ = near_pairs(np.zeros(30, dtype=np.uint64), np.zeros(20, dtype=np.uint64), 4)
    assert len(set(zip(one.tolist(), two.tolist(), strict=True))) == len(one) == 600
