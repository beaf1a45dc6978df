"""Against vLLM: the same model and questions, computed by turns here and by a vLLM in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from earshot.lab.bench.measure import machine_of, need_images
from earshot.lab.bench.paired import in_turns, seconds_since
from earshot.lab.bench.shape import Shape, repeated
from earshot.listener.engine import EngineListener
from earshot.listener.local import LocalListener
from earshot.reasoner import Reasoner
from earshot.reasoner.engine import EngineReasoner
from earshot.vlm import Vlm
from earshot.vlm.on_vllm import VllmModel, load_on_vllm
from earshot.vlm.prefix import Sampling, encode_prefix, sample

ASKED = ("sample", "listener", "judge")


def measure_against_vllm(
    name: str, shape: Shape, runs: int, on_run: Callable[[], Any] = lambda: None
) -> dict[str, Any]:
    """Seconds of one call here and by vLLM, which keeps prefixes within a call and none from one to the next.

    Args:
        name: `sample`, G completions of each pair as in a training step; `listener`, G traces of each pair; `judge`, G
            completions of each pair in both orders, with the probability that the model gives after each.
        shape: Of the model and the questions.
        runs: Pairs of runs.
        on_run: Called after every run.

    Raises:
        InputError: The shape has no images.
        ModelError: vLLM is missing, or does not compute the model as it is computed here.
    """
    need_images(shape)
    vlm = shape.build().freeze()
    with TemporaryDirectory(prefix="earshot-bench-") as folder:
        vlm.save(Path(folder) / "model")
        engine = load_on_vllm(
            str(Path(folder) / "model"), dtype=shape.dtype, device=shape.device, options={"mm_processor_cache_gb": 0}
        )
    engine.vlm.forbidden_ids = vlm.forbidden_ids
    here, there = _calls(name, shape, vlm, engine)

    def run(call: Callable[[], Any], device: torch.device) -> dict[str, float]:
        engine.llm.reset_prefix_cache()
        start = time.perf_counter()
        call()
        return {name: seconds_since(start, device)}

    ratio = in_turns(lambda: run(here, vlm.device), lambda: run(there, vlm.device), runs, on_run)[name]
    texts = shape.groups * shape.group * (2 if name == "judge" else 1)
    return {
        "shape": shape.told(),
        "against": engine.record()["vllm"],
        **ratio._asdict(),
        "tokens_per_s": {"ours": texts * shape.new_tokens / ratio.ours, "vllm": texts * shape.new_tokens / ratio.stock},
        "pairs_per_s": {"ours": shape.groups / ratio.ours, "vllm": shape.groups / ratio.stock},
        "machine": machine_of(vlm.device),
    }


def _calls(name: str, shape: Shape, vlm: Vlm, engine: VllmModel) -> tuple[Callable[[], Any], Callable[[], Any]]:
    pairs = shape.pairs(vlm, shape.groups)
    if name == "listener":
        rows, traces = repeated(pairs, shape.group), shape.texts(shape.groups * shape.group)
        reader, listener = LocalListener(vlm), EngineListener(engine)
        return lambda: reader.p_first(rows, traces), lambda: listener.p_first(rows, traces)
    if name == "judge":
        one = Reasoner(vlm, max_new_tokens=shape.new_tokens)
        other = EngineReasoner(EngineListener(engine), max_new_tokens=shape.new_tokens, batch_size=2 * len(pairs))
        return lambda: one.judge(pairs, samples=shape.group), lambda: other.judge(pairs, samples=shape.group)
    owners = [k for k in range(len(pairs)) for _ in range(shape.group)]
    how = Sampling(shape.new_tokens, 1.0, vlm.stop_ids, vlm.forbidden_ids, vlm.tokenizer.pad_token_id)

    def ours() -> None:
        prefix = encode_prefix(vlm.model, vlm.encode_pairs(pairs, after=shape.new_tokens))
        sample(vlm.model, prefix, owners, torch.rand(len(owners), shape.new_tokens), how)

    def theirs() -> None:
        seeds = [*range(len(pairs))]
        engine.complete(pairs, seeds, n=shape.group, temperature=1.0, max_new_tokens=shape.new_tokens)

    return ours, theirs
