"""`mahalanobis`: the distance of a row from the reference, in its own spread and correlations."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.compiled import kernel
from models.linear import add_ridge, distance, inverse, mean_and_covariance
from models.reference_group import ReferenceConfig, ReferenceGroup, closed, opened


class MahalanobisConfig(ReferenceConfig):
    """Regularised Mahalanobis distance of single rows; ratio 1 is the limit, alarm is 1 while 3 of the last 5 instants were above it.

    One number for all that departs from the reference, at once and without memory. Prefer `unit`, which adds lags and filters to the same distance,
    where small lasting faults count, and `pca` where size and broken correlation are wanted apart.
    """

    kind: Literal["mahalanobis"] = "mahalanobis"
    ridge: float = Field(0.01, gt=0, le=1)
    """Share of the mean variance added to each variance."""

    @classmethod
    def group(cls) -> type[Mahalanobis]:
        """The model that runs it."""
        return Mahalanobis


@kernel(
    "void(Array(float64, 2, 'C', readonly=True), Array(uint8, 2, 'C', readonly=True), int64, float64[:, ::1], float64[::1], float64[::1],"
    " float64[:, ::1], float64[::1], float64[::1], float64[:, ::1], int64[::1])"
)
def judge(
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    begin: int,
    out: NDArray[np.float64],
    mean: NDArray[np.float64],
    sd: NDArray[np.float64],
    plain: NDArray[np.float64],
    limit: NDArray[np.float64],
    centre: NDArray[np.float64],
    precision: NDArray[np.float64],
    ints: NDArray[np.int64],
) -> None:
    """Judge instants from `begin` on."""
    k = len(mean)
    z = np.empty(k)
    weighted = np.empty(k)
    known = np.empty(k, np.uint8)
    share = np.empty(k)
    for i in range(begin, len(value)):
        if not opened(value, usable, i, out, mean, sd, plain, z, known):
            continue
        for j in range(k):
            z[j] -= centre[j]
        d = distance(precision, z, weighted)
        for j in range(k):
            part = z[j] * weighted[j] / max(d, 1e-300)
            share[j] = part if z[j] >= 0.0 else -part
        closed(out, i, d, share, limit, ints)


class Mahalanobis(ReferenceGroup):
    """Model of one unit (`models.model.Group`); `score` is the squared distance, shares are its complete decomposition with the deviations' signs."""

    def __init__(self, config: MahalanobisConfig, k: int) -> None:
        super().__init__(config, k, {"centre": np.zeros(k), "precision": np.zeros((k, k))})

    def _fit(self, rows: NDArray[np.float64], used: NDArray[np.bool_]) -> None:
        m = self._model
        covariance = np.empty_like(m["precision"])
        mean_and_covariance(rows, used.view(np.uint8), m["centre"], covariance)
        add_ridge(covariance, self._config.ridge)
        inverse(covariance, m["precision"])

    def _scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        weighted = np.empty(rows.shape[1])
        return np.array([[distance(self._model["precision"], row - self._model["centre"], weighted)] for row in rows])

    def _judge(
        self,
        time_ns: NDArray[np.int64],  # noqa: ARG002 - rows stand for themselves
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        begin: int,
        out: NDArray[np.float64],
    ) -> None:
        m = self._model
        judge(value, usable, begin, out, m["mean"], m["sd"], m["plain"], m["limit"], m["centre"], m["precision"], self._now["ints"])
