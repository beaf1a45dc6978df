"""Pictures are made ready once for all who see them alike, and are what they would be made alone."""

import copy
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from earshot.images import Sight
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.vlm import load
from earshot.vlm.model import set_limits
from earshot.vlm.prepared import PREPARED, PreparedPictures
from tests.vlm.models import noisy_pair, picture


@pytest.fixture(autouse=True)
def nothing_kept():
    PREPARED.forget()
    yield
    PREPARED.forget()


@pytest.fixture
def asked(monkeypatch):
    """How many pictures each call of a stock image processor made."""
    calls: list[int] = []

    def counting(vlm):
        stock = vlm.processor.image_processor.stock
        plain = stock.preprocess

        def preprocess(self, images, *args, **kwargs):
            calls.append(len(images))
            return plain(self, images, *args, **kwargs)

        monkeypatch.setattr(stock, "preprocess", preprocess)
        return calls

    return counting


def test_judging_in_both_orders_and_two_listeners_make_each_picture_once(asked):
    author, reader = load("world:reasoner", dtype="float32"), load("world:listener", dtype="float32")
    calls = asked(author)
    pairs = [noisy_pair(str(k), seed=k) for k in range(3)]
    Reasoner(author, max_new_tokens=2).judge(pairs)
    assert sum(calls) == 6
    LocalListener(reader).p_first([pair.swapped() for pair in pairs], ["a"] * 3)
    assert sum(calls) == 6


def test_both_orders_of_a_pair_open_its_files_once(tmp_path: Path, monkeypatch):
    for name in ("a.png", "b.png"):
        picture(0).save(tmp_path / name)
    pair = replace(noisy_pair("a"), first=tmp_path / "a.png", second=tmp_path / "b.png")
    opened = []
    monkeypatch.setattr("earshot.vlm.model.load_image", lambda file, **_: opened.append(file) or picture(0))
    _texts, images = load("world:reasoner", dtype="float32").questions([pair, pair.swapped()])
    assert opened == [pair.first, pair.second]
    assert images[1] == images[0][::-1]


@pytest.mark.parametrize("name", ["world:reasoner", "world:held-out"])
def test_a_picture_is_what_it_would_be_made_alone_whatever_was_kept(name, asked):
    vlm = load(name, dtype="float32")
    pairs = [noisy_pair(str(k), seed=k) for k in range(3)]
    vlm.encode_pairs(pairs[:2])
    calls = asked(vlm)
    mixed = vlm.encode_pairs([pairs[2], pairs[0].swapped()])
    assert calls == [2]
    stock = vlm.processor.image_processor
    stock.__class__ = stock.stock
    plain = vlm.encode_pairs([pairs[2], pairs[0].swapped()])
    assert set(mixed) == set(plain)
    for key, value in plain.items():
        assert torch.equal(mixed[key], value), key


def test_what_callers_write_into_a_batch_is_not_kept():
    vlm = load("world:reasoner", dtype="float32")
    first = vlm.encode_pairs([noisy_pair("a")])["pixel_values"]
    before = first.clone()
    first.zero_()
    assert torch.equal(vlm.encode_pairs([noisy_pair("a")])["pixel_values"], before)


def test_another_size_is_made_anew(asked):
    vlm = load("world:reasoner", dtype="float32")
    pair = noisy_pair("a")
    before = vlm.encode_pairs([pair])["pixel_values"].size(0)
    calls = asked(vlm)
    set_limits(vlm, Sight(28 * 28, 28 * 28))
    assert vlm.encode_pairs([pair])["pixel_values"].size(0) == before // 4
    assert calls == [2]


def test_pictures_of_the_same_bytes_in_another_shape_are_another_picture():
    vlm = load("world:reasoner", dtype="float32")
    set_limits(vlm, Sight(28 * 28, 140 * 140))
    wide = picture(0, 112, 56)
    tall = Image.frombytes("RGB", (56, 112), wide.tobytes())
    grids = vlm.encode([vlm.messages("a")], [[wide, tall]])["image_grid_thw"].tolist()
    assert grids == [[1, 4, 8], [1, 8, 4]]


def test_no_more_is_kept_than_there_is_room_for():
    kept = PreparedPictures(room_bytes=100)
    for key in (b"a", b"b"):
        kept.keep(key, {"pixel_values": torch.zeros(10)})  # 40 bytes
    assert kept.get(b"a") is not None
    kept.keep(b"c", {"pixel_values": torch.zeros(10)})
    assert [kept.get(key) is not None for key in (b"a", b"b", b"c")] == [True, False, True]
    kept.keep(b"large", {"pixel_values": torch.zeros(26)})
    assert kept.get(b"large") is None


def test_a_processor_that_remembers_is_saved_copied_and_pickled_like_any(tmp_path: Path):
    vlm = load("world:reasoner", dtype="float32")
    vlm.save(tmp_path / "model")
    again = load(tmp_path / "model", dtype="float32")
    images = [picture(0), picture(1)]
    want = vlm.processor.image_processor(images, return_tensors="pt")["pixel_values"]
    for processor in (
        again.processor.image_processor,
        copy.deepcopy(vlm.processor.image_processor),
        pickle.loads(pickle.dumps(vlm.processor.image_processor)),
    ):
        PREPARED.forget()
        assert torch.equal(processor(images, return_tensors="pt")["pixel_values"], want)
