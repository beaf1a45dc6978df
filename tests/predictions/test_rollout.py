"""What a rollout's parts pay sums to its reward, in the file, on the page and in the report."""

import dataclasses
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earshot.config import RewardConfig
from earshot.files import write_text
from earshot.predictions.rollout import PART_NAMES, Rollout, mean_parts, parts_of, write_rollouts
from earshot.predictions.run import Run
from earshot.report import write_report
from earshot.report.charts import PLANS
from earshot.rewards import combine
from earshot.train.reward import summarise
from earshot.types import Malformed, Verdict
from earshot.view import Library

# The recommended recipe: format 1, accuracy 0.5, listener 0.5, claims 1.
WEIGHTS = {"format": 1.0, "accuracy": 0.5, "listener": 0.5, "claims": 1.0, "speaker": 0.0, "read_agreement": 0.0}
# 1·1 + 0.5·1 + 0.5·0.8 + 1·0.25 = 2.15, and 1·1 + 0.5·0 + 0.5·0.2 + 1·0.75 = 1.85
PAID = [(1.0, 0.8, 0.25, 2.15), (0.0, 0.2, 0.75, 1.85)]


def rollout(accuracy: float, listener: float, claims: float, reward: float, **weights: float | None) -> Rollout:
    return Rollout(
        step=1, pair_id="p", prompt="a", first_file="x", second_file="y", votes_first=3.0, votes_second=1.0,
        completion="<think>red</think>", trace="red", trace_redacted="red", side="first", malformed=None,
        reward=reward, reward_format=1.0, reward_accuracy=accuracy, reward_listener=listener,
        listener_p_first=listener, listener_p_first_no_trace=None, reward_claims=claims, claims=1,
        claims_believed=claims, claims_heard=None, reward_speaker=None, listener_likelihood=None, **weights,
    )  # fmt: skip


@pytest.mark.parametrize("said", ["in the rows", "in the configuration"])
def test_weighted_parts_sum_to_the_reward_on_the_page_and_in_the_report(tmp_path: Path, said: str) -> None:
    weights = {f"weight_{name}": WEIGHTS[name] if said == "in the rows" else None for name in PART_NAMES}
    run = tmp_path / "run"
    rewards = WEIGHTS if said == "in the configuration" else dict.fromkeys(WEIGHTS, 7.0)
    write_text(run / "config.yaml", f"rewards: {rewards}\n".replace("'", ""))
    write_rollouts(run / "rollouts" / "step-000001-rank0.parquet", [rollout(*one, **weights) for one in PAID])

    library = Library([run])
    library.refresh()
    for k, (*_, reward) in enumerate(PAID):
        detail = library.detail("rollouts", k)
        assert detail is not None and detail["reward"] == reward
        assert [part["name"] for part in detail["parts"]] == ["format", "accuracy", "listener", "claims"]
        assert sum(part["paid"] for part in detail["parts"]) == pytest.approx(reward)

    paid = mean_parts([run / "rollouts" / "step-000001-rank0.parquet"], WEIGHTS)
    assert (paid.n, paid.reward) == (2, pytest.approx(2.0))
    assert sum(part.paid or 0.0 for part in paid.parts) == pytest.approx(2.0)
    write_report([run], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    # format 1·1, accuracy 0.5·0.5, listener 0.5·0.5, claims 1·0.5
    for name, cells in {"format": "1.00 1.00 1.00", "accuracy": "0.50 0.50 0.25", "listener": "0.50 0.50 0.25",
                        "claims": "0.50 1.00 0.50"}.items():  # fmt: skip
        assert f'<th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells.split()) in page
    assert "<b>2.00</b>" in page


def test_a_part_that_was_not_asked_for_is_not_shown_and_one_that_is_missing_pays_nothing_known() -> None:
    row = {"reward_format": 1.0, "reward_accuracy": 1.0, "reward_listener": None, "reward_claims": None}
    parts = parts_of(row, {"format": 1.0, "accuracy": 0.5, "listener": 0.5, "claims": 0.0})
    assert [(part.name, part.paid) for part in parts] == [("format", 1.0), ("accuracy", 0.5), ("listener", None)]


PART = st.one_of(st.none(), st.floats(-1, 1))
WEIGHT = st.sampled_from([0.0, 0.5, 1.0, 2.0])


@given(st.tuples(PART, PART, PART, PART, PART), st.fixed_dictionaries(dict.fromkeys(PART_NAMES, WEIGHT)), st.booleans())
def test_whatever_a_completion_is_paid_its_parts_sum_to_it(
    parts: tuple[float | None, ...], weights: dict[str, float], malformed: bool
) -> None:
    accuracy, listener, claims, speaker, agreement = parts
    parsed = Malformed("two answers") if malformed else Verdict("first", "words")
    reward = combine(parsed, accuracy, listener, weights, claims, speaker, agreement)
    told = parts_of({f"reward_{name}": getattr(reward, name) for name in PART_NAMES}, weights)
    paid = [part.paid for part in told]
    if reward.total is None:
        assert None in paid
    else:
        assert None not in paid
        assert math.fsum(p for p in paid if p is not None) == pytest.approx(reward.total)


def test_a_part_that_is_added_once_is_kept_weighed_logged_and_drawn() -> None:
    kept = {field.name for field in dataclasses.fields(Rollout)}
    assert kept >= {f"{what}_{name}" for what in ("reward", "weight") for name in PART_NAMES}
    assert set(RewardConfig.model_fields) >= set(PART_NAMES)
    assert {plan.key for plan in PLANS} >= {f"reward/{name}" for name in PART_NAMES}
    asked_of_all = dataclasses.replace(
        rollout(*PAID[0]), reward_speaker=0.5, listener_likelihood=0.5, reward_read_agreement=1.0
    )
    logged = summarise([asked_of_all])
    assert set(logged) >= {f"reward/{name}" for name in PART_NAMES}


def test_what_was_paid_is_over_all_processes_of_the_last_step(tmp_path: Path) -> None:
    weights = {f"weight_{name}": WEIGHTS[name] for name in PART_NAMES}
    for name, one in (("step-000001-rank0", PAID[0]), ("step-000003-rank0", PAID[0]), ("step-000003-rank1", PAID[1])):
        write_rollouts(tmp_path / "rollouts" / f"{name}.parquet", [rollout(*one, **weights)])
    paid = Run("run", tmp_path).paid
    assert paid is not None and (paid.n, paid.reward) == (2, pytest.approx(2.0))  # (2.15 + 1.85) / 2
