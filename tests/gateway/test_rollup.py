"""Merging summaries equals computing them from the values directly, in any grouping and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Samples
from gateway.rollup import ROLLUPS, SECOND, WINDOW_DTYPE, as_rollup, merged, ordered, raw_rollup, windows_of
from tests.gateway.edge import START, summarised

rows_of_samples = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 200), st.floats(-1e6, 1e6), st.sampled_from([0, 0x40940000, 0x808C0000])), min_size=1, max_size=120
)


def _samples(rows: list[tuple[int, int, float, int]]) -> Samples:
    rows = sorted(rows, key=lambda r: r[1])
    time = START + np.arange(len(rows)) + np.array([r[1] for r in rows]) * SECOND
    return Samples.of(time, [r[0] for r in rows], [r[2] for r in rows], [r[3] for r in rows])


@settings(max_examples=60, deadline=None)
@given(rows_of_samples, st.randoms(use_true_random=False))
def test_rollups_of_windows_equal_direct_computation(rows: list[tuple[int, int, float, int]], random: object) -> None:
    samples = _samples(rows)
    windows = summarised(samples, 10)
    order = list(range(len(windows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    level = as_rollup(windows_of(windows[order], windows["tag"][order]))
    for length in ROLLUPS:
        level = merged(level, length)
        direct = windows_of(direct_rows := summarised(samples, length // SECOND), direct_rows["tag"])
        direct = ordered(direct, "start_ns")
        assert level["tag"].tolist() == direct["tag"].tolist()
        assert level["start_ns"].tolist() == direct["start_ns"].tolist()
        for name in ("n", "n_good", "n_uncertain", "n_bad", "min", "max", "first", "last", "worst_status"):
            np.testing.assert_array_equal(level[name], direct[name], name)
        np.testing.assert_allclose(level["sum"], direct["sum"], rtol=1e-12, atol=1e-6)
        np.testing.assert_allclose(level["m2"], direct["m2"], rtol=1e-9, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(rows_of_samples)
def test_raw_values_in_buckets_equal_windows(rows: list[tuple[int, int, float, int]]) -> None:
    samples = _samples(rows)
    from gateway.rollup import SAMPLE_DTYPE

    raw = np.zeros(len(samples), SAMPLE_DTYPE)
    raw["tag"], raw["time_ns"], raw["value"], raw["status"] = samples.tag, samples.time_ns, samples.value, samples.status
    found = merged(raw_rollup(raw, False), 10 * SECOND)
    direct = ordered(windows_of(w := summarised(samples, 10), w["tag"]), "start_ns")
    for name in ("tag", "start_ns", "n", "min", "max", "first", "last"):
        np.testing.assert_array_equal(found[name], direct[name], name)
    np.testing.assert_allclose(found["m2"], direct["m2"], rtol=1e-9, atol=1e-3)


def test_supplement_merges_with_its_window() -> None:
    """Late values add to count, sum and extremes of the window that had closed."""
    samples = Samples.of([START, START + SECOND], [0, 0], [1.0, 3.0])
    part1 = summarised(samples)
    late = summarised(Samples.of([START + 2 * SECOND], [0], [8.0]))
    late["part"], late["n_late"], late["n_good"] = 2, 1, 0
    both = np.concatenate((part1, late))
    (row,) = merged(as_rollup(windows_of(both, both["tag"])), 10 * SECOND)
    assert (row["n"], row["n_good"], row["n_late"], row["sum"], row["max"], row["last"]) == (3, 2, 1, 12.0, 8.0, 8.0)
    assert row["m2"] == pytest.approx(((np.array([1, 3, 8]) - 4.0) ** 2).sum())


def test_ordering_of_many_tags_and_times() -> None:
    random = np.random.default_rng(5)
    rows = np.zeros(5000, WINDOW_DTYPE)
    rows["tag"], rows["start_ns"] = random.integers(0, 90_000, 5000), random.integers(0, 50, 5000)
    out = ordered(rows, "start_ns")
    assert out[["tag", "start_ns"]].tolist() == sorted(rows[["tag", "start_ns"]].tolist())
