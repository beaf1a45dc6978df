"""Names of images as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.benchmarks.tails import Tails

KNOWN = ("test/1.jpg", "test/a/2.v1.jpg", "train/a/2.v1.jpg", "test/b/3.png", "one\0x/4.png", "two\0y/4.png")
part = st.text(st.characters(exclude_characters="/\\\0:?#%", exclude_categories=["C", "Z"]), min_size=1, max_size=5)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("1", "test/1.jpg"),
        ("elsewhere/1.jpg", "test/1.jpg"),
        ("/data/test/a/2.v1.jpg", "test/a/2.v1.jpg"),
        ("train\\a\\2.v1", "train/a/2.v1.jpg"),
        ("https://host/3.png?w=10#top", "test/b/3.png"),
        ("one\0/data/4.png", "one\0x/4.png"),  # within its prompt it is the only one
        ("1.png", None),  # another file
        ("4.png", None),
        ("three\0x/4.png", None),
        ("", None),
        (".jpg", None),
    ],
)
def test_a_name_is_found_by_the_shortest_end_that_only_one_has(written: str, meant: str | None) -> None:
    assert Tails(KNOWN).find(written) == meant


@pytest.mark.parametrize("written", ["2.v1", "a/2.v1.jpg", "other/a/2.v1.jpg"])
def test_several_of_the_same_end_are_refused_by_name(written: str) -> None:
    with pytest.raises(ValueError, match=r"may be 'test/a/2.v1.jpg' or 'train/a/2.v1.jpg'; give more of its path"):
        Tails(KNOWN).find(written)


@given(st.lists(st.lists(part, min_size=1, max_size=3), min_size=1, max_size=6), st.data())
def test_whatever_stands_before_a_whole_name_it_is_found_or_refused_but_never_another(
    known: list[list[str]], data: st.DataObject
) -> None:
    names = [*dict.fromkeys("/".join(("s", *parts[:-1], f"{parts[-1]}.png")) for parts in known)]
    name = data.draw(st.sampled_from(names))
    before = data.draw(st.sampled_from(["/data/", "./", "C:\\x\\", "https://host/x/", "file:///"]))
    try:
        found = Tails(names).find(before + name.replace("/", "\\" if "\\" in before else "/"))
    except ValueError:
        return
    assert found is None or found.split("/")[-1] in (name.split("/")[-1], f"{name.split('/')[-1]}.png")
    if [n.split("/")[-1].removesuffix(".png") for n in names].count(name.split("/")[-1].removesuffix(".png")) == 1:
        assert found == name
