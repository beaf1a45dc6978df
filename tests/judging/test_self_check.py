"""The self-check passes on models that are computed rightly, and each of its checks fails on what it is there for."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from earshot.errors import ModelError
from earshot.judging.self_check import self_check
from earshot.listener import local
from earshot.vlm import Vlm, load
from earshot.vlm.prefix import Continued
from tests.vlm.families import FAMILIES, build
from tests.vlm.models import fresh, tiny

QUICK = ("qwen2_5_vl", "qwen3_vl_thinking", "qwen3_5", "gemma3_short_window", "mllama", "smolvlm", "llava_onevision")
PROMPT = "a prompt is the processor's own, first image first"
EXCHANGE = "exchanged pictures are seen"
ALONE = "p(first) alone is p(first) in a batch"
STOCK = "p(first) is one stock row's, in both orders"
PARSES = "completions parse"


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds a family's checkpoint once."""
    folder = tmp_path_factory.mktemp("families")
    return cache(lambda name: build(name, folder))


def checked(vlm: Vlm) -> dict[str, tuple[str, str]]:
    return {check.name: (check.outcome, check.found) for check in self_check(vlm, new_tokens=8)}


def failing(vlm: Vlm) -> set[str]:
    return {name for name, (outcome, _) in checked(vlm).items() if outcome == "failed"}


@pytest.mark.filterwarnings("ignore::Warning:transformers")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.conformance])
        for name, one in FAMILIES.items()
        if one.chat is not None
    ],
)
def test_a_family_that_is_computed_rightly_passes_untaught(name: str, folder_of: Any) -> None:
    try:
        vlm = load(folder_of(name)).freeze()
    except ModelError as error:
        assert name not in QUICK, error
        pytest.skip(str(error))
    found = checked(vlm)
    assert found.keys() == {PROMPT, EXCHANGE, ALONE, STOCK, PARSES}
    outcomes = {name: outcome for name, (outcome, _) in found.items()}
    assert outcomes == {**dict.fromkeys((PROMPT, EXCHANGE, ALONE, STOCK), "ok"), PARSES: "warning"}, found


def test_images_that_are_exchanged_on_their_way_to_the_model_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = Vlm.processed
    monkeypatch.setattr(Vlm, "processed", lambda vlm, texts, images: stock(vlm, texts, [row[::-1] for row in images]))
    assert failing(tiny("qwen2_5_vl")) == {PROMPT}


def test_a_processor_that_makes_the_same_of_every_picture_is_found() -> None:
    vlm = fresh("qwen2_5_vl").freeze()
    vlm.processor.image_processor.rescale_factor = 0.0
    assert failing(vlm) == {PROMPT, EXCHANGE}


def test_a_model_that_does_not_see_its_images_is_found() -> None:
    vlm = fresh("llava").freeze()
    for weight in vlm.model.model.multi_modal_projector.parameters():
        weight.zero_()
    assert failing(vlm) == {EXCHANGE}


def test_a_probability_that_depends_on_what_stands_beside_it_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def leaning(model: Any, inputs: Any, owners: Any, suffixes: Any, **how: Any) -> Continued:
        read = stock(model, inputs, owners, suffixes, **how)
        return read._replace(logits=read.logits * (1 + 0.5 * (len(suffixes) > 1)))

    stock = local.continued
    monkeypatch.setattr(local, "continued", leaning)
    assert failing(tiny("qwen2_5_vl")) == {ALONE, STOCK}


def test_a_probability_that_is_not_the_stock_row_s_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(*given: Any, **how: Any) -> Continued:
        read = stock(*given, **how)
        return read._replace(logits=1.5 * read.logits)

    stock = local.continued
    monkeypatch.setattr(local, "continued", scaled)
    assert failing(tiny("qwen2_5_vl")) == {STOCK}


def test_weights_that_are_not_finite_are_failures_that_are_told() -> None:
    vlm = fresh("qwen2_5_vl").freeze()
    vlm.model.get_output_embeddings().weight.fill_(float("nan"))
    found = checked(vlm)
    assert {ALONE, STOCK, PARSES} <= {name for name, (outcome, _) in found.items() if outcome == "failed"}
    assert "not finite" in found[PARSES][1]


def test_what_a_library_breaks_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise IndexError("index 7 is out of bounds")

    monkeypatch.setattr(local, "continued", broken)
    assert checked(tiny("llava"))[ALONE] == ("failed", "IndexError: index 7 is out of bounds")


def test_an_untaught_model_is_warned_of_with_a_sample_and_the_next_step() -> None:
    outcome, found = checked(tiny("qwen2_5_vl"))[PARSES]
    assert outcome == "warning"
    assert "0 of 4" in found and "one of them is '" in found and "earshot train sft" in found


def test_a_taught_model_writes_completions_that_parse() -> None:
    vlm = load("world:reasoner").freeze()
    (check,) = [check for check in self_check(vlm, new_tokens=256) if check.name == PARSES]
    assert not check.found.startswith("0 of 4")


def test_a_model_of_edits_is_checked_on_edits() -> None:
    found = checked(tiny("qwen2_5_vl").asked("brief-edit"))
    assert {found[name][0] for name in (PROMPT, EXCHANGE, ALONE, STOCK)} == {"ok"}
