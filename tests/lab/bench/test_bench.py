"""What the benchmarks compare does the same on both sides, and what they count is what was done."""

import itertools
import json

import numpy as np
import pytest
import torch

from earshot.cli.main import main
from earshot.errors import EarshotError, InputError
from earshot.lab.bench import measure
from earshot.lab.bench.memory import peak_memory
from earshot.lab.bench.paired import by_turns, in_turns, ratio_of
from earshot.lab.bench.rewards import AGAINST, ARMS, completions, measure_rewards
from earshot.lab.bench.shape import Shape, repeated, shape_of
from earshot.lab.bench.stock import plain_generate, plain_listener
from earshot.lab.bench.vllm import measure_against_vllm
from earshot.lab.bench.work import Work, counted, ideal_ratio
from earshot.listener.local import LocalListener
from earshot.protocol import parse_completion, split_claims
from earshot.train.reward import CombinedReward
from earshot.types import Verdict
from tests.vlm import fake_vllm

SIZES = {"pixels": 56, "new_tokens": 5, "group": 3, "hidden": 64, "layers": 2, "vision_hidden": 32, "vision_layers": 1}
SMALL = Shape(**SIZES)
FAMILIES = ("qwen2_5_vl", "llava")


def small(family: str, **more: object) -> Shape:
    return Shape(**{**SIZES, "family": family, **more})


def test_the_ratio_is_the_median_of_the_pairs_and_not_of_the_sides() -> None:
    # Pairs: 4/1 = 4, 6/3 = 2, 10/2 = 5; the medians of the sides alone would give 6/2 = 3.
    assert ratio_of([1.0, 3.0, 2.0], [4.0, 6.0, 10.0]) == (4.0, 2.0, 5.0, 2.0, 6.0, 3)


def test_both_run_by_turns_and_the_first_pair_does_not_count() -> None:
    order: list[str] = []
    clock = itertools.count()

    def run(side: str) -> dict[str, float]:
        order.append(side)
        return {"part": 100.0 if next(clock) < 2 else {"ours": 1.0, "stock": 3.0}[side], f"only {side}": 1.0}

    ratios = in_turns(lambda: run("ours"), lambda: run("stock"), 2)
    assert order == ["ours", "stock", "stock", "ours", "ours", "stock"]
    assert set(ratios) == {"part"}
    assert ratios["part"] == (3.0, 3.0, 3.0, 1.0, 3.0, 2)


def test_any_number_of_ways_run_by_turns_and_the_first_round_does_not_count() -> None:
    order: list[str] = []
    ways = {name: lambda name=name: (order.append(name), {"part": float(len(order))})[1] for name in "abc"}
    assert by_turns(ways, 2) == {"a": [{"part": 6}, {"part": 7}], "b": [{"part": 5}, {"part": 8}],
                                 "c": [{"part": 4}, {"part": 9}]}  # fmt: skip
    assert "".join(order) == "abccbaabc"


def test_completions_of_which_rewards_are_measured_are_full_of_claims_and_as_long_as_asked_for() -> None:
    shape = small("qwen2_5_vl", new_tokens=64)
    vlm = shape.build()
    rows = completions(shape, vlm)
    assert [len(row) for row in rows] == [64] * 6
    read = [parse_completion(text, vlm.prompts) for text in vlm.completions(rows)]
    assert {one.side for one in read if isinstance(one, Verdict)} == {"first", "second"}
    assert all(isinstance(one, Verdict) and len(split_claims(one.trace)) == 6 for one in read)
    with pytest.raises(InputError, match="new_tokens 5, expected at least 16, for one claim"):
        completions(SMALL, vlm)


