"""Processors that need no torchvision.

Stock Qwen-VL processors insist on a video processor, which needs torchvision. Where torchvision cannot be had, the
class below takes its place: images only, saved under the stock name, so that a folder written here loads with the
stock `AutoProcessor` elsewhere.
"""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLProcessor as StockQwenProcessor
from transformers.processing_utils import ProcessorMixin


class Qwen2_5_VLProcessor(StockQwenProcessor):
    """The stock processor without its video half; attributes follow from the signature of `__init__`."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **kwargs: Any
    ) -> None:
        self.image_token = "<|image_pad|>"
        self.video_token = "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "pixel_values", "image_grid_thw", "mm_token_type_ids"]


# By the `model_type` of the model's config: what to load where the stock processor cannot be had.
IMAGE_ONLY_PROCESSORS: dict[str, type[ProcessorMixin]] = {"qwen2_5_vl": Qwen2_5_VLProcessor}
