"""Files as people have them: byte-order marks, blank lines, numbers without limit, names that no file can have."""

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import earshot
from earshot.cli.main import main
from earshot.config import GrpoConfig
from earshot.data.pairset import PairSet, read_pairs
from earshot.data.row_files import iter_row_file, open_parquet, parquet_rows
from earshot.errors import DataError, InputError, ModelError
from earshot.files import read_jsonl
from earshot.judging.pictures import take_picture
from earshot.judging.rows import BadRow, Row, RowFile
from earshot.listener.spec import parse_listener

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
    roots = GrpoConfig.model_validate(
        {"model": {"path": "m"}, "data": {"train": "s", "roots": ["~/disk"]}, "out": "o", "rewards": {"listener": 0}}
    )
    assert roots.data.roots == (f"{home}/disk",)
    for call in (lambda: earshot.load("~/nobody"), lambda: parse_listener("a=~/nobody+~/no,orders=both")):
        try:
            spec = call()
        except ModelError as error:
            assert f"{home}/nobody: no such folder" in str(error)
        else:
            assert spec.sources == (f"{home}/nobody", f"{home}/no")
    assert take_picture("~/set/images/a.png", argument="first").image.size == (56, 56)
    assert config.listener is not None and config.listener.paths == (f"{home}/l", "hub/id")
    assert (
        main(["compare", "--model", "~/nobody", "--prompt", "~/a", *map(str, sorted((folder / "images").iterdir()))])
        == 2
    )
    assert f"{home}/nobody: no such folder" in capsys.readouterr().err


def test_images_on_another_disk_are_read_wherever_a_set_is_once_that_is_declared(folder: Path) -> None:
    write(folder, ROW, {**ROW, "id": "2"})
    scratch = folder.parent / "scratch"
    (folder / "images").rename(scratch)
    (folder / "images").symlink_to(scratch)
    assert main(["data", "check", str(folder)]) == 1
    assert main(["data", "check", str(folder), "--root", str(scratch)]) == 0
    with pytest.raises(DataError, match="declared"):
        list(read_pairs(folder))
    assert len(list(read_pairs(folder, roots=[scratch]))) == 2
    assert PairSet(folder, roots=[scratch])[1].first == folder / "images" / "a.png"
    for whole_pairs in (True, False):
        rows = RowFile(folder, whole_pairs=whole_pairs, roots=[scratch]).read(0, 2)
        assert [type(row) for row in rows] == [Row, Row]
    bad = next(RowFile(folder).read(0, 1))
    assert isinstance(bad, BadRow) and str(folder) not in bad.error and "--root" in bad.error
    assert main(["data", "overlap", str(folder), str(folder), "--root", str(scratch)]) == 0
    assert main(["data", "check", str(folder), "--root", str(folder / "nowhere")]) == 2


# Parquet


def table(rows: int = 3, **columns: object) -> pa.Table:
    made: dict[str, object] = {name: [value] * rows for name, value in ROW.items()}
    return pa.table(made | {"id": [str(k) for k in range(rows)]} | columns)


def not_utf8(rows: int = 3) -> pa.Array:
    """Texts of which the first is no UTF-8: Arrow does not look."""
    ends = pa.array(range(rows + 1), pa.int32()).buffers()[1]
    return pa.StringArray.from_buffers(rows, ends, pa.py_buffer(b"\xff" + b"a" * (rows - 1)))


def test_a_text_that_is_not_utf8_or_too_long_is_a_row_and_no_end(folder: Path) -> None:
    file = folder / "metadata.parquet"
    for prompts, reason in (
        (not_utf8(), r"parquet row 1: prompt is b'\\xff', expected text in UTF-8"),
        (pa.array(["a" * 2_000_000, "a", "a"]), "prompt has 2000000 characters, expected at most 100000"),
    ):
        pq.write_table(table(prompt=prompts), file)
        with pytest.raises(DataError, match=reason):
            list(read_pairs(folder))
        assert [pair.id for pair in read_pairs(folder, tolerate=1)] == ["1", "2"]
        assert len(PairSet(folder, tolerate=1)) == 2
        assert [type(row) for row in RowFile(folder).read(0, 3)] == [BadRow, Row, Row]
        assert main(["data", "check", str(folder)]) == 1


