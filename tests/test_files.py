"""Files that survive a crash, and the opening of those that people name."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.errors import CannotWrite, DataError, InputError
from earshot.files import append_jsonl, plain, read_json_object, read_jsonl, repair_jsonl, whole, write_json, write_text
from earshot.locks import sole_writer


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    write_text(target, "old")
    with pytest.raises(RuntimeError), whole(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("killed")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_put_in_the_place_of_the_old_one_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for words in ("old", "new"):
        with whole(target) as temporary:
            (temporary / "deep").mkdir(parents=True)
            (temporary / "deep" / words).write_text(words)
        assert [path.name for path in target.rglob("*")] == ["deep", words]
    with pytest.raises(RuntimeError), whole(target) as temporary:
        (temporary / "deep").mkdir(parents=True)
        raise RuntimeError("killed")
    assert (target / "deep" / "new").read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_line_with_the_place(tmp_path: Path, number: int) -> None:
    (tmp_path / "metrics.json").write_text("old")
    told = pytest.raises(CannotWrite, match=r"metrics\.json: cannot be written \(.*\); make room")
    with told, whole(tmp_path / "metrics.json") as temporary:
        temporary.write_text("half")
        raise OSError(number, "whatever")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.parametrize("read", [read_json_object, lambda path, what: list(read_jsonl(path))])
def test_a_pipe_a_device_and_a_folder_are_refused_and_not_waited_for(tmp_path: Path, read: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, found in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "device"), (tmp_path, "is a folder")):
        with pytest.raises(InputError, match=found):
            read(path, what="rows")


def test_a_json_document_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earshot.files.MAX_JSON_BYTES", 20)
    (tmp_path / "a.json").write_text('{"a": "0123456789"}')
    assert read_json_object(tmp_path / "a.json", what="it") == {"a": "0123456789"}
    (tmp_path / "a.json").write_text('{"a": "0123456789ab"}')
    with pytest.raises(InputError, match="larger than 20 bytes, expected it"):
        read_json_object(tmp_path / "a.json", what="it")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[1]", "a JSON list"),
        (b'{"a": NaN}', "no JSON"),
        (b"\xff{}", "UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_holds_no_object_is_named_with_what_was_expected(
    tmp_path: Path, content: bytes, found: str
) -> None:
    file = tmp_path / "dataset.json"
    with pytest.raises(InputError, match=r"dataset\.json: no such file, expected the origin"):
        read_json_object(file, what="the origin")
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"dataset\.json: .*{found}.*expected the origin"):
        read_json_object(file, what="the origin")
    write_json(file, {"a": [1]})
    assert read_json_object(file, what="the origin") == {"a": [1]}


def test_the_new_content_is_not_seen_before_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "table.parquet"
    with whole(target) as temporary:
        temporary.write_bytes(b"rows")
        assert not target.exists()
        assert temporary.parent == tmp_path and temporary.suffix == ".parquet"
    assert target.read_bytes() == b"rows"


def test_who_has_the_old_file_open_reads_it_to_its_end(tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    write_text(target, "old")
    with target.open() as reader:
        write_text(target, "new")
        assert reader.read() == "old"
    assert target.read_text() == "new"


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    @dataclass
    class Part:
        value: float

    row = {"loss": math.nan, "kl": np.float32("inf"), "parts": np.array([1.0, np.nan]), "part": Part(-math.inf), "n": 3}
    append_jsonl(tmp_path / "m.jsonl", [row])
    write_json(tmp_path / "m.json", row)
    expected = {"loss": None, "kl": None, "parts": [1.0, None], "part": {"value": None}, "n": 3}
    assert json.loads((tmp_path / "m.jsonl").read_text()) == expected
    assert json.loads((tmp_path / "m.json").read_text()) == expected


@given(
    st.lists(
        st.dictionaries(
            st.text(st.characters()),
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        ),
        max_size=4,
    )
)
def test_what_is_appended_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    file = tmp_path_factory.mktemp("log") / "rows.jsonl"
    file.touch()
    append_jsonl(file, rows[:2])
    append_jsonl(file, rows[2:])
    assert list(read_jsonl(file)) == rows


def test_a_lone_surrogate_from_a_model_survives(tmp_path: Path) -> None:
    append_jsonl(tmp_path / "t.jsonl", [{"trace": "half an emoji \ud83d", "p": math.nan}])
    assert list(read_jsonl(tmp_path / "t.jsonl")) == [{"trace": "half an emoji \ud83d", "p": None}]


@pytest.mark.parametrize("missing", range(1, 17))
def test_a_line_cut_anywhere_is_dropped_and_then_repaired(tmp_path: Path, missing: int) -> None:
    file = tmp_path / "log.jsonl"
    append_jsonl(file, [{"step": 1}, {"step": 2, "ä": "b"}])
    data = file.read_bytes()  # the last line is {"step": 2, "ä": "b"}\n, 23 bytes
    file.write_bytes(data[:-missing])
    kept = [{"step": 1}, {"step": 2, "ä": "b"}] if missing == 1 else [{"step": 1}]
    assert list(read_jsonl(file)) == kept
    with pytest.raises(DataError, match="half-written"):
        append_jsonl(file, [{"step": 3}])
    # Without its newline alone, the line is complete: nothing is lost.
    assert repair_jsonl(file) == (0 if missing == 1 else 23 - missing)
    append_jsonl(file, [{"step": 3}])
    assert list(read_jsonl(file)) == [*kept, {"step": 3}]


def test_repairing_a_sound_an_empty_or_a_missing_file_changes_nothing(tmp_path: Path) -> None:
    sound, empty = tmp_path / "sound.jsonl", tmp_path / "empty.jsonl"
    append_jsonl(sound, [{"a": 1}])
    empty.touch()
    assert [repair_jsonl(f) for f in (sound, empty, tmp_path / "none.jsonl")] == [0, 0, 0]
    assert sound.read_text() == '{"a": 1}\n' and empty.read_text() == "" and not (tmp_path / "none.jsonl").exists()


def test_a_half_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"a": 1}\n' + b'{"trace": "' + b"x" * 200_000)
    assert repair_jsonl(file) == 200_011  # 11 bytes before the first x
    assert list(read_jsonl(file)) == [{"a": 1}]


@pytest.mark.parametrize(
    "line",
    [b'{"a": 1', b"17", b"[1]", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": "\xff"}', b"[" * 100_000, b"\0" * 9],
)
def test_a_bad_line_that_is_not_the_last_is_an_error_with_its_place(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"ok": 1}\n' + line + b"\n" + b'{"ok": 2}\n')
    with pytest.raises(DataError, match=r"log\.jsonl:2: ") as caught:
        list(read_jsonl(file))
    assert "\n" not in str(caught.value)


def test_a_cut_line_is_an_error_in_a_file_that_was_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "metadata.jsonl"
    file.write_bytes(b'{"ok": 1}\n{"ok"')
    with pytest.raises(DataError, match=r"metadata\.jsonl:2: .*half-written"):
        list(read_jsonl(file, allow_cut=False))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl"):
        list(read_jsonl(tmp_path / "nothing.jsonl"))


def test_plain_refuses_what_no_file_can_hold() -> None:
    with pytest.raises(TypeError, match="cannot be written"):
        plain({"model": object()})


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("inline_container.cc:6] . unexpected pos 1")]
)
def test_where_a_disk_is_full_the_error_knows_what_was_written(tmp_path: Path, error: Exception) -> None:
    for writing in (whole(tmp_path / "model"), sole_writer(tmp_path)):
        with (
            pytest.raises(CannotWrite, match=rf"^{tmp_path}(/model)?: cannot be written \(.*\); make room there"),
            writing,
        ):
            raise error
    with pytest.raises(ValueError, match="other"), whole(tmp_path / "model"):
        raise ValueError("other")
