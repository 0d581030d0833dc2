"""Replay: the same pipeline over recorded data, with what follows written out or compared."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import IO, Any, Final

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
    decode,
)
from edge_agent.core.record import SUMMARY_COLUMNS
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.ticks import SECOND_NS
from edge_agent.sources.csv import read_csv

SCORE_TOLERANCE: Final = 1e-9
"""Relative difference that scores may have on another CPU; alarm transitions must be identical (rule 4)."""


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


@dataclass(frozen=True, slots=True)
class Difference:
    """The first place at which a replay differs from the recording."""

    index: int
    kept: str
    found: str

    def __str__(self) -> str:
        return f"record {self.index}: expected {self.kept}, found {self.found}"


def compare(found: Iterable[Record], kept: Iterable[bytes], *, same_cpu: bool, most: int = 20) -> tuple[int, list[Difference]]:
    """How many records were compared, and where they differ (at most `most` places).

    On another CPU numbers may differ by SCORE_TOLERANCE relative, everything else must be the same.
    """
    differences: list[Difference] = []
    count = 0
    for index, (record, data) in enumerate(zip_longest(found, kept), 1):
        count = index
        other = decode(data) if data is not None else None
        if record == other or (not same_cpu and _close(record, other)):
            continue
        differences.append(Difference(index, _short(other), _short(record)))
        if len(differences) >= most:
            break
    return count, differences


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, Samples) and isinstance(b, Samples):
        return (
            np.array_equal(a.time_ns, b.time_ns) and np.array_equal(a.tag, b.tag) and np.array_equal(a.status, b.status) and _near(a.value, b.value)
        )
    if isinstance(a, Summaries) and isinstance(b, Summaries):
        exact = [c for c, d in SUMMARY_COLUMNS if d != "<f8"]
        return (
            len(a) == len(b)
            and all(np.array_equal(a.rows[c], b.rows[c]) for c in exact)
            and all(_near(a.rows[c], b.rows[c]) for c, d in SUMMARY_COLUMNS if d == "<f8")
        )
    if isinstance(a, AlarmEvent) and isinstance(b, AlarmEvent):
        blank: dict[str, Any] = {"value": None, "contributions": {}, "explanation": ""}
        return msgspec.structs.replace(a, **blank) == msgspec.structs.replace(b, **blank)
    return False


def _near(a: Any, b: Any) -> bool:
    return bool(np.allclose(a, b, rtol=SCORE_TOLERANCE, atol=0, equal_nan=True))


def _short(record: Any) -> str:
    if record is None:
        return "nothing"
    text = f"{len(record)} rows of {type(record).__name__}" if isinstance(record, Samples | Summaries | Texts) else repr(record)
    return text if len(text) < 300 else text[:297] + "..."


def step_recording(recording: Recording) -> Iterator[tuple[Entry, list[Record], Pipeline]]:
    """Every recorded entry, and what the pipeline makes of it now."""
    pipeline = recording.pipeline()
    for entry in recording.entries():
        yield entry, pipeline.step(entry), pipeline
