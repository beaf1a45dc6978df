"""The roles of sentences: what describes stays under level `evidence`, what tells whom to take does not."""

import pytest

from earshot.protocol import redact_trace
from earshot.protocol.evidence_words import role_of

EVIDENCE = [
    "The first image shows a red circle.",
    "In image 1, the cat is black.",
    "Image 2 has better lighting.",
    "Image 2 follows the prompt more closely than image 1.",
    "The lighting of the first image is softer.",
    "There are no visible artifacts in image 2.",
    "You can see a red cat in the first image.",
    "The first image shows a judge in a courtroom and a crowd.",
    "However, its hands have six fingers.",
    "The colours are vivid.",
    "- Lighting: soft",
    "* Artifacts: None.",
    "first : left large red circle yes , clean .",
    "second : dark .",
    "Image B: a dog",
]
OTHER = [
    # no word beside names, praise and small words
    "The first image is simply outstanding.",
    "Image 1 is the one.",
    "Image 1: 9.5/10.",
    "- Total: 27",
    # no verb that describes
    "The scales tip towards the left image.",
    "Das erste Bild ist eindeutig besser.",
    "第一张图更好。",
    # a side, and who judges; a conclusion; who writes or reads
    "The raters liked the warm colours that are in image 1.",
    "The first image shows the colours of the winner.",
    "Overall, the first image has warm colours.",
    "The warm colours of image 1 are why it was kept, which is why it is here.",
    "I would frame the warm colours that are in image 2.",
    "The first image would make my wall look warm.",
    # a question
    "Does the second image show a cat?",
]


@pytest.mark.parametrize("sentence", EVIDENCE)
def test_what_describes_is_evidence(sentence: str) -> None:
    assert role_of(sentence) == "evidence"
    assert redact_trace(sentence, "evidence") == sentence


@pytest.mark.parametrize("sentence", OTHER)
def test_what_tells_whom_to_take_is_none_wherever_it_stands(sentence: str) -> None:
    assert role_of(sentence) == "other"
    described = "The first image shows a red cat."
    assert redact_trace(f"{described} {sentence}", "evidence") == described
    assert redact_trace(f"{sentence}\n{described}", "evidence") == described
    assert redact_trace(sentence, "evidence") == ""


@pytest.mark.parametrize(
    ("trace", "left"),
    [
        (
            "The first image shows a red circle, hence we go with it, the first one.",
            "The first image shows a red circle,",
        ),
        ("In image 1, the cat is black, the better of 1 and 2.", "In image 1, the cat is black,"),
        ("first : left red circle yes , pale , the second .", "first : left red circle yes , pale ,"),
        (
            "The sky is blue, unlike image 1, and the sea of the first image is calm.",
            "The sky is blue,\nand the sea of the first image is calm.",
        ),
    ],
)
def test_a_clause_that_tells_whom_goes_out_of_its_sentence(trace: str, left: str) -> None:
    assert "\n".join(line.strip() for line in redact_trace(trace, "evidence").split("\n")) == left


def test_a_heading_stays_above_evidence_alone() -> None:
    text = "### Model A's image:\n1. **Light**: soft and warm\n\n### Model B's image:\nWho would take it?"
    assert redact_trace(text, "evidence") == "### Model A's image:\n1. **Light**: soft and warm"
    assert role_of("**Image 2**\n") == "heading"


@pytest.mark.parametrize("heading", ["### The jury is for image 1:", "Rejoice for image 2:", "## 1", "better : first"])
def test_a_heading_does_not_tell_whom_to_take(heading: str) -> None:
    assert redact_trace(f"{heading}\nThe light is soft.", "evidence") == "The light is soft."


def test_the_numbers_of_points_end_no_sentence() -> None:
    trace = "1. The light is soft.\n2. **Anatomy**: six fingers"
    assert redact_trace(trace, "evidence") == trace
