"""The guard against numbers gone bad, and the names in metrics.jsonl."""

import io
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import SeedableRandomSampler, prepare_data_loader
from rich.console import Console
from torch.utils.data import DataLoader

from earshot.errors import TrainingAborted
from earshot.train.callbacks import EpochOrder, FiniteGuard, ProgressBar, gradients_are_finite, rename_metrics

STATE = SimpleNamespace(global_step=7)


class Training:
    """A model with one optimiser step behind it, so that Adam has moments."""

    def __init__(self, guard: FiniteGuard) -> None:
        torch.manual_seed(0)
        self.guard = guard
        self.model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=0.1, weight_decay=0.1)
        self.step()

    def step(self, poison: float | None = None) -> None:
        self.optimiser.zero_grad()
        self.model(torch.ones(1, 2)).sum().backward()
        if poison is not None:
            self.model[1].weight.grad[0, 1] = poison  # type: ignore[index]
        self.guard.on_pre_optimizer_step(None, STATE, None, model=self.model)
        self.optimiser.step()

    def everything(self) -> list[torch.Tensor]:
        moments = [m for state in self.optimiser.state.values() for m in state.values()]
        return [tensor.detach().clone() for tensor in (*self.model.parameters(), *moments)]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_bad_gradient_changes_neither_weights_nor_moments(poison: float) -> None:
    training = Training(FiniteGuard(lambda: "nowhere"))
    before = training.everything()
    training.step(poison)
    assert all(torch.equal(old, new) for old, new in zip(before, training.everything(), strict=True))
    assert training.guard.total == 1
    training.step()
    assert not all(torch.equal(old, new) for old, new in zip(before, training.everything(), strict=True))


def test_a_suspicion_drops_one_step_and_no_more() -> None:
    training = Training(FiniteGuard(lambda: "nowhere"))
    before = training.everything()
    training.guard.suspect("a reward is infinite")
    training.step()
    assert all(torch.equal(old, new) for old, new in zip(before, training.everything(), strict=True))
    training.step()
    assert training.guard.total == 1


def test_three_in_a_row_abort_with_the_batch_saved() -> None:
    saved: list[str] = []
    training = Training(FiniteGuard(lambda: saved.append("batch") or "batch.jsonl"))  # type: ignore[func-returns-value]
    for poison in (float("nan"), float("nan"), None, float("nan"), float("nan")):  # never three together
        training.step(poison)
    assert (training.guard.total, saved) == (4, [])
    with pytest.raises(TrainingAborted, match=r"step 7: a gradient is not finite, 3 steps in a row.*batch\.jsonl"):
        training.step(float("nan"))
    assert saved == ["batch"]


def test_parameters_without_gradients_are_finite() -> None:
    assert gradients_are_finite(torch.nn.Linear(1, 1))


def test_metrics_have_our_names_and_the_rest_says_whose_it_is() -> None:
    logs = {
        "loss": 1.0,
        "groups_without_variance": 0.5,
        "frac_reward_zero_std": 0.5,
        "reward/format": 1.0,
        "sampling/x": 2.0,
        "total_flos": 3.0,
    }
    assert rename_metrics(logs) == {
        "loss": 1.0,
        "groups_without_variance": 0.5,
        "reward/format": 1.0,
        "trl/sampling/x": 2.0,
    }


@pytest.mark.parametrize("epoch", [0.5, 1.5])
@pytest.mark.parametrize("process", [0, 1])
def test_a_run_resumed_within_an_epoch_sees_the_rest_of_that_one_on_every_process(epoch: float, process: int) -> None:
    def loader() -> Any:
        sampler = SeedableRandomSampler(range(16), generator=torch.Generator(), data_seed=3)
        return prepare_data_loader(
            DataLoader(range(16), batch_size=2, sampler=sampler), num_processes=2, process_index=process  # type: ignore[arg-type]
        )  # fmt: skip

    whole = loader()
    whole.set_epoch(int(epoch))
    expected = [batch.tolist() for batch in whole][2:]
    resumed = loader()
    EpochOrder().on_epoch_begin(None, SimpleNamespace(epoch=epoch), None, train_dataloader=resumed)
    rest = skip_first_batches(resumed, 2)
    rest.set_epoch(int(epoch))  # as transformers does
    assert [batch.tolist() for batch in rest] == expected


@pytest.mark.parametrize(("steps", "told"), [(500, "about 2.0 s a step so far: 0:16:32 for the 496 left\n"), (20, "")])
def test_how_long_the_rest_takes_is_told_once_the_first_steps_are_done(
    steps: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = iter([30.0, *(32.0 + 2 * k for k in range(9))])  # the first took half a minute
    monkeypatch.setattr("earshot.train.callbacks.time", SimpleNamespace(monotonic=lambda: next(ends)))
    out = io.StringIO()
    bar = ProgressBar(Console(file=out, width=80))
    state = SimpleNamespace(is_world_process_zero=True, max_steps=steps, global_step=0)
    bar.on_train_begin(None, state, None)
    for step in range(1, 9):
        state.global_step = step
        bar.on_step_end(None, state, None)
    assert out.getvalue() == told
