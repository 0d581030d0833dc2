from dataclasses import replace

import msgspec
import numpy as np
import pytest

from edge_agent.core import AlarmDefinition, AlarmEvent, Block, Connection, Samples, Start, Tag, pack, unpack
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.plan import PipelinePlan, SourcePlan
from edge_agent.pipeline.sensors import NOT_GOOD, OTHER_AXIS, OUTPUTS, SensorPlan
from models.spectra import pls
from models.spectra.sensor import DARK, pls_arrays
from models.spectra.treatment import SavitzkyGolay, Treatment
from tests.models.spectra.lamp import AXIS, spectra
from tests.pipeline.line import T0, S, reborn


@pytest.fixture(scope="module")
def learned():
    X, y = spectra(60, 1)
    chain = Treatment((SavitzkyGolay(width=7, derivative=1),), AXIS)
    return pack(pls_arrays(chain, pls.fit(chain.apply(X)[0], y, 5), X, y, 0.03, saturation=3.0))


def start(learned):
    names = tuple(f"blend/api.{o}" for o in OUTPUTS)
    tags = (
        Tag(id=0, name="blend/nir", kind="block", class_="gmp"),
        *(Tag(id=i, name=n, derived_from=("blend/nir",)) for i, n in enumerate(names, 1)),
    )
    alarms = (AlarmDefinition(name="api high", tag=names[0], kind="limit", side="high", limit=0.9),)
    plan = PipelinePlan(
        sources=(SourcePlan("nir"),), tag_source={"blend/nir": "nir"}, sensors=(SensorPlan("blend/api", "blend/nir", names, "f" * 64, learned),)
    )
    return Start(received_ns=T0, edge="e1", config=msgspec.to_builtins(plan), config_hash="c", tags=tags, alarms=alarms)


def block(rows, second, status=None, axis=AXIS):
    n = len(rows)
    times = T0 + (second + np.arange(n)) * S
    return Block(0, times, np.ascontiguousarray(rows), np.zeros(n, np.uint32) if status is None else status, axis, "nm", "AU", T0 + (second + n) * S)


def told(records):
    return {
        (int(t - T0) // S, OUTPUTS[k - 1]): (v, s)
        for r in records if isinstance(r, Samples)
        for t, k, v, s in zip(r.time_ns.tolist(), r.tag.tolist(), r.value.tolist(), r.status.tolist(), strict=True)
    }  # fmt: skip


def test_a_spectrum_becomes_values_that_are_alarmed_like_any_other(learned):
    pipeline = Pipeline()
    pipeline.step(start(learned))
    rows, truth = spectra(20, 2)
    high = int(np.argmax(truth))
    one = block(rows[[high]], 10)
    records = pipeline.step(one)
    assert records[0] == one
    values = told(records)
    assert values[10, "value"][0] == pytest.approx(truth[high], abs=0.08)
    assert values[10, "low"][0] < values[10, "value"][0] < values[10, "high"][0]
    assert values[10, "valid"] == (1.0, 0)
    assert [e.alarm for e in records if isinstance(e, AlarmEvent)] == ["api high"]


def test_an_invalid_spectrum_is_bad_or_uncertain_and_raises_nothing(learned):
    pipeline = Pipeline()
    pipeline.step(start(learned))
    rows, _ = spectra(2, 3)
    rows[0, 3] = np.nan
    rows[1, 20] = 3.2
    records = pipeline.step(block(rows, 10))
    values = told(records)
    assert values[10, "value"][1] >= 0x80000000
    assert values[10, "valid"] == (0.0, 0)
    assert int(values[10, "why"][0]) & DARK
    assert not int(values[11, "why"][0]) & DARK
    assert values[11, "valid"] == (0.0, 0)
    assert 0x40000000 <= values[11, "value"][1] < 0x80000000
    rows, truth = spectra(1, 6)
    turned = told(pipeline.step(block(rows[:, ::-1], 18, axis=np.ascontiguousarray(AXIS[::-1]))))
    assert turned[18, "value"][0] == pytest.approx(truth[0], abs=0.08)
    other = told(pipeline.step(block(spectra(1, 4)[0], 20, axis=AXIS + 1.0)))
    assert other[20, "value"][1] >= 0x80000000
    assert other[20, "why"][0] == DARK | OTHER_AXIS
    bad = told(pipeline.step(block(spectra(1, 4)[0], 21, status=np.array([0x808C0000], np.uint32))))
    assert bad[21, "value"][1] >= 0x80000000
    assert int(bad[21, "why"][0]) & (DARK | NOT_GOOD | OTHER_AXIS) == DARK | NOT_GOOD
    assert not [e for e in records if isinstance(e, AlarmEvent)]


def test_cuts_of_a_block_and_a_restart_change_no_value(learned):
    rows, _ = spectra(6, 5)
    whole, parted = Pipeline(), Pipeline()
    whole.step(start(learned))
    parted.step(start(learned))
    received = T0 + 20 * S
    together = told(whole.step(block(rows, 10).received(received)))
    pieces = {}
    for i in range(6):
        pieces |= told(parted.step(block(rows[i : i + 1], 10 + i).received(received)))
        again = Pipeline()
        again.restore(unpack(pack(parted.state())))
        parted = again
    assert pieces == together


def test_an_instrument_that_sends_one_spectrum_again_and_again_is_stale(learned):
    first = start(learned)
    nir = msgspec.structs.replace(first.tags[0], expected_s=1.0)
    pipeline = Pipeline()
    stuck = block(spectra(1, 2)[0], 10)
    silent = AlarmDefinition(name="blend/nir.stale", tag="blend/nir", kind="stale")
    pipeline.step(msgspec.structs.replace(first, tags=(nir, *first.tags[1:]), alarms=(silent,)))
    pipeline.step(Connection(received_ns=T0 + 10 * S, source="nir", state="connected"))
    records = []
    for second in range(11, 60):
        records += pipeline.step(replace(stuck, received_ns=T0 + second * S))
    found = [(e.alarm, e.event) for e in records if isinstance(e, AlarmEvent)]
    assert found == [("blend/nir.stale", "raise")]


def test_a_spectrum_that_is_delivered_again_is_removed_and_counted(learned):
    rows, _ = spectra(6, 4)
    pipeline = Pipeline()
    pipeline.step(start(learned))
    first = pipeline.step(block(rows[:3], 10))
    assert len(told(first)) > 0
    assert [r for r in pipeline.step(block(rows[:3], 10)) if isinstance(r, Block | Samples)] == []
    pipeline = reborn(pipeline)
    # One row of it once more, with three that are new: the same spectrum at another time is one of them.
    again = [r for r in pipeline.step(block(np.vstack([rows[2:4], rows[2:4]]), 12)) if isinstance(r, Block)]
    assert [(r.time_ns.tolist(), r.values.tobytes()) for r in again] == [
        ([T0 + s * S for s in (13, 14, 15)], np.vstack([rows[3:4], rows[2:4]]).tobytes())
    ]  # fmt: skip
    assert pipeline.totals()["duplicate"][0] == 4
