"""What happens around TRL's steps: the metrics log, the guard against numbers gone bad, and evaluation."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from earshot.errors import TrainingAborted
from earshot.files import append_jsonl
from earshot.rundir import RunDir

FIRST_STEPS: Final = 4
"""After so many it is said how long the others will take."""
WORTH_TELLING_S: Final = 60.0
LOST_STEPS: Final = 3
"""So many in a row of which nothing can be learnt end a run."""

# TRL's names for what our metrics log holds; everything else it logs keeps its own name under `trl/`.
_RENAMED = {
    "mean_token_accuracy": "token_accuracy",
}
_KEPT = frozenset(
    {
        *("loss", "grad_norm", "learning_rate", "reward", "reward_std", "kl", "entropy", "malformed"),
        *(
            "rewards_missing",
            "groups_without_variance",
            "trace_words",
            "verdict_first",
            "label_first",
            "step_seconds",
            "bad_steps",
            "epoch",
        ),
    }
)
_OUR_GROUPS = ("reward/", "listener/", "claims/", "leak/", "eval/")
_DROPPED = frozenset(
    {
        *("total_flos", "train_loss", "train_runtime", "train_samples_per_second", "train_steps_per_second"),
        "frac_reward_zero_std",  # ours counts a group of which all rewards are missing
    }
)


class MetricsLog(TrainerCallback):
    """Appends one row a logged step to `metrics.jsonl`."""

    def __init__(self, run: RunDir, guard: FiniteGuard) -> None:
        self._run = run
        self._guard = guard
        self._since = time.perf_counter()
        self._last_step = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._since, self._last_step = time.perf_counter(), state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs or "train_runtime" in logs:
            return
        row: dict[str, Any] = {"step": state.global_step, **rename_metrics(logs), "bad_steps": self._guard.total}
        steps = state.global_step - self._last_step
        if steps > 0:
            now = time.perf_counter()
            row["step_seconds"] = (now - self._since) / steps
            self._since, self._last_step = now, state.global_step
        append_jsonl(self._run.metrics_log, [row])


def rename_metrics(logs: Mapping[str, Any]) -> dict[str, Any]:
    """TRL's log under our names: the contract's names as they are, the rest under `trl/`."""
    row = {}
    for name, value in logs.items():
        if name in _DROPPED:
            continue
        name = _RENAMED.get(name, name)
        ours = name in _KEPT or name in _RENAMED.values() or name.startswith(_OUR_GROUPS)
        row[name if ours else f"trl/{name}"] = value
    return row


class FiniteGuard(TrainerCallback):
    """Drops a step whose loss, gradient or reward is not finite, and stops the run after three in a row.

    A dropped step leaves weights and optimiser state as they were: its gradients are removed before the optimiser
    looks at them. On several processes all drop it together.

    Args:
        save_batch: Writes the batch of the step and says where.
        tell: Is told of the first step that is dropped.
    """

    def __init__(self, save_batch: Callable[[], str], tell: Callable[[str], None] = lambda _: None) -> None:
        self._save_batch = save_batch
        self._tell = tell
        self._suspicion: str | None = None
        self.total = 0
        """How many steps have been dropped."""
        self.in_a_row = 0
        """How many of them were the latest ones."""

    def suspect(self, reason: str) -> None:
        """Marks the step under way as bad, whatever its gradients look like."""
        self._suspicion = reason

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        reason = self._suspicion
        self._suspicion = None
        if reason is None and not gradients_are_finite(kwargs["model"]):
            reason = "a gradient is not finite"
        if on_any_process(reason is not None, kwargs["model"]):
            self._drop(reason or "another process found a number that is not finite", kwargs["model"], state)
        else:
            self.in_a_row = 0

    def _drop(self, reason: str, model: torch.nn.Module, state: Any) -> None:
        self.total += 1
        self.in_a_row += 1
        if self.total == 1:
            self._tell(f"step {state.global_step + 1} is dropped: {reason}; such steps are counted as bad_steps")
        for parameter in model.parameters():
            parameter.grad = None
        if self.in_a_row == LOST_STEPS:
            raise TrainingAborted(
                f"step {state.global_step}: {reason}, {self.in_a_row} steps in a row; the batch is in "
                f"{self._save_batch()}; lower the learning rate or look at the rewards"
            )


def gradients_are_finite(model: torch.nn.Module) -> bool:
    """Whether all gradients of this process are; one look at the device, however many parameters there are."""
    sums = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    local = [grad.to_local() if hasattr(grad, "to_local") else grad for grad in sums]
    flags = [torch.isfinite(grad).all() for grad in local]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())


def on_any_process(flag: bool, model: torch.nn.Module) -> bool:
    """Whether the flag is up on any process: a step is dropped on all of them, or they would drift apart."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return flag
    raised = torch.tensor(float(flag), device=next(model.parameters()).device)
    torch.distributed.all_reduce(raised, op=torch.distributed.ReduceOp.MAX)
    return bool(raised > 0)


