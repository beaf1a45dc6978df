"""`earshot data`: what it prints and how it exits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.cli.main import main
from earshot.data import check
from earshot.data.pairset import read_pairs
from earshot.data.public import IMPORTERS
from earshot.data.writer import PairSetWriter
from earshot.files import write_jsonl
from earshot.locks import sole_writer
from earshot.types import Pair, Votes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two groups of ImageReward's ranking format, three pairs and one."""
    folder = tmp_path / "src"
    folder.mkdir()
    groups = []
    for name, ranking in (("a", [1, 2, 2]), ("b", [2, 1])):
        files = [f"{name}{n}.png" for n in range(len(ranking))]
        for n, file in enumerate(files):
            Image.new("RGB", (9, 9), (50 * n, 0, 0)).save(folder / file)
        groups.append({"id": name, "prompt": "a cat", "generations": files, "ranking": ranking})
    (folder / "test.json").write_text(json.dumps(groups))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_an_import_says_what_it_wrote(source: Path, tmp_path: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "data", "import", "imagereward", source, tmp_path / "out")
    assert code == 0
    assert "4 pairs, 3 strict, 1 tied, 3 images" in out  # a0 = b0 and a1 = b1 are the same picture, a2 is its own
    assert "preferred in 66.7% of the strict pairs as published" in out  # a0 > a1, a0 > a2; b1 > b0
    assert len(list(read_pairs(tmp_path / "out"))) == 4 and (tmp_path / "out" / "metadata.parquet").is_file()


def test_a_second_import_writes_nothing_over(source: Path, tmp_path: Path, capsys: Any) -> None:
    words = ("data", "import", "imagereward", source, tmp_path / "out")
    assert run(capsys, *words)[0] == 0
    code, _, err = run(capsys, *words, "--seed", 5)
    assert code == 2 and err.count("\n") == 1 and "empty folder" in err


def test_without_images_the_annotations_are_enough(source: Path, tmp_path: Path, capsys: Any) -> None:
    for file in source.glob("*.png"):
        file.unlink()
    code, _, err = run(capsys, "data", "import", "imagereward", source, tmp_path / "out")
    assert code == 2 and "4 of 4 pairs" in err and not (tmp_path / "out").exists()
    assert run(capsys, "data", "import", "imagereward", source, tmp_path / "out", "--no-images")[0] == 0
    assert len(list(read_pairs(tmp_path / "out", require_images=False))) == 4
    code, printed, _ = run(capsys, "data", "check", tmp_path / "out")
    assert code == 0 and "note: 4 rows have no images: what looks at pictures needs an import without" in printed


def test_what_is_tolerated_is_printed_and_counted(source: Path, tmp_path: Path, capsys: Any) -> None:
    (source / "b0.png").write_bytes(b"no picture")
    code, out, err = run(capsys, "data", "import", "imagereward", source, tmp_path / "out", "--tolerate", 1)
    assert code == 0 and "left out: 1 bad" in out and "b0.png" in err
    assert run(capsys, "data", "import", "imagereward", source, tmp_path / "out2")[0] == 2


def test_the_help_lists_every_set_and_where_it_is_from(capsys: Any) -> None:
    code, out, _ = run(capsys, "data", "import", "--help")
    words = " ".join(out.split())
    assert code == 0
    for importer in IMPORTERS.values():
        assert importer.name in words and importer.licence in words
        assert importer.origin.split()[0].removeprefix("https://") in words.replace("- ", "-")


