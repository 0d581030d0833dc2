"""Shewhart chart of single values and their moving range (I-MR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from models.baseline import D2, D4, HUGE, SCORE_LIMIT, check_rows, learned
from models.chart import ChartBank, ChartConfig
from models.compiled import kernel


class ShewhartConfig(ChartConfig):
    """An I-MR chart per tag: z is the value in sigma from the mean (usual limit 3), mr the step to the value before over its upper limit.

    Finds single large departures; prefer `spc` for the run rules, EWMA or CUSUM for small lasting shifts. Sigma of the warm-up is the mean moving
    range over 1.128. Rows are taken as independent, as in `ewma`.
    """

    kind: Literal["shewhart"] = "shewhart"

    @classmethod
    def bank(cls) -> type[Shewhart]:
        """The bank that runs it."""
        return Shewhart


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[::1], float64[::1])"
)
def shewhart(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    least: NDArray[np.float64],
    start: NDArray[np.int64],
    seen: NDArray[np.int64],
    kept: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
    previous: NDArray[np.float64],
) -> None:
    """z = (x - mu) / sigma; mr = |x - previous| / (3.267 x 1.128 sigma) (Montgomery, ch. 6.4)."""
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(5):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if seen[s] < start[s + 1] - start[s]:
            learned(s, x, start, seen, kept, least, mu, sigma)
            previous[s] = x
            continue
        out[i, 0] = min(max((x - mu[s]) / sigma[s], -SCORE_LIMIT), SCORE_LIMIT)
        if not np.isnan(previous[s]):
            out[i, 1] = min(abs(x - previous[s]) / (D4 * D2 * sigma[s]), SCORE_LIMIT)
        out[i, 2] = mu[s]
        out[i, 3] = mu[s] - 3.0 * sigma[s]
        out[i, 4] = mu[s] + 3.0 * sigma[s]
        previous[s] = x


class Shewhart(ChartBank):
    """Bank of I-MR charts (`models/model.py`).

    >>> bank = Shewhart([ShewhartConfig(tags=("a",), mu=10, sigma=0.25611)])
    >>> out = np.empty((2, 5))
    >>> bank.step(np.zeros(2, np.int32), np.arange(2), np.array([10.0, 10.9438]), np.ones(2, np.uint8), out)
    >>> out[1, :2].round(3).tolist(), out[1, 3:].round(4).tolist()
    ([3.685, 1.0], [9.2317, 10.7683])
    """

    outputs: ClassVar[tuple[str, ...]] = ("z", "mr")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ("z",)
    reasons: ClassVar[tuple[str, ...]] = ("expected", "lower", "upper")

    def __init__(self, configs: Sequence[ShewhartConfig]) -> None:
        more: dict[str, NDArray[Any]] = {"previous": np.full(len(configs), np.nan)}
        super().__init__(configs, more)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - the chart counts rows, not seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._least), 5, slot, out)
        shewhart(slot, value, usable, out, self._least, self._start, *self._state.values())
