"""Replay: the same pipeline over recorded data, with what follows written out."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from edge_agent.agent.recording import Recording
from edge_agent.config import AgentSettings, start_of
from edge_agent.core import (
    AlarmEvent,
    Audit,
    Block,
    Catalogue,
    Connection,
    Context,
    Definitions,
    Entry,
    Gap,
    Heartbeat,
    Record,
    Samples,
    Start,
    Summaries,
    Texts,
)
from edge_agent.core.record import SUMMARY_COLUMNS
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.ticks import SECOND_NS
from edge_agent.sources.csv import read_csv


def csv_entries(settings: AgentSettings, files: list[Path], *, scores: bool) -> Iterator[Entry]:
    """A Start entry, the values of the files by time of receipt, and enough silence behind them to close every window."""
    catalogue = Catalogue(start_of(settings, 0).tags)
    start: Start | None = None
    last = 0
    for item in read_csv(files, catalogue):
        if start is None:
            first = item.received_ns
            start = start_of(settings, first - SECOND_NS)
            if scores:
                start = _scored(start)
            yield start
            for source in settings.sources:
                yield Connection(received_ns=first - SECOND_NS, source=source.name, state="connected")
        last = max(last, item.received_ns)
        yield item
    if start is not None:
        quiet = settings.windows.length_s + settings.windows.lateness_s + settings.windows.idle_s + 2
        for source in settings.sources:
            yield Connection(received_ns=last, source=source.name, state="ended")
        yield Heartbeat(received_ns=last + math.ceil(quiet) * SECOND_NS)


def _scored(start: Start) -> Start:
    # Scores are asked for value by value: derived tags are recorded raw in this replay only.
    tags = tuple(msgspec.structs.replace(t, record="raw") if t.derived_from else t for t in start.tags)
    return msgspec.structs.replace(start, tags=tags)


@dataclass
class Scores:
    """Rows of derived values by input time, written as they become complete."""

    out: IO[str]
    catalogue: Catalogue
    _columns: list[int] = field(default_factory=list)
    _row: dict[int, float] = field(default_factory=dict)
    _time: int | None = None

    def __post_init__(self) -> None:
        self._columns = [t.id for t in self.catalogue if t.derived_from]
        self._place = {tag: i for i, tag in enumerate(self._columns)}
        self._writer = csv.writer(self.out, lineterminator="\n")
        self._writer.writerow(["timestamp", *(self.catalogue[i].name for i in self._columns)])

    def see(self, entry: Entry, records: Iterable[Record]) -> None:
        """One input entry and what followed."""
        if not isinstance(entry, Samples):
            return
        derived = [r for r in records if isinstance(r, Samples) and len(r) and int(r.tag[0]) in self._place]
        values: dict[tuple[int, int], float] = {}
        for d in derived:
            values |= {(t, k): v for t, k, v in zip(d.time_ns.tolist(), d.tag.tolist(), d.value.tolist(), strict=True)}
        for t in dict.fromkeys(entry.time_ns.tolist()):
            if t != self._time:
                self.flush()
                self._time = t
            self._row |= {k: v for (when, k), v in values.items() if when == t}

    def flush(self) -> None:
        """Write the row that is open."""
        if self._time is not None:
            stamp = str(np.datetime64(self._time, "ns"))
            self._writer.writerow([stamp, *(repr(self._row[k]) if k in self._row else "" for k in self._columns)])
        self._row = {}
        self._time = None


def record_json(record: Record, catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """A record as JSON objects, one per row, with tag names."""
    kind = type(record).__name__.lower()

    def name(tag: int) -> str:
        return catalogue[tag].name if 0 <= tag < len(catalogue) else ""

    match record:
        case Samples():
            for t, k, v, s in zip(record.time_ns.tolist(), record.tag.tolist(), record.value.tolist(), record.status.tolist(), strict=True):
                yield {"kind": "sample", "tag": name(k), "time_ns": t, "received_ns": record.received_ns, "value": _number(v), "status": s}
        case Texts():
            for t, k, text, s in zip(record.time_ns, record.tag, record.value, record.status, strict=True):
                yield {"kind": "text", "tag": name(k), "time_ns": t, "received_ns": record.received_ns, "value": text, "status": s}
        case Summaries():
            for row in record.rows.tolist():
                cells = {c: _number(v) for (c, _), v in zip(SUMMARY_COLUMNS, row, strict=True)}
                yield {"kind": "summary", **cells, "tag": name(row[0]), "received_ns": record.received_ns}
        case Block():
            yield {"kind": kind, "tag": name(record.tag), "time_ns": record.time_ns.tolist(), "points": len(record.axis)}
        case AlarmEvent() | Audit() | Context() | Definitions() | Gap():
            fields = msgspec.to_builtins(record)
            if isinstance(record, Gap):
                fields["tag"] = name(record.tag)
            yield {"kind": {"alarmevent": "alarm"}.get(kind, kind), **fields}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_records(out: IO[str], records: Iterable[Record], catalogue: Catalogue) -> int:
    """JSON lines of records; returns how many lines."""
    count = 0
    for record in records:
        for row in record_json(record, catalogue):
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def step_recording(recording: Recording) -> Iterator[tuple[Entry, list[Record], Pipeline]]:
    """Every recorded entry, and what the pipeline makes of it now."""
    for part in recording.parts:
        pipeline = part.pipeline()
        for entry in part.entries():
            yield entry, pipeline.step(entry), pipeline
