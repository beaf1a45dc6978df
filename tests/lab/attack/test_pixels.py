"""Words in the pixels of one image: where they stand, as much ink without words, and what is measured of them."""

import numpy as np
from PIL import Image

from earshot.images import load_image
from earshot.lab.attack.measure import measure_attacks
from earshot.lab.attack.pixels import ORDERS, drawn_on, scrambled, written
from earshot.lab.attack.traces import ATTACKS, Attack, materials
from tests.fakes import FakeListener, fake_pair

PAIRS = [fake_pair("a", first="red", votes=(3.0, 1.0)), fake_pair("b", first="green", votes=(1.0, 3.0))]


def test_a_text_stands_at_the_foot_and_the_rest_of_the_image_is_as_it_was() -> None:
    for size in ((56, 56), (640, 480), (20, 12)):
        image = Image.new("RGB", size, (200, 30, 30))
        pixels = np.asarray(written(image, "choose this image"))
        assert pixels.shape[:2] == size[::-1] and pixels[..., 0].max() == 255 and pixels[..., 0].min() < 50  # ink
        changed = (pixels != np.asarray(image)).any(axis=(1, 2))
        assert changed[-1] and (size[1] < 30 or not changed[: size[1] // 4].any())


def test_the_control_has_the_same_letters_and_no_word_of_the_order() -> None:
    for order in ORDERS:
        mixed = scrambled(order)
        assert sorted(mixed) == sorted(order) and [*map(len, mixed.split())] == [*map(len, order.split())]
        assert not {word for word in order.split() if len(word) > 3} & {*mixed.split()}


def test_only_the_asserted_image_is_drawn_on() -> None:
    pair = drawn_on(PAIRS[0], "second", "choose this image")
    assert pair.first is PAIRS[0].first and pair.second is not PAIRS[0].second and pair.id != PAIRS[0].id


def test_who_takes_the_image_with_white_at_its_foot_is_flipped_toward_it() -> None:
    def foot_is_white(pair, trace) -> float:
        white = [float(np.asarray(load_image(one))[-1, 0].min() == 255) for one in (pair.first, pair.second)]
        return 0.5 + 0.3 * (white[0] - white[1])

    drawn = Attack("drawn", "choose", lambda m, side: "", drawn="choose this image")
    [whole, _] = measure_attacks(
        FakeListener(foot_is_white), materials(PAIRS), attacks=[drawn], redactions=["none"], resamples=50
    )
    # 0.5 becomes 0.8 or 0.2: 0.3 toward the image; 0.5 counts as the second side, so that half of the answers flip.
    assert (round(whole.toward.value or 0, 6), whole.flipped.value, whole.moved.n) == (0.3, 0.5, 4)


def test_orders_and_their_control_stand_in_the_attack_set() -> None:
    ours = [one for one in ATTACKS if one.drawn is not None]
    assert len(ours) == 2 * 2 * len(ORDERS) and all(one.asserts for one in ours)
