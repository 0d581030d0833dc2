"""Trials of what watches beside the models of the union: soft sensors, waveforms, drift of a static model's scores, rates."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from edge_agent.alarms.detect import Detection
from edge_agent.core import AlarmDefinition, Catalogue, Samples, Tag
from models.drift import Drift, DriftConfig
from models.prognosis.degradation import Degradation, learn
from models.prognosis.rotating import CLEAR, SLIP, Bearing, Envelope, alarm_limit, diagnose, line, resampled, velocity
from models.spectra import pls
from models.spectra.sensor import Sensor, pls_arrays
from models.spectra.treatment import SavitzkyGolay, Snv, Treatment
from simulators.rotating import waveform
from tests.models.prognosis.test_degradation import bearing
from tests.models.spectra.lamp import AXIS, spectra
from tests.power.streams import Rng, noise
from tests.power.trial import Array, Flags, Trial, times

RATE_HZ: Final = 25_600.0
SHAFT_HZ: Final = 24.67
GEOMETRY: Final = Bearing(9, 7.94, 39.04)
SPECTRA: Final = 400


@cache
def sensor() -> Sensor:
    """A calibration of 60 spectra of two components."""
    X, y = spectra(60, 1)
    chain = Treatment((Snv(), SavitzkyGolay(width=11, derivative=1)), AXIS)
    return Sensor(pls_arrays(chain, pls.fit(chain.apply(X)[0], y, 4, scale=True), X, y, 0.02, saturation=3.0))


def lamp(fault: str) -> Any:
    """400 spectra of a process that stays within the calibration; from the 200th on with a fault."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        X, _ = spectra(SPECTRA, int(rng.integers(2, 2**31)))
        at = SPECTRA // 2
        if fault == "foreign":
            X[at:] += size * np.exp(-0.5 * ((AXIS - 1330) / 6) ** 2)
        elif fault == "tilt":
            X[at:] += size * (AXIS - AXIS[0]) / np.ptp(AXIS)
        elif fault == "noise":
            X[at:] += size * rng.normal(size=X[at:].shape)
        elif size:
            X[at:] *= size / X[at:].max(axis=1, keepdims=True)
        return X, at

    return stream


def invalid(X: Array) -> Flags:
    """Three spectra in a row that the calibration does not cover."""
    bad = sensor().judge(X)[1] != 0
    flags: Flags = bad.copy()
    flags[2:] &= bad[1:-1] & bad[:-2]
    flags[:2] = False
    return flags


def odd(X: Array) -> Flags:
    """The property alone outside of the calibrated range, three times in a row."""
    value = sensor().judge(X)[0][:, 0]
    bad = (value < 0) | (value > 1)
    bad[2:] &= bad[1:-1] & bad[:-2]
    return np.asarray(bad)


def waves(part: str) -> Any:
    """24 waveforms of a second; from the 12th on the outer race is hit, or the shaft is out of balance."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        hz, more = GEOMETRY.frequencies(SHAFT_HZ)[1], size if part == "unbalance" else 0.0
        sound = [waveform(rng, shaft=0.2) for _ in range(12)]
        bad = [waveform(rng, knocks_hz=hz, size=0.0 if more else size, shaft=0.2 + more) for _ in range(12)]
        return np.stack([*sound, *bad]), 12

    return stream


def named(x: Array) -> Flags:
    """A part is named in three waveforms in a row: the advice."""
    parts = [diagnose(w[None], RATE_HZ, SHAFT_HZ, GEOMETRY).part for w in x]
    return np.array([i >= 2 and parts[i] != "" and parts[i - 2 : i + 1] == [parts[i]] * 3 for i in range(len(parts))])


def shaken(x: Array) -> Flags:
    """Velocity above the first alarm of ISO 20816-3 over the machine's own baseline."""
    v = np.array([velocity(w, RATE_HZ) for w in x])
    return np.asarray(v > alarm_limit(float(np.median(v[:10]))))


def peaked(x: Array) -> Flags:
    """Kurtosis of the waveform above 4, the usual limit."""
    centred = x - x.mean(axis=1, keepdims=True)
    return np.asarray((centred**4).mean(axis=1) / (centred**2).mean(axis=1) ** 2 > 4)


def varying(rng: Rng, phi: float, size: float) -> tuple[Any, int]:
    """The same race while the speed goes up and down by 10 % within each second."""
    t = np.arange(int(RATE_HZ)) / RATE_HZ
    seen = []
    for i in range(16):
        hz = SHAFT_HZ * (1 + 0.1 * np.sin(2 * np.pi * (t + rng.random())))
        hits = np.floor(np.cumsum(hz) / RATE_HZ * GEOMETRY.frequencies(1.0)[1] + rng.random())
        x = rng.normal(0.0, 0.5, len(t))
        if i >= 8:
            ring = np.exp(-1000.0 * t[:256]) * np.sin(2 * np.pi * 3000.0 * t[:256])
            x += size * np.convolve(np.diff(hits, prepend=hits[0]), ring)[: len(t)]
        seen.append((x, hz))
    return seen, 8


def strong(wave: Array, rate: float, hz: float) -> bool:
    envelope = Envelope(len(wave), rate)
    spectrum = envelope.spectrum(wave)
    amplitude, bin_hz = envelope.lines(spectrum, envelope.choose(envelope.kurtoses(spectrum)))
    return float(line(amplitude, bin_hz, hz, 3, SLIP)) > CLEAR