@pytest.mark.slow
def test_a_step_is_measured_with_every_part_of_the_reward(monkeypatch: pytest.MonkeyPatch) -> None:
    paid: dict[str, set[str]] = {}
    reward = CombinedReward.__call__

    def noted(self: CombinedReward, **given: object) -> object:
        told = reward(self, **given)  # type: ignore[arg-type]
        assert None not in told and all(one.claims for one in self.paid) == self._config.rewards.claim_credit
        paid.setdefault(self._listener.name, set()).update(name for name, w in self._weights.items() if w)
        return told

    monkeypatch.setattr(CombinedReward, "__call__", noted)
    ticks = itertools.count()
    result = measure_rewards(small("qwen2_5_vl", prompt_tokens=50, new_tokens=32), 1, lambda: next(ticks))
    assert next(ticks) == 2 * len(ARMS)
    assert [(one["arm"], one["against"]) for one in result["ratios"]] == AGAINST
    assert all(one["low"] <= one["ratio"] <= one["high"] and one["seconds"] > 0 for one in result["ratios"])
    assert paid["listener"] == {"format", "accuracy", "listener", "read_agreement", "speaker", "claims"}
    assert paid["self (weights not frozen)"] == {"format", "accuracy", "listener"}


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_have_the_tokens_that_were_asked_for(family: str) -> None:
    shape = small(family, prompt_tokens=50)
    vlm = shape.build()
    inputs = vlm.encode_pairs(shape.pairs(vlm, 2))
    # Two images of 56 × 56 pixels, one token for 28 × 28 of them: 8 tokens.
    assert inputs["attention_mask"].sum(1).tolist() == [58, 58]


def test_a_prompt_shorter_than_its_question_is_refused() -> None:
    with pytest.raises(InputError, match="prompt_tokens 3, expected more than"):
        shape = small("qwen2_5_vl", prompt_tokens=3)
        shape.pairs(shape.build(), 1)


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ("pixels=50", "'pixels' is 50, expected a multiple of 28"),
        ("hidden=100", "'hidden' is 100, expected a multiple of 64"),
        ("group=0", "'group' is 0, expected greater than or equal to 1"),
        ("family=gpt", "'family' is 'gpt', expected 'qwen2_5_vl' or 'llava'"),
        ("dtype=int8", "'dtype' is 'int8', expected"),
        ("layer=2", "unknown key 'layer'; the nearest known key is 'layers'"),
        ("--pixels", "'--pixels': expected key=value, such as pixels=224"),
    ],
)
def test_sizes_that_cannot_be_are_refused_by_name(size: str, problem: str) -> None:
    with pytest.raises(EarshotError) as caught:
        shape_of([size])
    assert problem in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_plain_listener_hears_what_ours_hears(family: str) -> None:
    shape = small(family)
    vlm = shape.build().freeze()
    pairs = repeated(shape.pairs(vlm, 2), 3)
    texts = shape.texts(len(pairs))
    np.testing.assert_allclose(
        plain_listener(vlm, pairs, texts), LocalListener(vlm).p_first(pairs, texts), atol=1e-6, rtol=0
    )


def test_the_plain_completions_are_as_many_and_as_long_as_ours() -> None:
    vlm = SMALL.build().freeze()
    pairs = SMALL.pairs(vlm, 2)
    texts = plain_generate(vlm, pairs, samples=3, new_tokens=5)
    assert len(texts) == 2 * 2 * 3
    assert {len(text.split()) for text in texts} == {5}


@pytest.mark.parametrize("family", FAMILIES)
def test_work_is_what_went_through_the_model(family: str) -> None:
    shape = small(family, prompt_tokens=50)
    vlm = shape.build()
    inputs = vlm.encode_pairs(shape.pairs(vlm, 2))
    trained, frozen = Work(), Work()
    with counted(vlm.model, trained):
        vlm.model(**inputs)
    with counted(vlm.model, frozen), torch.no_grad():
        vlm.model(**inputs)
    assert (trained.images, trained.language_tokens) == (frozen.images, frozen.language_tokens) == (4, 2 * 58)
    assert ideal_ratio(frozen, trained) == 3.0  # a backward pass costs twice the forward pass
    assert ideal_ratio(Work(), trained) is None
    vlm.model(**inputs)
    assert trained.images == 4  # nothing is counted outside


