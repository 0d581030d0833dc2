"""EWMA control chart: small lasting shifts of the mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, SCORE_LIMIT, check_rows, follow, learned
from models.chart import ChartBank, FollowingConfig
from models.compiled import kernel


class EwmaConfig(FollowingConfig):
    """An EWMA chart per tag; its output z is in standard deviations of the average.

    Finds shifts of 0.5 to 2 sigma; prefer CUSUM to know when the shift began and robust z for single wild values. The charts take rows as
    independent: aggregate or thin out strongly autocorrelated tags, or give `sigma`.
    """

    kind: Literal["ewma"] = "ewma"
    lambda_: float = Field(0.2, gt=0, le=1, alias="lambda")
    """Weight of the newest value, 0 < lambda <= 1."""

    @classmethod
    def bank(cls) -> type[Ewma]:
        """The bank that runs it."""
        return Ewma


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], float64[::1], float64[::1], boolean[::1], int64[::1], int64[::1], float64[::1], float64[::1], float64[::1],"
    " float64[::1], float64[::1])"
)
def ewma(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    weight: NDArray[np.float64],
    spread: NDArray[np.float64],
    least: NDArray[np.float64],
    adapt: NDArray[np.bool_],
    start: NDArray[np.int64],
    seen: NDArray[np.int64],
    kept: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
    mean: NDArray[np.float64],
    previous: NDArray[np.float64],
) -> None:
    """z_i = z_(i-1) + lambda (x_i - z_(i-1)), z_0 = mu; judged against sigma sqrt(lambda / (2 - lambda)) (Montgomery, ch. 9.2).

    spread (slots,)  sqrt(lambda / (2 - lambda))
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
            if learned(s, x, start, seen, kept, least, mu, sigma):
                mean[s] = mu[s]
            previous[s] = x
            continue
        mean[s] += weight[s] * (x - mean[s])
        sd = spread[s] * sigma[s]
        out[i, 0] = min(max((mean[s] - mu[s]) / sd, -SCORE_LIMIT), SCORE_LIMIT)
        out[i, 1] = mean[s]
        out[i, 2] = mu[s]
        out[i, 3] = sd
        if adapt[s]:
            follow(s, x, least, previous, mu, sigma)


class Ewma(ChartBank):
    """Bank of EWMA charts (`models/model.py`).

    >>> bank = Ewma([EwmaConfig(tags=("a",), mu=10, sigma=0.2)])
    >>> out = np.empty((4, 4))
    >>> bank.step(np.zeros(4, np.int32), np.arange(4), np.array([10.1, 10.3, 10.4, 10.5]), np.ones(4, np.uint8), out)
    >>> out[:, 1].round(4).tolist(), round(float(out[3, 0]), 3)
    ([10.02, 10.076, 10.1408, 10.2126], 3.19)
    """

    outputs: ClassVar[tuple[str, ...]] = ("z",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ("z",)
    reasons: ClassVar[tuple[str, ...]] = ("mean", "expected", "sd")

    def __init__(self, configs: Sequence[EwmaConfig]) -> None:
        n = len(configs)
        self._weight = np.array([c.lambda_ for c in configs], np.float64)
        self._spread = np.array([math.sqrt(c.lambda_ / (2.0 - c.lambda_)) for c in configs], np.float64)
        self._adapt = np.array([c.adapt for c in configs], np.bool_)
        more: dict[str, NDArray[Any]] = {"mean": np.array([c.mu or 0.0 for c in configs], np.float64), "previous": np.full(n, np.nan)}
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
        check_rows(len(self._weight), 4, slot, out)
        ewma(slot, value, usable, out, self._weight, self._spread, self._least, self._adapt, self._start, *self._state.values())

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up mu and sigma that `train` found; the average begins at mu."""
        super().settle(slot, learned)
        self._state["mean"][slot] = learned["mu"]
