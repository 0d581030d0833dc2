"""Tail models: how surprising a number is, by a generalised Pareto tail learned from the stream itself (Siffer et al., KDD 2017)."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.baseline import sort
from models.compiled import kernel

MEMORY: Final = 0.0005
"""Weight of one row once 2,000 have been seen."""


@kernel("float64(float64[:, :, ::1], int64, int64, float64, float64, float64)")
def surprise(tail: NDArray[np.float64], s: int, j: int, x: float, q: float, xi: float) -> float:
    """-log10 of the probability of a value as large as x; 0 below the quantile q.

    tail (slots, models, 4)  threshold, mean excess over it, least mean excess, rows seen
    """
    excess = x - tail[s, j, 0]
    if excess <= 0.0:
        return 0.0
    found: float = -math.log10(1.0 - q) + math.log10(1.0 + xi * excess / tail[s, j, 1]) / xi
    return found


@kernel("void(float64[:, :, ::1], int64, int64, float64, float64)")
def learn_tail(tail: NDArray[np.float64], s: int, j: int, x: float, q: float) -> None:
    """Let the tail follow; one row counts at most ten mean excesses, so that an event does not blind it."""
    tail[s, j, 3] += 1.0
    rate = max(1.0 / tail[s, j, 3], MEMORY)
    excess = x - tail[s, j, 0]
    mean = tail[s, j, 1]
    if excess > 0.0:
        tail[s, j, 0] += 4.0 * rate * mean * q
        tail[s, j, 1] = max(mean + min(rate / (1.0 - q), 0.5) * (min(excess, 10.0 * mean) - mean), tail[s, j, 2])
    else:
        tail[s, j, 0] -= 4.0 * rate * mean * (1.0 - q)


@kernel("void(float64[:, :, ::1], int64, int64, float64[::1], int64, float64, float64)")
def fit_tail(tail: NDArray[np.float64], s: int, j: int, a: NDArray[np.float64], n: int, q: float, least: float) -> None:
    """Fit a tail to a[:n], which is sorted in place; `least` is the smallest mean excess that means anything."""
    sort(a, 0, n)
    at = min(int(q * n), n - 1)
    total = 0.0
    above = 0
    for i in range(at + 1, n):
        if a[i] > a[at]:
            total += a[i] - a[at]
            above += 1
    floor = least + 1e-6 * abs(a[n // 2]) + 0.01 * (a[n - 1] - a[0])
    tail[s, j, 0] = a[at]
    tail[s, j, 1] = max(total / above if above > 0 else 0.0, floor)
    tail[s, j, 2] = floor
    tail[s, j, 3] = n
