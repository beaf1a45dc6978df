"""What a reward would select among recorded rollouts: by hand, with its controls and its ceiling."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earshot.cli.main import main
from earshot.errors import DataError, InputError
from earshot.files import write_text
from earshot.lab.screen import CONTROLS, gather, screen, weighted
from earshot.predictions.rollout import Rollout, write_rollouts


def row(pair: str, side: str, trace: str, **more: Any) -> dict[str, Any]:
    base = {"step": 1, "pair_id": pair, "prompt": pair, "malformed": None, "votes_first": 3.0, "votes_second": 1.0}
    return base | {"side": side, "trace": trace, "reward": 1.0, "reward_listener": None} | more


def counted(pair: str, trace: str) -> dict[str, int]:
    return {"false": trace.count("lie"), "true": trace.count("fact")}


def test_the_best_of_each_group_is_counted_beside_the_group_s_mean_and_equals_share() -> None:
    rows = [
        row("a", "first", "fact fact", reward_listener=0.9),
        row("a", "second", "lie", reward_listener=0.1),
        row("b", "second", "lie lie", reward_listener=0.6),
        row("b", "first", "fact", reward_listener=0.6),
        row("b", "first", "lie fact", reward_listener=0.2),
    ]
    rollouts = gather(rows, count=counted)
    found = screen(rollouts, {"listener": weighted(rollouts, {"listener": 2.0})})
    assert list(found) == [*CONTROLS, "listener", "best"]
    told = found["listener"]
    assert told.outcomes["right"].value == pytest.approx((1 + 0.5) / 2)
    assert told.changes["right"].value == pytest.approx(0.75 - (1 / 2 + 2 / 3) / 2)
    assert told.outcomes["false claims"].value == pytest.approx((0 + 1) / 2)
    assert told.changes["false claims"].value == pytest.approx(0.5 - (1 / 2 + 1) / 2)
    assert found["best"].outcomes["false claims"].value == 0.0 and found["best"].outcomes["right"].value == 1.0
    assert "reward_listener" not in rollouts.parts and told.outcomes["right"].low is not None


def test_what_cannot_be_compared_is_left_out_and_what_was_not_recorded_is_refused() -> None:
    rows = [
        row("a", "first", "x"),
        row("a", "second", "y"),
        row("a", "first", "z", malformed="no answer"),
        row("tie", "first", "x", votes_second=3.0),
        row("tie", "second", "x", votes_second=3.0),
        row("alone", "first", "x"),
    ]
    rollouts = gather(rows)
    assert (len(rollouts.groups), rollouts.left_out) == (2, 4) and "false claims" not in rollouts.outcomes
    with pytest.raises(InputError, match="no 'listener' is recorded of every rollout, expected some of reward"):
        weighted(rollouts, {"listener": 1.0})
    with pytest.raises(DataError, match="none of 2 rollouts"):
        gather(rows[3:5])


def test_agreement_is_told_of_any_run_with_a_listener_and_of_one_that_reads_anew() -> None:
    sides = [("first", 0.9), ("first", 0.2), ("second", 0.9), ("first", 0.5)]
    rows = [row("a", side, "x", listener_p_first=p) for side, p in sides]
    rollouts = gather(rows, readers={"l": np.array([0.4, 0.9, 0.9, 0.6])})
    assert weighted(rollouts, {"read_agreement": 1.0}).tolist() == [1, 0, 0, 0]
    assert weighted(rollouts, {"l.read_agreement": 0.5}).tolist() == [0, 0.5, 0, 0.5]
    with pytest.raises(InputError, match="no 'read_agreement' is recorded of every rollout"):
        weighted(gather([*rows, row("a", "first", "x", listener_p_first=None)]), {"read_agreement": 1.0})


def test_what_claims_are_told_in_sum_is_against_the_mean_of_their_group() -> None:
    def heard(*believed: float) -> str:
        return json.dumps([["first", "red", False, p] for p in believed])

    rows = [
        row("a", "first", "x", claims_heard=heard(0.9, 0.5)),
        row("a", "first", "x", claims_heard=heard(0.1)),
        row("a", "first", "x", claims_heard=heard()),
        row("b", "first", "x", claims_heard=heard()),
        row("b", "first", "x", claims_heard=heard()),
    ]
    # Of the first group's three the mean is 0.5: 0.4 + 0, −0.4 and nothing.
    assert weighted(gather(rows), {"claim_credit": 1.0}) == pytest.approx([0.4, -0.4, 0, 0, 0])
    with pytest.raises(InputError, match="no 'claim_credit' is recorded of every rollout"):
        weighted(gather([*rows, row("b", "first", "x", claims_heard=None)]), {"claim_credit": 1.0})


def test_rewards_that_know_nothing_change_nothing_and_one_that_does_is_seen() -> None:
    rng = np.random.default_rng(5)
    rows = [
        row(f"p{k // 8}", "first", "lie " * int(rng.integers(4)), reward_listener=float(rng.random()))
        for k in range(1600)
    ]
    truth = np.array([-float(one["trace"].count("lie")) for one in rows])
    rollouts = gather(rows, count=counted, more={"checker": truth}, readers={"checker": truth})
    found = screen(
        rollouts, {"listener": rollouts.parts["listener"], "checker": rollouts.parts["checker"]}, resamples=2000
    )
    for name in (*CONTROLS, "listener"):
        told = found[name].changes["false claims"]
        assert told.low is not None and told.high is not None and told.low - 0.1 < 0 < told.high + 0.1
    assert found["checker"].changes["false claims"].high < -1.0
    assert found["checker"].outcomes["false claims"].value == found["best"].outcomes["false claims"].value


def test_the_command_reads_a_run_and_says_what_it_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write_text(run / "config.yaml", "data: {train: nowhere}\nout: run\n")
    made = [
        Rollout(
            step=k, pair_id="p", prompt="p", first_file="a", second_file="b", votes_first=3.0, votes_second=1.0,
            completion="c", trace="words", trace_redacted="words", side=side, malformed=None, reward=reward,
            reward_format=1.0, reward_accuracy=reward, reward_listener=None, listener_p_first=None,
            listener_p_first_no_trace=None,
        )
        for k in (1, 2) for side, reward in (("first", 1.0), ("second", 0.0))
    ]  # fmt: skip
    for step in (1, 2):
        write_rollouts(run / "rollouts" / f"step-{step:06d}-rank0.parquet", [one for one in made if one.step == step])
    assert main(["lab", "screen", str(run), "--steps", "2-", "--resamples", "10"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"reward +100\.0  \+50\.0", out) and "2 completions in 1 groups; 0 malformed" in out
    assert main(["lab", "screen", str(run), "--reward", "read_agreement"]) == 2
    assert "no 'read_agreement' is recorded" in capsys.readouterr().err
    write_text(run / "config.yaml", "data: {train: nowhere}\nout: run\nclaims: {paths: c, prior_corrected: true}\n")
    assert main(["lab", "screen", str(run), "--reward", "claims=1,claim_credit=1"]) == 2
    assert "claim_credit cannot be told of this run" in capsys.readouterr().err
    assert main(["lab", "screen", str(run), "--reward", "accuracy=x"]) == 2
    assert "expected NAME=WEIGHT" in capsys.readouterr().err
    assert main(["lab", "screen", str(run), "--listener", "world:held-out"]) == 2
    assert "training set is not where its configuration names it" in capsys.readouterr().err
