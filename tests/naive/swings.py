"""Obvious twin of `limit_cycle`: all rows since the last turn are kept."""

from __future__ import annotations

import math
import statistics

from models.limit_cycle import LimitCycleConfig

NAN = math.nan


def _alike(a: list[float]) -> float:
    spread = statistics.stdev(a)
    return 99.0 if spread == 0 else min(99.0, statistics.fmean(a) / (3 * spread))


class NaiveLimitCycle:
    """Half cycles as lists of rows."""

    def __init__(self, config: LimitCycleConfig) -> None:
        self.config = config
        self.forget()

    def forget(self) -> None:
        """Nothing is known."""
        self.rows: list[tuple[int, float]] = []
        self.up: bool | None = None
        self.first = True
        self.halves: list[tuple[float, float, float]] = []

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        """Outputs of one row."""
        self.follow(x, time_ns)
        if len(self.halves) < 2 * self.config.cycles:
            return [0.0, NAN, NAN, NAN, NAN]
        lengths = [length for length, _, _ in self.halves]
        period = 2 * statistics.fmean(lengths)
        if self.up is None or (time_ns - self.rows[0][0]) * 1e-9 > 1.5 * period:
            self.forget()
            return [0.0, NAN, NAN, NAN, NAN]
        whole = [a + b for a, b in zip(lengths[::2], lengths[1::2], strict=True)]
        heights = [height for _, height, _ in self.halves]
        regular = min(_alike(whole), _alike(heights))
        shape = statistics.fmean(shape for _, _, shape in self.halves)
        return [float(regular > self.config.regular), period, statistics.fmean(heights), regular, shape]

    def follow(self, x: float, time_ns: int) -> None:
        """One row more since the last turn, and perhaps a new turn."""
        if self.rows and (time_ns - self.rows[0][0]) * 1e-9 > self.config.longest_s:
            self.forget()
        self.rows.append((time_ns, x))
        begin = self.rows[0][1]
        if self.up is None:
            if abs(x - begin) >= self.config.swing:
                self.up = x > begin
                self.rows = [self.rows[0], self.rows[-1]]
            return
        values = [v for _, v in self.rows[1:]]
        extreme = max(values) if self.up else min(values)
        if abs(extreme - x) < self.config.swing:
            return
        at = 1 + values.index(extreme)
        if not self.first:
            inside = [(v - begin) / (extreme - begin) for _, v in self.rows[1 : at + 1]]
            length = (self.rows[at][0] - self.rows[0][0]) * 1e-9
            self.halves = [*self.halves, (length, abs(extreme - begin), 12 * statistics.pvariance(inside))][-2 * self.config.cycles :]
        self.rows = self.rows[at:]
        self.first, self.up = False, not self.up
