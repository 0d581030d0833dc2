"""The course of one tag through a batch against earlier batches: what they did at the same moment, and limits for one more batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from gateway.batches import BatchRow
from gateway.query import MAX_POINTS, Query
from gateway.rows import SeriesRow

Axis = Literal["time", "maturity"]
MOST: Final = 20
"""Earlier batches that are compared with at most."""
LEAST: Final = 3
"""Earlier batches at a moment from which limits are told there."""
OVERRUN: Final = 1.1
"""Maturity beyond which a value belongs to no moment of the course."""
SPREAD: Final = 0.1
"""Spread at a moment, over the median of the course, at least: where all earlier batches met by chance."""
REACH: Final = 3.0
"""A gap is bridged up to so many usual distances of the values."""
LOOKS: Final = ((0, 3600), (3600, 86_400), (86_400, 30 * 86_400))
"""Where the last value before an instant is looked for, the nearest first: seconds back to and from."""
FINE: Final = 10
"""Instants to a moment at which a tag that holds its value is read."""
ABOVE: Final = 3
OF_LAST: Final = 5
T99: Final = (
    math.inf, 63.657, 9.925, 5.841, 4.604, 4.032, 3.707, 3.499, 3.355, 3.25, 3.169, 3.106, 3.055, 3.012, 2.977, 2.947, 2.921, 2.898, 2.878, 2.861,
)  # fmt: skip
"""0.995 point of Student's t by degrees of freedom."""


class CourseRow(TypedDict):
    """One tag through one batch, or one phase of it, in its unit; None where nothing is known."""

    tag: str
    edge: str
    unit: str
    batch: str
    phase: str  # "": the whole batch
    from_ns: int | None  # None when the phase has not begun
    to_ns: int | None  # None while it goes on
    axis: Axis
    at: list[float]  # moments: seconds since the begin, or maturity
    value: list[float | None]  # of this batch
    middle: list[float | None]  # mean of the earlier batches
    low: list[float | None]  # limits: 99 % of batches like the earlier ones are between them at a moment
    high: list[float | None]
    outside: list[int]  # moments outside the limits, where 3 of the last 5 are: of single ones one in a hundred is by chance
    against: list[str]  # the earlier batches


class Pass(TypedDict):
    """One batch's way: x (n,) moments and value (n,) in order of time; `length` in seconds or maturity."""

    x: NDArray[np.float64]
    value: NDArray[np.float64]
    length: float


def earlier(batches: Sequence[BatchRow], of: BatchRow) -> list[BatchRow]:
    """The newest finished batches of the same unit before one, at most `MOST`, the newest first."""
    mine = (b for b in batches if (b["edge"], b["unit"]) == (of["edge"], of["unit"]) and b["to_ns"] is not None and b["from_ns"] < of["from_ns"])
    return sorted(mine, key=lambda b: -b["from_ns"])[:MOST]


def course(
    query: Query, of: BatchRow, against: Sequence[BatchRow], tag: str, *, phase: str = "", phases: str = "", maturity: str = "", points: int = 100
) -> CourseRow:
    """One tag through a batch against others.

    phase, phases  a phase and the key of the text tag that names it; the whole batch when empty
    maturity       key of a tag that tells how far a batch is (0 .. 1), as a batch model's; time tells it when empty
    points         moments
    """
    now = query.status()["now_ns"]
    held = any(row["key"] == tag and (row["report"]["kind"] == "by_exception" or row["record"] == "changes") for row in query.tags())
    span = _span(query, of, phase, phases, now)
    own = _pass(query, span, tag, maturity, now, points, held=held)
    known = [(b, _pass(query, s, tag, maturity, now, points, held=held)) for b in against if (s := _span(query, b, phase, phases, now)) is not None]
    others = [(b, p) for b, p in known if len(p["value"])]
    lengths = [p["length"] for _, p in others]
    longest = 1.0 if maturity else max(float(np.median(lengths)) if lengths else 0.0, own["length"], 1e-9)
    edges = np.linspace(0.0, longest, points + 1)
    at = (edges[1:] + edges[:-1]) / 2
    value = moments(own, edges)
    rows = np.array([moments(p, edges) for _, p in others]).reshape(len(others), points)
    middle, low, high = limits(rows)
    with np.errstate(invalid="ignore"):
        outside = lasting((value < low) | (value > high))
    return {
        "tag": tag, "edge": of["edge"], "unit": of["unit"], "batch": of["batch"], "phase": phase, "from_ns": span[0] if span else None,
        "to_ns": span[1] if span else None, "axis": "maturity" if maturity else "time", "at": at.tolist(), "value": _told(value),
        "middle": _told(middle), "low": _told(low), "high": _told(high), "outside": outside.tolist(), "against": [b["batch"] for b, _ in others],
    }  # fmt: skip


