"""`pca`: classical monitoring of a unit by principal components, T2 within the known correlations and SPE off them."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import enough
from models.compiled import kernel
from models.limits import spe_limit, t2_limit
from models.linear import add_ridge, eigen, inverse, mean_and_covariance
from models.model import GroupConfig
from models.reference import FirstRows, moments, standardised

CHUNK: Final = 1 << 16
"""Rows standardised at a time when a model is trained from a file."""
ROWS: Final = 5
"""Alarm when 3 of the last 5 instants were above a limit."""


class PcaConfig(GroupConfig):
    """T2 and SPE in multiples of their limits; alarm is 1 while 3 of the last 5 instants were above one, evaluated 0 while too much is missing.

    High T2 with low SPE is unusual size along known correlations; high SPE is a broken correlation: a sensor fault or a new mode.
    Rows are taken as independent; prefer `unit` where tags are strongly autocorrelated.
    """

    kind: Literal["pca"] = "pca"
    train_rows: int = Field(500, ge=8, le=100_000)
    """Complete instants that teach it; five times as many as tags or more."""
    components: int | None = Field(None, ge=1, le=200)
    """Principal components kept; those with an eigenvalue above 1 when absent."""
    quantile: float = Field(0.99, gt=0.5, lt=1)
    """Probability that a normal instant is below each limit."""

    @classmethod
    def group(cls) -> type[Pca]:
        """The model that runs it."""
        return Pca


@kernel("void(float64[::1], float64[:, ::1], float64[::1], int64, float64[::1], float64[::1])")
def components(
    z: NDArray[np.float64], vectors: NDArray[np.float64], values: NDArray[np.float64], a: int, t: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """out[0] T2, out[1] SPE, then per input the signed square of its residual (k) and its complete decomposition share of T2 (k)."""
    k = len(z)
    t2 = 0.0
    for c in range(a):
        t[c] = 0.0
        for j in range(k):
            t[c] += vectors[j, c] * z[j]
        t2 += t[c] * t[c] / values[c]
    spe = 0.0
    for j in range(k):
        fit = 0.0
        weight = 0.0
        for c in range(a):
            fit += vectors[j, c] * t[c]
            weight += t[c] / values[c] * vectors[j, c]
        r = z[j] - fit
        spe += r * r
        out[2 + j] = r * r if r >= 0.0 else -r * r
        out[2 + k + j] = z[j] * weight
    out[0] = t2
    out[1] = spe


@kernel(
    "void(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[:, ::1],"
    " float64[::1], float64[::1], float64[:, ::1], float64[:, ::1], float64[::1], float64[::1], int64[::1])"
)
def judge(
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    out: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    vectors: NDArray[np.float64],
    values: NDArray[np.float64],
    limit: NDArray[np.float64],
    ints: NDArray[np.int64],
) -> None:
    """Judge instants from `begin` on. ints (3,): rows seen; components kept; the last instants above a limit, one bit each."""
    k = len(mean)
    a = ints[1]
    known = np.empty(k, np.uint8)
    z = np.empty(k)
    t = np.empty(k)
    found = np.empty(2 + 2 * k)
    for i in range(begin, len(value)):
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        out[i, 3] = 0.0
        if not standardised(value, usable, i, mean, sd, plain, z, known):
            continue
        components(z, vectors, values, a, t, found)
        t2 = found[0] / limit[0]
        spe = found[1] / limit[1]
        ints[2] = ((ints[2] << 1) & 31) | (1 if t2 > 1.0 or spe > 1.0 else 0)
        above = 0
        for r in range(ROWS):
            above += (ints[2] >> r) & 1
        out[i, 0] = t2
        out[i, 1] = spe
        out[i, 2] = 1.0 if above >= 3 else 0.0
        out[i, 3] = 1.0
        off = spe >= t2
        out[i, 4] = 1.0 if off else 0.0
        for j in range(k):
            whole = max(found[1] if off else found[0], 1e-300)
            share = found[2 + j] if off else found[2 + k + j]
            out[i, 5 + j] = share / whole


class Pca(FirstRows):
    """Model of one unit (`models.model.Group`), trained on its first complete instants, or from a file, then frozen.

    `off` is 1 when SPE leads; the shares are then squares of residuals with their signs, else the parts of T2, which may be negative.
    """

    outputs: ClassVar[tuple[str, ...]] = ("t2", "spe", "alarm", "evaluated")
    units: ClassVar[tuple[str, ...]] = ("", "", "", "")
    watched: ClassVar[tuple[str, ...]] = ("t2", "spe")
    reasons: ClassVar[tuple[str, ...]] = ("off",)

    def __init__(self, config: PcaConfig, k: int) -> None:
        model: dict[str, NDArray[Any]] = {
            "mean": np.zeros(k), "sd": np.ones(k), "plain": np.zeros((k, k)), "vectors": np.zeros((k, k)), "values": np.ones(k), "limit": np.ones(2)
        }  # fmt: skip
        now: dict[str, NDArray[Any]] = {"ints": np.zeros(3, np.int64)}
        super().__init__(config, k, model, now)

    def _judge(
        self,
        time_ns: NDArray[np.int64],  # noqa: ARG002 - instants are judged one by one
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        begin: int,
        out: NDArray[np.float64],
    ) -> None:
        judge(value, usable, begin, out, *self._model.values(), *self._now.values())

    def _train(self) -> None:
        m, rows = self._model, self._kept["kept"]
        m["mean"][:], m["sd"][:] = moments(rows)
        covariance = np.empty_like(m["plain"])
        mean_and_covariance((rows - m["mean"]) / m["sd"], np.ones(len(rows), np.uint8), np.empty(rows.shape[1]), covariance)
        self._fit(covariance, len(rows))

    def _fit(self, covariance: NDArray[np.float64], rows: int) -> None:
        c, m = self._config, self._model
        regular = covariance.copy()
        add_ridge(regular, 0.01)
        inverse(regular, m["plain"])
        eigen(covariance, m["values"], m["vectors"])
        wanted = c.components or int((m["values"] > 1.0).sum())
        a = max(1, min(wanted, int((m["values"] > 1e-9).sum()), rows - 2))
        self._now["ints"][1] = a
        m["limit"][:] = t2_limit(c.quantile, a, rows), max(spe_limit(c.quantile, m["values"][a:].tolist()), 1e-12)

    @classmethod
    def train(cls, config: PcaConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        """What it learns from n complete instants; see `models.model.Group.train`."""
        enough(len(value), max(8, value.shape[1] + 2))
        model = cls(config.model_copy(update={"file": "", "train_rows": 8}), value.shape[1])
        m = model._model
        m["mean"][:], m["sd"][:] = moments(value)
        covariance = np.zeros_like(m["plain"])
        for begin in range(0, len(value), CHUNK):  # by BLAS: what is kept is the file, never the way to it
            z = (value[begin : begin + CHUNK] - m["mean"]) / m["sd"]
            covariance += z.T @ z
        model._fit(covariance / (len(value) - 1), len(value))
        return model._learned()

    def _learned(self) -> dict[str, NDArray[Any]]:
        return self._model | {"components": self._now["ints"][1:2]}
