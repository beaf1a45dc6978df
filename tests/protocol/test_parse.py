"""A completion is a verdict only in the one exact form; everything else has a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.protocol import MALFORMATIONS, TAGS, parse_completion
from earshot.types import Malformed, Verdict

THINK = "<think> red </think>"


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("<think> red </think><answer>1</answer>", Verdict("first", "red")),
        ("<think>red</think>\n\n<answer> 2\n</answer>", Verdict("second", "red")),
        (" \n<think></think><answer>1</answer>\t", Verdict("first", "")),
        (
            "<think>1 < 2 <b>x</b> </thinking></think><answer>2</answer>",
            Verdict("second", "1 < 2 <b>x</b> </thinking>"),
        ),
    ],
)
def test_white_space_is_free_and_nothing_else(text, verdict):
    assert parse_completion(text) == verdict


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no think block"),
        ("The first is better.", "no think block"),
        ("<answer>1</answer>", "no think block"),
        ("red </think><answer>1</answer>", "no think block"),
        ("<Think>red</Think><answer>1</answer>", "no think block"),
        (f"{THINK}{THINK}<answer>1</answer>", "two think blocks"),
        ("<think><think>red</think><answer>1</answer>", "two think blocks"),
        ("<think>red</think></think><answer>1</answer>", "two think blocks"),
        (f"{THINK}<answer>1</answer><think>", "two think blocks"),
        ("<think> red and so on", "unclosed think"),
        ("<think> red <answer>1</answer>", "unclosed think"),
        (f"Sure! {THINK}<answer>1</answer>", "text before think"),
        (f"<answer>1</answer>{THINK}", "text before think"),
        (THINK, "no answer"),
        (f"{THINK} 1", "no answer"),
        (f"{THINK}1</answer>", "no answer"),
        (f"{THINK}<answer>1</answer><answer>1</answer>", "two answers"),
        (f"{THINK}<answer>1<answer>2</answer>", "two answers"),
        ("<think> <answer>1</answer> </think><answer>2</answer>", "two answers"),
        (f"{THINK}<answer>1", "unclosed answer"),
        ("<think> <answer>1</answer> </think>", "answer inside think"),
        ("<think> <answer>1 </think></answer>", "answer inside think"),
        ("<think> </answer> </think><answer>1", "tags out of order"),
        (f"{THINK} so <answer>1</answer>", "text between blocks"),
        (f"{THINK}<answer>1</answer>.", "text after answer"),
        (f"{THINK}<answer>1</answer><|im_end|>", "text after answer"),
        (f"{THINK}<answer></answer>", "answer is not 1 or 2"),
        (f"{THINK}<answer>3</answer>", "answer is not 1 or 2"),
        (f"{THINK}<answer>1 or 2</answer>", "answer is not 1 or 2"),
        (f"{THINK}<answer>12</answer>", "answer is not 1 or 2"),
        (f"{THINK}<answer>first</answer>", "answer is not 1 or 2"),
        (f"{THINK}<answer>١</answer>", "answer is not 1 or 2"),  # an Arabic one
        (f"{THINK}<answer>²</answer>", "answer is not 1 or 2"),
    ],
)
def test_each_malformation_has_its_name(text, reason):
    assert parse_completion(text) == Malformed(reason)
    assert reason in MALFORMATIONS


pieces = st.sampled_from([*TAGS, "1", "2", " ", "x", "<", "think>", "answer", ">"])


@given(st.lists(pieces, max_size=12).map("".join))
def test_every_text_is_a_verdict_or_a_named_malformation(text):
    parsed = parse_completion(text)
    if isinstance(parsed, Malformed):
        assert parsed.reason in MALFORMATIONS
    else:
        answer = {"first": "1", "second": "2"}[parsed.side]
        assert "".join(text.split()) == f"<think>{''.join(parsed.trace.split())}</think><answer>{answer}</answer>"
        assert not [tag for tag in TAGS if tag in parsed.trace]


@pytest.mark.parametrize("unit", ["<think>", "<answer>", "</think>", "<", " ", "<think><answer>", "a"])
def test_a_megabyte_of_anything_is_read(unit):
    text = unit * (1_000_000 // len(unit))
    assert isinstance(parse_completion(text), Malformed)
    assert parse_completion(f"<think>{'x' + ' ' * 1_000_000}</think><answer>1</answer>") == Verdict("first", "x")
