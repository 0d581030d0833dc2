"""`auto` again, one value at a time over plain lists that keep the whole past: obvious, slow, and what the kernel must equal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from models.auto import MEMBERS, AutoConfig, Member

NAN = math.nan
VAST = 1e15
HOUR_NS = 3_600_000_000_000


def single(x: float) -> float:
    return float(np.float32(x))


def bounded(x: float, limit: float) -> float:
    return max(-limit, min(limit, x))


class Tail:
    """Threshold, mean excess, its least value and rows seen."""

    def __init__(self, q: float, xi: float, seen: Sequence[float], least: float) -> None:
        self.q, self.xi = q, xi
        a = sorted(seen)
        self.u = a[min(int(q * len(a)), len(a) - 1)]
        over = 0.0
        above = [x for x in a if x > self.u]
        for x in above:
            over += x - self.u
        self.floor = least + 1e-6 * abs(a[len(a) // 2]) + 0.01 * (a[-1] - a[0])
        self.beta = max(over / len(above) if above else 0.0, self.floor)
        self.n = len(a)

    def surprise(self, x: float) -> float:
        e = x - self.u
        return 0.0 if e <= 0 else -math.log10(1 - self.q) + math.log10(1 + self.xi * e / self.beta) / self.xi

    def learn(self, x: float) -> None:
        self.n += 1
        rate = max(1 / self.n, 0.0005)
        e, beta = x - self.u, self.beta
        if e > 0:
            self.u += 4 * rate * beta * self.q
            self.beta = max(beta + min(rate / (1 - self.q), 0.5) * (min(e, 10 * beta) - beta), self.floor)
        else:
            self.u -= 4 * rate * beta * (1 - self.q)


def moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation, taken from the last value."""
    total = square = 0.0
    for x in reversed(values):
        total += x - values[-1]
        square += (x - values[-1]) ** 2
    n = len(values)
    return values[-1] + total / n, math.sqrt(max(0.0, square / n - (total / n) * (total / n)))


def looks(values: Sequence[float], width: int) -> tuple[float, float, float]:
    """Mean, spread and spread of the differences of the last `width` values."""
    last = list(values[-width:])
    steps = [b - a for a, b in zip(values[-width - 1 : -1], values[-width:], strict=True)] if len(values) > width else list(np.diff(last))
    mean, spread = moments(last)
    return mean, spread, moments([float(d) for d in steps])[1] if steps else 0.0


class Memory:
    """States as (features, row of last use)."""

    def __init__(self) -> None:
        self.states: list[list[Any]] = []

    def distance(self, f: Sequence[float], weight: Sequence[float]) -> tuple[int, float]:
        if not self.states:
            return -1, 0.0
        squares = []
        for state, _ in self.states:
            total = np.float32(0)
            for a, b, w in zip(f, state, weight, strict=True):
                d = np.float32(a) - b
                total = total + np.float32(w) * d * d
            squares.append(float(total))
        best = min(range(len(squares)), key=squares.__getitem__)
        return best, math.sqrt(squares[best])

    def store(self, f: Sequence[float], winner: int, new: bool, row: int) -> None:
        if winner >= 0 and not new:
            self.states[winner][1] = row
            return
        state = [[np.float32(x) for x in f], row]
        if len(self.states) < 128:
            self.states.append(state)
        else:
            self.states[min(range(128), key=lambda j: self.states[j][1])] = state


