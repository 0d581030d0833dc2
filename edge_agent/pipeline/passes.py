"""Passes: many entries of values stepped together, with the records that stepping them one by one gives, bit for bit.

Recorded data comes in rows of few values, and a step costs the same for one value as for a thousand. What the rows of a pass share is looked at once:
screening, models and alarms run over all of them, time and windows in one loop that knows when each row was received. That is right as long as a row
is no more than a value: one that is late, repeated, from the future, the end of a silence or of a gap ends the pass and is stepped alone, and so does
a tag that goes stale.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.detect import Found
from edge_agent.core import Record, Run, Samples, Summaries
from edge_agent.core.samples import Int32, Int64, UInt8
from edge_agent.pipeline.conditions import Conditions
from edge_agent.pipeline.judging import Finding, Judging
from edge_agent.pipeline.parts import Parts
from edge_agent.pipeline.pass_alarms import BEHIND, AlarmPass, Told, streamed
from edge_agent.pipeline.ticks import NEVER, TICK_NS, tick_at_or_after, tick_at_or_before
from models.compiled import kernel

SUMMARY_ROWS: Final = 2000
"""Rows of one summary record at the most: about 60 kB on the wire."""

PASS_ROWS: Final = 32_768
"""Rows of one pass at the most."""



@kernel(
    "int64(Array(int64, 1, 'C', readonly=True), Array(int32, 1, 'C', readonly=True), int64[::1], int64[::1], int64, int64[::1], int64, int64,"
    " int32[::1], int64[::1], int64[::1], int64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])"
)
def passable(
    time_ns: Int64, tag: Int32, ends: Int64, received_ns: Int64, tick_ns: int, skew_ns: Int64, idle_ns: int, length_ns: int,
    group: Int32, lateness_ns: Int64, closed_ns: Int64, last_ns: Int64, stuck: UInt8, watched: Int64, patience_ns: Int64, heard_ns: Int64,
    newest_ns: Int64, mark: Int64,
) -> int:  # fmt: skip
    """How many entries from the first on are nothing but values in order.

    closed_ns (groups,), last_ns (tags,)   copies, moved on; heard_ns (tags,) is moved on for the entries that pass
    skew_ns (tags,)    a stamp may be ahead of its receipt by so much
    stuck (tags,)      tags whose next value ends a silence or a gap
    newest_ns (m,)     written: the newest source time of each entry
    mark               newest, heard and low of the watermark, and when the next tag can go stale; the last is moved on
    """
    begin = 0
    tick = tick_ns
    for e in range(len(ends)):
        received = received_ns[e]
        last = received - received % TICK_NS
        if mark[3] <= last:
            mark[3] = 2**63 - 1
            for j in range(len(watched)):
                mark[3] = min(mark[3], heard_ns[watched[j]] + patience_ns[watched[j]])
            if mark[3] <= last:
                return e
        if last > tick:
            tick = last
            base = min(mark[0], tick)
            if tick - mark[1] >= idle_ns:
                base = max(base, tick - idle_ns - max(mark[1] - mark[0], 0))
            mark[2] = max(mark[2], base)
            for g in range(len(closed_ns)):
                boundary = mark[2] - lateness_ns[g]
                closed_ns[g] = max(closed_ns[g], boundary - boundary % length_ns)
        newest = np.int64(-(2**63) + 1)
        for i in range(begin, ends[e]):
            k = tag[i]
            t = time_ns[i]
            if t <= last_ns[k] or t > received + skew_ns[k] or t < closed_ns[group[k]] or stuck[k] == 1:
                return e
            last_ns[k] = t
            newest = max(newest, t)
        for i in range(begin, ends[e]):
            heard_ns[tag[i]] = received
        newest_ns[e] = newest
        mark[0] = max(mark[0], newest)
        mark[1] = max(mark[1], received)
        begin = ends[e]
    return len(ends)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Values of a pass: those of the entries, or what one model derived; `entry` (n,) says of which entry, `recorded` (n,) which are records."""

    samples: Samples
    entry: NDArray[np.intp]
    recorded: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Passed:
    """What followed from the entries of a pass.

    measured, derived   values, and which of them are records
    summaries, closed_ns  rows of summaries, and the tick at which each was closed
    told                events, in order
    """

    run: Run
    measured: Chosen
    derived: Sequence[Chosen]
    summaries: np.ndarray[tuple[int], np.dtype[np.void]]
    closed_ns: Int64
    told: Sequence[Told]
    never_shed: NDArray[np.bool_]
    """Of each row of summaries: whether it is of a tag that is never given up."""

    @property
    def values(self) -> int:
        """Values that came in."""
        return len(self.run.samples)

    @property
    def received_ns(self) -> int:
        """Time of receipt of the last entry."""
        return int(self.run.received_ns[-1])

    @property
    def events(self) -> Iterator[Record]:
        """All alarm events."""
        return (event for told in self.told for event in told.events)

    def records(self) -> list[Record]:
        """Every record, in the order in which stepping entry by entry gives them."""
        return [record for records in self.by_entry() for record in records]

    def by_entry(self) -> list[list[Record]]:
        """The records of each entry, in order."""
        out: list[tuple[int, int, int, list[Record]]] = []  # entry, tick or behind all, order
        last = self.run.received_ns - self.run.received_ns % TICK_NS
        starts = np.flatnonzero(np.diff(self.closed_ns, prepend=-1))
        for a, b in itertools.pairwise([*starts.tolist(), len(self.closed_ns)]):
            tick = int(self.closed_ns[a])
            out.append((int(np.searchsorted(last, tick)), tick, 1, summary_records(self.summaries[a:b], self.never_shed[a:b], tick)))
        received = self.run.received_ns.tolist()
        for order, chosen in enumerate((self.measured, *self.derived)):
            for e, samples in _by_entry(chosen):
                out.append((e, BEHIND, order, [samples.received(received[e])]))
        behind = 1 + len(self.derived)
        out += [(t.entry, t.tick_ns, 0, [*t.events]) if t.tick_ns >= 0 else (t.entry, BEHIND, behind, [*t.events]) for t in self.told]
        out.sort(key=lambda item: item[:3])
        made: list[list[Record]] = [[] for _ in range(len(self.run))]
        for e, _, _, records in out:
            made[e] += records
        return made

    def count(self) -> int:
        """How many records there are."""
        chosen = sum(len(np.unique(c.entry[c.recorded])) for c in (self.measured, *self.derived))
        tick = np.cumsum(np.diff(self.closed_ns, prepend=-1) != 0)
        _, sizes = np.unique(2 * tick + self.never_shed, return_counts=True)
        return chosen + int((-(-sizes // SUMMARY_ROWS)).sum()) + sum(len(t.events) for t in self.told)


def summary_records(rows: np.ndarray[tuple[int], np.dtype[np.void]], never_shed: NDArray[np.bool_], tick_ns: int) -> list[Record]:
    """Records of the summaries of one tick: those that are never given up do not share one with others."""
    parts = [part for part in (rows[never_shed], rows[~never_shed]) if len(part)]
    return [Summaries(part[i : i + SUMMARY_ROWS], tick_ns) for part in parts for i in range(0, len(part), SUMMARY_ROWS)]


def _by_entry(chosen: Chosen) -> Iterator[tuple[int, Samples]]:
    rows = np.flatnonzero(chosen.recorded)
    if not len(rows):
        return
    samples, entry = chosen.samples.take(rows), chosen.entry[rows]
    starts = np.flatnonzero(np.diff(entry, prepend=-1))
    for (a, b), e in zip(itertools.pairwise([*starts.tolist(), len(rows)]), entry[starts].tolist(), strict=True):
        yield e, samples.take(slice(a, b))


class Passes:
    """Takes runs of entries in passes, with the parts of one plan."""

    def __init__(self, parts: Parts, conditions: Conditions, judging: Judging) -> None:
        self._parts, self._conditions, self._judging = parts, conditions, judging

    def take(self, run: Run, at: int) -> Passed | None:
        """The entries from `at` on that are nothing but values in order, judged together; None when the first one has to be stepped alone."""
        parts = self._parts
        if parts.diverters.due_ns != NEVER:
            return None  # a diverter decides at every tick of its own on what was heard until then
        watermark, windows, screen = parts.watermark, parts.windows, parts.screen
        begin = int(run.ends[at - 1]) if at else 0
        behind = max(at + 1, int(np.searchsorted(run.ends, begin + PASS_ROWS, "right")))
        due = tick_at_or_after(parts.modes.due_ns)
        behind = min(behind, int(np.searchsorted(run.received_ns, due)), len(run))
        if behind <= at or int(run.received_ns[at]) < parts.tick_ns:
            return None
        part = run.part(at, behind)
        newest = np.empty(len(part), np.int64)
        mark = np.array([watermark.newest_ns, watermark.heard_ns, watermark.low_ns, parts.silence.due_ns], np.int64)
        stuck, watched, patience_ns, heard_ns = parts.silence.passing()
        n = passable(
            part.samples.time_ns, part.samples.tag, part.ends, part.received_ns, parts.tick_ns, parts.tags.skew_ns, watermark.idle_ns,
            windows.length_ns, parts.tags.group, windows.lateness_ns, windows.closed_ns.copy(), screen.last_ns.copy(),
            stuck, watched, patience_ns, heard_ns, newest, mark,
        )  # fmt: skip
        if n == 0:
            return None
        parts.silence.passed(int(mark[3]))
        return self._judged(part.part(0, n), newest[:n])

    def _judged(self, run: Run, newest_ns: NDArray[np.int64]) -> Passed:
        parts, judging = self._parts, self._judging
        entry = np.repeat(np.arange(len(run)), np.diff(run.ends, prepend=0))
        rows = judging.screened(run.samples.received(int(run.received_ns[-1])))
        measured = Chosen(rows.samples, entry, parts.recorder.chosen(rows))
        derived, chosen = [], []
        for d, screened in judging.of_models(rows):
            derived.append(d)
            chosen.append(Chosen(d.samples, entry[d.origin], parts.recorder.chosen(screened)))
        stream = streamed(rows, entry, derived)

        def explain(found: Found, e: int, whose: int, row: int) -> Finding:
            found, now = found._replace(row=row), int(run.received_ns[e])
            if whose == 0:
                return row, 1, partial(parts.alarms.turned, found, rows.samples, now)
            d = derived[whose - 1]
            return int(d.origin[row]), 2 + d.stage, partial(judging.explained, found, d, rows, now)

        received_ns = run.received_ns[entry]
        findings: list[Finding] = [(row, 0, told) for row, told in self._conditions.turned(rows, received_ns)]
        for d in derived:
            findings += judging.advised(d, received_ns)
        told = AlarmPass(parts.alarms, stream, run.received_ns, parts.tick_ns).run([(int(entry[f[0]]), f) for f in findings], explain)
        ends = np.searchsorted(stream.entry, np.arange(len(run)), "right")
        closed, closed_ns = parts.windows.pass_over(stream.samples, stream.fate, ends, run.received_ns, newest_ns, parts.watermark, parts.tick_ns)
        parts.tick_ns = max(parts.tick_ns, tick_at_or_before(int(run.received_ns[-1])))
        return Passed(run, measured, chosen, closed, closed_ns, told, parts.tags.never_shed[closed["tag"]])
