"""Process records against the vectors of the standards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from models.records.cold_chain import ColdChain, ColdChainConfig, kinetic_mean
from models.records.energy import Energy, EnergyConfig
from models.records.oee import Oee, OeeConfig
from models.records.sterilisation import Sterilisation, SterilisationConfig

S = 1_000_000_000
MIN = 60 * S
HOUR = 3600 * S


def points(times: list[int], values: list[float], **config: Any) -> Any:
    bank = ColdChain([ColdChainConfig(tags=("a",), **{"allowed_min": 60.0, **config})])
    out = np.empty((len(times), 6))
    bank.step(np.zeros(len(times), np.int32), np.array(times), np.array(values, np.float64), np.ones(len(times), np.uint8), out)
    return out


def instants(model: Any, times: Any, rows: Any, usable: Any = None) -> Any:
    value = np.atleast_2d(np.asarray(rows, np.float64))
    out = np.empty((len(times), len(model.outputs) + len(model.reasons) + value.shape[1]))
    model.step(np.asarray(times), value, np.ones(value.shape, np.uint8) if usable is None else usable, out)
    return out


def test_mean_kinetic_temperature_weighs_values_by_the_time_for_which_they_held() -> None:
    # 22 h at 5 and 2 h at 15 degC, told every half hour here and every ten minutes there.
    times = [*range(0, 22 * HOUR, 30 * MIN), *range(22 * HOUR, 24 * HOUR + 1, 10 * MIN)]
    values = [5.0 if t < 22 * HOUR else 15.0 for t in times]
    assert points(times, values, window_h=48)[-1, 0] == pytest.approx(6.46, abs=0.005)
    assert points([i * MIN for i in range(5)], [20.0, 22, 25, 30, 99], window_h=48)[-1, 0] == pytest.approx(25.03, abs=0.005)


def test_a_gap_is_neither_warm_nor_cold_and_is_told() -> None:
    out = points([0, 30 * MIN, 5 * HOUR, 5 * HOUR + 30 * MIN], [5.0, 5.0, 7.0, 7.0], window_h=24)
    assert out[-1, 0] == pytest.approx(kinetic_mean(np.array([5.0, 7.0])), abs=1e-9)
    assert out[-1, 3] == pytest.approx(100 / 5.5)
    # Out of range before and behind a gap: nobody may assume that it was inside in between.
    assert points([0, 3 * HOUR], [9.0, 9.0], allowed_min=360)[-1, 1:4].tolist() == pytest.approx([180.0, 50.0, 0.0])


def test_freezing_uses_up_the_budget_until_it_leaves_the_window() -> None:
    times = [i * 10 * MIN for i in range(30)]
    left = points(times, [5.0, -0.5, *[5.0] * 28], never_below=0.0, window_h=2)[:, 2]
    assert left[0] == 100
    assert (left[1:13] == 0).all()
    assert left[-1] == 100


def test_the_oldest_part_of_the_window_leaves_it() -> None:
    out = points([i * MIN for i in range(180)], [12.0] * 30 + [5.0] * 150, window_h=1, allowed_min=60)
    assert out[30, 2] == pytest.approx(50.0)
    assert out[-1, 0] == pytest.approx(5.0)
    assert out[-1, 2] == 100.0


def steam(temperatures: list[float], **config: Any) -> Any:
    model = Sterilisation(SterilisationConfig(name="s", probes=("a",), gap_s=60, **config), 1)
    return instants(model, np.arange(len(temperatures)) * MIN, np.array(temperatures)[:, None])


def test_f0_of_the_published_cycle() -> None:
    out = steam([100.0, 110, 118, 120, 121.1, 121.5, 121.5, 121, 115, 100])
    assert out[-1, 0] == pytest.approx(5.767, abs=5e-4)
    assert out[1:9, 1].tolist() == pytest.approx([0.0776, 0.4898, 0.7762, 1, 1.0965, 1.0965, 0.9772, 0.2455], abs=5e-5)
    assert steam([120.0] * 16)[-1, 0] == pytest.approx(11.64, abs=0.005)
    assert steam([122.0] * 16)[-1, 0] == pytest.approx(18.45, abs=0.005)


def test_the_coldest_probe_counts_and_one_that_is_not_heard_gathers_nothing() -> None:
    model = Sterilisation(SterilisationConfig(name="s", probes=("a", "b"), pressure="p", gap_s=60), 3)
    usable = np.ones((11, 3), np.uint8)
    usable[4:7, 1] = 0
    out = instants(model, np.arange(11) * MIN, np.tile([121.1, 121.1, 2.049], (11, 1)), usable)
    assert out[-1, 0] == pytest.approx(6.0)
    assert out[-1, 6] == pytest.approx(10.0)
    assert abs(out[-1, 4]) < 0.05
    assert out[-1, 3] == pytest.approx(4.0), "exposure began anew when the probe was back"


def test_a_new_cycle_begins_when_a_cold_load_heats_up() -> None:
    out = steam([121.1] * 6 + [60.0] * 2 + [121.1] * 3)
    assert out[5, 0] == pytest.approx(5.0)
    assert out[7, 0] == pytest.approx(5.0)
    assert out[-1, 0] == pytest.approx(2.0)


def test_energy_of_batches_against_their_baseline() -> None:
    model = Energy(EnergyConfig(name="e", counter="m", production="n", base_kwh=231.6, per_unit_kwh=97.08, rollover=100_000.0), 2)
    t = np.arange(0, 40) * MIN
    meter = (99_000.0 + np.arange(40) * 150.0) % 100_000.0
    made = np.where(np.arange(40) <= 30, np.arange(40), 30) * 0.5
    model.begin(5 * MIN + 30 * S, True)
    first = instants(model, t[:20], np.column_stack([meter, made])[:20])
    model.begin(15 * MIN + 30 * S, True)
    second = instants(model, t[20:], np.column_stack([meter, made])[20:])
    assert np.isnan(first[:, 1]).all(), "the first batch is not over"
    told = np.flatnonzero(np.isfinite(second[:, 1]))
    assert told.tolist() == [0]
    # The rows behind the second beginning had come already: the batch ends with the last of them, 13.5 min of 150 kWh and 0.5 t.
    kwh, tons = 13.5 * 150.0, 13.5 * 0.5
    predicted = 231.6 + 97.08 * tons
    assert second[0, 1:6].tolist() == pytest.approx([kwh, kwh / predicted, predicted - kwh, predicted, tons])


def test_power_is_integrated_and_a_gap_adds_nothing() -> None:
    model = Energy(EnergyConfig(name="e", power="p", per="period", every_h=24, gap_s=600), 1)
    out = instants(model, np.array([0, 5, 10, 120, 125]) * MIN, np.array([[60.0], [60.0], [0.0], [60.0], [60.0]]))
    assert out[-1, 0] == pytest.approx(5 + 2.5 + 5)


def test_oee_of_a_shift() -> None:
    config = OeeConfig(name="o", state="s", total="n", good="g", ideal_per_h=3600, per="period", every_h=1, step_s=60, unplanned=(4.0,))
    model = Oee(config, 3)
    minutes = np.arange(61)
    state = np.where(minutes < 6, 4.0, np.where(minutes < 18, 5.0, 6.0))
    made = np.clip(minutes - 18, 0, None) * 54.0
    out = instants(model, minutes * MIN, np.column_stack([state, made, np.floor(0.98 * made)]))
    # 54 min planned, 42 running, 54 of 60 tablets a minute, 98 of 100 good; the shift turns with the last minute.
    assert out[59, 1:5].tolist() == pytest.approx([100 * 41 / 53, 90.0, 98.0, 41 / 53 * 90 * 0.98], rel=1e-3)
    assert out[60, 5] == pytest.approx(out[59, 4], rel=1e-12)
    assert out[60, 1:5].tolist()[0] == 100.0
