"""Every family that the suite builds gives stock transformers' numbers, or is refused by name before any number."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from transformers.utils import is_torchvision_available

from tests.vlm import conformance, table
from tests.vlm.families import FAMILIES, build
from tests.vlm.stock import Subject

CHECKS = conformance.FAST | conformance.SLOW

# Those checked by `make test`, one for each mechanism; `make conformance` checks all, and training too.
QUICK = (
    "qwen2_5_vl",
    "qwen3_vl",
    "qwen3_vl_thinking",
    "qwen3_5",
    "gemma3",
    "gemma3_short_window",
    "gemma4",
    "internvl",
    "aya_vision_short_window",
    "mllama",
    "smolvlm",
    "llava",
    "llava_onevision",
)

# What is refused and must be, and in which words: before any number, by `load` or when the first prompt is made.
REFUSED = {
    **{name: "chat template" for name, family in FAMILIES.items() if family.chat is None},
    "florence2": "encoder|chat template",
}
if not is_torchvision_available():
    REFUSED |= {name: "orchvision|image processor" for name, family in FAMILIES.items() if family.needs_torchvision}

# What fails today, by the reason: family and checks. What is mended goes from here.
FAILING: dict[str, dict[str, str]] = {
    "images are padded to those beside them, and seen so: nothing but TRL's own generation makes such batches": {
        "emu3": "rows forms",
    },
}

# What cannot be trained and is refused by name; it can be asked.
UNTRAINED = {"glm4v_moe": "balancing loss", "llama4": "TRL"}
TRAINING = ("grpo", "grpo-lora", "grpo-ckpt", "sft")


def _named(checks: str) -> set[str]:
    """The checks that a text names, one after another, or leaves out after `all but`."""
    names = set(checks.removeprefix("all but").split())
    return CHECKS.keys() - names if checks.startswith("all but") else names


def _marks(name: str, check: str) -> list[pytest.MarkDecorator]:
    reasons = [why for why, families in FAILING.items() if check in _named(families.get(name, ""))]
    marks = [pytest.mark.xfail(strict=True, reason="; ".join(reasons))] if reasons else []
    return marks if name in QUICK and check in conformance.FAST else [*marks, pytest.mark.conformance]


@pytest.fixture(scope="module")
def subject_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """Builds a family's checkpoint once."""
    folder = tmp_path_factory.mktemp("families")
    return cache(lambda name: conformance.examine(name, folder))


@pytest.mark.parametrize(
    ("name", "check"),
    [
        pytest.param(name, check, marks=_marks(name, check), id=f"{name}-{check}")
        for name in FAMILIES
        for check in CHECKS
    ],
)
def test_a_family_gives_stock_numbers_or_is_refused(
    name: str, check: str, subject_of: Callable[[str], Subject]
) -> None:
    found = conformance.outcome(CHECKS[check], subject_of(name))
    if name in REFUSED and not (found.status == "ok" and check in ("load", "ban")):
        assert found.status == "refused", found
        assert re.search(REFUSED[name], found.detail), found
    elif name in UNTRAINED and check in TRAINING:
        assert found.status == "refused", found
        assert re.search(UNTRAINED[name], found.detail), found
    else:
        assert found.status == "ok", found


def test_failures_are_listed_of_families_and_checks_that_there_are() -> None:
    listed = [(name, checks) for families in FAILING.values() for name, checks in families.items()]
    assert {*QUICK, *(name for name, _ in listed)} <= FAMILIES.keys()
    assert set().union(*(checks.removeprefix("all but").split() for _, checks in listed)) <= CHECKS.keys()


def test_a_checkpoint_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = (build("qwen2_5_vl", tmp_path / place) for place in ("a", "b"))
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.filterwarnings("ignore::Warning:transformers")  # of GLM's stock processor
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in QUICK else [pytest.mark.conformance])
        for name in table.listed()
        if name not in REFUSED
    ],
)
def test_the_page_says_how_a_family_is_computed(name: str, subject_of: Callable[[str], Subject]) -> None:
    lines = [line for line in table.table_of(table.PAGE.read_text()) if line.startswith(f"| {name} |")]
    assert len(lines) == 1, f"{name} has {len(lines)} lines; make conformance-table"
    assert [cell.strip() for cell in lines[0].split("|")[3:6]] == table.mechanism(subject_of(name))
