"""The mean and spread that control charts are drawn from, learned from the first rows of a slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

D2: Final = 1.128
"""Mean moving range of two values over sigma (I-MR chart)."""
D4: Final = 3.267
"""Upper limit of the moving range over its mean (I-MR chart)."""
HUGE: Final = 1e150
"""A value beyond this is taken as missing: its differences and quotients could leave float64."""
SCORE_LIMIT: Final = 1e6
"""Scores are held within +-1e6: beyond it they only tell how small the spread floor is."""
TRIM: Final = 0.1
"""Share of the warm-up values left out at either end when the mean is taken."""
SLOW: Final = 1.0 / 2000.0
"""Weight of one row when an adaptive baseline follows the process."""


@kernel("float64(float64, float64, float64)")
def floored(sigma: float, mu: float, least: float) -> float:
    """A spread that can be divided by: not below `least`, 1e-12 of the mean (a few float64 steps) or 1e-30."""
    spread: float = max(sigma, least, 1e-12 * abs(mu), 1e-30)
    return spread


@kernel("void(float64[::1], int64, int64)")
def sort(a: NDArray[np.float64], start: int, stop: int) -> None:
    """Sort a[start:stop] in place, ascending (shell sort with Knuth's gaps: no scratch memory)."""
    gap = 1
    while 3 * gap < stop - start:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(start + gap, stop):
            x = a[i]
            j = i
            while j - gap >= start and a[j - gap] > x:
                a[j] = a[j - gap]
                j -= gap
            a[j] = x
        gap //= 3


@kernel("float64(float64[::1], int64, int64)")
def moving_range_sigma(a: NDArray[np.float64], start: int, stop: int) -> float:
    """Sigma of a[start:stop] from its mean moving range, ranges above the chart's own limit left out until none is.

    A lone outlier makes two huge ranges; both go. 0 when fewer than two values are given.
    """
    limit = np.inf
    mean = 0.0
    kept = stop - start
    while True:
        n = 0
        total = 0.0
        for i in range(start + 1, stop):
            r = abs(a[i] - a[i - 1])
            if r <= limit:
                total += r
                n += 1
        if n == 0:
            return 0.0
        mean = total / n
        if n == kept:
            return mean / D2
        kept = n
        limit = D4 * mean


@kernel("float64(float64[::1], int64, int64)")
def trimmed_mean(a: NDArray[np.float64], start: int, stop: int) -> float:
    """Mean of the sorted a[start:stop] without the lowest and highest tenth."""
    cut = int((stop - start) * TRIM)
    anchor = a[(start + stop) // 2]
    total = 0.0
    for i in range(start + cut, stop - cut):
        total += a[i] - anchor
    mean: float = anchor + total / (stop - start - 2 * cut)
    return mean


@kernel("boolean(int64, float64, int64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1])")
def learned(
    s: int,
    x: float,
    start: NDArray[np.int64],
    seen: NDArray[np.int64],
    kept: NDArray[np.float64],
    least: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
) -> bool:
    """Take one warm-up row of slot s; true when it was the last one and mu[s] and sigma[s] are set.

    kept (sum of warm-ups,)  rows seen so far, slot s in kept[start[s]:start[s + 1]]; zeros again afterwards
    least (slots,)  lowest sigma allowed
    """
    a = start[s]
    b = start[s + 1]
    kept[a + seen[s]] = x
    seen[s] += 1
    if seen[s] < b - a:
        return False
    sigma[s] = moving_range_sigma(kept, a, b)
    sort(kept, a, b)
    mu[s] = trimmed_mean(kept, a, b)
    sigma[s] = floored(sigma[s], mu[s], least[s])
    for i in range(a, b):
        kept[i] = 0.0
    return True


@kernel("void(int64, float64, float64[::1], float64[::1], float64[::1], float64[::1])")
def follow(
    s: int,
    x: float,
    least: NDArray[np.float64],
    previous: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
) -> None:
    """Let mu[s] and sigma[s] follow slowly; one row counts at most 3 sigma, its moving range at most the chart's limit.

    previous (slots,)  last value of each slot, NaN when there is none; it becomes x
    """
    reach = 3.0 * sigma[s]
    mu[s] += SLOW * min(max(x - mu[s], -reach), reach)
    if not np.isnan(previous[s]):
        r = min(abs(x - previous[s]), D4 * D2 * sigma[s])
        sigma[s] = floored(sigma[s] + SLOW * (r / D2 - sigma[s]), mu[s], least[s])
    previous[s] = x


def offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each slot's part begins in one flat array, and its end: (slots + 1,)."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]).astype(np.int64)


def spread_of(value: NDArray[np.float64], least: float) -> dict[str, NDArray[Any]]:
    """mu and sigma of all values (n,) at once, as a warm-up of n rows would find them; ValueError below 10 values."""
    enough(len(value), 10)
    kept, mu, sigma, seen = value.copy(), np.zeros(1), np.zeros(1), np.array([len(value) - 1])
    learned(0, float(value[-1]), np.array([0, len(value)]), seen, kept, np.array([least]), mu, sigma)
    return {"mu": mu.reshape(()), "sigma": sigma.reshape(())}


def enough(rows: int, least: int, most: int = 1 << 40) -> None:
    """ValueError unless a model has as many rows as it needs, and no more than it can take."""
    if not least <= rows <= most:
        raise ValueError(f"expected {'at least' if rows < least else 'at most'} {least if rows < least else most} usable rows, found {rows}")


def check_learned(own: Mapping[str, NDArray[Any]], found: Mapping[str, Any]) -> None:
    """ValueError unless learned arrays have the names, shapes and types of `own` and no infinity."""
    if set(found) != set(own):
        raise ValueError(f"arrays: expected {sorted(own)}, found {sorted(found)}")
    for name, array in own.items():
        a = found[name]
        if a.shape != array.shape or a.dtype != array.dtype:
            raise ValueError(f"arrays.{name}: expected {list(array.shape)} {array.dtype}, found {list(a.shape)} {a.dtype}")
        if not np.isfinite(a).all():
            raise ValueError(f"arrays.{name}: expected finite numbers, found others")


def check_rows(slots: int, width: int, slot: NDArray[np.int32], out: NDArray[np.float64]) -> None:
    """ValueError unless every slot exists and `out` has a row of `width` numbers for each."""
    if out.shape != (len(slot), width):
        raise ValueError(f"out: expected shape {(len(slot), width)}, found {out.shape}")
    if len(slot) and (int(slot.min()) < 0 or int(slot.max()) >= slots):
        raise ValueError(f"slot: expected 0..{slots - 1}, found {int(slot.min())}..{int(slot.max())}")
