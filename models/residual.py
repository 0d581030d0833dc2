"""`residual`: a chart of what the value before does not foretell, for tags whose values follow from one another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import HUGE, SCORE_LIMIT, check_learned, check_rows, enough, floored, moving_range_sigma, sort, trimmed_mean
from models.chart import ChartBank, ChartConfig
from models.compiled import kernel

NANOSECONDS: Final = 1_000_000_000
MOST_PHI: Final = 0.99
"""A correlation of values with the values before counts at most so much: beyond it the mean cannot be told from a walk."""


class ResidualConfig(ChartConfig):
    """One-step residuals of a first-order autoregression per tag: z is the residual in its sigma, ewma the average of values in its own sigma.

    Process values at 1 Hz follow from one another; charts that take them as independent call often and for nothing. z finds what comes suddenly. For
    lasting shifts ewma is drawn against a sigma that is widened for the correlation. `mu`, `sigma` and `phi` are given together, sigma being that of
    single values. Prefer `ewma` or `cusum` on values that are independent, e.g. one a batch.
    """

    kind: Literal["residual"] = "residual"
    warmup: int = Field(600, ge=2, le=10_000)
    """Usable values that teach mean, sigma and phi when they are not given; more than in other charts: correlated values tell less."""
    phi: float | None = Field(None, ge=-MOST_PHI, le=MOST_PHI)
    """Correlation of a value with the one before it, given together with mu and sigma."""
    lambda_: float = Field(0.2, gt=0, le=1, alias="lambda")
    """Weight of the newest value in the average, 0 < lambda <= 1."""
    gap_s: float = Field(0.0, ge=0, le=31_536_000)
    """Behind an interruption longer than this, in seconds, the value before foretells nothing; 0 never."""
    restart: tuple[Literal["batch", "phase"], ...] = ("batch", "phase")
    """What makes the value before foretell nothing when it begins, as the tags of the unit say; empty where there is one value a batch."""

    @model_validator(mode="after")
    def _all_or_none(self) -> Self:
        if (self.mu is None) != (self.phi is None):
            raise ValueError("mu, sigma, phi: expected all or none, found some")
        return self

    @classmethod
    def bank(cls) -> type[Residual]:
        """The bank that runs it."""
        return Residual


@kernel("float64(float64, float64)")
def widened(phi: float, weight: float) -> float:
    """Sigma of an EWMA over sigma of single values when those follow from one another with correlation phi.

    sqrt(lambda / (2 - lambda) (1 + phi (1 - lambda)) / (1 - phi (1 - lambda)))

    >>> round(widened(0.0, 0.2), 6), round(widened(0.8, 0.2), 6)
    (0.333333, 0.711458)
    """
    left = phi * (1.0 - weight)
    return math.sqrt(weight / (2.0 - weight) * (1.0 + left) / (1.0 - left))


@kernel("void(int64, float64[::1], int64, int64, float64[::1], float64[::1], float64[::1], float64[::1])")
def autoregression(
    s: int, kept: NDArray[np.float64], a: int, b: int, least: NDArray[np.float64], mu: NDArray[np.float64], sigma: NDArray[np.float64],
    phi: NDArray[np.float64],
) -> None:
    """mu[s], phi[s] and sigma[s] (of single values) from kept[a:b] in order, which becomes zeros.

    phi is the correlation of neighbours; mu comes from the trimmed mean of x_t - phi x_(t-1), sigma from the moving ranges of these residuals.
    """
    anchor = kept[a]
    mean = 0.0
    for i in range(a, b):
        kept[i] -= anchor
        mean += kept[i]
    mean /= b - a
    both = 0.0
    square = 0.0
    for i in range(a, b):
        square += (kept[i] - mean) * (kept[i] - mean)
        if i > a:
            both += (kept[i] - mean) * (kept[i - 1] - mean)
    phi[s] = min(max(both / square, -MOST_PHI), MOST_PHI) if square > 0.0 else 0.0
    for i in range(b - 1, a, -1):
        kept[i] -= phi[s] * kept[i - 1]
    spread = moving_range_sigma(kept, a + 1, b)
    sort(kept, a + 1, b)
    mu[s] = anchor + trimmed_mean(kept, a + 1, b) / (1.0 - phi[s])
    sigma[s] = floored(spread / math.sqrt(1.0 - phi[s] * phi[s]), mu[s], least[s])
    for i in range(a, b):
        kept[i] = 0.0


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], float64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1],"
    " float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], int64[:, ::1])"
)
def residual(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    weight: NDArray[np.float64],
    gap: NDArray[np.int64],
    least: NDArray[np.float64],
    start: NDArray[np.int64],
    seen: NDArray[np.int64],
    kept: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
    phi: NDArray[np.float64],
    previous: NDArray[np.float64],
    mean: NDArray[np.float64],
    when: NDArray[np.int64],
) -> None:
    """z = (x - mu - phi (x_before - mu)) / (sigma sqrt(1 - phi2)); ewma = (mean - mu) / (sigma widened) (Montgomery, ch. 10.4).

    when (slots, 2)  whether there is a value before, and its time
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(5):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        size = start[s + 1] - start[s]
        if seen[s] < size:
            kept[start[s] + seen[s]] = x
            seen[s] += 1
            if seen[s] == size:
                autoregression(s, kept, start[s], start[s + 1], least, mu, sigma, phi)
                mean[s] = mu[s]
                previous[s] = x
                when[s, 0] = 1
                when[s, 1] = time_ns[i]
            continue
        known = when[s, 0] == 1 and not (gap[s] > 0 and time_ns[i] - when[s, 1] > gap[s])
        if not known:
            mean[s] = mu[s]
        expected = mu[s] + phi[s] * (previous[s] - mu[s]) if known else mu[s]
        sd = floored(sigma[s] * math.sqrt(1.0 - phi[s] * phi[s]), mu[s], least[s]) if known else sigma[s]
        mean[s] += weight[s] * (x - mean[s])
        out[i, 0] = min(max((x - expected) / sd, -SCORE_LIMIT), SCORE_LIMIT)
        out[i, 1] = min(max((mean[s] - mu[s]) / (sigma[s] * widened(phi[s], weight[s])), -SCORE_LIMIT), SCORE_LIMIT)
        out[i, 2] = expected
        out[i, 3] = sd
        out[i, 4] = phi[s]
        previous[s] = x
        when[s, 0] = 1
        when[s, 1] = time_ns[i]


