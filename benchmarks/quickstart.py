"""The quickstart with stock training in place of shared prefixes: TRL's own passes and generation, a plain listener.

    python -m benchmarks.quickstart ours|stock [options of `earshot quickstart`]

prints what the quickstart prints; what compares is the seconds of the two lines "train". Judging is ours in both.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from trl import GRPOTrainer

import earshot.train.grpo as grpo
import earshot.train.trainer as trainer
from earshot.cli.main import main
from earshot.images import load_image
from earshot.lab.bench.stock import plain_listener
from earshot.listener.local import LocalListener
from earshot.types import Pair


class StockPasses(trainer.ListenerGrpoTrainer):
    """Our trainer without what makes it ours."""

    _prepare_inputs = GRPOTrainer._prepare_inputs
    _generate_and_score_completions = GRPOTrainer._generate_and_score_completions
    _get_per_token_logps_and_entropies = GRPOTrainer._get_per_token_logps_and_entropies
    _compute_loss = GRPOTrainer._compute_loss


def plain_p_first(listener: LocalListener, pairs: Sequence[Pair], traces: Sequence[str | None]) -> np.ndarray:
    """Every trace with its own images, as a listener written for plain TRL would have it."""
    opened = [replace(pair, first=load_image(pair.first), second=load_image(pair.second)) for pair in pairs]
    return np.array(plain_listener(listener.vlm, opened, [trace or "" for trace in traces]))


if __name__ == "__main__":
    side, *options = sys.argv[1:]
    if side == "stock":
        trainer._needs_trl_generation = lambda args: True
        grpo.ListenerGrpoTrainer = StockPasses
        LocalListener.p_first = plain_p_first
    sys.exit(main(["quickstart", *options]))
