"""Process records again: every stretch of time kept and looked at anew for each value."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from models.prognosis.trend import to_limit
from models.records.cold_chain import PARTS, ColdChainConfig

NAN = math.nan
S = 1e-9


class NaiveColdChain:
    """All stretches (from, to, temperature or None, spent) of a point, from which everything is counted anew."""

    def __init__(self, c: ColdChainConfig) -> None:
        self.c = c
        self.width = max(1, round(3600e9 * c.window_h / PARTS))
        self.rows: list[tuple[int, float]] = []
        self.stretches: list[tuple[int, int, float | None, bool]] = []
        self.since: int | None = None
        self.breach: int | None = None

    def _out(self, x: float) -> bool:
        return not self.c.low <= x <= self.c.high

    def row(self, x: float, t: int) -> list[float]:
        c = self.c
        if abs(x) > 200 or (self.rows and t < self.rows[-1][0]):
            return [NAN] * 6
        if self.rows and t > self.rows[-1][0]:
            at, before = self.rows[-1]
            known = t - at <= 1e9 * c.gap_s
            spent = self._out(before) and (known or self._out(x))
            self.stretches.append((at, t, before if known else None, spent))
        self.rows.append((t, x))
        self.since = (self.since if self.since is not None else t) if self._out(x) else None
        if (c.never_below is not None and x < c.never_below) or (c.never_above is not None and x > c.never_above):
            self.breach = t
        counted = [s for s in self.stretches if s[2] is not None or s[3]]
        newest = max([self.rows[0][0] // self.width, *((b - 1) // self.width for _, b, _, _ in self._marks())])
        begin = max(self.rows[0][0], (newest - PARTS + 1) * self.width)
        inside = [(max(a, begin) * S, b * S, v, spent) for a, b, v, spent in counted if b > begin]
        known_s = math.fsum(b - a for a, b, v, _ in inside if v is not None)
        span = (t - begin) * S
        used = math.fsum(b - a for a, b, _, spent in inside if spent)
        mkt, mean, share = x, x, 100.0
        if span > 0:
            middle = (c.low + c.high) / 2 + 273.15
            weight = math.fsum((b - a) * math.exp(c.activation_k * (1 / middle - 1 / (v + 273.15))) for a, b, v, _ in inside if v is not None)
            mkt = 1 / (1 / middle - math.log(weight / known_s) / c.activation_k) - 273.15 if known_s > 0 else NAN
            mean = math.fsum((b - a) * v for a, b, v, _ in inside if v is not None) / known_s if known_s > 0 else NAN
            share = min(100.0, 100 * known_s / span)
        left = 0.0 if self.breach is not None and self.breach >= begin else 100 * max(0.0, 1 - used / (60 * c.allowed_min))
        return [mkt, (t - self.since) * S / 60 if self.since is not None else 0.0, left, share, mean, used / 60]

    def _marks(self) -> list[tuple[int, int, float | None, bool]]:
        return self.stretches


class _Counter:
    """A counter's way between two values."""

    @staticmethod
    def way(now: float, before: float, rollover: float = 0.0) -> float:
        if now >= before:
            return now - before
        if rollover and before > rollover / 2 > now:
            return max(now - before + rollover, 0.0)
        return now


