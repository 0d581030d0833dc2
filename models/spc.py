"""`spc`: the run rules of Western Electric and of Nelson over single values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from models.baseline import HUGE, check_rows, learned
from models.chart import ChartBank, ChartConfig
from models.compiled import kernel

RULES: Final = {"western_electric": 4, "nelson": 8}
"""How many rules each set has; they are numbered from 1."""
DEPTH: Final = 15
"""Values that the longest rule looks at."""
NANOSECONDS: Final = 1_000_000_000


class SpcConfig(ChartConfig):
    """Run rules per tag; `rule` is the lowest number that a value breaks, 0 when none, `alarm` is 1 when it is more than information.

    Western Electric: 1 one beyond 3 sigma; 2 two of three beyond 2 sigma on one side; 3 four of five beyond 1 sigma on one side; 4 eight on one side.
    Nelson: 1 one beyond 3 sigma; 2 nine on one side; 3 six steadily up or down; 4 fourteen alternating; 5 two of three beyond 2 sigma; 6 four of
    five beyond 1 sigma; 7 fifteen within 1 sigma; 8 eight none within 1 sigma, both sides used. Nelson's 3, 4 and 7 are information.

    The rules take values as independent: give `every_s` at least three time constants of the tag. Prefer `auto` where nothing is known.
    """

    kind: Literal["spc"] = "spc"
    rules: Literal["western_electric", "nelson"] = "nelson"
    """Set of rules."""
    without: tuple[int, ...] = ()
    """Numbers of rules that are not applied."""
    every_s: float = Field(0.0, ge=0, le=86_400)
    """Values that come sooner behind the last judged one, in seconds, are passed over; 0 judges every value."""
    gap_s: float = Field(0.0, ge=0, le=31_536_000)
    """Behind an interruption longer than this, in seconds, the runs begin anew; 0 never."""

    restart: tuple[Literal["batch", "phase"], ...] = ("batch", "phase")
    """What begins the runs anew when it begins, as the tags of the unit say; empty where there is one value a batch."""

    @field_validator("without")
    @classmethod
    def _known(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not all(1 <= rule <= max(RULES.values()) for rule in value):
            raise ValueError(f"expected numbers of rules from 1 to {max(RULES.values())}, found {list(value)}")
        return value

    @property
    def used(self) -> int:
        """The rules that are applied, as bits: bit 0 is rule 1."""
        return sum(1 << (rule - 1) for rule in range(1, RULES[self.rules] + 1) if rule not in self.without)

    @classmethod
    def bank(cls) -> type[Spc]:
        """The bank that runs it."""
        return Spc


@kernel("int64(float64[:, ::1], int64, int64, int64, float64, float64, float64, float64)")
def beyond(last: NDArray[np.float64], s: int, n: int, window: int, mu: float, sigma: float, side: float, least: float) -> int:
    """How many of the newest `window` values (of n) lie more than `least` sigma from mu on one side; last[s, 0] is the newest."""
    found = 0
    for k in range(min(window, n)):
        if side * (last[s, k] - mu) / sigma > least:
            found += 1
    return found


@kernel("int64(float64[:, ::1], int64, int64, float64, float64, int64)")
def patterns(last: NDArray[np.float64], s: int, n: int, mu: float, sigma: float, nelson: int) -> int:
    """Rules that the newest of n values breaks, as bits; comparisons are strict, a value on the centre line breaks a run, a tie breaks a trend."""
    broken = 0
    trend_up = 0
    trend_down = 0
    for k in range(min(n, 6) - 1):
        trend_up += last[s, k] > last[s, k + 1]
        trend_down += last[s, k] < last[s, k + 1]
    turns = 0
    for k in range(min(n, 14) - 1):
        if (last[s, k] - last[s, k + 1]) * (1.0 if k % 2 == 0 else -1.0) > 0.0:
            turns += 1
        elif last[s, k] != last[s, k + 1]:
            turns -= 1
    inside = 0
    for k in range(min(n, 15)):
        inside += abs(last[s, k] - mu) / sigma < 1.0
    over = beyond(last, s, n, 8, mu, sigma, 1.0, 1.0)
    under = beyond(last, s, n, 8, mu, sigma, -1.0, 1.0)
    for direction in range(2):
        side = 1.0 - 2.0 * direction
        one = beyond(last, s, n, 1, mu, sigma, side, 3.0) == 1
        two = beyond(last, s, n, 3, mu, sigma, side, 2.0) >= 2 and beyond(last, s, n, 1, mu, sigma, side, 2.0) == 1
        four = beyond(last, s, n, 5, mu, sigma, side, 1.0) >= 4 and beyond(last, s, n, 1, mu, sigma, side, 1.0) == 1
        if one:
            broken |= 1
        if nelson == 1:
            if beyond(last, s, n, 9, mu, sigma, side, 0.0) == 9:
                broken |= 2
            if two:
                broken |= 16
            if four:
                broken |= 32
        else:
            if two:
                broken |= 2
            if four:
                broken |= 4
            if beyond(last, s, n, 8, mu, sigma, side, 0.0) == 8:
                broken |= 8
    if nelson == 1:
        if trend_up == 5 or trend_down == 5:
            broken |= 4
        if turns == 13 or turns == -13:
            broken |= 8
        if inside == 15:
            broken |= 64
        if over + under == 8 and over > 0 and under > 0:
            broken |= 128
    return broken


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1], int64[::1], int64[::1], int64[:, ::1], float64[::1], int64[::1], int64[::1],"
    " float64[::1], float64[::1], float64[::1], float64[:, ::1], int64[::1], int64[:, ::1])"
)
def spc(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    nelson: NDArray[np.int64],
    used: NDArray[np.int64],
    times: NDArray[np.int64],
    least: NDArray[np.float64],
    start: NDArray[np.int64],
    seen: NDArray[np.int64],
    kept: NDArray[np.float64],
    mu: NDArray[np.float64],
    sigma: NDArray[np.float64],
    last: NDArray[np.float64],
    count: NDArray[np.int64],
    when: NDArray[np.int64],
) -> None:
    """Judge n rows.

    times (slots, 2)   ns between judged values; ns behind which runs begin anew, 0 never
    last (slots, 15)   judged values, the newest first, count[s] of them since the runs began
    when (slots, 2)    whether there was a value, and the time of the last judged one
    """
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(5):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        if when[s, 0] == 1:
            passed = time_ns[i] - when[s, 1]
            if passed < times[s, 0]:
                continue
            if times[s, 1] > 0 and passed > times[s, 1]:
                count[s] = 0
        when[s, 0] = 1
        when[s, 1] = time_ns[i]
        if seen[s] < start[s + 1] - start[s]:
            learned(s, x, start, seen, kept, least, mu, sigma)
            continue
        depth = last.shape[1]
        for k in range(depth - 1, 0, -1):
            last[s, k] = last[s, k - 1]
        last[s, 0] = x
        count[s] = min(count[s] + 1, depth)
        broken = patterns(last, s, count[s], mu[s], sigma[s], nelson[s]) & used[s]
        rule = 0
        for k in range(7, -1, -1):
            if (broken >> k) & 1 == 1:
                rule = k + 1
        more_than_information = broken & ~(4 | 8 | 64) if nelson[s] == 1 else broken
        out[i, 0] = rule
        out[i, 1] = 1.0 if more_than_information != 0 else 0.0
        out[i, 2] = mu[s]
        out[i, 3] = mu[s] - 3.0 * sigma[s]
        out[i, 4] = mu[s] + 3.0 * sigma[s]


class Spc(ChartBank):
    """Bank of run rules (`models/model.py`); an alarm tells the centre and the 3-sigma limits.

    >>> bank = Spc([SpcConfig(tags=("a",), mu=0, sigma=1)])
    >>> out = np.empty((6, 5))
    >>> bank.step(np.zeros(6, np.int32), np.arange(6), np.array([-0.5, -0.2, 0.0, 0.3, 0.4, 0.9]), np.ones(6, np.uint8), out)
    >>> out[:, 0].tolist(), out[5].tolist()
    ([0.0, 0.0, 0.0, 0.0, 0.0, 3.0], [3.0, 0.0, 0.0, -3.0, 3.0])
    """

    outputs: ClassVar[tuple[str, ...]] = ("rule", "alarm")
    units: ClassVar[tuple[str, ...]] = ("", "")
    watched: ClassVar[tuple[str, ...]] = ("rule",)
    reasons: ClassVar[tuple[str, ...]] = ("expected", "lower", "upper")

    def __init__(self, configs: Sequence[SpcConfig]) -> None:
        n = len(configs)
        self._nelson = np.array([c.rules == "nelson" for c in configs], np.int64)
        self._used = np.array([c.used for c in configs], np.int64)
        self._times = np.array([[round(c.every_s * NANOSECONDS), round(c.gap_s * NANOSECONDS)] for c in configs], np.int64).reshape(n, 2)
        self._roles = [c.restart for c in configs]
        more: dict[str, NDArray[Any]] = {"last": np.zeros((n, DEPTH)), "count": np.zeros(n, np.int64), "when": np.zeros((n, 2), np.int64)}
        super().__init__(configs, more)

    def step(
        self,
        slot: NDArray[np.int32],
        time_ns: NDArray[np.int64],
        value: NDArray[np.float64],
        usable: NDArray[np.uint8],
        out: NDArray[np.float64],
    ) -> None:
        """Judge n rows in order; see `models.model.Bank.step`."""
        check_rows(len(self._least), 5, slot, out)
        spc(slot, time_ns, value, usable, out, self._nelson, self._used, self._times, self._least, self._start, *self._state.values())

    def restart(self, slot: int, role: str) -> None:
        """A batch or phase has begun: the runs begin anew where that is wanted."""
        if role in self._roles[slot]:
            self._state["count"][slot] = 0
