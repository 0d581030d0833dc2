"""Asynchronous tags brought to common instants, and models of several tags on the line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import AlarmEvent, Samples
from edge_agent.pipeline.align import Aligned, Alignment
from edge_agent.pipeline.chain import Pipeline
from tests.naive.align import aligned
from tests.pipeline.line import FORCE, SPEED, T0, S, run, start

Row = tuple[int, int, float, int, int]
"""Time, tag, value, usable, status."""


def instants(found: Aligned) -> list[tuple[int, tuple[float | None, ...], int]]:
    """Time, value of each tag that is used, status."""
    return [
        (int(t), tuple(float(x) if ok else None for x, ok in zip(v, u, strict=True)), int(s))
        for t, v, u, s in zip(found.time_ns, found.value, found.usable, found.status, strict=True)
    ]


def step(alignment: Alignment, rows: list[Row]) -> list[tuple[int, tuple[float | None, ...], int]]:
    t, k, v, u, s = zip(*rows, strict=True) if rows else ((),) * 5
    columns = (np.array(t, np.int64), np.array(k, np.int32), np.array(v, np.float64), np.array(u, np.uint8), np.array(s, np.uint32))
    found = alignment.step(*columns)
    assert ((found.row >= 0) & (found.row < max(len(rows), 1))).all()
    return instants(found)


def alignment(step_ns: int = 0, hold_ns: int = 0) -> Alignment:
    return Alignment(np.array([0, -1, 1, 2], np.int32), 3, step_ns, hold_ns)


def test_values_of_one_source_time_belong_together() -> None:
    rows = [(10, 0, 1.0, 1, 0), (10, 2, 2.0, 1, 0), (10, 1, 9.0, 1, 0), (10, 3, 3.0, 1, 0x40000000)]
    assert step(alignment(), rows) == [(10, (1.0, 2.0, 3.0), 0x40000000)]


def test_an_incomplete_instant_goes_out_when_a_later_one_begins() -> None:
    a = alignment()
    assert step(a, [(10, 0, 1.0, 1, 0), (10, 3, 3.0, 0, 0x80000000)]) == []
    assert step(a, [(20, 0, 1.5, 1, 0)]) == [(10, (1.0, None, None), 0)]
    assert step(a, [(10, 2, 2.0, 1, 0)]) == []
    assert a.passed == 1


def test_last_values_on_a_grid_until_they_are_too_old() -> None:
    a = alignment(10, 25)
    rows = [(8, 0, 1.0, 1, 0), (9, 2, 2.0, 1, 0), (12, 0, 1.2, 1, 0), (21, 3, 3.0, 1, 0), (41, 3, 3.5, 1, 0)]
    assert step(a, rows) == [
        (10, (1.0, 2.0, None), 0),
        (20, (1.2, 2.0, None), 0),
        (30, (1.2, 2.0, 3.0), 0),
        (40, (None, None, 3.0), 0),
    ]


def test_a_long_silence_makes_no_instants() -> None:
    a = alignment(10, 30)
    step(a, [(1, 0, 1.0, 1, 0), (2, 2, 1.0, 1, 0), (3, 3, 1.0, 1, 0)])
    found = step(a, [(10_000_001, 0, 2.0, 1, 0), (10_000_012, 2, 1.0, 1, 0)])
    assert [t for t, *_ in found] == [10, 20, 30, 10_000_010]


row = st.tuples(st.integers(0, 60), st.integers(0, 3), st.sampled_from([1.0, 2.0, float("nan")]), st.sampled_from([1, 1, 0]), st.sampled_from([0, 1]))


@pytest.mark.parametrize(("step_ns", "hold_ns"), [(0, 0), (10, 25), (3, 0)])
@given(rows=st.lists(row, max_size=40), wobble=st.integers(0, 20), data=st.data())
@settings(max_examples=100)
def test_equals_its_naive_twin_however_it_is_cut(step_ns: int, hold_ns: int, rows: list[Row], wobble: int, data: st.DataObject) -> None:
    rows = [(t + i * wobble // 4, *rest) for i, (t, *rest) in enumerate(rows)]
    whole = alignment(step_ns, hold_ns)
    expected = aligned([r for r in rows if r[1] != 1], {0: 0, 2: 1, 3: 2}, step_ns, hold_ns)
    found = step(whole, rows)
    assert repr(found) == repr(expected)
    parts, pieces = alignment(step_ns, hold_ns), []
    for i, one in enumerate(rows):
        if i == data.draw(st.integers(0, 40)):
            reborn = alignment(step_ns, hold_ns)
            reborn.restore(parts.state())
            parts = reborn
        pieces += step(parts, [one])
    assert repr(pieces) == repr(found)


def test_a_finding_of_two_tags_names_their_shares() -> None:
    rng = np.random.default_rng(1)
    line = Pipeline()
    run(line, [start(groups=True)])
    events: list[AlarmEvent] = []
    for i in range(1, 40):
        common = float(rng.normal())
        force, speed = 12 + common + 0.05 * float(rng.normal()), 30 + common + 0.05 * float(rng.normal())
        if i > 30:
            speed += 3
        now = T0 + i * S // 2
        records = line.step(Samples.of([now, now], [FORCE, SPEED], [force, speed], 0, now))
        events += [r for r in records if isinstance(r, AlarmEvent) and r.alarm == "press1/spe" and r.event == "raise" and i > 30]
    assert events
    told = events[0].contributions
    assert {"press1/force", "press1/speed", "off"} == set(told)
    assert abs(told["press1/force"]) + abs(told["press1/speed"]) == pytest.approx(1)
    assert told["press1/speed"] > 0 > told["press1/force"]
