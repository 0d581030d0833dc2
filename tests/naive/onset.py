"""Obvious twin of `degradation`: all values since the beginning are kept."""

from __future__ import annotations

import math
import statistics

from models.prognosis.onset import DegradationConfig

NAN = math.nan


class NaiveOnset:
    """Values and weights as lists."""

    def __init__(self, config: DegradationConfig) -> None:
        self.config = config
        self.values: list[float] = []
        self.weights: list[int] = []
        self.on = False

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        """Outputs of one row."""
        c = self.config
        if x <= c.idle:
            return [NAN] * 4
        self.values.append(x)
        own = self.values[c.skip : c.skip + c.baseline]
        base = statistics.median(own) if own else 0.0
        over = max(c.limit, c.ratio * base)
        judged = over > 0 and (c.limit > 0 or len(own) == c.baseline)
        self.weights.append((5 if x > 4 * over else int(x > over)) if judged else 0)
        if not judged:
            return [NAN] * 4
        self.judged = [*getattr(self, "judged", []), self.weights[-1]]
        if sum(self.weights[-10:]) >= 5:
            self.on = True
        elif len(self.judged) >= c.quiet and not any(self.judged[-c.quiet :]):
            self.on = False
        return [float(self.on), min(max(x / over, -1e6), 1e6), base if own else NAN, over]
