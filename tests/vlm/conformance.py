"""Whether a family of models gives the numbers here that stock transformers gives for it.

A check raises an `AssertionError` with figures where numbers differ from the stock row's. A `ModelError` before any
number is an answer too: the family is refused by name. `python -m tests.vlm.conformance [--fast] [NAME...]` prints
what each check finds.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import torch
import transformers
from rich.console import Console
from transformers import GenerationConfig

from earshot.config import GrpoConfig, SftConfig
from earshot.errors import ModelError
from earshot.files import read_jsonl
from earshot.listener.local import LocalListener
from earshot.protocol import listener_prefill, prompt_set, reasoner_messages
from earshot.reasoner import Reasoner
from earshot.rundir import RunDir
from earshot.train.grpo import train_grpo
from earshot.train.prompts import encode_step
from earshot.train.reward import CombinedReward
from earshot.train.sft import train_sft
from earshot.types import Pair
from earshot.vlm import load
from earshot.vlm.prefix import Sampling, encode_prefix, logps_of_rows, sample, shared_logps
from earshot.vlm.prefix.encode import padded
from earshot.vlm.rows import append_completions, supervised_batch
from tests.vlm.families import FAMILIES, build
from tests.vlm.stock import PAIRS, Subject

P_TOLERANCE = 1e-5
LOGP_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-4

SHORT = "The first image is sharp."
LONG = (
    "The first image shows a man in a gray hoodie with a black hat, sharp and well lit. The second image has a "
    "distorted face and strange hands, and its colours are dull, so it follows the prompt less well than the first."
)
TRACES = (None, SHORT, LONG)
_SYSTEM = "You judge two images."
_HERS = {"first": "Image 1 is better", "second": "Image 2 is better"}
COMPLETIONS = (
    "<think> The first image is sharp. </think><answer>1</answer>",
    "<think> x </think><answer>2</answer>",
    "<think> The second image shows a well lit man, and the first one is blurry, noisy and cut at the edge. </think>",
)
FORMS: tuple[Literal["plain", "cache", "packed"], ...] = ("plain", "cache", "packed")


def loads(subject: Subject) -> str:
    """The folder loads as it is."""
    vlm = load(subject.folder, dtype="float32", device="cpu")
    return type(vlm.processor).__name__


def prompt_ids(subject: Subject) -> str:
    """Our prompts have the ids that the processor's own `apply_chat_template` gives."""
    batch = subject.prompts
    for row, pair in enumerate(PAIRS):
        ours = batch["input_ids"][row][batch["attention_mask"][row].bool()].tolist()
        stock = subject.prompt(pair)["input_ids"][0].tolist()
        names = subject.processor.tokenizer.convert_ids_to_tokens
        assert ours == stock, (
            f"{len(ours)} ids, stock {len(stock)}; ours begin {names(ours[:3])} and end {names(ours[-3:])}, "
            f"stock {names(stock[:3])} and {names(stock[-3:])}"
        )
    return f"{len(stock)} ids"


def one_think_tag(subject: Subject) -> str:
    """What the listener reads and what SFT teaches open the thoughts once, whoever opens them."""
    vlm = subject.vlm
    before = subject.processor.apply_chat_template(reasoner_messages("x", prompt_set("standard"))).count("<think>")
    messages = [reasoner_messages("x", prompt_set("standard"))]
    read = subject.opened() + vlm.tokenizer.decode(subject.suffix(SHORT))
    batch = supervised_batch(vlm, messages, [[PAIRS[0].first, PAIRS[0].second]], _natural(subject, COMPLETIONS[:1]))
    taught = vlm.tokenizer.decode(batch["input_ids"][0]).count("<think>") - before
    counts = {"listener": read.count("<think>"), "sft": taught}
    assert set(counts.values()) == {1}, f"<think> stands {counts['listener']} times before a trace: {read[:60]!r}"
    return "once"