def limits(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean and limits for one more batch at each moment of n earlier ones (n, points), NaN where fewer than `LEAST` are known.

    The limits are the prediction interval mean +- t s sqrt(1 + 1/n), 99 % two-sided (Hahn and Meeker, Statistical Intervals, 1991, 4.7), with s at
    least a tenth of the median over the course.

    >>> low, high = limits(np.array([[1.0], [2.0], [3.0]]))[1:]
    >>> round(float(high[0]), 3), round(float(low[0]), 3)
    (13.46, -9.46)
    """
    n = (~np.isnan(rows)).sum(axis=0)
    enough = n >= LEAST
    count = np.maximum(n, 2)
    mean = np.where(enough, np.nansum(rows, axis=0) / count, np.nan)
    sd = np.sqrt(np.nansum((rows - mean) ** 2, axis=0) / (count - 1))
    if enough.any():
        sd = np.maximum(sd, SPREAD * float(np.median(sd[enough])))
    half = np.array(T99)[np.clip(count - 1, 1, len(T99) - 1)] * sd * np.sqrt(1 + 1 / count)
    return mean, np.where(enough, mean - half, np.nan), np.where(enough, mean + half, np.nan)


def lasting(out: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Moments that are out where at least `ABOVE` of the last `OF_LAST` are, as a batch model's alarm asks.

    >>> lasting(np.array([1, 0, 0, 0, 0, 0, 1, 1, 0, 1, 1, 0], bool)).tolist()
    [9, 10]
    """
    held = np.convolve(out.astype(np.int64), np.ones(OF_LAST, np.int64))[: len(out)]
    return np.flatnonzero(out & (held >= ABOVE))


def moments(way: Pass, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of the values in each part between `edges`; a part without one lies between its neighbours where these are near, else it is NaN."""
    x, value = way["x"], way["value"]
    parts = len(edges) - 1
    place = np.floor(x / edges[-1] * parts).astype(np.intp)
    place[x == edges[-1]] = parts - 1
    inside = (place >= 0) & (place < parts)
    n = np.bincount(place[inside], minlength=parts)
    total = np.bincount(place[inside], weights=value[inside], minlength=parts)
    out = np.full(parts, np.nan)
    known = np.flatnonzero(n)
    out[known] = total[known] / n[known]
    if len(known) > 1:
        steps = np.diff(known)
        for i in np.flatnonzero((steps > 1) & (steps <= REACH * float(np.median(steps)))):
            a, b = int(known[i]), int(known[i + 1])
            out[a + 1 : b] = np.interp(np.arange(a + 1, b), (a, b), (out[a], out[b]))
    return out


def _span(query: Query, of: BatchRow, phase: str, phases: str, now: int) -> tuple[int, int | None] | None:
    """Begin and end of a batch, or of the first time a phase was under way in it."""
    if not phase:
        return of["from_ns"], of["to_ns"]
    end = now if of["to_ns"] is None else of["to_ns"]
    if end <= of["from_ns"]:
        return None
    row = query.series(phases, of["from_ns"], end, MAX_POINTS)
    times, named = list(row["time_ns"]), list(row["text"])
    # A phase that was told before the batch and goes on in it begins with the batch.
    before = _before(query, phases, of["from_ns"])
    if before is not None and times[:1] != [of["from_ns"]]:
        times.insert(0, of["from_ns"])
        named.insert(0, before["text"][-1])
    first = next((i for i, text in enumerate(named) if text == phase), None)
    if first is None:
        return None
    after = next((i for i in range(first + 1, len(named)) if named[i] != phase), None)
    return times[first], of["to_ns"] if after is None else times[after]


def _before(query: Query, key: str, at_ns: int) -> SeriesRow | None:
    """Rows of which the last is the newest before an instant; None where there is none within a month."""
    for near_s, far_s in LOOKS:
        # Nearest first: a coarse row that reaches beyond its span holds nothing that the nearer look did not find.
        to_ns = at_ns - near_s * 1_000_000_000
        row = query.series(key, max(0, at_ns - far_s * 1_000_000_000), to_ns, MAX_POINTS) if to_ns > 0 else None
        if row is not None and row["time_ns"]:
            return row
    return None


def _pass(query: Query, span: tuple[int, int | None] | None, tag: str, maturity: str, now: int, points: int, *, held: bool) -> Pass:
    none: Pass = {"x": np.empty(0), "value": np.empty(0), "length": 0.0}
    if span is None:
        return none
    begin, end = span[0], now if span[1] is None else span[1]
    if end <= begin:
        return none
    # Twice as many as moments: parts of different length meet in the same moment.
    time_ns, value = _held(query, tag, begin, end, points) if held else _values(query.series(tag, begin, end, 2 * points))
    if not maturity:
        return {"x": (time_ns - begin) / 1e9, "value": value, "length": (end - begin) / 1e9}
    m_ns, told = _values(query.series(maturity, begin, end, 2 * points))
    if not len(m_ns):
        return none
    last = np.searchsorted(m_ns, time_ns, "right") - 1
    x = np.where(last >= 0, told[np.maximum(last, 0)], np.nan)
    kept = x <= OVERRUN
    return {"x": np.minimum(x[kept], 1.0), "value": value[kept], "length": 1.0}


def _held(query: Query, tag: str, begin: int, end: int, points: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """What a tag that tells changes only was at instants spread evenly over [begin, end): the last value told, none after a bad one."""
    row, before = query.series(tag, begin, end, MAX_POINTS), _before(query, tag, begin)
    told = [np.nan if v is None else v for v in ([before["last"][-1]] if before else []) + row["last"]]
    times = np.array(([begin] if before else []) + row["time_ns"], np.int64)
    count = FINE * points
    at = begin + ((np.arange(count) + 0.5) * ((end - begin) / count)).astype(np.int64)
    last = np.searchsorted(times, at, "right") - 1
    value = np.array([np.nan, *told])[last + 1]
    known = ~np.isnan(value)
    return at[known], value[known]


def _values(row: SeriesRow) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    value = np.array([np.nan if v is None else v for v in row["mean"]], np.float64)
    time_ns = np.array(row["time_ns"], np.int64)
    known = ~np.isnan(value)
    return time_ns[known], value[known]


def _told(x: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(v) else v for v in x.tolist()]
