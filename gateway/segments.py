"""Sealed segments: immutable Parquet files of one edge, UTC day, retention class and kind, sorted by tag and time.

A summary file holds its windows first, then the same merged to 60 s, then to 3600 s; the column `level` is 0, 60 or 3600. Row groups never
mix levels, so that a day of one tag costs one or two small row groups. What a file means (definitions, versions) travels in its metadata.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edge_agent.core import LogError
from gateway.manifest import SegmentFile, sync_folder
from gateway.rollup import ROLLUP_DTYPE, ROLLUPS, SAMPLE_DTYPE, SECOND, WINDOW_DTYPE, Rows, as_rollup, between, merged
from gateway.tail import BlockRow, TextRow

FOLDER: Final = "segments"
SAMPLE_GROUP: Final = 32_768
WINDOW_GROUP: Final = 16_384
ROLLUP_GROUP: Final = 4_096
OPEN_FILES: Final = 256

_SUMMARY_NAMES: Final = tuple(dict.fromkeys((*(WINDOW_DTYPE.names or ()), *(ROLLUP_DTYPE.names or ()))))
_DELTA: Final = "DELTA_BINARY_PACKED"
_SPLIT: Final = "BYTE_STREAM_SPLIT"
_ENCODINGS: Final[dict[str, dict[str, str]]] = {
    "sample": {"time_ns": _DELTA, "received_ns": _DELTA, "value": _SPLIT},
    "summary": {"start_ns": _DELTA, "first_ns": _DELTA, "last_ns": _DELTA} | dict.fromkeys(("sum", "m2", "min", "max", "first", "last"), _SPLIT),
    "text": {"time_ns": _DELTA, "received_ns": _DELTA},
    "block": {"time_ns": _DELTA, "last_ns": _DELTA, "received_ns": _DELTA},
}
_HEAD: Final = [("tag", pa.int32()), ("version", pa.int32()), ("time_ns", pa.int64())]
TEXT_SCHEMA: Final = pa.schema([*_HEAD, ("received_ns", pa.int64()), ("value", pa.string()), ("status", pa.uint32())])
BLOCK_SCHEMA: Final = pa.schema([*_HEAD, ("last_ns", pa.int64()), ("received_ns", pa.int64()), ("frame", pa.binary())])
Tables = list[tuple[pa.Table, int]]
"""Tables to write one behind the other, each with its row group size."""


def sample_tables(rows: Rows) -> Tables:
    """Samples, already ordered."""
    return [(pa.table({name: np.ascontiguousarray(rows[name]) for name in SAMPLE_DTYPE.names or ()}), SAMPLE_GROUP)]


def summary_tables(windows: Rows) -> Tables:
    """Windows, already ordered, and their rollups."""
    tables: Tables = [(_summary_table(windows, 0), WINDOW_GROUP)]
    level = as_rollup(windows)
    for length in ROLLUPS:
        level = merged(level, length)
        tables.append((_summary_table(level, length // SECOND), ROLLUP_GROUP))
    return tables


def _summary_table(rows: Rows, level: int) -> pa.Table:
    names = set(rows.dtype.names or ())
    wide = {"version": "<i4", "part": "<i4"}
    columns: dict[str, Any] = {"level": np.full(len(rows), level, np.int16)}
    for name in _SUMMARY_NAMES:
        if name not in names:
            columns[name] = np.zeros(len(rows), wide[name])
        else:
            column = rows[name]
            columns[name] = column.astype(np.int64) if name.startswith("n") else np.ascontiguousarray(column)
    return pa.table(columns)


def text_tables(rows: Sequence[TextRow]) -> Tables:
    """Text values."""
    chosen = sorted(rows, key=lambda r: (r.tag, r.time_ns))
    return [(pa.table({name: [getattr(r, name) for r in chosen] for name in TEXT_SCHEMA.names}, schema=TEXT_SCHEMA), WINDOW_GROUP)]


def block_tables(rows: Sequence[BlockRow]) -> Tables:
    """Blocks as the frames that came."""
    chosen = sorted(rows, key=lambda r: (r.tag, r.time_ns))
    return [(pa.table({name: [getattr(r, name) for r in chosen] for name in BLOCK_SCHEMA.names}, schema=BLOCK_SCHEMA), 64)]


def write(folder: Path, name: str, kind: str, tables: Tables, metadata: Mapping[str, str]) -> tuple[Path, Path]:
    """A durable temporary file and the path it is to be renamed to."""
    final = folder / name
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f"tmp-{final.name}")
    schema = tables[0][0].schema.with_metadata({k.encode(): v.encode() for k, v in metadata.items()})
    split = _ENCODINGS[kind]
    dictionary = [n for n in schema.names if n not in split and n != "frame"]
    with pq.ParquetWriter(temporary, schema, compression="zstd", compression_level=1, use_dictionary=dictionary, column_encoding=split) as writer:
        for table, group in tables:
            if table.num_rows:
                writer.write_table(table.replace_schema_metadata(schema.metadata), row_group_size=group)
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return temporary, final


def digest(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def put_in_place(pairs: Sequence[tuple[Path, Path]]) -> None:
    """Give temporary files their names, durably."""
    for temporary, final in pairs:
        temporary.rename(final)
    for folder in {final.parent for _, final in pairs}:
        sync_folder(folder)
        sync_folder(folder.parent)


@dataclass(frozen=True, slots=True)
class _Groups:
    """Bounds of every row group of a file, to read only what may hold the answer."""

    level: NDArray[np.int64]
    tag_min: NDArray[np.int64]
    tag_max: NDArray[np.int64]
    time_min: NDArray[np.int64]
    time_max: NDArray[np.int64]


class Segment:
    """One sealed file, open for reading; any thread."""

    def __init__(self, folder: Path, file: SegmentFile) -> None:
        self.file = file
        self._time = "start_ns" if file.kind == "summary" else "time_ns"
        self._lock = threading.Lock()
        try:
            self._parquet = pq.ParquetFile(folder / file.name, memory_map=True)
            self._groups = self._bounds()
        except (pa.ArrowInvalid, OSError) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise LogError(f"{FOLDER}/{file.name}: expected a readable Parquet file, found {error}") from error

    def _bounds(self) -> _Groups:
        meta = self._parquet.metadata
        names = self._parquet.schema_arrow.names
        tag, time = names.index("tag"), names.index(self._time)
        level = names.index("level") if "level" in names else None
        bounds = np.zeros((5, meta.num_row_groups), np.int64)
        for i in range(meta.num_row_groups):
            group = meta.row_group(i)
            tags, times = group.column(tag).statistics, group.column(time).statistics
            bounds[:, i] = (-1 if level is None else group.column(level).statistics.min, tags.min, tags.max, times.min, times.max)
        return _Groups(*bounds)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._parquet.close()

    def of(self, tag: int, from_ns: int, to_ns: int, level: int = -1, columns: list[str] | None = None) -> pa.Table | None:
        """Row groups that may hold rows of a tag with from_ns <= time < to_ns at a level; None when there are none."""
        g = self._groups
        hit = (g.tag_min <= tag) & (tag <= g.tag_max) & (g.time_min < to_ns) & (g.time_max >= from_ns) & (g.level == level)
        groups = np.flatnonzero(hit).tolist()
        if not groups:
            return None
        with self._lock:
            try:
                return self._parquet.read_row_groups(groups, columns, use_threads=False)
            except (pa.ArrowInvalid, OSError) as error:
                raise LogError(f"{FOLDER}/{self.file.name}: expected readable row groups, found {error}") from error

    def batches(self, level: int = -1) -> Iterator[pa.Table]:
        """Every row of a level, one row group at a time."""
        for group in np.flatnonzero(self._groups.level == level).tolist():
            with self._lock:
                table = self._parquet.read_row_group(group, use_threads=False)
            yield table

    def whole(self, level: int = -1) -> pa.Table:
        """Every row of a level."""
        groups = np.flatnonzero(self._groups.level == level).tolist()
        with self._lock:
            return self._parquet.read_row_groups(groups)

    @property
    def metadata(self) -> dict[str, str]:
        """What was written beside the rows."""
        found = self._parquet.schema_arrow.metadata or {}
        return {k.decode(): v.decode() for k, v in found.items() if not k.startswith(b"ARROW")}


def rows_of(table: pa.Table, dtype: np.dtype[np.void]) -> Rows:
    """A table as structured rows."""
    rows: Rows = np.empty(table.num_rows, dtype)
    for name in dtype.names or ():
        rows[name] = table.column(name).to_numpy()
    return rows


_SHOWN_SAMPLES: Final = ["tag", "time_ns", "value", "status"]
_SHOWN_SUMMARY: Final = [
    *("tag", "start_ns", "length_ns", "n", "n_bad", "n_uncertain", "sum", "min", "max"),
    *("first", "last", "first_ns", "last_ns", "worst_status"),
]


def numeric(segment: Segment, tag: int, from_ns: int, to_ns: int, level: int = -1) -> Rows | None:
    """Samples (level -1), windows (0) or rollups (60, 3600) of one tag, with the columns that a series shows; the others are 0."""
    raw = level < 0
    shown = _SHOWN_SAMPLES if raw else _SHOWN_SUMMARY
    table = segment.of(tag, from_ns, to_ns, level, shown)
    if table is None:
        return None
    # A row group holds many tags: only the slice of this one is turned into rows.
    begin, end = np.searchsorted(table.column("tag").to_numpy(), (tag, tag + 1)).tolist()
    table = table.slice(begin, end - begin)
    rows: Rows = np.zeros(table.num_rows, SAMPLE_DTYPE if raw else ROLLUP_DTYPE)
    for name in shown:
        rows[name] = table.column(name).to_numpy()
    return between(rows, "time_ns" if raw else "start_ns", from_ns, to_ns)


class OpenSegments:
    """Files in force, opened when asked and closed when others were asked more recently."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[str, Segment] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, file: SegmentFile) -> Segment:
        """The open segment; FileNotFoundError when it has been superseded and unlinked meanwhile: look at the manifest again."""
        with self._lock:
            found = self._open.get(file.name)
            if found is None:
                found = self._open[file.name] = Segment(self.folder, file)
            self._open.move_to_end(file.name)
            if len(self._open) > OPEN_FILES:
                self._open.popitem(last=False)
            return found

    def forget(self, name: str) -> None:
        """A file is no longer in force; whoever reads it may finish."""
        with self._lock:
            self._open.pop(name, None)

    def close(self) -> None:
        """Release all files."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()
