"""A series is the same however its rows are kept (tail, segments, merged, restarted), and equals the obvious computation."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Samples, Summaries, Tag
from gateway.config import StoreSection
from gateway.rollup import SAMPLE_DTYPE
from gateway.store import Store
from gateway.tail import Runs
from tests.gateway.edge import SECOND, START, Edge, summarised

KEY = "press-edge-1:a"
TAGS = (Tag(id=0, name="a"), Tag(id=1, name="b", class_="gmp"))
value = st.tuples(st.integers(0, 1), st.integers(0, 7300), st.integers(-50, 50), st.sampled_from([0, 0, 0x40940000, 0x808C0000]))
parts_of_a_run = st.lists(
    st.tuples(st.lists(value, min_size=1, max_size=40, unique_by=lambda r: r[:2]), st.sampled_from(["", "seal", "restart", "tidy"])),
    min_size=1,
    max_size=6,
)


def _open(folder: str) -> Store:
    return Store(Path(folder), gateway="gw1", production=False, settings=StoreSection(compact_files=2), clock=lambda: START)


def _samples(rows: list[tuple[int, int, int, int]]) -> Samples:
    rows = sorted(rows, key=lambda r: r[1])
    return Samples.of([START + r[1] * SECOND for r in rows], [r[0] for r in rows], [float(r[2]) for r in rows], [r[3] for r in rows], START)


@settings(max_examples=20, deadline=None)
@given(parts_of_a_run, st.integers(0, 3600), st.integers(1, 7200), st.sampled_from([1, 2, 7, 30, 500]))
def test_series_is_the_same_however_the_rows_are_kept(
    parts: list[tuple[list[tuple[int, int, int, int]], str]], begin: int, length: int, points: int
) -> None:
    with tempfile.TemporaryDirectory() as cut, tempfile.TemporaryDirectory() as uncut:
        store, whole, edge = _open(cut), _open(uncut), Edge()
        edge.define(TAGS, ())
        seen: set[tuple[int, int]] = set()
        kept: list[tuple[int, int, int, int]] = []
        for rows, then in parts:
            fresh = [r for r in rows if r[:2] not in seen]
            seen |= {r[:2] for r in fresh}
            kept += fresh
            edge.add(_samples(fresh))
            edge.add(Summaries(summarised(_samples(fresh)), START))
            store.apply(store.take([(edge.deliver(), START)]))
            if then in ("seal", "tidy"):
                store._roll()
                store.seal(START)
                store.trim(2**62)
            if then == "tidy":
                store.tidy(START)
            if then == "restart":
                store.close()
                store = _open(cut)
        whole.apply(whole.take([(edge.deliver(), START)]))
        span = (START + begin * SECOND, START + (begin + length) * SECOND)
        found, expected = store.ask.series(KEY, *span, points), whole.ask.series(KEY, *span, points)
        everything = whole.ask.series(KEY, START, START + 7320 * SECOND, points)
        store.close()
        whole.close()
    assert len(found["time_ns"]) <= points
    for name in ("level", "time_ns", "n", "n_bad", "n_uncertain", "worst_status", "min", "max", "first", "last"):
        assert found[name] == expected[name], name  # type: ignore[literal-required]
    for a, b in zip(found["mean"], expected["mean"], strict=True):
        assert a == b or abs(a - b) < 1e-9  # type: ignore[operator]
    mine = [r for r in kept if r[0] == 0]
    good = [r[2] for r in mine if r[3] >> 30 < 2]
    assert sum(everything["n"]) == len(good)
    assert sum(everything["n_bad"]) == len(mine) - len(good)
    assert min((v for v in everything["min"] if v is not None), default=None) == min(good, default=None)
    assert max((v for v in everything["max"] if v is not None), default=None) == max(good, default=None)
    total = sum(n * m for n, m in zip(everything["n"], everything["mean"], strict=True) if m is not None)
    assert abs(total - sum(good)) < 1e-6


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=30), max_size=20), st.integers(0, 50), st.integers(0, 50))
def test_runs_hold_every_row_once(batches: list[list[tuple[int, int]]], low: int, high: int) -> None:
    import gateway.tail

    runs = Runs(SAMPLE_DTYPE, "time_ns")
    everything = []
    pieces, gateway.tail.PIECES = gateway.tail.PIECES, 3  # type: ignore[misc]
    try:
        for batch in batches:
            rows = np.zeros(len(batch), SAMPLE_DTYPE)
            rows["tag"], rows["time_ns"] = [b[0] for b in batch], [b[1] for b in batch]
            runs.add(rows)
            everything += batch
    finally:
        gateway.tail.PIECES = pieces  # type: ignore[misc]
    for tag in range(4):
        found = sorted(t for part in runs.of(tag, low, high) for t in part["time_ns"].tolist())
        assert found == sorted(t for n, t in everything if n == tag and low <= t < high)
    assert runs.all()[["tag", "time_ns"]].tolist() == sorted(everything)
