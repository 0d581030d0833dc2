"""`wear`: a tag that drifts towards a limit (filter dP, pump power, valve stiction, vibration): health, and when the limit is passed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import check_rows
from models.compiled import kernel
from models.model import UnlearnedConfig
from models.state import ArrayState

POINTS: Final = 240
"""Means that a drift is taken from at the most; of more the oldest leave."""
LEAST: Final = 11
"""Means before a drift is looked for."""
CLEAR: Final = 3.0
"""A drift of fewer standard errors towards the limit is no drift."""
LONGEST_H: Final = 1e6
"""Times beyond this are not told, hours."""
_MOST: Final = 1e12


@cache
def _nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nine nodes of a standard normal distribution and their shares, as of Gauss and Hermite; numpy loads its polynomials for them."""
    nodes, weights = (np.ascontiguousarray(a, np.float64) for a in np.polynomial.hermite_e.hermegauss(9))
    return nodes, weights / weights.sum()


class WearConfig(UnlearnedConfig):
    """Health 1 at `healthy`, 0 at `limit`, and hours until the limit is passed at 10, 50 and 90 % probability (Wiener process with drift).

    Means over `every_h` are looked at, 240 of them at the most. A drift that is not clearly towards the limit gives no remaining life. A step back by
    `serviced` of the way is taken as a service: what was before is forgotten. It learns nothing else.
    """

    kind: Literal["wear"] = "wear"
    limit: float
    """Value at which the part is worn, in the tag's unit; above or below `healthy`."""
    healthy: float
    """Value of a part as when new."""
    every_h: float = Field(1.0, ge=1e-4, le=24 * 7)
    """Hours over which a mean is taken."""
    serviced: float = Field(0.4, gt=0, le=2)
    """Share of the way from healthy to limit by which a mean must step back for a service."""
    lead_h: float = Field(72.0, ge=0, le=1e6)
    """Hours that the work needs from its order: with less left at the early end of the range the advice is to act."""
    horizon_h: float = Field(336.0, ge=0, le=1e6)
    """Hours behind these for which work is planned."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.limit == self.healthy:
            raise ValueError(f"limit: expected another value than healthy, found {self.limit:g} for both")
        return self

    @classmethod
    def bank(cls) -> type[Wear]:
        """The bank that runs it."""
        return Wear


@kernel("float64(float64, float64, float64, float64)")
def passage(t: float, way: float, drift: float, sigma: float) -> float:
    """Probability that `way` is passed within t (inverse Gaussian); the twin of `models.prognosis.trend.passage`."""
    if way <= 0.0:
        return 1.0
    if t <= 0.0:
        return 0.0
    root = sigma * math.sqrt(t)
    first = 0.5 * math.erfc((way - drift * t) / root / math.sqrt(2.0))
    z = (way + drift * t) / root / math.sqrt(2.0)
    second = 0.5 * math.exp(min(2.0 * drift * way / (sigma * sigma), 700.0)) * math.erfc(z) if z < 25.0 else 0.0
    share: float = min(first + second, 1.0)
    return share


@kernel("float64(float64, float64, float64, float64, float64, float64[::1], float64[::1])")
def reached(t: float, way: float, drift: float, error: float, sigma: float, nodes: Any, shares: Any) -> float:
    """The passage averaged over what the drift may be."""
    total = 0.0
    for k in range(len(nodes)):
        total += shares[k] * passage(t, way, max(drift + error * nodes[k], 0.05 * drift), sigma)
    return total


@kernel("float64(float64, float64, float64, float64, float64, float64[::1], float64[::1])")
def quantile(share: float, way: float, drift: float, error: float, sigma: float, nodes: Any, shares: Any) -> float:
    """Time at which the passage has this probability."""
    low, high = 0.0, way / drift
    while reached(high, way, drift, error, sigma, nodes, shares) < share and high < 1e6 * way / drift:
        low, high = high, 2.0 * high
    for _ in range(60):
        middle = 0.5 * (low + high)
        if reached(middle, way, drift, error, sigma, nodes, shares) < share:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


@kernel("void(float64[::1], float64[::1], int64, float64, float64, float64[::1], float64[::1], float64[::1])")
def judged(hours: Any, means: Any, n: int, limit: float, healthy: float, nodes: Any, shares: Any, out: Any) -> None:
    """What n means (oldest first) at hours say: out (8,) health, rul, low, high, drift per h, level, standard error of the drift, n."""
    for c in range(8):
        out[c] = np.nan
    level = means[n - 1]
    out[0] = 1.0 - min(max((level - healthy) / (limit - healthy), 0.0), 1.0)
    out[5] = level
    out[7] = n
    sign = 1.0 if limit >= healthy else -1.0
    way = sign * (limit - level)
    if way <= 0.0:
        out[1], out[2], out[3] = 0.0, 0.0, 0.0
        return
    if n < LEAST:
        return
    span = hours[n - 1] - hours[0]
    drift = sign * (level - means[0]) / span
    squares = 0.0
    for i in range(1, n):
        dt = hours[i] - hours[i - 1]
        rest = sign * (means[i] - means[i - 1]) - drift * dt
        squares += rest * rest / dt
    sigma = math.sqrt(squares / (n - 1))
    error = sigma / math.sqrt(span)
    out[4] = sign * drift
    out[6] = error
    if drift <= 0.0 or drift < CLEAR * error or way > LONGEST_H * drift:
        return
    if sigma <= 1e-9 * drift * math.sqrt(span):
        out[1], out[2], out[3] = way / drift, way / drift, way / drift
        return
    out[1] = quantile(0.5, way, drift, error, sigma, nodes, shares)
    out[2] = quantile(0.1, way, drift, error, sigma, nodes, shares)
    out[3] = min(quantile(0.9, way, drift, error, sigma, nodes, shares), LONGEST_H)


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], float64[:, ::1], float64[::1], float64[::1],"
    " float64[:, ::1], float64[:, ::1], int64[:, ::1], float64[::1])"
)
def wear(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    options: NDArray[np.float64],
    nodes: NDArray[np.float64],
    shares: NDArray[np.float64],
    hours: NDArray[np.float64],
    means: NDArray[np.float64],
    ints: NDArray[np.int64],
    total: NDArray[np.float64],
) -> None:
    """options (slots, 4): limit, healthy, ns of a mean, step back of a service; hours, means (slots, POINTS) oldest first;
    ints (slots, 4): means held, number of the open one, its values, number of the first; total (slots,) sum of the open one."""
    points = hours.shape[1]
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= _MOST:
            continue
        part = time_ns[i] // np.int64(options[s, 2])
        if ints[s, 2] > 0 and part < ints[s, 1]:
            continue  # of a mean that is told already
        if ints[s, 2] > 0 and part > ints[s, 1]:
            mean = total[s] / ints[s, 2]
            n = ints[s, 0]
            back = (means[s, n - 1] - mean) / (options[s, 0] - options[s, 1]) if n > 0 else 0.0
            if back >= options[s, 3]:
                n = 0
            if n == points:
                for k in range(1, n):
                    hours[s, k - 1] = hours[s, k]
                    means[s, k - 1] = means[s, k]
                n -= 1
            if n == 0:
                ints[s, 3] = ints[s, 1]
            hours[s, n] = options[s, 2] * (ints[s, 1] - ints[s, 3]) / 3.6e12
            means[s, n] = mean
            ints[s, 0] = n + 1
            ints[s, 2] = 0
            total[s] = 0.0
            judged(hours[s], means[s], n + 1, options[s, 0], options[s, 1], nodes, shares, out[i])
        ints[s, 1] = part
        ints[s, 2] += 1
        total[s] += x


class Wear(ArrayState):
    """Bank of drifts (`models.model.Bank`); it speaks once for each mean, with the first value behind it."""

    outputs: ClassVar[tuple[str, ...]] = ("health", "rul", "rul_low", "rul_high", "drift")
    units: ClassVar[tuple[str, ...]] = ("", "h", "h", "h", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("level", "drift_error", "means")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[WearConfig]) -> None:
        n = len(configs)
        self._options = np.array([(c.limit, c.healthy, round(3600e9 * c.every_h), c.serviced) for c in configs], np.float64).reshape(n, 4)
        self._state: dict[str, NDArray[Any]] = {
            "hours": np.zeros((n, POINTS)), "means": np.zeros((n, POINTS)), "ints": np.zeros((n, 4), np.int64), "total": np.zeros(n),
        }  # fmt: skip

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._options), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._options), 8, slot, out)
        wear(slot, time_ns, value, usable, out, self._options, *_nodes(), *self._state.values())

    def renew(self, slot: int) -> None:
        """The part is as new: the means before count no more, nor do the values of the open one."""
        self._state["ints"][slot, 0] = self._state["ints"][slot, 2] = 0
        self._state["total"][slot] = 0.0
