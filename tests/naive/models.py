"""The models again, one value at a time and with nothing but lists: obvious, slow, and what the kernels must equal."""

from __future__ import annotations

import itertools
import math
import statistics
from typing import Any

from models.budget import BudgetConfig
from models.cusum import CusumConfig
from models.ewma import EwmaConfig
from models.flatline import FlatlineConfig
from models.page_hinkley import PageHinkleyConfig
from models.residual import ResidualConfig
from models.river import RiverConfig, detector
from models.robust_z import RobustZConfig
from models.seasonal import SeasonalConfig
from models.shewhart import ShewhartConfig
from models.spc import SpcConfig
from tests.naive.auto import NaiveAuto
from tests.naive.charts import NaiveCusum, NaiveEwma, NaiveShewhart, NaiveSpc, baseline, clipped, floored
from tests.naive.memory import NaiveAdwin, NaiveDiscord, NaiveResidual, autoregression
from tests.naive.onset import NaiveOnset
from tests.naive.records import NaiveColdChain, NaiveWear
from tests.naive.swings import NaiveLimitCycle

NAN = math.nan


class NaiveFlatline:
    def __init__(self, config: FlatlineConfig) -> None:
        self.config = config
        self.stand: list[tuple[int, float]] = []

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if self.stand and abs(x - self.stand[0][1]) > self.config.tolerance:
            self.stand = []
        self.stand.append((time_ns, x))
        return [(time_ns - self.stand[0][0]) / 1e9, self.stand[0][1], len(self.stand)]


class NaiveSeasonal:
    def __init__(self, config: SeasonalConfig) -> None:
        self.config, self.static = config, False
        self.parts: dict[int, tuple[int, float, float]] = {}

    def settle(self) -> None:
        self.static = True

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        c = self.config
        period = round(c.period_h * 3.6e12)
        part = min(int((time_ns + round(c.offset_h * 3.6e12)) % period / period * c.parts), c.parts - 1)
        n, mean, variance = self.parts.get(part, (0, 0.0, 0.0))
        away, said = x - mean, [NAN] * 3
        if n >= c.least:
            sigma = floored(math.sqrt(variance), mean, c.min_sigma)
            said = [clipped(away / sigma, 1e6), mean, sigma]
            away = clipped(away, 5 * sigma)
        if self.static:
            return said
        rate = max(1 / (n + 1), 1 / c.memory)
        self.parts[part] = n + 1, mean + rate * away, (1 - rate) * (variance + rate * away**2)
        return said


class NaivePageHinkley:
    """River's own test; its departure is read from it."""

    def __init__(self, config: PageHinkleyConfig) -> None:
        from river.drift import PageHinkley

        self.config = config
        self.test = PageHinkley(config.least_rows, config.delta, config.threshold, config.memory, config.direction)

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        test = self.test
        test.update(x)
        if test._x_mean.n < self.config.least_rows:
            return [NAN] * 4
        up = test._sum_increase - test._min_increase if self.config.direction != "down" else 0.0
        down = test._max_decrease - test._sum_decrease if self.config.direction != "up" else 0.0
        return [float(test.drift_detected), min(max(up, down) / self.config.threshold, 1e6), test._x_mean.get(), 1.0 if up >= down else -1.0]


class _Page:
    """Sums of departures from a mean that is known; each begins anew behind a drift."""

    def __init__(self, config: PageHinkleyConfig, mean: float) -> None:
        self.c, self.mean = config, mean
        self.away: list[float] = []

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        self.away.append(x - self.mean)
        up, down = self.sums(-self.c.delta), self.sums(self.c.delta)
        over = up[-1] - min(up) if self.c.direction != "down" else 0.0
        under = max(down) - down[-1] if self.c.direction != "up" else 0.0
        drift = max(over, under) > self.c.threshold
        if drift:
            self.away = []
        return [float(drift), min(max(over, under) / self.c.threshold, 1e6), self.mean, 1.0 if over >= under else -1.0]

    def sums(self, more: float) -> list[float]:
        return list(itertools.accumulate(self.away, lambda s, a: self.c.memory * s + a + more, initial=0.0))


class NaiveRobustZ:
    def __init__(self, config: RobustZConfig) -> None:
        self.config = config
        self.window: list[float] = []

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if len(self.window) < self.config.window:
            self.window.append(x)
            return [NAN] * 3
        centre = statistics.median(self.window)
        away = [abs(v - centre) for v in self.window]
        mad = statistics.median(away)
        sigma = floored(1.4826 * mad if mad > 0 else 1.2533 * statistics.fmean(away), centre, self.config.min_sigma)
        self.window = [*self.window[1:], x]
        return [clipped((x - centre) / sigma, 1e6), centre, sigma]


class NaiveRiver:
    """Every generation that was ever born, each learning to the end; the second youngest says."""

    def __init__(self, config: RiverConfig) -> None:
        self.config, self.seen = config, 0
        self.living: list[Any] = []

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if self.seen % self.config.generation == 0:
            self.living.append(detector(self.config))
        low, high = self.config.scale or (0.0, 1.0)
        charge = max(len(self.living) - 2, 0)
        said = [one.row((x - low) / (high - low), score=i == charge) for i, one in enumerate(self.living)][charge]
        self.seen += 1
        return [said if self.seen > self.config.warmup else NAN]


