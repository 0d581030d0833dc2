"""Replay: the same pipeline over recorded data, with what follows written out."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
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
    Run,
    Samples,
    Start,
    Summaries,
    Texts,
)
from edge_agent.core.record import SUMMARY_COLUMNS
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.passes import Passed
from edge_agent.pipeline.ticks import SECOND_NS
from edge_agent.sources.csv import read_runs


def csv_runs(settings: AgentSettings, files: list[Path], *, scores: bool, told: Callable[[Path, int], None] | None = None) -> Iterator[Entry | Run]:
    """A Start entry, the values of the files by time of receipt, and enough silence behind them to close every window; `told` as in `read_runs`."""
    catalogue = Catalogue(start_of(settings, 0).tags)
    start: Start | None = None
    last = 0
    for item in read_runs(files, catalogue, told=told):
        first, newest = (int(item.received_ns[0]), int(item.received_ns[-1])) if isinstance(item, Run) else (item.received_ns, item.received_ns)
        if start is None:
            start = start_of(settings, first - SECOND_NS)
            if scores:
                start = _scored(start)
            yield start
            for source in settings.sources:
                yield Connection(received_ns=first - SECOND_NS, source=source.name, state="connected")
        last = max(last, newest)
        yield item
    if start is not None:
        quiet = settings.windows.length_s + settings.windows.lateness_s + settings.windows.idle_s + 2
        for source in settings.sources:
            yield Connection(received_ns=last, source=source.name, state="ended")
        yield Heartbeat(received_ns=last + math.ceil(quiet) * SECOND_NS)


def csv_entries(settings: AgentSettings, files: list[Path], *, scores: bool) -> Iterator[Entry]:
    """The same, entry by entry."""
    for item in csv_runs(settings, files, scores=scores):
        if isinstance(item, Run):
            yield from (item.entry(i) for i in range(len(item)))
        else:
            yield item


@dataclass(frozen=True, slots=True)
class Stepped:
    """One entry stepped alone, and what followed: the like of `Passed`."""

    entry: Entry
    made: list[Record]

    @property
    def values(self) -> int:
        """Values that came in."""
        return len(self.entry) if isinstance(self.entry, Samples | Texts) else 0

    @property
    def received_ns(self) -> int:
        """Time of receipt."""
        return self.entry.received_ns

    @property
    def events(self) -> Iterator[AlarmEvent]:
        """All alarm events."""
        return (record for record in self.made if isinstance(record, AlarmEvent))

    def records(self) -> list[Record]:
        """Every record, in order."""
        return self.made

    def count(self) -> int:
        """How many records there are."""
        return len(self.made)


def stepped(pipeline: Pipeline, items: Iterable[Entry | Run]) -> Iterator[Stepped | Passed]:
    """Everything that follows from entries and runs of them."""
    for item in items:
        if isinstance(item, Run):
            for part in pipeline.run(item):
                yield part if isinstance(part, Passed) else Stepped(*part)
        else:
            yield Stepped(item, pipeline.step(item))


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
        self._columns_of = np.full(len(self.catalogue), -1, np.intp)
        self._columns_of[self._columns] = np.arange(len(self._columns))
        self._writer = csv.writer(self.out, lineterminator="\n")
        self._writer.writerow(["timestamp", *(self.catalogue[i].name for i in self._columns)])

    def see(self, part: Stepped | Passed) -> None:
        """Entries and what followed from them."""
        if isinstance(part, Stepped):
            self._entry(part.entry, part.made)
        elif not self._rows(part):
            for i, made in enumerate(part.by_entry()):
                self._entry(part.run.entry(i), made)

    def _entry(self, entry: Entry, records: Iterable[Record]) -> None:
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

    def _rows(self, part: Passed) -> bool:
        """The same for a pass whose times never step back: one row for each; False when they do."""
        times = part.run.samples.time_ns
        if (np.diff(times) < 0).any():
            return False
        if self._time is not None and self._time != times[0]:
            self.flush()
        row = np.cumsum(np.diff(times, prepend=times[:1]) > 0)
        n = int(row[-1]) + 1
        cells = np.full((n, len(self._columns)), "", object)
        for d in part.derived:
            if not len(d.samples):
                continue
            own = d.samples.take(d.recorded)
            # Where two entries share a time, each fills what the values of its own time bring, as they do one by one.
            at = np.searchsorted(times, own.time_ns, "right") - 1
            entry = d.entry[d.recorded]
            known = (at >= 0) & (times[at] == own.time_ns)
            first = np.searchsorted(times, own.time_ns, "left")
            known &= (part.measured.entry[at] >= entry) & (part.measured.entry[np.minimum(first, len(times) - 1)] <= entry)
            column = self._columns_of[own.tag[known]]
            cells[row[at[known]], column] = [repr(x) for x in own.value[known].tolist()]
        if self._time is not None:
            for k, x in self._row.items():
                cells[0, self._place[k]] = cells[0, self._place[k]] or repr(x)
        stamps = np.datetime_as_string(np.asarray(times[np.flatnonzero(np.diff(row, prepend=-1))], "datetime64[ns]")).tolist()
        lines = [",".join((stamp, *line)) for stamp, line in zip(stamps, cells.tolist(), strict=True)]
        self.out.write("".join(f"{line}\n" for line in lines[:-1]))
        self._time = int(times[-1])
        self._row = {k: float(x) for k, x in zip(self._columns, cells[-1].tolist(), strict=True) if x}
        return True

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
        if isinstance(record, Samples):
            lines = _sample_lines(record, catalogue)
        elif isinstance(record, Summaries):
            lines = _summary_lines(record, catalogue)
        else:
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in record_json(record, catalogue)]
        out.write("".join(lines))
        count += len(lines)
    return count


_SUMMARY_LINE: Final = '{"kind": "summary", ' + ", ".join(f'"{c}": %s' for c, _ in SUMMARY_COLUMNS) + ', "received_ns": %d}\n'


def _sample_lines(record: Samples, catalogue: Catalogue) -> list[str]:
    """What `record_json` says of samples, written without a dict for each: most of a replay's lines are these."""
    names = {k: json.dumps(catalogue[k].name if 0 <= k < len(catalogue) else "", ensure_ascii=False) for k in set(record.tag.tolist())}
    rows = zip(record.time_ns.tolist(), record.tag.tolist(), record.value.tolist(), record.status.tolist(), strict=True)
    received = record.received_ns
    return [
        f'{{"kind": "sample", "tag": {names[k]}, "time_ns": {t}, "received_ns": {received}, "value": {_json(v)}, "status": {s}}}\n'
        for t, k, v, s in rows
    ]


def _summary_lines(record: Summaries, catalogue: Catalogue) -> list[str]:
    lines = []
    for row in record.rows.tolist():
        name = json.dumps(catalogue[row[0]].name if 0 <= row[0] < len(catalogue) else "", ensure_ascii=False)
        lines.append(_SUMMARY_LINE % (name, *(_json(cell) for cell in row[1:]), record.received_ns))
    return lines


def _json(value: float) -> str:
    return "null" if isinstance(value, float) and not math.isfinite(value) else repr(value)


def step_recording(recording: Recording) -> Iterator[tuple[Stepped, Pipeline]]:
    """Every recorded entry, and what the pipeline makes of it now."""
    for part in recording.parts:
        pipeline = part.pipeline()
        for entry in part.entries():
            yield Stepped(entry, pipeline.step(entry)), pipeline
