"""ADWIN: a window that grows while the mean stays and is cut where it moved, with the answers of River's."""

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

LEVELS: Final = 32
"""Lists of buckets: level i holds buckets of 2^i rows."""
MOST_BUCKETS: Final = 10
MOST_ROWS: Final = 2.0**33
"""A window that has grown so long is begun anew."""


class AdwinConfig(ModelConfig):
    """Adaptive windowing per tag: `drift` is 1 on the row at which the mean has moved, `width` the rows over which it has not.

    Row for row the answers of `drift.ADWIN` of River with the same constants, in a kernel. No constant is in the tag's unit. For values that are
    independent of one another: where they follow from one another it calls drift for nothing. It begins anew behind each drift. Always adaptive, so
    advisory: it compares the halves of one window, and a frozen half is a known mean. Prefer `cusum`, or `page_hinkley` with a file, where there is
    one.
    """

    kind: Literal["adwin"] = "adwin"
    delta: float = Field(0.002, gt=0, lt=1)
    """Chance of a false drift at one look, as its bound has it; the bound is wide, so there are fewer."""
    clock: int = Field(32, ge=1, le=100_000)
    """Rows between two looks."""
    max_buckets: int = Field(5, ge=2, le=MOST_BUCKETS)
    """Buckets of one size; more find the cut more exactly."""
    min_window: int = Field(5, ge=1, le=100_000)
    """Least rows on either side of a cut (River's min_window_length)."""
    least_rows: int = Field(10, ge=1, le=1_000_000)
    """Rows before the first look (River's grace_period)."""

    @model_validator(mode="after")
    def _no_file(self) -> Self:
        if self.file is not None:
            raise ValueError(
                "no file: adwin is always adaptive: it compares parts of its own window; train cusum or page_hinkley against a mean that is known"
            )
        return self

    @classmethod
    def bank(cls) -> type[Adwin]:
        """The bank that runs it."""
        return Adwin


@kernel("void(int64, int64, int64, int64[:, ::1], float64[:, :, ::1], float64[:, :, ::1])")
def drop(s: int, level: int, count: int, buckets: NDArray[np.int64], total: NDArray[np.float64], variance: NDArray[np.float64]) -> None:
    """Forget the oldest buckets of one size."""
    left = buckets[s, level] - count
    for k in range(left):
        total[s, level, k] = total[s, level, k + count]
        variance[s, level, k] = variance[s, level, k + count]
    for k in range(left, left + count):
        total[s, level, k] = 0.0
        variance[s, level, k] = 0.0
    buckets[s, level] = left


