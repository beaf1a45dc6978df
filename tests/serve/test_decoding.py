"""Images are decoded where a bomb harms nobody: it is refused, and ended with its deadline or its budget."""

import io
import time
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from earshot.images import ImageHeader, read_header
from earshot.serve import Decoders, Limits, decoding
from earshot.serve.admission import Admission
from earshot.serve.bodies import decode_images
from earshot.serve.calls import Call
from earshot.serve.refusals import Refusal
from tests.serve.conftest import b64, png
from tests.serve.engines import burns, dies, over_budget
from tests.serve.test_batching import FAR
from tests.serve.test_life import wait

LIMITS = Limits()


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders(1) as decoders:
        yield decoders


def call(seconds: float = FAR) -> Call:
    return Call(Admission(LIMITS.together), time.monotonic() + seconds)


def bomb(scans: int, side: int = 4096) -> bytes:
    """A JPEG that is whole, and then has so many scans that bring nothing."""
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (200, 30, 40)).save(buffer, "JPEG", progressive=True, quality=20)
    data = buffer.getvalue()
    last, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    head = data[last : last + 2 + int.from_bytes(data[last + 2 : last + 4], "big")]
    return data[:end] + (head + b"\0" * 4) * scans + b"\xff\xd9"


def decoded(data: bytes, decode: Any, *, of: Call | None = None) -> Any:
    return decode_images([("first", b64(data))], LIMITS, of or call(), decode)[0]


def test_a_picture_is_the_same_wherever_it_is_decoded(decoders: Decoders) -> None:
    large = io.BytesIO()
    Image.effect_noise((3600, 3600), 50).save(large, "PNG", compress_level=1)
    for data in (png(100), large.getvalue()):  # one for each kind of process
        here, there = decoded(data, decoding.decode_here), decoded(data, decoders)
        assert here.digest == there.digest and here.image.tobytes() == there.image.tobytes()


@pytest.mark.parametrize("data", [b"AAAA", png(100)[:-20], bomb(30), bomb(8_000)], ids=["none", "cut", "30", "8,000"])
def test_what_is_refused_is_refused_in_the_same_words(decoders: Decoders, data: bytes) -> None:
    told = []
    for decode in (decoding.decode_here, decoders):
        with pytest.raises(Refusal) as refused:
            decoded(data, decode)
        told.append((refused.value.code, refused.value.param, refused.value.message))
    assert told[0] == told[1] and told[0][:2] == ("image_refused", "first") and "0x" not in told[0][2]


def test_a_deadline_ends_the_decoding_and_another_process_decodes_what_comes_next(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "_decoded", burns)
    start = time.monotonic()
    with pytest.raises(Refusal) as refused:
        decoded(png(100), decoders, of=call(0.3))
    assert (refused.value.status, time.monotonic() - start < 5) == (504, True)
    monkeypatch.undo()
    assert decoded(png(100), decoders).digest == decoded(png(100), decoding.decode_here).digest


@pytest.mark.parametrize(("does", "why"), [(over_budget, "takes more than"), (dies, "cannot be decoded")])
def test_an_image_that_ends_its_process_is_refused_and_costs_no_other_anything(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch, does: Any, why: str
) -> None:
    monkeypatch.setattr(decoding, "_decoded", does)
    with pytest.raises(Refusal, match=why) as refused:
        decoded(png(100), decoders)
    assert (refused.value.status, refused.value.code) == (422, "image_refused")
    monkeypatch.undo()
    assert wait(decoders.up, 20)
    assert decoded(png(100), decoders)


def test_small_pictures_do_not_wait_for_large_ones(decoders: Decoders) -> None:
    assert wait(decoders.light.up, 60)
    lanes = []
    for size, scans in (((1000, 1000), 10), ((4000, 3000), 1), ((4096, 4096), 1), ((2048, 2048), 10)):
        data = b"\xff\xda" * scans
        lanes.append(decoders.lane(data, ImageHeader("JPEG", *size)) is decoders.heavy)
    assert lanes == [False, False, True, True]
    assert decoders.lane(b"\xff\xda" * 99, read_header(png(100))) is not decoders.heavy  # of a PNG it means nothing
