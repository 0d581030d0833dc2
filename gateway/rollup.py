"""Rows of samples and summaries as the store holds them, and how summaries merge.

Summaries merge exactly: counts and sums add, `m2` by the pairwise update of Chan, Golub and LeVeque (1983) for any number of groups at once,
min and max by comparison, first and last by source time. Merging in any order or grouping gives the same numbers but for rounding of the sums.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core.record import SUMMARY_COLUMNS

Rows = np.ndarray[tuple[int], np.dtype[np.void]]

SAMPLE_DTYPE: Final = np.dtype([("tag", "<i4"), ("version", "<i4"), ("time_ns", "<i8"), ("received_ns", "<i8"), ("value", "<f8"), ("status", "<u4")])
"""One numeric value; `tag` is the gateway's number of the tag on its edge."""

WINDOW_DTYPE: Final = np.dtype([*(c for c in SUMMARY_COLUMNS if c[0] != "count"), ("n", "<i8")])
"""One part of one window as the edge wrote it; its count, the values behind sum, m2, min, max, first and last, is `n` as in every rollup."""

COUNTS: Final = ("n", "n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate")
ROLLUP_DTYPE: Final = np.dtype(
    [("tag", "<i4"), ("start_ns", "<i8"), ("length_ns", "<i8")]
    + [(name, "<i8") for name in COUNTS]
    + [(name, "<f8") for name in ("sum", "m2", "min", "max", "first", "last")]
    + [("first_ns", "<i8"), ("last_ns", "<i8"), ("worst_status", "<u4"), ("mode", "|u1")]
)
"""Windows of one tag merged over a longer span."""

SECOND: Final = 1_000_000_000
ROLLUPS: Final = (60 * SECOND, 3600 * SECOND)
DAY: Final = 86_400 * SECOND


def ordered(rows: Rows, time: str) -> Rows:
    """The rows by tag, then time, then as they came.

    >>> rows = np.zeros(3, SAMPLE_DTYPE); rows["tag"] = [1, 0, 1]; rows["time_ns"] = [5, 9, 4]
    >>> ordered(rows, "time_ns")["time_ns"].tolist()
    [9, 4, 5]
    """
    if len(rows) < 2:
        return rows
    # `take` moves whole rows: 72 ns each against 257 ns by indexing, on 2 million rows.
    return rows.take(np.lexsort((np.ascontiguousarray(rows[time]), np.ascontiguousarray(rows["tag"]))))


def span(rows: Rows, tag: int) -> Rows:
    """The rows of one tag in rows ordered by tag."""
    column = rows["tag"]
    return rows[np.searchsorted(column, tag, "left") : np.searchsorted(column, tag, "right")]


def between(rows: Rows, time: str, from_ns: int, to_ns: int) -> Rows:
    """The rows of one tag, ordered by time, with from_ns <= time < to_ns."""
    column = rows[time]
    return rows[np.searchsorted(column, from_ns, "left") : np.searchsorted(column, to_ns, "left")]


def windows_of(summaries: Rows, tag: NDArray[np.int32]) -> Rows:
    """Rows of WINDOW_DTYPE from a record's rows, under the gateway's tag numbers."""
    rows = np.empty(len(summaries), WINDOW_DTYPE)
    for name in WINDOW_DTYPE.names or ():
        rows[name] = summaries["count" if name == "n" else name]
    rows["tag"] = tag
    return rows


def as_rollup(windows: Rows) -> Rows:
    """Windows in the columns of a rollup, not merged."""
    rows = np.empty(len(windows), ROLLUP_DTYPE)
    for name in ROLLUP_DTYPE.names or ():
        rows[name] = windows[name]
    return rows


