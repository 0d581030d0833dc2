"""Vibration of a machine with a rolling bearing: shaft harmonics, noise, and decaying knocks of a damaged race."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def waveform(
    rng: np.random.Generator,
    *,
    seconds: float = 1.0,
    rate_hz: float = 25_600.0,
    shaft_hz: float = 24.67,
    knocks_hz: float = 0.0,
    size: float = 0.0,
    inner: bool = False,
    noise: float = 0.5,
    shaft: float = 1.0,
) -> NDArray[np.float64]:
    """(n,) acceleration, m/s2, `shaft` of it at the speed of the shaft.

    Knocks of `size` m/s2 come knocks_hz times a second with 1 % jitter, ring at 3 kHz and die away at 1000 1/s.

    On the inner race their size follows the shaft as the damage passes through the load.
    """
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    x = rng.normal(0.0, noise, len(t))
    for order, amplitude in ((1, 1.0), (2, 0.4), (3, 0.2)):
        x += shaft * amplitude * np.sin(2 * np.pi * order * shaft_hz * t + rng.uniform(0, 2 * np.pi))
    if size > 0.0 and knocks_hz > 0.0:
        at = rng.uniform(0, 1 / knocks_hz)
        while at < seconds:
            first = int(at * rate_hz) + 1
            part = t[first : first + round(0.01 * rate_hz)] - at
            load = 1 + 0.6 * np.cos(2 * np.pi * shaft_hz * at) if inner else 1.0
            x[first : first + len(part)] += size * load * np.exp(-1000.0 * part) * np.sin(2 * np.pi * 3000.0 * part)
            at += (1 + rng.normal(0, 0.01)) / knocks_hz
    return x
