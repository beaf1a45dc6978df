"""A package `vllm` around a model of ours: what `vlm.on_vllm` asks of the real one, which has its own environment.

What it answers is computed by stock transformers; how it is asked is what vLLM 0.32 takes, whom `make engines` asks.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from earshot.vlm import Vlm, load


@dataclass
class SamplingParams:
    n: int = 1
    temperature: float = 1.0
    max_tokens: int = 16
    seed: int | None = None
    stop_token_ids: list[int] | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    logprobs: int | None = None
    logprob_token_ids: list[int] | None = None
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    detokenize: bool = True


@dataclass
class LLM:
    """Computes in float32 on a CPU.

    Attributes:
        model: The folder.
        images_again: How many places more than it should it writes out for each image.
        knows: Whether it knows the model.
    """

    model: str
    trust_remote_code: bool
    dtype: str
    max_model_len: int = -1
    images_again: int = 0
    knows: bool = True
    limit_mm_per_prompt: dict[str, int] = field(default_factory=dict)
    enable_prefix_caching: bool = False
    seed: int = 0
    kv_cache_memory_bytes: int = 0
    mm_processor_cache_gb: float = 4.0
    enable_chunked_prefill: bool = True
    max_num_batched_tokens: int = 0
    asked: list[tuple[Any, SamplingParams]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.knows:
            raise ValueError("Model architectures ['Unheard'] are not supported for now.\nmore")
        whole = Path(self.model, "model.safetensors").resolve().parent  # links are not followed by our own loading
        self.vlm: Vlm = load(whole, dtype=self.dtype).freeze()
        room = self.vlm.context_tokens if self.max_model_len == -1 else self.max_model_len
        self.llm_engine = SimpleNamespace(model_config=SimpleNamespace(max_model_len=room, dtype=torch.float32))

    def reset_prefix_cache(self) -> None:
        self.asked.clear()

    def generate(self, prompts: list[Any], sampling_params: list[SamplingParams], use_tqdm: bool) -> list[Any]:
        return [self._one(prompt, params) for prompt, params in zip(prompts, sampling_params, strict=True)]

    def _one(self, prompt: dict[str, Any], params: SamplingParams) -> Any:
        self.asked.append((prompt, params))
        tokenizer, images = self.vlm.tokenizer, prompt["multi_modal_data"]["image"]
        row = self.vlm.processor(
            text=[tokenizer.decode(prompt["prompt_token_ids"])],
            images=images,
            add_special_tokens=False,
            return_tensors="pt",
        )
        ids = row["input_ids"][0].tolist()
        place = tokenizer.convert_tokens_to_ids(self.vlm.processor.image_token)
        ids[ids.index(place) : ids.index(place)] = [place] * self.images_again
        room = self.llm_engine.model_config.max_model_len
        if len(ids) >= room:
            raise ValueError(f"The decoder prompt (length {len(ids)}) is longer than the maximum model length")
        told = SimpleNamespace(prompt_token_ids=ids, outputs=[])
        for k in range(params.n):
            said = [] if self.images_again else self._said(dict(row), params, (params.seed or 0) + k, room - len(ids))
            told.outputs.append(SimpleNamespace(token_ids=[i for i, _ in said], logprobs=[p for _, p in said]))
        return told

    def _said(self, row: dict[str, Any], params: SamplingParams, seed: int, room: int) -> list[tuple[int, Any]]:
        drawn = torch.Generator().manual_seed(seed)
        said: list[tuple[int, Any]] = []
        for _ in range(min(params.max_tokens, room)):
            with torch.no_grad():
                logits = self.vlm.model(**row).logits[0, -1].double()
            for banned, by in (params.logit_bias or {}).items():
                logits[banned] += by
            if params.allowed_token_ids is not None:
                logits += torch.full_like(logits, -torch.inf).index_fill_(
                    0, torch.tensor(params.allowed_token_ids), 0.0
                )
            logps = (logits / (params.temperature or 1.0)).log_softmax(-1)
            token = int(logps.exp().multinomial(1, generator=drawn) if params.temperature else logps.argmax())
            told = {i: SimpleNamespace(logprob=float(logps[i])) for i in {token, *(params.logprob_token_ids or ())}}
            said.append((token, told))
            if token in (params.stop_token_ids or ()):
                break
            after = torch.tensor([[token]])
            row["input_ids"] = torch.cat([row["input_ids"], after], 1)
            row["attention_mask"] = torch.cat([row["attention_mask"], torch.ones_like(after)], 1)
            if "mm_token_type_ids" in row:
                row["mm_token_type_ids"] = torch.cat([row["mm_token_type_ids"], torch.zeros_like(after)], 1)
        return said


def install(patch: pytest.MonkeyPatch) -> None:
    """Stands where `import vllm` looks."""
    vllm, platforms = ModuleType("vllm"), ModuleType("vllm.platforms")
    vllm.__dict__.update(LLM=LLM, SamplingParams=SamplingParams, __version__="0.fake", __spec__=SimpleNamespace())
    platforms.__dict__.update(current_platform=SimpleNamespace(device_type="cpu"))
    patch.setitem(sys.modules, "vllm", vllm)
    patch.setitem(sys.modules, "vllm.platforms", platforms)
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_NO_USAGE_STATS", "VLLM_LOGGING_LEVEL"):
        patch.setenv(name, "0")
