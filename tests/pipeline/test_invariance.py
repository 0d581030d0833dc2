"""Cutting or joining entries of one time of receipt, or dying between any two, changes nothing, bit for bit (rules 1 and 3)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Connection, Heartbeat, Samples, Texts, pack
from edge_agent.pipeline.chain import Pipeline
from models import BANKS
from tests.pipeline.line import MODELS, T0, S, reborn, run, start, substance

value = st.one_of(st.floats(8, 20), st.sampled_from([float("nan"), 12.0, 17.0, 41.0, -1.0, 1e9]))
cell = st.tuples(st.integers(-30, 3), st.integers(0, 1), value, st.sampled_from([0, 0, 0, 0x40000000, 0x808C0000, 0x42090000]))
batch = st.tuples(st.integers(0, 40), st.lists(cell, max_size=8))
"""Tenths of a second since the last batch; rows of (tenths relative to the time of receipt, tag, value, status)."""


def entries(batches):
    now = T0
    for i, (step, rows) in enumerate(batches):
        now += step * S // 10
        if i == 0:
            yield [Connection(received_ns=now, source="plc", state="connected")]
        if i % 5 == 4:
            yield [Texts((now,), (3,), (("cleaning", "production")[i % 2],), (0,), now)]
        t, k, v, s = zip(*rows, strict=True) if rows else ((), (), (), ())
        yield [Samples.of([now + a * S // 10 for a in t], list(k), list(v), list(s), now)]
    yield [Heartbeat(received_ns=now + 60 * S)]


def cut(samples: Samples, at: int) -> list[Samples]:
    return [samples.take(slice(0, at)), samples.take(slice(at, len(samples)))]


@settings(max_examples=60, deadline=None)
@given(st.lists(batch, min_size=1, max_size=12), st.data())
def test_cuts_of_one_row_and_a_restart_at_every_cut(batches, data):
    whole = Pipeline()
    expected = run(whole, [start(groups=True)]) + run(whole, [e for group in entries(batches) for e in group])
    parts = Pipeline()
    found = run(parts, [start(groups=True)])
    for group in entries(batches):
        for entry in group:
            pieces = [entry.take(slice(i, i + 1)) for i in range(len(entry))] if isinstance(entry, Samples) and len(entry) else [entry]
            for piece in pieces:
                parts = reborn(parts)
                found += parts.step(piece)
    assert substance(found) == substance(expected)
    assert pack(parts.state()) == pack(whole.state())


@settings(max_examples=60, deadline=None)
@given(st.lists(batch, min_size=1, max_size=12), st.integers(0, 8))
def test_one_cut_anywhere(batches, at):
    whole, parts = Pipeline(), Pipeline()
    expected, found = run(whole, [start(groups=True)]), run(parts, [start(groups=True)])
    for group in entries(batches):
        expected += run(whole, group)
        for entry in group:
            found += run(parts, cut(entry, at) if isinstance(entry, Samples) else [entry])
    assert substance(found) == substance(expected)


@pytest.mark.parametrize("kind", sorted(BANKS))
def test_every_registered_model_is_tried(kind):
    assert kind in MODELS, "a new model must be part of the invariance tests"


def test_an_unchanged_plan_taken_up_again_changes_nothing():
    rng = np.random.default_rng(7)
    stream = [Samples.of([T0 + i * S], [i % 2], [float(rng.normal(12, 1))], 0, T0 + i * S) for i in range(1, 80)]
    once, twice = Pipeline(), Pipeline()
    expected = run(once, [start(), *stream[:40], start(T0 + 40 * S), *stream[40:]])
    found = run(twice, [start(), *stream[:40]])
    twice = reborn(twice)
    found += run(twice, [start(T0 + 40 * S), *stream[40:]])
    assert substance(found) == substance(expected)
