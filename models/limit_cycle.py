"""`limit_cycle`: whether a tag swings to and fro regularly, as a loop with a sticking valve or too sharp a controller does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.baseline import HUGE, check_rows
from models.compiled import kernel
from models.model import UnlearnedConfig
from models.state import ArrayState

MOST: Final = 99.0
"""Regularity is told up to this."""


class LimitCycleConfig(UnlearnedConfig):
    """Regular swings of a tag: `cycling` is 1 while the last `cycles` cycles were alike in length and height.

    It learns nothing. Judge the controlled value or, better, the controller's output of a loop: a valve that sticks makes it rise and fall in
    straight lines, a controller that is too sharp in sines (`shape`).
    """

    kind: Literal["limit_cycle"] = "limit_cycle"
    swing: float = Field(gt=0)
    """Smallest movement, in the tag's unit, that counts as a turn: above its noise, below the swings that matter."""
    cycles: int = Field(10, ge=3, le=64)
    """Whole cycles that must be alike."""
    regular: float = Field(1.5, gt=0)
    """Regularity from which on they are: of noise and of loops that are well one row in 200 reached 1.5, one in 30 reached 1."""
    longest_s: float = Field(1800.0, gt=0)
    """Half a cycle that takes longer ends the run."""

    @classmethod
    def bank(cls) -> type[LimitCycle]:
        """The bank that runs it."""
        return LimitCycle


@kernel("float64(float64[::1], int64, int64, int64)")
def alike(a: NDArray[np.float64], first: int, last: int, step: int) -> float:
    """A third of mean over standard deviation of the sums of `step` neighbours each; above 1 is regular."""
    n = (last - first) // step
    mean = 0.0
    for j in range(n):
        for c in range(step):
            mean += a[first + j * step + c]
    mean /= n
    square = 0.0
    for j in range(n):
        whole = 0.0
        for c in range(step):
            whole += a[first + j * step + c]
        square += (whole - mean) * (whole - mean)
    if not square > 0.0:
        return MOST
    return float(min(MOST, mean / (3.0 * np.sqrt(square / (n - 1)))))


@kernel("void(float64[::1], int64, int64, float64)")
def push(a: NDArray[np.float64], first: int, last: int, x: float) -> None:
    """Let x follow the numbers of a[first:last], whose oldest goes."""
    for j in range(first, last - 1):
        a[j] = a[j + 1]
    a[last - 1] = x


