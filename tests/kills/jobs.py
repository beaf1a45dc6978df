"""The commands that are killed, on small models and sets that are made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.kills.harness import Job, ended, files_of, start


def jobs(room: Path) -> Iterator[Job]:
    """All jobs, on small models and sets that are made here."""
    from earshot.config.yaml_text import to_yaml
    from earshot.files import plain
    from earshot.rundir import RunDir
    from earshot.world.make import Recipe, make_set
    from tests.data.test_importing import make_mjbench
    from tests.train.shapes import SHAPES, grpo, outcome
    from tests.train.small import build_small, make_talker

    pairs = room / "pairs"
    make_set(pairs, Recipe("train"), 6, workers=1)
    talker = make_talker(build_small("qwen2_5_vl", room / "small"), pairs, room / "talker")

    def trained(out: Path) -> Any:
        weights, rows, rollouts = outcome(RunDir(out))
        return {name: tensor.numpy().tobytes() for name, tensor in weights.items()}, rows, rollouts

    def training(make: Any, more: dict[str, Any]) -> Callable[[Path], Sequence[str]]:
        def words(out: Path) -> Sequence[str]:
            config = out.with_suffix(".yaml")
            config.write_text(to_yaml(plain(make(talker, pairs, out, **more).model_dump())))
            return ["train", "grpo" if make is grpo else "sft", str(config), "--resume"]

        return words

    for name, (make, more) in SHAPES.items():
        more = {"max_steps": 6, **more}
        yield Job(f"train: {name}", training(make, more), trained)

    asked = ["--model", str(talker), "--listener", f"one={talker}", "--max-new-tokens", "12", "--batch", "1"]
    yield Job(
        "eval",
        lambda out: ["eval", *asked, "--data", str(pairs), "--out", str(out), "--resamples", "100"],
        lambda out: files_of(out, but=["environment.json", "evaluation.json"]),
    )
    yield Job("judge", lambda out: ["judge", str(pairs), str(out / "j.parquet"), *asked, "--part-rows", "1"], files_of)
    run = room / "run"
    ended(start(training(*SHAPES["later epochs"])(run), room / "log"))
    yield Job("report", lambda out: ["report", str(run), "--out", str(out / "r.html")], files_of)
    published = make_mjbench(room / "published", 300)
    words = ["data", "import", "mjbench", str(published)]
    yield Job("data import", lambda out: [*words, str(out)], files_of, done="holds a finished pair set")
    yield Job(
        "world make",
        lambda out: ["world", "make", str(out), "--pairs", "60", "--sets", "train", "--workers", "1"],
        files_of,
    )
    yield Job("experiment", _experiment(talker, pairs), _experimented, group=True, share=0.5)


def _experiment(talker: Path, pairs: Path) -> Callable[[Path], Sequence[str]]:
    from earshot.config.yaml_text import to_yaml

    def words(out: Path) -> Sequence[str]:
        trl = {"max_steps": 3, "per_device_train_batch_size": 4, "num_generations": 2, "max_completion_length": 12}
        trl |= {"learning_rate": 1e-3, "lr_scheduler_type": "constant", "save_steps": 1}
        plan = {
            "out": str(out),
            "seeds": "0",
            "base": {
                "common": {"model": {"path": str(talker), "device": "cpu"}},
                "grpo": {"listener": {"control": "random"}, "trl": trl},
            },
            "arms": {"one": {"kind": "grpo", "title": "One"}},
            "reference": "one",
            "sets": {"train": str(pairs)},
            "evaluation": {"sets": ["train"], "listeners": {}, "max_new_tokens": 12},
        }
        file = out.with_suffix(".yaml")
        file.write_text(to_yaml(plan))
        return ["lab", "experiment", "run", str(file)]

    return words


def _experimented(out: Path) -> Any:
    return {name: told for name, told in files_of(out).items() if name.endswith((".safetensors", "predictions.jsonl"))}
