"""A model in a vLLM engine of this process, on a GPU or on CPUs.

A prompt goes in as the tokens of its text, in which each image is the one place that the chat template wrote. vLLM's
own processor writes the places out, so what it made of them is compared with what ours makes: a prompt in which they
differ is another prompt, and vLLM answers it without a word.

vLLM is imported when an engine is made and by nothing else of Earshot; it comes in environments of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from huggingface_hub import snapshot_download
from jaxtyping import Float
from PIL import Image

from earshot.errors import EarshotError, ModelError, PromptTooLong, RemoteError, first_line
from earshot.images import AS_IT_IS, DEFAULT_LIMITS, ImageLimits, Sight
from earshot.protocol import PromptSet, listener_prefill
from earshot.types import Pair, Votes
from earshot.vlm.folder import is_adapter, place_of
from earshot.vlm.hub import reachable_or_offline
from earshot.vlm.model import Vlm, answer_tokens, load

# Of the two images that an engine is tried with: neither square, nor of one size, nor within any usual limits.
_TRIED_SIZES: Final = ((23, 41), (1900, 310))
_CPU_CACHE_BYTES: Final = 2**30
_CPU_ROOM: Final = 8192


class Drawn(NamedTuple):
    """A completion: its tokens, the one that ended it included, and the log-probability of each, in nats."""

    ids: list[int]
    logps: list[float]


def need_vllm() -> None:
    """Sees that vLLM is there, and has it run in this process.

    Raises:
        ModelError: It is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise ModelError(
            "engine vllm: the package vllm is not installed; it brings its own torch and transformers, so make an "
            "environment for it (docs/scale.md)"
        )
    # A process of its own would be started anew from the caller's program, which may not be made for that.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


def question(ids: Sequence[int], images: Sequence[Image.Image]) -> dict[str, Any]:
    """A prompt as vLLM takes it: the tokens of its text, not written out, and its images."""
    return {"prompt_token_ids": [*ids], "multi_modal_data": {"image": [*images]}}


def draw(llm: Any, vlm: Vlm, questions: Sequence[dict[str, Any]], params: Sequence[Any]) -> list[Any]:
    """What vLLM gives for each question, in their order.

    Raises:
        RemoteError: It failed.
    """
    if not questions:
        return []
    try:
        return list(llm.generate([*questions], sampling_params=[*params], use_tqdm=False))
    except Exception as error:  # vLLM's engine has no error of its own that all others are kinds of
        raise RemoteError(f"vLLM, {vlm.name}: {type(error).__name__}: {first_line(error)}", gone=True) from error


def sampling(vlm: Vlm, *, n: int, temperature: float, max_new_tokens: int, seed: int | None, **more: Any) -> Any:
    """vLLM's parameters for completions that end, and hold no token that must not be sampled, as ours do."""
    from vllm import SamplingParams

    banned, ids = vlm.forbidden_ids, range(vlm.model.get_output_embeddings().weight.size(0))
    # vLLM has no ban of tokens by their ids: this is its largest penalty. Where few are left, these can be named.
    few = len(banned) > len(ids) / 2
    only: dict[str, Any] = (
        {"allowed_token_ids": sorted({*ids} - {*banned})}
        if few
        else {"logit_bias": dict.fromkeys(banned, -100.0) or None}
    )
    return SamplingParams(
        n=n,
        temperature=temperature,
        max_tokens=max_new_tokens,
        seed=seed,
        stop_token_ids=vlm.stop_ids,
        detokenize=False,
        **only,
        **more,
    )


def drawn(output: Any) -> Drawn:
    """A completion with the log-probabilities of what was drawn (`logprobs=0`)."""
    ids = [*output.token_ids]
    return Drawn(ids, [place[token].logprob for token, place in zip(ids, output.logprobs, strict=True)])