def ban(subject: Subject) -> str:
    """Special tokens are banned, newlines are not, and no id lies beyond the head."""
    vlm, tokenizer = subject.vlm, subject.processor.tokenizer
    forbidden = set(vlm.forbidden_ids)
    beyond = {i for i in forbidden if i >= subject.rows}
    assert not beyond, f"ids {sorted(beyond)} are beyond the head's {subject.rows} rows"
    spaces = {text: set(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in ("\n", "\n\n", "\t", " a")}
    held = [text for text, ids in spaces.items() if ids & forbidden]
    assert not held, f"{held} may not be written"
    missing = subject.banned - forbidden
    assert not missing, f"{tokenizer.convert_ids_to_tokens(sorted(missing))[:5]} may be written"
    return f"{len(forbidden)} ids"


def p_equal_lengths(subject: Subject) -> str:
    """One trace a pair, all of one length."""
    return _same_p(subject, [(pair, SHORT) for pair in PAIRS])


def p_mixed_lengths(subject: Subject) -> str:
    """One trace a pair, of different lengths."""
    return _same_p(subject, [(PAIRS[0], SHORT), (PAIRS[1], LONG)])


def p_several_traces(subject: Subject) -> str:
    """Several traces a pair, of different lengths."""
    return _same_p(subject, [(pair, trace) for pair in PAIRS for trace in TRACES])


def p_alone(subject: Subject) -> str:
    """Each trace in a call of its own; with the other checks, that rows do not depend on what they stand beside."""
    return max((_same_p(subject, [(PAIRS[0], trace)]) for trace in TRACES), key=float)


def p_both_orders(subject: Subject) -> str:
    """Pairs and the same with their images exchanged, in one call: every image stands there twice."""
    rows = [(pair, trace) for pair in PAIRS for trace in (SHORT, LONG)]
    return _same_p(subject, [one for pair, trace in rows for one in ((pair, trace), (_swapped(pair), trace))])


def own_p(subject: Subject) -> str:
    """A well-formed completion parses, in both orders, and the probability after it is the stock row's."""
    vlm = subject.vlm
    texts = _natural(subject, COMPLETIONS[:2])
    written = [vlm.tokenizer(text + vlm.tokenizer.eos_token, add_special_tokens=False)["input_ids"] for text in texts]
    turns = count()  # the pairs come in either order, one after another, however many are in a batch
    with patch(
        "earshot.reasoner.local.sample",
        lambda model, prefix, owners, *_, **__: [written[next(turns) % 2] for _ in owners],
    ):
        judged = Reasoner(vlm, max_new_tokens=64).judge(PAIRS)
    worst = 0.0
    for pair, samples in zip(PAIRS, judged, strict=True):
        forward, back = samples
        assert (forward.malformed, back.malformed) == (None, None), f"malformed: {forward.malformed}, {back.malformed}"
        # The first order says 1, the second 2: both are the image that is first in the pair.
        assert (forward.side, back.side) == ("first", "first"), f"sides {forward.side}, {back.side}"
        expected = subject.p_first(pair, forward.trace), 1 - subject.p_first(_swapped(pair), back.trace)
        worst = max(worst, abs(forward.p_first - expected[0]), abs(back.p_first - expected[1]))
    assert worst <= P_TOLERANCE, f"own p off by {worst:.1e}"
    return f"{worst:.0e}"


def other_words(subject: Subject) -> str:
    """Under a prompt set of somebody else's, system turn included, prompts are the processor's own, and p is read where
    the two answers part in the stock row; a template without a place for a system turn is refused by name."""
    say = {"name": "hers", "question": "Image 1: {first} Image 2: {second} for {prompt}", "answer": _HERS}
    try:
        vlm, system = subject.vlm.asked(prompt_set({**say, "system": _SYSTEM})), _SYSTEM
    except ModelError as error:
        assert "no place for the system turn" in str(error), error
        vlm, system = subject.vlm.asked(prompt_set(say)), None
    worst, (pair, trace) = 0.0, (PAIRS[0], SHORT)
    inputs = subject.processor.apply_chat_template(
        [*vlm.messages(pair.prompt)[:-1], reasoner_messages(pair.prompt, vlm.prompts, pair.first, pair.second)[-1]],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    ours = vlm.encode_pairs([pair])["input_ids"][0].tolist()
    assert ours == inputs["input_ids"][0].tolist(), "the prompt is not the processor's own"
    text = vlm.tokenizer.decode(ours)
    assert text.count("Image 2:") == 1 and text.count(_SYSTEM) == (system is not None), f"the prompt reads {text!r}"
    begun = vlm.continuation(listener_prefill(trace, vlm.prompts))
    one, two = (vlm.tokenizer(begun + text, add_special_tokens=False)["input_ids"] for text in _HERS.values())
    part = next(k for k, (a, b) in enumerate(zip(one, two, strict=False)) if a != b)
    with torch.no_grad():
        row = subject.lengthened(dict(inputs.to(torch.float32)), one[:part])
        stock = torch.softmax(subject.model(**row).logits[0, -1, [one[part], two[part]]].double(), dim=-1)[0]
    worst = abs(float(stock) - float(LocalListener(vlm).p_first([pair], [trace])[0]))
    assert worst <= P_TOLERANCE, f"p off by {worst:.1e}"
    return f"{worst:.0e}" + ("" if system else ", no system turn")


def greedy(subject: Subject) -> str:
    """The likeliest tokens are those of stock `generate` with the same tokens suppressed."""
    vlm, tokens = subject.vlm, 10
    settings = Sampling(tokens, 0.0, vlm.stop_ids, vlm.forbidden_ids, vlm.tokenizer.pad_token_id)
    ours = _drawn(subject, [0, 0, 1], torch.zeros(3, tokens), settings)
    subject.model.generation_config = GenerationConfig(
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=vlm.stop_ids,
        pad_token_id=vlm.tokenizer.pad_token_id,
        suppress_tokens=[i for i in vlm.forbidden_ids if i < subject.rows],
    )
    for pair, rows in zip(PAIRS, (ours[:2], ours[2:]), strict=True):
        inputs = subject.prompt(pair)
        stock = subject.model.generate(**inputs)[0, inputs["input_ids"].shape[1] :].tolist()
        for row in rows:
            equal = sum(a == b for a, b in zip(row, stock, strict=False))
            assert row == stock, f"{equal} of {len(stock)} greedy tokens are stock's"
    return f"{len(stock)} tokens"


def sampled(subject: Subject) -> str:
    """Nothing banned is drawn at temperature 1."""
    vlm, rows, tokens = subject.vlm, 8, 16
    settings = Sampling(tokens, 1.0, vlm.stop_ids, vlm.forbidden_ids, vlm.tokenizer.pad_token_id)
    uniforms = torch.rand(2 * rows, tokens, generator=torch.Generator().manual_seed(0))
    drawn = {i for row in _drawn(subject, [0] * rows + [1] * rows, uniforms, settings) for i in row}
    held = sorted(drawn & subject.banned)
    assert not held, f"drew {vlm.tokenizer.convert_ids_to_tokens(held)}"
    return f"{len(drawn)} ids"


def _drawn(subject: Subject, owners: list[int], uniforms: torch.Tensor, settings: Sampling) -> list[list[int]]:
    """Completions of the two pairs, whose prompts stand in one batch where the family allows it."""
    vlm = subject.vlm
    if vlm.shares_prompts:
        return sample(vlm.model, encode_prefix(vlm.model, subject.prompts), owners, uniforms, settings)
    drawn: list[list[int]] = []
    for k, pair in enumerate(PAIRS):
        rows = [row for row, owner in enumerate(owners) if owner == k]
        prefix = encode_prefix(vlm.model, vlm.encode_pairs([pair]))
        drawn += sample(vlm.model, prefix, [0] * len(rows), uniforms[rows], settings)
    return drawn


def saved(subject: Subject) -> str:
    """A model that is saved and loaded again gives the same probabilities."""
    with tempfile.TemporaryDirectory() as folder:
        subject.vlm.save(Path(folder) / "again")
        again = subject.load(Path(folder) / "again").freeze()
        before, after = (LocalListener(v).p_first(PAIRS, [SHORT, LONG]) for v in (subject.vlm, again))
    apart = float(abs(before - after).max())
    assert apart <= 1e-7, f"p off by {apart:.1e} after loading again"
    return f"{apart:.0e}"


def logps(subject: Subject) -> str:
    """Log-probabilities of completions as a step of training computes them."""
    return _same_logps(subject, _training_logps)


def rows(subject: Subject) -> str:
    """Log-probabilities of whole rows, in which prompts and images stand as often as they have completions."""
    return _same_logps(subject, _logps_of_rows)


def forms(subject: Subject) -> str:
    """Log-probabilities in every form; one that the model cannot do raises a `ModelError`."""
    found: dict[str, str] = {}
    wrong: dict[str, str] = {}
    for form in FORMS:
        try:
            found[form] = _same_logps(subject, partial(_shared_logps, form=form))
        except ModelError:
            found[form] = "refused"
        except AssertionError as error:
            wrong[form] = str(error)
    assert not wrong, "; ".join(f"{form}: {error}" for form, error in wrong.items())
    return ", ".join(f"{form} {what}" for form, what in found.items())


def gradients(subject: Subject) -> str:
    """Gradients of a step of training, also through a cache that sampling has left, are those of stock rows."""
    ids = _completion_ids(subject)
    weights = [torch.linspace(-1, 1, len(row)) for row in ids]
    subject.model.requires_grad_(True).zero_grad()
    for pair in PAIRS:
        for row, weight in zip(ids, weights, strict=True):
            logits = subject.model(**subject.row(pair, row)).logits[0, -len(row) - 1 : -1]
            (_of_tokens(logits, row) * weight).sum().backward()
    stock = {name: p.grad for name, p in subject.model.named_parameters() if p.grad is not None}
    subject.model.requires_grad_(False)
    largest = max(float(grad.abs().max()) for grad in stock.values())
    worst = "", 0.0
    for kept in (False, True):
        model = subject.load(subject.folder).model.eval()
        prompts = dict(subject.prompts)
        if kept and not subject.vlm.shares_prompts:
            continue
        if kept:
            cache = encode_prefix(model, prompts, with_gradients=True).cache
            logps = _shared_logps(subject, model, ids, cache=cache)
        else:
            logps = _training_logps(subject, model, ids)
        sum((logps[row, : len(w)] * w).sum() for row, w in enumerate([*weights, *weights])).backward()
        for name, parameter in model.named_parameters():
            ours = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            expected = stock.get(name, torch.zeros_like(ours))
            scale = max(float(expected.abs().max()), 1e-2 * largest)
            apart = float((ours - expected).abs().max()) / scale
            worst = max(worst, (f"{name}{' through a kept cache' if kept else ''}", apart), key=lambda one: one[1])
    subject.model.zero_grad()
    assert worst[1] <= GRADIENT_TOLERANCE, f"gradient of {worst[0]} off by {worst[1]:.1e} of its size"
    return f"{worst[1]:.0e}"


def grpo(subject: Subject) -> str:
    """Two steps of GRPO whose rewards differ."""
    return _train_grpo(subject)


def grpo_lora(subject: Subject) -> str:
    """The same of an adapter."""
    return _train_grpo(subject, lora={"r": 4, "lora_alpha": 8, "target_modules": "all-linear"})


def grpo_checkpointed(subject: Subject) -> str:
    """The same with layers that are computed again in the backward pass."""
    checkpointing = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
    return _train_grpo(subject, trl=checkpointing)


def sft(subject: Subject) -> str:
    """One step of fine-tuning, after which the model loads again and is another."""
    with tempfile.TemporaryDirectory() as folder, subject.help():
        config = SftConfig.model_validate(
            {
                "model": {"path": str(subject.folder), "device": "cpu"},
                "data": {"train": str(subject.world)},
                "out": f"{folder}/run",
                "trl": {"per_device_train_batch_size": 3, "learning_rate": 1e-3, "max_steps": 1},
            }
        )
        return _trained(subject, RunDir(train_sft(config, console=Console(quiet=True))), steps=1)


FAST: dict[str, Callable[[Subject], str]] = {
    "load": loads,
    "prompt": prompt_ids,
    "think": one_think_tag,
    "ban": ban,
    "p-equal": p_equal_lengths,
    "p-mixed": p_mixed_lengths,
    "p-several": p_several_traces,
    "p-alone": p_alone,
    "p-orders": p_both_orders,
    "p-own": own_p,
    "words": other_words,
    "greedy": greedy,
    "sampled": sampled,
    "saved": saved,
}
SLOW: dict[str, Callable[[Subject], str]] = {
    "logps": logps,
    "rows": rows,
    "forms": forms,
    "gradients": gradients,
    "grpo": grpo,
    "grpo-lora": grpo_lora,
    "grpo-ckpt": grpo_checkpointed,
    "sft": sft,
}


class Outcome(NamedTuple):
    """What a check found.

    Attributes:
        status: `ok`; `refused`: a `ModelError` before any number; `wrong`: a number; `crash`: any other error.
        detail: The figure or the error.
        seconds: How long it took.
    """

    status: Literal["ok", "refused", "wrong", "crash"]
    detail: str
    seconds: float


def outcome(check: Callable[[Subject], str], subject: Subject) -> Outcome:
    """Runs a check and says what came of it."""
    start = time.perf_counter()
    status: Literal["ok", "refused", "wrong", "crash"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if check not in (loads, ban):
                _ = subject.prompts  # what is refused is refused before any number
            status, detail = "ok", check(subject)
    except ModelError as error:
        status, detail = "refused", str(error)
    except AssertionError as error:
        status, detail = "wrong", str(error) or _place(error)
    except Exception as error:  # whatever a family breaks is an outcome
        status, detail = "crash", f"{type(error).__name__}: {str(error)[:160]} at {_place(error)}"
    detail = " ".join(detail.replace(f"{subject.folder}: ", "").split())[:200]
    return Outcome(status, detail, time.perf_counter() - start)


def examine(name: str, folder: Path) -> Subject:
    """A checkpoint of the family, built in `folder`; helped with its processor where `load` alone cannot have it."""
    subject = Subject(build(name, folder))
    subject.stands_in = outcome(loads, subject).status == "refused"
    return subject


def _swapped(pair: Pair) -> Pair:
    return replace(pair.swapped(), id=f"{pair.id} swapped")


def _natural(subject: Subject, completions: Sequence[str]) -> list[str]:
    """The completions as this model writes them: what its template has opened is not opened again."""
    opened = subject.opened().rstrip().endswith("<think>")
    return [text.removeprefix("<think>") if opened else text for text in completions]


def _same_p(subject: Subject, rows: Sequence[tuple[Pair, str | None]]) -> str:
    ours = subject.listener.p_first([pair for pair, _ in rows], [trace for _, trace in rows])
    stock = [subject.p_first(pair, trace) for pair, trace in rows]
    apart = [abs(float(p) - q) for p, q in zip(ours, stock, strict=True)]
    at = apart.index(max(apart))
    assert apart[at] <= P_TOLERANCE, f"p {ours[at]:.4f} for {stock[at]:.4f}, off by {apart[at]:.1e}"
    return f"{apart[at]:.0e}"


def _completion_ids(subject: Subject) -> list[list[int]]:
    tokenizer = subject.processor.tokenizer
    texts = [text + tokenizer.eos_token for text in _natural(subject, COMPLETIONS)]
    ids: list[list[int]] = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return ids


def _of_tokens(logits: torch.Tensor, ids: Sequence[int]) -> torch.Tensor:
    return logits.log_softmax(-1).gather(-1, torch.tensor(ids)[:, None])[:, 0]


def _training_logps(subject: Subject, model: Any, ids: Sequence[list[int]]) -> torch.Tensor:
    """Of every completion after each of `PAIRS`, by the way that the trainer goes with this family's images."""
    prompts = [reasoner_messages(pair.prompt, subject.vlm.prompts) for pair in PAIRS]
    rows = [{"prompt": p, "images": [pair.first, pair.second]} for p, pair in zip(prompts, PAIRS, strict=True)]
    step = encode_step(subject.vlm, model, [row for row in rows for _ in ids], torch.device("cpu"))
    parts = {}
    for share in step.of(range(len(step.owners))):
        completions, mask = padded([[*ids, *ids][place] for place in share.places], 0, torch.device("cpu"))
        found = shared_logps(model, share.inputs, share.owners, completions, mask, pictures=share.pictures).logps
        parts |= {place: row[: int(n)] for place, row, n in zip(share.places, found, mask.sum(1), strict=True)}
    return torch.nn.utils.rnn.pad_sequence([parts[place] for place in range(len(step.owners))], batch_first=True)


def _shared_logps(subject: Subject, model: Any, ids: Sequence[list[int]], **how: Any) -> torch.Tensor:
    rows = [torch.tensor(row) for _ in PAIRS for row in ids]
    completions = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=ids[0][-1])
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    owners = [pair for pair in range(len(PAIRS)) for _ in ids]
    prompts = dict(subject.prompts)
    return shared_logps(model, prompts, owners, completions, mask, **how).logps


def _logps_of_rows(subject: Subject, model: Any, ids: Sequence[list[int]]) -> torch.Tensor:
    prompts = subject.vlm.encode_pairs([pair for pair in PAIRS for _ in ids])
    whole, width = append_completions(prompts, [*ids, *ids], pad_id=subject.vlm.tokenizer.pad_token_id)
    return logps_of_rows(model, whole.pop("input_ids"), whole.pop("attention_mask"), width, **whole).logps


def _same_logps(subject: Subject, compute: Callable[..., torch.Tensor]) -> str:
    ids = _completion_ids(subject)
    with torch.no_grad():
        ours = compute(subject, subject.vlm.model, ids)
    worst = 0.0
    for row, (pair, own) in enumerate((pair, own) for pair in PAIRS for own in ids):
        stock = _of_tokens(subject.logits(pair, own)[:-1], own)
        worst = max(worst, float((ours[row, : len(own)] - stock).abs().max()))
    assert worst <= LOGP_TOLERANCE, f"log-probabilities off by {worst:.1e}"
    return f"{worst:.0e}"


class _ParityReward(CombinedReward):
    """Pays for completions whose ids have an odd sum: a reward that untaught models get about half the time."""

    def __call__(self, *, completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float | None]:
        return [float(sum(ids) % 2) for ids in completion_ids]


def _train_grpo(
    subject: Subject, *, lora: Mapping[str, Any] | None = None, trl: Mapping[str, Any] | None = None
) -> str:
    settings = {
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 8,
        "learning_rate": 1e-3,
        "max_steps": 2,
        **(trl or {}),
    }
    with tempfile.TemporaryDirectory() as folder, subject.help():
        config = GrpoConfig.model_validate(
            {
                "model": {"path": str(subject.folder), "device": "cpu"},
                "listener": {"control": "random"},
                "data": {"train": str(subject.world)},
                "out": f"{folder}/run",
                "lora": lora,
                "trl": settings,
            }
        )
        with patch("earshot.train.grpo.CombinedReward", _ParityReward):
            run = RunDir(train_grpo(config, console=Console(quiet=True)))
        return _trained(subject, run, steps=2)


def _trained(subject: Subject, run: RunDir, *, steps: int) -> str:
    """That so many steps had gradients, and that the model which is left is another one and loads."""
    rows = [row for row in read_jsonl(run.metrics_log) if "loss" in row]
    norms = [row["grad_norm"] for row in rows]
    assert len(rows) == steps, f"{len(rows)} steps"
    assert all(math.isfinite(norm) and norm > 0 for norm in norms), f"gradient norms {norms}"
    before, after = subject.vlm.model.state_dict(), subject.load(run.model).model.state_dict()
    assert before.keys() == after.keys(), f"weights {sorted(before.keys() ^ after.keys())[:3]} on one side alone"
    assert any(not torch.equal(before[name], after[name]) for name in before), "no weight has changed"
    return f"norm {norms[-1]:.2g}"


def _place(error: BaseException) -> str:
    """Where an error came up: the last line of ours, and the last of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/earshot/" in frame.filename]
    return ", ".join(dict.fromkeys(f"{Path(f.filename).name}:{f.lineno}" for f in (*ours[-1:], frames[-1])))


def main() -> None:
    """Prints a line for each family: what is ok, refused, wrong and broken, and the seconds of each check."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAMILIES)}; all by default")
    parser.add_argument("--fast", action="store_true", help="leave out log-probabilities and training")
    parser.add_argument("--check", action="append", choices=[*FAST, *SLOW], help="only these")
    given = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    checks = FAST if given.fast else FAST | SLOW
    checks = {name: check for name, check in checks.items() if not given.check or name in given.check}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names or FAMILIES:
            print(line(name, Path(folder), checks), flush=True)


def line(name: str, folder: Path, checks: Mapping[str, Callable[[Subject], str]]) -> str:
    """What the checks say of a family, by how they went."""
    start = time.perf_counter()
    try:
        subject = examine(name, folder)
    except Exception as error:
        return f"{name}: cannot be built: {type(error).__name__}: {error} at {_place(error)}"
    built = time.perf_counter() - start
    found = {check: outcome(function, subject) for check, function in checks.items()}
    parts = [f"built {built:.1f} s"]
    for status in ("ok", "refused", "wrong", "crash"):
        told: dict[str, list[str]] = {}
        for check, one in found.items():
            if one.status == status:
                told.setdefault(one.detail, []).append(f"{check} {one.seconds:.1f}s")
        if told:
            parts.append(f"{status.upper()} " + "; ".join(f"{', '.join(at)}: {detail}" for detail, at in told.items()))
    return f"{name}: " + " | ".join(parts)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
