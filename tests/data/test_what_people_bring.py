"""Files as people have them: byte-order marks, blank lines, numbers without limit, names that no file can have."""

import json
from pathlib import Path

import pytest
from PIL import Image

from earshot.cli.main import main
from earshot.config import GrpoConfig
from earshot.data.pairset import PairSet, read_pairs
from earshot.errors import DataError
from earshot.judging.rows import RowFile
from earshot.rundir import read_jsonl

ROW = {
    "id": "1",
    "prompt": "a",
    "first_file_name": "images/a.png",
    "second_file_name": "images/b.png",
    "votes_first": 1,
    "votes_second": 0,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set" / "images").mkdir(parents=True)
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (56, 56), colour).save(tmp_path / "set" / "images" / f"{name}.png")
    return tmp_path / "set"


def write(folder: Path, *rows: dict[str, object], lines: str = "{}") -> Path:
    file = folder / "metadata.jsonl"
    file.write_text(lines.replace("{}", "\n".join(map(json.dumps, rows))), encoding="utf-8")
    return file


@pytest.mark.parametrize("lines", ["\ufeff{}\n", "{}\n\n", "\n \r\n{}\n\t\n", "\ufeff{}"])
def test_a_byte_order_mark_and_blank_lines_are_no_rows(lines: str, folder: Path) -> None:
    file = write(folder, ROW, {**ROW, "id": "2"}, lines=lines)
    assert [row["id"] for row in read_jsonl(file, allow_cut=False)] == ["1", "2"]
    assert [pair.id for pair in read_pairs(folder)] == ["1", "2"] and len(PairSet(folder)) == 2
    assert main(["data", "check", str(folder)]) == 0
    assert RowFile(file).n_rows == 2


@pytest.mark.parametrize("votes", [10**400, -(10**400), True, "3"])
def test_votes_that_are_no_counts_are_named_and_tolerated(votes: object, folder: Path) -> None:
    write(folder, ROW, {**ROW, "id": "2", "votes_first": votes})
    with pytest.raises(DataError, match=r"metadata.jsonl:2.*"):
        list(read_pairs(folder))
    assert [pair.id for pair in read_pairs(folder, tolerate=1)] == ["1"]


def test_a_name_that_no_file_can_have_is_a_bad_row_and_no_end(folder: Path) -> None:
    write(folder, ROW, {**ROW, "id": "2", "first_file_name": f"images/{'a long name ' * 30}.png"})
    assert [pair.id for pair in read_pairs(folder, tolerate=1)] == ["1"]


def test_the_users_own_folder_is_read_where_no_shell_has_done_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder.parent))
    write(folder, ROW)
    assert main(["data", "check", "~/set"]) == 0
    config = GrpoConfig.model_validate(
        {"model": {"path": "~/m"}, "data": {"train": "~/set"}, "out": "~/run", "listener": {"paths": ["~/l", "hub/id"]}}
    )
    home = str(folder.parent)
    assert (config.model.path, config.data.train, config.out) == (f"{home}/m", f"{home}/set", f"{home}/run")
    assert config.listener is not None and config.listener.paths == (f"{home}/l", "hub/id")
    assert (
        main(["compare", "--model", "~/nobody", "--prompt", "~/a", *map(str, sorted((folder / "images").iterdir()))])
        == 2
    )
    assert f"{home}/nobody: no such folder" in capsys.readouterr().err
