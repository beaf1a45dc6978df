"""A vision-language model with its processor: loading, saving, and turning conversations into tensors.

Which models may be computed, and how, `mechanisms` says; no family is known by name outside `earshot.vlm`.
"""

from __future__ import annotations

import hashlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError
from PIL import Image
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForImageTextToText, GenerationConfig
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_backends import TorchvisionBackend

from earshot.errors import ModelError, PromptTooLong, first_line
from earshot.files import whole, write_json
from earshot.images import AS_IT_IS, DEFAULT_LIMITS, ImageLimits, Sight, load_image, scaled
from earshot.protocol import PromptSet, listener_prefill, prompt_set, reasoner_messages
from earshot.protocol.answers import AnswerPlace, answer_place
from earshot.types import Pair
from earshot.vlm.alone import as_loaded, without_adapters
from earshot.vlm.card import SIDECAR, read_prompts, read_sight, read_taught_on
from earshot.vlm.folder import base_of, check, is_adapter, place_of
from earshot.vlm.hub import reachable_or_offline
from earshot.vlm.limits import beyond_limits
from earshot.vlm.mechanisms import check_config, check_inputs
from earshot.vlm.prefix.pictures import layout_is_known
from earshot.vlm.processors import load_processor
from earshot.vlm.runs import attend_by_runs
from earshot.vlm.weights import merged, read_weights

_LONG_PROMPT = 16_384  # characters: what a template makes of a prompt may grow with it
_PLACES_OF_IMAGES = ("image_token", "video_token", "boi_token", "eoi_token")  # of processors


