"""From committed records to everything that is shown and counted: the catalogue, the hot tail, the journal, the ledger, newest values, alarms.

Runs in the writer thread behind each commit of the inbox, and again at start over what the inbox still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import (
    AlarmEvent,
    Audit,
    Block,
    Context,
    Definitions,
    Gap,
    Record,
    Samples,
    Summaries,
    Texts,
    WireError,
    decode,
)
from edge_agent.core.status import BAD
from gateway.batches import Batches
from gateway.catalog import PlantCatalogue
from gateway.inbox import Kept
from gateway.journal import UNREADABLE, Entry, Found, Journal, Outcome
from gateway.latest import Latest
from gateway.ledger import Ledger
from gateway.query import searched
from gateway.rollup import SAMPLE_DTYPE, Rows, windows_of
from gateway.rows import Value
from gateway.standing import Number, Occurrence, Standing, alarm_row
from gateway.tail import BlockRow, EdgeTail, Generation, TextRow
from gateway.units import subject
from gateway.usable import usable

T = TypeVar("T", Definitions, AlarmEvent, Context)

NAMES: Final = {
    1: "samples",
    2: "texts",
    3: "block",
    4: "summaries",
    8: "alarm",
    9: "context",
    10: "gap",
    11: "audit",
    12: "definitions",
    255: "unreadable",
}

CLOCK_BACK_NS: Final = 1_000_000_000
"""An edge that starts so much earlier than it had been, by its own clock, is told."""

Durably = Callable[[Callable[[], object]], None]
"""Carries out a transaction, again and again while the disk refuses it: what is in memory already must become durable."""


@dataclass(slots=True)
class Applied:
    """What a batch changed."""

    numbers: dict[str, list[NDArray[np.int32]]] = field(default_factory=dict)
    """Tags with a newer value by edge; `Applier.values` looks the values up when somebody wants them."""
    occurrences: set[str] = field(default_factory=set)
    settled: dict[str, Outcome] = field(default_factory=dict)
    """Operator actions that an event cites."""
    settled_edges: set[str] = field(default_factory=set)
    unreadable: list[Kept] = field(default_factory=list)
    clocks_back: list[tuple[str, int, int]] = field(default_factory=list)
    """Edges that started at an earlier time, by their own clock, than they had been at: (edge, time of the start, latest time before)."""
    tags: bool = False


class Applier:
    """Holds what is derived from records in memory; one thread changes it."""

    def __init__(self, journal: Journal, durably: Durably) -> None:
        self.journal = journal
        self._durably = durably
        self.rows: dict[str, int] = dict.fromkeys(NAMES.values(), 0)
        self.load()

    def load(self) -> None:
        """Everything derived as the journal has it."""
        self.catalogue = PlantCatalogue()
        self.batches = Batches()
        for edge, _, name in self.journal.tags():
            self.catalogue.edge(edge).number(name)
        self._times: dict[str, tuple[int, tuple[int, int]]] = {}  # the latest time of an edge and the number of the record that says it
        for entry in self.journal.entries(12):
            self.catalogue.define(entry.edge, entry.epoch, entry.seq, _as(Definitions, entry.frame))
            self._time(entry.edge, (entry.epoch, entry.seq), entry.time_ns)
        for entry in self.journal.entries(9):
            self._told(entry.edge, _as(Context, entry.frame))
        self.catalogue.changed()
        self.ledger = Ledger(self.journal.totals())
        self.latest = {edge: Latest.restored(state) for edge, state in self.journal.latest().items()}
        self.standing = Standing(self._stored, self._past)
        for id_ in self.journal.occurrences(standing=True, limit=1_000_000):
            self.standing.resume(id_)

    def _past(self, edge: str, alarm: str) -> Iterator[tuple[Number, AlarmEvent]]:
        for entry in self.journal.of_alarm(edge, alarm):
            event = _as(AlarmEvent, entry.frame)
            if event.alarm == alarm:
                yield (entry.epoch, entry.seq), event

    def _told(self, edge: str, context: Context) -> None:
        self.catalogue.edge(edge).told(context)
        self.batches.told(edge, context)

    def _stored(self, id_: str) -> Occurrence:
        entries = self.journal.of_occurrence(id_)
        return Occurrence(entries[0].edge if entries else "", {(e.epoch, e.seq): _as(AlarmEvent, e.frame) for e in entries})

    def occurrence(self, id_: str) -> Occurrence | None:
        """An occurrence, standing or over; None when there never was one."""
        found = self.standing.open.get(id_)
        if found is None:
            found = self._stored(id_)
        return found if found.events else None

    def apply(self, batch: Sequence[Kept], generation: Generation | None, *, journaled: int, applied: int | None) -> Applied:
        """Take in records in the order of the inbox.

        generation  where the rows go; None when they are sealed already
        journaled   inbox number up to which the journal has them already
        applied     inbox number to write down as applied; None writes nothing
        """
        done, entries = Applied(), []
        states: dict[str, tuple[str, int, str]] = {}
        found_by: dict[str, Found] = {}
        for kept in batch:
            fresh = kept.at > journaled
            try:
                item: Record | None = usable(kept.frame)
            except WireError:
                item = None
            if fresh and isinstance(item, Definitions):
                self._started(kept, item, done)
            self._time(kept.edge, (kept.epoch, kept.seq), getattr(item, "received_ns", 0))
            self.rows[NAMES.get(kept.kind if item is not None else UNREADABLE, "unreadable")] += _rows(item)
            if isinstance(item, Samples | Texts | Block | Summaries):
                if generation is not None:
                    self._data(kept, item, generation.edge(kept.edge), done)
                if isinstance(item, Summaries) and fresh:
                    self.ledger.summaries(kept.edge, self._windows(kept, item))
            elif fresh:
                entry = self._event(kept, item, done)
                entries.append(entry)
                if entry.occurrence is not None:
                    found = self.standing.open[entry.occurrence]
                    if found.last is None:
                        continue  # all that is known of it is that an action was refused: it never stood
                    states[entry.occurrence] = (kept.edge, found.ordered[0].raised_ns, found.state)
                    found_by[entry.occurrence] = self.found_by(entry.occurrence, found)
        if applied is not None:
            totals, tags = self.ledger.changed(), self.catalogue.changed()
            told: dict[str, Any] = {"totals": totals, "occurrences": states, "found_by": found_by, "tags": tags, "settled": done.settled}
            self._durably(lambda: self.journal.apply(entries, applied=applied, **told))
        return done

    def found_by(self, id_: str, occurrence: Occurrence) -> Found:
        """By what an occurrence is found in the history."""
        row = alarm_row(id_, occurrence, self.catalogue)
        return Found(row["plant_unit"], row["priority"], searched(row))

    def _time(self, edge: str, number: tuple[int, int], received_ns: int) -> None:
        if received_ns > self._times.get(edge, (0, number))[0]:
            self._times[edge] = received_ns, number

    def _started(self, kept: Kept, item: Definitions, done: Applied) -> None:
        """Within a log an edge's time never goes back; one that lost its log and its clock starts earlier than it had been."""
        number = kept.epoch, kept.seq
        before, said = self._times.get(kept.edge, (0, number))
        # Records come in any order: what an edge made behind its start and that came first says nothing of the clock before it.
        if item.received_ns < before - CLOCK_BACK_NS and number > max(said, self.catalogue.edge(kept.edge).newest):
            done.clocks_back.append((kept.edge, item.received_ns, before))
            self._times[kept.edge] = item.received_ns, number

    def settle(self, done: Applied) -> None:
        """Forget occurrences that are over; after their rows were shown."""
        self.standing.settle(done.occurrences)

    def _windows(self, kept: Kept, item: Summaries) -> Rows:
        number, _ = self.catalogue.numbered(kept.edge, kept.epoch, kept.seq, np.ascontiguousarray(item.rows["tag"]))
        return windows_of(item.rows, number)

    def _data(self, kept: Kept, item: Samples | Texts | Block | Summaries, tail: EdgeTail, done: Applied) -> None:
        edge = kept.edge
        latest = self.latest.setdefault(edge, Latest())
        if isinstance(item, Samples):
            rows: Rows = np.empty(len(item), SAMPLE_DTYPE)
            rows["tag"], rows["version"] = self.catalogue.numbered(edge, kept.epoch, kept.seq, item.tag)
            rows["time_ns"], rows["value"], rows["status"], rows["received_ns"] = item.time_ns, item.value, item.status, item.received_ns
            tail.samples.add(rows)
            done.numbers.setdefault(edge, []).append(latest.samples(rows))
        elif isinstance(item, Summaries):
            windows = self._windows(kept, item)
            tail.windows.add(windows)
            done.numbers.setdefault(edge, []).append(latest.samples(self._as_values(edge, windows, item.received_ns)))
        elif isinstance(item, Texts):
            numbers, versions = self.catalogue.numbered(edge, kept.epoch, kept.seq, np.array(item.tag, np.int32))
            for n, v, t, value, status in zip(numbers.tolist(), versions.tolist(), item.time_ns, item.value, item.status, strict=True):
                row = TextRow(n, v, t, item.received_ns, value, status)
                tail.texts.append(row)
                if latest.text(row):
                    done.numbers.setdefault(edge, []).append(np.array([n], np.int32))
        else:
            numbers, versions = self.catalogue.numbered(edge, kept.epoch, kept.seq, np.array([item.tag], np.int32))
            times = item.time_ns if len(item) else np.array([item.received_ns])
            tail.blocks.append(BlockRow(int(numbers[0]), int(versions[0]), int(times[0]), int(times[-1]), item.received_ns, kept.frame))

    def _as_values(self, edge: str, windows: Rows, received_ns: int) -> Rows:
        """The last values of windows of tags that are recorded as summaries only."""
        tags = self.catalogue.edge(edge).tags
        only = np.array([t.record == "summary" for t in tags], np.bool_)
        chosen = windows[only[windows["tag"]] & (windows["n"] > 0)]
        rows: Rows = np.empty(len(chosen), SAMPLE_DTYPE)
        rows["tag"], rows["version"], rows["time_ns"], rows["value"] = chosen["tag"], chosen["version"], chosen["last_ns"], chosen["last"]
        # A window tells the worst status in it, not the last one; a bad one in between does not make the last value bad.
        worst = chosen["worst_status"]
        rows["status"] = np.where(worst >= BAD, np.uint32(0x40000000), worst)
        rows["received_ns"] = received_ns
        return rows

    def values(self, done: Applied) -> dict[str, tuple[int, Value, int]]:
        """The newest value of every tag that has a newer one, by key."""
        found = {}
        for edge, parts in done.numbers.items():
            tags, latest = self.catalogue.edge(edge).tags, self.latest[edge]
            for n in np.unique(np.concatenate(parts)).tolist():
                found[f"{edge}:{tags[n].name}"] = latest.of(n)
        return found

    def _event(self, kept: Kept, item: Record | None, done: Applied) -> Entry:
        time_ns, kind, occurrence = kept.received_ns, kept.kind, None
        if isinstance(item, Definitions):
            self.catalogue.define(kept.edge, kept.epoch, kept.seq, item)
            done.tags, time_ns = True, item.received_ns
        elif isinstance(item, AlarmEvent):
            occurrence, time_ns = self.standing.take(kept.edge, kept.epoch, kept.seq, item), item.time_ns
            done.occurrences.add(occurrence)
            if item.action_id:
                done.settled[item.action_id] = Outcome(occurrence, item.event, item.reason if item.event == "refuse" else "", item.time_ns)
                done.settled_edges.add(kept.edge)
        elif isinstance(item, Gap):
            time_ns = item.from_ns
            if item.tag >= 0:
                number, _ = self.catalogue.numbered(kept.edge, kept.epoch, kept.seq, np.array([item.tag], np.int32))
                self.ledger.gap(kept.edge, int(number[0]), item)
        elif isinstance(item, Context | Audit):
            time_ns = item.time_ns
            if isinstance(item, Context):
                self._told(kept.edge, item)
                if item.role == "mode":  # what stands may now be held, or judged again
                    done.occurrences |= {id_ for id_, o in self.standing.open.items() if o.edge == kept.edge}
            elif item.action_id:
                refused = item.action.endswith("_refused")
                about = subject(kept.edge, item.object)
                done.settled[item.action_id] = Outcome(about, "refuse" if refused else item.action, item.reason if refused else "", item.time_ns)
                done.settled_edges.add(kept.edge)
        else:
            kind = UNREADABLE  # kept as it came, so that nothing is lost; an alarm of the gateway tells
            done.unreadable.append(kept)
        return Entry(kept.edge, kept.epoch, kept.seq, kind, time_ns, kept.received_ns, kept.frame, occurrence)


def _rows(item: object) -> int:
    return len(item) if isinstance(item, Samples | Texts | Summaries | Block) else 1


def _as(cls: type[T], frame: bytes) -> T:
    item = decode(frame)
    if not isinstance(item, cls):
        raise WireError(f"journal: expected {cls.__name__}, found {type(item).__name__}")
    return item
