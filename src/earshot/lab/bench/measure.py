"""The three measurements: a whole GRPO step, the listener, and judging pairs."""

from __future__ import annotations

import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch
import transformers

from earshot.errors import InputError
from earshot.lab.bench.paired import SIDES, Ratio, in_turns, ratio_of, seconds_since
from earshot.lab.bench.shape import Shape, repeated
from earshot.lab.bench.stock import plain_generate, plain_listener
from earshot.lab.bench.work import Work, counted, ideal_ratio
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.vlm import Vlm

QUANTITIES = ("step", "train_pass", "listener", "generate", "peak_memory")
Result = dict[str, Any]


def measure_step(shape: Shape, runs: int, on_run: Callable[[], Any] = lambda: None) -> Result:
    """A whole GRPO step with a listener, against TRL's trainer with a plain listener for its reward.

    Our training pass goes on from the prompts that generation encoded: their forward pass stands under `generate`, in
    time and in work.

    Args:
        shape: What is measured.
        runs: Pairs of steps, after one pair that does not count.
        on_run: Called after each of the 2 * (runs + 3) steps.
    """
    from earshot.lab.bench.trainers import both_trainers

    with tempfile.TemporaryDirectory(prefix="earshot-bench-") as out, warnings.catch_warnings():
        # TRL's hook for generation says that it is experimental, and its trainer that names will change.
        warnings.simplefilter("ignore")
        steppers = both_trainers(shape, out)
        ratios = in_turns(steppers["ours"].step, steppers["stock"].step, runs, on_run)
        works: dict[str, dict[str, Work]] = {}
        for side in SIDES:
            steppers[side].step("work")
            works[side] = steppers[side].work
            on_run()
        for side in SIDES:
            steppers[side].step("memory")
            on_run()
    peaks = [float(steppers[side].peak_bytes) for side in SIDES]
    ratios["peak_memory"] = ratio_of(peaks[:1], peaks[1:])
    if not shape.pixels:
        ratios.pop("listener")  # nobody listened
    return _result(shape, ratios, works, steppers["ours"].device)


def measure_listener(shape: Shape, runs: int, on_run: Callable[[], Any] = lambda: None) -> Result:
    """The listener on G traces of each pair, against a plain batch in which every trace has its own images.

    Raises:
        InputError: The shape has no images.
    """
    need_images(shape)
    vlm = shape.build().freeze()
    pairs = repeated(shape.pairs(vlm, shape.groups), shape.group)
    texts, listener = shape.texts(len(pairs)), LocalListener(vlm)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: listener.p_first(pairs, texts),
        "stock": lambda: plain_listener(vlm, pairs, texts),
    }
    return _of_calls(shape, "listener", calls, vlm, runs, on_run)


def measure_judge(shape: Shape, runs: int, on_run: Callable[[], Any] = lambda: None) -> Result:
    """G completions of each pair in both orders, against plain `generate`.

    Raises:
        InputError: The shape has no images.
    """
    need_images(shape)
    vlm = shape.build().freeze()
    pairs = shape.pairs(vlm, shape.groups)
    reasoner = Reasoner(vlm, max_new_tokens=shape.new_tokens)
    calls: dict[str, Callable[[], Any]] = {
        "ours": lambda: reasoner.judge(pairs, samples=shape.group),
        "stock": lambda: plain_generate(vlm, pairs, samples=shape.group, new_tokens=shape.new_tokens),
    }
    return _of_calls(shape, "generate", calls, vlm, runs, on_run)


def _of_calls(
    shape: Shape,
    part: str,
    calls: dict[str, Callable[[], Any]],
    vlm: Vlm,
    runs: int,
    on_run: Callable[[], Any],
) -> Result:
    def timed(call: Callable[[], Any]) -> Callable[[], dict[str, float]]:
        def run() -> dict[str, float]:
            start = time.perf_counter()
            call()
            return {part: seconds_since(start, vlm.device)}

        return run

    ratios = in_turns(timed(calls["ours"]), timed(calls["stock"]), runs, on_run)
    works: dict[str, dict[str, Work]] = {}
    for side, call in calls.items():
        works[side] = {part: Work()}
        with counted(vlm.model, works[side][part]):
            call()
        on_run()
    return _result(shape, ratios, works, vlm.device)


def _result(shape: Shape, ratios: dict[str, Ratio], works: dict[str, dict[str, Work]], device: torch.device) -> Result:
    """One object: the shape, the ideal ratio, a ratio for each quantity (None where not measured), and the work."""
    total = {side: sum(parts.values(), Work()) for side, parts in works.items()}
    measured = {name: ratios[name]._asdict() if name in ratios else None for name in QUANTITIES}
    by_part = {
        part: {
            **{side: asdict(works[side][part]) for side in SIDES},
            "ideal_ratio": ideal_ratio(*(works[side][part] for side in SIDES)),
        }
        for part in works["ours"]
    }
    return {
        "shape": shape.told(),
        "ideal_ratio": ideal_ratio(*(total[s] for s in SIDES)),
        **measured,
        "work": by_part,
        "machine": machine_of(device),
    }


def machine_of(device: torch.device) -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "load": list(os.getloadavg()),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "trl": version("trl"),
    }


def need_images(shape: Shape) -> None:
    """Refuses a shape without any."""
    if not shape.pixels:
        raise InputError("bench: pixels 0, expected at least 28; only 'earshot lab bench step' runs without images")
