"""A vision-language model with its processor: loading, saving, and turning conversations into tensors.

Which models may be computed, and how, `mechanisms` says; no family is known by name outside `earshot.vlm`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.feature_extraction_utils import BatchFeature

from earshot.errors import ConfigError, ModelError, ModelOutOfReach, PromptTooLong, first_line
from earshot.images import DEFAULT_LIMITS, ImageLimits, load_image, shrunk
from earshot.protocol import ANSWER_TEXTS, STANDARD, PromptSet, listener_prefill, prompt_set, reasoner_messages
from earshot.protocol.prompts import THINK_OPEN
from earshot.rundir import read_json_object, whole, write_json
from earshot.types import Pair
from earshot.vlm.hub import reachable_or_offline
from earshot.vlm.mechanisms import check_config, check_inputs
from earshot.vlm.prefix.pictures import layout_is_known
from earshot.vlm.processors import load_processor

WORLD = "world:"  # begins the name of a model that ships with Earshot, and lies there:
WORLD_WEIGHTS = Path(__file__).parents[1] / "world" / "weights"
_ADAPTER = "adapter_config.json"
SIDECAR = "earshot.json"  # what a model folder says about itself: the prompt set it was trained with
_PLACES_OF_IMAGES = ("image_token", "video_token", "boi_token", "eoi_token")  # of processors
_PROTOCOL_TAGS = frozenset({"<think>", "</think>", "<answer>", "</answer>"})


@dataclass
class Vlm:
    """A model, its processor, and the prompt set it is asked with.

    Attributes:
        model: A transformers image-text-to-text model.
        processor: Its processor; `processor.tokenizer` pads on the left.
        prompts: The protocol's words for this model.
        name: For logs and results: the hub id, or the folder's name.
        max_pixels: Larger images are shrunk to so many pixels (width × height); None leaves them as they are.
    """

    model: Any
    processor: Any
    prompts: PromptSet
    name: str
    max_pixels: int | None = None

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """Strings that the tokenizer turns into control tokens; no text of users or models may hold them.

        Only those that are special: tokenizers also add plain words, such as line breaks and tags, to their vocabulary.
        """
        tokenizer = self.tokenizer
        special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        places = {getattr(self.processor, name, None) for name in _PLACES_OF_IMAGES} - {None}
        return frozenset({*tokenizer.all_special_tokens, *special, *places} - _PROTOCOL_TAGS)

    @cached_property
    def forbidden_ids(self) -> list[int]:
        """Ids that must never be sampled: every control token but the ends of a turn, and ids that no token has.

        The latter exist because models pad their vocabulary to a round number; ids that a tokenizer has and the model
        has no logit for need no ban.
        """
        logits = self.model.get_output_embeddings().weight.size(0)
        ids = set(self.tokenizer.convert_tokens_to_ids(sorted(self.control_tokens))) - {None, *self.stop_ids}
        return sorted({i for i in ids if i < logits}.union(range(len(self.tokenizer), logits)))

    @cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end a completion: the tokenizer's end of sequence and the generation config's."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        several = configured if isinstance(configured, list) else [configured]
        return sorted({i for i in (self.tokenizer.eos_token_id, *several) if i is not None})

    @cached_property
    def shares_prompts(self) -> bool:
        """Whether prompts of several pairs may stand in one batch: whether their images can be told apart there.

        Processors of other families pad images to those beside them, which some models see.

        Raises:
            ModelError: What the processor makes for each token is not known.
        """
        grey = Image.new("RGB", (64, 64), (128, 128, 128))
        inputs = self.encode([reasoner_messages("a", self.prompts)], [[grey, grey]])
        check_inputs(inputs)
        return layout_is_known(self.model, inputs)

    @cached_property
    def opened(self) -> str:
        """What of a completion the chat template has written when the model's turn begins: `<think>`, or nothing."""
        text = self.rendered(reasoner_messages("a", self.prompts))
        return THINK_OPEN if text.rstrip().endswith(THINK_OPEN) else ""

    def completions(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of sampled tokens, with what the template has opened for the model, without control tokens."""
        added = self.tokenizer.added_tokens_decoder.items()
        silent = {i for i, token in added if token.special and token.content not in _PROTOCOL_TAGS} | {*self.stop_ids}
        texts = self.tokenizer.batch_decode([[i for i in row if i not in silent] for row in rows])
        return [self.opened + text for text in texts]

    def continuation(self, completion: str) -> str:
        """What of a completion is left to write once the template has opened its part."""
        return completion.removeprefix(self.opened)

    def freeze(self) -> Vlm:
        """The same model in evaluation mode with gradients off: a listener is never trained."""
        self.model.eval().requires_grad_(False)
        return self

    def encode(
        self, conversations: Sequence[list[dict[str, Any]]], images: Sequence[Any], *, prefills: Sequence[str] = ()
    ) -> BatchFeature:
        """Conversations as a left-padded batch, the generation prompt (and each row's prefill) at the end.

        Args:
            conversations: Chat messages with image placeholders, `n` rows.
            images: The decoded images of each row in the order of their placeholders, `n` lists.
            prefills: Beginnings of the assistant's turn, `n` of them or none.

        Raises:
            ModelError: A row has more or fewer images than its messages have places for them.
        """
        for row, (messages, pictures) in enumerate(zip(conversations, images, strict=True)):
            if (places := _image_places(messages)) != len(pictures):
                raise ModelError(f"row {row} has {len(pictures)} images for {places} places in its messages")
        texts = [self.rendered(messages) for messages in conversations]
        if prefills:
            texts = [text + prefill for text, prefill in zip(texts, prefills, strict=True)]
        return self.processed(texts, images)

    def processed(self, texts: Sequence[str], images: Sequence[Any]) -> BatchFeature:
        """Rendered conversations, as text, with the decoded images of each, as a left-padded batch."""
        flat = [[shrunk(image, self.max_pixels) for image in row] for row in images]
        batch = self.processor(
            text=texts,
            images=flat if any(flat) else None,
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        for name, value in batch.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                batch[name] = value.float()  # some processors make pixels for the dtype of their own model
        return batch

    def rendered(self, messages: list[dict[str, Any]]) -> str:
        """A conversation as text, up to where the model's turn begins."""
        text: str = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        return text if text.startswith(self._start) else self._start + text

    @cached_property
    def _start(self) -> str:
        """What the tokenizer puts before a text, where chat templates may leave it out: its first token or nothing."""
        tokenizer = self.tokenizer
        begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
        return str(tokenizer.bos_token) if begins else ""

    @property
    def context_tokens(self) -> int | None:
        """How many tokens the model was made for, prompt and completion together; None where it does not say."""
        found = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) else None

    def encode_pairs(
        self, pairs: Sequence[Pair], limits: ImageLimits = DEFAULT_LIMITS, after: Sequence[int] | int = 0
    ) -> BatchFeature:
        """The question about each pair (`protocol.reasoner_messages`), its two images decoded, on the model's device.

        Args:
            pairs: As they are shown.
            limits: What an image may be.
            after: Tokens that will follow each prompt, one number for all or one for each.

        Raises:
            ImageError: An image is refused; the message names the pair.
            PromptTooLong: Prompts, with what follows them, do not fit into the model's context.
        """
        messages = [reasoner_messages(p.prompt, self.prompts, control_tokens=self.control_tokens) for p in pairs]
        images = [
            [load_image(source, limits=limits, where=f"pair {p.id!r}") for source in (p.first, p.second)] for p in pairs
        ]
        batch = self.encode(messages, images)
        self._check_lengths(batch["attention_mask"].sum(1).tolist(), after)
        return batch.to(self.device)

    def _check_lengths(self, prompts: Sequence[int], after: Sequence[int] | int) -> None:
        context = self.context_tokens
        if context is None:
            return
        room = [after] * len(prompts) if isinstance(after, int) else after
        too_long = {
            row: f"is {n:,} tokens long with its images, and up to {more:,} follow; {self.name} holds {context:,} in "
            "all, so shorten it or what follows (max_new_tokens)"
            for row, (n, more) in enumerate(zip(prompts, room, strict=True))
            if n + more > context
        }
        if too_long:
            raise PromptTooLong(too_long)

    def save(self, folder: Path, weights: Mapping[str, torch.Tensor] | None = None) -> None:
        """Writes a plain `save_pretrained` folder, whole or not at all; `load` and any transformers program read it.

        Args:
            folder: Where to; what is there gives way once all is written.
            weights: Written in place of the model's own, which may be one process's share of them.
        """
        with whole(folder.resolve()) as temporary:
            self.model.save_pretrained(temporary, state_dict=weights)
            self.processor.save_pretrained(temporary)
            self.sign(temporary)

    def sign(self, folder: Path) -> None:
        """Adds to a folder of weights what Earshot knows of the model, and lets others read it as the umask says."""
        sidecar = folder / SIDECAR
        write_json(sidecar, {"prompts": self.prompts.name})
        for file in folder.rglob("*.safetensors"):
            file.chmod(sidecar.stat().st_mode)  # safetensors lets nobody else read what it writes

    def fingerprint(self) -> str:
        """SHA-256 over all weights, to tell in a run's records which model it was."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def load(
    path: str | Path,
    *,
    dtype: str = "auto",
    device: str = "auto",
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    weights: bool = True,
) -> Vlm:
    """Loads a model and its processor from a folder or a hub id; safetensors only, no remote code.

    Args:
        path: A folder written by `save_pretrained`, a hub id such as `Qwen/Qwen2.5-VL-7B-Instruct`, or `world:NAME`.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU, float32 on a CPU.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        min_pixels: Smaller images are enlarged to so many pixels (width × height).
        max_pixels: Larger images are shrunk to so many; None leaves the processor's own limit.
        weights: Whether they are read; without, the model has shapes and no values (torch's meta device).

    Raises:
        ModelError: There is no such model, it is no image-text-to-text model, its processor cannot be had or has no
            lower limit of pixels, or it does not continue conversations.
    """
    path = world_model(str(path)) if str(path).startswith(WORLD) else path
    if (Path(path) / _ADAPTER).is_file() and not (Path(path) / "config.json").is_file():
        how: dict[str, Any] = {"dtype": dtype, "device": device, "min_pixels": min_pixels, "max_pixels": max_pixels}
        return _with_adapter(Path(path), **how, weights=weights)
    where = resolve_device(device)
    wanted = torch.bfloat16 if dtype == "bfloat16" or (dtype == "auto" and where.type == "cuda") else torch.float32
    source = str(path)
    _check_folder(source)
    try:
        with reachable_or_offline(source):
            # What the small files say is looked at before gigabytes are read.
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            check_config(config)
            processor = _prepared(load_processor(source, config), source)
            model = _read_model(source, wanted).to(where) if weights else _outline(config, wanted)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{source}: not a model that can be loaded ({first_line(error)}); expected a folder with config.json, "
            "safetensors and a processor of an image-text-to-text family, or a hub id that can be reached"
        ) from error
    vlm = Vlm(model, processor, _read_prompts(Path(path)), name=Path(source).name)
    set_pixel_limits(vlm, min_pixels, max_pixels)
    return vlm


def _read_model(source: str, dtype: torch.dtype) -> Any:
    model, found = AutoModelForImageTextToText.from_pretrained(
        source,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if missing := sorted(found["missing_keys"]):  # transformers would draw them at random
        raise ModelError(
            f"{source}: {len(missing)} weights are missing, the first is {missing[0]!r}; expected all weights of a "
            f"{model.config.model_type} model, so copy or save the folder again"
        )
    return model


def _outline(config: Any, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def _prepared(processor: Any, source: str) -> Any:
    """The processor with what folders may leave out of it.

    Raises:
        ModelError: It has no chat template.
    """
    tokenizer = processor.tokenizer
    tokenizer.padding_side = "left"
    if processor.chat_template is None:  # some folders keep it with the tokenizer alone
        processor.chat_template = tokenizer.chat_template
    if processor.chat_template is None:
        raise ModelError(
            f"{source}: a base model, for it has no chat template; expected one that follows instructions, or a "
            "chat_template.jinja in the folder"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked out wherever it stands
    return processor


def _with_adapter(folder: Path, *, weights: bool, **how: Any) -> Vlm:
    """The base that an adapter of PEFT names, with the adapter merged into its weights.

    Raises:
        ModelError: The base or the adapter cannot be loaded.
    """
    if not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{folder}: an adapter without adapter_model.safetensors; save it with safetensors")
    base = str(read_json_object(folder / _ADAPTER, what="an adapter's configuration").get("base_model_name_or_path"))
    try:
        vlm = load(base, weights=weights, **how)
    except ModelError as error:
        raise ModelError(f"{folder}: an adapter of {base}, which cannot be loaded: {error}") from error
    try:
        if weights:
            vlm.model = _merged(vlm.model, folder)
    except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{folder}: not an adapter of {base} ({first_line(error)})") from error
    return replace(vlm, prompts=_read_prompts(folder, vlm.prompts), name=folder.name)


def _merged(base: Any, adapter: Path) -> Any:
    from peft import PeftModel  # a second to import, which few models need

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # PEFT asks by an old name
        return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()


def world_model(name: str, weights: Path = WORLD_WEIGHTS) -> Path:
    """The folder of a warm model that ships with Earshot, from `world:NAME`.

    Args:
        name: Such as `world:reasoner`.
        weights: Where the models lie.

    Raises:
        ModelError: There is no such model; the message lists those there are.
    """
    folder = weights / name.removeprefix(WORLD)
    known = sorted(config.parent.name for config in weights.glob("*/config.json"))
    if folder.name not in known or folder.parent != weights:
        models = ", ".join(WORLD + other for other in known) or "none in this installation"
        raise ModelError(f"{name}: no such model, expected one of: {models}; 'earshot world pretrain' makes them")
    return folder


def _check_folder(source: str) -> None:
    """Refuses a path that holds no model before the hub is asked for it; `owner/name` may be a hub id."""
    path = Path(source)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelError(f"{source}: the folder holds no config.json, expected one written by save_pretrained")
    elif path.exists():
        raise ModelError(f"{source}: not a folder, expected one with config.json and safetensors, or a hub id")
    elif path.is_absolute() or source.startswith((".", "~")) or len(path.parts) > 2 or _lies_in_a_folder(path):
        raise ModelOutOfReach(f"{source}: no such folder, expected one with config.json and safetensors, or a hub id")


def _lies_in_a_folder(path: Path) -> bool:
    return len(path.parts) == 2 and path.parent.is_dir()


def resolve_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one; a GPU that was asked for and is not there is an error, never the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device: 'cuda' was asked for, but this torch sees no GPU; use device 'cpu' or 'auto'")
    return torch.device(device)


def answer_token_ids(
    vlm: Vlm, opened: str = listener_prefill("x"), answers: Sequence[str] = ANSWER_TEXTS
) -> tuple[int, ...]:
    """Ids of the tokens of answers as they follow a text: the two of a verdict, unless others are given.

    Raises:
        ModelError: An answer is not a single token there, so that no one logit is its probability.
    """
    before = vlm.tokenizer(opened, add_special_tokens=False)["input_ids"]
    ids = []
    for answer in answers:
        whole = vlm.tokenizer(opened + answer, add_special_tokens=False)["input_ids"]
        if whole[: len(before)] != before or len(whole) != len(before) + 1:
            raise ModelError(
                f"{vlm.name}: the answer {answer!r} is not a single token after {opened[-24:]!r} in this tokenizer, "
                "expected one; choose another model"
            )
        ids.append(whole[-1])
    return tuple(ids)


def _image_places(messages: Sequence[Mapping[str, Any]]) -> int:
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    return sum(part.get("type") == "image" for part in parts)


def _read_prompts(folder: Path, default: PromptSet = STANDARD) -> PromptSet:
    sidecar = folder / SIDECAR
    if not sidecar.is_file():
        return default
    try:
        return prompt_set(str(read_json_object(sidecar, what="a model's prompts").get("prompts")))
    except ConfigError as error:
        raise ModelError(f"{sidecar}: {error}") from error


def set_pixel_limits(vlm: Vlm, min_pixels: int | None, max_pixels: int | None) -> None:
    """Sets between how many pixels (width × height) images are scaled, aspect ratio kept.

    Some processors keep such limits themselves; for others larger images are shrunk before they see them.

    Raises:
        ModelError: The family's processor has no lower limit, and one is asked for.
    """
    images, areas = vlm.processor.image_processor, _areas(vlm)
    if areas is None:
        if min_pixels is not None:
            size = dict(images.size or {})
            raise ModelError(f"{vlm.name}: its processor scales every image to {size}; min_pixels cannot be set for it")
        vlm.max_pixels = max_pixels
        return
    if min_pixels is not None or max_pixels is not None:
        least, most = areas
        lower = min_pixels if min_pixels is not None else min(least, max_pixels or least)
        upper = max_pixels if max_pixels is not None else max(most, lower)
        images.size = {"shortest_edge": lower, "longest_edge": upper}
        for name, value in (("min_pixels", lower), ("max_pixels", upper)):
            if hasattr(images, name):
                setattr(images, name, value)


def pixel_limit(vlm: Vlm) -> int | None:
    """To how many pixels (width × height) larger images are shrunk for a model; None where they are not."""
    areas = _areas(vlm)
    return vlm.max_pixels if areas is None else areas[1]


def _areas(vlm: Vlm) -> tuple[int, int] | None:
    """Between how many pixels the processor itself scales images; None where it has no such limits."""
    images = vlm.processor.image_processor
    size = dict(images.size or {})
    if not {"shortest_edge", "longest_edge"} <= size.keys() or not hasattr(images, "merge_size"):
        return None
    return size["shortest_edge"], size["longest_edge"]  # areas in these families, whatever their name
