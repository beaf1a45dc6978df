"""What each part of the reward, and each kind of credit, costs a whole step: our own trainer against itself.

All arms see the same pairs, draw their completions alike, and are then handed the same ones: well-formed, and full of
claims, as no model with random weights would write them.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final

from earshot.config import GrpoConfig
from earshot.errors import InputError
from earshot.lab.bench.like import trainable
from earshot.lab.bench.measure import Result, machine_of, need_images
from earshot.lab.bench.paired import by_turns, ratio_of
from earshot.lab.bench.shape import Shape
from earshot.lab.bench.trainers import Stepper, arguments, dataset
from earshot.listener import Listener
from earshot.listener.claims import ClaimListener, LocalChecker
from earshot.listener.evidence import EvidenceListener
from earshot.listener.local import LocalListener
from earshot.listener.policy import PolicyListener
from earshot.train.credit import Credit
from earshot.train.reward import CombinedReward
from earshot.train.run import lora_config
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.vlm import Vlm

BASE: Final = "listener"
ARMS: Final[dict[str, dict[str, Any]]] = {
    BASE: {},
    "self": {},
    "read_agreement": {"read_agreement": 0.5},
    "speaker": {"speaker": 0.5},
    "claims": {"claims": 0.5},
    "claim_credit": {"claims": 0.5, "decoupled": True, "claim_credit": True},
    "all": {"read_agreement": 0.5, "speaker": 0.5, "claims": 0.5, "decoupled": True, "claim_credit": True},
}
"""What is added to a listener that is paid; `self` is the policy in its place."""
AGAINST: Final = [*((arm, BASE) for arm in ARMS if arm != BASE), ("claim_credit", "claims")]
"""What is compared: the last is what crediting costs where the claims are checked already."""


def measure_rewards(shape: Shape, runs: int, on_run: Callable[[], Any] = lambda: None) -> Result:
    """Seconds of a whole step with each of `ARMS`, by turns, and their ratios.

    Args:
        shape: What is measured.
        runs: Steps of each, after one that does not count.
        on_run: Called after each of the (runs + 1) * len(ARMS) steps.

    Raises:
        InputError: The shape has no images, or completions too short for a claim.
    """
    need_images(shape)
    listener, checker = (shape.build(seed=seed).freeze() for seed in (1, 2))
    with tempfile.TemporaryDirectory(prefix="earshot-bench-") as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as `measure.measure_step`
        steppers = {arm: _stepper(arm, shape, listener, checker, out) for arm in ARMS}
        taken = by_turns({arm: one.step for arm, one in steppers.items()}, runs, on_run)
    seconds = {arm: [one["step"] for one in told] for arm, told in taken.items()}
    found = []
    for arm, base in AGAINST:
        ratio = ratio_of(seconds[base], seconds[arm])
        found.append(
            {"arm": arm, "against": base, "ratio": ratio.ratio, "low": ratio.low, "high": ratio.high}
            | {"seconds": ratio.stock, "seconds_against": ratio.ours, "runs": ratio.runs}
        )
    return {"shape": shape.told(), "ratios": found, "machine": machine_of(listener.device)}


def completions(shape: Shape, vlm: Vlm) -> list[list[int]]:
    """Completions of `new_tokens` tokens that claim something in every sentence, for either side by turns.

    Raises:
        InputError: There is no room for a claim.
    """
    tokenizer = vlm.tokenizer

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    rows = []
    for number, words in enumerate(shape.texts(shape.group * shape.groups)):
        begun, told = ids("<think>"), words.split()
        ended = [*ids(f"</think><answer>{1 + number % 2}</answer>"), tokenizer.eos_token_id]
        room = shape.new_tokens - len(begun) - len(ended)
        sentences = [ids(f" image {1 + k % 2} shows a {' '.join(told[k : k + 6])} .") for k in range(len(told) // 2)]
        trace: list[int] = []
        while len(trace) + len(sentences[0]) <= room:
            trace += sentences.pop(0)
        if not trace:
            least = shape.new_tokens - room + len(sentences[0])
            raise InputError(f"bench: new_tokens {shape.new_tokens}, expected at least {least}, for one claim")
        rows.append([*begun, *trace, *ids(" red") * (room - len(trace)), *ended])
    return rows


def _stepper(arm: str, shape: Shape, listener: Vlm, checker: Vlm, out: str) -> Stepper:
    vlm, weights = shape.build(seed=0), ARMS[arm]
    vlm = vlm.asked(vlm.prompts.model_copy(update={"traces": "text"}))
    base: Listener = PolicyListener(LocalListener(vlm)) if arm == "self" else LocalListener(listener)
    checks = ClaimListener((LocalChecker(checker),)) if weights.get("claims") else None
    config = {
        **{"model": {"path": "policy"}, "data": {"train": "pairs"}, "out": out, "rewards": weights},
        **{"listener": {"paths": "listener"}, "claims": {"paths": "checker"} if checks else None},
    }
    reward = CombinedReward(
        GrpoConfig.model_validate(config),
        EvidenceListener(base),
        checks,
        texts=vlm.completions,
        prompts=vlm.prompts,
        on_rollouts=lambda _: None,
    )
    credit: Credit | None = "claims" if weights.get("claim_credit") else None
    trainer = ListenerGrpoTrainer(
        vlm=vlm,
        reward=reward,
        credit=credit,
        args=arguments(shape, vlm, out),
        peft_config=lora_config(trainable(shape.lora)),
        train_dataset=dataset(shape, vlm, shape.pairs(vlm, shape.groups)),
    )
    _hand_over(trainer, completions(shape, vlm))
    return Stepper(trainer, [])


def _hand_over(trainer: Any, rows: Sequence[list[int]]) -> None:
    """Lets a trainer draw completions as it does, and gives it these for them."""
    draw = trainer.rollout_func

    def drawn(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        return {**draw(prompts, trainer), "completion_ids": [*rows]}

    trainer.rollout_func = drawn