class EpochOrder(TrainerCallback):
    """Tells the sampler which epoch it deals out, before transformers skips what a resumed run has had of it.

    transformers 5.23 tells it afterwards, and where several processes share the batches its word does not get through:
    a run that is resumed in a later epoch would see the first one's rows again.
    """

    def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **kwargs: Any) -> None:
        train_dataloader.set_epoch(int(state.epoch))


class PeriodicEvaluation(TrainerCallback):
    """Calls `evaluate` before the first step and after every so many, and logs what it returns."""

    def __init__(self, evaluate: Callable[[], Mapping[str, float | None]], every_steps: int, run: RunDir) -> None:
        self._evaluate = evaluate
        self._every_steps = every_steps
        self._run = run

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._log(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self._every_steps == 0:
            self._log(state)

    def _log(self, state: Any) -> None:
        values = self._evaluate()  # on every process: a sharded model needs them all
        if state.is_world_process_zero:
            append_jsonl(self._run.metrics_log, [{"step": state.global_step, **values}])


class Interruption(TrainerCallback):
    """Turns the first SIGTERM or SIGHUP into a checkpoint and an end of training; a second one ends the process.

    A context: outside it signals do what they did.

    Attributes:
        came: The name of the signal that came; empty if none did.
    """

    def __init__(self) -> None:
        self.came = ""
        self._asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # others cannot be told of signals
            self._before = {number: signal.signal(number, self._heard) for number in (signal.SIGTERM, signal.SIGHUP)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _heard(self, number: int, frame: object) -> None:
        self.came = signal.Signals(number).name
        for one in self._before:
            signal.signal(one, signal.SIG_DFL)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Asks for a checkpoint; where it cannot be written yet, the next step's end asks again."""
        if on_any_process(bool(self.came), kwargs["model"]):
            self.came = self.came or "a signal to another process"
            self._asked = control.should_save = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """Ends training once all until now is in a checkpoint."""
        if self._asked:  # on all processes alike
            control.should_training_stop = True
        return control


class ProgressBar(TrainerCallback):
    """One line that moves: steps done, time left, and the latest loss or reward. Off a terminal, a line a tenth."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._words = ""
        self._ended: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._task = self._bar.add_task("training", total=state.max_steps, completed=state.global_step)
            self._bar.start()

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        shown = {name: (logs or {}).get(name) for name in ("reward", "loss", "kl")}
        self._words = " ".join(f"{k} {v:.3g}" for k, v in shown.items() if isinstance(v, float | int)) or self._words
        if self._task is None:
            return
        self._bar.update(self._task, description=f"training {self._words}".strip())
        tenth = max(1, state.max_steps // 10)
        if not self._console.is_terminal and state.global_step % tenth == 0 and "train_runtime" not in (logs or {}):
            self._console.print(f"step {state.global_step} of {state.max_steps}: {self._words}", highlight=False)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._task is None:
            return
        self._bar.update(self._task, completed=state.global_step)
        self._ended.append(time.monotonic())
        left = state.max_steps - state.global_step
        if len(self._ended) == FIRST_STEPS:  # the very first warms up, and does not count
            seconds = (self._ended[-1] - self._ended[0]) / (FIRST_STEPS - 1)
            if seconds * left >= WORTH_TELLING_S:
                total = timedelta(seconds=round(seconds * left))
                words = f"about {seconds:.1f} s a step so far: {total} for the {left:,} left"
                self._console.print(words, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """Gives the terminal back; an error ends training without `on_train_end`."""
        self._bar.stop()
