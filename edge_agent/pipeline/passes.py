"""Passes: many entries of values stepped together, with the records that stepping them one by one gives, bit for bit.

Recorded data comes in rows of few values, and a step costs the same for one value as for a thousand. What the rows of a pass share is looked at once:
screening, models and alarms run over all of them, time and windows in one loop that knows when each row was received. That is right as long as a row
is no more than a value: one that is late, repeated, from the future, the end of a silence or of a gap ends the pass and is stepped alone, and so does
a tag that goes stale.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms import Alarms
from edge_agent.alarms.detect import Found
from edge_agent.core import Record, Run, Samples, Summaries
from edge_agent.core.samples import Int32, Int64, UInt8
from edge_agent.pipeline.banks import Derived
from edge_agent.pipeline.quality import Screened
from edge_agent.pipeline.ticks import TICK_NS, tick_at_or_after
from models.compiled import kernel

SUMMARY_ROWS: Final = 2000
"""Rows of one summary record at the most: about 60 kB on the wire."""

PASS_ROWS: Final = 32_768
"""Rows of one pass at the most."""

_BEHIND: Final = 2**63 - 1
"""Behind every tick of an entry."""

Finding = tuple[int, int, Callable[[], Sequence[Record]]]
"""Row of the pass, stage within the row, and who tells what follows from it."""


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


class Told(NamedTuple):
    """Events of one moment: entry, tick (before the values of the entry) or -1 (behind them)."""

    entry: int
    tick_ns: int
    events: list[Record]


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
                out.append((e, _BEHIND, order, [samples.received(received[e])]))
        behind = 1 + len(self.derived)
        out += [(t.entry, t.tick_ns, 0, [*t.events]) if t.tick_ns >= 0 else (t.entry, _BEHIND, behind, [*t.events]) for t in self.told]
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


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows of entries and what was derived from them, in the order in which stepping sees them.

    samples, fate, usable, entry   of each row
    whose, row                     0 for measured rows, 1 + i for the i-th `Derived`; and which of its rows
    """

    samples: Samples
    fate: UInt8
    usable: UInt8
    entry: NDArray[np.intp]
    whose: NDArray[np.intp]
    row: NDArray[np.intp]


def streamed(rows: Screened, entry: NDArray[np.intp], derived: Sequence[Derived]) -> Stream:
    """Measured rows, and behind those of each entry the rows derived from them, model by model."""
    entries = np.concatenate([entry, *(entry[d.origin] for d in derived)])
    order = np.argsort(entries, kind="stable")
    sizes = [len(rows.samples), *(len(d.samples) for d in derived)]
    whose = np.repeat(np.arange(len(sizes)), sizes)
    row = np.concatenate([np.arange(size) for size in sizes])
    return Stream(
        Samples.joined([rows.samples, *(d.samples for d in derived)], rows.samples.received_ns).take(order),
        np.concatenate([rows.fate, *(d.fate for d in derived)])[order],
        np.concatenate([rows.usable, *(d.usable for d in derived)])[order],
        entries[order],
        whose[order],
        row[order],
    )


class AlarmPass:
    """Alarms over the rows of a pass: what is found in an entry is told behind its rows, what a tick ends before those of the next entry."""

    def __init__(self, alarms: Alarms, stream: Stream, received_ns: Int64, tick_ns: int) -> None:
        self._alarms, self._stream, self._received_ns = alarms, stream, received_ns
        self._last = received_ns - received_ns % TICK_NS
        self._tick_ns = tick_ns
        self.told: list[Told] = []
        mine = np.flatnonzero(alarms.watches(stream.samples.tag))
        self._mine = mine
        entry, whose = stream.entry[mine], stream.whose[mine]
        first = np.flatnonzero((np.diff(entry, prepend=-1) != 0) | (np.diff(whose, prepend=-1) != 0))
        self._part_entry = entry[first]
        ends = np.append(first, len(mine))[1:].astype(np.int64)
        fresh = np.diff(self._part_entry, prepend=-1) != 0
        self._parts = np.stack(
            [first.astype(np.int64), ends, received_ns[self._part_entry], self._last[self._part_entry], fresh.astype(np.int64)], axis=1
        ).reshape(-1, 5)
        self._rows = stream.samples.take(mine)
        self._usable = stream.usable[mine]

    def run(self, flips: Sequence[tuple[int, Finding]], explain: Callable[[Found, int, int, int], Finding]) -> list[Told]:
        """All of it: `flips` are findings by entry beside those of the rows; `explain` makes a finding of what was found in row `row` of `whose`."""
        by_entry: dict[int, list[Finding]] = {}
        for entry, finding in flips:
            by_entry.setdefault(entry, []).append(finding)
        part = 0
        for entry in [*sorted(by_entry), len(self._last)]:
            until = int(np.searchsorted(self._part_entry, entry))
            while part < until:
                part = self._until(part, until, explain)
            if entry < len(self._last):
                self._ticks(entry)
                part = self._entry(entry, part, 0, [], by_entry[entry], explain)
        if len(self._last):
            self._ticks(len(self._last) - 1)
        return self.told

    def _until(self, part: int, until: int, explain: Callable[[Found, int, int, int], Finding]) -> int:
        part, row, found = self._alarms.pass_over(part, 0, until, self._parts, self._rows, self._usable, self._tick_ns)
        if part == until and not found:
            self._tick_ns = max(self._tick_ns, int(self._parts[until - 1, 3]))
            return until
        entry = int(self._part_entry[part])
        if not found:  # a delay ends before this entry
            before = self._tick_ns
            self._tick_ns = max(before, int(self._parts[part - 1, 3])) if part else before
            self._ticks(entry)
            return part
        return self._entry(entry, part, row, found, [], explain)

    def _entry(
        self, entry: int, part: int, row: int, found: list[Found], findings: list[Finding], explain: Callable[[Found, int, int, int], Finding]
    ) -> int:
        """Tell what one entry brings, from row `row` of a part on; returns the part behind it."""
        behind = int(np.searchsorted(self._part_entry, entry, "right"))
        while part < behind:
            if row >= self._parts[part, 1] - self._parts[part, 0]:
                part, row = part + 1, 0
                continue
            part, row, more = self._alarms.pass_over(part, row, behind, self._parts, self._rows, self._usable, _BEHIND)
            found = found + more
        for f in found:
            at = self._mine[f.row]
            findings.append(explain(f, entry, int(self._stream.whose[at]), int(self._stream.row[at])))
        findings.sort(key=lambda finding: finding[:2])
        events = [event for *_, told in findings for event in told()]
        if events:
            self.told.append(Told(entry, -1, events))
        self._tick_ns = max(self._tick_ns, int(self._last[entry]))
        return behind

    def _ticks(self, entry: int) -> None:
        """The ticks up to the time of receipt of an entry at which an alarm has something to say."""
        while True:
            tick = max(tick_at_or_after(self._alarms.due_ns), self._tick_ns + TICK_NS)
            if tick > self._last[entry]:
                return
            self._tick_ns = tick
            events: list[Record] = [*self._alarms.tick(tick)]
            if events:
                self.told.append(Told(int(np.searchsorted(self._last, tick)), tick, events))
