"""Pair sets of the world on disk: the same bytes however they are made, and readable by all who read pair sets."""

from __future__ import annotations

import re
import shutil
from itertools import pairwise
from pathlib import Path
from typing import get_args

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.cli.main import main
from earshot.cli.world import World
from earshot.data.pairset import PairSet, read_pairs
from earshot.data.writer import PairSetWriter
from earshot.errors import InputError
from earshot.files import read_jsonl
from earshot.images import load_image
from earshot.world import make
from earshot.world.checker import check_trace
from earshot.world.language import Corruption
from earshot.world.make import Recipe, check_set, make_set
from earshot.world.pairs import (
    FACTS_TOLD,
    LESSONS,
    SETS,
    SHORTCUT,
    TRAINING_PAIRS,
    WORLDS,
    Population,
    draw_pair,
    pair_generator,
)
from earshot.world.scene import prompt_text
from earshot.world.truth import read_truth
from tests.killing import contents, killed_at_each_step

N = 150  # three chunks, the last not full


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world") / "set"
    make_set(folder, Recipe("train", seed=3, size_px=24), N, workers=1)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_workers_write_the_bytes_of_one(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "_CHUNKS_AHEAD", 1)  # so that three chunks fill what may wait
    make_set(tmp_path / "two", Recipe("train", seed=3, size_px=24), N, workers=2)
    assert files(tmp_path / "two") == files(made)


def test_another_seed_gives_other_pairs(made: Path, tmp_path: Path) -> None:
    make_set(tmp_path / "other", Recipe("train", seed=4, size_px=24), 20, workers=1)
    others, prompts = ([pair.prompt for pair in read_pairs(folder)][:20] for folder in (tmp_path / "other", made))
    assert sum(a == b for a, b in zip(others, prompts, strict=True)) < 5  # of 38 * 38 prompts two are seldom the same


def test_a_smaller_set_is_the_beginning_of_a_larger_one(made: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    make_set(small, Recipe("train", seed=3, size_px=24), 70, workers=1)
    rows, all_rows = (pq.read_table(folder / "metadata.parquet").to_pylist() for folder in (small, made))
    assert rows == all_rows[:70] and len(all_rows) == N
    few, many = files(small), files(made)
    for name in ("truth.jsonl", "traces.jsonl"):
        assert many[name].startswith(few[name]) and few[name].count(b"\n") == 70
    images = {name for name in few if name.startswith("images/")}
    assert images and all(many[name] == few[name] for name in images)


def test_every_row_has_its_truth_and_its_trace(made: Path) -> None:
    truths = read_truth(made)
    assert truths is not None
    pairs, traces = list(read_pairs(made)), list(read_jsonl(made / "traces.jsonl"))
    assert [pair.id for pair in pairs] == list(truths) == [row["id"] for row in traces]
    false = total = 0
    for pair, row in zip(pairs, traces, strict=True):
        assert pair.prompt == prompt_text(truths[pair.id].wanted)
        assert (pair.split, pair.axis, pair.source) == ("train", "preference", "earshot world")
        assert row["side"] == pair.votes.majority and row["trace"].endswith(f"so {row['side']} better")
        claims = check_trace(row["trace"], truths[pair.id])
        false, total = false + sum(c.status == "false" for c in claims), total + len(claims)
    assert 0.01 < false / total < 0.10  # reference traces are to be a little wrong: 5 % of the facts are misread


def test_wrong_verdicts_come_as_often_as_asked_and_only_then(tmp_path: Path) -> None:
    make_set(tmp_path / "wrong", Recipe("test", size_px=16, corruption=Corruption(verdict=0.3)), 300, workers=1)
    rows = zip(read_jsonl(tmp_path / "wrong" / "traces.jsonl"), read_pairs(tmp_path / "wrong"), strict=True)
    sides = [(row["side"], pair.votes.majority, row["trace"]) for row, pair in rows]
    # The standard error of 0.3 among 300 is 0.026.
    assert np.mean([side != majority for side, majority, _ in sides]) == pytest.approx(0.3, abs=0.1)
    assert all(trace.endswith(f"so {side} better") for side, _, trace in sides)


def test_the_images_are_of_the_size_asked_for_and_the_set_loads_by_index(made: Path) -> None:
    pairs = PairSet(made)
    assert len(pairs) == N
    assert {load_image(source).size for i in range(20) for source in (pairs[i].first, pairs[i].second)} == {(24, 24)}


def test_the_set_is_an_imagefolder(made: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset("imagefolder", data_dir=str(made), split="train", cache_dir=str(tmp_path))
    assert len(rows) == N and isinstance(rows[0]["first"], Image.Image)
    expected = PairSet(made)[0]
    assert rows[0]["prompt"] == expected.prompt
    assert rows[0]["second"].tobytes() == load_image(expected.second).tobytes()


def test_the_check_finds_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(made)]) == 0
    *notes, last = capsys.readouterr().out.splitlines()
    assert last == f"{made}: no problems"
    assert all(" alone a judge would be right in " in note for note in notes)  # raters go by the rendering, too


