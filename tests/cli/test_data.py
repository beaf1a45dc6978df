"""`earshot data`: what it prints and how it exits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from earshot.cli.main import main
from earshot.data.pairset import read_pairs
from earshot.data.public import IMPORTERS
from earshot.rundir import write_jsonl


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
    assert run(capsys, "data", "check", tmp_path / "out")[0] == 0


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
    assert run(capsys, "data", "check", out)[:2] == (0, f"{out}: no problems\n")
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
    code, printed, err = run(capsys, "data", "check", tmp_path / "nowhere", "--json")
    assert code == 2 and printed == "" and "is no folder" in err
