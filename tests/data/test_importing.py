"""Published sets become pair sets that do not tell the winner."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from earshot.data.importing import import_set, shuffle_sides
from earshot.data.pairset import read_pairs
from earshot.data.public import IMPORTERS
from earshot.data.rows import read_info
from earshot.errors import DataError, ImageError, InputError
from earshot.images import load_image
from earshot.types import Pair, Votes

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_real_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real data are not beside this checkout")


def make_rankings(folder: Path, groups: list[dict[str, Any]], images: bool = True) -> Path:
    folder.mkdir()
    (folder / "test.json").write_text(json.dumps(groups))
    names = [name for group in groups for name in group.get("generations", [])] if images else []
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (10 * number, 0, 0)).save(folder / name)
    return folder


def group(identity: str, ranking: list[Any], **changes: Any) -> dict[str, Any]:
    names = [f"part/{identity}/{n}.png" for n in range(len(ranking))]
    return {"id": identity, "prompt": "a cat", "generations": names, "ranking": ranking} | changes


def wins(pairs: list[Pair]) -> dict[str, tuple[float, float]]:
    return {pair.id: (pair.votes.first, pair.votes.second) for pair in pairs}


def make_mjbench(folder: Path, count: int) -> Path:
    (folder / "examples_human").mkdir(parents=True)
    captions = []
    for n in range(count):
        names = {"image_0": f"human_{n}.jpg", "image_1": f"human_{n}_edited_face.jpg"}
        captions.append({"caption": f"person {n}", "label_0": 1, **names})
        for side, name in enumerate(names.values()):
            Image.new("RGB", (9, 9), (200 - 150 * side, 0, 0)).save(folder / "examples_human" / name)
    (folder / "captions_human.json").write_text(json.dumps(captions))
    return folder


# Sides


def test_shuffling_moves_images_and_votes_together() -> None:
    pairs = [Pair(f"p{n}", "x", Path("won"), Path("lost"), Votes(1.0, 0.0)) for n in range(2000)]
    shuffled = [shuffle_sides(pair, 0) for pair in pairs]
    assert all((pair.first == Path("won")) == (pair.votes.majority == "first") for pair in shuffled)
    first = sum(pair.votes.majority == "first" for pair in shuffled)
    assert abs(first - 1000) < 112  # five standard deviations: 5 · √(2000 / 4) = 111.8
    assert shuffled == [shuffle_sides(pair, 0) for pair in pairs] != [shuffle_sides(pair, 1) for pair in pairs]


@pytest.mark.parametrize(
    ("seed", "first"),
    [(0, {"p1": "other", "p2": "one", "000123-0": "one"}), (1, {"p1": "one", "p2": "other", "000123-0": "other"})],
)
def test_the_recorded_rule_never_changes(seed: int, first: dict[str, str]) -> None:
    """Or the seed and the rule in `dataset.json` no longer tell which pairs an old import turned."""
    pairs = [Pair(identity, "x", Path("one"), Path("other"), Votes(1.0, 0.0)) for identity in first]
    assert {pair.id: str(shuffle_sides(pair, seed).first) for pair in pairs} == first


def test_a_pair_keeps_its_sides_when_others_are_left_out(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group(f"g{n}", [2, 1, 3]) for n in range(4)])
    import_set("imagereward", source, tmp_path / "all", seed=3)
    import_set("imagereward", source, tmp_path / "bare", seed=3, images=False)
    shutil.rmtree(source / "part" / "g1")
    import_set("imagereward", source, tmp_path / "some", seed=3, skip_missing=True)
    everything = wins(list(read_pairs(tmp_path / "all")))
    assert wins(list(read_pairs(tmp_path / "bare", require_images=False))) == everything
    some = wins(list(read_pairs(tmp_path / "some")))
    assert len(some) == 9 and some.items() < everything.items()


def test_the_seed_and_the_source_are_recorded(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group("g", [1, 2])])
    import_set("imagereward", source, tmp_path / "out", seed=11, revision="abc123")
    info = read_info(tmp_path / "out")
    assert (info["name"], info["licence"], info["revision"]) == ("imagereward", "Apache-2.0", "abc123")
    assert info["shuffle_seed"] == 11 and info["annotations"]["file"] == "test.json"
    assert str(tmp_path) not in (tmp_path / "out" / "dataset.json").read_text()


# A sample


def ids(folder: Path) -> set[str]:
    return {pair.id for pair in read_pairs(folder, require_images=False)}


def test_a_limit_draws_a_sample_by_seed_and_id(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group(f"g{n}", [2, 1, 3]) for n in range(40)], images=False)
    import_set("imagereward", source, tmp_path / "all", images=False)
    everything = wins(list(read_pairs(tmp_path / "all", require_images=False)))
    drawn: dict[tuple[int, int], set[str]] = {}
    for limit, seed in ((30, 0), (60, 0), (30, 1), (500, 0)):
        out = tmp_path / f"{limit}-{seed}"
        import_set("imagereward", source, out, images=False, limit=limit, seed=seed)
        drawn[limit, seed] = ids(out)
        if seed == 0:  # with their sides
            assert wins(list(read_pairs(out, require_images=False))).items() <= everything.items()
    assert [len(sample) for sample in drawn.values()] == [30, 60, 30, 120]
    assert drawn[30, 0] < drawn[60, 0] and drawn[30, 0] != drawn[30, 1]
    groups = {identity.split("-")[0] for identity in drawn[30, 0]}
    assert len(groups) > 15  # the first 30 pairs are of 10 groups
    assert read_info(tmp_path / "30-0")["sample"] | {"rule": ""} == {"limit": 30, "seed": 0, "of": 120, "rule": ""}
    with pytest.raises(InputError, match="limit is 0"):
        import_set("imagereward", source, tmp_path / "none", images=False, limit=0)


def test_the_sample_does_not_depend_on_the_order_of_the_file(tmp_path: Path) -> None:
    groups = [group(f"g{n}", [2, 1]) for n in range(40)]
    for name, listed in (("one", groups), ("two", groups[::-1])):
        source = make_rankings(tmp_path / f"src-{name}", listed, images=False)
        import_set("imagereward", source, tmp_path / name, images=False, limit=12)
    one, two = (wins(list(read_pairs(tmp_path / name, require_images=False))) for name in ("one", "two"))
    assert one == two and len(one) == 12


def test_only_the_images_of_the_sample_need_be_there(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group(f"g{n}", [2, 1]) for n in range(10)])
    import_set("imagereward", source, tmp_path / "sample", limit=3)
    for n in range(10):
        if f"g{n}-0-1" not in ids(tmp_path / "sample"):
            (source / "part" / f"g{n}" / "0.png").unlink()
    with pytest.raises(ImageError, match="images of 7 of 10 pairs"):
        import_set("imagereward", source, tmp_path / "all")
    import_set("imagereward", source, tmp_path / "again", limit=3)
    assert ids(tmp_path / "again") == ids(tmp_path / "sample")
    [gone, *rest] = sorted(ids(tmp_path / "sample"))
    (source / "part" / gone.split("-")[0] / "0.png").unlink()
    with pytest.raises(ImageError, match="images of 1 of 3 pairs"):
        import_set("imagereward", source, tmp_path / "lacking", limit=3)
    import_set("imagereward", source, tmp_path / "skipping", limit=3, skip_missing=True)
    assert ids(tmp_path / "skipping") == set(rest)  # drawn among the pairs that have their images: two are left


@pytest.mark.parametrize("name", ["/a.png", "../a.png", "x/../../a.png", "a\0b.png", "..\\a.png", "c:\\a.png", "//a"])
def test_a_name_that_leaves_the_folder_is_refused_though_no_image_is_there(tmp_path: Path, name: str) -> None:
    source = make_rankings(tmp_path / "src", [group("a", [1, 2], generations=["b.png", name])], images=False)
    with pytest.raises(ImageError, match="group 0"):
        import_set("imagereward", source, tmp_path / "out", images=False)


def test_a_missing_image_below_a_link_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group("a", [1, 2], generations=["b.png", "l/c.png"])], images=False)
    (source / "l").symlink_to(tmp_path)
    with pytest.raises(ImageError, match="group 0"):
        import_set("imagereward", source, tmp_path / "out", images=False)


def test_progress_tells_what_is_done_and_ends_at_the_number_of_pairs(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group(f"g{n}", list(range(1, 9))) for n in range(10)])
    told: list[tuple[str, int]] = []
    import_set("imagereward", source, tmp_path / "out", limit=5, on_pair=lambda what, done: told.append((what, done)))
    assert told == [
        (w, n) for w in ("drawing", "looking for images", "importing") for n in (256, 280)
    ]  # 10 · 8 · 7 / 2


def test_several_files_of_one_set_are_chosen_by_split(tmp_path: Path) -> None:
    for name in ("test", "train"):
        (tmp_path / f"{name}.json").write_text(json.dumps([{"prompt": "x", "path1": "a", "path2": "b"}]))
    with pytest.raises(DataError, match=r"found test\.json, train\.json; choose with --split test, or give the folder"):
        import_set("hpdv3", tmp_path, tmp_path / "out", images=False)
    assert import_set("hpdv3", tmp_path, tmp_path / "out", images=False, split="train").counts.pairs == 1


# ImageReward


def test_a_ranking_becomes_all_pairs_with_ties_shared(tmp_path: Path) -> None:
    # Not a permutation: begins at 2, and two images share rank 3.
    source = make_rankings(tmp_path / "src", [group("g", [3, 2, 3])])
    imported = import_set("imagereward", source, tmp_path / "out")
    votes = wins(list(read_pairs(tmp_path / "out")))
    flipped = {
        identity: shuffle_sides(Pair(identity, "x", b"a", b"b", Votes(1.0, 0.0)), 0).first == b"b" for identity in votes
    }
    # Listed order: 0 loses to 1, 0 ties with 2, 1 beats 2.
    expected = {"g-0-1": (0.0, 1.0), "g-0-2": (1.0, 1.0), "g-1-2": (1.0, 0.0)}
    assert votes == {k: v[::-1] if flipped[k] else v for k, v in expected.items()}
    assert (imported.counts.strict, imported.counts.tied, imported.listed_first_preferred) == (2, 1, 1)
    assert imported.counts.images == 3  # each image once, though it is in two pairs


def test_the_images_follow_their_ranks(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group(f"g{n}", [1, 2]) for n in range(8)])
    import_set("imagereward", source, tmp_path / "out")
    for pair in read_pairs(tmp_path / "out"):
        shade = {side: load_image(getattr(pair, side)).getpixel((0, 0))[0] for side in ("first", "second")}
        n = int(pair.id[1])  # group n was drawn in the shades 20 n (rank 1) and 20 n + 10
        assert shade[pair.votes.majority] == 20 * n and sorted(shade.values()) == [20 * n, 20 * n + 10]  # type: ignore[index]


def test_missing_images_are_counted_before_anything_is_written(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group("a", [1, 2, 3]), group("b", [1, 2])])
    (source / "part" / "a" / "0.png").unlink()
    with pytest.raises(ImageError, match=r"images of 2 of 4 pairs.*--no-images"):
        import_set("imagereward", source, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    seen: list[str] = []
    imported = import_set(
        "imagereward", source, tmp_path / "out", tolerate=2, on_error=lambda error: seen.append(str(error))
    )
    assert imported.counts.pairs == 2 and imported.refused == 2 and len(seen) == 2 and "a-0-1" in seen[0]
    skipped = import_set("imagereward", source, tmp_path / "out2", skip_missing=True)
    assert skipped.counts.pairs == 2 and skipped.missing == 2 and skipped.refused == 0
    assert read_info(tmp_path / "out2")["left_out"] == {"refused": 0, "missing_images": 2}


@pytest.mark.parametrize(
    "bad",
    [
        group("b", [1]),
        group("b", [1, 2]) | {"ranking": [1]},
        group("b", [1, True]),
        group("b", [1, 2.5]),
        group("b", [1, 2], prompt=" "),
        group("b", [1, 2], generations=["../a.png", "b.png"]),
        group("b", [1, 2], generations=["a.png", 3]),
        {"prompt": "no id"},
        "no object",
    ],
)
def test_a_bad_group_is_named_or_tolerated(tmp_path: Path, bad: Any) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    (folder / "test.json").write_text(json.dumps([group("a", [1, 2]), bad]))
    with pytest.raises(DataError, match=r"test\.json: group 1"):
        import_set("imagereward", folder, tmp_path / "out", images=False)
    assert not (tmp_path / "out").exists()
    imported = import_set("imagereward", folder, tmp_path / "out", images=False, tolerate=1)
    assert imported.counts.pairs == 1 and imported.refused == 1


def test_repeated_groups_are_refused(tmp_path: Path) -> None:
    source = make_rankings(tmp_path / "src", [group("a", [1, 2]), group("a", [2, 1])])
    with pytest.raises(DataError, match="same id"):
        import_set("imagereward", source, tmp_path / "out")


@needs_real_data
def test_the_real_rankings_have_the_published_counts(tmp_path: Path) -> None:
    imported = import_set("imagereward", DATA / "imagereward", tmp_path / "out", images=False)
    counts = imported.counts
    assert (counts.pairs, counts.strict, counts.tied) == (7230, 6399, 831)
    assert round(imported.listed_first_preferred / counts.strict, 3) == 0.590
    assert abs(counts.first_preferred / counts.strict - 0.5) < 0.03125  # 5 · √(0.25 / 6399)
    pairs = list(read_pairs(tmp_path / "out", require_images=False))
    assert len({pair.prompt_id for pair in pairs}) == 466 and len({pair.prompt for pair in pairs}) == 463


@needs_real_data
def test_the_real_images_of_a_group_are_imported_in_their_published_places(tmp_path: Path) -> None:
    groups = json.loads((DATA / "imagereward" / "imagereward_test.json").read_text())
    [real] = [group for group in groups if group["id"] == "005937-0167"]
    source = tmp_path / "src"
    for number, name in enumerate(real["generations"], start=1):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(DATA / "imagereward" / f"{number}.webp", source / name)
    shutil.copy(DATA / "imagereward" / "imagereward_test.json", source)
    imported = import_set("imagereward", source, tmp_path / "out", skip_missing=True)
    assert (imported.counts.pairs, imported.counts.images, imported.missing) == (6, 4, 7224)
    best = (DATA / "imagereward" / "1.webp").read_bytes()
    for pair in read_pairs(tmp_path / "out"):
        images = {"first": pair.first.read_bytes(), "second": pair.second.read_bytes()}  # type: ignore[union-attr]
        if best in images.values():
            assert images[pair.votes.majority] == best  # type: ignore[index]


# MJ-Bench


def test_the_original_is_preferred_and_no_name_tells(tmp_path: Path) -> None:
    source = make_mjbench(tmp_path / "src", 40)
    imported = import_set("mjbench", source, tmp_path / "out")
    assert imported.counts.strict == imported.listed_first_preferred == 40
    assert 5 < imported.counts.first_preferred < 35
    for pair in read_pairs(tmp_path / "out"):
        bright = {side: load_image(getattr(pair, side)).getpixel((0, 0))[0] > 100 for side in ("first", "second")}
        assert bright[pair.votes.majority] and sum(bright.values()) == 1  # type: ignore[index]
    names = [str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*")]
    assert not any(re.search("edited|human|face", name) for name in names)


def test_ambiguous_or_unlabelled_folders_are_refused(tmp_path: Path) -> None:
    source = make_mjbench(tmp_path / "src", 2)
    captions = json.loads((source / "captions_human.json").read_text())
    captions[1]["label_0"] = "yes"
    (source / "captions_human.json").write_text(json.dumps(captions))
    with pytest.raises(DataError, match=r"captions_human\.json: entry 1: label_0 is 'yes'"):
        import_set("mjbench", source, tmp_path / "out")
    (source / "captions_objects.json").write_text("[]")
    with pytest.raises(DataError, match=r"found captions_human\.json, captions_objects\.json"):
        import_set("mjbench", source, tmp_path / "out")
    with pytest.raises(DataError, match="an empty list"):
        import_set("mjbench", source / "captions_objects.json", tmp_path / "out")


@needs_real_data
@pytest.mark.parametrize("subset", ["human", "objects_indoor"])
def test_the_real_subsets_hold_a_hundred_pairs_each(tmp_path: Path, subset: str) -> None:
    imported = import_set("mjbench", DATA / "mjbench_quality" / subset, tmp_path / "out")
    assert (imported.counts.pairs, imported.counts.strict, imported.counts.images) == (100, 100, 200)
    assert imported.listed_first_preferred == 100 and abs(imported.counts.first_preferred - 50) <= 25
    telling = [file.name for file in (tmp_path / "out").rglob("*") if re.search("edit|human|furniture", file.name)]
    assert telling == []


# The table of importers


def test_an_unknown_name_or_a_missing_source_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="imagereward, mjbench"):
        import_set("laion", tmp_path, tmp_path / "out")
    for name in IMPORTERS:
        with pytest.raises(InputError, match="is no file or folder"):
            import_set(name, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "x.json").write_text('{"id": 1}')
    with pytest.raises(DataError, match="a JSON dict, expected a list"):
        import_set("imagereward", tmp_path, tmp_path / "out")
    (tmp_path / "x.json").write_text("[{")
    with pytest.raises(DataError, match="is no JSON"):
        import_set("imagereward", tmp_path, tmp_path / "out")
