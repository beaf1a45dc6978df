"""Parts of a pair set share no prompt, or no picture, and together they are the set."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from earshot.data.check import check_pairset
from earshot.data.overlap import count_overlap, find_overlap, fingerprint
from earshot.data.pairset import read_pairs
from earshot.data.rows import read_info
from earshot.data.splitting import By, split_set
from earshot.errors import InputError
from earshot.files import read_jsonl, write_jsonl
from earshot.images import NO_IMAGE
from earshot.types import Pair, Votes
from tests.killing import contents, killed_at_each_step

Write = Callable[..., Path]
FORMS = ("a cat, {}", "A  Cat {}", "a cat\t{}!", "ａ cat {}")  # one prompt in four forms


def bare(count: int, prompt: Callable[[int], str]) -> list[Pair]:
    return [Pair(f"p{n}", prompt(n), NO_IMAGE, NO_IMAGE, Votes(1.0, 0.0), split="all") for n in range(count)]


@pytest.fixture
def many(write: Write) -> Path:
    """400 pairs of 100 prompts, each in four forms."""
    return write(bare(400, lambda n: FORMS[n % 4].format(n // 4)), name="many", store_images=False)


@pytest.fixture
def drawn(write: Write) -> Path:
    """40 pairs in chains of four pictures: 1-2, 2-3, 3-4, and one that stands alone."""
    shades = [(4 * chain + n, 4 * chain + n + 1) for chain in range(10) for n in range(3)]
    images = [Image.new("RGB", (9, 9), (n, 5 * n, 0)) for n in range(60)]
    lone = [(40 + 2 * n, 41 + 2 * n) for n in range(10)]
    pairs = [Pair(f"p{n}", f"x {n}", images[i], images[j], Votes(1.0, 0.0)) for n, (i, j) in enumerate(shades + lone)]
    return write(pairs, name="drawn")


def ids(folder: Path) -> list[str]:
    return [pair.id for pair in read_pairs(folder, require_images=False)]


def shared(one: Path, two: Path, kind: str) -> int:
    prints = [fingerprint(folder, kinds=(kind,)) for folder in (one, two)]  # type: ignore[arg-type]
    return count_overlap(find_overlap(*prints, kinds=(kind,)))["pairs"]  # type: ignore[arg-type]


def test_no_prompt_is_in_two_parts_and_each_gets_its_share(many: Path, tmp_path: Path) -> None:
    parts = split_set(many, tmp_path / "out", {"validation": "5%", "test": "40"})
    assert [(part.name, part.pairs, part.groups, part.share) for part in parts] == [
        ("train", 340, 85, 0.85),
        ("validation", 20, 5, 0.05),
        ("test", 40, 10, 0.1),
    ]
    folders = [tmp_path / "out" / part.name for part in parts]
    assert sorted(name for folder in folders for name in ids(folder)) == sorted(ids(many))
    assert all(shared(one, two, "prompt") == 0 for one in folders for two in folders if one != two)
    assert all(not list(check_pairset(folder)) for folder in folders)
    assert {pair.split for pair in read_pairs(folders[1], require_images=False)} == {"validation"}
    assert read_info(folders[2])["split_off"]["part"] == "test" and read_info(folders[2])["counts"]["pairs"] == 40


def test_pairs_can_be_parted_by_themselves(many: Path, tmp_path: Path) -> None:
    parts = split_set(many, tmp_path / "out", {"validation": "5%"}, by="pair")
    assert [(part.pairs, part.groups) for part in parts] == [(380, 380), (20, 20)]
    assert shared(tmp_path / "out" / "train", tmp_path / "out" / "validation", "prompt") > 10


def test_no_picture_is_in_two_parts_and_none_takes_room_twice(drawn: Path, tmp_path: Path) -> None:
    parts = split_set(drawn, tmp_path / "out", {"validation": "20%", "test": "6"}, by="image")
    # 10 chains of three pairs and 10 pairs alone: 20 groups. Two off 8, a chain of three brings it nearer.
    assert sum(part.groups for part in parts) == 20 and [part.pairs for part in parts][1:] == [9, 6]
    folders = [tmp_path / "out" / part.name for part in parts]
    assert all(shared(one, two, "image") == 0 for one in folders for two in folders if one != two)
    images = {path.name: path for path in (drawn / "images").rglob("*.png")}
    parted = [path for folder in folders for path in (folder / "images").rglob("*.png")]
    assert Counter(path.name for path in parted) == Counter(images.keys())
    assert all(path.samefile(images[path.name]) for path in parted)
    shutil.rmtree(drawn)
    assert all(not list(check_pairset(folder)) for folder in folders)


@pytest.mark.parametrize("by", ["prompt", "pair", "image"])
def test_the_seed_decides_and_not_the_order_of_the_rows(drawn: Path, write: Write, tmp_path: Path, by: By) -> None:
    turned = write(list(read_pairs(drawn))[::-1], name="turned")
    for name, source, seed in (("a", drawn, 0), ("b", turned, 0), ("c", drawn, 1)):
        split_set(source, tmp_path / name, {"test": "25%"}, by=by, seed=seed)
    a, b, c = (set(ids(tmp_path / name / "test")) for name in "abc")
    assert a == b != c and len(a) == 10


def test_a_prompt_that_most_pairs_have_stays_in_training(write: Write, tmp_path: Path) -> None:
    folder = write(bare(100, lambda n: "the same" if n < 60 else f"x {n}"), store_images=False)
    for seed in range(5):
        train, test = split_set(folder, tmp_path / str(seed), {"test": "20%"}, seed=seed)
        assert (train.pairs, test.pairs) == (80, 20)


def test_traces_go_along(many: Path, tmp_path: Path) -> None:
    write_jsonl(many / "traces.jsonl", ({"id": name, "trace": f"of {name}"} for name in reversed(ids(many)[:300])))
    split_set(many, tmp_path / "out", {"test": "5%"})
    for part in ("train", "test"):
        rows = list(read_jsonl(tmp_path / "out" / part / "traces.jsonl"))
        assert {row["id"] for row in rows} == set(ids(many)[:300]) & set(ids(tmp_path / "out" / part))
        assert all(row["trace"] == f"of {row['id']}" for row in rows)


@pytest.mark.parametrize(
    "size", ["", "5", "0", "0%", "100%", "-5%", "5 %", "nan%", "1e2", "٥%", "401", "0.01%", "1000%"]
)
def test_a_size_that_is_none_or_leaves_a_part_empty_is_refused(write: Write, tmp_path: Path, size: str) -> None:
    folder = write(bare(5, lambda n: "the same"), store_images=False)
    with pytest.raises(
        InputError, match=r"expected a share such as 5%|would get no pair: there are 5 pairs in 1 prompts"
    ):
        split_set(folder, tmp_path / "out", {"validation": size})
    assert not (tmp_path / "out").exists()


def test_a_set_without_pictures_is_not_split_by_them_and_one_part_is_none(many: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no images"):
        split_set(many, tmp_path / "out", {"test": "5%"}, by="image")
    with pytest.raises(InputError, match="into one part"):
        split_set(many, tmp_path / "out", {})


def test_killed_at_any_step_the_same_call_makes_the_same_parts(drawn: Path, write: Write, tmp_path: Path) -> None:
    drawn = write(list(read_pairs(drawn))[-6:], name="few")
    sizes, out = {"test": "40%"}, tmp_path / "out"
    split_set(drawn, tmp_path / "undisturbed", sizes)
    expected, n_kills = contents(tmp_path / "undisturbed"), 0
    for _ in killed_at_each_step(lambda: split_set(drawn, out, sizes), out, every=12):
        n_kills += 1
        split_set(drawn, out, sizes)
        assert contents(out) == expected
        shutil.rmtree(out)
    assert n_kills >= 6
    split_set(drawn, out, sizes)
    for other in ({"sizes": {"test": "60%"}}, {"seed": 1}):
        with pytest.raises(InputError, match="holds a finished pair set"):
            split_set(drawn, out, **({"sizes": sizes} | other))  # type: ignore[arg-type]
