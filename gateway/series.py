"""One tag over a span of time, from the hot tail and the segments together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_agent.core import Samples, Texts
from gateway.blocks import spread_over
from gateway.catalog import EdgeTags
from gateway.manifest import SegmentFile
from gateway.query import MAX_POINTS
from gateway.rollup import ROLLUP_DTYPE, ROLLUPS, SAMPLE_DTYPE, SECOND, Rows, as_rollup, column, merged, raw_rollup
from gateway.rows import Level, SeriesRow
from gateway.segments import OpenSegments, numeric
from gateway.tail import Generation, TextRow

WINDOW_NS = 10 * SECOND
"""Buckets narrower than this are made from raw values."""
LAG_NS = 120 * SECOND
"""The newest values are not in a window yet; so far back they are taken raw."""


@dataclass(frozen=True, slots=True)
class View:
    """What was in force at one moment: every row is in exactly one of a segment or a generation."""

    files: Sequence[SegmentFile]
    generations: Sequence[Generation]
    segments: OpenSegments

    def _files(self, edge: str, kind: str, from_ns: int, to_ns: int) -> list[SegmentFile]:
        return [f for f in self.files if f.edge == edge and f.kind == kind and f.max_ns >= from_ns and f.min_ns < to_ns]

    def samples(self, edge: str, number: int, from_ns: int, to_ns: int) -> Rows:
        """Raw values of one tag by source time."""
        found = [numeric(self.segments.get(f), number, from_ns, to_ns) for f in self._files(edge, "sample", from_ns, to_ns)]
        parts = [rows for rows in found if rows is not None]
        for generation in self.generations:
            if edge in generation.edges:
                parts += generation.edges[edge].samples.of(number, from_ns, to_ns)
        rows: Rows = np.concatenate(parts) if parts else np.empty(0, SAMPLE_DTYPE)
        return rows[np.argsort(rows["time_ns"], kind="stable")]

    def summaries(self, edge: str, number: int, from_ns: int, to_ns: int, level: int) -> Rows:
        """Windows (level 0) or rollups (60, 3600) of one tag that begin in [from_ns, to_ns), not merged; the tail has windows only."""
        found = [numeric(self.segments.get(f), number, from_ns, to_ns, level) for f in self._files(edge, "summary", from_ns, to_ns)]
        parts = [rows for rows in found if rows is not None]
        for generation in self.generations:
            if edge in generation.edges:
                parts += [as_rollup(rows) for rows in generation.edges[edge].windows.of(number, from_ns, to_ns)]
        return np.concatenate(parts) if parts else np.empty(0, ROLLUP_DTYPE)

    def texts(self, edge: str, number: int, from_ns: int, to_ns: int) -> list[TextRow]:
        """Text values of one tag by source time."""
        found = []
        for file in self._files(edge, "text", from_ns, to_ns):
            table = self.segments.get(file).of(number, from_ns, to_ns)
            if table is not None:
                found += [TextRow(**row) for row in table.to_pylist()]
        for generation in self.generations:
            if edge in generation.edges:
                found += generation.edges[edge].texts
        return sorted((r for r in found if r.tag == number and from_ns <= r.time_ns < to_ns), key=lambda r: r.time_ns)

    def blocks(self, edge: str, number: int, from_ns: int, to_ns: int, count: int) -> tuple[int, list[bytes]]:
        """How many blocks of one stream begin in the span, and the frames of at most `count` of them, spread evenly."""
        files = self._files(edge, "block", from_ns, to_ns)
        times = [r.time_ns for g in self.generations if edge in g.edges for r in g.edges[edge].blocks if r.tag == number]
        for file in files:
            table = self.segments.get(file).of(number, from_ns, to_ns, columns=["tag", "time_ns"])
            if table is not None:
                times += [t for n, t in zip(table["tag"].to_pylist(), table["time_ns"].to_pylist(), strict=True) if n == number]
        inside = np.unique(np.array([t for t in times if from_ns <= t < to_ns], np.int64))
        wanted = set(spread_over(inside, count).tolist())
        frames = {
            r.time_ns: r.frame for g in self.generations if edge in g.edges for r in g.edges[edge].blocks if r.tag == number and r.time_ns in wanted
        }
        for file in files:
            # Few are wanted of many: only the row groups that hold one are read.
            for time_ns in sorted(t for t in wanted - frames.keys() if file.min_ns <= t <= file.max_ns):
                if time_ns in frames:
                    continue
                table = self.segments.get(file).of(number, time_ns, time_ns + 1)
                if table is not None:
                    columns = (table[name].to_pylist() for name in ("tag", "time_ns", "frame"))
                    frames |= {t: frame for n, t, frame in zip(*columns, strict=True) if n == number and t in wanted}
        return len(inside), [frames[t] for t in sorted(frames)]


def series(view: View, key: str, known: EdgeTags, number: int, from_ns: int, to_ns: int, points: int) -> SeriesRow:
    """One tag in at most `points` rows; ValueError for a span or number of points that cannot be."""
    if not from_ns < to_ns:
        raise ValueError(f"series: expected from before to, found {from_ns} and {to_ns}")
    if not 1 <= points <= MAX_POINTS:
        raise ValueError(f"series: expected 1 to {MAX_POINTS} points, found {points}")
    tag = known.tags[number]
    if tag.kind == "text":
        texts = view.texts(known.edge, number, from_ns, to_ns)
        # The last ones: where there are more states than points, the screen is too narrow for any of them.
        return _text_row(key, from_ns, to_ns, texts[-points:])
    width = (to_ns - from_ns) / points
    if width >= WINDOW_NS or tag.record == "summary":
        level, rows = _summaries(view, known, number, from_ns, to_ns, points, width)
        if len(rows) or tag.record == "summary":
            return _row(key, from_ns, to_ns, level, rows)
    raw = raw_rollup(view.samples(known.edge, number, from_ns, to_ns), known.simulated)
    if len(raw) > points:
        raw = merged(raw, -(-(to_ns - from_ns) // points), origin_ns=from_ns)
    return _row(key, from_ns, to_ns, "raw", raw)


def series_of(key: str, known: EdgeTags, samples: Samples, texts: Texts, from_ns: int, to_ns: int, points: int) -> SeriesRow:
    """The same from values that came from elsewhere, oldest first."""
    if len(texts):
        rows = zip(texts.time_ns, texts.value, texts.status, strict=True)
        return _text_row(key, from_ns, to_ns, [TextRow(0, 0, t, 0, value, status) for t, value, status in rows][-points:])
    found = np.zeros(len(samples), SAMPLE_DTYPE)
    found["time_ns"], found["value"], found["status"] = samples.time_ns, samples.value, samples.status
    raw = raw_rollup(found, known.simulated)
    if len(raw) > points:
        raw = merged(raw, -(-(to_ns - from_ns) // points), origin_ns=from_ns)
    return _row(key, from_ns, to_ns, "raw", raw)


def _summaries(view: View, known: EdgeTags, number: int, from_ns: int, to_ns: int, points: int, width: float) -> tuple[Level, Rows]:
    step = next((length for length in reversed(ROLLUPS) if width >= length), 0)
    unit = step or SECOND
    begin, end = from_ns // unit * unit, -(-to_ns // unit) * unit
    rows = view.summaries(known.edge, number, begin, end, step // SECOND)
    if len(rows) == 0:
        return "window", rows
    if step == 0:
        unit = max(SECOND, int(rows["length_ns"].max()))
        begin = from_ns // unit * unit
        newest = int((rows["start_ns"] + rows["length_ns"]).max())
        late = view.samples(known.edge, number, max(newest, end - LAG_NS, from_ns), end)
        rows = np.concatenate((rows, raw_rollup(late, known.simulated)))
    bucket = -(-(end - begin) // (points * unit)) * unit
    level: Level = "window" if step == 0 else "60" if step == ROLLUPS[0] else "3600"
    return level, merged(rows, bucket, origin_ns=begin)


def _row(key: str, from_ns: int, to_ns: int, level: Level, rows: Rows) -> SeriesRow:
    n = rows["n"]
    mean = np.divide(rows["sum"], n, out=np.full(len(rows), np.nan), where=n > 0)
    return {
        "tag": key,
        "from_ns": from_ns,
        "to_ns": to_ns,
        "level": level,
        "time_ns": rows["start_ns"].tolist(),
        "n": n.tolist(),
        "mean": column(mean),
        "min": column(rows["min"]),
        "max": column(rows["max"]),
        "first": column(rows["first"]),
        "last": column(rows["last"]),
        "n_bad": rows["n_bad"].tolist(),
        "n_uncertain": rows["n_uncertain"].tolist(),
        "worst_status": rows["worst_status"].tolist(),
        "text": [],
    }


def _text_row(key: str, from_ns: int, to_ns: int, texts: Sequence[TextRow]) -> SeriesRow:
    none: list[float | None] = [None] * len(texts)
    return {
        "tag": key,
        "from_ns": from_ns,
        "to_ns": to_ns,
        "level": "raw",
        "time_ns": [r.time_ns for r in texts],
        "n": [1] * len(texts),
        "mean": none,
        "min": none,
        "max": none,
        "first": none,
        "last": none,
        "n_bad": [int(r.status >> 31) for r in texts],
        "n_uncertain": [int(r.status >> 30 == 1) for r in texts],
        "worst_status": [r.status for r in texts],
        "text": [r.value for r in texts],
    }
