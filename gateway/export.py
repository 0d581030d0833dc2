"""Export of what a gateway keeps, from its files alone, while it runs or not.

Columns are fixed and times are ns UTC. A row is taken from a segment or from the inbox, never from both: the inbox is read as of a moment before the
manifest is read, and only beyond what the manifest says is sealed. `batch` and `phase` are those in force at the row's time (ISA-88 context of
the tag's unit or the nearest unit above it).
"""

from __future__ import annotations

import json
import math
import sqlite3
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from edge_agent.core import MODES, AlarmEvent, Audit, Context, Definitions, Gap, LogError, Samples, Summaries, Texts, WireError, occurrence_id
from edge_agent.core.record import SUMMARY_COLUMNS
from gateway.backup import live_files
from gateway.catalog import PlantCatalogue
from gateway.inbox import Kept
from gateway.journal import ALARM, AUDIT, CONTEXT, DEFINITIONS, GAP, Entry, Journal
from gateway.journal import FILE as JOURNAL
from gateway.manifest import FILE as MANIFEST
from gateway.manifest import read
from gateway.rollup import SAMPLE_DTYPE, WINDOW_DTYPE, Rows, windows_of
from gateway.segments import FOLDER, Segment, rows_of
from gateway.store import INBOX_FILE
from gateway.usable import usable

Kind = Literal["summary", "sample", "alarm", "gap", "audit"]
Format = Literal["csv", "parquet", "jsonl"]

