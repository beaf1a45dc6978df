"""Every kind of credit has the gradients of a plain reference: whole rows through stock transformers, and loops.

Nothing of the reference is ours but the models' files: texts are written out, what is read of them is said beside them,
and rewards, advantages and the loss are summed token by token.
"""

from pathlib import Path
from statistics import fmean, variance
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console
from tokenizers import AddedToken

from earshot.config import GrpoConfig
from earshot.data.pairset import PairSet
from earshot.rundir import RunDir
from earshot.train import drawing
from earshot.train.grpo import train_grpo
from earshot.train.trainer import ListenerGrpoTrainer
from earshot.types import Pair
from earshot.vlm import Vlm, load

STRADDLES = (" yes , right", "no but")  # pieces of two claims, and of a claim and what is none
GROUP = 4


class Written(NamedTuple):
    """A completion, and what there is to read in it.

    Attributes:
        text: As it is sampled.
        side: Of its verdict; empty where it is malformed.
        heard: The trace as a listener reads it; empty where it claims nothing.
        claims: Image, question, whether it is denied, and the words with which it is made, of each in order.
    """

    text: str
    side: str
    heard: str
    claims: list[tuple[str, str, bool, str]]


ONE = "first : left large red circle yes , right small blue star no but green , dark ."
TWO = "second : left large red circle yes . second : left large red circle yes , clean ."
THREE = "first : pale . second : left blue , right small red star yes , pale ."
COMPLETIONS = [
    Written(
        f"<think> {ONE} so first better </think><answer>1</answer>",
        "first",
        ONE,
        [
            ("first", "left large red circle", False, "left large red circle yes"),
            ("first", "right small blue star", True, "right small blue star no"),
            ("first", "right green", False, "green"),
            ("first", "dark", False, "dark"),
        ],
    ),
    Written(
        f"<think> {TWO} </think><answer>2</answer>",
        "second",
        TWO,
        [
            ("second", "left large red circle", False, "left large red circle yes"),  # made twice, paid once
            ("second", "clean", False, "clean"),
        ],
    ),
    Written("<think> hm </think><answer>1</answer>", "first", "", []),
    Written("<think> first : dark . </think> <answer>", "", "", []),
    Written(
        f"<think> {THREE} </think><answer>2</answer>",
        "second",
        THREE,
        [
            ("first", "pale", False, "pale"),
            ("second", "left blue", False, "left blue"),
            ("second", "right small red star", False, "right small red star yes"),
            ("second", "pale", False, " pale ."),  # the second one
        ],
    ),
    Written(f"<think> {ONE} </think><answer>2</answer>", "second", ONE, []),
    Written(f"<think> {TWO} so 2 is better </think><answer>1</answer>", "first", TWO, []),
    Written("<answer>1</answer>", "", "", []),
]
COMPLETIONS[5] = COMPLETIONS[5]._replace(claims=COMPLETIONS[0].claims)
COMPLETIONS[6] = COMPLETIONS[6]._replace(claims=COMPLETIONS[1].claims)
OFF = {"format": 0.0, "accuracy": 0.0, "listener": 0.0}
ARMS: dict[str, dict[str, Any]] = {
    "listener": {},
    "speaker": OFF | {"speaker": 1.0, "speaker_at_least": 3},
    "self": {"speaker": 0.5},
    "agreement": OFF | {"read_agreement": 1.0},
    "claims": OFF | {"claims": 1.0},
    "reward to go": {"speaker": 0.5, "claims": 0.5, "read_agreement": 0.5, "reward_to_go": True},
    "decoupled": {"speaker": 0.5, "claims": 0.5, "read_agreement": 0.5, "decoupled": True},
    "claim credit": OFF | {"accuracy": 1.0, "claims": 1.0, "decoupled": True, "claim_credit": True},
    "claim credit and the rest": {
        **{"speaker": 0.5, "claims": 2.0, "read_agreement": 0.5},
        **{"decoupled": True, "claim_credit": True},
    },
}


class Models(NamedTuple):
    """Folders of the policy, the listener and the checker."""

    policy: Path
    listener: Path
    checker: Path