class Residual(ChartBank):
    """Bank of residual charts (`models/model.py`).

    >>> bank = Residual([ResidualConfig(tags=("a",), mu=10, sigma=0.5, phi=0.8)])
    >>> out = np.empty((2, 5))
    >>> bank.step(np.zeros(2, np.int32), np.arange(2), np.array([11.0, 11.0]), np.ones(2, np.uint8), out)
    >>> out[:, 0].round(4).tolist(), out[1, 2:].round(4).tolist()
    ([2.0, 0.6667], [10.8, 0.3, 0.8])
    """

    outputs: ClassVar[tuple[str, ...]] = ("z", "ewma")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ("z",)
    reasons: ClassVar[tuple[str, ...]] = ("expected", "sd", "phi")

    def __init__(self, configs: Sequence[ResidualConfig]) -> None:
        n = len(configs)
        self._weight = np.array([c.lambda_ for c in configs], np.float64)
        self._roles = [c.restart for c in configs]
        self._gap = np.array([round(c.gap_s * NANOSECONDS) for c in configs], np.int64)
        mu = np.array([c.mu or 0.0 for c in configs], np.float64)
        phi = np.array([c.phi or 0.0 for c in configs], np.float64)
        super().__init__(configs, {"phi": phi, "previous": mu.copy(), "mean": mu.copy(), "when": np.zeros((n, 2), np.int64)})

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._weight), 5, slot, out)
        residual(slot, time_ns, value, usable, out, self._weight, self._gap, self._least, self._start, *self._state.values())

    @classmethod
    def train(cls, config: Any, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """mu, sigma and phi of n usable values, or those that are configured; see `models.model.Bank.train`."""
        if config.phi is not None:
            return super().train(config, time_ns, value) | {"phi": np.array(config.phi)}
        enough(len(value), 10)
        found = {name: np.zeros(1) for name in ("mu", "sigma", "phi")}
        autoregression(0, value.copy(), 0, len(value), np.array([config.min_sigma]), *found.values())
        return {name: a.reshape(()) for name, a in found.items()}

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up mu, sigma and phi that `train` found; the average begins at mu."""
        check_learned({"mu": np.zeros(()), "sigma": np.zeros(()), "phi": np.zeros(())}, learned)
        for name, array in learned.items():
            self._state[name][slot] = array
        self._state["mean"][slot] = self._state["previous"][slot] = learned["mu"]

    def restart(self, slot: int, role: str) -> None:
        """A batch or phase has begun: the next value is not foretold, and the average begins at mu."""
        if role in self._roles[slot]:
            self._state["when"][slot, 0] = 0
