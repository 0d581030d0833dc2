"""Page-Hinkley test: a slow drift of the mean, with the answers of River's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, check_learned, check_rows, enough
from models.compiled import kernel
from models.model import ModelConfig
from models.state import ArrayState


class PageHinkleyConfig(ModelConfig):
    """Page-Hinkley test per tag: `drift` is 1 on the row at which the mean has moved, `ratio` the test statistic over its threshold.

    Row for row the answers of `drift.PageHinkley` of River with the same constants, in a kernel. Constants are in the tag's unit: prefer CUSUM
    where sigma is known. The test begins anew behind each drift. With a `file` its mean is that of the training (Page 1954) and stays.
    """

    kind: Literal["page_hinkley"] = "page_hinkley"
    delta: float = Field(0.005, ge=0)
    """Change of the mean in the tag's unit that is tolerated."""
    threshold: float = Field(50.0, gt=0)
    """Cumulated departure from the mean in the tag's unit at which a drift is told."""
    memory: float = Field(0.9999, gt=0, le=1)
    """Factor with which older departures are forgotten from row to row (River's alpha)."""
    least_rows: int = Field(30, ge=1, le=1_000_000)
    """Usable values before the first answer (River's min_instances); a trained one answers at once."""
    direction: Literal["both", "up", "down"] = "both"
    """Which drifts are told."""

    @classmethod
    def bank(cls) -> type[PageHinkley]:
        """The bank that runs it."""
        return PageHinkley


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[:, ::1], int64[:, ::1], int64[::1], float64[::1], float64[:, ::1])"
)
def page_hinkley(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    constants: NDArray[np.float64],
    counts: NDArray[np.int64],
    rows: NDArray[np.int64],
    mean: NDArray[np.float64],
    sums: NDArray[np.float64],
) -> None:
    """Judge n rows (Page 1954; Mouss et al. 2004; River's form).

    constants (slots, 3)  delta, threshold, memory; counts (slots, 3): least rows, direction (0 both, 1 up, 2 down), static or not
    sums (slots, 4)       upward sum and its minimum, downward sum and its maximum, since the last drift
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(4):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if rows[s] == 0:
            sums[s, 0] = 0.0
            sums[s, 1] = 0.0 if counts[s, 2] == 1 else 1e300
            sums[s, 2] = 0.0
            sums[s, 3] = 0.0 if counts[s, 2] == 1 else -1.0
        rows[s] += 1
        if counts[s, 2] == 0:
            mean[s] = mean[s] + (x - mean[s]) / rows[s] if rows[s] > 1 else x
        away = x - mean[s]
        sums[s, 0] = constants[s, 2] * sums[s, 0] + away - constants[s, 0]
        sums[s, 2] = constants[s, 2] * sums[s, 2] + away + constants[s, 0]
        sums[s, 1] = min(sums[s, 1], sums[s, 0])
        sums[s, 3] = max(sums[s, 3], sums[s, 2])
        if rows[s] < counts[s, 0] and counts[s, 2] == 0:
            continue
        up = sums[s, 0] - sums[s, 1] if counts[s, 1] != 2 else 0.0
        down = sums[s, 3] - sums[s, 2] if counts[s, 1] != 1 else 0.0
        most = max(up, down)
        out[i, 0] = 1.0 if most > constants[s, 1] else 0.0
        out[i, 1] = min(most / constants[s, 1], 1e6)
        out[i, 2] = mean[s]
        out[i, 3] = 1.0 if up >= down else -1.0
        if most > constants[s, 1]:
            rows[s] = 0


class PageHinkley(ArrayState):
    """Bank of Page-Hinkley tests (`models/model.py`); an alarm tells the mean so far and the direction."""

    outputs: ClassVar[tuple[str, ...]] = ("drift", "ratio")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("expected", "side")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[PageHinkleyConfig]) -> None:
        n = len(configs)
        self._constants = np.array([[c.delta, c.threshold, c.memory] for c in configs], np.float64).reshape(n, 3)
        self._counts = np.array(
            [[c.least_rows, ("both", "up", "down").index(c.direction), c.file is not None] for c in configs], np.int64
        ).reshape(n, 3)  # fmt: skip
        self._state: dict[str, NDArray[Any]] = {"rows": np.zeros(n, np.int64), "mean": np.zeros(n), "sums": np.zeros((n, 4))}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._counts), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - the test counts rows, not seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._counts), 4, slot, out)
        page_hinkley(slot, value, usable, out, self._constants, self._counts, *self._state.values())

    @classmethod
    def train(cls, config: PageHinkleyConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:  # noqa: ARG003
        """The mean of n usable values; see `models.model.Bank.train`."""
        enough(len(value), max(config.least_rows, 10))
        return {"mean": np.array(value[0] + (value - value[0]).mean())}

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up the mean that `train` found; see `models.model.Bank.settle`."""
        check_learned({"mean": np.zeros(())}, learned)
        self._state["mean"][slot] = learned["mean"]
