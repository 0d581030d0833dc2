"""`unit`: is a unit of several tags as it was, judged by regularised distances of its filtered, lagged state in a fast and a slow channel."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import enough
from models.compiled import kernel
from models.linear import add_ridge, distance, inverse, mean_and_covariance
from models.model import GroupConfig
from models.reference import GAP_ROWS, MOST_ROWS, FirstRows, moments, standardised, usual_step

LAGS: Final = 3
"""Rows stacked: this one and the two before."""
START: Final = 20
"""First rows left out of every fit, while the filters settle."""
RUN_IN: Final = 30
"""Rows before a held-out block over which its filter is brought to its state."""
RAISE: Final = 6
"""Rows in succession above the limit that make a finding."""
NEVER: Final = -(2**62)
"""Time of the last instant before the first."""
CLEAR: Final = 0.7
"""A finding ends when the ratio has stayed below this for 1 / lambda rows of the slow channel."""
MARGINS: Final = (3.0, 3.5)
"""Growth of the margins of the slow and the fast channel with the unsettled share of the reference (docs/decisions/0050-auto-and-unit.md)."""


class UnitConfig(GroupConfig):
    """Joint state of a unit; ratio 1 is the limit, alarm a state with delay and hysteresis, evaluated 0 while too many inputs are missing.

    Both what lies far out and what breaks the correlations is found: no direction is cut away, small ones are held up by a ridge.
    Prefer `pca` where T2 and SPE are wanted apart, `change` for the time at which a state changed.
    """

    kind: Literal["unit"] = "unit"
    train_rows: int = Field(400, ge=120, le=100_000)
    """Complete instants that teach it what is normal; one operating point, no faults."""
    slow: float = Field(0.1, gt=0, le=1)
    """Weight of one row in the slow channel."""
    slow_distance: float = Field(0.1, gt=0, le=1)
    """Weight of one row in the filter of the slow channel's distance."""
    fast_distance: float = Field(0.3, gt=0, le=1)
    """The same in the fast channel, which takes rows as they are."""
    ridge: float = Field(0.01, gt=0, le=1)
    """Share of the mean variance added to each variance."""
    blocks: int = Field(4, ge=2, le=20)
    """Contiguous parts of the reference, each judged by a model of the others, that set the limit."""
    quantile: float = Field(0.99, gt=0.5, lt=1)
    """Of the held-out distances: the limit before margins."""
    margins: tuple[Annotated[float, Field(ge=0.5, le=20)], Annotated[float, Field(ge=0.5, le=20)]] | None = None
    """By what the limits of the slow and the fast channel are multiplied for what the reference has not seen; by how unsettled it was when absent."""

    @classmethod
    def group(cls) -> type[Unit]:
        """The model that runs it."""
        return Unit


