"""`seasonal`: a value against what this part of the shift, day or week usually brings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, SCORE_LIMIT, check_learned, check_rows, enough, floored, offsets
from models.compiled import kernel
from models.model import ModelConfig
from models.state import ArrayState

HOUR_NS: Final = 3_600_000_000_000
WINSOR: Final = 5.0
"""A value teaches at most so many sigma once its part of the period is judged."""


class SeasonalConfig(ModelConfig):
    """Mean and spread of a tag in each part of a period (shift 8, day 24, week 168 hours); z is the distance from them in sigma.

    Learns from good values in production only, each part by itself. Prefer `auto` where the period is not known: it looks for day and week.
    With a `file` it keeps the profile that it was trained with.
    """

    kind: Literal["seasonal"] = "seasonal"
    period_h: float = Field(24.0, gt=0, le=8784)
    """Length of the period in hours."""
    parts: int = Field(24, ge=1, le=1008)
    """Parts of the period, each with a mean and spread of its own."""
    offset_h: float = Field(0.0, ge=-168, le=168)
    """Hours added to UTC before the period is counted from 1970-01-01, e.g. the plant's offset; a week begins on a Thursday."""
    least: int = Field(60, ge=2, le=1_000_000)
    """Usable values of a part before it is judged."""
    memory: int = Field(5000, ge=2, le=10_000_000)
    """Values of a part over which its mean and spread are remembered."""
    min_sigma: float = Field(0.0, ge=0)
    """Least sigma in the tag's unit, e.g. its resolution."""

    @classmethod
    def bank(cls) -> type[Seasonal]:
        """The bank that runs it."""
        return Seasonal


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], int64[:, ::1], float64[::1], int64[::1], float64[::1], float64[::1], float64[::1])"
)
def seasonal(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    settings: NDArray[np.int64],
    lowest: NDArray[np.float64],
    start: NDArray[np.int64],
    count: NDArray[np.float64],
    mean: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> None:
    """Judge n rows, each against its part as it was before, then teach the part.

    settings (slots, 5)                     period and offset in ns, least values, memory in values, whether it is static
    count, mean, variance (sum of parts,)   of each part, slot s from start[s]
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        out[i, 0] = np.nan
        out[i, 1] = np.nan
        out[i, 2] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        parts = start[s + 1] - start[s]
        within = (time_ns[i] + settings[s, 1]) % settings[s, 0]
        p = start[s] + min(int(within / settings[s, 0] * parts), parts - 1)
        away = x - mean[p]
        if count[p] >= settings[s, 2]:
            sigma = floored(math.sqrt(variance[p]), mean[p], lowest[s])
            out[i, 0] = min(max(away / sigma, -SCORE_LIMIT), SCORE_LIMIT)
            out[i, 1] = mean[p]
            out[i, 2] = sigma
            away = min(max(away, -WINSOR * sigma), WINSOR * sigma)
        if settings[s, 4] == 1:
            continue
        count[p] += 1.0
        rate = max(1.0 / count[p], 1.0 / settings[s, 3])
        mean[p] += rate * away
        variance[p] = (1.0 - rate) * (variance[p] + rate * away * away)


class Seasonal(ArrayState):
    """Bank of seasonal profiles (`models/model.py`); an alarm tells what was expected and its sigma."""

    outputs: ClassVar[tuple[str, ...]] = ("z",)
    units: ClassVar[tuple[str, ...]] = ("",)
    watched: ClassVar[tuple[str, ...]] = ("z",)
    reasons: ClassVar[tuple[str, ...]] = ("expected", "sigma")
    ragged: ClassVar[tuple[str, ...]] = ("count", "mean", "variance")

    def __init__(self, configs: Sequence[SeasonalConfig]) -> None:
        rows = [[round(c.period_h * HOUR_NS), round(c.offset_h * HOUR_NS), c.least, c.memory, c.file is not None] for c in configs]
        self._settings = np.array(rows, np.int64).reshape(len(configs), 5)
        self._lowest = np.array([c.min_sigma for c in configs], np.float64)
        self._start = offsets(np.array([c.parts for c in configs], np.int64))
        self._state: dict[str, NDArray[Any]] = {name: np.zeros(int(self._start[-1])) for name in self.ragged}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) parts of each slot."""
        return np.diff(self._start)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._lowest), 3, slot, out)
        seasonal(slot, time_ns, value, usable, out, self._settings, self._lowest, self._start, *self._state.values())

    @classmethod
    def train(cls, config: SeasonalConfig, time_ns: NDArray[np.int64], value: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Values, mean and spread of each part behind n usable values; see `models.model.Bank.train`."""
        enough(len(value), max(config.least, 10))
        bank = cls([config.model_copy(update={"file": None})])
        bank.step(np.zeros(len(value), np.int32), time_ns, value, np.ones(len(value), np.uint8), np.empty((len(value), 3)))
        few = np.flatnonzero(bank._state["count"] < config.least)
        if len(few):
            # It would never say anything there.
            hours = config.period_h / config.parts
            said = ", ".join(f"{p * hours:g} h to {(p + 1) * hours:g} h: {bank._state['count'][p]:g}" for p in few.tolist())
            raise ValueError(f"expected at least {config.least} usable rows in each part of the period, found {said}")
        return bank.state()

    def settle(self, slot: int, learned: Mapping[str, NDArray[Any]]) -> None:
        """Take up what `train` found; see `models.model.Bank.settle`."""
        own = {name: array[self._start[slot] : self._start[slot + 1]] for name, array in self._state.items()}
        check_learned(own, learned)
        for name, array in own.items():
            array[...] = learned[name]