_MEASURES: Final = tuple(name for name, _ in SUMMARY_COLUMNS if name not in ("tag", "version", "mode", "count"))
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "summary": ("edge", "tag", "version", *_MEASURES, "mode", "batch", "phase"),
    "sample": ("edge", "tag", "version", "time_ns", "received_ns", "value", "status"),
    "alarm": (
        *("edge", "alarm", "tag", "occurrence", "raised_ns", "time_ns", "event", "state_from", "state_to"),
        *("priority", "value", "limit", "status", "user", "reason", "action_id"),
    ),
    "gap": ("edge", "tag", "from_ns", "to_ns", "missing", "cause"),
    "audit": ("edge", "time_ns", "user", "role", "station", "action", "object", "old", "new", "reason"),
}
_INTEGERS: Final = frozenset({"version", "priority", "missing", "status"})
_NUMBERS: Final = frozenset({"value", "limit"})
CHUNK: Final = 65_536
ATTEMPTS: Final = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows: a tag's name or key, [from_ns, to_ns) of the row's time, a batch; None takes all."""

    tag: str | None = None
    from_ns: int = -(2**63)
    to_ns: int = 2**63 - 1
    batch: str | None = None

    def names(self, edge: str, name: str) -> bool:
        """Whether a tag is meant."""
        return self.tag is None or self.tag in (name, f"{edge}:{name}")


class Contexts:
    """Which batch and phase a unit was in."""

    def __init__(self, contexts: Iterable[tuple[str, Context]]) -> None:
        found: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
        for edge, c in contexts:
            found.setdefault((edge, c.role, c.unit), []).append((c.time_ns, c.value))
        self._changes = {key: sorted(changes) for key, changes in found.items()}

    def at(self, edge: str, role: str, unit: str, times: Sequence[int]) -> list[str]:
        """The value in force at each time; "" where there is none."""
        while unit and (edge, role, unit) not in self._changes:
            unit = unit.rpartition("/")[0]
        changes = self._changes.get((edge, role, unit), [])
        starts = [t for t, _ in changes]
        return [changes[i - 1][1] if (i := bisect_right(starts, t)) else "" for t in times]


class Files:
    """One consistent look at a data folder."""

    def __init__(self, data_dir: Path) -> None:
        for name in (INBOX_FILE, JOURNAL):
            if not (data_dir / name).exists():
                raise LogError(f"{data_dir}: expected the data of a gateway, found no {name}")
        self._inbox = sqlite3.connect(f"file:{data_dir / INBOX_FILE}?mode=ro", uri=True, isolation_level=None, timeout=30)
        self._inbox.execute("BEGIN")
        self._inbox.execute("SELECT count(*) FROM head").fetchone()  # the look begins here
        self._journal = Journal(data_dir / JOURNAL, read_only=True)
        self._journal.hold()
        self.applied = self._journal.applied
        self.segments = self._open(data_dir)
        self.sealed = max((line.last for line in read(data_dir / MANIFEST)[0]), default=0)
        self.pending = list(self._rows(min(self.applied, self.sealed)))
        self.catalogue = PlantCatalogue()
        for edge, _, name in self._journal.tags():
            self.catalogue.edge(edge).number(name)
        for entry, defined in self.items(DEFINITIONS, Definitions):
            self.catalogue.define(entry.edge, entry.epoch, entry.seq, defined)
        self.contexts = Contexts((e.edge, item) for e, item in self.items(CONTEXT, Context))

    def _open(self, data_dir: Path) -> list[Segment]:
        for attempt in range(ATTEMPTS):
            files = sorted(live_files(data_dir).values(), key=lambda f: f.name)
            try:
                return [Segment(data_dir / FOLDER, f) for f in files]
            except FileNotFoundError as error:
                # Merged into another between our two looks; a file that stays away is a fault.
                if attempt == ATTEMPTS - 1:
                    raise LogError(f"{error.filename}: expected a segment that the manifest has in force, found no file") from error
        raise AssertionError

    def _rows(self, after: int) -> Iterator[Kept]:
        for seq, data in self._inbox.execute('SELECT seq, data FROM "inbox" WHERE seq>? ORDER BY seq', (after,)):
            yield Kept.decode(bytes(data), seq)

    def entries(self, kind: int) -> Iterator[Entry]:
        """Journal rows of a kind, and behind them what is in the inbox and not yet in the journal."""
        yield from self._journal.entries(kind)
        for k in self.pending:
            if k.at > self.applied and k.kind == kind:
                yield Entry(k.edge, k.epoch, k.seq, kind, 0, k.received_ns, k.frame)

    def items(self, kind: int, cls: type[T]) -> Iterator[tuple[Entry, T]]:
        """Entries with their items."""
        for entry in self.entries(kind):
            try:
                item = usable(entry.frame)
            except WireError:
                continue  # in the inbox still; the journal will keep it as unreadable
            if isinstance(item, cls):
                yield entry, item

    def data(self) -> Iterator[tuple[Kept, Samples | Texts | Summaries]]:
        """Columns in the inbox that are not sealed."""
        for k in self.pending:
            if k.at > self.sealed and k.kind in (1, 2, 4):
                try:
                    item = usable(k.frame)
                except WireError:
                    continue  # kept in the journal as unreadable
                if isinstance(item, Samples | Texts | Summaries):
                    yield k, item

    def close(self) -> None:
        """Release the files."""
        for segment in self.segments:
            segment.close()
        self._inbox.close()
        self._journal.close()


def _strings(values: Sequence[str]) -> pa.Array:
    return pa.array(values, pa.string())


def _chunks(files: Files, kind: str, dtype: np.dtype[np.void], level: int) -> Iterator[tuple[str, Rows]]:
    for segment in files.segments:
        if segment.file.kind == kind:
            for table in segment.batches(level):
                yield segment.file.edge, rows_of(table, dtype)
    for k, item in files.data():
        if kind == "sample" and isinstance(item, Samples):
            rows: Rows = np.empty(len(item), SAMPLE_DTYPE)
            rows["tag"], rows["version"] = files.catalogue.numbered(k.edge, k.epoch, k.seq, item.tag)
            rows["time_ns"], rows["value"], rows["status"], rows["received_ns"] = item.time_ns, item.value, item.status, item.received_ns
            yield k.edge, rows
        elif kind == "summary" and isinstance(item, Summaries):
            number, _ = files.catalogue.numbered(k.edge, k.epoch, k.seq, np.ascontiguousarray(item.rows["tag"]))
            yield k.edge, windows_of(item.rows, number)


def _chosen(files: Files, edge: str, rows: Rows, time: str, want: Wanted) -> Rows:
    tags = files.catalogue.edge(edge).tags
    if want.tag is not None:
        meant = np.array([want.names(edge, t.name) for t in tags], np.bool_)
        rows = rows[meant[rows["tag"]]]
    return rows[(rows[time] >= want.from_ns) & (rows[time] < want.to_ns)]


def _context(files: Files, edge: str, rows: Rows, time: str, role: str) -> list[str]:
    out = [""] * len(rows)
    tags = files.catalogue.edge(edge).tags
    for number in np.unique(rows["tag"]).tolist():
        at = np.flatnonzero(rows["tag"] == number)
        for i, value in zip(at.tolist(), files.contexts.at(edge, role, tags[number].unit_path, rows[time][at].tolist()), strict=True):
            out[i] = value
    return out


def _head(files: Files, edge: str, rows: Rows) -> dict[str, pa.Array]:
    names = _strings([t.name for t in files.catalogue.edge(edge).tags])
    return {"edge": pa.repeat(edge, len(rows)), "tag": names.take(pa.array(rows["tag"].copy())), "version": pa.array(rows["version"].copy())}


def _summaries(files: Files, want: Wanted) -> Iterator[pa.Table]:
    for edge, rows in _chunks(files, "summary", WINDOW_DTYPE, 0):
        chosen = _chosen(files, edge, rows, "start_ns", want)
        batch = _context(files, edge, chosen, "start_ns", "batch")
        if want.batch is not None:
            mask = np.array([b == want.batch for b in batch], np.bool_)
            chosen, batch = chosen[mask], [want.batch] * int(mask.sum())
        columns = _head(files, edge, chosen)
        columns |= {name: _number(chosen[name]) for name in _MEASURES}
        columns["mode"] = _strings([MODES[m] if m < len(MODES) else str(m) for m in chosen["mode"].tolist()])
        columns["batch"], columns["phase"] = _strings(batch), _strings(_context(files, edge, chosen, "start_ns", "phase"))
        yield pa.table(columns)


def _number(column: Rows | np.ndarray[Any, np.dtype[Any]]) -> pa.Array:
    return pa.array(np.ascontiguousarray(column), from_pandas=True)  # NaN becomes null: an empty cell


def _samples(files: Files, want: Wanted) -> Iterator[pa.Table]:
    for edge, rows in _chunks(files, "sample", SAMPLE_DTYPE, -1):
        chosen = _chosen(files, edge, rows, "time_ns", want)
        if want.batch is not None:
            chosen = chosen[np.array([b == want.batch for b in _context(files, edge, chosen, "time_ns", "batch")], np.bool_)]
        columns = _head(files, edge, chosen)
        yield pa.table(columns | {name: _number(chosen[name]) for name in ("time_ns", "received_ns", "value", "status")})


def _texts(files: Files, want: Wanted) -> Iterator[pa.Table]:
    def found() -> Iterator[tuple[str, int, int, int, int, str, int]]:
        for segment in files.segments:
            if segment.file.kind == "text":
                for table in segment.batches():
                    for r in table.to_pylist():
                        yield segment.file.edge, r["tag"], r["version"], r["time_ns"], r["received_ns"], r["value"], r["status"]
        for k, item in files.data():
            if isinstance(item, Texts):
                number, version = files.catalogue.numbered(k.edge, k.epoch, k.seq, np.array(item.tag, np.int32))
                for n, v, t, value, s in zip(number.tolist(), version.tolist(), item.time_ns, item.value, item.status, strict=True):
                    yield k.edge, n, v, t, item.received_ns, value, s

    rows = []
    for edge, number, version, time_ns, received_ns, value, status in found():
        tag = files.catalogue.edge(edge).tags[number]
        in_batch = want.batch is None or files.contexts.at(edge, "batch", tag.unit_path, [time_ns]) == [want.batch]
        if want.names(edge, tag.name) and want.from_ns <= time_ns < want.to_ns and in_batch:
            rows.append((edge, tag.name, version, time_ns, received_ns, value, status))
    yield from _tables(COLUMNS["sample"], rows, text_value=True)


def _tables(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text_value: bool = False) -> Iterator[pa.Table]:
    held = list(rows)
    for begin in range(0, len(held), CHUNK):
        part = held[begin : begin + CHUNK]
        arrays = {}
        for i, name in enumerate(columns):
            kind = pa.int64() if name.endswith("_ns") or name in _INTEGERS else pa.float64() if name in _NUMBERS and not text_value else pa.string()
            arrays[name] = pa.array([_finite(row[i]) for row in part], kind)
        yield pa.table(arrays)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _alarms(files: Files, want: Wanted) -> Iterator[pa.Table]:
    def rows() -> Iterator[tuple[Any, ...]]:
        for e, a in files.items(ALARM, AlarmEvent):
            known = files.catalogue.edges.get(e.edge)
            number = known.numbers.get(a.tag) if known is not None else None
            unit = known.tags[number].unit_path if known is not None and number is not None else a.tag.rpartition("/")[0]
            in_batch = want.batch is None or files.contexts.at(e.edge, "batch", unit, [a.time_ns]) == [want.batch]
            if want.names(e.edge, a.tag) and want.from_ns <= a.time_ns < want.to_ns and in_batch:
                id_ = occurrence_id(e.edge, a.alarm, a.raised_ns)
                yield (
                    *(e.edge, a.alarm, a.tag, id_, a.raised_ns, a.time_ns, a.event, a.state_from, a.state_to),
                    *(a.priority, a.value, a.limit, a.status, a.user, a.reason, a.action_id),
                )

    return _tables(COLUMNS["alarm"], rows())


def _gaps(files: Files, want: Wanted) -> Iterator[pa.Table]:
    def rows() -> Iterator[tuple[Any, ...]]:
        for e, g in files.items(GAP, Gap):
            name, unit = "", ""
            if g.tag >= 0:
                number, _ = files.catalogue.numbered(e.edge, e.epoch, e.seq, np.array([g.tag], np.int32))
                tag = files.catalogue.edge(e.edge).tags[int(number[0])]
                name, unit = tag.name, tag.unit_path
            in_batch = want.batch is None or files.contexts.at(e.edge, "batch", unit, [g.from_ns]) == [want.batch]
            if want.names(e.edge, name) and g.from_ns < want.to_ns and g.to_ns >= want.from_ns and in_batch:
                yield e.edge, name, g.from_ns, g.to_ns, g.missing, g.cause

    return _tables(COLUMNS["gap"], rows())


def _audit(files: Files, want: Wanted) -> Iterator[pa.Table]:
    rows = (
        (e.edge, a.time_ns, a.user, a.role, a.station, a.action, a.object, a.old, a.new, a.reason)
        for e, a in files.items(AUDIT, Audit)
        if want.from_ns <= a.time_ns < want.to_ns
    )
    return _tables(COLUMNS["audit"], rows)


def tables(files: Files, kind: Kind, want: Wanted, *, form: Format) -> Iterator[pa.Table]:
    """The rows of a kind as tables with the fixed columns.

    Text values go into the same column `value` of samples; a Parquet column has one type, so there text is exported only when no number is asked for.
    """
    if kind == "sample":
        if form != "parquet":
            yield from _samples(files, want)
            yield from _texts(files, want)
            return
        numbers = 0
        for table in _samples(files, want):
            numbers += table.num_rows
            yield table
        if not numbers:
            yield from _texts(files, want)
        return
    makers = {"summary": _summaries, "alarm": _alarms, "gap": _gaps, "audit": _audit}
    yield from makers[kind](files, want)


def _quoting(table: pa.Table) -> Literal["needed", "none"]:
    """Quotes only where some text has a separator, a quote or a line break in it: "needed" would put them around every text."""
    texts = (column for column in table.columns if pa.types.is_string(column.type))
    special = any(pc.any(pc.match_substring_regex(column, '[",\\r\\n]')).as_py() for column in texts)
    return "needed" if special else "none"


def _no_formulas(table: pa.Table) -> pa.Table:
    """Texts that a spreadsheet would take for a formula get an apostrophe before them, as in the exports of the console."""
    for i, column in enumerate(table.columns):
        if pa.types.is_string(column.type):
            begins = pc.match_substring_regex(column, "^[=+\\-@\\t\\r]")
            table = table.set_column(i, table.field(i), pc.if_else(begins, pc.binary_join_element_wise("'", column, ""), column))
    return table


def export(data_dir: Path, kind: Kind, form: Format, out: IO[bytes], want: Wanted, *, safe: bool = False) -> int:
    """Write the rows of a kind; returns how many. `safe`: no cell of a CSV is a formula. LogError when there is no such data or it is damaged."""
    count = 0
    with closing(Files(data_dir)) as files:
        writer: Any = None
        if form == "csv":
            out.write((",".join(COLUMNS[kind]) + "\n").encode())
        for table in tables(files, kind, want, form=form):
            if table.num_rows == 0:
                continue
            count += table.num_rows
            if form == "csv":
                table = _no_formulas(table) if safe else table
                pyarrow.csv.write_csv(table, out, pyarrow.csv.WriteOptions(include_header=False, quoting_style=_quoting(table)))
            elif form == "jsonl":
                for row in table.to_pylist():
                    row = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
                    out.write(json.dumps(row, ensure_ascii=False, allow_nan=False, default=str).encode() + b"\n")
            else:
                if writer is None:
                    writer = pyarrow.parquet.ParquetWriter(out, table.schema, compression="zstd")
                writer.write_table(table.cast(writer.schema))
        if form == "parquet":
            if writer is None:
                empty = pa.table({name: pa.array([], pa.int64() if name.endswith("_ns") else pa.string()) for name in COLUMNS[kind]})
                writer = pyarrow.parquet.ParquetWriter(out, empty.schema)
            writer.close()
    return count


__all__ = ["COLUMNS", "Format", "Kind", "Wanted", "export"]