class NaiveSterilisation:
    def __init__(self, c: Any) -> None:
        self.c, self.n = c, len(c.probes)
        self.clear()
        self.cold = False

    def clear(self) -> None:
        self.f0, self.last, self.exposure = [0.0] * self.n, [None] * self.n, 0.0

    def turn(self, begin_ns: int, on: bool) -> None:
        if on:
            self.clear()

    def rate(self, x: float) -> float:
        return 10 ** ((x - self.c.reference_c) / self.c.z_k)

    def judge(self, t: int, x: list[float], u: list[bool]) -> list[float]:
        c = self.c
        ok = [u[j] and abs(x[j]) <= 250 for j in range(self.n)]
        seen = [x[j] for j in range(self.n) if ok[j]]
        if not seen:
            return [NAN] * (6 + len(x))
        if len(seen) == self.n and max(seen) < c.cold_c:
            self.cold = True
        elif self.cold and min(seen) >= c.least_c and c.per == "cycle":
            self.cold = False
            self.clear()
        passed = 0.0
        for j in range(self.n):
            if not ok[j]:
                continue
            if self.last[j] is not None and 0 < t - self.last[j][0] <= 1e9 * c.gap_s:
                dt = (t - self.last[j][0]) * S
                passed = max(passed, dt)
                if min(x[j], self.last[j][1]) >= c.least_c:
                    self.f0[j] += dt / 60 * (self.rate(x[j]) + self.rate(self.last[j][1])) / 2
            self.last[j] = (t, x[j])
        self.exposure = self.exposure + passed / 60 if len(seen) == self.n and min(seen) >= c.exposure_c else 0.0
        hot = min(seen) >= c.least_c
        sat = NAN
        if len(x) > self.n and u[self.n] and hot and 0.5 <= x[self.n] * c.bar <= 10:
            sat = min(seen) - (1810.94 / (8.14019 - math.log10(x[self.n] * c.bar * 750.0617)) - 244.485)
        return [
            min(self.f0), self.rate(min(seen)) if hot else 0.0, max(seen) - min(seen) if hot else 0.0, self.exposure, sat, min(seen),
            *self.f0, *[NAN] * (len(x) - self.n),
        ]  # fmt: skip


class NaiveEnergy:
    """Stretches of energy and production, each given to the batches by their share in time."""

    def __init__(self, c: Any) -> None:
        self.c = c
        self.last: list[tuple[int, float] | None] = [None, None]
        self.now, self.before = [0.0, 0.0], [0.0, 0.0]
        self.begun: int | None = None
        self.on = self.untold = False
        self.begin_ns = 0
        self.saved = 0.0

    def turn(self, begin_ns: int, on: bool) -> None:
        if self.on:
            self.before, self.untold = self.now, True
        self.now, self.begun, self.begin_ns = [0.0, 0.0], begin_ns, begin_ns
        self.on = on and self.last[0] is not None

    def judge(self, t: int, x: list[float], u: list[bool]) -> list[float]:
        c = self.c
        out = [NAN] * (6 + len(x))
        for j, v in enumerate(x):
            if not u[j] or not abs(v) <= 1e12 or (v < 0 and (j == 1 or c.counter)):
                continue
            was = self.last[j]
            if was is not None and t > was[0]:
                if j == 1:
                    d = _Counter.way(v, was[1])
                elif c.counter:
                    d = c.kwh * _Counter.way(v, was[1], c.rollover or 0.0)
                else:
                    d = c.kwh * (v + was[1]) / 2 * (t - was[0]) * S / 3600 if t - was[0] <= 1e9 * c.gap_s else 0.0
                early = min(1.0, (self.begun - was[0]) / (t - was[0])) if self.begun is not None and self.begun > was[0] else 0.0
                self.before[j] += early * d
                self.now[j] += (1 - early) * d
            self.last[j] = (t, v)
        if self.last[0] is None:
            return out
        out[0] = self.now[0]
        needed = self.last if c.production else self.last[:1]
        whole = all(at is not None and at[0] > self.begin_ns for at in needed)
        if whole and self.untold:
            predicted = c.base_kwh + c.per_unit_kwh * self.before[1]
            out[1], out[5] = self.before[0], self.before[1]
            if predicted > 0:
                self.saved += predicted - self.before[0]
                out[2:5] = self.before[0] / predicted, self.saved, predicted
            self.untold = False
        if whole:
            self.begun = None
        return out