@kernel("void(float64[:, ::1], int64, float64)")
def moved(sums: NDArray[np.float64], s: int, by: float) -> None:
    """What came behind the extreme becomes part of the half cycle; `by` lies the extreme from where that began.

    sums (slots, 6): count, sum and sum of squares from the turn to the extreme, seen from the turn; the same behind the extreme, seen from it.
    """
    n, first, second = sums[s, 3], sums[s, 4], sums[s, 5]
    sums[s, 0] += n
    sums[s, 1] += first + n * by
    sums[s, 2] += second + 2.0 * by * first + n * by * by
    for c in range(3, 6):
        sums[s, c] = 0.0


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], float64[::1], float64[::1], float64[::1], int64[::1], int64[:, ::1], int64[:, ::1],"
    " float64[:, ::1], float64[:, ::1], float64[::1], float64[::1], float64[::1])"
)
def limit_cycle(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    swing: NDArray[np.float64],
    regular: NDArray[np.float64],
    longest_s: NDArray[np.float64],
    place: NDArray[np.int64],
    whole: NDArray[np.int64],
    at: NDArray[np.int64],
    ends: NDArray[np.float64],
    sums: NDArray[np.float64],
    length: NDArray[np.float64],
    height: NDArray[np.float64],
    shape: NDArray[np.float64],
) -> None:
    """Follow the turns of each slot.

    place (slots + 1,)  where each slot's half cycles stand in length (s), height (tag's unit) and shape, the newest last
    whole (slots, 3)    direction (0 none yet, 1 up, -1 down), turns, half cycles kept
    at (slots, 2)       time of the last turn and of the extreme behind it; ends (slots, 2) their values; sums as in `moved`
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        first, last = place[s], place[s + 1]
        most = last - first
        if whole[s, 0] != 0 and 1e-9 * (time_ns[i] - at[s, 0]) > longest_s[s]:
            whole[s, 0] = 0
        if whole[s, 0] == 0:
            if whole[s, 1] == 0 or 1e-9 * (time_ns[i] - at[s, 0]) > longest_s[s]:
                whole[s, 1], whole[s, 2] = 1, 0
                at[s, 0], ends[s, 0] = time_ns[i], x
            elif abs(x - ends[s, 0]) >= swing[s]:
                whole[s, 0] = 1 if x > ends[s, 0] else -1
                at[s, 1], ends[s, 1] = time_ns[i], x
                for c in range(6):
                    sums[s, c] = 0.0
                sums[s, 0], sums[s, 1], sums[s, 2] = 1.0, x - ends[s, 0], (x - ends[s, 0]) * (x - ends[s, 0])
        else:
            away = (x - ends[s, 1]) * whole[s, 0]
            sums[s, 3] += 1.0
            sums[s, 4] += x - ends[s, 1]
            sums[s, 5] += (x - ends[s, 1]) * (x - ends[s, 1])
            if away > 0.0:
                before = ends[s, 1] - ends[s, 0]
                moved(sums, s, before)
                at[s, 1], ends[s, 1] = time_ns[i], x
            elif -away >= swing[s]:
                if whole[s, 1] > 1:
                    tall = abs(ends[s, 1] - ends[s, 0])
                    n, mean = sums[s, 0], sums[s, 1] / sums[s, 0]
                    push(length, first, last, 1e-9 * (at[s, 1] - at[s, 0]))
                    push(height, first, last, tall)
                    push(shape, first, last, 12.0 * max(0.0, sums[s, 2] / n - mean * mean) / (tall * tall))
                    whole[s, 2] = min(most, whole[s, 2] + 1)
                whole[s, 1] += 1
                whole[s, 0] = -whole[s, 0]
                at[s, 0], ends[s, 0] = at[s, 1], ends[s, 1]
                at[s, 1], ends[s, 1] = time_ns[i], x
                for c in range(3):
                    sums[s, c], sums[s, c + 3] = sums[s, c + 3], 0.0
        if whole[s, 2] < most:
            out[i, 0] = 0.0
            continue
        period, tall, form = 0.0, 0.0, 0.0
        for j in range(first, last):
            period += length[j]
            tall += height[j]
            form += shape[j]
        period *= 2.0 / most
        if whole[s, 0] == 0 or 1e-9 * (time_ns[i] - at[s, 0]) > 1.5 * period:
            whole[s, 0], whole[s, 1], whole[s, 2] = 0, 0, 0
            out[i, 0] = 0.0
            continue
        found = min(alike(length, first, last, 2), alike(height, first, last, 1))
        out[i, 0] = 1.0 if found > regular[s] else 0.0
        out[i, 1] = period
        out[i, 2] = tall / most
        out[i, 3] = found
        out[i, 4] = form / most


class LimitCycle(ArrayState):
    """Bank of regular swings (`models/model.py`).

    A turn is where a value has gone back from its extreme by `swing`. regularity is a third of the mean over the standard deviation, of the
    lengths of whole cycles or the heights of half ones, whichever is less (after Thornhill, Huang and Zhang 2003, J. Process Control 13, 91). shape
    is twelve times the variance within a half cycle over its height squared: 1 for straight lines, 1.5 for a sine, less for steps.

    >>> bank = LimitCycle([LimitCycleConfig(tags=("a",), swing=1.0, cycles=3)])
    >>> t = np.arange(40)
    >>> out = np.empty((40, 5))
    >>> bank.step(np.zeros(40, np.int32), t * 10**9, np.abs(t % 8 - 4.0), np.ones(40, np.uint8), out)
    >>> out[-1, :4].tolist()
    [1.0, 8.0, 4.0, 99.0]
    """

    outputs: ClassVar[tuple[str, ...]] = ("cycling", "period", "height")
    units: ClassVar[tuple[str, ...]] = ("", "s", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("regularity", "shape")
    ragged: ClassVar[tuple[str, ...]] = ("length", "height", "shape")

    def __init__(self, configs: Sequence[LimitCycleConfig]) -> None:
        n = len(configs)
        self._sizes = np.array([2 * c.cycles for c in configs], np.int64)
        self._place = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._sizes)]).astype(np.int64)
        self._swing = np.array([c.swing for c in configs], np.float64)
        self._regular = np.array([c.regular for c in configs], np.float64)
        self._longest_s = np.array([c.longest_s for c in configs], np.float64)
        halves = int(self._sizes.sum())
        self._state: dict[str, NDArray[Any]] = {
            "whole": np.zeros((n, 3), np.int64), "at": np.zeros((n, 2), np.int64), "ends": np.zeros((n, 2)), "sums": np.zeros((n, 6)),
            "length": np.zeros(halves), "height": np.zeros(halves), "shape": np.zeros(halves),
        }  # fmt: skip

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) half cycles of each slot."""
        return self._sizes

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._sizes), 5, slot, out)
        limit_cycle(slot, time_ns, value, usable, out, self._swing, self._regular, self._longest_s, self._place, *self._state.values())

