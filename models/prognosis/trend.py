"""Wear that one process tag shows, without any history of failures: a drift towards a limit (filter pressure drop, pump power, valve stiction).

A Wiener process with drift gives the time at which the limit is first passed as a whole distribution (inverse Gaussian); its quantiles are the
answer, with what is not known of the drift inside them. A drift that is not clearly towards the limit gives no remaining life at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEAST_STEPS: Final = 10
_CLEAR: Final = 3.0


def passage(t: float, way: float, drift: float, sigma: float) -> float:
    """Probability that `way` to the limit is passed within t, drift per time and sigma per root of time; the unit of time is the caller's.

    >>> [round(passage(t, 6.0, 0.05, 0.1), 4) for t in (110.0, 120.0, 130.0)]
    [0.349, 0.5361, 0.7023]
    """
    if way <= 0.0:
        return 1.0
    if t <= 0.0:
        return 0.0
    root = sigma * math.sqrt(t)
    first = 0.5 * math.erfc((way - drift * t) / root / math.sqrt(2))
    z = (way + drift * t) / root / math.sqrt(2)
    # exp(2 drift way / sigma^2) is huge where erfc is tiny; behind 25 the product is below the last bit of what it is added to.
    second = 0.5 * math.exp(min(2 * drift * way / sigma**2, 700.0)) * math.erfc(z) if z < 25.0 else 0.0
    return min(first + second, 1.0)


def exponential(y: float, start: float, theta: float, rate: float, limit: float) -> float:
    """Time until start + theta exp(rate t) passes the limit, from the moment it is y; inf when it does not grow.

    >>> round(exponential(0.5 + 0.1 * math.exp(2.0), 0.5, 0.1, 0.02, 4.5), 2)
    84.44
    """
    if rate <= 0.0 or y <= start or limit <= start:
        return math.inf
    return max(math.log((limit - start) / theta) / rate - math.log((y - start) / theta) / rate, 0.0)


@dataclass(frozen=True, slots=True)
class Passage:
    """status good, passed, or not estimable; time to the limit at 10, 50 and 90 % probability; drift per time and its standard error."""

    status: str
    soon: float = math.nan
    middle: float = math.nan
    late: float = math.nan
    drift: float = math.nan
    error: float = math.nan


def _quantile(share: float, way: float, drift: float, error: float, sigma: float) -> float:
    """Time at which the passage, averaged over what the drift may be, has this probability."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    drifts = [max(drift + error * float(x), 0.05 * drift) for x in nodes]
    shares = weights / weights.sum()

    def reached(t: float) -> float:
        return float(sum(w * passage(t, way, d, sigma) for w, d in zip(shares, drifts, strict=True)))

    low, high = 0.0, way / drift
    while reached(high) < share and high < 1e6 * way / drift:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < share else (low, middle)
    return (low + high) / 2


def to_limit(time: NDArray[Any], value: NDArray[Any], limit: float) -> Passage:
    """When a drifting value (n,) at rising times (n,) passes the limit, above or below; gaps are allowed. 10 or more steps.

    >>> t = np.arange(200.0)
    >>> p = to_limit(t, 10 + 0.05 * t + 0.1 * np.sin(t), 30.0)
    >>> p.status, p.soon < 200 < p.late
    ('good', True)
    """
    t, x = np.asarray(time, np.float64), np.asarray(value, np.float64)
    if len(t) != len(x) or not (np.diff(t) > 0).all():
        raise ValueError(f"trend: expected rising times with a value each, found {len(t)} times and {len(x)} values")
    known = np.isfinite(x)
    t, x = t[known], x[known]
    if len(x) < LEAST_STEPS + 1:
        return Passage("not estimable")
    sign = 1.0 if limit >= x[0] else -1.0
    way = sign * (limit - float(x[-1]))
    if way <= 0.0:
        return Passage("passed", 0.0, 0.0, 0.0)
    dt, dx = np.diff(t), sign * np.diff(x)
    drift = float(dx.sum() / dt.sum())
    sigma = math.sqrt(float(np.mean((dx - drift * dt) ** 2 / dt)))
    error = sigma / math.sqrt(float(dt.sum()))
    if drift <= 0.0 or drift < _CLEAR * error:
        return Passage("not estimable", drift=sign * drift, error=error)
    if sigma == 0.0:
        return Passage("good", way / drift, way / drift, way / drift, sign * drift, 0.0)
    soon, middle, late = (_quantile(q, way, drift, error, sigma) for q in (0.1, 0.5, 0.9))
    return Passage("good", soon, middle, late, sign * drift, error)
