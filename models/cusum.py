"""CUSUM control chart: lasting shifts of the mean, with the row at which they began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, check_rows, follow, learned
from models.chart import ChartBank, FollowingConfig
from models.compiled import kernel


class CusumConfig(FollowingConfig):
    """A two-sided standardised CUSUM per tag; its output c is the larger of C+ and C-, in sigma.

    Quickest for a shift of 2 k sigma; usual decision interval h: 4 to 5 (in-control run length 168 to 465 rows for k = 0.5).
    Prefer EWMA where the size of the shift is wanted. Rows are taken as independent, as in `ewma`.
    """

    kind: Literal["cusum"] = "cusum"
    k: float = Field(0.5, ge=0)
    """Allowance in sigma: half of the shift to be found."""
    ceiling: float = Field(50.0, gt=0)
    """C+ and C- are held at this, in sigma, so that the chart returns soon after a large fault has gone."""

    @classmethod
    def bank(cls) -> type[Cusum]:
        """The bank that runs it."""
        return Cusum


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], float64[::1], float64[::1], boolean[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[::1],"
    " float64[:, ::1], int64[:, ::1], float64[::1])"
)
def cusum(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    allowance: NDArray[np.float64],
    ceiling: NDArray[np.float64],
    least: NDArray[np.float64],
    adapt: NDArray[np.bool_],
    start: NDArray[np.int64],
    seen: NDArray[np.int64],
    kept: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
    sums: NDArray[np.float64],
    run: NDArray[np.int64],
    previous: NDArray[np.float64],
) -> None:
    """C+ = max(0, C+ + u - k), C- = max(0, C- - u - k), u = (x - mu) / sigma (Montgomery, ch. 9.1).

    sums (slots, 2)  C+ and C-
    run  (slots, 2)  rows since each was last 0
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        out[i, 0] = np.nan
        out[i, 1] = np.nan
        out[i, 2] = np.nan
        out[i, 3] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if seen[s] < start[s + 1] - start[s]:
            learned(s, x, start, seen, kept, least, mu, sigma)
            previous[s] = x
            continue
        u = (x - mu[s]) / sigma[s]
        high = min(max(0.0, sums[s, 0] + u - allowance[s]), ceiling[s])
        low = min(max(0.0, sums[s, 1] - u - allowance[s]), ceiling[s])
        sums[s, 0] = high
        sums[s, 1] = low
        run[s, 0] = run[s, 0] + 1 if high > 0.0 else 0
        run[s, 1] = run[s, 1] + 1 if low > 0.0 else 0
        side = 0 if high >= low else 1
        out[i, 0] = sums[s, side]
        out[i, 1] = 0.0 if sums[s, side] == 0.0 else 1.0 - 2.0 * side
        out[i, 2] = run[s, side]
        out[i, 3] = mu[s]
        if adapt[s]:
            follow(s, x, least, previous, mu, sigma)


class Cusum(ChartBank):
    """Bank of CUSUM charts (`models/model.py`).

    `side` is +1 when C+ leads, -1 when C- leads, 0 at rest; the shift began `run` rows ago.

    >>> bank = Cusum([CusumConfig(tags=("a",), mu=10, sigma=0.2)])
    >>> out = np.empty((5, 4))
    >>> bank.step(np.zeros(5, np.int32), np.arange(5), np.array([10.1, 10.3, 10.4, 10.5, 10.6]), np.ones(5, np.uint8), out)
    >>> out[:, 0].round(9).tolist(), out[4, 1:3].tolist()
    ([0.0, 1.0, 2.5, 4.5, 7.0], [1.0, 4.0])
    """

    outputs: ClassVar[tuple[str, ...]] = ("c",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ("c",)
    reasons: ClassVar[tuple[str, ...]] = ("side", "run", "expected")

    def __init__(self, configs: Sequence[CusumConfig]) -> None:
        n = len(configs)
        self._allowance = np.array([c.k for c in configs], np.float64)
        self._ceiling = np.array([c.ceiling for c in configs], np.float64)
        self._adapt = np.array([c.adapt for c in configs], np.bool_)
        more: dict[str, NDArray[Any]] = {"sums": np.zeros((n, 2)), "run": np.zeros((n, 2), np.int64), "previous": np.full(n, np.nan)}
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
        check_rows(len(self._allowance), 4, slot, out)
        cusum(slot, value, usable, out, self._allowance, self._ceiling, self._least, self._adapt, self._start, *self._state.values())