@kernel("void(int64, float64, int64, int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1], float64[:, :, ::1])")
def insert(
    s: int,
    x: float,
    most: int,
    ints: NDArray[np.int64],
    sums: NDArray[np.float64],
    buckets: NDArray[np.int64],
    total: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> None:
    """Add one row as a bucket of its own and join the two oldest wherever there are more than `most` of one size."""
    width = np.float64(ints[s, 0] + 1)
    ints[s, 0] += 1
    at = buckets[s, 0]
    total[s, 0, at] = x
    variance[s, 0, at] = 0.0
    buckets[s, 0] += 1
    if width > 1.0:
        away = x - sums[s, 0] / (width - 1.0)
        sums[s, 1] += (width - 1.0) * away * away / width
    sums[s, 0] += x
    for level in range(LEVELS - 1):
        if buckets[s, level] <= most:
            break
        n = 2.0**level
        a = total[s, level, 0]
        b = total[s, level, 1]
        apart = a / n - b / n
        up = buckets[s, level + 1]
        total[s, level + 1, up] = a + b
        variance[s, level + 1, up] = variance[s, level, 0] + variance[s, level, 1] + n * n * apart * apart / (n + n)
        buckets[s, level + 1] += 1
        drop(s, level, 2, buckets, total, variance)


@kernel("boolean(int64, float64, float64, int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1], float64[:, :, ::1])")
def cut(
    s: int,
    delta: float,
    least: float,
    ints: NDArray[np.int64],
    sums: NDArray[np.float64],
    buckets: NDArray[np.int64],
    total: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> bool:
    """Forget the oldest bucket while some cut parts the window into two of different means; whether there was any (Bifet and Gavalda, 2007)."""
    found = False
    again = True
    while again:
        again = False
        oldest = LEVELS - 1
        while oldest > 0 and buckets[s, oldest] == 0:
            oldest -= 1
        n0 = 0.0
        n1 = np.float64(ints[s, 0])
        u0 = 0.0
        u1 = sums[s, 0]
        for level in range(oldest, -1, -1):
            if again:
                break
            n = 2.0**level
            for k in range(buckets[s, level]):
                if level == 0 and k == buckets[s, level] - 1:
                    break
                n0 += n
                n1 -= n
                u0 += total[s, level, k]
                u1 -= total[s, level, k]
                if n0 < least or n1 < least:
                    continue
                width = np.float64(ints[s, 0])
                chance = math.log(2.0 * math.log(width) / delta)
                shorter = 1.0 / (n0 - least + 1.0) + 1.0 / (n1 - least + 1.0)
                bound = math.sqrt(2.0 * shorter * (sums[s, 1] / width) * chance) + 2.0 / 3.0 * chance * shorter
                if abs(u0 / n0 - u1 / n1) > bound:
                    again = True
                    found = True
                    break
        if again:
            n = 2.0**oldest
            u = total[s, oldest, 0]
            ints[s, 0] -= np.int64(n)
            sums[s, 0] -= u
            width = np.float64(ints[s, 0])
            apart = u / n - sums[s, 0] / width
            sums[s, 1] -= variance[s, oldest, 0] + n * width * apart * apart / (n + width)
            drop(s, oldest, 1, buckets, total, variance)
    return found


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True), Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[::1], int64[:, ::1], int64[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1], float64[:, :, ::1])"
)
def adwin(
    slot: NDArray[np.int32],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    delta: NDArray[np.float64],
    constants: NDArray[np.int64],
    ints: NDArray[np.int64],
    sums: NDArray[np.float64],
    buckets: NDArray[np.int64],
    total: NDArray[np.float64],
    variance: NDArray[np.float64],
) -> None:
    """Judge n rows.

    constants (slots, 4)  clock, most buckets of one size, least rows on either side of a cut, rows before the first look
    ints (slots, 3)       rows in the window, rows since the last drift, whether the last row was one
    sums (slots, 2)       sum of the window and of its squared deviations
    buckets (slots, LEVELS), total, variance (slots, LEVELS, MOST_BUCKETS + 1)  the window, oldest bucket of each size first
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(3):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if ints[s, 2] == 1 or ints[s, 0] >= MOST_ROWS:
            for c in range(3):
                ints[s, c] = 0
            for level in range(LEVELS):
                drop(s, level, buckets[s, level], buckets, total, variance)
            sums[s, 0] = 0.0
            sums[s, 1] = 0.0
        insert(s, x, constants[s, 1], ints, sums, buckets, total, variance)
        ints[s, 1] += 1
        drift = False
        if ints[s, 1] % constants[s, 0] == 0 and ints[s, 0] > constants[s, 3]:
            drift = cut(s, delta[s], np.float64(constants[s, 2]), ints, sums, buckets, total, variance)
        ints[s, 2] = 1 if drift else 0
        out[i, 0] = 1.0 if drift else 0.0
        out[i, 1] = ints[s, 0]
        out[i, 2] = sums[s, 0] / ints[s, 0]


class Adwin(ArrayState):
    """Bank of adaptive windows (`models/model.py`); an alarm tells the mean of what is left of the window."""

    outputs: ClassVar[tuple[str, ...]] = ("drift", "width")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ()
    reasons: ClassVar[tuple[str, ...]] = ("mean",)
    ragged: ClassVar[tuple[str, ...]] = ()

    def __init__(self, configs: Sequence[AdwinConfig]) -> None:
        n = len(configs)
        self._delta = np.array([c.delta for c in configs], np.float64)
        self._constants = np.array([[c.clock, c.max_buckets, c.min_window, c.least_rows] for c in configs], np.int64).reshape(n, 4)
        shape = (n, LEVELS, MOST_BUCKETS + 1)
        self._state: dict[str, NDArray[Any]] = {
            "ints": np.zeros((n, 3), np.int64), "sums": np.zeros((n, 2)), "buckets": np.zeros((n, LEVELS), np.int64), "total": np.zeros(shape),
            "variance": np.zeros(shape),
        }  # fmt: skip

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(slots,) zeros: nothing is ragged."""
        return np.zeros(len(self._delta), np.int64)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],  # noqa: ARG002 - the window counts rows, not seconds
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._delta), 3, slot, out)
        adwin(slot, value, usable, out, self._delta, self._constants, *self._state.values())
