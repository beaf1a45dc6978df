"""Whether a model that is loaded gives the numbers it should, on made-up pictures: no check needs a trained model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import torch
from PIL import Image, ImageDraw

from earshot.errors import EarshotError, first_line, one_line
from earshot.images import load_image, printable, scaled
from earshot.listener.local import LocalListener
from earshot.protocol import reasoner_messages
from earshot.reasoner import Reasoner
from earshot.types import Pair, Votes
from earshot.vlm import Vlm

# How far apart p may be that is computed in two ways: rounding, which depends on how much stands in a batch.
TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
SAMPLES: Final = 2  # completions in either order
_SHOWN: Final = 160  # characters of a completion

Outcome: TypeAlias = Literal["ok", "failed", "warning"]
Found: TypeAlias = tuple[Outcome, str]


class Check(NamedTuple):
    """What came of a check.

    Attributes:
        name: What is claimed.
        outcome: `ok`; `failed`: numbers are wrong, or none came; `warning`: it works, and somebody should look.
        found: Figures, in words.
    """

    name: str
    outcome: Outcome
    found: str


def self_check(vlm: Vlm, *, new_tokens: int) -> list[Check]:
    """Makes every check of a frozen model.

    Args:
        vlm: The model.
        new_tokens: Of the longest completion.
    """
    checks: dict[str, Callable[[], Found]] = {
        "a prompt is the processor's own, first image first": lambda: _prompt(vlm),
        "exchanged pictures are seen": lambda: _exchange(vlm),
        "p(first) alone is p(first) in a batch": lambda: _alone(vlm),
        "p(first) is one stock row's, in both orders": lambda: _stock(vlm),
        "completions parse": lambda: _parses(vlm, new_tokens),
    }
    return [Check(name, *_found(check)) for name, check in checks.items()]


def _found(check: Callable[[], Found]) -> Found:
    try:
        return check()
    except EarshotError as error:
        return "failed", one_line(error)
    except Exception as error:  # what a family breaks in a library is what is looked for
        return "failed", f"{type(error).__name__}: {first_line(error)}"


def _prompt(vlm: Vlm) -> Found:
    pair, exchanged = _for(vlm, _PAIR), _for(vlm, _EXCHANGED)
    ours = vlm.encode([vlm.asked_about(pair)], [pair.images])
    right, wrong = (_by_processor(vlm, one) for one in (pair, exchanged))
    if other := [name for name in right if not torch.equal(ours[name], right[name])]:
        return "failed", f"{' and '.join(other)} differ from what its apply_chat_template makes"
    if all(torch.equal(ours[name], wrong[name]) for name in wrong):
        return "failed", "with the images exchanged it is the same"
    return "ok", f"{ours['input_ids'].size(1)} tokens"


def _by_processor(vlm: Vlm, pair: Pair) -> dict[str, torch.Tensor]:
    images = [scaled(load_image(source), vlm.before) for source in pair.images]
    made = vlm.processor.apply_chat_template(
        [
            *vlm.messages(pair.prompt)[:-1],
            reasoner_messages(pair.prompt, vlm.prompts, *images, control_tokens=vlm.control_tokens)[-1],
        ],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        **vlm.prompts.template,
    )
    tensors = {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def _exchange(vlm: Vlm) -> Found:
    """Two pictures of one size, in either order: the logits of the next token are not the same."""
    with torch.no_grad():
        shown, turned = (vlm.model(**vlm.encode_pairs([_for(vlm, pair)])).logits[0, -1] for pair in (_PAIR, _EXCHANGED))
    apart = float((shown - turned).abs().max())
    return "ok" if apart > 0 else "failed", f"logits of the next token are up to {apart:.1e} apart"


def _alone(vlm: Vlm) -> Found:
    listener = LocalListener(vlm)
    return _near(vlm, _together(listener), (listener.p_first([pair], [trace])[0] for pair, trace in _rows(vlm)))


def _stock(vlm: Vlm) -> Found:
    listener = LocalListener(vlm)
    return _near(vlm, _together(listener), (listener.p_first_stock(pair, trace) for pair, trace in _rows(vlm)))


def _together(listener: LocalListener) -> Any:
    rows = _rows(listener.vlm)
    return listener.p_first([pair for pair, _ in rows], [trace for _, trace in rows])


def _rows(vlm: Vlm) -> list[tuple[Pair, str | None]]:
    return [(_for(vlm, pair), trace) for pair, trace in _ROWS]


def _for(vlm: Vlm, pair: Pair) -> Pair:
    """The pair as two edits of a picture, where that is what the model is asked about."""
    return replace(pair, original=_OTHER.first) if vlm.prompts.edits else pair


def _near(vlm: Vlm, ours: Iterable[float], theirs: Iterable[float]) -> Found:
    apart = max(abs(float(p) - float(q)) for p, q in zip(ours, theirs, strict=True))
    most = TOLERANCE[vlm.model.dtype]
    return "ok" if apart <= most else "failed", f"at most {apart:.0e} apart in {len(_ROWS)} rows, allowed {most:.0e}"


def _parses(vlm: Vlm, new_tokens: int) -> Found:
    """A model that is not taught to answer in this form may be used all the same: to teach it."""
    (judged,) = Reasoner(vlm, max_new_tokens=new_tokens).judge([_for(vlm, _PAIR)], samples=SAMPLES)
    malformed = [sample for sample in judged if sample.malformed is not None]
    formed = len(judged) - len(malformed)
    found = f"{formed} of {len(judged)} sampled in both orders, up to {new_tokens} tokens each"
    if not malformed:
        return "ok", found
    reasons = Counter(str(sample.malformed) for sample in malformed)
    text = one_line(malformed[0].trace)
    shown = printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
    advice = (
        "" if formed else "; give more --max-new-tokens if it is cut, or teach it the form with 'earshot train sft'"
    )
    return "warning", f"{found}: {', '.join(reasons)}; one of them is '{shown}'{advice}"


def _pair(id: str, prompt: str, colours: tuple[str, str], width: int, height: int) -> Pair:
    pictures = []
    for colour, shape in zip(colours, ("ellipse", "rectangle"), strict=True):
        picture = Image.new("RGB", (width, height), "white")
        getattr(ImageDraw.Draw(picture), shape)((width // 4, height // 4, 3 * width // 4, 3 * height // 4), fill=colour)
        pictures.append(picture)
    return Pair(id, prompt, pictures[0], pictures[1], Votes(1.0, 0.0))


_PAIR: Final = _pair("made-up", "a red circle", ("red", "blue"), 112, 112)
_EXCHANGED: Final = replace(_PAIR.swapped(), id="made-up, exchanged")
_OTHER: Final = _pair("other", "a green circle on a white ground, seen from the front", ("green", "black"), 140, 84)
_SHORT: Final = "The first image shows what the prompt says."
_LONG: Final = (
    "The first image shows a red circle on a white ground, sharp and well centred. The second image shows a blue "
    "square instead, so that it follows the prompt less well, though its colours are as clear as those of the first."
)
# Several traces of one pair, one of others, of different lengths, and pictures that stand in both orders.
_ROWS: Final = [(_PAIR, None), (_PAIR, _LONG), (_EXCHANGED, _SHORT), (_OTHER, _SHORT)]