def raw_rollup(samples: Rows, usable_simulated: bool) -> Rows:
    """Every sample as a window of its own: what raw values look like when they are put into buckets."""
    rows = np.zeros(len(samples), ROLLUP_DTYPE)
    status = samples["status"]
    severity = np.minimum(status >> np.uint32(30), np.uint32(2))
    if usable_simulated:
        severity = np.where((status & np.uint32(0xFFFF0000)) == 0x42090000, np.uint32(0), severity)
    has = (severity < 2) & np.isfinite(samples["value"])
    rows["tag"], rows["start_ns"] = samples["tag"], samples["time_ns"]
    rows["n"], rows["n_good"], rows["n_uncertain"], rows["n_bad"] = has, severity == 0, severity == 1, severity == 2
    value = samples["value"]
    rows["sum"] = np.where(has, value, 0.0)
    for name in ("min", "max", "first", "last"):
        rows[name] = np.where(has, value, np.nan)
    rows["first_ns"] = rows["last_ns"] = samples["time_ns"]
    rows["worst_status"] = status
    return rows


def merged(rows: Rows, length_ns: int, *, origin_ns: int = 0) -> Rows:
    """Rollup rows merged into buckets [k * length_ns + origin_ns, ...) of each tag, ordered by tag and start.

    rows       (n,) ROLLUP_DTYPE in any order
    length_ns  length of a bucket
    """
    if len(rows) == 0:
        return rows
    bucket = (rows["start_ns"] - origin_ns) // length_ns
    order = np.lexsort((bucket, rows["tag"]))
    rows, bucket = rows.take(order), bucket[order]
    tag = rows["tag"]
    begins = np.flatnonzero(np.concatenate(([True], (tag[1:] != tag[:-1]) | (bucket[1:] != bucket[:-1]))))
    out: Rows = np.zeros(len(begins), ROLLUP_DTYPE)
    out["tag"], out["start_ns"], out["length_ns"] = tag[begins], bucket[begins] * length_ns + origin_ns, length_ns
    for name in COUNTS:
        out[name] = np.add.reduceat(rows[name], begins)
    out["worst_status"] = np.maximum.reduceat(rows["worst_status"], begins)
    out["mode"] = np.maximum.reduceat(rows["mode"], begins)
    has = rows["n"] > 0
    out["sum"] = np.add.reduceat(np.where(has, rows["sum"], 0.0), begins)
    out["min"], out["max"] = np.fmin.reduceat(rows["min"], begins), np.fmax.reduceat(rows["max"], begins)
    group = np.repeat(np.arange(len(begins)), np.diff(np.append(begins, len(rows))))
    out["m2"] = _m2(rows, has, out, group, begins)
    _ends(rows, has, out, group)
    return out


def _m2(rows: Rows, has: NDArray[np.bool_], out: Rows, group: NDArray[np.intp], begins: NDArray[np.intp]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean, of_group = rows["sum"] / rows["n"], out["sum"] / out["n"]
        part = rows["m2"] + rows["n"] * (mean - of_group[group]) ** 2
    total: NDArray[np.float64] = np.add.reduceat(np.where(has, part, 0.0), begins)
    return total


def _ends(rows: Rows, has: NDArray[np.bool_], out: Rows, group: NDArray[np.intp]) -> None:
    """first, last and their times: of the earliest and latest rows that have a value, else of any row that has a time."""
    for value, time, sign in (("first", "first_ns", -1), ("last", "last_ns", 1)):
        seen = rows[time] != 0
        rank = has.astype(np.int8) * 2 + seen
        at = rows[time] * sign
        order = np.lexsort((at, rank, group))
        tail = np.append(np.flatnonzero(np.diff(group[order])), len(order) - 1)
        chosen = order[tail]
        out[value], out[time] = np.where(has[chosen], rows[value][chosen], np.nan), rows[time][chosen]


def column(values: NDArray[Any]) -> list[float | None]:
    """A float column for JSON: what is not finite is None.

    >>> column(np.array([1.5, np.nan]))
    [1.5, None]
    """
    listed: list[float | None] = values.tolist()
    if not np.isfinite(values).all():
        return [v if np.isfinite(v) else None for v in values.tolist()]
    return listed
