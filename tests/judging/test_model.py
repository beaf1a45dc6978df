"""The same pictures give the same numbers, however they are handed over; nothing is guessed, reused or half-checked."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import earshot
from earshot.errors import ImageError, InputError, ListenerUnavailable, PromptTooLong
from earshot.images import Sight
from earshot.judging.model import RewardModel, describe, load
from earshot.types import Pair, Votes
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus
from tests.judging.opinions import Hears, Opinionated, shade

DARK, LIGHT = shade(100), shade(140)
NOISY = RewardModel(Opinionated(noise=0.3, bias=0.05), samples=3)


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def ask(model=NOISY, first=DARK, second=LIGHT, **more):
    return model.compare(prompt="a grey square", first=first, second=second, **more)


def test_both_orders_are_averaged():
    told = ask(RewardModel(Opinionated(bias=0.1)))
    # σ(-40 / 20) = 0.1192; shown first it gains 0.1, shown second its rival does.
    assert told.p_first_forward == pytest.approx(0.2192, abs=1e-4)
    assert told.p_first_swapped == pytest.approx(0.0192, abs=1e-4)
    assert told.p_first == pytest.approx(0.1192, abs=1e-4)
    assert (told.verdict, told.orders_agree, told.malformed) == ("second", True, 0)


def test_orders_that_contradict_each_other_are_said_to():
    told = ask(RewardModel(Opinionated(bias=0.45)))
    assert (told.p_first_forward > 0.5, told.p_first_swapped > 0.5) == (True, False)
    assert told.orders_agree is False


def test_swapping_the_images_swaps_everything_to_the_last_bits():
    one, other = ask(), ask(first=LIGHT, second=DARK)
    assert other.p_first == pytest.approx(1 - one.p_first, abs=1e-15)
    assert other.p_first_forward == pytest.approx(1 - one.p_first_swapped, abs=1e-15)
    assert {one.verdict, other.verdict} == {"first", "second"}
    assert one.question == other.question
    forward, swapped = (
        [s.trace for s in told.samples if s.order == order] for told, order in ((other, "forward"), (one, "swapped"))
    )
    assert forward == swapped


def test_a_file_its_bytes_a_picture_and_an_array_are_the_same_question(tmp_path):
    for name, image in (("one", DARK), ("two", LIGHT)):
        image.save(tmp_path / f"{name}.png")
    expected = ask()
    for form in (
        lambda name, image: tmp_path / f"{name}.png",
        lambda name, image: str(tmp_path / f"{name}.png"),
        lambda name, image: png(image),
        lambda name, image: bytearray(png(image)),
        lambda name, image: memoryview(png(image)),
        lambda name, image: np.asarray(image),
        lambda name, image: image.convert("RGBA"),
    ):
        assert ask(first=form("one", DARK), second=form("two", LIGHT)) == expected


def test_the_seed_and_the_prompt_make_another_question():
    told = ask()
    assert ask(seed=1).p_first != told.p_first
    assert NOISY.compare(prompt="a grey circle", first=DARK, second=LIGHT).p_first != told.p_first
    assert ask() == told


def test_a_batch_gives_what_each_pair_gives_alone_also_with_seeds_of_their_own():
    lights = [shade(b) for b in (90, 120, 150)]
    together = NOISY.answer(
        [
            NOISY.question(prompt=p, first=DARK, second=x, seed=s)
            for p, x, s in zip("abc", lights, [0, 7, 0], strict=True)
        ]
    )
    alone = [
        NOISY.compare(prompt=p, first=DARK, second=x, seed=s) for p, x, s in zip("abc", lights, [0, 7, 0], strict=True)
    ]
    assert together == alone
    assert NOISY.reasoner.batches[-4:] == [3, 1, 1, 1]
    assert NOISY.answer([]) == []


def test_a_changed_file_is_a_changed_picture(tmp_path):
    path = tmp_path / "picture.png"
    DARK.save(path)
    before = ask(first=path)
    shade(200).save(path)
    assert ask(first=path).p_first > before.p_first
    path.unlink()
    with pytest.raises(ImageError, match=r"first: .*picture.png: is missing"):
        ask(first=path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (None, "first: is of type NoneType, expected a path"),
        (42, "first: is of type int"),
        ([1, 2], "first: is of type list"),
        ("nowhere.png", "first: nowhere.png: is missing, expected an image file"),
        ("https://example.org/a.png", "first: .* is a link, and none is opened"),
        ("data:image/png;base64,AAAA", "is a link"),
        (b"", "first: is not there"),
        (b"GIF89a", "first: is no JPEG"),
        (png(DARK)[:60], "first: "),
        (np.zeros((16, 16, 3)), "first: is an array of float64"),
        (np.zeros((16, 16), dtype=np.uint8), r"shape \(16, 16\)"),
        (np.zeros((3, 16, 16), dtype=np.uint8), "nothing is guessed"),
        (np.zeros((0, 16, 3), dtype=np.uint8), "first: is an array"),
        (np.zeros((2, 2, 3), dtype=np.uint8), "first: is 2 x 2 pixels"),
    ],
)
def test_what_is_no_image_is_refused_by_name_and_nothing_is_judged(wrong, message):
    model = RewardModel(Opinionated())
    with pytest.raises(ImageError, match=message):
        ask(model, first=wrong)
    with pytest.raises(ImageError, match="second: "):
        ask(model, second=wrong)
    with pytest.raises(ImageError, match=r"images\[2\]"):
        model.rank(prompt="a", images=[DARK, LIGHT, wrong])
    assert model.reasoner.batches == []


@pytest.mark.parametrize("prompt", ["", "  \n", "half a \ud83d"])
def test_a_prompt_that_is_no_text_is_refused(prompt):
    with pytest.raises(InputError, match="prompt"):
        NOISY.compare(prompt=prompt, first=DARK, second=LIGHT)
    with pytest.raises(InputError, match="prompt"):
        NOISY.rank(prompt=prompt, images=[DARK, LIGHT])


def test_wrong_calls_say_what_is_wrong():
    with pytest.raises(InputError, match="seed is -1"):
        ask(seed=-1)
    with pytest.raises(InputError, match="seed is -1"):
        NOISY.rank(prompt="a", images=[DARK, LIGHT], seed=-1)
    with pytest.raises(InputError, match="samples is 0"):
        RewardModel(Opinionated(), samples=0)
    with pytest.raises(InputError, match="greedy"):
        load("world:reasoner", samples=2, temperature=0.0)


def test_an_order_without_a_verdict_leaves_no_number():
    told = ask(RewardModel(Opinionated(malformed=("swapped",)), samples=2))
    assert told.p_first is told.verdict is told.orders_agree is None
    assert told.malformed == 2
    assert (told.p_first_forward is None) != (told.p_first_swapped is None)
    assert {t.malformed for t in told.samples} == {None, "no think block"}


def test_the_listener_reads_the_traces_without_their_conclusions():
    listener = Hears()
    model = RewardModel(Opinionated(bias=0.1), {"hears": listener})
    told, other = ask(model), ask(model, first=LIGHT, second=DARK)
    assert told.p_read["hears"] == pytest.approx(0.1192, abs=1e-4)
    assert other.p_read["hears"] == pytest.approx(1 - told.p_read["hears"])
    assert [s.listener["hears"] for s in told.samples] == pytest.approx([0.1192] * 2, abs=1e-4)
    assert len(listener.traces) == 4
    assert ask(RewardModel(Opinionated())).p_read == {}


def test_a_listener_that_breaks_is_an_error_and_no_number():
    class Broken(Hears):
        def p_first(self, pairs, traces):
            return np.full(len(pairs), np.nan)

    with pytest.raises(ListenerUnavailable):
        ask(RewardModel(Opinionated(), {"broken": Broken()}))


def test_a_lenient_model_leaves_out_a_listener_that_breaks_and_says_so_but_never_who_decides():
    class Broken(Hears):
        def p_first(self, pairs, traces):
            raise ListenerUnavailable("gone")

    readers = {"broken": Broken(), "hears": Hears()}
    told = ask(RewardModel(Opinionated(), readers, lenient=True))
    assert told.p_read["broken"] is None and told.p_read["hears"] is not None
    assert told.broken == {"broken": "gone"} and told.as_dict()["broken"] == {"broken": "gone"}
    with pytest.raises(ListenerUnavailable):
        ask(RewardModel(Opinionated(), readers, lenient=True, decide="broken"))


def test_a_reader_decides_on_request():
    author = RewardModel(Opinionated(opinion=lambda pair: 0.8), {"hears": Hears()})
    reader = RewardModel(Opinionated(opinion=lambda pair: 0.8), {"hears": Hears()}, decide="hears")
    assert ask(author).p_first == pytest.approx(0.5) and ask(author).verdict is None
    assert ask(reader).p_first == pytest.approx(0.1192, abs=1e-4) and ask(reader).verdict == "second"
    assert ask(reader).p_author == ask(author).p_first
    with pytest.raises(InputError, match="decide is 'nobody', expected one of author, hears"):
        RewardModel(Opinionated(), {"hears": Hears()}, decide="nobody")
    with pytest.raises(InputError, match="reads the answer back"):
        RewardModel(Opinionated(), {"hears": Hears()}, decide="hears", redaction="answer")


@pytest.mark.parametrize("seed", range(4))
def test_one_picture_given_twice_is_one_half_and_nobody_is_asked(seed):
    model = RewardModel(Opinionated(bias=0.3, noise=0.3), {"hears": Hears()})
    told = ask(model, second=shade(100), seed=seed)
    assert (told.p_first, told.verdict, told.reason) == (0.5, None, "the two images are the same picture")
    assert model.reasoner.batches == [0] or model.reasoner.batches == []
    ranking = model.rank(prompt="a", images=[DARK, LIGHT, shade(100)], seed=seed)
    assert ranking.ranks[0] == ranking.ranks[2]


def test_the_prompt_and_the_images_may_be_given_by_place():
    assert NOISY.compare("a", DARK, LIGHT) == NOISY.compare(prompt="a", first=DARK, second=LIGHT)
    assert NOISY.rank("a", [DARK, LIGHT]) == NOISY.rank(prompt="a", images=[DARK, LIGHT])
    assert NOISY.score("a", [DARK, LIGHT]) == NOISY.score(prompt="a", images=[DARK, LIGHT])


def test_a_prompt_that_is_too_long_is_an_error_in_its_place_alone():
    class Short(Opinionated):
        def judge(self, pairs, **how):
            if long := {k: "is too long" for k, pair in enumerate(pairs) if len(pair.prompt) > 5}:
                raise PromptTooLong(long)
            return super().judge(pairs, **how)

    model = RewardModel(Short())
    questions = [model.question(prompt=p, first=DARK, second=LIGHT) for p in ("a", "abcdefg", "b", "abcdefgh")]
    answers = model.try_answer(questions)
    assert [isinstance(answer, InputError) for answer in answers] == [False, True, False, True]
    assert [answers[0], answers[2]] == model.answer([questions[0], questions[2]])
    with pytest.raises(InputError, match="prompt: is too long"):
        model.answer(questions)


def test_a_listener_is_not_asked_about_malformed_completions():
    listener = Hears()
    told = ask(RewardModel(Opinionated(malformed=("forward", "swapped")), {"hears": listener}))
    assert listener.traces == [] and told.p_read["hears"] is None


def test_an_answer_is_plain_json():
    told = json.loads(json.dumps(ask(RewardModel(Opinionated(), {"hears": Hears()})).as_dict()))
    assert told["verdict"] == "second"
    assert {"p_first", "p_first_forward", "p_first_swapped", "orders_agree", "malformed", "seed"} <= told.keys()
    assert told["samples"][0]["order"] == "forward"
    ranking = NOISY.rank(prompt="a", images=[DARK, LIGHT]).as_dict()
    assert json.loads(json.dumps(ranking))["images"][1]["rank"] == 1


def test_the_trace_to_show_was_written_for_the_verdict():
    told = ask(RewardModel(Opinionated()))
    assert told.trace == "the second is brighter ."


def test_one_image_alone_has_no_score():
    with pytest.raises(InputError, match="no absolute scale"):
        NOISY.score(prompt="a", images=[DARK])
    with pytest.raises(InputError, match="at least 2"):
        NOISY.rank(prompt="a", images=[])


def test_scores_against_references_are_mean_probabilities():
    model = RewardModel(Opinionated())
    # σ(2) = 0.8808 against 100, σ(0) = 0.5 against itself
    scores = model.score(prompt="a", images=[LIGHT], references=[DARK, LIGHT])
    assert scores == pytest.approx([(0.8808 + 0.5) / 2], abs=1e-4)
    with pytest.raises(InputError, match="references: none given"):
        model.score(prompt="a", images=[LIGHT], references=[])
    silent = RewardModel(Opinionated(malformed=("forward",)))
    assert silent.score(prompt="a", images=[LIGHT], references=[DARK]) == [None]


def test_scores_without_references_are_the_strengths():
    images = [DARK, LIGHT, shade(120)]
    ranking = NOISY.rank(prompt="a", images=images)
    assert NOISY.score(prompt="a", images=images) == [image.strength.value for image in ranking.images]


def test_earshot_load_gives_the_shipped_model_which_tells_right_from_wrong():
    model = earshot.load("world:reasoner", listener="world:listener", temperature=0.0, max_new_tokens=64)
    assert isinstance(model, RewardModel)
    # A red circle was asked for; one picture has it.
    right, wrong = (Image.new("RGB", (56, 56), colour) for colour in ("red", "blue"))
    told = model.compare(prompt="a red circle", first=right, second=wrong)
    again = model.answer(
        [model.question(prompt=prompt, first=right, second=wrong) for prompt in ("a blue square", "a red circle")]
    )[1]
    assert again.p_first == pytest.approx(told.p_first, abs=1e-6)
    assert [s.trace for s in again.samples] == [s.trace for s in told.samples]
    assert told.p_first is None or 0 <= told.p_first <= 1
    told_of = describe(model)
    assert told_of["model"]["name"] == "reasoner" and len(told_of["listeners"]["listener"]["sha256"]) == 64
    assert str(Path.home()) not in json.dumps(told_of)


def test_earshot_has_no_other_surprises():
    assert "load" in dir(earshot)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        earshot.laod  # noqa: B018


def test_the_pair_has_no_votes():
    pair = NOISY.question(prompt="a", first=DARK, second=LIGHT).pair
    assert isinstance(pair, Pair) and pair.votes == Votes(0.0, 0.0)


def test_listeners_and_checkers_are_described_and_a_model_of_several_roles_is_loaded_once(tmp_path):
    folder = str(tmp_path / "one")
    build_tiny("llava", corpus(40), size=TinySize(hidden=64, layers=1, vision_hidden=32, vision_layers=1)).save(
        tmp_path / "one"
    )
    roles = {"listener": [f"both={folder},orders=both", folder], "checker": [f"c={folder}"]}
    model = earshot.load(folder, **roles, max_new_tokens=8)
    both, plain = model.listeners["both"], model.listeners["one"]
    assert both.base.vlm is plain.vlm is model.reasoner.vlm is model.checkers["c"].checkers[0].vlm
    told = describe(model)
    assert told["listeners"]["both"]["through"] == ["BothOrdersListener"]
    hashes = {told["model"]["sha256"], told["listeners"]["both"]["sha256"], told["checkers"]["c"]["sha256"]}
    assert len(hashes) == 1
    answer = ask(model)
    assert answer.p_read.keys() == {"both", "one"}


def test_listeners_and_checkers_see_of_an_image_what_the_reasoner_sees_unless_told_otherwise():
    roles = {
        "listener": ["a=world:listener", "b=world:held-out,max_pixels=900", "c=world:listener,min_pixels=2000"],
        "checker": ["d=world:held-out"],
    }
    model = load("world:reasoner", **roles, min_pixels=1200, max_pixels=1568)
    a, b, c = (model.listeners[name].vlm for name in "abc")
    d = model.checkers["d"].checkers[0].vlm
    asked, told = Sight(1200, 1568, "pil"), {"min_pixels": 1200, "max_pixels": 1568, "image_backend": "pil"}
    assert [vlm.sight for vlm in (model.reasoner.vlm, a, d)] == [asked] * 3
    # What is said of a listener stands; the reasoner's other limit gives way to it.
    assert [vlm.sight for vlm in (b, c)] == [Sight(900, 900, "pil"), Sight(2000, 2000, "pil")]
    record = describe(model)
    assert told.items() <= record["model"].items() and told.items() <= record["checkers"]["d"].items()
    assert {"min_pixels": 900, "max_pixels": 900}.items() <= record["listeners"]["b"].items()
    own = load("world:reasoner", listener="world:held-out")
    assert own.reasoner.vlm.sight == own.listeners["held-out"].vlm.sight == Sight(56 * 56, 56 * 56, "pil")
    with pytest.raises(InputError, match="min_pixels 9 is above max_pixels 4"):
        load("world:reasoner", listener="world:held-out,min_pixels=9,max_pixels=4")