def test_a_name_in_a_struct_that_is_not_utf8_leaves_its_bytes(folder: Path) -> None:
    picture = (folder / "images" / "a.png").read_bytes()
    image = pa.StructArray.from_arrays([pa.array([picture] * 3), not_utf8()], ["bytes", "path"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), image)
    for column in (image, lists):
        pq.write_table(pa.table({"prompt": ["a"] * 3, "first": column, "second": column}), folder / "rows.parquet")
        rows = list(RowFile(folder / "rows.parquet").read(0, 3))
        assert all(isinstance(row, Row) and row.images[0] == picture for row in rows)


def test_a_text_that_stands_in_every_row_is_in_memory_once(folder: Path) -> None:
    """Some kilobytes on the disk, 90 MB as it is told."""
    file = folder / "metadata.parquet"
    pq.write_table(table(1000, prompt=["a" * 90_000] * 1000), file, compression="zstd", store_schema=False)
    tracemalloc.start()
    rows = list(iter_row_file(file))
    assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    tracemalloc.stop()
    assert len(rows) == 1000 and rows[0]["prompt"] is rows[-1]["prompt"]


def test_a_column_that_unpacks_to_far_more_is_refused_by_name(folder: Path) -> None:
    texts = pa.array(["a" * 2**20 + str(k) for k in range(80)])
    pq.write_table(table(80, prompt=texts), folder / "metadata.parquet", compression="zstd", use_dictionary=False)
    with pytest.raises(DataError, match=r"its column prompt unpacks from \d+ bytes to 83\d+, expected"):
        list(read_pairs(folder, tolerate=100))


def test_a_column_that_stands_twice_is_refused_by_name(folder: Path) -> None:
    once = table()
    pq.write_table(once.append_column("id", once["id"]), folder / "metadata.parquet")
    (folder / "rows.csv").write_text("id,id\n1,2\n")
    with pytest.raises(DataError, match=r"metadata.parquet: has two columns 'id', expected one"):
        list(read_pairs(folder, tolerate=9))
    with pytest.raises(DataError, match=r"rows.csv: names a column twice"):
        list(iter_row_file(folder / "rows.csv"))