@dataclass
class Vlm:
    """A model, its processor, and the prompt set it is asked with.

    Attributes:
        model: A transformers image-text-to-text model.
        processor: Its processor; `processor.tokenizer` pads on the left.
        prompts: The protocol's words for this model.
        name: For logs and results: the hub id, or the folder's name.
        before: How images are scaled before the processor sees them, where it keeps no limits itself.
        taught_on: All the pictures that it, or the model it was trained from, has ever seen, in words; None of others.
        under_adapters: Whether adapters are trained on it, without which it reads.
    """

    model: Any
    processor: Any
    prompts: PromptSet
    name: str
    before: Sight = AS_IT_IS
    taught_on: str | None = None
    under_adapters: bool = False

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def sight(self) -> Sight:
        """Between which limits images are scaled for the model, by its processor or before it, and by which library."""
        images = self.processor.image_processor
        limits = _limits(images) or (self.before.min_pixels, self.before.max_pixels)
        return Sight(*limits, "torchvision" if isinstance(images, TorchvisionBackend) else "pil")

    @cached_property
    def control_tokens(self) -> frozenset[str]:
        """Strings that the tokenizer turns into control tokens; no text of users or models may hold them.

        Only those that are special: tokenizers also add plain words, such as line breaks and tags, to their vocabulary.
        """
        tokenizer = self.tokenizer
        special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        places = {getattr(self.processor, name, None) for name in _PLACES_OF_IMAGES} - {None}
        return frozenset({*tokenizer.all_special_tokens, *special, *places} - self.prompts.tags)

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
        inputs = self.grey_question()
        check_inputs(inputs)
        return layout_is_known(self.model, inputs)

    def grey_question(self, side_px: int = 64) -> BatchFeature:
        """A short question about grey squares: what the processor makes of any prompt."""
        grey = Image.new("RGB", (side_px, side_px), (128, 128, 128))
        return self.encode([self.messages("a")], [[grey] * _image_places(self.messages("a"))])

    @cached_property
    def opened(self) -> str:
        """What of a completion the chat template has written when the model's turn begins: `<think>`, or nothing."""
        think = self.prompts.think
        if think is None or think.opened_by == "model":
            return ""
        tag, prompt = think.open.strip(), self.rendered(self.messages("a"))
        if prompt.rstrip().endswith(tag):
            return prompt[prompt.rindex(tag) :]
        return tag if think.opened_by == "template" else ""

    def completions(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """The texts of sampled tokens, with what the template has opened for the model, without control tokens."""
        texts = self.tokenizer.batch_decode([[row[place] for place in self.spoken(row)] for row in rows])
        return [self.opened + text for text in texts]

    def spoken(self, row: Sequence[int]) -> list[int]:
        """Which of sampled tokens are text: no control tokens but tags."""
        return [place for place, token in enumerate(row) if token not in self._silent]

    @cached_property
    def _silent(self) -> set[int]:
        added, tags = self.tokenizer.added_tokens_decoder.items(), self.prompts.tags
        return {i for i, token in added if token.special and token.content not in tags} | {*self.stop_ids}

    def continuation(self, completion: str) -> str:
        """What of a completion is left to write once the template has opened its part."""
        rest = completion.removeprefix(self.opened.strip())
        return rest.lstrip() if self.opened[-1:].isspace() else rest

    def asked(self, prompts: str | Path | PromptSet | None) -> Vlm:
        """The same model, asked in a prompt set (`protocol.prompt_set`); None leaves it its own.

        Raises:
            ConfigError: There is no such set, or it is not as it must be.
            ModelError: The chat template has no place for its system turn, or knows no such option.
        """
        if prompts is None:
            return self
        vlm = replace(self, prompts=prompt_set(prompts))
        for option in vlm.prompts.template:
            if option not in str(self.processor.chat_template):
                raise ModelError(
                    f"{self.name}: its chat template knows no option '{option}', which prompt set '{vlm.prompts.name}' "
                    "sets; leave it out, or choose another model"
                )
        vlm.check_question()
        return vlm

    def check_question(self) -> None:
        """Sees, without the model, that questions can be asked: the chat template first runs in a process with limits.

        Raises:
            ModelError: It takes too much time or memory, breaks, or has no place for the images or the system turn.
        """
        self._start, self.control_tokens  # noqa: B018 - of the tokenizer, whose threads are in no copy of a process
        if (limit := beyond_limits(self._write_questions)) is not None:
            raise ModelError(f"{self.name}: its chat template takes more than {limit} for one question; mend it")
        try:
            self._write_questions()
            self.grey_question()
        except ModelError:
            raise
        except Exception as error:  # whatever a template does, and a processor with what it has written
            raise ModelError(
                f"{self.name}: its chat template and its processor make no question ({type(error).__name__}: "
                f"{first_line(error)}); take those that the model came with"
            ) from error

    def _write_questions(self) -> None:
        for prompt in ("a" * _LONG_PROMPT, "a"):
            *before, question = self.messages(prompt)
            n = _image_places([question])
            fewer = [{**question, "content": _with_images(question["content"], k)} for k in range(n + 1)]
            if len({self.rendered([*before, one]) for one in fewer}) <= n:
                many = "three" if self.prompts.edits else "two"
                raise ModelError(f"{self.name}: its chat template has no place for {many} images; choose another model")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Within, the model is in evaluation mode, and one that lies under adapters in training is what it was."""
        training = self.model.training
        self.model.eval()
        try:
            with ExitStack() as alone:
                if self.under_adapters:
                    alone.enter_context(as_loaded(self.model))
                    alone.enter_context(without_adapters(self.model))
                yield
        finally:
            self.model.train(training)

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
        texts, images = self.asked_in(conversations, images)
        if prefills:
            texts = [text + prefill for text, prefill in zip(texts, prefills, strict=True)]
        return self.processed(texts, images)

    def asked_in(
        self, conversations: Sequence[list[dict[str, Any]]], images: Sequence[Sequence[Any]]
    ) -> tuple[list[str], list[list[Any]]]:
        """Conversations as text, up to where the model's turn begins, and their images as its processor takes them.

        Raises:
            ModelError: A row has more or fewer images than its messages have places for them.
        """
        for row, (messages, pictures) in enumerate(zip(conversations, images, strict=True)):
            if (places := _image_places(messages)) != len(pictures):
                raise ModelError(f"row {row} has {len(pictures)} images for {places} places in its messages")
        texts = [self.rendered(messages) for messages in conversations]
        return texts, self.seen(images)

    def seen(self, images: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Images as its processor takes them: scaled, where it keeps no limits itself."""
        return [[scaled(image, self.before) for image in row] for row in images]

    def processed(self, texts: Sequence[str], images: Sequence[Any]) -> BatchFeature:
        """What `asked_in` gives as a left-padded batch."""
        batch = self.processor(
            text=texts,
            images=[[*row] for row in images] if any(images) else None,
            padding=True,
            padding_side="left",
            add_special_tokens=False,
            return_tensors="pt",
        )
        for name, value in batch.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                batch[name] = value.float()  # some processors make pixels for the dtype of their own model
        return batch

    def messages(self, prompt: str) -> list[dict[str, Any]]:
        """The question about a pair with this prompt (`protocol.reasoner_messages`), as the chat template takes it.

        Raises:
            ModelError: The prompt set has a system turn, and the chat template has no place for it.
        """
        messages = reasoner_messages(prompt, self.prompts, control_tokens=self.control_tokens)
        return [{**messages[0], "content": self._system}, *messages[1:]] if self.prompts.system else messages

    @cached_property
    def _system(self) -> str | list[dict[str, str]]:
        """The system turn, which some chat templates read in parts, as they do images, and others as a text."""
        text = (self.prompts.system or "").strip()
        user = reasoner_messages("a", self.prompts)[1:]
        for content in ([{"type": "text", "text": text}], text):
            try:
                found = self.rendered([{"role": "system", "content": content}, *user])
            except (TemplateError, TypeError):
                continue
            if text in found and "'type'" not in found.split(text)[0]:
                return content
        raise ModelError(
            f"{self.name}: its chat template has no place for the system turn of prompt set '{self.prompts.name}'; put "
            "its text into the question, or choose another model"
        )

    def rendered(self, messages: list[dict[str, Any]]) -> str:
        """A conversation as text, up to where the model's turn begins."""
        text: str = self.processor.apply_chat_template(
            messages, add_generation_prompt=True, tokenize=False, **self.prompts.template
        )
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
        """The question about each pair (`messages`), its images decoded, on the model's device.

        Args:
            pairs: As they are shown.
            limits: What an image may be.
            after: Tokens that will follow each prompt, one number for all or one for each.

        Raises:
            InputError: It is asked about edits, and a pair has no original, or the other way round.
            ImageError: An image is refused; the message names the pair.
            PromptTooLong: Prompts, with what follows them, do not fit into the model's context.
        """
        batch = self.processed(*self.questions(pairs, limits))
        self._check_lengths(batch["attention_mask"].sum(1).tolist(), after)
        return batch.to(self.device)

    def questions(
        self, pairs: Sequence[Pair], limits: ImageLimits = DEFAULT_LIMITS
    ) -> tuple[list[str], list[list[Image.Image]]]:
        """The question about each pair, as `asked_in` gives it, its images decoded.

        Raises:
            InputError: It is asked about edits, and a pair has no original, or the other way round.
            ImageError: An image is refused; the message names the pair.
        """
        asked = [self.asked_about(pair) for pair in pairs]
        # A pair that stands here in both orders shows two pictures, not four.
        opened: dict[Path | int, Image.Image] = {}
        images: list[list[Image.Image]] = [[] for _ in pairs]
        for row, pair in zip(images, pairs, strict=True):
            for source in pair.images:
                key = source if isinstance(source, Path) else id(source)
                if key not in opened:
                    opened[key] = load_image(source, limits=limits, where=f"pair {pair.id!r}")
                row.append(opened[key])
        return self.asked_in(asked, images)

    def asked_about(self, pair: Pair) -> list[dict[str, Any]]:
        """The question about a pair (`messages`), with a place for each of its images.

        Raises:
            InputError: It is asked about edits, and the pair has no original, or the other way round.
        """
        self.prompts.check_pair(pair)
        return self.messages(pair.prompt)

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

    def save(self, folder: Path) -> None:
        """Writes a plain `save_pretrained` folder, whole or not at all; `load` and any transformers program read it.

        Args:
            folder: Where to; what is there gives way once all is written.
        """
        with whole(folder.resolve()) as temporary:
            self.model.save_pretrained(temporary)
            self.processor.save_pretrained(temporary)
            self.sign(temporary)

    def sign(self, folder: Path) -> None:
        """Adds to a folder of weights what Earshot knows of the model, and lets others read it as the umask says."""
        sidecar = folder / SIDECAR
        images = replace(self.before, image_backend=self.sight.image_backend).told()
        taught_on = {} if self.taught_on is None else {"taught_on": self.taught_on}
        write_json(sidecar, {"prompts": self.prompts.model_dump(), "images": images, **taught_on})
        for file in folder.rglob("*.safetensors"):
            file.chmod(sidecar.stat().st_mode)  # safetensors lets nobody else read what it writes

    def record(self, sha256: str | None = None) -> dict[str, Any]:
        """What its numbers depend on, for the records of a run or a job; hashing large weights takes some seconds.

        Args:
            sha256: Its `fingerprint`, where that is known.
        """
        asked = {"prompts": self.prompts.fingerprint, **self.sight.told()}
        return {"name": self.name, "sha256": sha256 or self.fingerprint(), **asked}

    def fingerprint(self) -> str:
        """SHA-256 over all weights."""
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
    sight: Sight = AS_IT_IS,
    weights: bool = True,
) -> Vlm:
    """Loads a model and its processor from a folder or a hub id; safetensors only, no remote code.

    Args:
        path: A folder written by `save_pretrained`, a hub id such as `Qwen/Qwen2.5-VL-7B-Instruct`, or `world:NAME`.
        dtype: `float32`, `bfloat16`, or `auto`: bfloat16 on a GPU, float32 on a CPU.
        device: `cpu`, `cuda`, or `auto`: the GPU where there is one.
        sight: How images are made ready for it; what is left open, the folder says, or else the processor.
        weights: Whether they are read; without, the model has shapes and no values (torch's meta device).

    Returns:
        The model, asked in the prompt set that its folder was trained with, else in `standard`.

    Raises:
        ModelError: There is no such model, it is no image-text-to-text model, its processor cannot be had, or it does
            not continue conversations.
    """
    where, source = resolve_device(device), place_of(path)
    sight = sight.filled(read_sight(Path(source)))
    if is_adapter(source):
        return _with_adapter(source, dtype=dtype, device=device, sight=sight, weights=weights)
    wanted = torch.bfloat16 if dtype == "bfloat16" or (dtype == "auto" and where.type == "cuda") else torch.float32
    prompts = read_prompts(Path(source))
    try:
        with reachable_or_offline(source):
            check(source, weights=weights)
            # What the small files say is looked at before gigabytes are read.
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            check_config(config, source)
            processor = _prepared(load_processor(source, config, sight.image_backend or "pil"), source)
            vlm = Vlm(None, processor, prompts, name=source, taught_on=read_taught_on(Path(source)))
            set_limits(vlm, sight)
            vlm.check_question()
            model = _read_model(source, config, wanted).to(where) if weights else _outline(source, config, wanted)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(
            f"{source}: not a model that can be loaded ({first_line(error)}); expected a folder with config.json, "
            "safetensors and a processor of an image-text-to-text family, or a hub id that can be reached"
        ) from error
    return replace(vlm, model=model, name=Path(source).name)


