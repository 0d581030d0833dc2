"""What a CSV file looks like: separator, wide or long, form of its times; and errors that name file, line and column."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final, Literal

import numpy as np

from edge_agent.core import Mistake, PharmedgeError

TimeForm = Literal["s", "ms", "us", "ns", "iso", "iso_zone"]

CHUNK_BYTES: Final = 8 << 20
_SEPARATORS: Final = ",;\t|"
_TIME_NAMES: Final = ("time", "timestamp", "time_ns", "source_time")
_RECEIVED_NAMES: Final = ("received", "received_ns")
_PASSED_OVER: Final = ("edge", "version")
_NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:?\d\d(:?\d\d(\.\d{1,9})?)?)?)?(Z|[+-]\d\d(:?\d\d)?)?$")
_DECIMAL_COMMA: Final = re.compile(r"[+-]?\d+,\d+$")


class CsvError(PharmedgeError):
    """A CSV file is not as it should be; the text is FILE:LINE: COLUMN: expected X, found Y."""

    def __init__(self, file: Path, line: int, column: str, expected: str, found: str) -> None:
        self.mistake = Mistake(str(file), line, column, expected, found)
        super().__init__(str(self.mistake))


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read one file.

    columns   names as in the header, in order
    time      index of the time column
    long      whether a row is one value (`tag`, `value`, `status`, `received` say where) or one instant of all other columns
    """

    path: Path
    separator: str
    decimal_point: str
    columns: tuple[str, ...]
    time: int
    time_form: TimeForm
    long: bool
    header_line: int = 1
    tag: int = -1
    value: int = -1
    status: int = -1
    received: int = -1
    received_form: TimeForm = "ns"

    def error(self, line: int, column: int, expected: str, found: str) -> CsvError:
        """An error in one cell."""
        return CsvError(self.path, line, self.columns[column], expected, found)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines of a file; `line` is the number of the first, counted from 1."""

    data: bytes
    line: int
    lines: int


def open_plain(path: Path) -> BinaryIO:
    """The file's bytes, uncompressed when it is gzip by its first two bytes."""
    file = path.open("rb")
    magic = file.read(2)
    file.seek(0)
    if magic == b"\x1f\x8b":
        file.close()
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return file


def chunks(path: Path, size: int = CHUNK_BYTES, after_line: int = 0) -> Iterator[Chunk]:
    """The file in pieces of whole lines behind a line number."""
    line, rest = 1, b""
    with open_plain(path) as file:
        while True:
            try:
                read = file.read(size)
            except (EOFError, OSError, zlib.error) as error:
                raise CsvError(path, line, "(file)", "a readable file", str(error)) from error
            if line == 1 and not rest:
                read = read.removeprefix(b"\xef\xbb\xbf")
            cut = len(read) if not read else read.rfind(b"\n") + 1
            if read and cut == 0:
                rest += read
                continue
            data, rest = rest + read[:cut], read[cut:]
            if data and not data.endswith(b"\n"):
                data += b"\n"
            lines = data.count(b"\n")
            first, line = line, line + lines
            if data and first <= after_line:
                skip = min(after_line - first + 1, lines)
                ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
                data, first, lines = data[ends[skip - 1] + 1 :], first + skip, lines - skip
            if data:
                yield Chunk(data, first, lines)
            if not read:
                return


def cells(line: str, separator: str) -> list[str]:
    """The cells of one line; none when it cannot be cut into cells, as with a carriage return inside it."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def layout_of(path: Path) -> Layout:
    """What the header and the first row say; CsvError when it is no such file."""
    lines: list[tuple[int, str]] = []
    for chunk in chunks(path, 1 << 16):
        try:
            texts = chunk.data.decode("utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise CsvError(path, chunk.line + chunk.data[: error.start].count(b"\n"), "(line)", "UTF-8", str(error)) from error
        lines += [(chunk.line + i, text) for i, text in enumerate(texts) if text.strip()]
        if len(lines) > 1:
            break
    if len(lines) < 2:
        raise CsvError(path, 1, "(file)", "a header and at least one row", f"{len(lines)} lines")
    (head_line, head), (row_line, row) = lines[0], lines[1]
    separator = max(_SEPARATORS, key=head.count)
    columns = tuple(name.strip() for name in cells(head, separator))
    if len(columns) < 2:
        raise CsvError(path, head_line, "(header)", "columns separated by , ; tab or |", repr(head[:80]))
    for i, name in enumerate(columns):
        if not name or name in columns[:i]:
            raise CsvError(path, head_line, f"column {i + 1}", "a name of its own", repr(name))
    first = cells(row, separator)
    if len(first) != len(columns):
        raise CsvError(path, row_line, "(line)", f"{len(columns)} cells", str(len(first)))
    comma = separator != "," and any(_DECIMAL_COMMA.match(cell.strip()) for cell in first)
    layout = Layout(path, separator, "," if comma else ".", columns, 0, "s", long=False, header_line=head_line)
    names = [name.lower() for name in columns]
    times = [i for i, name in enumerate(names) if name in _TIME_NAMES]
    if times and "tag" in names and "value" in names:
        layout = _long(layout, names, times[0], head_line)
    form = time_form(layout, layout.time, first, row_line)
    received = time_form(layout, layout.received, first, row_line) if layout.received >= 0 else "ns"
    return replace(layout, time_form=form, received_form=received)


def _long(layout: Layout, names: Sequence[str], time: int, line: int) -> Layout:
    received = next((i for i, name in enumerate(names) if name in _RECEIVED_NAMES), -1)
    status = names.index("status") if "status" in names else -1
    tag, value = names.index("tag"), names.index("value")
    for i, name in enumerate(names):
        if i not in (time, tag, value, status, received) and name not in _PASSED_OVER:
            raise CsvError(layout.path, line, layout.columns[i], "time, tag, value, status or received", repr(layout.columns[i]))
    return replace(layout, long=True, time=time, tag=tag, value=value, status=status, received=received)


def time_form(layout: Layout, column: int, row: Sequence[str], line: int) -> TimeForm:
    """How a time column is written, from one of its cells: ISO 8601, or an epoch whose unit shows in its magnitude.

    Seconds below 1e11, milliseconds below 1e14, microseconds below 1e17, else nanoseconds: right for the years 1973 to 5138.
    A column named `..._ns` holds nanoseconds.
    """
    text = row[column].strip()
    if _ISO.match(text):
        return "iso_zone" if re.search(r"(Z|[+-]\d\d(:?\d\d)?)$", text[10:]) else "iso"
    number = text.replace(layout.decimal_point, ".")
    if not _NUMBER.match(number):
        raise layout.error(line, column, "an ISO 8601 time or seconds, ms, us or ns since 1970", repr(text))
    if layout.columns[column].lower().endswith("_ns"):
        return "ns"
    size = abs(float(number))
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
