"""Which tokens are told what: characters of a completion among its tokens, however they were cut, and advantages."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from earshot.protocol import prompt_set
from earshot.protocol.places import Span
from earshot.train.credit import Credit, Paid, PaidClaim, Written, advantages_by_token
from earshot.vlm import Vlm

ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())


def vlm_of(tokenizer: Any, opened: str = "") -> Vlm:
    """As much of a model as says what its tokens are."""
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    vlm = Vlm(model, SimpleNamespace(tokenizer=tokenizer), prompt_set("brief"), "none")
    vlm.__dict__["opened"] = opened
    return vlm


def byte_level(pieces: list[str]) -> tuple[Vlm, list[int]]:
    """A byte-level tokenizer that has these pieces, and their ids; the last of them ends a completion."""
    known = dict.fromkeys([*ALPHABET, *pieces])
    core = Tokenizer(models.BPE({piece: k for k, piece in enumerate(known)}, []))
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken("<end>", special=True)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")
    return vlm_of(tokenizer), [*(tokenizer.convert_tokens_to_ids(piece) for piece in pieces), len(tokenizer) - 1]


def as_bytes(text: str) -> str:
    """A text in the letters by which byte-level tokenizers write bytes."""
    told = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return "".join(piece for piece, _ in told)


@given(st.data())
def test_a_token_holds_the_characters_whose_bytes_are_in_it(data: st.DataObject) -> None:
    text = data.draw(st.text(st.sampled_from("ab .,é漢🙂\n"), min_size=1, max_size=12))
    letters = as_bytes(text)  # one a byte
    cuts = data.draw(st.sets(st.integers(1, len(letters) - 1))) if len(letters) > 1 else set()
    bounds = [0, *sorted(cuts), len(letters)]
    vlm, ids = byte_level([letters[a:b] for a, b in pairwise(bounds)])
    written = Written(vlm, ids)
    assert written.text == text
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    first, last = (len(text[:place].encode()) for place in (start, end))  # the bytes of the characters
    expected = []
    for token, (a, b) in enumerate(pairwise(bounds)):
        if any(first <= byte < last for byte in range(a, b)):
            expected.append(token)
    assert [*written.holding(Span(start, end))] == expected


def test_pieces_that_straddle_belong_to_both_sides() -> None:
    pieces = ["red", ".", "Ġye", "s,Ġle", "ft", "Ġ", "red", "</", "think>"]
    vlm, ids = byte_level(pieces)
    written = Written(vlm, ids)
    assert written.text == "red. yes, left red</think>"
    assert [*written.holding(Span(5, 8))] == [2, 3]  # yes
    assert [*written.holding(Span(10, 14))] == [3, 4]  # left
    assert [*written.holding(Span(15, 18))] == [6]  # the second red
    assert written.end_of("</think>") == 9  # and not the token that ends the turn
    assert written.end_of("nowhere") == len(ids) == 10


def test_words_that_a_template_has_opened_and_control_tokens_are_no_tokens_of_the_text() -> None:
    vlm, (a, b, end) = byte_level(["red", "Ġblue"])
    vlm.__dict__["opened"] = "<think>"
    written = Written(vlm, [a, end, b, end])
    assert written.text == "<think>red blue"
    assert [[*written.holding(Span(*span))] for span in ((7, 10), (11, 15), (6, 8))] == [[0], [2], [0]]
    assert written.end_of("red") == 1 and written.end_of("blue") == 3 and Written(vlm, []).end_of("red") == 0


def test_a_tokenizer_that_marks_words_by_a_low_line_is_aligned_too() -> None:
    words = ["▁so", "▁red", "▁", "cir", "cle,", "▁yes", "<unk>"]
    core = Tokenizer(models.BPE({word: k for k, word in enumerate(words)}, [], unk_token="<unk>"))
    core.pre_tokenizer, core.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<unk>")
    written = Written(vlm_of(tokenizer), [0, 1, 2, 3, 4, 5])
    assert written.text == "so red circle, yes"  # without the first space
    told = {word: [*written.holding(Span(at := written.text.index(word), at + len(word)))] for word in
            ("so", "red", "circle", "red circle", "yes")}  # fmt: skip
    assert told == {"so": [0], "red": [1], "circle": [3, 4], "red circle": [1, 2, 3, 4], "yes": [5]}


def test_a_character_that_is_written_in_bytes_is_held_by_all_of_them() -> None:
    words = ["▁so", "▁caf", "<0xC3>", "<0xA9>", "▁", "<0xF0>", "<0x9F>", "<0x99>", "<0x82>", "▁red", "<unk>"]
    core = Tokenizer(models.BPE({word: k for k, word in enumerate(words)}, [], unk_token="<unk>", byte_fallback=True))
    core.decoder = decoders.Sequence(  # Llama's
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<unk>")
    written = Written(vlm_of(tokenizer), range(10))
    assert written.text == "so café 🙂 red"
    told = {word: [*written.holding(Span(at := written.text.index(word), at + len(word)))] for word in
            ("café", "é", "🙂", "red")}  # fmt: skip
    assert told == {"café": [1, 2, 3], "é": [2, 3], "🙂": [5, 6, 7, 8], "red": [9]}


PIECES = ["<think>", "red", "Ġyes,blue", "Ġno", "</think>", "1"]
TEXT = "<think>red yes,blue no</think>1"
RED, BLUE = Span(7, 14), Span(15, 22)


@pytest.mark.parametrize("credit", ["reward_to_go", "decoupled", "claims"])
def test_each_token_is_told_what_it_is_part_of(credit: Credit) -> None:
    vlm, ids = byte_level(PIECES)
    written = Written(vlm, ids)
    assert written.text == TEXT
    claims = [PaidClaim([RED], 0.8), PaidClaim([BLUE], 0.2)]
    paid = [Paid(0.5, 1.0, claims if credit == "claims" else []), Paid(0.3, 0.0, [])]
    told = advantages_by_token(
        credit, np.array([7.0, -7.0]), paid, [written, written], group=2, trace_end="</think>", width=8
    )
    half = 0.5**0.5
    assert told[:, 5:] == pytest.approx(np.array([[half] * 3, [-half] * 3]), rel=1e-3)  # var 0.5: ± 0.5 / 0.7071
    if credit == "reward_to_go":
        assert (told[:, :5] == np.array([[7.0], [-7.0]])).all()
        return
    # Traces ± 0.1 with variance 0.02, claims ± 0.3 with variance 0.18.
    scale = (0.02 if credit == "decoupled" else 0.02 + 0.18) ** 0.5 + 1e-4
    whole, each = 0.1 / scale, 0.0 if credit == "decoupled" else 0.3 / scale
    # One piece is of both claims, and told their mean.
    assert told[0, :5] == pytest.approx([whole, whole + each, whole + 0.0, whole - each, whole])
    assert told[1, :5] == pytest.approx([-whole] * 5)
