"""A completion is a verdict only in the one exact form; everything else has a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.protocol import MALFORMATIONS, PromptSet, parse_completion, prompt_set
from earshot.protocol.parse import trace_span
from earshot.types import Malformed, Verdict

STANDARD = prompt_set("standard")
TAGS = sorted(STANDARD.tags)
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
    assert parse_completion(text, STANDARD) == verdict
    assert text[slice(*trace_span(text, STANDARD))] == verdict.trace


def test_a_trace_is_where_it_stands_and_not_where_its_words_stand_too():
    assert trace_span("<think>think</think><answer>1</answer>", STANDARD) == (7, 12)
    without = PromptSet.model_validate(STANDARD.model_dump() | {"think": None})
    assert trace_span(" red <answer>1</answer>", without) == (1, 4)


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
        (f"{THINK}<answer></answer>", "answer is neither of the two"),
        (f"{THINK}<answer>3</answer>", "answer is neither of the two"),
        (f"{THINK}<answer>1 or 2</answer>", "answer is neither of the two"),
        (f"{THINK}<answer>12</answer>", "answer is neither of the two"),
        (f"{THINK}<answer>first</answer>", "answer is neither of the two"),
        (f"{THINK}<answer>١</answer>", "answer is neither of the two"),  # an Arabic one
        (f"{THINK}<answer>²</answer>", "answer is neither of the two"),
    ],
)
def test_each_malformation_has_its_name(text, reason):
    assert parse_completion(text, STANDARD) == Malformed(reason)
    assert reason in MALFORMATIONS


pieces = st.sampled_from([*TAGS, "1", "2", " ", "x", "<", "think>", "answer", ">"])


@given(st.lists(pieces, max_size=12).map("".join))
def test_every_text_is_a_verdict_or_a_named_malformation(text):
    parsed = parse_completion(text, STANDARD)
    if isinstance(parsed, Malformed):
        assert parsed.reason in MALFORMATIONS
    else:
        answer = {"first": "1", "second": "2"}[parsed.side]
        assert "".join(text.split()) == f"<think>{''.join(parsed.trace.split())}</think><answer>{answer}</answer>"
        assert not [tag for tag in TAGS if tag in parsed.trace]


@pytest.mark.parametrize("unit", ["<think>", "<answer>", "</think>", "<", " ", "<think><answer>", "a"])
def test_a_megabyte_of_anything_is_read(unit):
    text = unit * (1_000_000 // len(unit))
    assert isinstance(parse_completion(text, STANDARD), Malformed)
    assert parse_completion(f"<think>{'x' + ' ' * 1_000_000}</think><answer>1</answer>", STANDARD) == Verdict(
        "first", "x"
    )


UNIFIED = prompt_set("unifiedreward-think")
FLEX = prompt_set("unifiedreward-flex")
LETTERS = PromptSet.model_validate(
    {
        "name": "letters",
        "question": "{prompt}",
        "think": None,
        "answer": {"open": "[[", "close": "]]", "first": "A", "second": "B"},
    }
)


@pytest.mark.parametrize(
    ("prompts", "text", "parsed"),
    [
        (UNIFIED, "<think>\n1. Red.\n</think>\n<answer>Image 2 is better</answer>", Verdict("second", "1. Red.")),
        (UNIFIED, "<think>red</think><answer> image 1 is better\n</answer>", Verdict("first", "red")),
        (UNIFIED, "<think>red</think><answer>1</answer>", Malformed("answer is neither of the two")),
        (UNIFIED, "<think>red</think><answer>Image 1 is better.</answer>", Malformed("answer is neither of the two")),
        (
            FLEX,
            '{"a": "red", "cat_winner": "Image 2",\n  "winner": "Image 1"\n}\n```',
            Verdict("first", '{"a": "red", "cat_winner": "Image 2"'),
        ),
        (FLEX, '{"a": "red","winner":"Image 2"}', Verdict("second", '{"a": "red"')),
        (FLEX, '{"a": "red", "winner": "Image 1/2"}', Malformed("answer is neither of the two")),
        (FLEX, '{"a": "red", "winner": "Image 1', Malformed("unclosed answer")),
        (FLEX, '{"a": "red"}', Malformed("no answer")),
        (FLEX, '{"a": 1, "winner": "Image 1", "winner": "Image 2"}', Malformed("two answers")),
        (LETTERS, "The first is red. [[A]]", Verdict("first", "The first is red.")),
        (LETTERS, "[[b]]", Verdict("second", "")),
        (LETTERS, "red [[A]] or so", Malformed("text after answer")),
        (LETTERS, "red ]] [[A", Malformed("tags out of order")),
        (LETTERS, "red [[A]] [[B]]", Malformed("two answers")),
        (LETTERS, "red", Malformed("no answer")),
    ],
)
def test_every_prompt_set_has_its_own_form(prompts, text, parsed):
    assert parse_completion(text, prompts) == parsed
