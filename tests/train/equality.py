"""Our trainer and TRL's on the same completions, and what each made of them; also run by several processes."""

import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import trl.trainer.grpo_trainer as stock_module
from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import GRPOConfig, GRPOTrainer

import earshot.train.trainer as ours_module
from earshot.protocol import reasoner_messages
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.vlm import load
from tests.vlm.models import any_size, fresh, picture

ROOT = Path(__file__).resolve().parents[2]
GROUP, GROUPS, WIDTH = 3, 2, 9
FAMILIES = ("qwen2_5_vl", "llava")
CASES: dict[str, dict[str, Any]] = {
    "one iteration": {},
    "two iterations": {"num_iterations": 2, "max_steps": 4},
    "accumulation": {"gradient_accumulation_steps": 2, "num_iterations": 2},
    "groups cut by micro-batches": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
    "checkpointing": {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
    "truncated left out": {"mask_truncated_completions": True},
    "colder": {"temperature": 0.7},
    "text only": {"text_only": True},
}
QUANTITIES = ("loss", "grad_norm", "kl", "entropy")
LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


class Outcome(NamedTuple):
    """What training left behind.

    Attributes:
        logged: A row for each optimizer step: loss, gradient norm, KL and entropy as TRL logs them.
        gradients: The gradients of each optimizer step by parameter, before clipping where nothing is clipped.
    """

    logged: list[dict[str, float]]
    gradients: list[dict[str, torch.Tensor]]


class _Gradients(TrainerCallback):
    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        model = getattr(model, "module", model)
        self.seen.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


class _Completions:
    """The same completions to both trainers: of unequal lengths, some of them ended and some cut."""

    def __init__(self, stop_id: int, rank: int) -> None:
        self._draw = torch.Generator().manual_seed(100 + rank)
        self._stop_id = stop_id

    def __call__(self, rows: int) -> list[list[int]]:
        texts = torch.randint(40, 300, (rows, WIDTH), generator=self._draw).tolist()
        lengths = torch.randint(1, WIDTH + 1, (rows,), generator=self._draw).tolist()
        return [t[:n] + ([self._stop_id] if n < WIDTH else []) for t, n in zip(texts, lengths, strict=True)]


def train(
    side: str,
    out: Path,
    family: str,
    *,
    lora: bool = False,
    text_only: bool = False,
    device: str = "cpu",
    **trl: Any,
) -> Outcome:
    """A few steps of either trainer.

    Args:
        side: `ours` or `stock`.
        out: Where TRL would write.
        family: The model's.
        lora: Train an adapter.
        text_only: Prompts without images.
        device: Where, in float32.
        **trl: Of TRL's configuration, what the case is about.
    """
    set_seed(0)
    if not (out / family).exists():
        fresh(family).save(out / family)
    # TRL reads the reference model from where the model was read.
    vlm = any_size(load(out / family, device=device, dtype="float32"))
    given: dict[str, Any] = {
        "output_dir": str(out), "per_device_train_batch_size": GROUP * GROUPS, "num_generations": GROUP,
        "max_completion_length": WIDTH, "max_steps": 3, "optim": "sgd", "learning_rate": 0.05, "beta": 0.1,
        "max_grad_norm": 1e6, "loss_type": "grpo", "lr_scheduler_type": "constant", "gradient_checkpointing": False,
        "bf16": False, "report_to": [], "save_strategy": "no", "logging_steps": 1, "disable_tqdm": True,
        "remove_unused_columns": False, "use_cpu": device == "cpu",
        "generation_kwargs": {"suppress_tokens": vlm.forbidden_ids},
    }  # fmt: skip
    arguments = GRPOConfig(**{**given, **trl})
    draw = _Completions(vlm.tokenizer.eos_token_id, arguments.process_index)
    shared: dict[str, Any] = {
        "args": arguments,
        "reward_funcs": [_reward],
        "train_dataset": _dataset(vlm, text_only),
        "peft_config": _peft() if lora else None,
    }
    trainer = _ours(vlm, draw, shared) if side == "ours" else _stock(vlm, draw, shared)
    trainer.remove_callback(PrinterCallback)
    gradients = _Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    logged = [{n: row[n] for n in QUANTITIES if n in row} for row in trainer.state.log_history if "loss" in row]
    return Outcome(logged, gradients.seen)


def _ours(vlm: Any, draw: _Completions, shared: dict[str, Any]) -> Any:
    def rollout(prompts: list[Any], trainer: ListenerGrpoTrainer) -> dict[str, Any]:
        ids = trainer.prompts.ids()
        owners = trainer.prompts.owners
        if not trainer.args.gradient_checkpointing:  # which generation puts off
            trainer.encode_prompts(
                trainer.accelerator.unwrap_model(trainer.model), trainer.prompts.batches[0]
            )  # it keeps a cache for training
        return {"prompt_ids": [ids[k] for k in owners], "completion_ids": draw(len(prompts)), "logprobs": None}

    kept = ours_module.sample_completions
    ours_module.sample_completions = rollout
    try:
        return ListenerGrpoTrainer(vlm=vlm, **shared)
    finally:
        ours_module.sample_completions = kept


def _stock(vlm: Any, draw: _Completions, shared: dict[str, Any]) -> Any:
    class Stock(GRPOTrainer):
        def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
            return draw(len(prompt_ids)), None

    # TRL deals the rows of a step to other micro-batches than we do; logged means of means would differ for it alone.
    stock_module.shuffle_sequence_dict = lambda rows: rows
    return Stock(model=vlm.model, processing_class=vlm.processor, **shared)


def _reward(completion_ids: Sequence[list[int]], **_: Any) -> list[float]:
    return [float(sum(ids) % 11) for ids in completion_ids]


def _dataset(vlm: Any, text_only: bool) -> Dataset:
    prompts = ["a red circle", "two blue squares and a red circle and two blue squares", "red", "blue squares"]
    sizes = [(56, 56), (112, 56), (56, 84), (84, 84), (140, 56), (28, 28), (56, 56), (84, 28)]
    images = [picture(k, *size) for k, size in enumerate(sizes)]
    messages = [reasoner_messages(prompt, vlm.prompts) for prompt in prompts]
    texts = [[{"role": "user", "content": [{"type": "text", "text": prompt}]}] for prompt in prompts]

    def decode(batch: dict[str, list[int]]) -> dict[str, list[Any]]:
        taken = [index % len(prompts) for index in batch["index"]]
        if text_only:
            return {"prompt": [texts[k] for k in taken]}
        pictured = [images[2 * k : 2 * k + 2] for k in taken]
        return {"prompt": [messages[k] for k in taken], "images": pictured}

    dataset = Dataset.from_dict({"index": list(range(48))})
    dataset.set_transform(decode)
    return dataset


def _peft() -> Any:
    from peft import LoraConfig

    return LoraConfig(**LORA)


def differences(ours: Outcome, stock: Outcome) -> dict[str, float]:
    """The largest relative differences over all steps: of logged numbers by name, and of `gradient`, over parameters.

    Loss and KL are differences of numbers around 1, and 0 but for rounding at the first step: theirs are relative to
    their size and a tenth. Some biases have no gradient but rounding; these are compared on the scale of all gradients.
    """
    assert len(ours.logged) == len(stock.logged) == len(ours.gradients) == len(stock.gradients) > 0
    found: dict[str, float] = {}
    for own, theirs in zip(ours.logged, stock.logged, strict=True):
        assert own.keys() == theirs.keys()
        for name, wanted in theirs.items():
            size = abs(wanted) + (0.1 if name in ("loss", "kl") else 0.0)
            found[name] = max(found.get(name, 0.0), abs(own[name] - wanted) / size)
    for mine, gradients in zip(ours.gradients, stock.gradients, strict=True):
        assert mine.keys() == gradients.keys()
        largest = max(float(g.norm()) for g in gradients.values())
        for name, gradient in gradients.items():
            size = max(float(gradient.norm()), 1e-4 * largest)
            found["gradient"] = max(found.get("gradient", 0.0), float((mine[name] - gradient).norm()) / size)
    return found


def assert_equal(ours: Outcome, stock: Outcome) -> None:
    """Logged numbers to 1e-5, every parameter's gradient to 1e-4 of its norm."""
    found = differences(ours, stock)
    assert all(value <= (1e-4 if name == "gradient" else 1e-5) for name, value in found.items()), found


def in_two_processes(out: Path, family: str, *, lora: bool) -> tuple[Outcome, Outcome]:
    """Both trainers in two processes over gloo; the outcome of the first."""
    two_processes("tests.train.equality", str(out), family, "lora" if lora else "full")
    ours, stock = (Outcome(*saved) for saved in torch.load(out / "outcomes.pt", weights_only=True))
    return ours, stock


def two_processes(module: str, *arguments: str) -> None:
    """Runs a module as the two processes of one training."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", module, *arguments]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    shared |= {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            command, cwd=ROOT, env={**shared, "RANK": str(k), "LOCAL_RANK": str(k)}, stderr=subprocess.PIPE, text=True
        )
        for k in range(2)
    ]
    errors = [process.communicate(timeout=600)[1] for process in ranks]
    assert all(process.returncode == 0 for process in ranks), "\n".join(error[-2000:] for error in errors)


def both(run: Callable[[str], Outcome]) -> tuple[Outcome, Outcome]:
    kept = stock_module.shuffle_sequence_dict
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return run("ours"), run("stock")
        finally:
            stock_module.shuffle_sequence_dict = kept


if __name__ == "__main__":  # one of several processes
    folder, named, adapter = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "lora"
    folder = folder / f"rank{os.environ['RANK']}"
    outcomes = both(lambda side: train(side, folder, named, lora=adapter, num_iterations=2))
    if os.environ["RANK"] == "0":
        torch.save([tuple(outcome) for outcome in outcomes], folder.parent / "outcomes.pt")
