"""The simulated pump: its roads, its truth, and what the shipped configuration makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_agent.config import load_agent, start_of
from edge_agent.core import AlarmEvent, Block, Context, Samples, Tag
from edge_agent.pipeline.chain import Pipeline
from edge_agent.sources.mqtt_blocks import block_of as of_message
from edge_agent.sources.spectra_files import block_of as of_file
from simulators.pump import KINDS, RATE_HZ, SIGNALS, Pump, pump_fault, wave_file, wave_message

CONFIG = Path(__file__).parents[2] / "configs" / "pump" / "agent.yaml"
T0 = 1_767_225_600_000_000_000
S = 1_000_000_000
NAMED = {
    "outer_spall": "pump1/outer_race", "inner_spall": "pump1/inner_race", "unbalance": "pump1/severity", "filter_clogging": "pump1/filter",
}  # fmt: skip
STREAM = Tag(id=0, name="pump1/vibration", kind="block", unit="m/s2")


def test_the_same_seed_gives_the_same_machine() -> None:
    first, second = Pump(3, (pump_fault("outer_spall@10"),)), Pump(3, (pump_fault("outer_spall@10"),))
    a, b = first.step(30 * S), second.step(30 * S)
    assert a.value.tobytes() == b.value.tobytes()
    assert len(first.waves) == 3
    assert all(np.array_equal(x.values, y.values) for x, y in zip(first.waves, second.waves, strict=True))


def test_a_waveform_survives_both_roads() -> None:
    pump = Pump(1)
    pump.step(5 * S)
    (wave,) = pump.waves
    block = of_message(STREAM, None, wave_message(wave, T0), T0 + S)
    np.testing.assert_allclose(block.values[0], wave.values, atol=float(np.abs(wave.values).max()) / 32_000)
    np.testing.assert_allclose(block.axis, np.arange(len(wave.values)) / RATE_HZ, atol=1e-12)
    dropped = of_file("pump1_1.csv", wave_file(wave, T0).encode(), STREAM, T0 + S)
    np.testing.assert_allclose(dropped.values[0], wave.values, atol=1e-6)
    assert (int(dropped.time_ns[0]), dropped.unit) == (T0, "m/s2")
    assert (int(block.time_ns[0]), block.axis_unit, block.unit) == (T0, "s", "m/s2")


def lived(faults: tuple[str, ...], seconds: int) -> tuple[list[Any], dict[int, str], Pump]:
    """Records of the pipeline over so many seconds of the line."""
    start = start_of(load_agent(CONFIG), T0)
    ids = {t.name: t.id for t in start.tags}
    tags = np.array([ids[s.name] for s in SIGNALS], np.int32)
    pump, pipeline = Pump(2, tuple(pump_fault(f) for f in faults)), Pipeline()
    records: list[Any] = [*pipeline.step(start)]
    for second in range(seconds):
        out = pump.step(second * S)
        now = T0 + second * S + S // 10
        records += pipeline.step(Samples(T0 + out.time_ns, tags[out.signal], out.value, out.status, now))
        for wave in pump.waves:
            message = of_message(STREAM, None, wave_message(wave, T0 + wave.time_ns), now)
            records += pipeline.step(
                Block(ids["pump1/vibration"], message.time_ns, message.values, message.status, message.axis, "s", "m/s2", now)
            )
    return records, {k: n for n, k in ids.items()}, pump


def test_a_machine_in_order_is_quiet() -> None:
    records, _, _ = lived((), 240)
    assert [r.alarm for r in records if isinstance(r, AlarmEvent)] == []
    assert [r.unit for r in records if isinstance(r, Context) and r.role == "advice"] == []
    assert sum(isinstance(r, Block) for r in records) == 2 * 24, "each waveform and its envelope"


@pytest.mark.parametrize("fault", sorted(KINDS))
def test_every_fault_is_found_named_and_advised_on(fault: str) -> None:
    records, _, pump = lived((f"{fault}@30",), 330)
    (truth,) = pump.truth()
    raised = [r for r in records if isinstance(r, AlarmEvent) and r.event == "raise"]
    assert raised[0].alarm == NAMED[fault]
    advice = [r for r in records if isinstance(r, Context) and r.role == "advice" and r.value]
    seen = [(raised[0].time_ns - T0) / S, *((a.time_ns - T0) / S for a in advice)]
    assert min(seen) <= truth.t_start + truth.detect_within_s
    assert {a.unit for a in advice} & {"pump1/drive_end", "pump1/filter_dp", "pump1/drive_end.velocity"}
