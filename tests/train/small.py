"""Models small enough to be trained many times in a test."""

from itertools import count
from pathlib import Path

from earshot.data.pairset import PairSet
from earshot.images import load_image
from earshot.lab.curriculum import Example
from earshot.lab.pretraining import Schedule, learn
from earshot.protocol import reasoner_messages, write_completion
from earshot.types import Verdict
from earshot.vlm import load
from earshot.vlm.tiny import TinySize, build_tiny
from earshot.world.corpus import corpus


def build_small(family: str, folder: Path) -> Path:
    """An untrained model of a family, in the words of the world."""
    size = TinySize(hidden=64, layers=2, vision_hidden=32, vision_layers=1, image_px=56)
    build_tiny(family, [*corpus(40)], size=size).save(folder)
    return folder


def make_talker(model: Path, pairs: Path, folder: Path) -> Path:
    """A model that writes well-formed completions about these pairs, for either side by chance."""
    vlm = load(model, device="cpu")
    known, drawn = PairSet(pairs), count()
    texts = [write_completion(Verdict(side, "red ."), vlm.prompts) for side in ("first", "second")]

    def draw() -> Example:
        k = next(drawn)
        pair = known[k % len(known)]
        images = [load_image(pair.first), load_image(pair.second)]
        return Example(reasoner_messages(pair.prompt, vlm.prompts), images, texts[k // len(known) % 2])

    learn(vlm, draw, Schedule(100, 7e-3, batch_size=4))
    vlm.save(folder)
    return folder
