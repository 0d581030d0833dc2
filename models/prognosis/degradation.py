"""First degradation of a machine of which few have failed: an alarm on the level of its vibration, and how long such machines still ran.

The level is (mean x^4)^(1/4), in the unit of x: it grows with energy and with impacts, and does not fall again when damage spreads as kurtosis does.
A few histories do not identify a remaining life; they tell where the limit lies and between which shares of their age machines still ran.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]

NEED: Final = 5
"""Snapshots above the limit ..."""
OF: Final = 10
"""... of so many, for an alarm."""
BASELINE: Final = (10, 110)
"""Snapshots of which the median is the machine's own baseline; the first ones are run-in."""
RATIO: Final = 2.0
"""The limit is never below so many baselines."""
SEVERE: Final = 4.0
"""One snapshot at so many limits is enough for an alarm."""
CUTS: Final = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""Shares of life at which histories are cut for training."""


@kernel("void(float64[::1], float64, float64, float64, int64, int64, int64, int64, int64, uint8[::1], uint8[::1])")
def watched(
    level: Any, limit: Any, ratio: Any, severe: Any, begin: Any, end: Any, need: Any, of: Any, clear: Any, above: Any, alarm: Any
) -> None:
    """Flags of levels (n,), snapshot by snapshot, from that one and those before it alone.

    above (n,): 1 over max(limit, ratio x median of level[begin:end] so far), `need` over `severe` times that; alarm (n,): set when the last `of` add
    up to `need`, cleared after `clear` snapshots in a row that were not above. A level that is not finite is not counted and changes nothing.
    """
    known = np.empty(max(end - begin, 1))
    held, quiet, on = 0, 0, 0
    base = 0.0
    for i in range(len(level)):
        x = level[i]
        if np.isfinite(x):
            if begin <= i < end:
                at = held
                while at > 0 and known[at - 1] > x:
                    known[at] = known[at - 1]
                    at -= 1
                known[at] = x
                held += 1
                base = 0.5 * (known[(held - 1) // 2] + known[held // 2])
            over = max(limit, ratio * base)
            above[i] = need if x > severe * over else 1 if x > over else 0
            quiet = 0 if above[i] > 0 else quiet + 1
        else:
            above[i] = 0
        count = 0
        for j in range(max(0, i - of + 1), i + 1):
            count += above[j]
        if count >= need:
            on = 1
        elif quiet >= clear:
            on = 0
        alarm[i] = on


@dataclass(frozen=True, slots=True)
class Life:
    """Remaining life after `age`, same unit: score-optimal number and 80 % range; lower and upper are wide because they must be."""

    remaining: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, eq=False)
class Degradation:
    """limit in the unit of the level; share (2,) of its age that a machine still runs, before and after its
    first alarm; low, high (2,) its 10 and 90 %; clear: snapshots below the limit that end an alarm."""

    limit: float
    share: Float64
    low: Float64
    high: Float64
    clear: int = 360

    def watch(self, level: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """(n,) weight above the limit and (n,) in alarm, for the levels of a machine from its beginning."""
        x = np.ascontiguousarray(level, np.float64)
        above, alarm = np.zeros(len(x), np.uint8), np.zeros(len(x), np.uint8)
        watched(x, self.limit, RATIO, SEVERE, *BASELINE, NEED, OF, self.clear, above, alarm)
        return above, alarm

    def first(self, level: NDArray[Any]) -> int | None:
        """Snapshot of the first alarm, None when there is none."""
        found = np.flatnonzero(self.watch(level)[1])
        return int(found[0]) if len(found) else None

    def life(self, level: NDArray[Any]) -> Life:
        """What is known after the snapshots so far, in snapshots."""
        k, age = int(self.first(level) is not None), float(len(level))
        return Life(float(self.share[k]) * age, float(self.low[k]) * age, float(self.high[k]) * age)


def accuracy(actual: NDArray[Any], said: NDArray[Any]) -> Float64:
    """The score of the IEEE PHM 2012 challenge: 1 when exact, one half when 5 % late or 20 % early.

    >>> accuracy(np.array([100.0, 100.0, 100.0]), np.array([100.0, 105.0, 80.0])).round(6).tolist()
    [1.0, 0.5, 0.5]
    """
    er = 100.0 * (np.asarray(actual) - said) / actual
    out: Float64 = np.where(er <= 0, np.exp(math.log(2) * er / 5), np.exp(-math.log(2) * er / 20))
    return out


def learn(histories: list[NDArray[Any]]) -> Degradation:
    """From levels of machines until they failed, one value per snapshot; ValueError with fewer than 2.

    The limit lies in the middle (of logarithms) between the highest level that lasted for an alarm in any first half, and the lowest such level at
    any end (last 5 %).
    """
    if len(histories) < 2:
        raise ValueError(f"degradation: expected 2 or more histories to failure, found {len(histories)}")
    quiet, failing = 0.0, math.inf
    for level in histories:
        lasting = np.array([np.sort(level[max(0, i - OF + 1) : i + 1])[-NEED] if i >= NEED - 1 else 0.0 for i in range(len(level))])
        quiet = max(quiet, float(lasting[: len(level) // 2].max()))
        failing = min(failing, float(lasting[math.floor(0.95 * len(level)) :].max()))
    limit = math.sqrt(quiet * failing)
    model = Degradation(limit, np.zeros(2), np.zeros(2), np.zeros(2))
    ratios: tuple[list[float], list[float]] = ([], [])
    for level in histories:
        for cut in CUTS:
            n = int(cut * len(level))
            ratios[model.first(level[:n]) is not None].append((len(level) - n) / n)
    pooled = np.array([*ratios[0], *ratios[1]])
    share, low, high = np.empty(2), np.empty(2), np.empty(2)
    grid = np.arange(0.02, 1.0, 0.01)
    for k in (0, 1):
        known = np.array(ratios[k]) if len(ratios[k]) >= 10 else pooled
        share[k] = grid[int(np.argmax([accuracy(known, np.full(len(known), c)).mean() for c in grid]))]
        low[k], high[k] = np.quantile(known, (0.1, 0.9))
    return Degradation(limit, share, low, high)
