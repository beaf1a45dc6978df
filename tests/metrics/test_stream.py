"""Chunks of predictions add up to what one table of them all says."""

from typing import Any

import numpy as np
import pytest

from earshot.errors import DataError
from earshot.lab.bench.metrics import BLOCK, Population, chunks_of
from earshot.metrics import PredictionTable, summarise
from earshot.metrics.calibration import reliability_bins
from earshot.metrics.stream import MetricStream


def rows(n: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        p, heard, malformed = float(rng.random()), float(rng.random()), bool(rng.random() < 0.1)
        side = None if malformed else "first" if p > 0.5 else "second"
        sample = {
            "order": "forward", "trace": "a b c", "side": side, "p_first": None if malformed else p,
            "verdict": {"first": 1, "second": 2, None: None}[side], "malformed": "no answer" if malformed else None,
            "listener": {} if malformed or i % 5 == 0 else {f"listener{i // (n // 2)}": heard}, "claims": None,
        }  # fmt: skip
        a, b = rng.choice(4, size=2, replace=bool(i % 3))
        made.append(
            {
                "id": f"pair{i}", "prompt_id": f"prompt{rng.integers(0, 12)}", "samples": [sample],
                "p_first": None if malformed else p, "p_first_forward": None if malformed else p,
                "p_first_swapped": float(rng.random()), "votes_first": int(rng.integers(0, 6)),
                "votes_second": int(rng.integers(0, 6)), "first_bytes": int(rng.integers(1, 9)), "second_bytes": 5,
                "model_first": None if i % 7 == 0 else f"g{a}", "model_second": f"g{b}",
            }
        )  # fmt: skip
    return made


def same(found: Any, expected: Any, where: str = "") -> None:
    if isinstance(expected, dict):
        assert set(found) == set(expected), where
        for name in expected:
            same(found[name], expected[name], f"{where}.{name}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=0, abs=1e-12), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_any_chunks_of_rows_give_what_all_rows_give(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earshot.metrics.stream.CHUNK_ROWS", size)
    expected = summarise(PredictionTable.from_rows(rows(200)), listeners=["never"], resamples=100, seed=3)
    stream = MetricStream(listeners=["never"])
    stream.add_rows(iter(rows(200)))
    same(stream.summary(resamples=100, seed=3), expected)
    assert expected["blind.generator_prior"]["n"] > 50  # or there is nothing to get wrong


def test_several_files_are_one_data_set() -> None:
    stream, all_rows = MetricStream(), rows(90)
    stream.add_rows(all_rows[:31])
    stream.add_rows(all_rows[31:])
    same(stream.summary(resamples=50), summarise(PredictionTable.from_rows(all_rows), resamples=50))


def test_arrays_that_are_made_on_the_fly_give_the_same_in_one_chunk_and_in_many() -> None:
    population = Population(pairs=10_000, votes=19, prompts=40, seed=1)
    found = []
    for chunk in (3 * BLOCK, BLOCK):
        stream = MetricStream()
        for table, prompts in chunks_of(population, chunk):
            stream.add(table, prompts)
        found.append(stream.summary(resamples=50))
    same(found[1], found[0])
    assert (found[0]["n_pairs"], found[0]["n_prompts"]) == (10_000, 40)
    assert 0.6 < found[0]["accuracy"]["value"] < 0.9


def test_the_reliability_diagram_streams_too() -> None:
    chunks = list(chunks_of(Population(pairs=9_000, votes=5, prompts=20), BLOCK))
    stream = MetricStream()
    for table, prompts in chunks:
        stream.add(table, prompts)
    p, a, cluster = (np.concatenate([getattr(t, n) for t, _ in chunks]) for n in ("p_first", "votes_first", "cluster"))
    seen = ~np.isnan(p)
    expected = reliability_bins(p[seen], a[seen] / 5, cluster[seen], resamples=40, seed=2)
    for found, bin in zip(stream.reliability(resamples=40, seed=2), expected, strict=True):
        assert found.share.n == bin.share.n
        assert (found.mean_p, found.share.value, found.share.low) == pytest.approx(
            (bin.mean_p, bin.share.value, bin.share.low), abs=1e-12
        )


def test_a_pair_that_comes_twice_in_different_chunks_is_noticed() -> None:
    stream = MetricStream()
    stream.add_rows(rows(5))
    stream.add_rows(rows(1))
    with pytest.raises(DataError, match="a pair's id comes twice"):
        stream.summary(resamples=10)


def test_nothing_added_is_an_error() -> None:
    with pytest.raises(DataError, match="no predictions were added"):
        MetricStream().summary()


def test_names_that_do_not_fit_the_table_are_refused() -> None:
    table = PredictionTable.from_rows(rows(5))
    with pytest.raises(DataError, match="1 names for"):
        MetricStream().add(table, ["only"])


def test_a_bad_row_is_told_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earshot.metrics.stream.CHUNK_ROWS", 4)
    bad = rows(6)
    del bad[5]["prompt_id"]
    with pytest.raises(DataError, match=r"p\.jsonl after row 4:2: KeyError: 'prompt_id'"):
        MetricStream().add_rows(bad, where="p.jsonl")
