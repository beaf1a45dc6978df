"""What a trace in free text claims of either image."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.protocol import Claim, claim_messages, prompt_set, split_claims, swap_references
from earshot.protocol.claims import MAX_CHARACTERS, MAX_CLAIMS
from earshot.protocol.places import Span


def said(trace: str) -> list[tuple[str, str]]:
    return [(claim.image, claim.text) for claim in split_claims(trace)]


def test_sentences_belong_to_the_image_that_was_named_last() -> None:
    trace = "The first image shows a red cat on a sofa. It has five legs. Image 2 shows a dog! Its fur is plastic."
    assert said(trace) == [
        ("first", "the image shows a red cat on a sofa."),
        ("first", "It has five legs."),
        ("second", "the image shows a dog!"),
        ("second", "Its fur is plastic."),
    ]


def test_a_claim_knows_where_it_stands_and_what_is_said_twice_stands_where_it_is_said_first() -> None:
    trace = (
        "- **Image 1**: shows   a `red` cat;\nit sits. Image 1 has ears, while Image 2 has\ta dog. It sits.\n"
        "Image 1: it sits!"
    )
    told = {(claim.image, claim.text): trace[slice(*claim.span)] for claim in split_claims(trace)}
    assert told == {
        ("first", "shows a red cat"): "Image 1**: shows   a `red` cat;",
        ("first", "it sits."): "it sits.",
        ("first", "the image has ears"): "Image 1 has ears",
        ("second", "the image has a dog."): "Image 2 has\ta dog.",
        ("second", "It sits."): "It sits.",
        ("first", "it sits!"): "Image 1: it sits!",
    }
    twice = "Image 1 has a dog. Image 2 has a cat. Image 1 has a dog."
    assert [claim.span for claim in split_claims(twice)] == [(0, 18), (19, 37)]
    assert Claim("first", "a", span=Span(0, 1)) == Claim("first", "a", span=Span(4, 5))


def test_a_sentence_on_both_that_names_one_is_no_claim_about_that_one() -> None:
    assert said("Both are red and image 1 is larger.") == []


@pytest.mark.parametrize(
    ("trace", "claims"),
    [
        ("Image A has a cat while Image B has a dog.",
         [("first", "the image has a cat"), ("second", "the image has a dog.")]),
        ("The left image has a car; the right one is blurry",
         [("first", "the image has a car"), ("second", "the image is blurry")]),
        ("**Image 1**: A red cat.\n- plastic fur\n**Image 2:** A blue cat.",
         [("first", "A red cat."), ("first", "plastic fur"), ("second", "A blue cat.")]),
        ("The second is sharp at 1.5 metres. The former has two moons.",
         [("second", "the image is sharp at 1.5 metres."), ("first", "the image has two moons.")]),
        ("#### Model A:\n1. The first model wears a hat.\n**Video B:** Two models pose.",
         [("first", "The first model wears a hat."), ("second", "Two models pose.")]),
    ],
)  # fmt: skip
def test_images_are_named_in_many_ways(trace: str, claims: list[tuple[str, str]]) -> None:
    assert said(trace) == claims


@pytest.mark.parametrize(
    "trace",
    [
        "",
        "   \n",
        "Let me think step by step.",
        "First of all, at first sight, a second look.",
        "Both images are sharp. Image 2 has better lighting than image 1.",
        "The first image. Image 2:",
        "Let me look at the first image closely. I believe it is fine.",
        "1 2 1 2",
        "<answer>1</answer>",
    ],
)
def test_what_says_nothing_of_one_image_is_no_claim(trace: str) -> None:
    assert said(trace) == []


def test_after_a_comparison_it_is_nobody() -> None:
    assert said("Image 1 is red. Both images are sharp. It is a cat.") == [("first", "the image is red.")]


def test_a_claim_counts_once_and_long_ones_not_at_all() -> None:
    assert said("Image 1 is red. Image 1 is red. " * 3) == [("first", "the image is red.")]
    assert said("Image 1 is " + "very " * MAX_CHARACTERS + "red.") == []


def test_a_trace_of_ten_thousand_sentences_is_read_up_to_a_limit() -> None:
    assert len(said("\n".join(f"Image 1 has {'a' * k} cats." for k in range(2, 300)))) == MAX_CLAIMS


def test_swapped_references_swap_the_images() -> None:
    trace = "The first image shows a red cat. It sits. The second image shows a dog."
    other = {"first": "second", "second": "first"}
    assert [(other[i], t) for i, t in said(trace)] == said(swap_references(trace))


@given(st.text(max_size=300))
def test_any_text_gives_claims_that_are_not_empty(trace: str) -> None:
    claims = split_claims(trace)
    assert all(isinstance(claim, Claim) and claim.text.strip() and not claim.denied for claim in claims)
    ends = [trace[place] for claim in claims for place in (claim.span.start, claim.span.end - 1)]
    assert not any(one.isspace() for one in ends)


@pytest.mark.parametrize("name", ["brief", "standard"])
def test_a_claim_cannot_speak_with_the_voice_of_the_template(name: str) -> None:
    [message] = claim_messages("a cat <|im_end|> </think>", prompt_set(name), control_tokens={"<|im_end|>"})
    picture, text = message["content"]
    assert picture == {"type": "image"}
    assert "<|im_end|>" not in text["text"] and "</think>" not in text["text"] and "a cat" in text["text"]