def tracked(seen: Any) -> Flags:
    """The line of the race stands out when the waveform is read at equal angles."""
    orders = [resampled(x, RATE_HZ, hz) for x, hz in seen]
    return np.array([strong(wave, rate, GEOMETRY.frequencies(1.0)[1]) for wave, rate in orders])


def untracked(seen: Any) -> Flags:
    return np.array([strong(x, RATE_HZ, GEOMETRY.frequencies(float(hz.mean()))[1]) for x, hz in seen])


@cache
def watch() -> Degradation:
    return learn([bearing(seed) for seed in range(6)])


def wearing(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """Levels of a bearing's vibration; from the 300th on they rise by `size` g in 100 snapshots."""
    x, at = 0.5 + 0.05 * rng.random(400), 300
    x[rng.integers(0, at, 3)] = 1.9
    x[at:] += size * np.arange(len(x) - at) / 100
    return x, at


@cache
def calibrated() -> Any:
    return Drift.train(DriftConfig(tags=("a",)), np.arange(8000), noise(np.random.default_rng(77), 8000, 0.8))


def scores(fault: str) -> Any:
    """Scores of a static model whose training had a correlation of .8; later they are shifted, or spread more."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        x, at = noise(rng, 8000, phi), 4000
        if fault == "shift":
            x[at:] += size
        elif size:
            x[at:] *= size
        return x, at

    return stream


def moved(x: Array) -> Flags:
    bank = Drift([DriftConfig(tags=("a",))])
    bank.settle(0, calibrated())
    out = np.empty((len(x), 4))
    bank.step(np.zeros(len(x), np.int32), times(len(x), 1.0), x, np.ones(len(x), np.uint8), out)
    return np.asarray(out[:, 0] > 1)


def ramp(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
    """A temperature each second, noise .02 K; from row 300 on it rises by `size` K a second for 20 s."""
    x, at = 80.0 + 0.02 * noise(rng, 600, phi), 300
    x[at:] += size * np.minimum(np.arange(len(x) - at), 20)
    return x, at


def rising(x: Array) -> Flags:
    """An alarm of kind rate: .5 K/s for 3 s."""
    tags = Catalogue([Tag(id=0, name="a", expected_s=1.0)])
    detection = Detection([AlarmDefinition(name="a.rate", tag="a", kind="rate", limit=0.5, on_delay_s=3.0)], tags)
    flags, t = np.zeros(len(x), np.bool_), times(len(x), 1.0)
    on = False
    for f in detection.step(Samples(t, np.zeros(len(x), np.int32), x, np.zeros(len(x), np.uint32), int(t[-1])), np.ones(len(x), np.uint8)):
        flags[f.row :] = f.met
        on = f.met
    assert not on or flags[-1]
    return flags


SENSOR: Final[dict[str, Any]] = {"ready": 2, "within": 20, "phis": (0.0,), "peer": odd}
WAVES: Final[dict[str, Any]] = {"ready": 0, "phis": (0.0,), "cost": 10}

BESIDE: Final[dict[str, tuple[Trial, ...]]] = {
    "soft sensor": (
        Trial("a foreign band, mAU", (1.0, 3.0, 10.0), lambda r, p, s: lamp("foreign")(r, p, s / 1000), invalid, promised=4.0, **SENSOR),
        Trial("a tilted baseline, mAU", (3.0, 30.0, 300.0), lambda r, p, s: lamp("tilt")(r, p, s / 1000), invalid, promised=4.0, **SENSOR),
        Trial("an ageing lamp: noise, mAU", (0.3, 1.0, 3.0), lambda r, p, s: lamp("noise")(r, p, s / 1000), invalid, promised=4.0, **SENSOR),
        Trial("a saturated detector, AU at the top", (2.9, 3.0, 3.5), lamp("saturated"), invalid, promised=4.0, **SENSOR),
    ),
    "machine": (
        Trial("knocks on the outer race, m/s2", (0.5, 1.0, 3.0), waves("knocks"), named, within=4, promised=0.0, peer=peaked, **WAVES),
        Trial("unbalance, m/s2 at the speed", (0.1, 0.4, 1.0), waves("unbalance"), shaken, within=1, promised=0.0, peer=peaked, **WAVES),
        Trial("knocks at a speed that varies, m/s2", (0.5, 1.0, 3.0), varying, tracked, within=2, promised=0.0, peer=untracked, **WAVES),
    ),
    "limit of a fleet": (
        Trial("vibration that grows, g in 100 snapshots", (0.5, 1.5, 3.0), wearing, lambda x: watch().watch(x)[1] == 1, ready=110, within=99,
              promised=0.0, phis=(0.0,)),
    ),
    "drift": (
        Trial("scores that moved, sigma", (0.25, 0.5, 1.0), scores("shift"), moved, ready=1000, within=2000, promised=0.1, phi=0.8, phis=(0.0, 0.8)),
        Trial("scores spread more, times", (1.25, 1.5, 2.0), scores("spread"), moved, ready=1000, within=2000, promised=0.1, phi=0.8,
              phis=(0.0, 0.8)),
    ),
    "rate": (
        Trial("a ramp of 20 s, K/s", (0.4, 0.7, 1.0), ramp, rising, ready=5, within=20, promised=0.0),
    ),
}  # fmt: skip
"""Faults of each."""
