"""`budget`: thresholds for scores out of how many false findings an operator position may get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.baseline import HUGE, check_rows
from models.compiled import kernel
from models.model import ModelConfig
from models.state import ArrayState

FINDING: Final = "finding"
"""The output that is 1 while a finding lasts."""
PEAKS: Final = 32
"""Greatest blocks that are remembered, of the present and of the earlier half of the memory."""
SPARED: Final = 12
"""So many of them may be real events: they do not widen the tail."""
BLOCKS: Final = 64
"""Blocks that have to be over before anything is said."""
MOST: Final = 1e30
"""A score counts at most so much."""
EMPTY: Final = -1e31
REACHED: Final = 0.98
"""Share of the highest score that a threshold does not leave behind: else nothing could ever be found."""
DAY_S: Final = 86_400.0
_BEGUN, _OVER, _EARLIER, _ABOVE, _FOUND, _FIRST = range(6)
_GREATEST, _LEVEL, _SLOPE = range(3)


class BudgetConfig(ModelConfig):
    """Findings of scores of many tags that share one budget of an operator position: how many false ones may come in a day or a month.

    A score is cut into blocks of `apart_s`. The greatest value of each is one chance of a finding, however many rows it has and however they hang
    together. The greatest blocks of what was seen give the tail: exponential over the 32nd greatest, its slope from the ranks behind the twelve
    greatest, which may be real faults. The threshold of each tag is where this tail leaves it its equal share of the budget.
    What is above it until it has been below it for `apart_s` is one finding. It always goes on learning: it is advisory and never a limit.
    """

    kind: Literal["budget"] = "budget"
    per_day: float | None = Field(None, gt=0, le=1000)
    """False findings a day, of all tags together."""
    per_month: float | None = Field(None, gt=0, le=30_000)
    """The same for 30 days."""
    apart_s: float = Field(300.0, gt=0, le=86_400)
    """Seconds of a block, and seconds below the threshold after which a finding is over: longer than a disturbance of the plant lasts."""
    settle_h: float = Field(48.0, ge=0, le=8760)
    """Hours from the first score on that do not count: a detector's first days, while it learns the calendar, are not like those behind."""
    memory_days: float = Field(60.0, gt=0, le=3650)
    """Days of scores that are remembered; at least half of them count."""
    among: int = Field(1, ge=1)
    """Tags that share it; the edge counts them when it starts."""

    highest: float | None = None
    """The highest value that the score can take, where it has one; the edge knows that of `auto`. The threshold stays below it."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.file is not None:
            raise ValueError("no file: budget goes on learning")
        if (self.per_day is None) == (self.per_month is None):
            raise ValueError("either per_day or per_month")
        return self

    @property
    def chance(self) -> float:
        """Findings of one tag in one block.

        >>> round(BudgetConfig(tags=("a",), per_day=2.88, among=10).chance, 6)
        0.001
        """
        a_day = self.per_day if self.per_day is not None else (self.per_month or 0.0) / 30.0
        return min(a_day / self.among * self.apart_s / DAY_S, 0.5)

    @classmethod
    def bank(cls) -> type[Budget]:
        """The bank that runs it."""
        return Budget


@kernel("void(float64[:, ::1], float64[:, :, ::1], int64[:, ::1], int64)")
def _tail(numbers: NDArray[np.float64], peaks: NDArray[np.float64], counts: NDArray[np.int64], s: int) -> None:
    """Level and slope of the tail of slot s from its greatest blocks."""
    blocks = counts[s, _OVER] + counts[s, _EARLIER]
    if blocks < BLOCKS:
        return
    total = 0.0
    weight = 0.0
    a = 0
    b = 0
    level = 0.0
    for rank in range(1, PEAKS + 1):
        if peaks[s, 0, a] >= peaks[s, 1, b]:
            level = peaks[s, 0, a]
            a = min(a + 1, PEAKS - 1)
        else:
            level = peaks[s, 1, b]
            b = min(b + 1, PEAKS - 1)
        if SPARED < rank < PEAKS:
            total += level
            weight += (rank - SPARED) / rank
    # Spacings of an exponential tail (Renyi 1953): the expected sum of the excesses of ranks SPARED + 1 to PEAKS - 1 is `weight` slopes.
    slope = max((total - (PEAKS - 1 - SPARED) * level) / weight, 0.0)
    numbers[s, _LEVEL] = level
    numbers[s, _SLOPE] = slope


@kernel("void(float64[:, :, ::1], int64, float64)")
def _keep(peaks: NDArray[np.float64], s: int, x: float) -> None:
    """Put x among the greatest of the present half."""
    place = PEAKS
    while place > 0 and peaks[s, 0, place - 1] < x:
        place -= 1
    for j in range(PEAKS - 1, place, -1):
        peaks[s, 0, j] = peaks[s, 0, j - 1]
    if place < PEAKS:
        peaks[s, 0, place] = x


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], float64[::1], float64[::1],"
    " int64[::1], int64[::1], int64[::1],"
    " float64[:, ::1], float64[:, :, ::1], int64[:, ::1])"
)
def budget(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    chance: NDArray[np.float64],
    highest: NDArray[np.float64],
    apart_ns: NDArray[np.int64],
    settle_ns: NDArray[np.int64],
    half: NDArray[np.int64],
    numbers: NDArray[np.float64],
    peaks: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """half (slots,) blocks of half the memory.

    numbers (slots, 3)           greatest value of the open block, level and slope of the tail
    peaks   (slots, 2, PEAKS)    greatest blocks of the present and the earlier half, falling
    counts  (slots, 6)           open block, blocks over of either half, last time above the threshold, whether a finding lasts, first time
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(4):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if counts[s, _FIRST] < 0:
            counts[s, _FIRST] = time_ns[i]
        if time_ns[i] - counts[s, _FIRST] < settle_ns[s]:
            continue
        x = min(max(x, -MOST), MOST)
        block = time_ns[i] // apart_ns[s]
        if block > counts[s, _BEGUN]:
            if counts[s, _BEGUN] >= 0:
                _keep(peaks, s, numbers[s, _GREATEST])
                counts[s, _OVER] += 1
                if counts[s, _OVER] >= half[s]:
                    for j in range(PEAKS):
                        peaks[s, 1, j] = peaks[s, 0, j]
                        peaks[s, 0, j] = EMPTY
                    counts[s, _EARLIER] = counts[s, _OVER]
                    counts[s, _OVER] = 0
                _tail(numbers, peaks, counts, s)
            counts[s, _BEGUN] = block
            numbers[s, _GREATEST] = x
        else:
            numbers[s, _GREATEST] = max(numbers[s, _GREATEST], x)
        blocks = counts[s, _OVER] + counts[s, _EARLIER]
        if blocks < BLOCKS:
            continue
        rate = PEAKS / blocks
        slope = numbers[s, _SLOPE]
        threshold = min(numbers[s, _LEVEL] + slope * math.log(max(rate / chance[s], 1.0)), highest[s])
        if x > threshold:
            counts[s, _FOUND] = 1
            counts[s, _ABOVE] = time_ns[i]
        elif counts[s, _FOUND] == 1 and time_ns[i] - counts[s, _ABOVE] >= apart_ns[s]:
            counts[s, _FOUND] = 0
        out[i, 0] = counts[s, _FOUND]
        out[i, 1] = threshold
        out[i, 2] = x
        if x > numbers[s, _LEVEL] and slope > 0.0:
            rate *= math.exp(-min((x - numbers[s, _LEVEL]) / slope, 700.0))
        out[i, 3] = rate * DAY_S / (1e-9 * apart_ns[s])


