"""A JSON list read item by item gives what reading it whole gives."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from earshot.data import json_list
from earshot.data.json_list import iter_json_list
from earshot.errors import DataError, InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(
    items=st.lists(JSON, max_size=5), chunk=st.integers(1, 9), indent=st.none() | st.integers(0, 2), bom=st.booleans()
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_every_list_is_read_as_it_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, items: list[Any], chunk: int, indent: int | None, bom: bool
) -> None:
    monkeypatch.setattr(json_list, "_CHUNK", chunk)
    file = tmp_path / "list.json"
    text = json.dumps(items, indent=indent, ensure_ascii=bool(chunk % 2))
    file.write_bytes(b"\xef\xbb\xbf" * bom + text.encode("utf-8", "surrogatepass" if chunk % 2 else "replace"))
    assert list(iter_json_list(file)) == json.loads(file.read_bytes())


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "is no JSON .*at character 0"),
        (b"   ", "is no JSON"),
        (b"{}", "holds a JSON dict, expected a list"),
        (b'"[1]"', "holds a JSON str, expected a list"),
        (b"[1", r"expected ',' or '\]' at character 2"),
        (b"[1 2]", r"expected ',' or '\]' at character 3"),
        (b"[1,]", "is no JSON .*at character 3"),
        (b"[1] 2", "something follows the list at character 4"),
        (b'[1, {"a": ]', "is no JSON .*at character 10"),
        (b'["\xff"]', "is no JSON .*decode"),
        (b'["\xc3', "is no JSON"),
        (b"[" * 100_000, "is no JSON .*recursion"),
        (b"[" + b"1" * 5000 + b"]", "is no JSON .*limit"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1 << 18])
def test_what_is_no_list_is_one_line_with_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, found: str, chunk: int
) -> None:
    monkeypatch.setattr(json_list, "_CHUNK", chunk)
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.json: .*{found}") as caught:
        list(iter_json_list(tmp_path / "x.json"))
    assert "\n" not in str(caught.value)


def test_the_items_before_the_damage_are_given(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('[{"a": 1}, {"a": 2}, oops')
    items = iter_json_list(tmp_path / "x.json")
    assert [next(items), next(items)] == [{"a": 1}, {"a": 2}]
    with pytest.raises(DataError, match="at character 21"):
        next(items)


def test_an_item_without_end_is_not_taken_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_list, "MAX_ITEM", 1000)
    monkeypatch.setattr(json_list, "_CHUNK", 64)
    (tmp_path / "x.json").write_text('[1, "' + "x" * 100_000)
    with pytest.raises(DataError, match="an entry of more than 1000 characters, at character 4"):
        list(iter_json_list(tmp_path / "x.json"))


def test_a_long_list_takes_the_memory_of_a_short_one(tmp_path: Path) -> None:
    peaks = []
    for name, count in (("short", 1000), ("long", 6000)):
        (tmp_path / name).write_text(json.dumps([{"prompt": "x" * 2000, "n": n} for n in range(count)]))
        tracemalloc.start()
        assert sum(1 for _ in iter_json_list(tmp_path / name)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] < 6_000_000  # the long one is a file of 12 MB


def test_a_folder_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder, expected a JSON list"):
        list(iter_json_list(tmp_path))