def test_the_check_exits_by_what_it_finds(source: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    run(capsys, "data", "import", "imagereward", source, out)
    write_jsonl(out / "metadata.jsonl", pq.read_table(out / "metadata.parquet").to_pylist())
    (out / "metadata.parquet").unlink()
    notes = (  # a0 and b0, a1 and b1 are the same pictures, ranked 1 2 and 2 1
        "note: 1 row has the prompt and all pictures of an earlier row (row 4 like 1)\n"
        "note: 1 row has a majority against that of an earlier row of the same pair (row 4 like 1)\n"
    )
    assert run(capsys, "data", "check", out)[:2] == (0, f"{notes}{out}: no problems\n")
    lines = (out / "metadata.jsonl").read_text().splitlines(keepends=True)
    lines[1] = lines[1].replace('"votes_first": ', '"votes_first": -1')
    lines[2] = lines[2].replace('"prompt": "a cat"', '"prompt": "", "axis": "beauty"')
    (out / "metadata.jsonl").write_text("".join(lines))
    code, printed, _ = run(capsys, "data", "check", out)
    assert code == 1 and "metadata.jsonl:2 (pair 'a-0-2'): votes_first is -1" in printed
    assert "2 problems in 2 rows" in printed
    code, printed, _ = run(capsys, "data", "check", out, "--json")
    document = json.loads(printed)
    assert code == 1 and document["n_problems"] == 2 and document["n_bad_rows"] == 2
    assert [problem["row"] for problem in document["problems"]] == [2, 3]
    assert [(note["kind"], note["n_rows"], note["rows"], note["earlier"]) for note in document["notes"]] == [
        ("repeated_pair", 1, [4], [1]),
        ("opposite_votes", 1, [4], [1]),
    ]
    (out / "metadata.jsonl").write_text(lines[0] + lines[1])
    assert "\n" + f"{out}: 2 problems in 1 row\n" in run(capsys, "data", "check", out)[1]  # and the count of rows
    code, printed, err = run(capsys, "data", "check", tmp_path / "nowhere", "--json")
    assert code == 2 and printed == "" and "is no folder" in err
    code, printed, err = run(capsys, "data", "check", source)  # a published set as it comes
    assert code == 2 and printed == "" and "holds no metadata.parquet or metadata.jsonl" in err


def test_a_split_says_what_each_part_got(source: Path, tmp_path: Path, capsys: Any) -> None:
    run(capsys, "data", "import", "imagereward", source, tmp_path / "set", "--limit", 3)
    words = ("data", "split", tmp_path / "set", tmp_path / "parts")
    code, out, _ = run(capsys, *words, "--by", "pair", "--validation", "34%")
    assert code == 0 and out.splitlines() == [
        f"{tmp_path / 'parts' / 'train'}: 2 pairs of 2 pairs (66.7%)",
        f"{tmp_path / 'parts' / 'validation'}: 1 pair of 1 pair (33.3%, asked for 34%)",
    ]
    code, out, err = run(capsys, *words, "--by", "pair", "--validation", "34%")
    assert code == 0 and err.count("is made already") == 2
    code, out, err = run(capsys, "data", "split", tmp_path / "set", tmp_path / "other", "--validation", "34%")
    assert code == 2 and err.count("\n") == 1 and "validation would get no pair: there are 3 pairs in 1 prompts" in err


def test_a_sample_says_what_it_was_drawn_from(source: Path, tmp_path: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "data", "import", "imagereward", source, tmp_path / "out", "--limit", 2, "--seed", 5)
    assert code == 0 and "2 pairs, " in out and "drawn from 4 pairs by the seed 5 and their ids" in out


def test_a_second_import_at_the_same_time_is_told_who_is_at_work(source: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "out").mkdir()
    with sole_writer(tmp_path / "out"):
        code, _, err = run(capsys, "data", "import", "imagereward", source, tmp_path / "out")
    assert code == 2 and err.count("\n") == 1 and f"another process writes there (process {os.getpid()} on " in err


@pytest.fixture
def bright(tmp_path: Path) -> Path:
    """Eight pairs of which people prefer the brighter one; one picture is in all of them."""
    dark = Image.new("RGB", (20, 16), "black")
    with PairSetWriter(tmp_path / "bright") as writer:
        for n in range(8):
            light = Image.new("RGB", (20, 16), (100 + n,) * 3)
            images = (light, dark) if n % 2 else (dark, light)
            writer.add(Pair(f"p{n}", f"prompt {n}", *images, Votes(float(n % 2), float(1 - n % 2))))
    return tmp_path / "bright"


def test_check_notes_the_rules_that_tell_without_the_prompt(bright: Path, capsys: Any, monkeypatch: Any) -> None:
    decoded: list[str] = []
    load = check.load_image
    monkeypatch.setattr(check, "load_image", lambda path: (decoded.append(path), load(path))[1])
    code, out, _ = run(capsys, "data", "check", bright)
    assert code == 0 and len(decoded) == 9
    assert [line for line in out.splitlines() if "brighter" in line] == [
        "note: by the brighter picture alone a judge would be right in 100.0 [100.0, 100.0] % of 8 strict pairs"
    ]
    assert "always the first" not in out  # right in half of them: no note
    code, out, _ = run(capsys, "data", "check", bright, "--json")
    told = json.loads(out)
    assert code == 0 and told["blind.brighter"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 8}
    assert told["blind.always_first"]["value"] == 0.5 and told["blind.sharper"]["value"] is None


def test_equalise_says_what_is_left_of_each_rule(bright: Path, tmp_path: Path, capsys: Any) -> None:
    code, out, _ = run(capsys, "data", "equalise", bright, tmp_path / "out", "--side", 8, "--resamples", 50)
    assert code == 0 and f"{tmp_path / 'out'}: 8 pairs, by way of 8 px and JPEG of quality 90" in out
    lines = {line.partition("  ")[0]: line for line in out.splitlines()}
    assert lines["the brighter picture"].endswith("100.0 [100.0, 100.0] %, n 8: tells")
    assert lines["always the first image"].endswith(", n 8: at chance") and "the sharper picture" not in lines
    assert len(list(read_pairs(tmp_path / "out"))) == 8
    code, _, err = run(capsys, "data", "equalise", bright, tmp_path / "out2", "--quality", 100)
    assert code == 2 and "the quality is 100, expected 1 to 95" in err