def test_progress_ends_at_the_number_of_pairs(tmp_path: Path) -> None:
    seen: list[int] = []
    make_set(tmp_path / "set", Recipe("test", size_px=16), N, workers=1, on_pair=seen.append)
    assert seen[-1] == N and all(a < b for a, b in pairwise(seen)) and len(seen) > 1


@pytest.mark.parametrize(
    ("recipe", "n_pairs", "workers", "found"),
    [
        (Recipe("trian"), 5, None, "no set 'trian', expected one of train, validation"),
        (Recipe("train"), 0, None, "of 0 pairs, expected at least 1"),
        (Recipe("train"), -1, None, "of -1 pairs"),
        (Recipe("train", size_px=15), 5, None, "15 px, expected 16 to 1024"),
        (Recipe("train", size_px=100_000), 5, None, "100000 px"),
        (Recipe("train", seed=-1), 5, None, "seed -1, expected 0 or more"),
        (Recipe("train"), 5, 0, "0 workers"),
    ],
)
def test_an_impossible_set_is_refused_and_leaves_nothing(tmp_path, recipe, n_pairs, workers, found) -> None:
    for call in (check_set, make_set):
        with pytest.raises(InputError, match=found):
            call(tmp_path / "set", recipe, n_pairs, workers=workers)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_as_it_is(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    before = files(made)
    for folder in (made, tmp_path):
        with pytest.raises(InputError, match="empty folder"):
            make_set(folder, Recipe("train"), 5)
    assert files(made) == before and [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_set_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = PairSetWriter.add

    def fail(writer: PairSetWriter, pair) -> None:
        if pair.id.endswith("70"):
            raise OSError("no space left on device")
        add(writer, pair)

    monkeypatch.setattr(make.PairSetWriter, "add", fail)
    with pytest.raises(OSError, match="no space"):
        make_set(tmp_path / "set", Recipe("train", size_px=16), N, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_small_sets_start_no_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(make, "ProcessPoolExecutor", refuse)
    make_set(tmp_path / "set", Recipe("train", size_px=16), 130)


def test_every_population_can_be_made(tmp_path: Path) -> None:
    for name, population in (one for sets in WORLDS.values() for one in sets.items()):
        make_set(tmp_path / name, Recipe(name, size_px=16), 3, workers=1)
        assert {pair.axis for pair in read_pairs(tmp_path / name)} == {population.axis}


def test_the_same_pairs_are_marked_with_the_label_against_it_or_not_at_all(tmp_path: Path) -> None:
    made = {}
    for name in ("shortcut_with", "shortcut_against", "shortcut_none", "test"):
        make_set(tmp_path / name, Recipe(name), 40, workers=1)
        made[name] = [*read_pairs(tmp_path / name)]
    ground = {
        name: [[np.asarray(load_image(image))[0, 0].astype(float) for image in (p.first, p.second)] for p in pairs]
        for name, pairs in made.items()
    }
    for k, (one, other) in enumerate(zip(made["shortcut_with"], made["shortcut_against"], strict=True)):
        assert (one.prompt, one.votes) == (other.prompt, other.votes) == (made["test"][k].prompt, made["test"][k].votes)
        assert (one.category, other.category, made["shortcut_none"][k].category) == ("with", "against", None)
        moved = [
            np.ptp(a - b) > 5 for a, b in zip(ground["shortcut_with"][k], ground["shortcut_against"][k], strict=True)
        ]
        assert moved == [True, True]  # the mark has gone from one image to the other
    assert np.array_equal(ground["shortcut_none"], ground["test"])  # the very pictures of the other world


def test_few_pairs_are_those_of_the_larger_sets_and_none_of_them_is_fresh(tmp_path: Path) -> None:
    made = {}
    for name in ("few_train", "few_fresh", "train", "test"):
        make_set(tmp_path / name, Recipe(name, seed=3, size_px=16), 12, workers=1)
        pictures = [load_image(p.first).tobytes() + load_image(p.second).tobytes() for p in read_pairs(tmp_path / name)]
        made[name] = list(zip([(p.prompt, p.votes) for p in read_pairs(tmp_path / name)], pictures, strict=True))
    assert (made["few_train"], made["few_fresh"]) == (made["train"], made["test"])
    assert not {picture for _, picture in made["few_train"]} & {picture for _, picture in made["few_fresh"]}


def test_a_selective_set_has_the_pictures_of_the_other_and_traces_of_half_the_facts(tmp_path: Path) -> None:
    for name in ("selective_test", "test"):
        make_set(tmp_path / name, Recipe(name, seed=3, size_px=16), 12, workers=1)
    images = {
        name: [path.name for path in sorted((tmp_path / name).rglob("*.png"))] for name in ("selective_test", "test")
    }
    assert images["selective_test"] == images["test"]  # they are named by their content
    traces = [row["trace"] for row in read_jsonl(tmp_path / "selective_test" / "traces.jsonl")]
    assert {len(re.findall(r"\b(?:yes|no|clean|dark|pale|tinted)\b", trace)) for trace in traces} == {FACTS_TOLD}


def test_a_name_is_a_set_of_one_world() -> None:
    assert len(SETS) == sum(map(len, WORLDS.values()))
    assert set(WORLDS) == set(LESSONS) == set(TRAINING_PAIRS) == set(get_args(get_args(World)[0]))


def test_training_goes_with_the_mark_in_its_share_and_lessons_know_nothing_of_it() -> None:
    def share(population: Population) -> float:
        pairs = [draw_pair(pair_generator(3, "x", k), population) for k in range(2000)]
        return float(np.mean([pair.marked == pair.votes.majority for pair in pairs]))

    assert share(SHORTCUT["shortcut_train"]) == pytest.approx(0.85, abs=0.03)
    assert share(SHORTCUT["shortcut_train_70"]) == pytest.approx(0.70, abs=0.04)
    assert share(LESSONS["shortcut"]) == pytest.approx(0.5, abs=0.04)


def test_killed_at_any_step_the_same_command_makes_the_same_sets(tmp_path: Path) -> None:
    words = ["--sets", "test,ood_style", "--test-pairs", "2", "--size", "16"]
    assert main(["world", "make", str(tmp_path / "undisturbed"), *words]) == 0
    expected, out = contents(tmp_path / "undisturbed"), tmp_path / "w"
    kills = killed_at_each_step(lambda: main(["world", "make", str(out), *words]), out, every=7)
    n_kills = 0
    for _ in kills:
        n_kills += 1
        assert main(["world", "make", str(out), *words]) == 0
        assert contents(out) == expected
        shutil.rmtree(out)
    assert n_kills > 10


def test_the_same_set_is_not_made_twice_and_another_not_written_over(tmp_path: Path) -> None:
    recipe, told = Recipe("test", size_px=16), []
    make_set(tmp_path / "set", recipe, 3)
    before = (tmp_path / "set" / "metadata.parquet").stat()
    make_set(tmp_path / "set", recipe, 3, tell=told.append)
    assert told == [f"{tmp_path / 'set'}: is made already, by the same command, and stays as it is"]
    others = ((recipe._replace(seed=1), 3), (recipe._replace(corruption=Corruption(verdict=0.5)), 3), (recipe, 2))
    for other, n_pairs in others:
        with pytest.raises(InputError, match="holds a finished pair set"):
            make_set(tmp_path / "set", other, n_pairs)
    assert (tmp_path / "set" / "metadata.parquet").stat() == before
