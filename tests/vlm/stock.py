"""A checkpoint as stock transformers reads it, and as we do: what the conformance suite compares.

The reference is always one row without padding in a stock model: a batch of one, no cache, nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.video_processing_auto import AutoVideoProcessor
from transformers.models.smolvlm import processing_smolvlm
from transformers.processing_utils import ProcessorMixin
from transformers.utils import is_torchvision_available
from transformers.video_processing_utils import VideoProcessorMixin

from earshot.listener.local import LocalListener
from earshot.protocol import prompt_set, reasoner_messages
from earshot.types import Pair, Votes
from earshot.vlm import Vlm, load
from earshot.world.make import Recipe, make_set
from tests.vlm.models import picture

PAIRS = (
    Pair("one", "a red circle", picture(0, 56, 56), picture(1, 84, 56), Votes(3.0, 1.0)),
    Pair(
        "two",
        "a man with a black hat beside two small dogs",
        picture(2, 56, 112),
        picture(3, 112, 112),
        Votes(0.0, 2.0),
    ),
)


class _NoVideos(VideoProcessorMixin):
    """Stands where a processor wants one for videos, which transformers has with torchvision alone."""

    num_frames, fps = 1, 1


@contextmanager
def without_videos() -> Iterator[None]:
    """Within, stock processors that insist on a processor for videos can be had where there is no torchvision."""
    if is_torchvision_available():
        yield
        return
    stock = ProcessorMixin.get_possibly_dynamic_module

    def class_of(name: str) -> Any:
        return VideoProcessorMixin if name == "VideoProcessorMixin" else stock(name)  # not exported without torchvision

    with (
        patch.object(AutoVideoProcessor, "from_pretrained", lambda *_, **__: _NoVideos()),
        patch.object(ProcessorMixin, "get_possibly_dynamic_module", staticmethod(class_of)),
        patch.object(processing_smolvlm, "num2words", processing_smolvlm.num2words or str),  # it numbers frames
    ):
        yield


@dataclass
class Subject:
    """A checkpoint, read by stock transformers and by us.

    Attributes:
        folder: Where it lies.
        stands_in: Whether `load` needs help with processors here: numbers are compared all the same.
    """

    folder: Path
    stands_in: bool = False
    _logits: dict[tuple[str, tuple[int, ...]], torch.Tensor] = field(default_factory=dict)

    @cached_property
    def vlm(self) -> Vlm:
        """The model as we load it, frozen."""
        return self.load(self.folder).freeze()

    @cached_property
    def model(self) -> Any:
        """The model as transformers loads it."""
        return AutoModelForImageTextToText.from_pretrained(self.folder, dtype=torch.float32).eval()

    @cached_property
    def processor(self) -> Any:
        """The processor as transformers loads it."""
        with without_videos():
            processor = AutoProcessor.from_pretrained(self.folder)
        # What is compared is the model's work: torchvision scales images a little differently.
        processor.image_processor = AutoImageProcessor.from_pretrained(self.folder, backend="pil")
        processor.chat_template = processor.chat_template or processor.tokenizer.chat_template
        return processor

    @cached_property
    def listener(self) -> LocalListener:
        return LocalListener(self.vlm)

    @cached_property
    def prompts(self) -> Any:
        """Our batch of the questions about `PAIRS`; a family that is refused is refused here at the latest."""
        return self.vlm.encode_pairs(PAIRS)

    def load(self, folder: Path) -> Vlm:
        """A checkpoint as we load it."""
        with self.help():
            return load(folder, dtype="float32", device="cpu")

    @contextmanager
    def help(self) -> Iterator[None]:
        """What `load` needs here."""
        with without_videos() if self.stands_in else ExitStack():
            yield

    def prompt(self, pair: Pair) -> dict[str, Any]:
        """The question about a pair as the stock processor prepares it: one row, no padding."""
        messages = reasoner_messages(pair.prompt, prompt_set("standard"), pair.first, pair.second)
        inputs = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        return dict(
            inputs.to(torch.float32)
        )  # Llama 4's processor makes pixels of half precision; ids stay as they are

    def opened(self) -> str:
        """What the template begins the model's turn with."""
        messages = reasoner_messages("x", prompt_set("standard"))
        texts = [self.processor.apply_chat_template(messages, add_generation_prompt=on) for on in (True, False)]
        return texts[0].removeprefix(texts[1])

    def row(self, pair: Pair, after: Sequence[int]) -> dict[str, Any]:
        """A prompt and tokens after it, as one stock row."""
        return self.lengthened(self.prompt(pair), after)

    def lengthened(self, inputs: dict[str, Any], after: Sequence[int]) -> dict[str, Any]:
        """A stock row of one prompt with tokens after it."""
        width, more = inputs["input_ids"].shape[1], torch.tensor([list(after)], dtype=torch.long)
        for name, value in inputs.items():
            if not isinstance(value, torch.Tensor):
                continue
            if name == "cross_attention_mask":  # what follows sees what the last token of the prompt sees
                inputs[name] = torch.cat([value, value[:, -1:].expand(-1, more.shape[1], -1, -1)], dim=1)
            elif value.shape == (1, width):
                new = {"input_ids": more, "attention_mask": torch.ones_like(more)}.get(name, torch.zeros_like(more))
                inputs[name] = torch.cat([value, new.to(value.dtype)], dim=1)
        return inputs

    def logits(self, pair: Pair, after: Sequence[int]) -> torch.Tensor:
        """Stock logits at the last token of the prompt and at every token after it, (1 + tokens, vocabulary)."""
        key = (pair.id, tuple(after))
        if key not in self._logits:
            with torch.no_grad():
                self._logits[key] = self.model(**self.row(pair, after)).logits[0, -len(after) - 1 :]
        return self._logits[key]

    def suffix(self, trace: str | None) -> list[int]:
        """The tokens with which the listener goes on after a prompt."""
        return self.listener._suffixes([trace])[0]

    def p_first(self, pair: Pair, trace: str | None) -> float:
        """The listener's probability by the stock row."""
        logits = self.logits(pair, self.suffix(trace))[-1]
        return float(torch.softmax(logits[list(self.listener._answers.ids)].double(), dim=-1)[0])

    @cached_property
    def banned(self) -> set[int]:
        """Ids that must never be sampled, found without us: special tokens that end nothing, and rows of no token."""
        tokenizer, config, rows = self.processor.tokenizer, self.model.config, self.rows
        images = {getattr(config, name, None) for name in ("image_token_id", "image_token_index", "video_token_id")}
        added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        spared = {None, *self.vlm.stop_ids, *tokenizer.convert_tokens_to_ids(sorted(self.vlm.prompts.tags))}
        special = {*tokenizer.all_special_ids, *images, *added} - spared
        return {i for i in special if i < rows} | set(range(len(tokenizer), rows))

    @cached_property
    def world(self) -> Path:
        """Six pairs with reference traces, for training; checkpoints that lie side by side share them."""
        folder = self.folder.parent / "world"
        if not folder.exists():
            make_set(folder, Recipe("train"), 6, workers=1)
        return folder

    @property
    def rows(self) -> int:
        """How many ids the head has."""
        return self.model.get_output_embeddings().weight.size(0)