class NaiveOee:
    def __init__(self, c: Any) -> None:
        self.c = c
        self.last: list[tuple[int, float] | None] = [None] * 3
        self.done: float | None = None
        self.clear()

    def clear(self) -> None:
        self.planned = self.ran = self.made = self.fine = self.stops = 0.0

    def shares(self) -> list[float]:
        if self.planned <= 0:
            return [NAN] * 4
        availability = 100 * self.ran / self.planned
        performance, p = NAN, 100.0
        if self.c.ideal_per_h is not None:
            performance = 100 * self.made / (self.c.ideal_per_h * self.ran / 3600) if self.ran > 0 else NAN
            p = performance if self.ran > 0 else 0.0
        quality = 100 * min(1, self.fine / self.made) if self.made > 0 else NAN
        return [availability, performance, quality, availability * p * (quality if self.made > 0 else 100) / 1e4]

    def turn(self, begin_ns: int, on: bool) -> None:
        if math.isfinite(self.shares()[3]):
            self.done = self.shares()[3]
        self.clear()

    def kind(self, state: float) -> int:
        if state in self.c.unplanned:
            return -1
        return int(state > self.c.running_above) if self.c.running_above is not None else int(state in self.c.running)

    def judge(self, t: int, x: list[float], u: list[bool]) -> list[float]:
        c = self.c
        for j, v in enumerate(x):
            if not u[j] or not abs(v) <= 1e12 or (v < 0 and j > 0):
                continue
            was = self.last[j]
            if was is not None and t > was[0]:
                if j == 0:
                    if t - was[0] <= 1e9 * c.gap_s and self.kind(was[1]) >= 0:
                        self.planned += (t - was[0]) * S
                        self.ran += (t - was[0]) * S * (self.kind(was[1]) == 1)
                    self.stops += self.kind(was[1]) == 1 and self.kind(v) == 0
                elif j == 1:
                    self.made += _Counter.way(v, was[1])
                    self.fine += 0 if c.good else _Counter.way(v, was[1])
                else:
                    self.fine += _Counter.way(v, was[1])
            self.last[j] = (t, v)
        out = [NAN] * (9 + len(x))
        if self.last[0] is None or not u[0]:
            return out
        out[0] = float(self.kind(self.last[0][1]) == 1)
        out[1:5] = self.shares()
        if self.done is not None:
            out[5], self.done = self.done, None
        out[6:9] = self.planned, self.ran, self.stops
        return out


ROLES: dict[str, Any] = {"sterilisation": NaiveSterilisation, "energy": NaiveEnergy, "oee": NaiveOee}


class NaiveWear:
    """Every mean kept, and `models.prognosis.trend.to_limit` over the last 240."""

    def __init__(self, c: Any) -> None:
        self.c = c
        self.width = round(3600e9 * c.every_h)
        self.open: list[float] = []
        self.part = 0
        self.means: list[tuple[int, float]] = []

    def row(self, x: float, t: int) -> list[float]:
        out = [NAN] * 8
        part = t // self.width
        if abs(x) > 1e12 or (self.open and part < self.part):
            return out
        if self.open and part > self.part:
            mean = sum(self.open) / len(self.open)
            if self.means and (self.means[-1][1] - mean) / (self.c.limit - self.c.healthy) >= self.c.serviced:
                self.means = []
            if len(self.means) == 240:
                del self.means[0]
            if not self.means:
                self.first = self.part
            self.means.append((self.part, mean))
            self.open = []
            out = self.judge()
        self.part = part
        self.open.append(x)
        return out

    def judge(self) -> list[float]:
        c = self.c
        x = np.array([v for _, v in self.means])
        t = np.array([self.width * (p - self.first) / 3.6e12 for p, _ in self.means])
        health = 1 - min(max((x[-1] - c.healthy) / (c.limit - c.healthy), 0), 1)
        out = [health, NAN, NAN, NAN, NAN, x[-1], NAN, float(len(x))]
        sign = 1 if c.limit > c.healthy else -1
        way = sign * (c.limit - x[-1])
        if way <= 0:
            out[1:4] = 0.0, 0.0, 0.0
            return out
        if len(x) < 11:
            return out
        # Seen from below the limit, whichever side it is on.
        p = to_limit(t, sign * x, sign * c.limit) if sign * x[0] <= sign * c.limit else None
        drift = float(sign * (x[-1] - x[0]) / (t[-1] - t[0]))
        rest = np.diff(sign * x) - drift * np.diff(t)
        sigma = math.sqrt(float(np.mean(rest**2 / np.diff(t))))
        out[4], out[6] = sign * drift, sigma / math.sqrt(t[-1] - t[0])
        if drift <= 0 or drift < 3 * out[6] or way > 1e6 * drift or p is None:
            return out
        if sigma <= 1e-9 * drift * math.sqrt(t[-1] - t[0]):
            out[1:4] = way / drift, way / drift, way / drift
        else:
            assert p.status == "good"
            out[1:4] = p.middle, p.soon, min(p.late, 1e6)
        return out