@given(
    rows=st.lists(st.tuples(st.text(max_size=5) | st.none(), st.integers(0, 9)), min_size=1, max_size=40),
    group=st.integers(1, 40),
    bounds=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_any_stretch_of_rows_is_what_was_written(
    rows: list[tuple[str | None, int]], group: int, bounds: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.getbasetemp() / "stretch.parquet"
    written = [{"text": text, "number": number, "pair": [number, number]} for text, number in rows]
    pq.write_table(pa.Table.from_pylist(written), file, row_group_size=group)
    start, stop = min(bounds), max(bounds)
    for columns in (["text", "number"], ["text", "number", "pair"], []):
        with open_parquet(file, "") as opened:
            found = list(parquet_rows(opened, columns, name=file, start=start, stop=stop))
        expected = [{name: row[name] for name in columns} for row in written]
        assert found == expected[start:stop]


# Rows as `datasets` writes them


@pytest.fixture
def hub_row(folder: Path) -> dict[str, object]:
    first, second = ((folder / "images" / f"{name}.png").read_bytes() for name in "ab")
    return {
        "prompt": "a",
        "first": {"bytes": first, "path": "/home/somebody/a.png"},
        "second": {"bytes": second, "path": None},
    }


def judged(source: Path, **how: object) -> list[Row]:
    rows = RowFile(source, **how)  # type: ignore[arg-type]
    found = list(rows.read(0, rows.n_rows))
    assert all(isinstance(row, Row) for row in found), found
    return [row for row in found if isinstance(row, Row)]


def test_embedded_images_count_whatever_their_path_says(folder: Path, hub_row: dict[str, object]) -> None:
    first, second = hub_row["first"], hub_row["second"]
    expected = (first["bytes"], second["bytes"])  # type: ignore[index]
    both = {"prompt": "a", "images": [first, second]}
    ones = {"prompt": "a", "first": [first], "second": [second]}
    for row in (hub_row, both, ones):
        pq.write_table(pa.Table.from_pylist([row]), folder / "rows.parquet")
        (found,) = judged(folder / "rows.parquet")
        assert found.images == expected


def test_paths_in_structs_and_lists_are_found_in_the_folder_or_a_declared_one(folder: Path) -> None:
    names = {"first": {"path": "images/a.png"}, "second": {"bytes": None, "path": str(folder / "images" / "b.png")}}
    for rows in ([{"prompt": "a", **names}], [{"prompt": "a", "images": [names["first"], names["second"]]}]):
        (folder.parent / "away").mkdir(exist_ok=True)
        for place, roots in ((folder, []), (folder.parent / "away", [folder])):
            rows[0].get("first", names["first"])["path"] = str(folder / "images" / "a.png")  # type: ignore[index]
            (place / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
            (found,) = judged(place / "rows.jsonl", roots=roots)
            assert found.images[0] == folder / "images" / "a.png"
    (bad,) = RowFile(folder.parent / "away" / "rows.jsonl").read(0, 1)
    assert isinstance(bad, BadRow) and "absolute path" in bad.error and "--root DIR" in bad.error


@pytest.mark.parametrize("n", [0, 1, 3])
def test_a_list_that_is_no_pair_is_a_bad_row(n: int, folder: Path) -> None:
    rows = [{"prompt": "a", "images": ["images/a.png"] * k} for k in (2, n)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    good, bad = RowFile(folder / "rows.jsonl").read(0, 2)
    assert isinstance(good, Row) and isinstance(bad, BadRow)
    assert bad.error == f"images is a list of {n}, expected a list of two images"


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("below", ["", "data"])
def test_shards_are_read_in_their_order_and_one_split_is_chosen(suffix: str, below: str, tmp_path: Path) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")

    def shard(name: str, ids: list[str]) -> Path:
        rows = [{"id": one, "prompt": "a", "first": "a.png", "second": "a.png"} for one in ids]
        file = tmp_path / below / f"{name}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), file)
        else:
            file.write_text("\n".join(map(json.dumps, rows)))
        return file

    last = shard("train-00002-of-00003", ["4"])
    shard("train-00000-of-00003", ["0", "1"])
    middle = shard("train-00001-of-00003", ["2", "3"])
    assert [row.id for row in judged(tmp_path)] == ["0", "1", "2", "3", "4"]
    rows = RowFile(tmp_path)
    for start in range(6):
        for stop in range(start, 6):
            assert [row.id for row in rows.read(start, stop)] == ["0", "1", "2", "3", "4"][start:stop]
    before = rows.fingerprint()
    shard("train-00001-of-00003", ["2", "x"])
    assert RowFile(tmp_path).fingerprint() != before
    shard("test-00000-of-00001", ["t"])
    with pytest.raises(DataError, match=r"several splits \(test, train\); choose with --split NAME"):
        RowFile(tmp_path)
    assert [row.id for row in judged(tmp_path, split="test")] == ["t"]
    with pytest.raises(InputError, match="holds no split 'best'"):
        RowFile(tmp_path, split="best")
    middle.unlink()
    with pytest.raises(DataError, match="lacks 1 of the 3 shards"):
        RowFile(tmp_path, split="train")
    with pytest.raises(InputError, match="is one file"):
        RowFile(last, split="train")
