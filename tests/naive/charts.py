"""Control charts again, one value at a time: what they learn from their first rows, and the rules of patterns."""

from __future__ import annotations

import itertools
import math
import statistics

from models.cusum import CusumConfig
from models.ewma import EwmaConfig
from models.shewhart import ShewhartConfig
from models.spc import RULES, SpcConfig

NAN = math.nan


def floored(sigma: float, mu: float, least: float) -> float:
    """A spread that can be divided by."""
    return max(sigma, least, 1e-12 * abs(mu), 1e-30)


def clipped(x: float, limit: float) -> float:
    """Held within +-limit."""
    return max(-limit, min(limit, x))


def baseline(values: list[float], least: float) -> tuple[float, float]:
    """Trimmed mean, and sigma of an I-MR chart whose ranges beyond its own limit are left out."""
    ranges = [abs(b - a) for a, b in itertools.pairwise(values)]
    while True:
        mean_range = math.fsum(ranges) / len(ranges)
        inside = [r for r in [abs(b - a) for a, b in itertools.pairwise(values)] if r <= 3.267 * mean_range]
        if len(inside) == len(ranges):
            break
        ranges = inside
    cut = int(len(values) * 0.1)
    mu = statistics.fmean(sorted(values)[cut : len(values) - cut])
    return mu, floored(mean_range / 1.128, mu, least)


class _Chart:
    def __init__(self, config: EwmaConfig | CusumConfig | ShewhartConfig | SpcConfig) -> None:
        self.config = config
        self.learning: list[float] = []
        self.ready = config.mu is not None
        self.mu = config.mu or 0.0
        self.sigma = floored(config.sigma or 0.0, self.mu, config.min_sigma)
        self.previous: float | None = None

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if not self.ready:
            self.learning.append(x)
            self.previous = x
            if len(self.learning) == self.config.warmup:
                self.mu, self.sigma = baseline(self.learning, self.config.min_sigma)
                self.ready = True
                self.begin()
            return [NAN] * (4 if isinstance(self.config, EwmaConfig | CusumConfig) else 5)
        said = self.judge(x)
        if isinstance(self.config, EwmaConfig | CusumConfig) and self.config.adapt:
            sigma = self.sigma
            self.mu += clipped(x - self.mu, 3 * sigma) / 2000
            if self.previous is not None:
                moved = min(abs(x - self.previous), 3.267 * 1.128 * sigma) / 1.128
                self.sigma = floored(sigma + (moved - sigma) / 2000, self.mu, self.config.min_sigma)
            self.previous = x
        return said

    def begin(self) -> None:
        raise NotImplementedError

    def judge(self, x: float) -> list[float]:
        raise NotImplementedError


class NaiveEwma(_Chart):
    def __init__(self, config: EwmaConfig) -> None:
        super().__init__(config)
        self.weight = config.lambda_
        self.begin()

    def begin(self) -> None:
        self.mean = self.mu

    def judge(self, x: float) -> list[float]:
        self.mean = self.weight * x + (1 - self.weight) * self.mean
        sd = self.sigma * math.sqrt(self.weight / (2 - self.weight))
        return [clipped((self.mean - self.mu) / sd, 1e6), self.mean, self.mu, sd]


class NaiveCusum(_Chart):
    def __init__(self, config: CusumConfig) -> None:
        super().__init__(config)
        self.k, self.ceiling = config.k, config.ceiling
        self.begin()

    def begin(self) -> None:
        self.high = self.low = 0.0
        self.high_run = self.low_run = 0

    def judge(self, x: float) -> list[float]:
        u = (x - self.mu) / self.sigma
        self.high = min(self.ceiling, max(0.0, self.high + u - self.k))
        self.low = min(self.ceiling, max(0.0, self.low - u - self.k))
        self.high_run = self.high_run + 1 if self.high > 0 else 0
        self.low_run = self.low_run + 1 if self.low > 0 else 0
        if self.high == self.low == 0:
            return [0.0, 0.0, 0.0, self.mu]
        if self.high >= self.low:
            return [self.high, 1.0, self.high_run, self.mu]
        return [self.low, -1.0, self.low_run, self.mu]


class NaiveShewhart(_Chart):
    def begin(self) -> None:
        pass

    def judge(self, x: float) -> list[float]:
        said = [clipped((x - self.mu) / self.sigma, 1e6), NAN, self.mu, self.mu - 3 * self.sigma, self.mu + 3 * self.sigma]
        if self.previous is not None:
            said[1] = min(abs(x - self.previous) / (3.267 * 1.128 * self.sigma), 1e6)
        self.previous = x
        return said


def rules_broken(rules: str, values: list[float], mu: float, sigma: float) -> set[int]:
    """Rules that the last of the values breaks, each said as it stands in the books."""
    u = [(x - mu) / sigma for x in values]
    steps = [b - a for a, b in itertools.pairwise(values)]

    def some(most: int, of: int, limit: float) -> bool:
        w = u[-of:]
        return any(side * w[-1] > limit and sum(side * z > limit for z in w) >= most for side in (1, -1))

    def one_side(n: int) -> bool:
        return len(u) >= n and (all(z > 0 for z in u[-n:]) or all(z < 0 for z in u[-n:]))

    last = steps[-5:]
    turning = steps[-13:]
    found = {
        "one": some(1, 1, 3), "two of three": some(2, 3, 2), "four of five": some(4, 5, 1), "eight": one_side(8), "nine": one_side(9),
        "trend": len(last) == 5 and (all(d > 0 for d in last) or all(d < 0 for d in last)),
        "alternating": len(turning) == 13 and all(d != 0 for d in turning) and all((a > 0) != (b > 0) for a, b in itertools.pairwise(turning)),
        "within": len(u) >= 15 and all(abs(z) < 1 for z in u[-15:]),
        "without": len(u) >= 8 and all(abs(z) > 1 for z in u[-8:]) and min(u[-8:]) < 0 < max(u[-8:]),
    }  # fmt: skip
    names = {
        "western_electric": ["one", "two of three", "four of five", "eight"],
        "nelson": ["one", "nine", "trend", "alternating", "two of three", "four of five", "within", "without"],
    }[rules]
    assert len(names) == RULES[rules]
    return {i for i, name in enumerate(names, 1) if found[name]}


class NaiveSpc(_Chart):
    config: SpcConfig
    judged_ns: int | None = None

    def begin(self) -> None:
        self.values: list[float] = []

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if self.judged_ns is None:
            self.begin()
        else:
            passed = time_ns - self.judged_ns
            if passed < self.config.every_s * 1e9:
                return [NAN] * 5
            if 0 < self.config.gap_s * 1e9 < passed:
                self.begin()
        self.judged_ns = time_ns
        return super().row(x)

    def judge(self, x: float) -> list[float]:
        self.values.append(x)
        broken = rules_broken(self.config.rules, self.values, self.mu, self.sigma) - set(self.config.without)
        alarms = broken - ({3, 4, 7} if self.config.rules == "nelson" else set())
        return [min(broken, default=0), float(bool(alarms)), self.mu, self.mu - 3 * self.sigma, self.mu + 3 * self.sigma]
