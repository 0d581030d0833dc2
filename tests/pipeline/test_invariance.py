"""Cutting or joining entries of one time of receipt, or dying between any two, changes nothing, bit for bit (rules 1 and 3)."""

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edge_agent.alarms import AlarmRules
from edge_agent.core import Action, AlarmDefinition, Connection, Heartbeat, OperatorAction, Samples, Texts, UnitMode, pack
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
        if i % 7 == 3:
            wanted = UnitMode(unit="press1", mode=("maintenance", "production")[i % 2], until_ns=now + 25 * S // 10)
            fields = {"user": "li", "role": "engineer", "reason": "x", "alarm": "", "raised_ns": 0, "time_ns": now, "unit_mode": wanted}
            yield [Action(received_ns=now, action=OperatorAction(id=str(i), kind="set_mode", **fields))]
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


TRIP: dict[str, Any] = {"group": "trip", "priority": 2}
DECIDING = (
    AlarmDefinition(name="a", tag="press1/force", kind="limit", limit=16.0, **TRIP),
    AlarmDefinition(name="b", tag="press1/force.robust_z.z", kind="limit", limit=2.0, when_not_first="suppress", **TRIP),
    AlarmDefinition(name="c", tag="press1/speed.ewma.z", kind="limit", limit=2.0, suppressed_by=("press1/force.bad_quality",), **TRIP),
    AlarmDefinition(
        name="d", tag="press1/speed", kind="expression", expression="'press1/speed' > 12 and 'press1/force' < 12", suppress_modes=("cleaning",)
    ),
    AlarmDefinition(name="e", tag="press1/speed", kind="discrete", limit=12.0, suppressed_by=("a",), re_alarm_s=1.0),
    AlarmDefinition(name="press1/force.bad_quality", tag="press1/force", kind="bad_quality"),
    AlarmDefinition(name="press1/speed.stale", tag="press1/speed", kind="stale", group="trip"),
    AlarmDefinition(name="edge/flood", tag="", kind="diagnostic", priority=4, advisory=True),
)
RULES = AlarmRules(flood_start=3, flood_end=2, flood_span_s=3.0)


# Not shrunk: with every model restored at each row that takes longer than it helps.
@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(batch, min_size=1, max_size=12))
def test_alarms_that_decide_about_each_other_are_told_in_the_order_of_the_rows(batches):
    begin = start(alarms=DECIDING, alarm_rules=RULES)
    whole, parts = Pipeline(), Pipeline()
    expected, found = run(whole, [begin]), run(parts, [begin])
    for group in entries(batches):
        expected += run(whole, group)
        for entry in group:
            for piece in [entry.take(slice(i, i + 1)) for i in range(len(entry))] if isinstance(entry, Samples) and len(entry) else [entry]:
                parts = reborn(parts)
                found += parts.step(piece)
    assert substance(found) == substance(expected)
    assert pack(parts.state()) == pack(whole.state())


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
