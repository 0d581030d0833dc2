"""Alarms over the rows of a pass, with the events that stepping entry by entry gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms import Alarms
from edge_agent.alarms.detect import Found
from edge_agent.core import Record, Samples
from edge_agent.core.samples import Int64, UInt8
from edge_agent.pipeline.banks import Derived
from edge_agent.pipeline.judging import Finding
from edge_agent.pipeline.quality import Screened
from edge_agent.pipeline.ticks import TICK_NS, tick_at_or_after

BEHIND: Final = 2**63 - 1
"""Behind every tick of an entry."""


class Told(NamedTuple):
    """Events of one moment: entry, tick (before the values of the entry) or -1 (behind them)."""

    entry: int
    tick_ns: int
    events: list[Record]


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
            part, row, more = self._alarms.pass_over(part, row, behind, self._parts, self._rows, self._usable, BEHIND)
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