@pytest.fixture(scope="module")
def cast(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A policy whose tokenizer has pieces that straddle claims, a listener that cuts words otherwise, and a checker."""
    policy = load(models / "qwen2_5_vl", device="cpu")
    policy.tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in STRADDLES])
    policy.model.resize_token_embeddings(len(policy.tokenizer), mean_resizing=False)
    folder = tmp_path_factory.mktemp("policy") / "model"
    policy.save(folder)
    return Models(folder, models / "llava", models / "qwen2_5_vl")


# The others are parts of these.
QUICK = ("speaker", "decoupled", "claim credit and the rest")


@pytest.mark.parametrize(
    "arm", [arm if arm in QUICK else pytest.param(arm, marks=pytest.mark.slow, id=arm) for arm in ARMS]
)
def test_credit_has_the_gradients_of_loops_over_tokens(
    arm: str, cast: Models, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, shown = one_step(arm, cast, pairs, tmp_path / "run", monkeypatch)
    wanted = reference(arm, cast, shown)
    assert ours.keys() == wanted.keys()
    size = torch.stack([g.norm() for g in wanted.values()]).norm()
    apart = torch.stack([(ours[name] - wanted[name]).norm() for name in wanted]).norm()
    assert size > 1e-3 and apart / size <= 1e-5


def one_step(
    arm: str, cast: Models, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, torch.Tensor], list[Pair]]:
    """The gradients of one step of ours on the completions above, and the pair that each was sampled for."""
    policy = load(cast.policy, device="cpu")
    end = policy.tokenizer.eos_token_id
    ids = [[*policy.tokenizer(one.text, add_special_tokens=False)["input_ids"], end] for one in COMPLETIONS]
    monkeypatch.setattr(drawing, "sample", lambda model, prefix, owners, *_: [ids[k] for k in range(len(owners))])
    gradients: dict[str, torch.Tensor] = {}
    step = ListenerGrpoTrainer.training_step

    def noting(self: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        loss = step(self, model, *args, **kwargs)
        gradients.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        return loss

    monkeypatch.setattr(ListenerGrpoTrainer, "training_step", noting)
    config: dict[str, Any] = {
        "model": {"path": str(cast.policy), "device": "cpu"},
        "data": {"train": str(data)},
        "listener": {"paths": "self" if arm == "self" else str(cast.listener)},
        "claims": {"paths": str(cast.checker)},
        "rewards": ARMS[arm],
        "out": str(out),
        "trl": {"max_steps": 1, "per_device_train_batch_size": 2 * GROUP, "num_generations": GROUP,
                "max_completion_length": 64},
    }  # fmt: skip
    run = RunDir(train_grpo(GrpoConfig.model_validate(config), console=Console(quiet=True)))
    rows = pq.read_table(run.rollouts).to_pylist()
    assert [row["completion"] for row in rows] == [one.text for one in COMPLETIONS]
    known = {pair.id: pair for pair in PairSet(data)}
    return gradients, [known[row["pair_id"]] for row in rows]


def reference(arm: str, cast: Models, shown: list[Pair]) -> dict[str, torch.Tensor]:
    """The gradients of the same step, by hand."""
    rewards = {"format": 1.0, "accuracy": 0.5, "listener": 0.5, "claims": 0.0, "speaker": 0.0, "read_agreement": 0.0}
    rewards |= ARMS[arm]
    policy, listener, checker = (load(folder, device="cpu") for folder in cast)
    listener = policy if arm == "self" else listener
    parts, beliefs = [], []
    for one, pair in zip(COMPLETIONS, shown, strict=True):
        label = "first" if pair.votes.first > pair.votes.second else "second"
        beliefs.append([believed(checker, pair, claim) for claim in one.claims])
        if not one.side:
            parts.append(dict.fromkeys(("format", "accuracy", "listener", "claims", "speaker", "read_agreement"), 0.0))
            continue
        p_first, likelihood = listened(listener, pair, one.heard)
        p_label = p_first if label == "first" else 1 - p_first
        told = likelihood * min(1.0, len(one.claims) / rewards.get("speaker_at_least", 1))
        parts.append(
            {
                "format": 1.0,
                "accuracy": 1.0 if one.side == label else 0.0,
                "listener": p_label,
                "claims": fmean(beliefs[-1]) if one.claims else 0.0,
                "speaker": told if one.claims else 0.0,
                "read_agreement": 1.0 if one.side == label and p_label > 0.5 else 0.0,
            }
        )
    loss = torch.tensor(0.0)
    for row, (one, pair) in enumerate(zip(COMPLETIONS, shown, strict=True)):
        group = range(row // GROUP * GROUP, row // GROUP * GROUP + GROUP)
        logps, ids = spoken(policy, pair, one.text)
        told = advantages(policy, rewards, one, ids, row, group, parts, beliefs)
        for logp, advantage in zip(logps, told, strict=True):
            loss = loss - advantage * logp / len(ids) / len(COMPLETIONS)
    policy.model.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


def advantages(
    policy: Vlm,
    rewards: dict[str, Any],
    one: Written,
    ids: list[int],
    row: int,
    group: range,
    parts: list[dict[str, float]],
    beliefs: list[list[float]],
) -> list[float]:
    """What each token of a completion is told."""

    def paid(k: int, *names: str) -> float:
        return sum(rewards[name] * parts[k][name] for name in names)

    def advantage(*names: str) -> float:
        sums = [paid(k, *names) for k in group]
        return (paid(row, *names) - fmean(sums)) / (variance(sums) ** 0.5 + 1e-4)

    after = advantage("format", "accuracy", "read_agreement")
    whole = advantage("format", "accuracy", "listener", "claims", "speaker", "read_agreement")
    trace, each = whole, [0.0] * len(one.claims)
    if rewards.get("claim_credit"):
        others = ("listener", "speaker", "read_agreement")
        sums = [paid(k, *others) for k in group]
        worth = [rewards["claims"] * p for k in group for p in beliefs[k]]
        scale = (variance(sums) + variance(worth)) ** 0.5 + 1e-4
        trace = (paid(row, *others) - fmean(sums)) / scale
        each = [(rewards["claims"] * p - fmean(worth)) / scale for p in beliefs[row]]
    elif rewards.get("decoupled"):
        trace = advantage("listener", "claims", "speaker", "read_agreement")
    elif not rewards.get("reward_to_go"):
        after = whole
    # Every piece is plain letters here, so that pieces decoded alone make up the text.
    told, begin = [], 0
    for token in ids:
        piece = policy.tokenizer.decode([token])
        end = begin + len(piece)
        in_answer = "</think>" in one.text and begin >= one.text.index("</think>") + len("</think>")
        value = after if in_answer else trace
        of = []
        for (_, _, _, words), share in zip(one.claims, each, strict=True):
            start = one.text.index(words) if words != " pale ." else one.text.rindex(words)
            words_end = start + len(words.rstrip(" ."))
            start += len(words) - len(words.lstrip())
            if end > start and begin < words_end:
                of.append(share)
        told.append(value + (fmean(of) if of and not in_answer else 0.0))
        begin = end
    return told


def question(vlm: Vlm, pictures: int, words: str) -> str:
    content = [{"type": "image"}] * pictures + [{"type": "text", "text": words}]
    text: str = vlm.processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    return text


def read(vlm: Vlm, text: str, pictures: list[Any]) -> tuple[torch.Tensor, list[int]]:
    """Log-probabilities after every token of a text, by one plain row, and the tokens."""
    images = [Image.open(one).convert("RGB") for one in pictures]
    inputs = vlm.processor(text=[text], images=[images], add_special_tokens=False, return_tensors="pt")
    return vlm.model.eval()(**inputs).logits[0].log_softmax(-1), inputs["input_ids"][0].tolist()


def spoken(vlm: Vlm, pair: Pair, text: str) -> tuple[list[torch.Tensor], list[int]]:
    """The log-probability of each token of a completion, with the one that ends it."""
    asked = question(vlm, 2, f"prompt : {pair.prompt} . which better ?")
    length = len(vlm.tokenizer(text, add_special_tokens=False)["input_ids"]) + 1
    logps, ids = read(vlm, asked + text + vlm.tokenizer.eos_token, [pair.first, pair.second])
    places = range(len(ids) - length, len(ids))
    return [logps[k - 1, ids[k]] for k in places], [ids[k] for k in places]


def listened(vlm: Vlm, pair: Pair, trace: str) -> tuple[float, float]:
    """The probability of the first image after a trace, and the geometric mean of those of the trace's own tokens."""
    asked = question(vlm, 2, f"prompt : {pair.prompt} . which better ?")
    block = f"<think> {trace} </think>" if trace else "<think></think>"
    with torch.no_grad():
        logps, ids = read(vlm, f"{asked}{block}<answer>", [pair.first, pair.second])
    one, two = (float(logps[-1, vlm.tokenizer.convert_tokens_to_ids(answer)].exp()) for answer in ("1", "2"))
    said, begin = [], -len("<think> ")
    opened = len(ids) - len(vlm.tokenizer(f"{block}<answer>", add_special_tokens=False)["input_ids"])
    for k in range(opened, len(ids)):
        end = begin + len(vlm.tokenizer.decode([ids[k]]))
        if end > 0 and begin < len(trace):
            said.append(float(logps[k - 1, ids[k]]))
        begin = end
    return one / (one + two), float(torch.tensor(fmean(said) if said else 0.0, dtype=torch.float64).exp())


def believed(vlm: Vlm, pair: Pair, claim: tuple[str, str, bool, str]) -> float:
    """How far a checker believes a claim, in the trace's sense."""
    image, words, denied, _ = claim
    with torch.no_grad():
        logps, _ = read(vlm, question(vlm, 1, f"{words} ?"), [pair.first if image == "first" else pair.second])
    yes, no = (float(logps[-1, vlm.tokenizer(word, add_special_tokens=False)["input_ids"][0]].exp()) for word in
               (" yes", " no"))  # fmt: skip
    return (no if denied else yes) / (yes + no)