def _read_model(source: str, config: Any, dtype: torch.dtype) -> Any:
    model, found = read_weights(source, config, dtype)
    if missing := sorted(found["missing_keys"]):  # transformers would draw them at random
        raise ModelError(
            f"{source}: {len(missing)} weights are missing, the first is {missing[0]!r}; expected all weights of a "
            f"{model.config.model_type} model, so copy or save the folder again"
        )
    attend_by_runs(model)
    return model


def _outline(source: str, config: Any, dtype: torch.dtype) -> Any:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    with suppress(OSError):  # without one its ends are those of its configuration
        model.generation_config = GenerationConfig.from_pretrained(source)
    return model


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


def _with_adapter(source: str, *, weights: bool, **how: Any) -> Vlm:
    """The base that an adapter of PEFT names, with the adapter merged into its weights.

    Raises:
        ModelError: The base or the adapter cannot be loaded.
    """
    check(source)
    base, folder = base_of(source), Path(source)
    try:
        vlm = load(base, weights=weights, **how)
    except ModelError as error:
        raise ModelError(f"{folder}: an adapter of {base}, which cannot be loaded: {error}") from error
    try:
        if weights:
            vlm.model = _merged(vlm.model, folder)
    except (ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{folder}: not an adapter of {base} ({first_line(error)})") from error
    return replace(vlm, name=folder.name).asked(read_prompts(folder, vlm.prompts))


def _merged(base: Any, adapter: Path) -> Any:
    from peft import PeftModel  # a second to import, which few models need

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")  # PEFT asks by an old name
        return merged(PeftModel.from_pretrained(base, str(adapter)))


def resolve_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one; a GPU that was asked for and is not there is an error, never the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = str(device).partition(":")
    if kind not in ("cpu", "cuda") or not (number.isdecimal() or str(device) == kind):
        raise ModelError(f"device: {device!r} is none, expected 'auto', 'cpu' or 'cuda'")
    there = 1 if kind == "cpu" else torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= there:
        found = f"{there} GPUs" if there else "no GPU"
        raise ModelError(f"device: {device!r} was asked for, but this torch sees {found}; use device 'cpu' or 'auto'")
    return torch.device(device)


def answer_tokens(vlm: Vlm, opened: str | None = None, answers: Sequence[str] = ()) -> AnswerPlace:
    """Where two answers part, as tokens that follow a text: those of a verdict, unless others are given.

    Args:
        vlm: Whose tokenizer.
        opened: What stands before; None is a trace and the opening of the answer.
        answers: The two; none are those of the model's prompt set.

    Raises:
        ModelError: They do not differ at one token there, so that no one logit is the probability of either.
    """
    texts = (answers[0], answers[1]) if answers else vlm.prompts.answer.texts
    before = vlm.continuation(listener_prefill("x", vlm.prompts)) if opened is None else opened
    try:
        return answer_place(lambda text: vlm.tokenizer(text, add_special_tokens=False)["input_ids"], before, texts)
    except ValueError as error:
        raise ModelError(f"{vlm.name}: {error} in this tokenizer; choose another model or other answers") from error


def answer_token_ids(vlm: Vlm) -> tuple[int, int]:
    """The ids of the two tokens, one of which a verdict begins with after what both answers have in common.

    Raises:
        ModelError: As `answer_tokens`.
    """
    return answer_tokens(vlm).ids


def _with_images(content: Sequence[Mapping[str, Any]], n: int) -> list[Mapping[str, Any]]:
    """A turn with the first n of its images."""
    kept = [k for k, part in enumerate(content) if part["type"] == "image"][:n]
    return [part for k, part in enumerate(content) if part["type"] != "image" or k in kept]


def _image_places(messages: Sequence[Mapping[str, Any]]) -> int:
    parts = [part for message in messages if not isinstance(message["content"], str) for part in message["content"]]
    return sum(part.get("type") == "image" for part in parts)


def set_limits(vlm: Vlm, sight: Sight) -> None:
    """Sets between how many pixels (width × height) images are scaled, aspect ratio kept.

    Some processors keep such limits themselves; for others images are scaled before they see them.
    """
    images = vlm.processor.image_processor
    if _limits(images) is None:
        vlm.before = replace(sight, image_backend=None)
    elif sight.min_pixels is not None or sight.max_pixels is not None:
        limits, times = sight.filled(vlm.sight).told(), _times(images)
        images.size = {}
        for name, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge")):
            images.size[edge] = limits[name] * times
            if hasattr(images, name):
                setattr(images, name, images.size[edge])


def _limits(images: Any) -> tuple[int, int] | None:
    """Between how many pixels an image processor itself scales images; None where it has no such limits."""
    size = dict(images.size or {})
    if not {"shortest_edge", "longest_edge"} <= size.keys() or not hasattr(images, "merge_size"):
        return None
    # Areas in these families, whatever their name.
    return size["shortest_edge"] // _times(images), size["longest_edge"] // _times(images)


def _times(images: Any) -> int:
    """How often a processor counts a pixel towards its limits: some see an image as several frames of a video."""
    counted = "temporal_factor" in inspect.signature(images.resize).parameters
    return int(images.temporal_patch_size) if counted else 1
