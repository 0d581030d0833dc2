"""A run in passes gives the records and the state that its entries give one by one, bit for bit (rules 3 and 4)."""

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edge_agent.core import Connection, Heartbeat, Run, Samples, Texts, pack
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.passes import Passed
from tests.pipeline.line import T0, S, run, start
from tests.pipeline.test_invariance import DECIDING, RULES

value = st.one_of(st.floats(8, 20), st.sampled_from([12.0, 17.0, 30.0, float("nan"), 41.0]))
tame = st.tuples(st.integers(-5, 0), st.integers(0, 1), value, st.sampled_from([0, 0, 0, 0, 0x40000000, 0x808C0000]))
wild = st.tuples(st.integers(-60, 70), st.integers(0, 1), value, st.sampled_from([0, 0x808C0000]))
gap = st.sampled_from([0, 1, 3, 10, 10, 10, 25, 70, 400])
batch = st.tuples(gap, st.lists(tame, min_size=1, max_size=4)) | st.tuples(gap, st.lists(wild, min_size=1, max_size=3))


def a_run(batches) -> Run:
    ends, received, rows, now = [], [], [], T0
    for step, cells in batches:
        now += step * S // 10
        rows += [(now + a * S // 10, k, v, s) for a, k, v, s in cells]
        ends.append(len(rows))
        received.append(now)
    t, k, v, s = zip(*rows, strict=True)
    return Run(Samples.of(t, k, v, s), np.array(ends, np.int64), np.array(received, np.int64))


def both(begin, whole: Run, passes=None):
    """Records and states of the entries one by one, and in passes."""
    single, together = Pipeline(), Pipeline()
    first = [begin, Connection(received_ns=T0, source="plc", state="connected")]
    expected, found = run(single, first), run(together, first)
    for i in range(len(whole)):
        expected += single.step(whole.entry(i))
    counted = 0
    for part in together.run(whole):
        records = part.records() if isinstance(part, Passed) else part[1]
        counted += isinstance(part, Passed) and len(part.run)
        assert not isinstance(part, Passed) or part.count() == len(records)
        found += records
    middle = pack(single.state()) == pack(together.state())
    last = Heartbeat(received_ns=int(whole.received_ns[-1]) + 60 * S)
    return expected + single.step(last), found + together.step(last), middle and pack(single.state()) == pack(together.state()), counted


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(batch, min_size=1, max_size=40))
def test_passes_are_steps(batches):
    expected, found, same, _ = both(start(groups=True), a_run(batches))
    assert found == expected
    assert same


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(st.lists(batch, min_size=1, max_size=40))
def test_alarms_that_decide_about_each_other(batches):
    expected, found, same, _ = both(start(alarms=DECIDING, alarm_rules=RULES), a_run(batches))
    assert found == expected
    assert same


def plant(step_ns: int, rows: int) -> Run:
    """Two tags side by side, with an excursion and a hole of bad values."""
    rng = np.random.default_rng(3)
    times = T0 + S + np.repeat(np.arange(rows) * step_ns, 2)
    values = 12 + rng.normal(0, 0.3, 2 * rows)
    values[2 * rows // 3 : 2 * rows // 3 + 12] += 6
    status = np.zeros(2 * rows, np.uint32)
    status[rows : rows + 6] = 0x808C0000
    ends = np.arange(2, 2 * rows + 1, 2)
    samples = Samples.of(times, np.tile([0, 1], rows), values, status)
    return Run(samples, ends, times[ends - 1])


@pytest.mark.parametrize("step_ns", [S // 10, S, 2 * S])
def test_rows_that_are_no_more_than_values_pass(step_ns):
    expected, found, same, passed = both(start(groups=True, models=("auto", "ewma", "flatline")), plant(step_ns, 400))
    assert found == expected
    assert same
    assert passed > 380


def test_a_text_between_values_and_a_persons_mode_end_a_pass():
    whole = plant(S, 40)
    pipeline = Pipeline()
    run(pipeline, [start(), Connection(received_ns=T0, source="plc", state="connected")])
    first = list(pipeline.run(whole.part(0, 20)))
    now = int(whole.received_ns[19])
    pipeline.step(Texts((now,), (3,), ("cleaning",), (0,), now))
    second = list(pipeline.run(whole.part(20, 40)))
    assert [len(p.run) for p in first + second if isinstance(p, Passed)] == [20, 20]
