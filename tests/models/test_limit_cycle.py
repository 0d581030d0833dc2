"""A simulated loop with a sticking valve, one with too sharp a controller, and ones that are well: `limit_cycle` tells them apart."""

import numpy as np
import pytest

from models.limit_cycle import LimitCycle, LimitCycleConfig

STEP_S = 5


def loop(hours: float, seed: int, *, stick: float = 0.0, gain: float = 0.8, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Controlled value and controller's output every 5 s: a lag of 60 s behind a dead time of 20 s, a PI controller, and a valve that moves once
    its demand is `stick` % away (the one-parameter model of stiction, Stenman and others 2003)."""
    rng = np.random.default_rng(seed)
    n = int(hours * 3600 / STEP_S)
    pv, op = np.zeros(n), np.zeros(n)
    valve, x, total, upset = 0.0, 0.0, 0.0, 0.0
    sent = [0.0] * 5
    for i in range(n):
        upset = 0.98 * upset + 0.05 * rng.normal()
        x += STEP_S / 60 * (sent[0] + upset - x)
        pv[i] = x + noise * rng.normal()
        error = 1.0 - pv[i]
        total += error * STEP_S / 60
        op[i] = gain * (error + total)
        if abs(op[i] - valve) > stick:
            valve = op[i]
        sent = [*sent[1:], valve]
    return pv, op


def judged(value: np.ndarray, swing: float) -> np.ndarray:
    bank = LimitCycle([LimitCycleConfig(tags=("a",), swing=swing)])
    out = np.empty((len(value), 5))
    time_ns = np.arange(len(value), dtype=np.int64) * STEP_S * 1_000_000_000
    bank.step(np.zeros(len(value), np.int32), time_ns, value, np.ones(len(value), np.uint8), out)
    return out


@pytest.mark.parametrize("seed", range(6))
def test_a_sticking_valve_is_found_and_a_loop_that_is_well_is_not(seed: int) -> None:
    _, well = loop(24, seed)
    _, sticking = loop(24, seed, stick=1.5)
    assert judged(well, 0.8)[:, 0].mean() < 0.01
    found = judged(sticking, 0.8)
    cycling = found[:, 0] == 1.0
    assert cycling.mean() > 0.25
    assert 300 < np.median(found[cycling, 1]) < 500  # seconds
    assert 0.9 < np.median(found[cycling, 4]) < 1.1  # straight lines


@pytest.mark.parametrize(("wave", "shape"), [("lines", 1.0), ("sine", 1.5)])
def test_shapes_are_told_apart(wave: str, shape: float) -> None:
    t = np.arange(5000) / 200.0
    sine = np.sin(2 * np.pi * t)
    value = {"lines": 2 / np.pi * np.arcsin(sine), "sine": sine}[wave]
    assert judged(3 * value, 1.0)[-1, 4] == pytest.approx(shape, rel=0.05)


def test_it_is_over_when_the_swings_stop() -> None:
    t = np.arange(4000)
    swings = np.where(t < 2000, 3 * np.sin(2 * np.pi * t / 100), 0.0)
    found = judged(swings, 1.0)[:, 0]
    assert found[1900] == 1.0
    assert found[2200:].max() == 0.0


@pytest.mark.parametrize("correlation", [0.0, 0.9, 0.99])
def test_noise_alone_hardly_ever_looks_regular(correlation: float) -> None:
    noise = np.random.default_rng(7).normal(size=100_000)
    for i in range(1, len(noise)):
        noise[i] += correlation * noise[i - 1]
    assert judged(noise, 1.5 * float(noise.std()))[:, 0].mean() < 0.01
