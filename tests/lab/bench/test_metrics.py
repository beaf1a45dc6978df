"""What `earshot lab bench metrics` measures: the set it makes up, and the object it prints."""

import json

import numpy as np
import pytest

from earshot.cli.main import main
from earshot.errors import InputError
from earshot.lab.bench.metrics import BLOCK, Population, chunks_of, measure_metrics, peak_bytes
from earshot.metrics import summarise


def test_the_set_has_the_pairs_votes_and_prompts_that_were_asked_for() -> None:
    chunks = [table for table, _ in chunks_of(Population(pairs=5_000, votes=19, prompts=30), BLOCK)]
    assert [len(t.p_first) for t in chunks] == [BLOCK, 5_000 - BLOCK]
    votes = np.concatenate([t.votes_first + t.votes_second for t in chunks])
    assert (len(votes), set(votes)) == (5_000, {19.0})
    assert len(np.unique(np.concatenate([t.cluster for t in chunks]))) == 30
    assert len(np.unique(np.concatenate([t.pair_hash for t in chunks]))) == 5_000


def test_the_set_is_a_set_that_can_be_evaluated() -> None:
    ((table, prompts),) = chunks_of(Population(pairs=4_000, prompts=30), BLOCK)
    metrics = summarise(table, resamples=50)
    assert len(prompts) == 30
    assert 0.6 < metrics["accuracy"]["value"] < 0.9
    assert 0.4 < metrics["blind.larger_file"]["value"] < 0.6
    assert 0.4 < metrics["first_pick_rate"]["value"] < 0.6
    assert 0 < metrics["malformed_rate"]["value"] < 0.03
    assert metrics["disagreement.kin"]["value"] < metrics["disagreement.far"]["value"]
    missing = {name for name, value in metrics.items() if isinstance(value, dict) and value["value"] is None}
    assert missing == {"blind.larger_picture", "false_claims", "true_claims"}


def test_the_same_seed_gives_the_same_estimates_and_another_gives_others() -> None:
    a, b, c = (measure_metrics(Population(pairs=3_000, seed=seed), resamples=20)["accuracy"] for seed in (1, 1, 2))
    assert a == b
    assert a != c


def test_the_peak_grows_with_what_is_held() -> None:
    before = peak_bytes()
    held = np.ones(2**28 // 8)
    assert held.sum() and peak_bytes() >= before
    assert peak_bytes() >= held.nbytes


def test_the_command_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["lab", "bench", "metrics", "--pairs", "5000", "--votes", "3", "--resamples", "40", "--chunk", "4096"]
    assert main([*arguments, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {name: result[name] for name in ("pairs", "votes", "resamples")} == {
        "pairs": 5_000, "votes": 15_000, "resamples": 40
    }  # fmt: skip
    assert 0 < sum(result["seconds_of"].values()) == pytest.approx(result["seconds"])
    assert result["peak_bytes"] > 2**20
    assert result["estimates"] > 25
    assert result["provenance"]["command"].startswith("earshot lab bench metrics --pairs 5000 --votes 3 --prompts 280")
    assert main(arguments) == 0
    assert "15000 votes on 5000 pairs" in capsys.readouterr().out


def test_impossible_sizes_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="pairs 0, expected at least 1"):
        Population(pairs=0)
    with pytest.raises(InputError, match="chunk 1000, expected a multiple of 4096"):
        next(chunks_of(Population(), 1_000))


def test_a_result_names_no_path_and_no_host() -> None:
    text = json.dumps(measure_metrics(Population(pairs=10), resamples=5))
    import platform
    from pathlib import Path

    assert platform.node() not in text
    assert str(Path.cwd()) not in text
