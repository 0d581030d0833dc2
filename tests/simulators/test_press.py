"""The press: deterministic by seed, physics of a 36 station press, every fault seen where it must be seen."""

from __future__ import annotations

import dataclasses
import hashlib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulators.faults import DEMO_SLOT_S, KINDS, Fault, demo_fault, endless_faults, fault_from_text, random_faults
from simulators.press import DEMO, FORCE_KN, Press, PressSettings, peak_force
from simulators.press_signals import STATIONS
from simulators.sensor import Sensor, stream
from simulators.signals import BAD_SENSOR_FAILURE, SECOND_NS, SIMULATED, Emission


def of(press: Press, out: Emission, short: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times in seconds and values of one signal."""
    index = next(i for i, s in enumerate(press.signals) if s.name == f"press1/{short}")
    mine = out.signal == index
    return out.time_ns[mine] / 1e9, out.value[mine]


def digest(out: Emission) -> str:
    return hashlib.sha256(b"".join((out.time_ns.tobytes(), out.signal.tobytes(), out.value.tobytes(),
                                    out.status.tobytes(), repr(out.texts).encode()))).hexdigest()


def played(seconds: float, seed: int = 1, faults: tuple[Fault, ...] = (), how: PressSettings = DEMO) -> tuple[Press, Emission]:
    press = Press(seed, how, faults)
    return press, press.step(int(seconds * SECOND_NS))


def test_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    faults = random_faults(5, 60.0)
    assert digest(played(30.0, 5, faults)[1]) == digest(played(30.0, 5, faults)[1])
    assert digest(played(30.0, 5)[1]) != digest(played(30.0, 6)[1])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 12 * SECOND_NS), max_size=20))
def test_how_time_is_cut_into_steps_changes_nothing(cuts: list[int]) -> None:
    press = Press(3, DEMO, (demo_fault("punch_sticking", 4.0),))
    parts = [press.step(until) for until in [*sorted(cuts), 12 * SECOND_NS]]
    _, whole = played(12.0, 3, (demo_fault("punch_sticking", 4.0),))
    np.testing.assert_array_equal(np.concatenate([p.value for p in parts]), whole.value)
    np.testing.assert_array_equal(np.concatenate([p.time_ns for p in parts]), whole.time_ns)
    assert tuple(t for p in parts for t in p.texts) == whole.texts


def test_times_lie_on_the_grid_with_small_jitter_and_rise_per_tag() -> None:
    press, out = played(60.0)
    for index, signal in enumerate(press.signals):
        if signal.kind == "text":
            continue
        times = out.time_ns[out.signal == index]
        period = round(signal.period_s * SECOND_NS)
        grid = np.round(times / period) * period
        assert np.all(np.diff(times) > 0), signal.name
        assert np.all(grid - times >= 0), signal.name  # never ahead of the tick that hands it over
        assert np.all(grid - times <= 0.02 * period), signal.name
        assert np.all(times % 1000 == 0), signal.name
        assert len(times) == round(60.0 / signal.period_s) + 1, signal.name
        np.testing.assert_array_equal(np.diff(grid), period)


def test_everything_is_marked_simulated() -> None:
    _, out = played(120.0, 1, random_faults(1, 120.0))
    assert set(out.status.tolist()) == {SIMULATED, BAD_SENSOR_FAILURE}
    np.testing.assert_array_equal(np.isnan(out.value), out.status == BAD_SENSOR_FAILURE)


def test_force_follows_three_times_the_weight_deviation() -> None:
    assert peak_force(1.0) == 12.0
    assert peak_force(0.98) == pytest.approx(12.0 * 0.94)
    assert peak_force(1.0, 1.005) == pytest.approx(12.06)


def test_a_healthy_press_runs_at_its_normal_values() -> None:
    press, out = played(600.0)
    expected = {
        "turret_speed": (40.0, 0.1), "main_force": (12.0, 0.15), "pre_force": (2.5, 0.045), "ejection_force": (200.0, 10.0),
        "fill_depth": (10.0, 0.01), "feeder_speed": (35.0, 0.2), "drive_torque": (47.0, 1.0), "nir_api": (100.0, 1.0),
        "tablet_weight": (300.0, 0.75), "weight_force_ratio": (1.0, 0.0016),
    }
    for short, (mean, sigma) in expected.items():
        _, v = of(press, out, short)
        assert np.mean(v) == pytest.approx(mean, abs=4 * sigma / np.sqrt(len(v)) + 0.002 * mean), short
        assert np.std(v) == pytest.approx(sigma, rel=0.35), short
    _, rsd = of(press, out, "force_rsd")
    assert 1.5 < np.mean(rsd) < 3.0
    t, made = of(press, out, "tablets_made")
    assert made[200] - made[100] == pytest.approx(2.4, abs=0.03)  # 100 s at 40 r/min and 36 stations: 24 tablets a second
    assert STATIONS * 40 / 60 == 24
    assert np.std(press.station_factor) == pytest.approx(0.005, rel=0.35)
    del t


def test_the_hopper_is_a_saw_between_80_and_30_percent() -> None:
    press, out = played(900.0)
    _, level = of(press, out, "hopper_level")
    assert 26.0 < level.min() < 34.0
    assert 76.0 < level.max() < 84.0
    assert np.sum(np.diff(level) > 30.0) in (1, 2)


def test_context_texts_name_batch_phase_and_mode() -> None:
    press, out = played(620.0)
    named = [(press.signals[t.signal].role, t.value) for t in out.texts]
    assert named[:3] == [("batch", "TB010001"), ("phase", "start_up"), ("mode", "production")]
    assert ("batch", "TB010002") in named
    assert ("batch", "TB010003") in named
    assert ("phase", "run_out") in named


def test_a_real_press_stops_for_cleaning_and_its_signals_go_to_rest() -> None:
    how = dataclasses.replace(PressSettings(), batch_s=60.0, changeover_s=60.0)
    press, out = played(119.0, how=how)
    assert ("mode", "cleaning") in [(press.signals[t.signal].role, t.value) for t in out.texts]
    t, speed = of(press, out, "turret_speed")
    assert np.all(speed[(t > 80) & (t < 119)] < 0.6)
    t, force = of(press, out, "main_force")
    assert np.all(force[(t > 80) & (t < 119)] < 0.8)


# --- faults ------------------------------------------------------------------------------------------------------------
def between(t: NDArray[np.float64], v: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return v[(t >= low) & (t <= high)]


def test_punch_sticking_takes_force_from_one_station_once_per_turn() -> None:
    fault = demo_fault("punch_sticking", 20.0)
    press, out = played(40.0, 2, (fault,))
    t, dev = of(press, out, "station_dev")
    tn, number = of(press, out, "station_no")
    assert between(t, dev, 24.0, 27.5).min() < -4.0
    assert between(t, dev, 0.0, 19.9).min() > -3.5
    assert set(between(tn, number, 25.0, 26.5)) == {press.sticking_station + 1}
    assert np.mean(between(*of(press, out, "main_force"), 22.0, 26.0)) == pytest.approx(12.0, rel=0.03)


def test_feeder_starvation_drops_force_doubles_scatter_and_drives_fill_depth_to_its_limit() -> None:
    fault = demo_fault("feeder_starvation", 20.0)
    press, out = played(40.0, 2, (fault,))
    assert between(*of(press, out, "main_force"), 22.0, 24.0).min() < 12.0 * 0.85
    assert between(*of(press, out, "fill_depth"), 20.0, 29.0).max() == pytest.approx(10.5, abs=0.03)
    assert between(*of(press, out, "force_rsd"), 22.0, 27.0).max() > 3.6
    assert np.ptp(between(*of(press, out, "hopper_level"), 20.5, 26.0)) < 6.0  # flat but for its noise of 1 %
    assert np.mean(between(*of(press, out, "main_force"), 36.0, 40.0)) == pytest.approx(12.0, rel=0.03)


def test_low_lubricant_raises_ejection_force_and_torque() -> None:
    press, out = played(40.0, 2, (demo_fault("low_lubricant", 20.0),))
    before, after = between(*of(press, out, "ejection_force"), 5, 19), between(*of(press, out, "ejection_force"), 25, 26.5)
    assert np.mean(after) / np.mean(before) == pytest.approx(1.75, abs=0.15)
    torque = of(press, out, "drive_torque")
    assert np.mean(between(*torque, 25, 26.5)) > np.mean(between(*torque, 5, 19)) * 1.03


def test_load_cell_drift_moves_the_weight_the_other_way_and_spares_the_reading() -> None:
    press, out = played(40.0, 2, (demo_fault("load_cell_drift", 20.0),))
    assert between(*of(press, out, "weight_force_ratio"), 25, 26.5).min() < 0.985
    assert np.mean(between(*of(press, out, "tablet_weight"), 24, 27)) < 298.5
    assert np.mean(between(*of(press, out, "main_force"), 24, 26.5)) < 12.0 * 1.06  # compensated by the loop


def test_load_cell_drift_is_one_percent_an_hour_at_its_natural_pace() -> None:
    fault = Fault("load_cell_drift", 0.0, 7200.0)
    assert fault.effect(3600.0) == pytest.approx(0.01)
    assert fault.detect_within_s > 3 * 3600.0


def test_blend_segregation_moves_the_content_and_not_the_weight() -> None:
    press, out = played(40.0, 2, (demo_fault("blend_segregation", 20.0),))
    assert np.abs(np.mean(between(*of(press, out, "nir_api"), 24, 26.5)) - 100.0) > 6.0
    assert np.mean(between(*of(press, out, "tablet_weight"), 22, 27)) == pytest.approx(300.0, abs=1.5)


def test_truth_names_faults_that_have_begun_and_their_tags() -> None:
    press, _ = played(20.0, 1, (demo_fault("blend_segregation", 5.0), demo_fault("low_lubricant", 30.0)))
    (line,) = press.truth()
    assert (line.fault, line.t_start) == ("blend_segregation", 5.0)
    assert "press1/nir_api" in line.tags
    assert line.t_end == pytest.approx(5.0 + DEMO_SLOT_S)
    names = {s.name for s in press.signals}
    for kind in KINDS.values():
        assert {f"press1/{t}".removesuffix(".ewma.z") for t in kind.tags} <= names


@given(st.integers(0, 10_000), st.floats(58.0, 2000.0))
def test_random_faults_never_overlap_and_fit_the_run(seed: int, duration: float) -> None:
    faults = random_faults(seed, duration)
    assert sorted(f.name for f in faults) == sorted(KINDS)
    assert faults[0].onset_s >= 5.0
    assert all(a.end_s <= b.onset_s + 1e-2 for a, b in pairwise(faults))
    assert faults[-1].end_s <= duration + 1e-2


def test_endless_faults_go_on_in_every_cycle() -> None:
    faults = endless_faults(3, cycles=3)
    assert len(faults) == 15
    assert all(a.end_s <= b.onset_s for a, b in pairwise(faults))


def test_fault_texts_are_checked() -> None:
    assert fault_from_text("punch_sticking@12.5s", 1, 60.0) == (demo_fault("punch_sticking", 12.5),)
    assert len(fault_from_text("random", 1, 60.0)) == 5
    assert fault_from_text("low_lubricant", 1, 60.0)[0].name == "low_lubricant"
    with pytest.raises(ValueError, match=r"expected one of .*found 'x'"):
        fault_from_text("x@1", 1, None)
    with pytest.raises(ValueError, match="expected seconds"):
        fault_from_text("low_lubricant@soon", 1, None)
    with pytest.raises(ValueError, match="expected one of"):
        Fault("nothing", 1.0, 1.0)


def test_sensor_noise_has_the_sigma_asked_for() -> None:
    sensor = Sensor(stream(1, "x"), sigma=0.5, phi=0.6, low=0.0, high=100.0)
    values = np.array([sensor.measure(50.0) for _ in range(20_000)])
    assert np.std(values) == pytest.approx(0.5, rel=0.05)
    assert np.corrcoef(values[1:], values[:-1])[0, 1] == pytest.approx(0.6, abs=0.03)
    assert sensor.measure(1e9) == 100.0
    with pytest.raises(ValueError, match="phi"):
        Sensor(stream(1, "x"), sigma=1.0, phi=1.0, low=0.0, high=1.0)


def test_nominal_force_is_the_setpoint_of_the_loop() -> None:
    assert FORCE_KN == 12.0