class NaiveBudget:
    """Every block's greatest value, all kept; of each half of the memory the 32 greatest count."""

    def __init__(self, config: BudgetConfig) -> None:
        self.config = config
        self.half = max(64, round(config.memory_days * 86400 / config.apart_s / 2))
        self.halves: list[list[float]] = [[], []]
        self.blocks = [0, 0]
        self.level = self.slope = 0.0
        self.first: int | None = None
        self.open: tuple[int, float] | None = None
        self.above, self.found = 0, False

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        if self.first is None:
            self.first = time_ns
        if time_ns - self.first < round(self.config.settle_h * 3600e9):
            return [NAN] * 4
        x = min(max(x, -1e30), 1e30)
        apart_ns = round(self.config.apart_s * 1e9)
        block = time_ns // apart_ns
        if self.open is None or block > self.open[0]:
            if self.open is not None:
                self.over(self.open[1])
            self.open = (block, x)
        else:
            self.open = (self.open[0], max(self.open[1], x))
        if sum(self.blocks) < 64:
            return [NAN] * 4
        rate = 32 / sum(self.blocks)
        highest = 1e30 if self.config.highest is None else 0.98 * self.config.highest
        level, slope = self.level, self.slope
        threshold = min(level + slope * math.log(max(rate / self.config.chance, 1.0)), highest)
        if x > threshold:
            self.found, self.above = True, time_ns
        elif self.found and time_ns - self.above >= apart_ns:
            self.found = False
        often = rate * math.exp(-min((x - level) / slope, 700.0)) if x > level and slope > 0 else rate
        return [float(self.found), threshold, x, often * 86400 / (1e-9 * apart_ns)]

    def over(self, greatest: float) -> None:
        """A block is over."""
        self.halves[0].append(greatest)
        self.blocks[0] += 1
        if self.blocks[0] >= self.half:
            self.halves, self.blocks = [[], self.halves[0]], [0, self.blocks[0]]
        if sum(self.blocks) >= 64:
            self.rank()

    def rank(self) -> None:
        """Level and slope of the tail of all events that are over."""
        greatest = sorted((p for half in self.halves for p in sorted(half)[-32:]), reverse=True)[:32]
        self.level, total = greatest[31], 0.0
        for p in greatest[12:31]:
            total += p
        self.slope = max((total - 19 * self.level) / sum((rank - 12) / rank for rank in range(13, 32)), 0.0)


NAIVE: dict[str, Any] = {
    "auto": NaiveAuto, "river": NaiveRiver, "ewma": NaiveEwma, "cusum": NaiveCusum, "robust_z": NaiveRobustZ, "shewhart": NaiveShewhart,
    "spc": NaiveSpc, "flatline": NaiveFlatline, "page_hinkley": NaivePageHinkley, "seasonal": NaiveSeasonal, "adwin": NaiveAdwin,
    "residual": NaiveResidual, "discord": NaiveDiscord, "budget": NaiveBudget,
    "cold_chain": NaiveColdChain, "wear": NaiveWear, "limit_cycle": NaiveLimitCycle, "degradation": NaiveOnset,
}  # fmt: skip


def judged(configs: list[Any], slots: list[int], times: list[int], values: list[float], usable: list[int], width: int) -> list[list[float]]:
    """Outputs of every row."""
    charts = [NAIVE[c.kind](c) for c in configs]
    out = []
    for s, t, x, ok in zip(slots, times, values, usable, strict=True):
        seen = ok == 1 and math.isfinite(x) and abs(x) <= 1e150
        out.append(charts[s].row(x, t) if seen else [NAN] * width)
    return out


class _Fixed:
    """Median and sigma of the training values, which stay."""

    def __init__(self, config: RobustZConfig, values: list[float]) -> None:
        self.centre = statistics.median(values)
        away = [abs(v - self.centre) for v in values]
        mad = statistics.median(away)
        self.sigma = floored(1.4826 * mad if mad > 0 else 1.2533 * statistics.fmean(away), self.centre, config.min_sigma)

    def row(self, x: float, time_ns: int = 0) -> list[float]:
        return [clipped((x - self.centre) / self.sigma, 1e6), self.centre, self.sigma] if abs(x) <= 1e150 else [NAN] * 3


def settled(config: Any, times: list[int], values: list[float]) -> Any:
    """The static form of a model, trained on these rows."""
    if isinstance(config, RobustZConfig):
        return _Fixed(config, values)
    if isinstance(config, PageHinkleyConfig):
        return _Page(config, statistics.fmean(values))
    if isinstance(config, ResidualConfig):
        mu, sigma, phi = autoregression(values, config.min_sigma) if config.phi is None else (config.mu, config.sigma, config.phi)
        return NaiveResidual(config.model_copy(update={"mu": mu, "sigma": sigma, "phi": phi}))
    if isinstance(config, EwmaConfig | CusumConfig | ShewhartConfig | SpcConfig):
        mu, sigma = (config.mu, config.sigma) if config.mu is not None else baseline(values, config.min_sigma)
        return NAIVE[config.kind](config.model_copy(update={"mu": mu, "sigma": sigma}))
    chart = NAIVE[config.kind](config)
    for t, x in zip(times, values, strict=True):
        chart.row(x, t)
    chart.settle()
    return chart