def check_written_out(vlm: Vlm, found: Sequence[Sequence[int]], expected: Sequence[Sequence[int]]) -> None:
    """Sees that vLLM computed the prompts that we mean.

    Raises:
        ModelError: One is another; the message says where they part.
    """
    for row, (one, other) in enumerate(zip(found, expected, strict=True)):
        if [*one] == [*other]:
            continue
        at = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        raise ModelError(
            f"{vlm.name}: vLLM computes prompt {row} as {len(one)} tokens and Earshot as {len(other)}, the first of "
            f"which to differ is the {at}-th ({_token(vlm, one, at)} and {_token(vlm, other, at)}): it writes images "
            "out in another way, or to other limits of pixels; use engine local for this model"
        )


def _token(vlm: Vlm, row: Sequence[int], at: int) -> str:
    return repr(vlm.tokenizer.convert_ids_to_tokens(int(row[at]))) if at < len(row) else "nothing"


@dataclass
class VllmModel:
    """A model that vLLM computes; see `listener.engine.TextEngine` for what it answers.

    Attributes:
        vlm: Its processor and its words; the weights are vLLM's (torch's meta device here).
        llm: The engine.
        limits: What an image may be.
        sha256: Of the weights' files.
    """

    vlm: Vlm
    llm: Any
    limits: ImageLimits
    sha256: str
    prompts: PromptSet = field(init=False)
    where: str = field(default="vLLM", init=False)

    def __post_init__(self) -> None:
        self.prompts = self.vlm.prompts
        _check_room(self.vlm)
        self._answers = answer_tokens(self.vlm)

    @property
    def name(self) -> str:
        return self.vlm.name

    @property
    def sight(self) -> Sight:
        return self.vlm.sight

    @property
    def taught_on(self) -> str | None:
        return self.vlm.taught_on

    def asked(self, prompts: PromptSet | str | Path | None) -> VllmModel:
        """The same engine, asked in another prompt set.

        Raises:
            ConfigError: As `Vlm.asked`.
            ModelError: As `Vlm.asked`; or the set asks about edits, whose three images the engine has no room for.
        """
        return self if prompts is None else VllmModel(self.vlm.asked(prompts), self.llm, self.limits, self.sha256)

    def record(self) -> dict[str, Any]:
        """What its numbers depend on."""
        import vllm

        asked = {"prompts": self.prompts.fingerprint, **self.vlm.sight.told()}
        dtype = str(self.llm.llm_engine.model_config.dtype)
        return {"name": self.name, "files_sha256": self.sha256, "dtype": dtype, "vllm": vllm.__version__, **asked}

    def complete(
        self, pairs: Sequence[Pair], seeds: Sequence[int], *, n: int, temperature: float, max_new_tokens: int
    ) -> list[list[str]]:
        """See `listener.engine.TextEngine.complete`."""
        params = [
            sampling(self.vlm, n=n, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed) for seed in seeds
        ]
        outputs = self._ask(pairs, [*range(len(pairs))], [[]] * len(pairs), params, max_new_tokens)
        return [self.vlm.completions([[*one.token_ids] for one in output.outputs]) for output in outputs]

    def log_probabilities(
        self, pairs: Sequence[Pair], owners: Sequence[int], traces: Sequence[str | None]
    ) -> Float[np.ndarray, " n 2"]:
        """See `listener.engine.TextEngine.log_probabilities`; vLLM keeps the prefixes that it has computed."""
        from vllm import SamplingParams

        prefills = [listener_prefill(t, self.prompts, control_tokens=self.vlm.control_tokens) for t in traces]
        texts = [self.vlm.continuation(prefill) + self._answers.begun for prefill in prefills]
        after = self.vlm.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
        ids = [*self._answers.ids]
        asked = SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=ids, detokenize=False)
        outputs = self._ask(pairs, owners, after, [asked] * len(after), 0)
        return np.array([[output.outputs[0].logprobs[0][i].logprob for i in ids] for output in outputs]).reshape(-1, 2)

    def _ask(
        self,
        pairs: Sequence[Pair],
        owners: Sequence[int],
        after: Sequence[Sequence[int]],
        params: Sequence[Any],
        new_tokens: int,
    ) -> list[Any]:
        """What vLLM gives for each row: the prompt of a pair, and tokens that follow it.

        Raises:
            PromptTooLong: Rows, with what is to follow, do not fit; vLLM would cut what follows without a word.
        """
        texts, images = self.vlm.questions(pairs, self.limits)
        ids = self.vlm.tokenizer([*texts], add_special_tokens=False)["input_ids"] if texts else []
        asked = [question([*ids[k], *more], images[k]) for k, more in zip(owners, after, strict=True)]
        try:
            outputs = draw(self.llm, self.vlm, asked, params)
        except RemoteError:  # of the prompts that are too long by themselves vLLM says so by failing
            lengths = self.vlm.processed(texts, images)["attention_mask"].sum(1).tolist()
            self._check_lengths([lengths[k] + len(more) for k, more in zip(owners, after, strict=True)], owners, 1)
            raise
        self._check_lengths([len(output.prompt_token_ids) for output in outputs], owners, new_tokens)
        return outputs

    def _check_lengths(self, lengths: Sequence[int], owners: Sequence[int], new_tokens: int) -> None:
        room = self.llm.llm_engine.model_config.max_model_len
        too_long = {
            owner: f"is {n:,} tokens long with its images, and up to {new_tokens:,} follow; vLLM was given room for "
            f"{room:,} (max_model_len), so shorten it or what follows (max_new_tokens)"
            for n, owner in zip(lengths, owners, strict=True)
            if n + new_tokens > room
        }
        if too_long:
            raise PromptTooLong(too_long)

    def check(self) -> None:
        """Sees, with one pair, that vLLM makes of it what we make: its tokens, the places of its images, their limits.

        Raises:
            ModelError: It makes something else.
        """
        noise = np.random.default_rng(0)
        one, other = (Image.fromarray(noise.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in _TRIED_SIZES)
        pair = Pair("tried", "a red circle", one, other, Votes(0.0, 0.0))
        params = sampling(self.vlm, n=1, temperature=0.0, max_new_tokens=1, seed=None)
        (output,) = self._ask([pair], [0], [[]], [params], 1)
        (expected,) = self.vlm.processed(*self.vlm.questions([pair], self.limits))["input_ids"].tolist()
        check_written_out(self.vlm, [output.prompt_token_ids], [expected])


def load_on_vllm(
    source: str,
    *,
    dtype: str = "auto",
    device: str = "auto",
    sight: Sight = AS_IT_IS,
    prompts: PromptSet | str | Path | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
    options: Mapping[str, Any] | None = None,
) -> VllmModel:
    """Loads a model into a vLLM engine of this process, and tries it with one pair.

    Args:
        source: As for `vlm.load`; an adapter is merged into its base first.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU, float32 on a CPU.
        device: `auto` is what this vLLM was built for.
        sight: How images are made ready.
        prompts: How it is asked; None takes its folder's own.
        limits: What an image may be.
        options: Of `vllm.LLM`, such as `tensor_parallel_size`, `gpu_memory_utilization` or `max_model_len`.

    Raises:
        ModelError: vLLM is missing, does not know the model or an option, was built for another device, or makes
            something else of a pair than Earshot does.
    """
    need_vllm()
    from vllm import LLM
    from vllm.platforms import current_platform

    kind = str(current_platform.device_type)
    if device not in ("auto", kind):
        raise ModelError(f"{source}: device {device!r} was asked for, and this vLLM computes on {kind!r}")
    vlm = load(source, weights=False, dtype=dtype, sight=sight).asked(prompts)
    if dtype == "auto":
        dtype = "float32" if kind == "cpu" else "bfloat16"
    given = {
        "enable_prefix_caching": True,
        "seed": 0,
        **own_options(vlm, dtype, dict(options or {}).get("max_model_len")),
        **(options or {}),
    }
    with laid_out(vlm, source, told=source) as (folder, sha256):
        model = VllmModel(vlm, LLM(model=folder, trust_remote_code=False, **given), limits, sha256)
        model.check()
    return model


def _check_room(vlm: Vlm) -> None:
    """Raises:
    ModelError: The model is asked about more images than an engine is given room for.
    """
    if vlm.prompts.edits:
        raise ModelError(
            f"{vlm.name}: is asked about edits (prompt set '{vlm.prompts.name}'), and engine vllm is given room for "
            "two images a prompt; use engine local"
        )


def own_options(vlm: Vlm, dtype: str, room: int | None = None) -> dict[str, Any]:
    """Arguments of `vllm.LLM` for two images a prompt.

    On a CPU the memory is others' too, and gets a bound; and prompts are not computed in parts, for after a part vLLM
    0.32 takes back a number that it has drawn with the request's seed, which a CPU's generator cannot.

    Args:
        vlm: The model.
        dtype: In which it is computed.
        room: Tokens of a prompt and what follows; None is what the model was made for, or what the memory holds, and
            on a CPU at most 8,192.

    Raises:
        ModelError: It is asked about edits.
    """
    _check_room(vlm)
    from vllm.platforms import current_platform

    options = {"dtype": dtype, "limit_mm_per_prompt": {"image": 2}, "max_model_len": room or -1}
    if current_platform.device_type == "cpu":
        room = room or min(_CPU_ROOM, vlm.context_tokens or _CPU_ROOM)
        whole = {"enable_chunked_prefill": False, "max_model_len": room, "max_num_batched_tokens": max(room, _CPU_ROOM)}
        options |= whole | {"kv_cache_memory_bytes": _CPU_CACHE_BYTES}
    return options


@contextmanager
def weights_kept() -> Iterator[None]:
    """Within it an engine is made to which weights can be given anew: on CPUs vLLM packs them, and keeps no others."""
    from vllm.model_executor.layers import utils
    from vllm.platforms import current_platform

    if current_platform.device_type != "cpu":
        yield
        return

    def plain(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    stock, utils.dispatch_cpu_unquantized_gemm = utils.dispatch_cpu_unquantized_gemm, plain
    try:
        yield
    finally:
        utils.dispatch_cpu_unquantized_gemm = stock


@contextmanager
def laid_out(vlm: Vlm, source: str, *, told: str) -> Iterator[tuple[str, str]]:
    """A folder from which vLLM loads a model, as long as it does, and SHA-256 over the weights' files.

    Args:
        vlm: The model, with its processor as it is set here.
        source: Where its weights are.
        told: What messages call it.

    Raises:
        ModelError: vLLM does not load it.
    """
    with TemporaryDirectory(prefix="earshot-vllm-") as folder:
        sha256 = _lay_out(vlm, source, Path(folder))
        try:
            yield folder, sha256
        except EarshotError:
            raise
        except Exception as error:  # of a model, an option or a machine, each with errors of its own
            raise ModelError(f"{told}: vLLM does not load it ({type(error).__name__}: {first_line(error)})") from error


def _lay_out(vlm: Vlm, source: str, folder: Path) -> str:
    """Fills a folder for vLLM with a model's weights, by links, and with the processor as it is set here.

    Returns:
        SHA-256 over the weights' files, in the order of their names.
    """
    place = place_of(source)
    if is_adapter(place):
        load(place, device="cpu", dtype="bfloat16" if vlm.model.dtype.itemsize == 2 else "float32").save(folder)
    else:
        if not Path(place).is_dir():
            with reachable_or_offline(place):
                place = snapshot_download(
                    place, allow_patterns=["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
                )
        for file in sorted(Path(place).iterdir()):
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
    with TemporaryDirectory() as ours:
        vlm.processor.save_pretrained(ours)
        for file in sorted(Path(ours).iterdir()):
            (folder / file.name).unlink(missing_ok=True)
            (folder / file.name).write_bytes(file.read_bytes())
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()