class NaiveMember:
    def __init__(self, member: Member, values: list[float], z: list[float], tiny: float) -> None:
        self.m = member
        self.memory = Memory()
        n = len(values)
        skip = n // 8
        looked = {w: [looks(values[: t + 1], w) for t in range(n)] for w in (2 << member.narrow, 2 << member.wide)}
        self.columns = [(w, c) for w in looked for c in ((0, 1) if member.family == 0 else (1, 2))]
        self.floors, self.centre, self.scale = [], [], []
        series = []
        for w, c in self.columns:
            raw = [looked[w][t][c] for t in range(n)]
            floor = NAN
            if c > 0:
                a = sorted(raw[skip:])
                floor = max(member.floor * max(a[len(a) // 2], 0.2 * a[-1]), tiny)
                raw = [math.log(x + floor) for x in raw]
            used = raw[skip:]
            centre = 0.0
            for x in used:
                centre += x - used[0]
            centre = used[0] + centre / len(used)
            square = 0.0
            for x in used:
                square += (x - centre) ** 2
            self.floors.append(floor)
            self.centre.append(centre)
            self.scale.append(max(math.sqrt(square / len(used)), 0.01 * (max(used) - min(used)), tiny if c == 0 else 1e-9))
            series.append(raw)
        self.drift, self.growth = [0.0] * 4, [1.0] * 4
        distances = []
        for t in range(skip, n):
            f = [bounded((s[t] - c) / k, VAST) for s, c, k in zip(series, self.centre, self.scale, strict=True)]
            winner, d = self.memory.distance(f, [1.0] * 4)
            self.memory.store(f, winner, d > member.radius, t)
            if t >= max(int(member.start * n), skip + 1):
                distances.append(d)
        self.novel = Tail(member.q, member.xi, distances, 1e-9)
        self.season = Tail(member.q, member.xi, [self.departure(z[: t + 1]) for t in range(skip, n)], 1e-9)
        means = [self.slow(values[: t + 1]) for t in range(skip, n)]
        self.high = Tail(member.q, member.xi, means, tiny)
        self.low = Tail(member.q, member.xi, [-x for x in means], tiny)

    def departure(self, z: Sequence[float]) -> float:
        total = 0.0
        for x in reversed(z[-self.m.smooth :]):
            total += x
        return abs(total / self.m.smooth)

    def slow(self, values: Sequence[float]) -> float:
        window = values[-(64 << self.m.level) :]
        return single(bounded(math.fsum(window) / len(window), 3e38))

    def judge(
        self, values: Sequence[float], z: Sequence[float], row: int, gate: float, speaks: bool, r2: float, calendar: bool, static: bool
    ) -> tuple[float, ...]:
        f = []
        for (w, c), floor, centre, scale in zip(self.columns, self.floors, self.centre, self.scale, strict=True):
            x = looks(values, w)[c]
            f.append(bounded(((math.log(x + floor) if c else x) - centre) / scale, VAST))
        winner, d = self.memory.distance(f, [1 / v for v in self.growth])
        a, departure = self.slow(values), self.departure(z)
        n = gate * self.novel.surprise(d)
        s = self.season.surprise(departure) if speaks and r2 > self.m.explained else 0.0
        level = 0.0 if static and len(values) < 64 << self.m.level else gate * max(self.high.surprise(a), self.low.surprise(-a))
        p = self.m.power
        e = (n**p + s**p + level**p) ** (1 / p)
        if static:
            return e, n, s, level
        self.memory.store(f, winner, d > self.m.radius, row)
        for i in range(4):
            off = bounded(f[i] - self.drift[i], 5 * math.sqrt(self.growth[i]))
            self.drift[i] += 0.0005 * off
            self.growth[i] = max(self.growth[i] + 0.0005 * (off * off - self.growth[i]), 1e-4)
        self.novel.learn(d)
        if calendar:
            self.season.learn(departure)
        self.high.learn(a)
        self.low.learn(-a)
        return e, n, s, level


class NaiveAuto:
    def __init__(self, config: AutoConfig) -> None:
        self.c = config
        self.first: float | None = None
        self.values: list[float] = []
        self.z: list[float] = []
        self.slow = self.variance = self.square = 0.0
        self.apart: list[float] = []
        self.spoken = False
        self.hour: int | None = None
        self.in_hour: list[float] = []
        self.day: dict[int, list[float]] = {}  # hour: [times seen, mean, mean absolute residual]
        self.week: dict[int, list[float]] = {}
        self.members: list[NaiveMember] = []
        self.bar, self.age, self.lasting = 0.0, 1 << 40, 0.0
        self.static = False
        self.seen = (0.0, 0.0)

    def settle(self) -> None:
        """Keep what is normal, forget the last rows."""
        self.static = True
        self.seen = min(0.0, *self.values), max(0.0, *self.values)
        self.values, self.z, self.apart = [], [], []
        self.bar, self.age, self.lasting = 0.0, 1 << 40, 0.0

    def row(self, x: float, time_ns: int) -> list[float]:
        n = len(self.values)
        if self.first is None:
            self.first = x
        v = x - self.first
        self.values.append(v)
        slow, rate = self.slow, max(1 / (n + 1), 0.001)
        self.apart.append(abs(v - slow))
        if not self.static:
            self.variance += rate * (abs(v - slow) ** 2 - self.variance)
            self.slow += rate * (v - slow)
        low, high = self.seen if self.static else (min(0.0, *self.values), max(0.0, *self.values))
        forecast, z = self.calendar(v, time_ns, n, rate, high - low) if self.c.calendar else (0.0, 0.0)
        speaks = self.spoken
        self.z.append(z)
        self.age += 1
        if self.static and n < 33:
            return [NAN] * 9
        if n < self.c.warmup and not self.static:
            if n + 1 == self.c.warmup:
                self.begin()
            return [NAN] * 9
        span = self.c.span or high - low
        moved = max(self.apart[-8:])
        gate = 1.0 if moved >= 0.2 * span else moved / (0.2 * span)
        gate = 1 - (0.0 if self.c.profile == "plant" else 0.3) * (1 - gate)
        r2 = 1 - self.square / self.variance if self.variance > 0 else 0.0
        said = [m.judge(self.values, self.z, n, gate, speaks, r2, self.c.calendar, self.static) for m in self.members]
        frozen = 0.0
        for w, least, tail in self.still:
            quiet = -math.log(looks(self.values, w)[1] + least)
            frozen += min(tail.surprise(quiet), 6.0) / 3
            if not self.static:
                tail.learn(quiet)
        run = next((i for i in range(n) if self.values[n - i] != self.values[n - i - 1]), n)
        if self.c.profile == "plant":
            frozen = max(frozen, min(self.runs.surprise(run), 6.0))
        if not self.static:
            self.runs.learn(run)
        joint = sum(min(e, 6.0) for e, *_ in said) / len(said)
        now = max(joint, 0.9 * frozen)
        if math.isfinite(now):
            self.lasting += (now - self.lasting) / 16
        e = min(max(now, 1.3 * self.lasting), 6.0)
        alarm = float(now > 0 and e >= self.c.budget and (self.age > self.c.refractory or e > 3 * self.bar))
        if alarm:
            self.bar, self.age = e, 0
        parts = [sum(p) for p in zip(*(parts for _, *parts in said), strict=True)]
        whole = sum(parts)
        reason = 4.0 if 0.9 * frozen > joint else 1.0 + max(range(3), key=lambda i: (parts[i], -i)) if whole > 0 else NAN
        expected = self.first + (forecast if reason == 2.0 else slow)
        return [e / self.c.budget, alarm, e, reason, expected, *([p / whole for p in parts] if whole > 0 else [NAN] * 3), frozen]

    def calendar(self, v: float, time_ns: int, n: int, rate: float, seen: float) -> tuple[float, float]:
        hour = time_ns // HOUR_NS
        if hour != self.hour and not self.static:
            if self.hour is not None:
                total = 0.0
                for x in self.in_hour:
                    total += x
                mean = total / len(self.in_hour)
                day = self.day.setdefault(self.hour % 24, [0, 0.0, 0.0])
                day[0] += 1
                day[1] += max(1 / day[0], 0.1) * (mean - day[1])
                week = self.week.setdefault(self.hour % 168, [0, 0.0])
                week[0] = min(week[0] + 1, 250)
                week[1] = single(week[1] + max(1 / week[0], 0.2) * (bounded(mean, VAST) - week[1]))
            self.hour, self.in_hour = hour, []
        self.in_hour.append(v)
        self.spoken = False
        if hour % 24 not in self.day:
            return 0.0, 0.0
        day, week = self.day[hour % 24], self.week.get(hour % 168, [0, 0.0])
        forecast = (week[0] * week[1] + day[1]) / (week[0] + 1)
        size = abs(v - forecast)
        late = self.static or 2 * n > self.c.warmup
        spread = 0.5 * day[2] + 0.4 * math.sqrt(self.square)
        if late and spread > 0:
            size = min(size, 5 * spread)
        if not self.static:
            self.spread(day, size, rate)
        spread = max(0.5 * day[2] + 0.4 * math.sqrt(self.square), 0.001 * seen, 1e-30, self.c.min_sigma)
        self.spoken = late
        return forecast, bounded((v - forecast) / spread, 1e6)

    def spread(self, day: list[float], size: float, rate: float) -> None:
        day[2] = size if day[0] == 1 and len(self.in_hour) == 1 else day[2] + 0.02 * (size - day[2])
        self.square += rate * (size * size - self.square)

    def begin(self) -> None:
        assert self.first is not None
        tiny = max(1e-12 * abs(self.first), 1e-30, self.c.min_sigma)
        values, z = [single(bounded(v, VAST)) for v in self.values], [single(x) for x in self.z]
        n = len(values)
        chosen = MEMBERS[:2] if self.c.profile == "light" else MEMBERS
        self.members = [NaiveMember(m, values, z, tiny) for m in chosen]
        runs = [next((i for i in range(t) if values[t - i] != values[t - i - 1]), t) for t in range(n)]
        self.runs = Tail(0.95, 0.2, runs[int(0.3 * n) :], 1.0)
        self.still = []
        for w in (8, 16, 32):
            spreads = [looks(values[: t + 1], w)[1] for t in range(n)]
            used = sorted(spreads[n // 8 :])
            least = max(0.05 * used[len(used) // 2], tiny)
            self.still.append((w, least, Tail(0.95, 0.2, [-math.log(s + least) for s in spreads[int(0.3 * n) :]], 1e-9)))
        self.age = 1 << 40
