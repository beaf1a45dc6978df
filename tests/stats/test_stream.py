"""A stream of chunks says what one pass over everything says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earshot.errors import DataError
from earshot.stats import Stream, bootstrap, intraclass_statistic, macro_statistic, mean_statistic

BUILD = {"micro": mean_statistic, "macro": macro_statistic, "icc": intraclass_statistic}


def streamed(values: np.ndarray, clusters: np.ndarray, ends: list[int]) -> Stream:
    stream = Stream()
    for part in np.split(np.arange(len(values)), ends):
        names, local = np.unique(clusters[part], return_inverse=True)
        stream.add({name: build(values[part], local, len(names)) for name, build in BUILD.items()}, names)
    return stream


@given(st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 6)), min_size=1, max_size=40), st.data())
@settings(max_examples=50, deadline=None)
def test_chunks_anywhere_give_the_estimates_of_the_whole(rows: list[tuple[float, int]], data: st.DataObject) -> None:
    values, clusters = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    ends = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    found = streamed(values, clusters, ends).statistics()
    for name, build in BUILD.items():
        whole = build(values, clusters, int(clusters.max()) + 1)
        assert found[name].n == whole.n
        assert np.allclose(found[name].totals, whole.totals, rtol=0, atol=1e-12)


def test_intervals_of_a_stream_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(size=500), rng.integers(0, 37, size=500)
    whole = {name: build(values, clusters, 37) for name, build in BUILD.items()}
    expected = bootstrap(whole, resamples=200, seed=1)
    found = bootstrap(streamed(values, clusters, [100, 101, 350]).statistics(), resamples=200, seed=1)
    for name, e in expected.items():
        assert found[name].n == e.n
        got = (found[name].value, found[name].low, found[name].high)
        assert got == pytest.approx((e.value, e.low, e.high), abs=1e-12)


def test_a_statistic_that_turns_up_late_covers_all_clusters() -> None:
    stream = Stream()
    stream.add({"a": mean_statistic(np.ones(2), np.array([0, 1]), 2)}, np.array([0, 5]))
    stream.add({"b": mean_statistic(np.zeros(1), np.array([0]), 1)}, np.array([2]))
    found = stream.statistics()
    assert [len(found[name].totals) for name in "ab"] == [6, 6]
    assert (found["a"].totals[:, 1].tolist(), found["b"].totals[:, 1].tolist()) == (
        [1, 0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0, 0],
    )


def test_chunks_that_do_not_fit_are_refused() -> None:
    statistic = mean_statistic(np.ones(2), np.array([0, 1]), 2)
    for clusters in ([3, 3], [-1, 0]):
        with pytest.raises(DataError, match="twice or below 0"):
            Stream().add({"a": statistic}, np.array(clusters))
    with pytest.raises(DataError, match="a: totals of 2 clusters in a chunk of 1"):
        Stream().add({"a": statistic}, np.array([0]))
    stream = Stream()
    stream.add({"a": statistic}, np.array([0, 1]))
    with pytest.raises(DataError, match="a: 3 columns of totals after chunks of 2"):
        stream.add({"a": intraclass_statistic(np.ones(2), np.array([0, 1]), 2)}, np.array([0, 1]))
