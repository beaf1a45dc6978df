"""Training on shared prefixes gives the numbers of TRL's own trainer on the same completions."""

from pathlib import Path

import pytest

import earshot.vlm.prefix.forms as forms
from tests.train.equality import CASES, FAMILIES, assert_equal, both, in_two_processes, train


@pytest.mark.parametrize(
    ("family", "lora"), [("qwen2_5_vl", False), ("llava", False), ("qwen2_5_vl", True)], ids=lambda v: str(v)
)
def test_a_step_has_the_numbers_of_stock(family: str, lora: bool, tmp_path: Path) -> None:
    ours, stock = both(lambda side: train(side, tmp_path, family, lora=lora, num_iterations=2))
    assert_equal(ours, stock)
    assert stock.logged[1]["kl"] > 1e-6  # the second step has moved away from the reference
    if not lora:
        assert any("vis" in name and bool(g.any()) for name, g in stock.gradients[0].items())  # the vision tower learns


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_way_to_train_has_the_numbers_of_stock(family: str, lora: bool, case: str, tmp_path: Path) -> None:
    assert_equal(*both(lambda side: train(side, tmp_path, family, lora=lora, **CASES[case])))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefix_that_is_off_by_one_position_is_noticed(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after = forms.next_positions
    monkeypatch.setattr(forms, "next_positions", lambda positions: after(positions) + 1)
    ours, stock = both(lambda side: train(side, tmp_path, family, max_steps=1))
    with pytest.raises(AssertionError, match=r"entropy|grad_norm"):
        assert_equal(ours, stock)


@pytest.mark.slow
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_have_the_numbers_of_stock(family: str, lora: bool, tmp_path: Path) -> None:
    assert_equal(*in_two_processes(tmp_path, family, lora=lora))