class Budget(ArrayState):
    """Bank of thresholds (`models/model.py`); `a_day` says how often a score like this one comes by chance in a day, 32 blocks at the most.

    >>> bank = Budget([BudgetConfig(tags=("a",), per_day=1)])
    >>> rng, rows = np.random.default_rng(1), 86_400
    >>> out = np.empty((rows, 4))
    >>> x = rng.exponential(size=rows)
    >>> x[80_000:80_100] = 40.0
    >>> bank.step(np.zeros(rows, np.int32), np.arange(rows) * 10**10, x, np.ones(rows, np.uint8), out)
    >>> began = np.flatnonzero(np.diff(np.nan_to_num(out[:, 0])) == 1) + 1
    >>> len(began) < 25, 80_000 in began
    (True, True)
    """

    outputs: ClassVar[tuple[str, ...]] = (FINDING, "threshold")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("score", "a_day")
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[BudgetConfig]) -> None:
        n = len(configs)
        self._chance = np.array([c.chance for c in configs], np.float64)
        self._highest = np.array([MOST if c.highest is None else REACHED * c.highest for c in configs], np.float64)
        self._apart_ns = np.array([round(c.apart_s * 1e9) for c in configs], np.int64)
        self._settle_ns = np.array([round(c.settle_h * 3600e9) for c in configs], np.int64)
        self._half = np.array([max(BLOCKS, round(c.memory_days * DAY_S / c.apart_s / 2)) for c in configs], np.int64)
        counts = np.zeros((n, 6), np.int64)
        counts[:, (_BEGUN, _FIRST)] = -1
        self._state: dict[str, NDArray[Any]] = {"numbers": np.zeros((n, 3)), "peaks": np.full((n, 2, PEAKS), EMPTY), "counts": counts}

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._chance), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._chance), 4, slot, out)
        budget(slot, time_ns, value, usable, out, self._chance, self._highest, self._apart_ns, self._settle_ns, self._half, *self._state.values())

