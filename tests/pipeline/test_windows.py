"""Windows count everything once, close by the watermark, and take late values into supplements."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Samples, pack, unpack
from edge_agent.pipeline.quality import FATES, REMEMBERED, RING, Screen
from edge_agent.pipeline.windows import Windows
from tests.naive.pipeline import NaiveScreen, summary

LENGTH, LATE = 10, 3
row = st.tuples(st.integers(0, 60), st.integers(0, 2), st.floats(-1e6, 1e6) | st.just(float("nan")), st.sampled_from([0, 0x40000000, 0x808C0000]))


def pair(tags: int = 3) -> tuple[Screen, Windows]:
    group = np.zeros(tags, np.int32)
    s = Screen(np.full(tags, -np.inf), np.full(tags, np.inf), group, simulated=False, skew_ns=1000)
    return s, Windows(LENGTH, group, np.array([LATE]), np.ones(tags, np.int32))


def feed(s: Screen, w: Windows, rows: list[tuple[int, int, float, int]], received: int) -> None:
    columns = list(zip(*rows, strict=True)) or [[], [], [], []]
    w.step(s.step(Samples.of(list(columns[0]), list(columns[1]), list(columns[2]), list(columns[3]), received), w.closed_ns))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(row, max_size=12), max_size=6), st.lists(st.integers(0, 25), min_size=6, max_size=6))
def test_equals_the_naive_twin(batches, steps):
    s, w = pair()
    naive = NaiveScreen([-np.inf] * 3, [np.inf] * 3, False, [1000] * 3)
    groups: dict[tuple[int, int, bool], list[tuple[int, float, int, str]]] = defaultdict(list)
    base = closed = 0
    for batch, step in zip(batches, steps, strict=False):
        for t, k, v, x in batch:
            fate, marked = naive.step(t, k, v, x, 60, closed, RING, REMEMBERED)
            start = t - t % LENGTH
            groups[k, start, start < closed].append((t, v, marked, fate))
        feed(s, w, batch, 60)
        base += step
        boundary = base - LATE
        closed = max(closed, boundary - boundary % LENGTH)
        w.advance(base)
        # No rows are taken out here: what is compared are the counts and moments of whole groups.
    rows = w.flush()
    found = {(int(r["tag"]), int(r["start_ns"]), int(r["part"]) > 1): r for r in rows}
    assert set(found) == set(groups)
    for key, values in groups.items():
        for name, value in summary(values).items():
            # Welford and fsum differ by rounding of the largest values only.
            assert found[key][name] == pytest.approx(value, rel=1e-9, abs=1e-3 if name == "m2" else 1e-6, nan_ok=True), (key, name)


def test_a_window_closes_when_the_watermark_has_passed_it_and_late_values_make_parts():
    s, w = pair()
    feed(s, w, [(1, 0, 5.0, 0), (2, 0, 7.0, 0)], 2)
    w.advance(LENGTH + LATE - 1)
    assert len(w.close(100)) == 0
    w.advance(LENGTH + LATE)
    (first,) = w.close(100)
    assert (first["part"], first["n_good"], first["sum"], first["m2"]) == (1, 2, 12.0, 2.0)
    for part, value in ((2, 9.0), (3, 1.0)):
        feed(s, w, [(3 + part, 0, value, 0)], 20)
        (late,) = w.close(1_000_000_000)
        assert (late["part"], late["n_good"], late["n_late"], late["sum"], late["start_ns"]) == (part, 0, 1, value, 0)


def test_supplements_wait_for_the_full_second():
    s, w = pair()
    w.advance(100)
    feed(s, w, [(5, 0, 1.0, 0)], 100)
    assert len(w.close(1_500_000_000)) == 0
    assert w.supplement_due_ns(1_500_000_000) == 2_000_000_000
    assert len(w.close(2_000_000_000)) == 1


def test_variance_survives_a_huge_offset():
    s, w = pair()
    values = 1e9 + np.random.default_rng(4).standard_normal(1000)
    feed(s, w, [(i % 10, 0, float(v), 0) for i, v in enumerate(values)], 10)
    (r,) = w.flush()
    assert r["m2"] == pytest.approx(float(((values - values.mean()) ** 2).sum()), rel=1e-6)


def test_state_comes_back_bit_for_bit():
    s, w = pair()
    feed(s, w, [(t, t % 3, t / 7, 0) for t in range(30)], 30)
    s2, w2 = pair()
    w2.restore(unpack(pack(w.state())))
    s2.restore(unpack(pack(s.state())))
    for a, b in ((s, w), (s2, w2)):
        feed(a, b, [(t, t % 3, t / 3, 0) for t in range(25, 40)], 40)
    assert w.flush().tobytes() == w2.flush().tobytes()
    assert np.array_equal(s.totals, s2.totals)


def test_every_fate_has_its_column():
    assert FATES == ("good", "uncertain", "bad", "late", "rejected", "duplicate")
