"""How `auto` judges one row after another: views of the last rows, their surprise, and what is learned from each row."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.auto_fit import AGES, MOST, RECENT, SINGLE, STATES, TAILS, VAST, add, fit, nearest, statistics, store
from models.baseline import HUGE
from models.compiled import kernel
from models.tails import learn_tail, surprise

LEVELS: Final = np.array([64, 128, 256], np.int64)
"""Rows over which a slow level can be taken."""
CAP: Final = 6.0
"""Surprise of one member, of the watch for frozen values, and of both over many rows counts at most so much: 10^-6."""
SETTLING: Final = 33
"""Rows a static slot takes to fill the windows that it looks at."""
FROZEN: Final = 0.9
"""Weight of the watch for frozen values."""
LASTING: Final = 1.3
"""Weight of the mean surprise of the last rows: rows that are all somewhat unusual are rarer than one that is."""
LASTS: Final = 16.0
"""Rows over which that mean is taken, as the time constant of a filter."""
_HOUR_NS: Final = 3_600_000_000_000


@kernel("float64(float64, float64)")
def power_of(x: float, p: float) -> float:
    """x^p for the powers in use."""
    if p == 2.0:
        return x * x
    if p == 3.0:
        return x * x * x
    if p == 1.5:
        root: float = x * math.sqrt(x)
        return root
    other: float = x**p
    return other


@kernel(
    "void(Array(int32, 1, 'C', readonly=True), Array(int64, 1, 'C', readonly=True), Array(float64, 1, 'C', readonly=True),"
    " Array(uint8, 1, 'C', readonly=True), float64[:, ::1],"
    " float64[:, ::1], int64[::1], int64[::1], int64[::1], float64[:, ::1],"
    " float64[::1], float64[:, ::1], float64[:, ::1], float32[::1], int32[::1],"
    " int64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, :, ::1], int32[:, ::1], float32[:, ::1],"
    " uint8[:, ::1], float64[:, :, ::1], float64[:, :, :, ::1], float64[:, :, ::1], int32[:, :, ::1], float32[::1])"
)
def auto(
    slot: NDArray[np.int32],
    time_ns: NDArray[np.int64],
    value: NDArray[np.float64],
    usable: NDArray[np.uint8],
    out: NDArray[np.float64],
    table: NDArray[np.float64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    start: NDArray[np.int64],
    setting: NDArray[np.float64],
    line: NDArray[np.float64],
    held: NDArray[np.float64],
    marks: NDArray[np.float64],
    near: NDArray[np.float32],
    near_bits: NDArray[np.int32],
    ints: NDArray[np.int64],
    floats: NDArray[np.float64],
    recent: NDArray[np.float64],
    apart: NDArray[np.float64],
    residual: NDArray[np.float64],
    day: NDArray[np.float64],
    day_n: NDArray[np.int32],
    week: NDArray[np.float32],
    week_n: NDArray[np.uint8],
    tail: NDArray[np.float64],
    scale: NDArray[np.float64],
    least: NDArray[np.float64],
    age: NDArray[np.int32],
    memory: NDArray[np.float32],
) -> None:
    """Judge rows in order: what is known before a row is read first, learned from it last.

    table (members, 12)  constants of the members of all profiles; slot s has first[s] .. last[s]
    start (slots + 1,)   where each slot's memory begins
    setting (slots, 10)  budget, warm-up, refractory, calendar, span (0: none), weight of the gate, least spread, whether runs are judged,
                         whether the slot is static: then only what remembers the last rows changes, and its first SETTLING rows say nothing;
                         whether the mean surprise of the last rows counts
    line, held, marks, near, near_bits  scratch without memory
    ints (slots, 4)      rows seen; rows since the last finding; hour since 1970; rows in it
    floats (slots, 16)   first value; lowest, highest, slow mean (relative to the first value, as everything below); variance about the slow
                         mean; mean square residual; surprise of the last finding; sum of the present hour; three sums over LEVELS and their
                         compensation; repetitions of the last value; mean surprise of the last rows
    recent (slots, 256)  last values, a ring; apart (slots, 8)  their distance from the slow mean; residual (slots, 32)  last standardised residuals
    day (slots, 24, 2)   mean and mean absolute residual of each hour; day_n, week, week_n  hours seen, mean and number of each hour of the week
    tail (slots, 20, 4)  tail models: four per member (novelty, season, level above, level below), one of runs, three of frozen values
    scale (slots, members, 4, 4)  centre, spread, drift of the centre, growth of the variance, of each feature
    least (slots, members + 1, 4) what is added to each spread before its logarithm is taken; the last row belongs to frozen values
    age (slots, members, 129)     row of the last use of each remembered state; their number
    memory               remembered states (members, 4, 128) of each slot; during warm-up its values and residuals
    """
    stat = np.empty(15)
    for i in range(len(slot)):
        s = slot[i]
        x = value[i]
        for c in range(out.shape[1]):
            out[i, c] = np.nan
        if usable[i] == 0 or not abs(x) <= HUGE:
            continue
        n = ints[s, 0]
        warmup = int(setting[s, 1])
        static = setting[s, 8] > 0.0
        if n == 0 and not static:
            floats[s, 0] = x
        v = x - floats[s, 0]
        # Rings, range and slow mean.
        for k in range(3):
            add(floats, s, 8 + k, 11 + k, v)
            if n >= LEVELS[k]:
                add(floats, s, 8 + k, 11 + k, -recent[s, (n - LEVELS[k]) & (RECENT - 1)])
        recent[s, n & (RECENT - 1)] = v
        if not static:
            floats[s, 1] = min(floats[s, 1], v)
            floats[s, 2] = max(floats[s, 2], v)
        floats[s, 14] = floats[s, 14] + 1.0 if n > 0 and v == recent[s, (n - 1) & (RECENT - 1)] else 0.0
        distance = abs(v - floats[s, 3])
        apart[s, n & 7] = distance
        slow = floats[s, 3]
        rate = max(1.0 / (n + 1), 0.001)
        if not static:
            floats[s, 4] += rate * (distance * distance - floats[s, 4])
            floats[s, 3] += rate * (v - slow)
        # Calendar.
        z = 0.0
        forecast = 0.0
        speaks = False
        if setting[s, 3] > 0.0:
            hour = time_ns[i] // _HOUR_NS
            if hour != ints[s, 2] and not static:
                if ints[s, 3] > 0:
                    mean = floats[s, 7] / ints[s, 3]
                    h = ints[s, 2] % 24
                    w = ints[s, 2] % 168
                    day_n[s, h] += 1
                    day[s, h, 0] += max(1.0 / day_n[s, h], 0.1) * (mean - day[s, h, 0])
                    if week_n[s, w] < 250:
                        week_n[s, w] += 1
                    bounded = min(max(mean, -VAST), VAST)
                    week[s, w] = np.float32(week[s, w] + max(1.0 / week_n[s, w], 0.2) * (bounded - week[s, w]))
                ints[s, 2] = hour
                ints[s, 3] = 0
                floats[s, 7] = 0.0
            if not static:
                ints[s, 3] += 1
                floats[s, 7] += v
            h = hour % 24
            w = hour % 168
            if day_n[s, h] > 0:
                forecast = (week_n[s, w] * np.float64(week[s, w]) + day[s, h, 0]) / (week_n[s, w] + 1)
                r = v - forecast
                size = abs(r)
                spread = 0.5 * day[s, h, 1] + 0.4 * math.sqrt(floats[s, 5])
                if 2 * n > warmup and spread > 0.0:
                    size = min(size, 5.0 * spread)
                if not static:
                    day[s, h, 1] = size if day_n[s, h] == 1 and ints[s, 3] == 1 else day[s, h, 1] + 0.02 * (size - day[s, h, 1])
                    floats[s, 5] += rate * (size * size - floats[s, 5])
                spread = max(0.5 * day[s, h, 1] + 0.4 * math.sqrt(floats[s, 5]), 0.001 * (floats[s, 2] - floats[s, 1]), 1e-30, setting[s, 6])
                z = min(max(r / spread, -1e6), 1e6)
                speaks = static or 2 * n > warmup
        residual[s, n & 31] = z
        ints[s, 0] = n + 1
        ints[s, 1] += 1
        a = start[s]
        if static and n < SETTLING:
            continue
        if n < warmup and not static:
            memory[a + n] = np.float32(min(max(v, -VAST), VAST))
            memory[a + warmup + n] = np.float32(z)
            if n + 1 == warmup:
                fit(
                    s, warmup, table, first[s], last[s], a, floats[s, 0], setting[s, 6],
                    line, held, marks, near, near_bits, tail, scale, least, age, memory,
                )  # fmt: skip
                ints[s, 1] = np.int64(1) << 40
            continue
        # What the last rows look like.
        have = min(n + 1, 33)
        for k in range(have):
            line[k] = recent[s, (n - have + 1 + k) & (RECENT - 1)]
        statistics(line, have - 1, have, stat)
        span = setting[s, 4] if setting[s, 4] > 0.0 else floats[s, 2] - floats[s, 1]
        excursion = 0.0
        for k in range(8):
            excursion = max(excursion, apart[s, k])
        gate = 1.0 if excursion >= 0.2 * span else excursion / (0.2 * span)
        gate = 1.0 - setting[s, 5] * (1.0 - gate)
        r2 = 1.0 - floats[s, 5] / floats[s, 4] if floats[s, 4] > 0.0 else 0.0
        total_e = 0.0
        novelty = 0.0
        season = 0.0
        level = 0.0
        for m in range(last[s] - first[s]):
            row = first[s] + m
            q = table[row, 5]
            xi = table[row, 6]
            for f in range(4):
                kind = 0 if f % 2 == 0 and table[row, 0] == 0.0 else 1
                width = int(table[row, 1]) if f < 2 else int(table[row, 2])
                if kind == 0:
                    line[f] = stat[width]
                else:
                    column = 10 if table[row, 0] == 1.0 and f % 2 == 1 else 5
                    line[f] = math.log(stat[column + width] + least[s, m, f])
                line[f] = min(max((line[f] - scale[s, m, f, 0]) / scale[s, m, f, 1], -VAST), VAST)
                line[4 + f] = 1.0 / scale[s, m, f, 3]
            winner, d = nearest(line, age[s, m, AGES - 1], a + 4 * STATES * m, near, near_bits, memory)
            part_n = gate * surprise(tail, s, 4 * m, d, q, xi)
            reach = int(table[row, 9])
            mean_z = 0.0
            for k in range(reach):
                mean_z += residual[s, (n - k) & 31]
            mean_z = abs(mean_z / reach)
            part_s = surprise(tail, s, 4 * m + 1, mean_z, q, xi) if speaks and r2 > table[row, 10] else 0.0
            k = int(table[row, 11])
            mean_v = min(max((floats[s, 8 + k] + floats[s, 11 + k]) / min(n + 1, LEVELS[k]), -SINGLE), SINGLE)
            mean_v = np.float64(np.float32(mean_v))
            part_l = 0.0
            if not static or n + 1 >= LEVELS[k]:
                part_l = gate * max(surprise(tail, s, 4 * m + 2, mean_v, q, xi), surprise(tail, s, 4 * m + 3, -mean_v, q, xi))
            p = table[row, 8]
            joined = power_of(part_n, p) + power_of(part_s, p) + power_of(part_l, p)
            if joined > 0.0:
                joined = math.sqrt(joined) if p == 2.0 else joined ** (1.0 / p)
            total_e += min(joined, CAP)
            novelty += part_n
            season += part_s
            level += part_l
            if static:
                continue
            # Learn.
            store(line, winner, d > table[row, 3], s, m, n, a + 4 * STATES * m, age, memory)
            for f in range(4):
                off = line[f] - scale[s, m, f, 2]
                limit = 5.0 * math.sqrt(scale[s, m, f, 3])
                off = min(max(off, -limit), limit)
                scale[s, m, f, 2] += 0.0005 * off
                scale[s, m, f, 3] = max(scale[s, m, f, 3] + 0.0005 * (off * off - scale[s, m, f, 3]), 1e-4)
            learn_tail(tail, s, 4 * m, d, q)
            if setting[s, 3] > 0.0:
                learn_tail(tail, s, 4 * m + 1, mean_z, q)
            learn_tail(tail, s, 4 * m + 2, mean_v, q)
            learn_tail(tail, s, 4 * m + 3, -mean_v, q)
        frozen = 0.0
        for j in range(3):
            still = -math.log(stat[5 + 2 + j] + least[s, MOST, j])
            frozen += min(surprise(tail, s, TAILS - 3 + j, still, 0.95, 0.2), CAP) / 3.0
            if not static:
                learn_tail(tail, s, TAILS - 3 + j, still, 0.95)
        run = surprise(tail, s, TAILS - 4, floats[s, 14], 0.95, 0.2)
        if not static:
            learn_tail(tail, s, TAILS - 4, floats[s, 14], 0.95)
        if setting[s, 7] > 0.0:
            frozen = max(frozen, min(run, CAP))
        members = last[s] - first[s]
        joint = total_e / members
        now = max(joint, FROZEN * frozen)
        if setting[s, 9] > 0.0 and abs(now) < np.inf:
            floats[s, 15] += (now - floats[s, 15]) / LASTS
        e = min(max(now, LASTING * floats[s, 15]), CAP)
        found = 0.0
        if now > 0.0 and e >= setting[s, 0] and (ints[s, 1] > setting[s, 2] or e > 3.0 * floats[s, 6]):
            found = 1.0
            floats[s, 6] = e
            ints[s, 1] = 0
        out[i, 0] = e / setting[s, 0]
        out[i, 1] = found
        out[i, 2] = e
        whole = novelty + season + level
        if FROZEN * frozen > joint:
            out[i, 3] = 4.0
        elif whole > 0.0:
            out[i, 3] = 1.0 if novelty >= season and novelty >= level else 2.0 if season >= level else 3.0
        out[i, 4] = floats[s, 0] + (forecast if out[i, 3] == 2.0 else slow)
        if whole > 0.0:
            out[i, 5] = novelty / whole
            out[i, 6] = season / whole
            out[i, 7] = level / whole
        out[i, 8] = frozen
