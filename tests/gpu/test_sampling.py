"""A GPU draws the words that a CPU draws, captured as a graph or not."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from earshot.vlm.prefix import Sampling, encode_prefix, sample
from earshot.vlm.prefix.captured import CapturedRows
from earshot.vlm.prefix.sampling import _Drawing
from tests.vlm.models import FAMILIES, any_size, fresh, mixed_prompts
from tests.vlm.test_prefix import OWNERS, SAMPLING, sampling_of, uniforms_of

pytestmark = pytest.mark.gpu
Draw = Callable[..., list[list[int]]]
LENGTH = 48


@pytest.fixture(params=FAMILIES)
def draws(request: pytest.FixtureRequest, device: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Draw, Draw]:
    """Draws texts that end all along the way on the CPU, and on the device: captured, or with `captured=False`."""
    vlm = any_size(fresh(request.param))
    inputs, given = mixed_prompts(vlm), sampling_of(vlm, max_new_tokens=LENGTH, stop_ids=list(range(5, 16)))
    here, there = vlm.model.eval(), copy.deepcopy(vlm.model).to(device)
    moved = {name: value.to(device) for name, value in inputs.items()}
    prefixes = {"cpu": encode_prefix(here, inputs), "device": encode_prefix(there, moved)}

    def drawn(model: Any, where: str, rows: list[int], captured: bool) -> list[list[int]]:
        uniforms = uniforms_of(len(OWNERS), LENGTH)[rows]
        with monkeypatch.context() as patched:
            patched.setattr(f"{SAMPLING}.can_capture", lambda *_: captured)
            return sample(model, prefixes[where], [OWNERS[row] for row in rows], uniforms, given)

    everyone = list(range(len(OWNERS)))
    return (
        lambda: drawn(here, "cpu", everyone, False),
        lambda *, captured=True, rows=everyone: drawn(there, "device", rows, captured),
    )


def test_words_are_those_of_a_cpu(draws: tuple[Draw, Draw]) -> None:
    on_cpu, on_device = draws
    want = on_cpu()
    assert len({len(text) for text in want}) > 2
    assert on_device(captured=False) == want


def test_captured_words_are_those_of_plain_passes(
    draws: tuple[Draw, Draw], device: str, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """A warning that a pass was not captured would be an error here."""
    made = []
    capture = CapturedRows._capture
    monkeypatch.setattr(CapturedRows, "_capture", lambda rows: made.append(capture(rows)))
    _, on_device = draws
    assert on_device() == on_device(captured=False)
    record_property("graphs", len(made))
    assert made or device == "cpu"


def test_a_row_alone_is_what_it_is_among_others(draws: tuple[Draw, Draw]) -> None:
    _, on_device = draws
    together = on_device(captured=False)
    for captured in (True, False):
        assert [on_device(rows=[row], captured=captured)[0] for row in range(len(OWNERS))] == together


@pytest.mark.parametrize("rows", [1, 64])
def test_no_forbidden_token_is_drawn_at_the_edges(device: str, rows: int, record_property: Any) -> None:
    """A cumulative sum in parallel need not rise evenly where probabilities are 0; one row is summed by other code."""
    generator = torch.Generator(device=device).manual_seed(0)
    words, drawn_bad, chance = 152_064, 0, 0.0
    for forbidden in (range(151_643, words), range(0, words, 16)):
        drawing = _Drawing(Sampling(1, 1.0, [], list(forbidden), 0), torch.empty(1, words, device=device))
        banned = drawing._forbidden
        for spread in (1.0, 4.0, 10.0):
            logits = torch.randn(rows, words, device=device, generator=generator) * spread
            for edge in (0.0, 1 - 2**-24):
                drawn_bad += int(banned[drawing(logits, torch.full((rows,), edge, device=device))].sum())
            sums = logits.masked_fill(banned, -torch.inf).softmax(-1).cumsum(-1)
            before = torch.nn.functional.pad(sums.cummax(-1).values[:, :-1], (1, 0))
            chance = max(chance, float(((sums - before).clamp(min=0) * banned / sums[:, -1:]).sum(-1).max()))
    record_property("chance_of_a_forbidden_token", chance)
    assert drawn_bad == 0 and chance < 1e-5
