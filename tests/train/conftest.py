"""Models as small as they come, and a few pairs of the world."""

from itertools import count
from pathlib import Path

import pytest

from earshot.world.make import Recipe, make_set

FAMILIES = ("qwen2_5_vl", "llava")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one untrained model of each family."""
    from earshot.vlm.tiny import TinySize, build_tiny
    from earshot.world.corpus import corpus

    folder = tmp_path_factory.mktemp("models")
    words = list(corpus(40))
    size = TinySize(hidden=64, layers=2, vision_hidden=32, vision_layers=1, image_px=56)
    for family in FAMILIES:
        build_tiny(family, words, size=size).save(folder / family)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pairs of the world with their traces."""
    folder = tmp_path_factory.mktemp("pairs") / "train"
    make_set(folder, Recipe("train"), 6, workers=1)
    return folder


@pytest.fixture(scope="session")
def talker(models: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes well-formed completions about these pairs, for either side by chance."""
    from earshot.data.pairset import PairSet
    from earshot.images import load_image
    from earshot.lab.curriculum import Example
    from earshot.lab.pretraining import Schedule, learn
    from earshot.protocol import reasoner_messages, write_completion
    from earshot.types import Verdict
    from earshot.vlm import load

    vlm = load(models / "qwen2_5_vl", device="cpu")
    known, drawn = PairSet(pairs), count()
    texts = [write_completion(Verdict(side, "red ."), vlm.prompts) for side in ("first", "second")]

    def draw() -> Example:
        k = next(drawn)
        pair = known[k % len(known)]
        images = [load_image(pair.first), load_image(pair.second)]
        return Example(reasoner_messages(pair.prompt, vlm.prompts), images, texts[k // len(known) % 2])

    learn(vlm, draw, Schedule(100, 7e-3, batch_size=4))
    folder = tmp_path_factory.mktemp("talker") / "model"
    vlm.save(folder)
    return folder
