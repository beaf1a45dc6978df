"""What a family of models is to the conformance suite, and how a tiny random checkpoint of one is written.

A checkpoint is laid out as its hub repository is: config, safetensors, generation config, tokenizer, chat template and
the processors' files. Its vocabulary is a byte-level BPE trained here, in which every special token of the family
stands under its own name; nothing is fetched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForImageTextToText

_CORPUS = (
    "The first image is sharp. The second image shows a man with a hat and a dog, dull and blurry.",
    "Which of the two would people prefer? Two images were made for the same text prompt. 1 2",
    "Consider how well each follows the prompt, how natural and free of flaws it is, and how good it looks.",
    "First think inside: say what each image shows and compare them. Then answer, and write nothing after it.",
) * 4
_MERGES = 150  # beside the 256 bytes and the family's own tokens

CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
USUAL = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}

HIDDEN = 64
TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
}
VISION = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


@dataclass(frozen=True)
class Tokens:
    """The ids of a vocabulary.

    Attributes:
        ids: Of every token.
        size: Rows that a head needs to have one for each token.
    """

    ids: Mapping[str, int]
    size: int

    def __getitem__(self, token: str) -> int:
        return self.ids[token]

    @property
    def rounded(self) -> int:
        """Rows of a head as most models have it: rounded up, so that some rows belong to no token."""
        return self.size // 64 * 64 + 64


@dataclass(frozen=True)
class Family:
    """A kind of model: what its folder holds.

    Attributes:
        name: What the suite calls it.
        special: The special tokens of its vocabulary.
        tokenizer: The entries of `tokenizer_config.json`.
        config: The model's config, given the vocabulary.
        files: The other JSON files by name.
        chat: The chat template; None where the repository has none.
        plain: Added tokens that are not special.
        generation: The entries of `generation_config.json`, given the vocabulary.
        chat_in: Where the chat template stands; older repositories have it in two files.
        adds_bos: Whether the tokenizer itself puts its BOS before a text, as Llama 2's does.
        beyond_head: Tokens that come last in the vocabulary, after all that `Tokens.size` counts.
        ready: Changes to the weights once they are drawn.
        needs_torchvision: Whether transformers can read its images with torchvision alone.
    """

    name: str
    special: tuple[str, ...]
    tokenizer: Mapping[str, Any]
    config: Callable[[Tokens], Any]
    files: Mapping[str, Mapping[str, Any]]
    chat: str | None
    plain: tuple[str, ...] = ()
    generation: Callable[[Tokens], Mapping[str, Any]] = field(default=lambda _: {})
    chat_in: tuple[Literal["jinja", "json", "tokenizer"], ...] = ("jinja",)
    adds_bos: bool = False
    beyond_head: tuple[str, ...] = ()
    ready: Callable[[Any], None] = field(default=lambda _: None)
    needs_torchvision: bool = False


def write(family: Family, folder: Path) -> Path:
    """A checkpoint of the family in `folder`, which is made; the same weights every time."""
    folder.mkdir(parents=True)
    vocabulary = _train(family)
    ids = vocabulary.get_vocab(with_added_tokens=True)
    tokens = Tokens(ids, len(ids) - len(family.beyond_head))
    _save_model(family, tokens, folder)
    vocabulary.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **family.tokenizer}
    chat = {"chat_template": family.chat}
    if family.chat is not None and "tokenizer" in family.chat_in:
        settings |= chat
    _write(folder / "tokenizer_config.json", settings)
    if family.chat is not None and "jinja" in family.chat_in:
        (folder / "chat_template.jinja").write_text(family.chat)
    if family.chat is not None and "json" in family.chat_in:
        _write(folder / "chat_template.json", chat)
    for name, content in family.files.items():
        _write(folder / name, content)
    return folder


def _train(family: Family) -> Tokenizer:
    vocabulary = Tokenizer(models.BPE())
    vocabulary.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    vocabulary.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(family.special) + _MERGES,
        special_tokens=list(family.special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    vocabulary.train_from_iterator(_CORPUS, trainer)
    vocabulary.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.plain])
    vocabulary.add_special_tokens([AddedToken(token, normalized=False) for token in family.beyond_head])
    if family.adds_bos:
        bos = family.tokenizer["bos_token"]
        vocabulary.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, vocabulary.token_to_id(bos))]
        )
    return vocabulary


def _save_model(family: Family, tokens: Tokens, folder: Path) -> None:
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_config(family.config(tokens)).float()
    _draw(model)
    family.ready(model)
    settings = dict(family.generation(tokens))
    for name, value in settings.items():
        setattr(model.generation_config, name, value)
    model.generation_config.do_sample = bool(settings.get("do_sample"))
    model.save_pretrained(folder)
    if settings:
        _write(folder / "generation_config.json", settings)


def _draw(model: torch.nn.Module) -> None:
    """Draws the weights so that logits spread by some nats and images and texts both count."""
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, torch.nn.Embedding)}
    head = model.get_output_embeddings()
    if head is not None:
        embeddings.add(id(head.weight))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if id(parameter) in embeddings:
                parameter.normal_(std=0.25)
            elif parameter.dim() >= 2:
                one = parameter[0, 0] if "experts" in name and parameter.dim() == 3 else parameter[0]
                parameter.normal_(std=one.numel() ** -0.5)
            elif name.endswith("bias") and "norm" not in name and "dt_bias" not in name:
                parameter.normal_(std=0.05)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False))
