"""`change`: the moments at which a unit of several tags passes from one state to another."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import enough
from models.compiled import kernel
from models.linear import distance, inverse, mean_and_covariance
from models.model import GroupConfig
from models.reference import GAP_ROWS, MOST_ROWS, FirstRows, moments, standardised, usual_step


class ChangeConfig(GroupConfig):
    """Means of two windows of a unit compared; score 1 is the largest difference of the reference, call is 1 on the row of a change.

    Tells when a state changed, not whether it is normal: prefer `unit` for that.
    """

    kind: Literal["change"] = "change"
    train_rows: int = Field(400, ge=120, le=100_000)
    """Complete instants that teach it how far windows differ without a change."""
    window: int = Field(20, ge=3, le=1000)
    """Instants in each window."""
    between: int = Field(20, ge=0, le=1000)
    """Instants between the two windows."""
    refractory: int = Field(45, ge=1, le=100_000)
    """Instants after a call before the next."""
    ridge: float = Field(0.1, gt=0, le=10)
    """Added to each variance, in variances of the reference."""

    @classmethod
    def group(cls) -> type[Change]:
        """The model that runs it."""
        return Change


@kernel("float64(float64[:, ::1], int64, int64, int64, float64[:, ::1], float64[::1], float64[::1])")
def difference(
    ring: NDArray[np.float64],
    newest: int,
    window: int,
    between: int,
    precision: NDArray[np.float64],
    away: NDArray[np.float64],
    weighted: NDArray[np.float64],
) -> float:
    """window / 2 (a - b)' precision (a - b), a the mean of the last window that ends at ring[newest], b of the one before it; away becomes a - b."""
    size = len(ring)
    k = ring.shape[1]
    for j in range(k):
        away[j] = 0.0
    for r in range(window):
        for j in range(k):
            away[j] += ring[(newest - r) % size, j] - ring[(newest - r - window - between) % size, j]
    for j in range(k):
        away[j] /= window
    return 0.5 * window * distance(precision, away, weighted)


@kernel(
    "void(Array(int64, 1, 'C', readonly=True), Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64,"
    " float64[:, ::1], int64, int64, int64, float64[::1], float64[::1], float64[:, ::1], float64[:, ::1], float64[::1], float64[:, ::1],"
    " int64[::1])"
)
def judge(
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    out: NDArray[np.float64],
    window: int,
    between: int,
    refractory: int,
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    precision: NDArray[np.float64],
    limit: NDArray[np.float64],
    ring: NDArray[np.float64],
    ints: NDArray[np.int64],
) -> None:
    """Judge instants from `begin` on; ring (2 window + between, k) holds the last rows.

    ints (5,)  0: seen; 1: longest distance between instants; 2: time of the last; 3: rows since an interruption; 4: rows since the last call
    """
    k = len(mean)
    known = np.empty(k, np.uint8)
    z = np.empty(k)
    away = np.empty(k)
    weighted = np.empty(k)
    for i in range(begin, len(time_ns)):
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        if not standardised(value, usable, i, mean, sd, plain, z, known):
            continue
        if time_ns[i] - ints[2] > ints[1]:
            ints[3] = 0
        ints[2] = time_ns[i]
        at = ints[3] % len(ring)
        for j in range(k):
            ring[at, j] = z[j]
        ints[3] += 1
        ints[4] += 1
        if ints[3] < len(ring):
            continue
        s = difference(ring, at, window, between, precision, away, weighted)
        out[i, 0] = s / limit[0]
        out[i, 1] = 0.0
        if s > limit[0] and ints[4] > refractory:
            out[i, 1] = 1.0
            ints[4] = 0
        whole = 0.0
        for j in range(k):
            whole += away[j] * weighted[j]
        for j in range(k):
            share = away[j] * weighted[j] / max(whole, 1e-300)
            out[i, 2 + j] = share if away[j] >= 0.0 else -share


class Change(FirstRows):
    """Model of the changes of one unit (`models.model.Group`), trained on its first complete instants, or from a file, then frozen."""

    outputs: ClassVar[tuple[str, ...]] = ("score", "call")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ("score",)
    reasons: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ChangeConfig, k: int) -> None:
        size = 2 * config.window + config.between
        model: dict[str, NDArray[Any]] = {
            "mean": np.zeros(k), "sd": np.ones(k), "plain": np.zeros((k, k)), "precision": np.zeros((k, k)), "limit": np.ones(1)
        }  # fmt: skip
        now: dict[str, NDArray[Any]] = {"ring": np.zeros((size, k)), "ints": np.array([0, 0, 0, 0, 1 << 40], np.int64)}
        super().__init__(config, k, model, now)

    def _judge(self, time_ns: NDArray[np.int64], value: NDArray[np.float64], usable: NDArray[np.uint8], begin: int, out: NDArray[np.float64]) -> None:
        c = self._config
        judge(time_ns, value, usable, begin, out, c.window, c.between, c.refractory, *self._model.values(), *self._now.values())

    def _train(self) -> None:
        c, m, now = self._config, self._model, self._now
        rows = self._kept["kept"]
        m["mean"][:], m["sd"][:] = moments(rows)
        z = (rows - m["mean"]) / m["sd"]
        covariance = np.empty_like(m["precision"])
        mean_and_covariance(z, np.ones(len(z), np.uint8), np.empty(z.shape[1]), covariance)
        covariance += c.ridge * np.eye(len(covariance))
        inverse(covariance, m["precision"])
        m["plain"][:] = m["precision"]
        size = len(now["ring"])
        away, weighted = np.empty(z.shape[1]), np.empty(z.shape[1])
        m["limit"][0] = max(difference(z, t, c.window, c.between, m["precision"], away, weighted) for t in range(size - 1, len(z)))
        ints = now["ints"]
        ints[1:4] = GAP_ROWS * usual_step(self._kept["kept_ns"]), self._kept["kept_ns"][-1], len(z)
        for t in range(len(z) - size, len(z)):
            now["ring"][t % size] = z[t]

    @classmethod
    def train(cls, config: ChangeConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """What it learns from n complete instants; see `models.model.Group.train`."""
        enough(len(value), max(120, 2 * config.window + config.between), MOST_ROWS)
        model = cls(config.model_copy(update={"file": None, "train_rows": 120}), value.shape[1])
        return model._from(time_ns, value)

    def _learned(self) -> dict[str, NDArray[Any]]:
        return self._model | {"gap": self._now["ints"][1:2]}