def test_peak_memory_is_the_most_that_was_held_at_once() -> None:
    with peak_memory(torch.device("cpu")) as peak:
        a = torch.zeros(1000, 1000)
        b = a + 1  # 2 × 4 MB are held here
        del a
        c = b * 2  # and here
        del b, c
    assert 8_000_000 <= peak.bytes < 8_010_000


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_measured_in_all_its_parts(family: str) -> None:
    ticks = itertools.count()
    result = measure.measure_step(small(family, prompt_tokens=50), 1, lambda: next(ticks))
    assert next(ticks) == 2 * 1 + 6
    for name in measure.QUANTITIES:
        assert set(result[name]) == {"ratio", "low", "high", "ours", "stock", "runs"}
        assert result[name]["ours"] > 0
    assert result["step"]["ours"] >= result["generate"]["ours"] + result["train_pass"]["ours"]
    work = result["work"]
    # Two pairs, three completions each: stock encodes 2 images for each completion, we encode them for each pair.
    for part, ours in (("generate", 4), ("listener", 4), ("train_pass", 0)):  # which goes on from generation's
        assert (work[part]["ours"]["images"], work[part]["stock"]["images"]) == (ours, 12), part
    # The prompt's last token stands before each completion: 6 × 5 tokens; stock: 6 × (58 + 5).
    assert work["train_pass"]["ours"]["language_tokens"] == 6 * 5
    assert work["train_pass"]["stock"]["language_tokens"] == 6 * 63
    assert result["ideal_ratio"] > 1


def test_no_step_draws_a_pair_twice() -> None:
    work = measure.measure_step(small("qwen2_5_vl", groups=5, group=2), 1)["work"]
    assert work["generate"]["ours"]["images"] == 2 * 5


def test_prompts_without_images_are_measured_too() -> None:
    result = measure.measure_step(small("qwen2_5_vl", pixels=0), 1)
    assert result["listener"] is None
    assert result["step"]["ratio"] > 0
    with pytest.raises(InputError, match="pixels 0, expected at least 28"):
        measure.measure_listener(small("qwen2_5_vl", pixels=0), 1)


@pytest.mark.parametrize(("name", "part"), [("listener", "listener"), ("judge", "generate")])
def test_the_command_prints_one_object(name: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [f"{key}={value}" for key, value in SIZES.items()]
    assert main(["lab", "bench", name, *sizes, "--runs=2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["shape"]["group"] == 3
    assert result[part]["runs"] == 2
    assert result[part]["low"] <= result[part]["ratio"] <= result[part]["high"]
    assert result["step"] is None
    assert result["work"][part]["ideal_ratio"] == result["ideal_ratio"] > 1


def test_the_command_prints_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "bench", "listener", "pixels=56", "hidden=64", "layers=1", "--runs=1"]) == 0
    text = capsys.readouterr().out
    assert "bench listener: pixels 56" in text
    assert "stock / ours" in text
    assert "work of listener: ours 4 images" in text
    assert main(["lab", "bench", "listener", "pixels=57"]) == 2


@pytest.mark.parametrize("name", ["sample", "listener", "judge"])
def test_against_vllm_both_answer_the_same_questions_by_turns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_vllm.install(monkeypatch)
    monkeypatch.setattr("earshot.listener.engine.LEAST_MASS", 0.0)
    shape = Shape(**{**SIZES, "new_tokens": 3, "group": 2, "groups": 2})
    turns: list[None] = []
    result = measure_against_vllm(name, shape, 1, lambda: turns.append(None))
    assert len(turns) == 4  # two of each, the first of which does not count
    assert result["ratio"] == pytest.approx(result["stock"] / result["ours"])
    texts = 2 * 2 * (2 if name == "judge" else 1)
    assert result["tokens_per_s"]["vllm"] == pytest.approx(texts * 3 / result["stock"])
    assert result["pairs_per_s"]["ours"] == pytest.approx(2 / result["ours"])
    assert result["against"] == "0.fake"
