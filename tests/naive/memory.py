"""Models that compare with what came before: residuals of an autoregression, shapes, adaptive windows."""

from __future__ import annotations

import itertools
import math
from typing import Any

from models.adwin import AdwinConfig
from models.discord import DiscordConfig
from models.residual import ResidualConfig
from tests.naive.auto import Tail

NAN = math.nan


def autoregression(values: list[float], least: float) -> tuple[float, float, float]:
    """Mean, sigma of single values, correlation of neighbours."""
    v = [x - values[0] for x in values]
    mean = math.fsum(v) / len(v)
    square = math.fsum((x - mean) ** 2 for x in v)
    both = math.fsum((a - mean) * (b - mean) for a, b in itertools.pairwise(v))
    phi = max(-0.99, min(0.99, both / square)) if square > 0 else 0.0
    r = [b - phi * a for a, b in itertools.pairwise(v)]
    ranges = [abs(b - a) for a, b in itertools.pairwise(r)]
    limit, spread = math.inf, 0.0
    while ranges:
        inside = [x for x in ranges if x <= limit]
        spread = math.fsum(inside) / len(inside) / 1.128
        if 3.267 * 1.128 * spread >= max(inside):
            break
        limit = 3.267 * 1.128 * spread
    cut = int(len(r) * 0.1)
    middle = sorted(r)[cut : len(r) - cut]
    mu = values[0] + math.fsum(middle) / len(middle) / (1 - phi)
    return mu, max(spread / math.sqrt(1 - phi**2), least, 1e-12 * abs(mu), 1e-30), phi


class NaiveResidual:
    def __init__(self, config: ResidualConfig) -> None:
        self.c = config
        self.values: list[float] = []
        self.known: tuple[float, float, float] | None = None
        if config.mu is not None and config.sigma is not None and config.phi is not None:
            self.known = config.mu, max(config.sigma, config.min_sigma, 1e-12 * abs(config.mu), 1e-30), config.phi
            self.mean = config.mu
        self.before: tuple[float, int] | None = None

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if self.known is None:
            self.values.append(x)
            if len(self.values) == self.c.warmup:
                self.known = autoregression(self.values, self.c.min_sigma)
                self.mean, self.before = self.known[0], (x, time_ns)
            return [NAN] * 5
        mu, sigma, phi = self.known
        if self.before is not None and self.c.gap_s and time_ns - self.before[1] > self.c.gap_s * 1e9:
            self.before = None
        if self.before is None:
            self.mean, expected, sd = mu, mu, sigma
        else:
            expected = mu + phi * (self.before[0] - mu)
            sd = max(sigma * math.sqrt(1 - phi**2), self.c.min_sigma, 1e-12 * abs(mu), 1e-30)
        w = self.c.lambda_
        self.mean = w * x + (1 - w) * self.mean
        wide = math.sqrt(w / (2 - w) * (1 + phi * (1 - w)) / (1 - phi * (1 - w)))
        self.before = x, time_ns
        z = [(x - expected) / sd, (self.mean - mu) / (sigma * wide)]
        return [*(max(-1e6, min(1e6, a)) for a in z), expected, sd, phi]


class NaiveDiscord:
    def __init__(self, config: DiscordConfig) -> None:
        self.c = config
        self.first: float | None = None
        self.v: list[float] = []
        self.usual, self.distances = 0.0, []
        self.tail: Any = None
        self.own: list[float] | None = None

    def settle(self) -> None:
        """Keep the history, begin with no values of its own."""
        self.own = []

    def shape(self, end: int, floor: float) -> list[float]:
        part = self.v[end - self.c.rows + 1 : end + 1]
        away = [x - part[-1] for x in part]
        mean = math.fsum(away) / len(away)
        return [(x - mean) / max(self.spread(end), floor) for x in away]

    def spread(self, end: int) -> float:
        part = self.v[end - self.c.rows + 1 : end + 1]
        away = [x - part[-1] for x in part]
        mean = math.fsum(away) / len(away)
        return math.sqrt(math.fsum((x - mean) ** 2 for x in away) / len(away))

    def fixed(self, x: float) -> list[float]:
        """Against the history of the training, which ends with its last value."""
        assert self.own is not None
        assert self.first is not None
        m, whole = self.c.rows, self.v
        self.own = [*self.own, x - self.first][-m:]
        if len(self.own) < m:
            return [NAN] * 4
        floor = max(0.1 * self.usual, self.c.min_sigma, 1e-12 * abs(self.first), 1e-30)
        self.v = [*whole, *self.own]
        mine = self.shape(len(self.v) - 1, floor)
        others = [self.shape(end, floor) for end in range(max(m - 1, len(whole) - 1 - self.c.history + m), len(whole))]
        self.v = whole
        away = min(math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(mine, other, strict=True)) / (2 * m)) for other in others)
        e = self.tail.surprise(away)
        return [e / self.c.budget, away, NAN, e]

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if self.own is not None:
            return self.fixed(x)
        self.first = x if self.first is None else self.first
        self.v.append(x - self.first)
        m, n = self.c.rows, len(self.v) - 1
        if n + 1 < m:
            return [NAN] * 4
        self.usual += max(1 / (n + 2 - m), 0.0005) * (self.spread(n) - self.usual)
        floor = max(0.1 * self.usual, self.c.min_sigma, 1e-12 * abs(self.first), 1e-30)
        mine = self.shape(n, floor)
        found = []
        for end in range(n - m, max(m - 1, n - self.c.history + m) - 1, -1):
            other = self.shape(end, floor)
            found.append((math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(mine, other, strict=True)) / (2 * m)), n - end))
        if not found:
            return [NAN] * 4
        away, ago = found[0]
        for d, back in found[1:]:
            if d * d * 2 * m < away * away * 2 * m * (1 - 1e-9) - 1e-9:
                away, ago = d, back
        if n < self.c.warmup:
            self.distances.append((n, away))
            if n + 1 == self.c.warmup:
                self.tail = Tail(0.95, 0.2, [d for i, d in self.distances if i >= self.c.warmup // 2], 1e-9)
            return [NAN] * 4
        e = self.tail.surprise(away)
        self.tail.learn(away)
        return [e / self.c.budget, away, ago, e]


class NaiveAdwin:
    """River's own."""

    def __init__(self, config: AdwinConfig) -> None:
        from river.drift import ADWIN

        self.test = ADWIN(config.delta, config.clock, config.max_buckets, config.min_window, config.least_rows)

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        self.test.update(x)
        return [float(self.test.drift_detected), self.test.width, self.test.estimation]
