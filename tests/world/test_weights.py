"""The warm models that ship: they load by name, are small, and are as good as their card says."""

from pathlib import Path

import numpy as np
import pytest

import earshot
from earshot.listener.local import LocalListener
from earshot.protocol import redact_trace
from earshot.reasoner import Reasoner
from earshot.types import Pair
from earshot.vlm import load
from earshot.world.language import Corruption, write_trace
from earshot.world.pairs import POPULATIONS, draw_pair, pair_generator, render_pair
from earshot.world.scene import prompt_text

WEIGHTS = Path(earshot.__file__).parent / "world" / "weights"
N = 80  # pairs; the standard error of a share near 0.9 is then 3.4 points


def drawn() -> tuple[list[Pair], list[str]]:
    """Test pairs, and a true trace of each without its conclusion."""
    pairs, traces = [], []
    for index in range(N):
        rng = pair_generator(7, "test", index)
        pair = draw_pair(rng, POPULATIONS["test"])
        first, second = render_pair(pair, rng, POPULATIONS["test"], 56)
        pairs.append(Pair(f"p{index}", prompt_text(pair.truth.wanted), first, second, pair.votes))
        traces.append(redact_trace(write_trace(pair.truth, "first", rng, Corruption()), "verdict"))
    return pairs, traces


def share_right(p_first: np.ndarray, pairs: list[Pair]) -> float:
    return float(np.mean((p_first > 0.5) == np.array([pair.votes.majority == "first" for pair in pairs])))


def test_they_take_at_most_eight_megabytes_together() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*") if file.is_file()) <= 8_000_000


@pytest.mark.parametrize("name", ["listener", "held-out"])
def test_a_listener_hears_a_true_trace_and_is_less_sure_without_one(name: str) -> None:
    pairs, traces = drawn()
    listener = LocalListener(load(f"world:{name}", dtype="float32").freeze(), batch_size=N)
    with_trace = share_right(listener.p_first(pairs, traces), pairs)
    without = share_right(listener.p_first(pairs, [None] * N), pairs)
    assert with_trace >= 0.9  # the card says 99 %
    assert 0.5 < without < with_trace - 0.1  # the card says 66 and 70 %


def test_the_reasoner_is_decent_and_not_good() -> None:
    pairs, _ = drawn()
    judged = Reasoner(load("world:reasoner", dtype="float32"), max_new_tokens=60, batch_size=2 * N).judge(pairs)
    samples = [(pair, sample) for pair, row in zip(pairs, judged, strict=True) for sample in row]
    formed = np.mean([sample.side is not None for _, sample in samples])
    right = np.mean([sample.side == pair.votes.majority for pair, sample in samples])
    assert formed >= 0.85  # 94 % on the card
    assert 0.45 <= right <= 0.70  # 56 % on the card, malformed ones counted as wrong
