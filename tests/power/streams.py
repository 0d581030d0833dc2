"""Clean streams as plants have them, and the same with a fault in them; noise has variance 1 and a correlation `phi` from row to row."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np

from tests.power.trial import Array

Rng = np.random.Generator
Made = Callable[[Rng, float, float], tuple[Array, int]]


def noise(rng: Rng, shape: Any, phi: float) -> Array:
    """A first-order autoregression of variance 1 along the first axis.

    >>> x = noise(np.random.default_rng(1), 20_000, 0.9)
    >>> round(float(x.std()), 1), round(float(np.corrcoef(x[1:], x[:-1])[0, 1]), 1)
    (1.0, 0.9)
    """
    x: Array = rng.normal(size=shape)
    if phi:
        root = math.sqrt(1 - phi * phi)
        for i in range(1, len(x)):
            x[i] = phi * x[i - 1] + root * x[i]
    return x


def tag(rows: int, at: int, shape: str) -> Made:
    """One tag around 50, sigma 1: a level that stays, a spike of one row, a ramp over 200 rows, or values that freeze for `size` rows."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        x = 50.0 + noise(rng, rows, phi)
        if shape == "level":
            x[at:] += size
        elif shape == "spike":
            x[at] += size
        elif shape == "drift":
            x[at:] += size * np.minimum(1.0, np.arange(rows - at) / 200)
        else:
            x = np.round(x, 1)
            x[at : at + int(size)] = x[at]
        return x, at

    return stream


def cycle(rows: int, at: int, every: int) -> Made:
    """A machine's cycle of `every` rows; in one of them the second stroke is missing by a share `size`, all values being usual ones."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        t = np.arange(rows) % every / every
        x = np.sin(2 * np.pi * t) + 0.8 * np.sin(4 * np.pi * t)
        part = slice(at, at + every)
        x[part] -= size * 0.8 * np.sin(4 * np.pi * t[part])
        return 20.0 + 3.0 * x + 0.3 * noise(rng, rows, phi), at

    return stream


def day(rows: int, at: int, every_s: float) -> Made:
    """A tag that follows the day by 3 sigma to either side; from row `at` on it is `size` off for an hour."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        x = 20.0 + 3.0 * np.sin(2 * np.pi * np.arange(rows) * every_s / 86_400) + noise(rng, rows, phi)
        x[at : at + round(3600 / every_s)] += size
        return x, at

    return stream


def surprises(rows: int, at: int) -> Made:
    """The score of a detector, -log10 of a probability; a finding is `size` in three rows."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        below = NormalDist().cdf
        x = np.array([-math.log10(max(below(-v), 1e-9)) for v in noise(rng, rows, phi).tolist()])
        if size:
            x[at : at + 3] = np.maximum(x[at : at + 3], size)
        return x, at

    return stream


def loop(rows: int, at: int, which: int, *, gain: float = 0.8) -> Made:
    """A loop every 5 s: a lag of 60 s behind a dead time of 20 s, a PI controller, and from row `at` on a valve that moves once its demand is
    `size` % away (the one-parameter model of stiction, Stenman and others 2003). which: 0 the controlled value, 1 the controller's output."""

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        upsets, measured = noise(rng, rows, 0.98).tolist(), (0.05 * noise(rng, rows, phi)).tolist()
        seen = np.empty((rows, 2))
        valve, x, total = 0.0, 0.0, 0.0
        sent = [0.0] * 5
        for i in range(rows):
            x += (sent[0] + 0.25 * upsets[i] - x) / 12
            value = x + measured[i]
            total += (1.0 - value) / 12
            demand = gain * (1.0 - value + total)
            if i < at or abs(demand - valve) > size:
                valve = demand
            sent = [*sent[1:], valve]
            seen[i] = value, demand
        return np.ascontiguousarray(seen[:, which]), at

    return stream


def unit(rows: int, at: int, fault: str, tags: int = 8, modes: int = 1) -> Made:
    """Tags that follow two common causes, each with noise of its own (.5 of sigma 1.1), at one operating point or at two that take turns.

    bias: one tag reads `size` sigma too much. load: the first cause is `size` sigma up. step: all tags move, half of them down. between: one row in
    two lies off every operating point by `size` sigma in three tags. slack: one tag follows the causes with a share 1 - `size`.
    """

    def stream(rng: Rng, phi: float, size: float) -> tuple[Array, int]:
        across = np.random.default_rng(3).normal(size=(2, tags))
        across /= np.sqrt((across**2).sum(axis=0))
        cause, own = noise(rng, (rows, 2), phi), 0.5 * noise(rng, (rows, tags), phi)
        if fault == "load":
            cause[at:, 0] += size
        x = cause @ across + own
        if modes == 2:
            x += np.where(np.arange(rows) // 50 % 2, 6.0, 0.0)[:, None] * np.where(np.arange(tags) % 2, 1.0, -1.0)
        if fault == "bias":
            x[at:, 2] += size
        elif fault == "step":
            x[at:] += size * np.where(np.arange(tags) % 2, 1.0, -1.0)
        elif fault == "between":
            x[at:, :3] += size
        elif fault == "slack":
            x[at:, 2] -= size * (cause[at:] @ across)[:, 2]
        return x, at

    return stream
