"""The instrument between a true value and a measured one."""

from __future__ import annotations

import math
import zlib

import numpy as np


def stream(seed: int, name: str) -> np.random.Generator:
    """Random stream of one name under one seed, so that adding a signal changes no other signal."""
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))


def lag(state: float, target: float, dt_s: float, tau_s: float) -> float:
    """First-order lag over `dt_s` seconds with time constant `tau_s`.

    >>> round(lag(0.0, 1.0, 5.0, 5.0), 4)
    0.6321
    """
    if tau_s <= 0.0:
        return target
    return target + (state - target) * math.exp(-dt_s / tau_s)


def quantise(value: float, low: float, high: float) -> float:
    """Value clipped to the range and rounded to a 16 bit converter over it.

    >>> quantise(50.0, 0.0, 40.0)
    40.0
    >>> round(quantise(12.0, 0.0, 40.0), 6)
    11.999695
    """
    step = (high - low) / 65535.0
    clipped = min(max(value, low), high)
    return low + round((clipped - low) / step) * step


class Sensor:
    """Measured = clip(quantise(true + AR(1) noise)).

    Noise e_k = phi e_(k-1) + sqrt(1 - phi^2) sigma n_k, so that its standard deviation is `sigma` (in the signal's unit).
    """

    def __init__(self, rng: np.random.Generator, *, sigma: float, phi: float, low: float, high: float) -> None:
        if not 0.0 <= phi < 1.0:
            raise ValueError(f"phi: expected 0 <= phi < 1, found {phi}")
        self._rng = rng
        self._sigma = sigma
        self._phi = phi
        self._low = low
        self._high = high
        self._noise = sigma * float(rng.standard_normal())

    def measure(self, true: float) -> float:
        """Next reading of a true value."""
        self._noise = self._phi * self._noise + math.sqrt(1.0 - self._phi**2) * self._sigma * float(
            self._rng.standard_normal()
        )
        return quantise(true + self._noise, self._low, self._high)