@kernel("void(float64[:, ::1], float64[:, ::1])")
def stack(z: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Each row beside the two before it; before the first row stands the first row."""
    p = z.shape[1]
    for t in range(len(z)):
        for lag in range(LAGS):
            for j in range(p):
                out[t, lag * p + j] = z[max(t - lag, 0), j]


@kernel("void(float64[:, ::1], float64)")
def smooth(rows: NDArray[np.float64], weight: float) -> None:
    """Replace each row by its exponential mean, which begins at 0."""
    for j in range(rows.shape[1]):
        g = 0.0
        for t in range(len(rows)):
            g += weight * (rows[t, j] - g)
            rows[t, j] = g


@kernel("void(float64[:, ::1], int64, int64, float64[::1], float64[:, ::1], float64, float64[::1])")
def distances(
    rows: NDArray[np.float64], begin: int, end: int, mu: NDArray[np.float64], precision: NDArray[np.float64], weight: float, out: NDArray[np.float64]
) -> None:
    """Filtered distances of rows begin .. end; the filter begins at the first of them."""
    d = rows.shape[1]
    away = np.empty(d)
    weighted = np.empty(d)
    q = 0.0
    for t in range(begin, end):
        for j in range(d):
            away[j] = rows[t, j] - mu[j]
        x = distance(precision, away, weighted)
        q = x if t == begin else q + weight * (x - q)
        out[t] = q


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64,"
    " float64[:, ::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[:, ::1], float64[:, ::1], float64[:, :, ::1],"
    " float64[::1], float64[::1], float64[:, ::1], float64[:, ::1], float64[::1], int64[::1])"
)
def judge(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    out: NDArray[np.float64],
    weights: NDArray[np.float64],
    distance_weights: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    mu: NDArray[np.float64],
    precision: NDArray[np.float64],
    limit: NDArray[np.float64],
    rest: NDArray[np.float64],
    lagged: NDArray[np.float64],
    state: NDArray[np.float64],
    filtered: NDArray[np.float64],
    ints: NDArray[np.int64],
) -> None:
    """Judge instants from `begin` on.

    plain (k, k)   precision of single standardised rows, for missing inputs
    mu (2, D), precision (2, D, D), limit (2,), rest (2,)   per channel: mean, precision, limit with its margin, median distance of the reference
    lagged (3, k), state (2, D), filtered (2,)   the last rows, the channels' filters and those of their distances
    ints (6,)      0: seen; 1: longest distance between instants; 2: time of the last; 3: rows above; 4: rows below; 5: alarm
    """
    k = len(mean)
    d = LAGS * k
    z = np.empty(k)
    known = np.empty(k, np.uint8)
    away = np.empty(d)
    weighted = np.empty(d)
    for i in range(begin, len(time_ns)):
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        out[i, 2] = 0.0
        if not standardised(value, usable, i, mean, sd, plain, z, known):
            continue
        gap = time_ns[i] - ints[2] > ints[1]
        ints[2] = time_ns[i]
        if gap:
            for c in range(2):
                filtered[c] = rest[c]
                for j in range(d):
                    state[c, j] = mu[c, j]
            for lag in range(LAGS):
                for j in range(k):
                    lagged[lag, j] = z[j]
        else:
            for j in range(k):
                lagged[2, j] = lagged[1, j]
                lagged[1, j] = lagged[0, j]
                lagged[0, j] = z[j]
        worst = -1.0
        for c in range(2):
            for lag in range(LAGS):
                for j in range(k):
                    at = lag * k + j
                    state[c, at] += weights[c] * (lagged[lag, j] - state[c, at])
                    away[at] = state[c, at] - mu[c, at]
            t = distance(precision[c], away, weighted)
            filtered[c] += distance_weights[c] * (t - filtered[c])
            ratio = filtered[c] / limit[c]
            out[i, 4 + c] = ratio
            if ratio > worst:
                worst = ratio
                out[i, 3] = c
                for j in range(k):
                    share = 0.0
                    mean_away = 0.0
                    for lag in range(LAGS):
                        share += away[lag * k + j] * weighted[lag * k + j]
                        mean_away += away[lag * k + j]
                    out[i, 6 + j] = (share if mean_away >= 0.0 else -share) / max(t, 1e-300)
        ints[3] = ints[3] + 1 if worst > 1.0 else 0
        ints[4] = ints[4] + 1 if worst < CLEAR else 0
        if ints[3] >= RAISE:
            ints[5] = 1
        elif ints[4] >= 1.0 / weights[0]:
            ints[5] = 0
        out[i, 0] = worst
        out[i, 1] = ints[5]
        out[i, 2] = 1.0


class Unit(FirstRows):
    """Model of one unit (`models.model.Group`), trained on its first complete instants, or from a file, then frozen.

    `channel` is 0 when the slow channel leads (a drift or a lasting shift), 1 when the fast one does (a jump).
    """

    outputs: ClassVar[tuple[str, ...]] = ("ratio", "alarm", "evaluated")
    units: ClassVar[tuple[str, ...]] = ("", "", "")
    watched: ClassVar[tuple[str, ...]] = ("ratio",)
    reasons: ClassVar[tuple[str, ...]] = ("channel", "slow", "fast")

    def __init__(self, config: UnitConfig, k: int) -> None:
        d = LAGS * k
        self._weights = np.array([config.slow, 1.0])
        self._distance_weights = np.array([config.slow_distance, config.fast_distance])
        model: dict[str, NDArray[Any]] = {
            "mean": np.zeros(k), "sd": np.ones(k), "plain": np.zeros((k, k)), "mu": np.zeros((2, d)), "precision": np.zeros((2, d, d)),
            "limit": np.ones(2), "rest": np.zeros(2),
        }  # fmt: skip
        now: dict[str, NDArray[Any]] = {
            "lagged": np.zeros((LAGS, k)), "state": np.zeros((2, d)), "filtered": np.zeros(2), "ints": np.array([0, 0, NEVER, 0, 0, 0], np.int64),
        }  # fmt: skip
        super().__init__(config, k, model, now)

    def _judge(
        self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], begin: int, out: NDArray[np.float64]
    ) -> None:
        judge(time_ns, value, usable, begin, out, self._weights, self._distance_weights, *self._model.values(), *self._now.values())

    def _train(self) -> None:
        c, m, now = self._config, self._model, self._now
        rows = self._kept["kept"]
        m["mean"][:], m["sd"][:] = moments(rows)
        z = (rows - m["mean"]) / m["sd"]
        every = np.ones(len(z), np.uint8)
        plain = np.empty_like(m["plain"])
        mean_and_covariance(z, every, np.empty(z.shape[1]), plain)
        add_ridge(plain, c.ridge)
        inverse(plain, m["plain"])
        stacked = np.empty((len(z), LAGS * z.shape[1]))
        stack(z, stacked)
        for channel in range(2):
            g = stacked.copy()
            smooth(g, self._weights[channel])
            weight = float(self._distance_weights[channel])
            held_out = self._held_out(g, weight)
            used = np.arange(len(g)) >= START
            fitted(g, used.view(np.uint8), c.ridge, m["mu"][channel], m["precision"][channel])
            margin = c.margins[channel] if c.margins else max(1.0, 0.6 + MARGINS[channel] * unsettled(rows, c.blocks))
            m["limit"][channel] = margin * max(float(np.quantile(held_out, c.quantile)), 1e-12)
            inside = np.zeros(len(g))
            distances(g, 0, len(g), m["mu"][channel], m["precision"][channel], weight, inside)
            m["rest"][channel] = np.median(inside[START:])
            now["state"][channel] = g[-1]
            now["filtered"][channel] = inside[-1]
        now["lagged"][:] = z[: -LAGS - 1 : -1]
        now["ints"][1:3] = GAP_ROWS * usual_step(self._kept["kept_ns"]), self._kept["kept_ns"][-1]

    def _held_out(self, g: NDArray[np.float64], weight: float) -> NDArray[np.float64]:
        """Filtered distances of every block by a model of the others."""
        found = np.zeros(len(g))
        d = g.shape[1]
        edges = np.linspace(START, len(g), self._config.blocks + 1).astype(int)
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            others = (np.arange(len(g)) >= START) & ((np.arange(len(g)) < a) | (np.arange(len(g)) >= b))
            mu, precision = np.empty(d), np.empty((d, d))
            fitted(g, others.view(np.uint8), self._config.ridge, mu, precision)
            block = np.zeros(len(g))
            distances(g, max(a - RUN_IN, 0), b, mu, precision, weight, block)
            found[a:b] = block[a:b]
        return found[START:]

    @classmethod
    def train(cls, config: UnitConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it learns from n complete instants; see `models.model.Group.train`."""
        enough(len(value), 120, MOST_ROWS)
        model = cls(config.model_copy(update={"file": None, "train_rows": 120}), value.shape[1])
        return model._from(time_ns, value)

    def _learned(self) -> dict[str, NDArray[Any]]:
        return self._model | {"gap": self._now["ints"][1:2]}


def fitted(g: NDArray[np.float64], used: NDArray[np.uint8], ridge: float, mu: NDArray[np.float64], precision: NDArray[np.float64]) -> None:
    """Mean and regularised precision of the rows that are used."""
    covariance = np.empty_like(precision)
    mean_and_covariance(g, used, mu, covariance)
    add_ridge(covariance, ridge)
    inverse(covariance, precision)


def unsettled(rows: NDArray[np.float64], blocks: int) -> float:
    """How far the reference was still moving: the largest share of a tag's variance that lies between contiguous blocks, 0 to 1.

    >>> round(unsettled(np.arange(100.0).reshape(100, 1), 4), 2), unsettled(np.tile([[0.0], [1.0]], (50, 1)), 2)
    (0.94, 0.0)
    """
    spread = np.maximum(rows.var(axis=0), 1e-300)
    means = np.array([block.mean(axis=0) for block in np.array_split(rows, blocks)])
    return float((means.var(axis=0) / spread).max())
