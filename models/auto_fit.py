"""What `auto` measures in the last rows, what it remembers of it, and how it learns its scales at the end of the warm-up."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.baseline import sort
from models.compiled import kernel
from models.tails import fit_tail

WIDTHS: Final = np.array([2, 4, 8, 16, 32], np.int64)
"""Rows over which mean and spread are taken."""
MOST: Final = 4
"""Members at the most."""
TAILS: Final = 4 * MOST + 4
RECENT: Final = 256
STATES: Final = 128
"""States a member remembers; the one not met for longest gives way."""
AGES: Final = STATES + 1
SINGLE: Final = 3e38
"""Slow means are held within what single precision can hold: tails know no infinity."""
VAST: Final = 1e15
"""Features count at most so many of their standard deviations; keeps squares in single precision."""


@kernel("void(float64[:, ::1], int64, int64, int64, float64)")
def add(a: NDArray[np.float64], s: int, at: int, rest: int, x: float) -> None:
    """Add x to the running sum a[s, at]; what rounding leaves over is gathered in a[s, rest] (Neumaier): a sum is their sum."""
    total = a[s, at] + x
    if abs(a[s, at]) >= abs(x):
        a[s, rest] += (a[s, at] - total) + x
    else:
        a[s, rest] += (x - total) + a[s, at]
    a[s, at] = total


@kernel("void(float64[::1], int64, int64, float64[::1])")
def statistics(a: NDArray[np.float64], at: int, have: int, out: NDArray[np.float64]) -> None:
    """Mean (out[0:5]), standard deviation (5:10) and that of the differences (10:15) of the last WIDTHS rows that end at a[at]; `have` rows exist."""
    newest = a[at]
    step = newest - a[at - 1] if have > 1 else 0.0
    total = 0.0
    square = 0.0
    d_total = 0.0
    d_square = 0.0
    k = 0
    for i in range(min(have, 32)):
        # Distances from the newest value: no digits are lost to a large offset.
        v = a[at - i] - newest
        total += v
        square += v * v
        steps = i + 1
        if i + 1 < have:
            d = a[at - i] - a[at - i - 1] - step
            d_total += d
            d_square += d * d
        else:
            steps = max(i, 1)
        if i + 1 == WIDTHS[k]:
            n = i + 1
            out[k] = newest + total / n
            out[5 + k] = math.sqrt(max(0.0, square / n - (total / n) * (total / n)))
            out[10 + k] = math.sqrt(max(0.0, d_square / steps - (d_total / steps) * (d_total / steps)))
            k += 1
    n = min(have, 32)
    steps = max(min(have - 1, 32), 1)
    while k < 5:
        out[k] = newest + total / n
        out[5 + k] = math.sqrt(max(0.0, square / n - (total / n) * (total / n)))
        out[10 + k] = math.sqrt(max(0.0, d_square / steps - (d_total / steps) * (d_total / steps)))
        k += 1


@kernel("Tuple((int64, float64))(float64[::1], int64, int64, float32[::1], int32[::1], float32[::1])")
def nearest(
    feature: NDArray[np.float64], known: int, base: int, near: NDArray[np.float32], near_bits: NDArray[np.int32], memory: NDArray[np.float32]
) -> tuple[int, float]:
    """The nearest of the `known` states from memory[base] and its distance; (-1, 0) when there is none.

    feature (8,)  four standardised features and the weight of each
    near, near_bits (128,)  the same scratch memory as float32 and as int32: squares order alike as either, and integers are compared in vectors
    """
    if known == 0:
        return -1, 0.0
    f0 = np.float32(feature[0])
    f1 = np.float32(feature[1])
    f2 = np.float32(feature[2])
    f3 = np.float32(feature[3])
    w0 = np.float32(feature[4])
    w1 = np.float32(feature[5])
    w2 = np.float32(feature[6])
    w3 = np.float32(feature[7])
    for j in range(known):
        d0 = f0 - memory[base + j]
        d1 = f1 - memory[base + STATES + j]
        d2 = f2 - memory[base + 2 * STATES + j]
        d3 = f3 - memory[base + 3 * STATES + j]
        near[j] = w0 * d0 * d0 + w1 * d1 * d1 + w2 * d2 * d2 + w3 * d3 * d3
    best = np.int32(2147483647)
    for j in range(known):
        best = min(best, near_bits[j])
    winner = 0
    while near_bits[winner] != best:
        winner += 1
    return winner, math.sqrt(np.float64(near[winner]))


@kernel("void(float64[::1], int64, boolean, int64, int64, int64, int64, int32[:, :, ::1], float32[::1])")
def store(
    feature: NDArray[np.float64], winner: int, new: bool, s: int, m: int, n: int, base: int, age: NDArray[np.int32], memory: NDArray[np.float32]
) -> None:
    """Remember a new state in place of the one not met for longest, or that a known one was met again."""
    if winner >= 0 and not new:
        age[s, m, winner] = n
        return
    known = age[s, m, AGES - 1]
    at = int(known)
    if known == STATES:
        at = 0
        for j in range(1, STATES):
            if age[s, m, j] < age[s, m, at]:
                at = j
    else:
        age[s, m, AGES - 1] = known + 1
    age[s, m, at] = n
    for f in range(4):
        memory[base + f * STATES + at] = np.float32(feature[f])


@kernel(
    "void(int64, int64, float64[:, ::1], int64, int64, int64, float64, float64, float64[::1], float64[:, ::1], float64[:, ::1], float32[::1],"
    " int32[::1], float64[:, :, ::1], float64[:, :, :, ::1], float64[:, :, ::1], int32[:, :, ::1], float32[::1])"
)
def fit(
    s: int,
    warmup: int,
    table: NDArray[np.float64],
    first: int,
    last: int,
    base: int,
    origin: float,
    least_spread: float,
    line: NDArray[np.float64],
    held: NDArray[np.float64],
    marks: NDArray[np.float64],
    near: NDArray[np.float32],
    near_bits: NDArray[np.int32],
    tail: NDArray[np.float64],
    scale: NDArray[np.float64],
    least: NDArray[np.float64],
    age: NDArray[np.int32],
    memory: NDArray[np.float32],
) -> None:
    """End the warm-up of slot s: floors, scales, remembered states and tails from its values and residuals in `memory`.

    The first eighth is left out: a start-up must not set the scales. held (warm-up, 15) and marks (warm-up, 6) are scratch.
    """
    skip = warmup // 8
    stat = np.empty(15)
    feature = np.empty(8)
    sums = np.empty((1, 2))
    for t in range(warmup):
        line[t] = memory[base + t]
        marks[t, 4] = line[t]
        marks[t, 5] = memory[base + warmup + t]
    for t in range(warmup):
        statistics(line, t, min(t + 1, 33), stat)
        for c in range(15):
            held[t, c] = stat[c]
    for t in range(base, base + max(4 * STATES * (last - first), 2 * warmup)):
        memory[t] = 0.0
    tiny = max(1e-12 * abs(origin), 1e-30, least_spread)
    middle = np.empty(15)
    top = np.empty(15)
    for c in range(5, 15):
        for t in range(skip, warmup):
            line[t] = held[t, c]
        sort(line, skip, warmup)
        middle[c] = line[skip + (warmup - skip) // 2]
        top[c] = line[warmup - 1]
    for m in range(last - first):
        row = first + m
        for f in range(4):
            width = int(table[row, 1]) if f < 2 else int(table[row, 2])
            if f % 2 == 0 and table[row, 0] == 0.0:
                for t in range(warmup):
                    marks[t, f] = held[t, width]
            else:
                column = width + (10 if table[row, 0] == 1.0 and f % 2 == 1 else 5)
                least[s, m, f] = max(table[row, 4] * max(middle[column], 0.2 * top[column]), tiny)
                for t in range(warmup):
                    marks[t, f] = math.log(held[t, column] + least[s, m, f])
            centre = 0.0
            low = marks[skip, f]
            high = low
            for t in range(skip, warmup):
                centre += marks[t, f] - marks[skip, f]
                low = min(low, marks[t, f])
                high = max(high, marks[t, f])
            centre = marks[skip, f] + centre / (warmup - skip)
            square = 0.0
            for t in range(skip, warmup):
                square += (marks[t, f] - centre) * (marks[t, f] - centre)
            smallest = tiny if f % 2 == 0 and table[row, 0] == 0.0 else 1e-9
            scale[s, m, f, 0] = centre
            scale[s, m, f, 1] = max(math.sqrt(square / (warmup - skip)), 0.01 * (high - low), smallest)
            scale[s, m, f, 2] = 0.0
            scale[s, m, f, 3] = 1.0
        q = table[row, 5]
        kept = 0
        begin = max(int(table[row, 7] * warmup), skip + 1)
        for t in range(skip, warmup):
            for f in range(4):
                feature[f] = min(max((marks[t, f] - scale[s, m, f, 0]) / scale[s, m, f, 1], -VAST), VAST)
                feature[4 + f] = 1.0
            winner, d = nearest(feature, age[s, m, AGES - 1], base + 4 * STATES * m, near, near_bits, memory)
            store(feature, winner, d > table[row, 3], s, m, t, base + 4 * STATES * m, age, memory)
            if t >= begin:
                line[kept] = d
                kept += 1
        fit_tail(tail, s, 4 * m, line, kept, q, 1e-9)
        reach = int(table[row, 9])
        kept = 0
        for t in range(skip, warmup):
            total = 0.0
            for k in range(min(reach, t + 1)):
                total += marks[t - k, 5]
            line[kept] = abs(total / reach)
            kept += 1
        fit_tail(tail, s, 4 * m + 1, line, kept, q, 1e-9)
        rows = 64 << int(table[row, 11])
        for side in range(2):
            kept = 0
            sums[0, 0] = 0.0
            sums[0, 1] = 0.0
            for t in range(warmup):
                add(sums, 0, 0, 1, marks[t, 4])
                if t >= rows:
                    add(sums, 0, 0, 1, -marks[t - rows, 4])
                if t >= skip:
                    # Single precision: what is left of rounding must not tell two equal means apart.
                    slow = min(max((sums[0, 0] + sums[0, 1]) / min(t + 1, rows), -SINGLE), SINGLE)
                    line[kept] = (1.0 - 2.0 * side) * np.float32(slow)
                    kept += 1
            fit_tail(tail, s, 4 * m + 2 + side, line, kept, q, tiny)
    kept = 0
    run = 0.0
    for t in range(warmup):
        run = run + 1.0 if t > 0 and marks[t, 4] == marks[t - 1, 4] else 0.0
        if t >= int(0.3 * warmup):
            line[kept] = run
            kept += 1
    # A single repetition is no event: mean excesses below one row mean nothing.
    fit_tail(tail, s, TAILS - 4, line, kept, 0.95, 1.0)
    for k in range(3):
        least[s, MOST, k] = max(0.05 * middle[5 + 2 + k], tiny)
        kept = 0
        for t in range(int(0.3 * warmup), warmup):
            line[kept] = -math.log(held[t, 5 + 2 + k] + least[s, MOST, k])
            kept += 1
        fit_tail(tail, s, TAILS - 3 + k, line, kept, 0.95, 1e-9)
