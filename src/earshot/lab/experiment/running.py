"""Making what is missing of an experiment: our own commands as processes, several at once, one after another a run.

Applications meet in files: this module calls `earshot world make`, `earshot train` and `earshot eval`, and looks at
nothing but their exit codes and the files they leave. A small experiment can have them all in its own process.
"""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from earshot.config import to_yaml
from earshot.errors import EarshotError, InputError
from earshot.files import file_hash, write_json, write_text
from earshot.lab.experiment.config import ExperimentConfig
from earshot.lab.experiment.hashing import Hashes
from earshot.lab.experiment.plan import Run, config_inputs, copies_of, model_source, models_of, set_folder
from earshot.lab.experiment.records import Record, State, Step, log_tail
from earshot.locks import locked
from earshot.rundir import RunDir, describe_environment

PROGRAM = (sys.executable, "-m", "earshot.cli.main")
PLAN_FILE = "plan.json"
Say = Callable[[str], None]


class StepState(NamedTuple):
    """Where a step of a run is."""

    run: str
    step: str
    state: State
    changed: list[str]


class Experiment:
    """An experiment at work in its folder.

    Args:
        plan: What is to be made.
        jobs: Runs at once; the processor's threads are divided among them.
        redo: Do what is stale again, and remove what it had made.
        say: Told one line for each step that ends.
        program: What the words of a command come after.
        here: Carries out the words of a command in this process instead, one run after another; what it raises ends
            the experiment.
    """

    def __init__(
        self,
        plan: ExperimentConfig,
        *,
        jobs: int = 1,
        redo: bool = False,
        say: Say = print,
        program: Sequence[str] = PROGRAM,
        here: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self.plan, self.jobs, self.redo, self.say = plan, jobs, redo, say
        self.out = Path(plan.out)
        self.hashes = Hashes()
        self._program, self._here = tuple(program), here
        self._children: set[subprocess.Popen[bytes]] = set()
        self._guard = threading.Lock()
        self._stopping = False
        self._lock_file: int | None = None
        self._commit = describe_environment()["commit"]

    def carry_out(self, runs: Sequence[Run]) -> list[str]:
        """Make pair sets and models, then every run that is missing; returns what failed, a line each.

        Raises:
            InputError: Another process is at work in the folder, or something is stale and `redo` is off.
            EarshotError: A pair set or a model could not be made, so that no run can begin.
        """
        with self._locked():
            write_json(self.out / PLAN_FILE, self.plan.model_dump())
            self._prepare(runs)
            self._refuse_stale([*self.states(runs)])
            if self._here is not None:
                return [problem for run in runs for problem in self._one(run)]
            return self._all(runs)

    def states(self, runs: Sequence[Run]) -> Iterator[StepState]:
        """Where every step of the plan and of these runs is; nothing is made."""
        record = Record(self.out)
        for step in self.preparations(runs):
            yield StepState("plan", step.name, *record.state(step))
        for run in runs:
            record = Record(run.folder)
            for step in self.steps(run, record):
                yield StepState(f"{run.arm} seed {run.seed}", step.name, *record.state(step))

    def _refuse_stale(self, states: list[StepState]) -> None:
        stale = [state for state in states if state.state == "stale"]
        if stale and not self.redo:
            first = stale[0]
            raise InputError(
                f"{self.out}: {first.run}, {first.step} was made with something else ({'; '.join(first.changed)})"
                f"{f' and {len(stale) - 1} more steps' if len(stale) > 1 else ''}; undo the change, choose another "
                "'out', or make them again with --redo"
            )

    def preparations(self, runs: Sequence[Run]) -> list[Step]:
        """The pair sets of the world, and those of the plan's own models that these runs have to do with."""
        steps = []
        if (world := self.plan.world) is not None:
            folder = self.out / "data"
            options: dict[str, str | int] = {
                "pairs": world.pairs,
                "test-pairs": world.test_pairs,
                "size": world.size,
                "seed": world.seed,
            }
            options |= {} if world.ood_pairs is None else {"ood-pairs": world.ood_pairs}
            options |= {} if world.name == "colours" else {"world": world.name}
            words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
            words = ["world", "make", folder.as_posix(), *words, "--sets", ",".join(world.sets)]
            inputs = {**options, "sets": list(world.sets)}
            steps.append(Step("data", folder, tuple(words), inputs, world.sets))
        needed = models_of(self.plan, runs)
        for name, model in self.plan.models.items():
            for copy, folder in enumerate(copies_of(self.plan, name)):
                if folder in needed:
                    command = [word.replace("{copy}", str(copy)) for word in model.command]
                    words = [word.replace("{out}", folder.as_posix()) for word in command]
                    made = tuple(needed[folder])
                    steps.append(Step(f"models/{folder.name}", folder, tuple(words), {"command": command}, made))
        return steps

    def steps(self, run: Run, record: Record) -> Iterator[Step]:
        """The steps of a run; those after its training as soon as the trained model is known."""
        model, content = run.model, self.hashes.of(run.model)
        if run.config is not None:
            words = ("train", run.kind, (run.folder / "train.yaml").as_posix())
            yield Step("train", run.trained, words, config_inputs(run, self.hashes), ("model",))
            outputs = record.output("train")
            if outputs is None:
                return
            model, content = (run.trained / "model").as_posix(), outputs["model"]
        for name in self.plan.evaluation.sets:
            yield self._evaluation(run, name, model, content)

    def _evaluation(self, run: Run, set_name: str, model: str, content: str) -> Step:
        judging, data = self.plan.evaluation, set_folder(self.plan, set_name).as_posix()
        folder = run.evaluated / set_name
        listeners = {name: model_source(self.plan, source, run.seed) for name, source in judging.listeners.items()}
        options = {
            "samples": judging.samples,
            "seed": run.seed,
            "temperature": judging.temperature,
            "max-new-tokens": judging.max_new_tokens,
            "redaction": judging.redaction,
            "dtype": judging.dtype,
        } | ({} if judging.pairs is None else {"pairs": judging.pairs})
        words = ["eval", "--model", model, "--data", data, "--out", folder.as_posix()]
        words += [word for name, source in listeners.items() for word in ("--listener", f"{name}={source}")]
        words += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        words += ["--batch", str(judging.batch), "--device", judging.device]
        inputs = {
            **options,
            "model": content,
            "data": self.hashes.of(data),
            "listeners": {name: self.hashes.of(source) for name, source in listeners.items()},
        }
        return Step(f"eval/{set_name}", folder, tuple(words), inputs, ("metrics.json", "predictions.jsonl"))

    def _prepare(self, runs: Sequence[Run]) -> None:
        record = Record(self.out)
        steps = self.preparations(runs)
        self._refuse_stale([StepState("plan", step.name, *record.state(step)) for step in steps])
        for step in steps:
            if record.state(step)[0] in ("interrupted", "failed") and step.folder.exists():
                shutil.rmtree(step.folder)  # half a set or a model, begun by us, that cannot be continued
            if problem := self._ensure(step, record, "plan"):
                raise EarshotError(problem)

    def _all(self, runs: Sequence[Run]) -> list[str]:
        with ThreadPoolExecutor(self.jobs) as pool:
            at_work = [pool.submit(self._one, run) for run in runs]
            try:
                return [problem for future in as_completed(at_work) for problem in future.result()]
            except BaseException:
                self._stop()
                raise

    def _one(self, run: Run) -> list[str]:
        """All steps of one run that are missing; what failed, a line each."""
        if run.config is not None:
            write_text(run.folder / "train.yaml", to_yaml(run.config.model_dump()))
        record, problems = Record(run.folder), []
        for step in self.steps(run, record):
            if self._stopping:
                break
            if problem := self._ensure(step, record, f"{run.arm} seed {run.seed}"):
                problems.append(problem)
        return problems

    def _ensure(self, step: Step, record: Record, who: str) -> str | None:
        """Do the step unless it is done; what went wrong, in a line."""
        state, changed = record.state(step)
        if state == "finished":
            return None
        if state == "stale":
            if not self.redo:
                return f"{who}, {step.name}: made with something else ({'; '.join(changed)}); --redo makes it again"
            shutil.rmtree(step.folder, ignore_errors=True)
            record.drop(step.name)
        words = step.words
        if words[0] == "train" and RunDir(step.folder).exists():
            words = (*words, "--resume")
        log = record.path.parent / "logs" / f"{step.name.replace('/', '-')}.log"
        record.keep(step, "running", commit=self._commit)
        began = time.monotonic()
        code = self._call(words, log)
        if self._stopping:
            return None  # still "running" in the record: it is continued
        missing = [name for name in step.products if not (step.folder / name).exists()]
        seconds = round(time.monotonic() - began, 1)
        if code or missing:
            why = f"exit code {code}" if code else f"{missing[0]} is not there"
            tail = log_tail(log)
            record.keep(step, "failed", commit=self._commit, seconds=seconds, exit_code=code, log_tail=tail)
            self.say(f"{who}, {step.name}: FAILED after {seconds:.0f} s")
            return f"{who}, {step.name}: {why}; {tail[-1] if tail else 'no log'} ({log})"
        self.hashes.forget(step.folder)
        outputs = {name: self._content(step.folder / name) for name in step.products}
        record.keep(step, "finished", commit=self._commit, seconds=seconds, outputs=outputs)
        self.say(f"{who}, {step.name}: {seconds:.0f} s")
        return None

    def _content(self, path: Path) -> str:
        return self.hashes.of(path.as_posix()) if path.is_dir() else f"sha256:{file_hash(path)}"

    def _call(self, words: Sequence[str], log: Path) -> int:
        if self._here is not None:
            self._here(words)
            return 0
        threads = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        environ = {
            **os.environ,
            "OMP_NUM_THREADS": str(max(1, threads // self.jobs)),
            "TOKENIZERS_PARALLELISM": "false",
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            with self._guard:
                if self._stopping:
                    return 1
                child = subprocess.Popen(
                    [*self._program, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=environ,
                    pass_fds=() if self._lock_file is None else (self._lock_file,),
                )
                self._children.add(child)
            code = child.wait()
        with self._guard:
            self._children.discard(child)
        return code

    def _stop(self) -> None:
        """End the commands that are at work; what they have made so far stays, to be continued."""
        with self._guard:
            self._stopping = True
            for child in self._children:
                child.terminate()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process a folder. Commands inherit the lock: one that outlives us, because we were killed, keeps it."""
        self.out.mkdir(parents=True, exist_ok=True)
        taken = f"{self.out}: an experiment, or a command of one that was killed, is still at work here"
        with locked(self.out / ".lock", taken=taken, then="wait for it") as self._lock_file:
            try:
                yield
            finally:
                self._lock_file = None
