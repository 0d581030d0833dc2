import numpy as np
import pytest

from edge_agent.config import load_agent
from edge_agent.config.start import start_of
from edge_agent.core import AlarmEvent, Block, ConfigError, Samples
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.machines import NO_WAVEFORM
from models.prognosis.rotating import Bearing
from simulators.rotating import waveform

RATE = 25_600
CONFIG = """\
edge: {site: s1, id: e1}
sources: [{kind: spectra, name: daq, folder: /tmp}]
tags:
  - {name: pump1/vibration, kind: block, source: daq, unit: m/s2, class: gmp_critical, description: {en: Pump, zh: 泵}}
machines:
  - {name: pump1/drive_end, tag: pump1/vibration, speed_rpm: 1480, bearing: {elements: 9, ball_mm: 7.94, pitch_mm: 39.04}, full_scale: 100}
alarms:
  - {kind: limit, name: pump1/outer_race, tag: pump1/drive_end.outer, side: high, limit: 10, priority: 3, cause: {en: c}, response: {en: r}}
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "edge.yaml"
    path.write_text(CONFIG)
    return path


def begun(path):
    start = start_of(load_agent(path), 1_760_000_000_000_000_000)
    pipeline = Pipeline()
    pipeline.step(start)
    return pipeline, start, {t.id: t.name for t in start.tags}


def block(start, names, waves, second, unit="m/s2", axis_unit="s"):
    stream = next(k for k, n in names.items() if n == "pump1/vibration")
    when = start.received_ns + (second + np.arange(len(waves))) * 10**9
    axis = np.arange(waves.shape[1]) / RATE
    return Block(stream, when, np.ascontiguousarray(waves), np.zeros(len(waves), np.uint32), axis, axis_unit, unit, int(when[-1]))


def told(records, names):
    return {
        (names[int(k)].rpartition(".")[2], i): (v, s)
        for r in records if isinstance(r, Samples)
        for i, k, v, s in zip(r.time_ns.tolist(), r.tag.tolist(), r.value.tolist(), r.status.tolist(), strict=True)
    }  # fmt: skip


def waves(size, n=1, seed=0):
    rng = np.random.default_rng(seed)
    hz = Bearing(9, 7.94, 39.04).frequencies(1480 / 60)[1]
    return np.stack([waveform(rng, shaft_hz=1480 / 60, knocks_hz=hz, size=size) for _ in range(n)])


def test_waveforms_of_a_configured_machine_become_values_that_are_alarmed(config):
    pipeline, start, names = begun(config)
    healthy = block(start, names, waves(0.0), 1)
    records = pipeline.step(healthy)
    values = {k[0]: v for k, v in told(records, names).items()}
    assert records[0] == healthy
    assert values["velocity"][0] == pytest.approx(1000 * 1.0 / (2 * np.pi * 1480 / 60) / np.sqrt(2), rel=0.06)
    assert values["zone"] == (4.0, 0)
    assert values["kurtosis"][0] < 3.0
    assert values["outer"][0] < 5.0
    assert not [r for r in records if isinstance(r, AlarmEvent)]
    records = pipeline.step(block(start, names, waves(8.0), 2))
    assert [r.alarm for r in records if isinstance(r, AlarmEvent)] == ["pump1/outer_race"]


def test_a_waveform_that_cannot_be_trusted_has_no_good_value(config):
    pipeline, start, names = begun(config)
    spoilt = waves(8.0, 3)
    spoilt[0, 100] = np.nan
    spoilt[1] = 3.3
    values = told(pipeline.step(block(start, names, spoilt, 1)), names)
    at = sorted({t for _, t in values})
    assert [values["fault", t] for t in at] == [(4.0, 0), (1.0, 0), (0.0, 0)]
    assert [values["outer", t][1] >= 0x80000000 for t in at] == [True, True, False]
    for second, wrong in ((10, {"unit": "V"}), (11, {"axis_unit": "nm"})):
        values = told(pipeline.step(block(start, names, waves(0.0), second, **wrong)), names)
        assert {v for (k, _), (v, _) in values.items() if k == "fault"} == {float(NO_WAVEFORM)}


def test_how_waveforms_arrive_together_changes_no_value(config):
    whole, start, names = begun(config)
    parted, _, _ = begun(config)
    rows = waves(4.0, 4, seed=3)
    one = told(whole.step(block(start, names, rows, 1)), names)
    two = {k: v for i in range(4) for k, v in told(parted.step(block(start, names, rows[i : i + 1], 1 + i)), names).items()}
    assert one == two


def test_mistakes_of_a_machine_are_named(config):
    for old, new, expected in (
        ("tag: pump1/vibration, speed", "tag: pump1/other, speed", "machines[0].tag: expected the name of a tag of kind block"),
        ("ball_mm: 7.94", "ball_mm: 79.4", "machines[0].bearing.ball_mm: expected less than pitch_mm, found 79.4"),
        ("name: pump1/drive_end", "name: pump1/vibration", "machines[0].name: expected a name that no tag, model or sensor has"),
        ("drive_end.outer", "drive_end.outside", "pump1/drive_end.outside"),
    ):
        config.write_text(CONFIG.replace(old, new))
        with pytest.raises(ConfigError) as error:
            load_agent(config)
        assert expected in str(error.value)
