"""Recorded CSV data: wide (time and one column per signal) or long (time,tag,value), plain or gzip, any common separator."""

from __future__ import annotations

import csv
import datetime
import gzip
import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

TIME_NAMES = ("time", "timestamp", "datetime", "date", "time_ns", "clocktime", "t")
SEPARATORS = ";,\t|"
MISSING = frozenset({"", "nan", "na", "null", "none"})


class RecordingError(ValueError):
    """A recording cannot be read: `FILE:LINE: what: expected X, found Y`."""


@dataclass
class Column:
    """One signal of a recording, in time order."""

    name: str
    time_ns: list[int] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Filled instead of `numbers` when a value of the column is no number."""

    @property
    def is_text(self) -> bool:
        """Whether the column holds text."""
        return bool(self.texts)


def sniff_separator(header: str) -> str:
    """The separator that splits the header line into most columns.

    >>> sniff_separator("timestamp;main_comp;SREL")
    ';'
    """
    return max(SEPARATORS, key=header.count)


def parse_time(text: str) -> int:
    """Time in ns UTC from ISO 8601 (no zone = UTC) or an epoch in s, ms, us or ns, told apart by size.

    Numbers below 1e11 are seconds, so a clock that counts from 0 is read as seconds.

    >>> parse_time("2018-11-18 22:28:52"), parse_time("1542580132"), parse_time("1542580132000")
    (1542580132000000000, 1542580132000000000, 1542580132000000000)
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("expected ISO 8601 or an epoch number") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.UTC)
        since = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return ((since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
    if not math.isfinite(number):
        raise ValueError("expected a finite number")
    for limit, factor in ((1e11, 1_000_000_000), (1e14, 1_000_000), (1e17, 1_000)):
        if abs(number) < limit:
            return int(text) * factor if text.lstrip("+-").isdigit() else round(number * factor)
    return int(text) if text.lstrip("+-").isdigit() else round(number)


def _open(path: Path) -> TextIO:
    with path.open("rb") as raw:
        magic = raw.read(2)
    if magic == b"\x1f\x8b":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    with _open(path) as source:
        first = source.readline()
        if not first.strip():
            raise RecordingError(f"{path}:1: header: expected column names, found an empty line")
        separator = sniff_separator(first)
        yield 1, [c.strip() for c in next(csv.reader([first], delimiter=separator))]
        reader = csv.reader(source, delimiter=separator)
        for row in reader:
            if row:
                yield reader.line_num + 1, row


def read_recording(path: Path) -> list[Column]:
    """All columns of a recording; a value that is no number makes its column a text column.

    Raises RecordingError naming file, line and column for a row of the wrong length, an unreadable time, or a time that
    is not later than the one before in the same column; OSError when the file cannot be read.
    """
    try:
        return _read(path)
    except (gzip.BadGzipFile, zlib.error, EOFError, UnicodeDecodeError, csv.Error) as exc:
        raise RecordingError(f"{path}: content: expected CSV text or gzip of it, found {exc}") from exc


def _read(path: Path) -> list[Column]:
    lines = _lines(path)
    _, header = next(lines)
    lowered = [h.lower() for h in header]
    at = next((lowered.index(n) for n in TIME_NAMES if n in lowered), None)
    if at is None:
        raise RecordingError(f"{path}:1: time column: expected one of {', '.join(TIME_NAMES)}, found {', '.join(header)}")
    twice = {h for h in header if header.count(h) > 1}
    if twice:
        raise RecordingError(f"{path}:1: column names: expected each once, found {', '.join(sorted(twice))} again")
    long_form = "tag" in lowered and "value" in lowered
    columns = _read_long(path, lines, header, lowered, at) if long_form else _read_wide(path, lines, header, at)
    if not any(c.time_ns for c in columns):
        raise RecordingError(f"{path}: rows: expected at least one value, found none")
    return [c for c in columns if c.time_ns]


def _row_time(path: Path, number: int, header: list[str], row: list[str], at: int) -> int:
    if len(row) != len(header):
        raise RecordingError(f"{path}:{number}: row: expected {len(header)} columns, found {len(row)}")
    try:
        return parse_time(row[at])
    except ValueError as exc:
        raise RecordingError(f"{path}:{number}: {header[at]}: {exc}, found {row[at]!r}") from None


def _append(path: Path, number: int, column: Column, time_ns: int, text: str) -> None:
    if column.time_ns and time_ns <= column.time_ns[-1]:
        raise RecordingError(f"{path}:{number}: {column.name}: expected a time later than the row before, found "
                             f"{time_ns - column.time_ns[-1]} ns")
    if not column.texts:
        try:
            column.numbers.append(float(text))
        except ValueError:
            column.texts = [f"{v:g}" for v in column.numbers]
            column.numbers = []
    if not column.numbers:
        column.texts.append(text)
    column.time_ns.append(time_ns)


def _read_wide(path: Path, lines: Iterator[tuple[int, list[str]]], header: list[str], at: int) -> list[Column]:
    columns = [Column(h) for h in header]
    for number, row in lines:
        time_ns = _row_time(path, number, header, row, at)
        for place, cell in enumerate(row):
            text = cell.strip()
            if place != at and text.lower() not in MISSING:
                _append(path, number, columns[place], time_ns, text)
    return columns


def _read_long(path: Path, lines: Iterator[tuple[int, list[str]]], header: list[str], lowered: list[str],
               at: int) -> list[Column]:
    tag_at, value_at = lowered.index("tag"), lowered.index("value")
    columns: dict[str, Column] = {}
    for number, row in lines:
        time_ns = _row_time(path, number, header, row, at)
        name, text = row[tag_at].strip(), row[value_at].strip()
        if not name:
            raise RecordingError(f"{path}:{number}: {header[tag_at]}: expected a tag name, found nothing")
        if text.lower() not in MISSING:
            _append(path, number, columns.setdefault(name, Column(name)), time_ns, text)
    return list(columns.values())
