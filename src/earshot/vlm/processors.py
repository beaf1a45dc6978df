"""Processors of images and text, the same wherever they are made.

Stock processors of many families also want a video or sound processor, which need packages that nothing here calls
for, and choose how images are resized by what is installed. Here every processor is made of the parts that pairs of
images need, its images scaled by Pillow where the family has such a processor, with or without torchvision beside it,
unless torchvision is asked for.
A folder written here has the base's other parts in it, so that `AutoProcessor` and others load it.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.auto.image_processing_auto import get_image_processor_config
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING, processor_class_from_name
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.processing_utils import ProcessorMixin
from transformers.utils import cached_file, is_torchvision_available

from earshot.errors import ModelError, first_line
from earshot.images import ImageBackend
from earshot.vlm.prepared import remembering

_PROCESSOR_FILE: Final = "processor_config.json"
_VIDEO_FILE: Final = "video_preprocessor_config.json"
_VIDEO: Final = "video_processor"


class _Said(SimpleNamespace):
    """Values by name, and None for those that are not there."""

    def __getattr__(self, name: str) -> None:
        return None


class _ImagesAndText(ProcessorMixin):
    """Stands behind a stock class and takes from it the parts that are there."""

    stock: type[ProcessorMixin]
    left_out: dict[str, Any]
    """What the base's folder says of the parts that were not made, by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        parts = dict(zip(self.stock.get_attributes(), args, strict=False)) | kwargs
        kept = {*self.get_attributes(), "chat_template"}
        super().__init__(**{name: part for name, part in parts.items() if name in kept})

    @property
    def video_processor(self) -> Any:
        """What the folder says of videos, for stock code that looks at it though there are none."""
        return _Said(**self.left_out.get(_VIDEO, {}))

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The names of the parts."""
        return [name for name in cls.stock.get_attributes() if _is_needed(name)]

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Writes the processor, and beside it what its base has for videos and sound."""
        super().save_pretrained(save_directory, **kwargs)
        file = Path(save_directory) / _PROCESSOR_FILE
        file.write_text(json.dumps(json.loads(file.read_text()) | self.left_out, indent=2, sort_keys=True) + "\n")


def images_and_text(stock: type[ProcessorMixin]) -> type[ProcessorMixin]:
    """A stock processor class without its halves for video and sound; the class itself where it has none."""
    if all(map(_is_needed, stock.get_attributes())):
        return stock
    return type(stock.__name__, (stock, _ImagesAndText), {"stock": stock, "left_out": {}})


def load_processor(source: str, config: Any, backend: ImageBackend) -> Any:
    """The processor of a model folder or a hub id.

    Args:
        source: Where the model is.
        config: The model's configuration.
        backend: Who scales its images where transformers has both; where it has one, that is taken.

    Raises:
        ModelError: The family's processor needs a package that is not installed, such as torchvision; it is named.
    """
    try:
        return _load(source, config, backend)
    except ImportError as error:
        what = first_line(error).split(" library")[0].replace("requires the ", "requires ")
        advice = "; pip install 'earshot-rm[torchvision]'" if "torchvision" in str(error).lower() else ""
        raise ModelError(f"{source}: {what}, which is not installed{advice}") from error


def _load(source: str, config: Any, backend: ImageBackend) -> Any:
    stored, _ = ProcessorMixin.get_processor_dict(source)
    stock = _class_of(source, config, stored)
    made = images_and_text(stock)
    parts = {name: _part(name, stock, source, backend) for name in made.get_attributes()}
    others = dict.fromkeys(name for name in stock.get_attributes() if name not in parts)
    accepted = set(inspect.signature(stock).parameters) - {*parts, *others}
    processor = made(**parts, **others, **{name: value for name, value in stored.items() if name in accepted})
    if isinstance(processor, _ImagesAndText):
        processor.left_out = {name: stored[name] for name in others if name in stored}
        if _VIDEO in others:
            processor.left_out.setdefault(_VIDEO, _videos(source, parts["image_processor"]))
    return processor


def videos_like(images: Any) -> dict[str, Any]:
    """What a folder says of videos where its images are all that was chosen: frames are treated as images are."""
    told = images.to_dict()
    kind = told["image_processor_type"].replace("ImageProcessor", "VideoProcessor")  # as transformers names the pair
    return {k: v for k, v in told.items() if not k.endswith(("_type", "_class"))} | {"video_processor_type": kind}


def _videos(source: str, images: Any) -> dict[str, Any]:
    file = cached_file(
        source, _VIDEO_FILE, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return videos_like(images) if file is None else json.loads(Path(file).read_text())


def _is_needed(part: str) -> bool:
    return part.endswith(("tokenizer", "image_processor"))


def _part(name: str, stock: type[ProcessorMixin], source: str, backend: ImageBackend) -> Any:
    if name != "image_processor":
        if name != "tokenizer":
            return stock._load_tokenizer_from_pretrained(name, source)
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    if backend == "torchvision" and not is_torchvision_available():  # transformers would take Pillow
        raise ImportError("its images are to be scaled by torchvision")
    try:
        return remembering(AutoImageProcessor.from_pretrained(source, backend=backend, trust_remote_code=False))
    except ValueError as error:
        if "Missing optional dependencies: torchvision" not in str(error):
            raise
        raise ImportError("its images can be scaled by torchvision alone") from error


def _class_of(source: str, config: Any, stored: dict[str, Any]) -> type[ProcessorMixin]:
    """The class that a folder names, or else the one that its family has.

    Raises:
        ModelError: There is none.
        ImportError: A package that it needs is missing.
    """
    named = (
        stored.get("processor_class")
        or get_image_processor_config(source).get("processor_class")
        or get_tokenizer_config(source).get("processor_class")
    )
    found = processor_class_from_name(named) if named else None
    if found is None and type(config) in PROCESSOR_MAPPING:
        found = PROCESSOR_MAPPING[type(config)]
    if found is not None and not issubclass(found, ProcessorMixin):
        found.from_pretrained(source)  # stands for one whose packages are missing, and raises an error that names them
    if found is None:
        raise ModelError(
            f"{source}: no processor for models of type {config.model_type}, expected one of transformers'"
        )
    return found
