"""Checkpoints that count only when they are whole and on the disk, and what is taken back when a run is resumed.

A checkpoint is transformers' own folder. It counts once its manifest is there: sizes and SHA-256 of all its files,
which are on the disk, with their folder, before the manifest is written.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from earshot.errors import DataError, InputError
from earshot.files import append_jsonl, file_hash, fsync, read_json_object, read_jsonl, whole, write_json
from earshot.rundir import RunDir

MANIFEST: Final = "manifest.json"
OURS: Final = "earshot_trainer.json"  # of a checkpoint: what transformers does not keep of a trainer's state


class Checkpoint(NamedTuple):
    """A checkpoint that is whole.

    Attributes:
        path: Its folder.
        step: Optimizer steps done.
        steps: Those of the whole training.
    """

    path: Path
    step: int
    steps: int

    @property
    def is_the_last(self) -> bool:
        """Whether training had come to its end."""
        return self.step >= self.steps


class Place(NamedTuple):
    """What the next step changes before it changes weights, as it was where a checkpoint could be written.

    Attributes:
        step: Optimizer steps done.
        tokens: Seen, as transformers counts them.
        own: Of the trainer's own state.
        random: The states of the generators of Python, NumPy, torch and its GPUs.
    """

    step: int
    tokens: int
    own: dict[str, Any]
    random: tuple[Any, Any, torch.Tensor, list[torch.Tensor]]

    @classmethod
    def of(cls, trainer: Any) -> Place:
        """As it is now."""
        gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        states = random.getstate(), np.random.get_state(), torch.get_rng_state(), gpus
        return cls(trainer.state.global_step, trainer.state.num_input_tokens_seen, trainer.own_state(), states)

    def restore(self, trainer: Any) -> None:
        """Makes it so again."""
        python, numpy, cpu, gpus = self.random
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(gpus)
        trainer.state.num_input_tokens_seen = self.tokens
        trainer.take_own_state(self.own)


def seal(folder: Path) -> None:
    """Writes the manifest of a checkpoint that is complete, once all of it is on the disk."""
    files = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        fsync(file)
        files[file.relative_to(folder).as_posix()] = {"bytes": file.stat().st_size, "sha256": file_hash(file)}
    for names in (*(path for path in folder.rglob("*") if path.is_dir()), folder, *folder.parents[:2]):
        fsync(names)  # up to the run's folder, which has the name of the checkpoints' own
    write_json(folder / MANIFEST, {"files": files})


def fault_of(folder: Path) -> str | None:
    """What is wrong with a checkpoint, by its manifest; None where it is as it was written."""
    if not (folder / MANIFEST).is_file():
        return f"it has no {MANIFEST}: it was cut off while it was written, or an earlier version wrote it"
    try:
        files = read_json_object(folder / MANIFEST, what="a checkpoint's manifest")["files"]
        for name, told in files.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != told["bytes"]:
                return f"{name} has {file.stat().st_size:,} bytes, expected {told['bytes']:,}"
            if file_hash(file) != told["sha256"]:
                return f"{name} has changed since it was written (its SHA-256 differs)"
    except (DataError, InputError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} is damaged ({type(error).__name__})"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return None


def latest_checkpoint(run: RunDir, tell: Callable[[str], None] = lambda _: None) -> Checkpoint | None:
    """The newest whole checkpoint; of a newer one that is damaged the fault is told, and it is passed over."""
    for folder in sorted(_folders(run), key=step_of, reverse=True):
        if (fault := fault_of(folder)) is None:
            state = json.loads((folder / TRAINER_STATE_NAME).read_bytes())
            return Checkpoint(folder, step_of(folder), int(state["max_steps"]))
        tell(f"{folder.name} is passed over: {fault}")
    return None


def rewind(run: RunDir, checkpoint: Checkpoint | None) -> None:
    """Takes back what was logged after the checkpoint (everything, without one): those steps are done again.

    Raises:
        InputError: There is none to go on from, but some that were complete once: they would be lost.
    """
    if checkpoint is None and (lost := [f for f in _folders(run) if _was_complete(f)]):
        newest = max(lost, key=step_of)
        raise InputError(
            f"{run.path}: none of its checkpoints can be gone on from ({newest.name}: {fault_of(newest)}), and to "
            "begin anew would remove them and what was logged; mend or move them, or choose another 'out'"
        )
    step = 0 if checkpoint is None else checkpoint.step
    if run.metrics_log.exists():
        kept = [row for row in read_jsonl(run.metrics_log) if step and row.get("step", 0) <= step]
        with whole(run.metrics_log) as temporary:
            temporary.touch()
            append_jsonl(temporary, kept)
    for part in run.rollouts.glob("step-*.parquet"):
        if int(part.stem.split("-")[1]) >= step:
            part.unlink()
    for folder in _folders(run):
        if checkpoint is None or (folder != checkpoint.path and step_of(folder) >= step):
            shutil.rmtree(folder)


class Checkpoints(TrainerCallback):
    """Lets a checkpoint be written only where a run can be taken up exactly, seals it, and keeps the newest few.

    What is between two such places (completions that several steps share, sums that are logged together) is in no
    checkpoint. One that falls due in between is written at the next of them.

    Args:
        sign: Adds to a folder what it needs to be loaded as a model.
        trainer: Of TRL; what transformers does not keep of its state is written beside it.
        is_place: Whether one may be written after a step.
        keep: How many checkpoints stay; None keeps all.
    """

    def __init__(
        self, sign: Callable[[Path], None], trainer: Any, is_place: Callable[[int], bool], keep: int | None
    ) -> None:
        self._sign = sign
        self._trainer = trainer
        self._is_place = is_place
        self._keep = keep
        self._due = False
        self._place: Place | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Before a checkpoint is written, or is not; the last of all callbacks, for others draw random numbers."""
        self._due = self._due or control.should_save
        if is_place := self._is_place(state.global_step):
            self._place = Place.of(self._trainer)
        control.should_save = self._due and (is_place or state.global_step >= state.max_steps)
        if control.should_save:
            self._note(self._folder(state))
        return control

    def _folder(self, state: Any) -> Path:
        return Path(self._trainer.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"

    def _note(self, folder: Path) -> None:
        """Begins a checkpoint with what is ours: one without that was not written by this version."""
        if self._trainer.state.is_world_process_zero:
            write_json(folder / OURS, self._trainer.own_state())

    def save_place(self) -> bool:
        """Writes the checkpoint that could have been written last, if no weight has changed since; by all processes.

        Returns:
            Whether there is one now: a run that is taken up from it does the step under way again, and loses no other.
        """
        trainer, place, folder = self._trainer, self._place, self._folder(self._trainer.state)
        if (folder / MANIFEST).is_file():
            return True
        if place is None or place.step != trainer.state.global_step:
            return False
        place.restore(trainer)
        self._note(folder)
        trainer._save_checkpoint(trainer.model, None)
        self.on_save(trainer.args, trainer.state, trainer.control)
        return True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Once a checkpoint is written by all processes."""
        self._due = False
        args.distributed_state.wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = self._folder(state)
        self._sign(folder)
        seal(folder)
        run = RunDir(Path(args.output_dir).parent)
        for old in sorted(_folders(run), key=step_of)[: -self._keep if self._keep else 0]:
            shutil.rmtree(old)


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint's folder; -1 where its name has none."""
    number = checkpoint.name.rsplit("-", 1)[-1]
    return int(number) if number.isdigit() else -1


def _was_complete(folder: Path) -> bool:
    """Whether a checkpoint was ever whole, as far as can be seen: sealed, or written by a version that sealed none."""
    return (folder / MANIFEST).exists() or ((folder / TRAINER_STATE_NAME).exists() and not (folder / OURS).exists())


def _folders(run: RunDir) -> Iterator[Path]:
    return (f for f in run.checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if f.is_dir() and step_of(f) >= 0)
