"""Chunks of CSV text to columns, and columns to batches of one time of receipt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from edge_agent.core import Run, Samples, Tag, Texts
from edge_agent.core.samples import Float64, Int32, Int64, UInt32
from edge_agent.core.status import BAD, BAD_DECODING, EXACT_INTEGER_LIMIT, UNCERTAIN
from edge_agent.sources.csv_layout import Chunk, CsvError, Layout, TimeForm, cells

_DIGITS: Final[dict[str, int]] = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Decimal digits from each unit of time to nanoseconds."""


@dataclass(frozen=True, slots=True)
class Row:
    """One text value on its way: row of the chunk, tag, text, status."""

    row: int
    tag: int
    text: str
    status: int


@dataclass(frozen=True, slots=True)
class Columns:
    """Everything in a chunk.

    time_ns, received_ns   per row of the file, int64
    row, tag, value, status   per number, ordered by row
    texts                  ordered by row
    line                   per row: the line it stands on
    """

    time_ns: Int64
    received_ns: Int64 | None
    row: NDArray[np.intp]
    tag: Int32
    value: Float64
    status: UInt32
    texts: list[Row]
    line: NDArray[np.intp]


def parse(layout: Layout, chunk: Chunk, tags: Mapping[str, Tag], *, refuse: bool) -> Columns:
    """The columns of a chunk; what is of no tag in `tags` is an error or passed over."""
    if refuse and not layout.long:
        for i, name in enumerate(layout.columns):
            if i != layout.time and name not in tags:
                raise layout.error(layout.header_line, i, "a configured tag", repr(name))
    _refuse_bare_returns(layout, chunk)
    return _parse_long(layout, chunk, tags, refuse=refuse) if layout.long else _parse_wide(layout, chunk, tags)


def _refuse_bare_returns(layout: Layout, chunk: Chunk) -> None:
    """A carriage return that ends no line is a line end to Arrow and none to the count of lines, so every row behind it would bear a wrong number."""
    data = chunk.data.removesuffix(b"\r")
    if data.count(b"\r") != data.count(b"\r\n"):
        found = re.search(rb"\r(?!\n)", data)
        assert found is not None
        raise layout.error(chunk.line + data.count(b"\n", 0, found.start()), 0, "lines that end with a line feed", "a carriage return alone")


def kinds(layout: Layout, chunk: Chunk) -> dict[str, bool]:
    """The tags of a chunk, and whether every value of each is a number."""
    if not layout.long:
        types = {i: pa.string() for i in range(len(layout.columns)) if i != layout.time}
        arrays, _ = _columns(layout, chunk, types, {layout.time: layout.time_form})
        return {layout.columns[i]: bool(_is_number(layout, arrays[i]).all()) for i in types}
    types = {layout.tag: pa.dictionary(pa.int32(), pa.string()), layout.value: pa.string()}
    arrays, _ = _columns(layout, chunk, types, {layout.time: layout.time_form})
    tags = arrays[layout.tag].drop_null()
    worded = np.zeros(len(tags.dictionary), np.bool_)
    worded[np.asarray(arrays[layout.tag].indices.filter(pa.array(~_is_number(layout, arrays[layout.value]))).drop_null())] = True
    return {name: not word for name, word in zip(tags.dictionary.to_pylist(), worded.tolist(), strict=True)}


def _is_number(layout: Layout, texts: Any) -> NDArray[np.bool_]:
    point = re.escape(layout.decimal_point)
    number = rf"(?i)^\s*[+-]?(\d+{point}?\d*|{point}\d+)(e[+-]?\d+)?\s*$|^\s*[+-]?(nan|inf|infinity)\s*$"
    return np.asarray(pc.fill_null(pc.match_substring_regex(texts, number), fill_value=True).to_numpy(zero_copy_only=False), np.bool_)


def _table(layout: Layout, chunk: Chunk, types: Mapping[int, Any]) -> Any:
    names = [str(i) for i in range(len(layout.columns))]
    try:
        return pacsv.read_csv(
            pa.py_buffer(chunk.data),
            read_options=pacsv.ReadOptions(column_names=names, block_size=len(chunk.data) + 1),
            parse_options=pacsv.ParseOptions(delimiter=layout.separator),
            convert_options=pacsv.ConvertOptions(
                column_types={str(i): kind for i, kind in types.items()},
                include_columns=[str(i) for i in types],
                null_values=[""],
                strings_can_be_null=True,
                decimal_point=layout.decimal_point,
            ),
        )
    except pa.ArrowInvalid as error:
        return _Failed(error)


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


def _columns(layout: Layout, chunk: Chunk, types: dict[int, Any], times: Mapping[int, TimeForm]) -> tuple[dict[int, Any], dict[int, Int64]]:
    """Arrow arrays by column, and time columns as ns."""
    # Whole numbers are read fastest; decimals are exact; floats take exponents. A file may change from one to the next.
    for attempt in range(3):
        kinds = types | {i: _time_type(form, attempt) for i, form in times.items()}
        table = _table(layout, chunk, kinds)
        if not isinstance(table, _Failed):
            break
    else:
        raise _located(layout, chunk, types, times, table.error)
    arrays = {i: table.column(str(i)).combine_chunks() for i in kinds}
    arrays = {i: a.chunk(0) if isinstance(a, pa.ChunkedArray) else a for i, a in arrays.items()}
    for i in times:
        if arrays[i].null_count:
            raise _located(layout, chunk, types, times, None)
    return arrays, {i: _nanoseconds(arrays[i], form) for i, form in times.items()}


def _time_type(form: TimeForm, attempt: int) -> Any:
    if form in ("iso", "iso_zone"):
        return pa.timestamp("ns", "UTC" if form == "iso_zone" else None)
    return (pa.int64(), pa.decimal128(38, _DIGITS[form]), pa.float64())[attempt]


def _nanoseconds(array: Any, form: TimeForm) -> Int64:
    if pa.types.is_timestamp(array.type):
        return np.asarray(array.cast(pa.int64()).to_numpy(zero_copy_only=False), np.int64)
    scale = 10 ** _DIGITS[form]
    if pa.types.is_decimal(array.type):
        # Digits behind the unit are nanoseconds: the low word of each 128-bit number is the time itself.
        words = np.frombuffer(array.buffers()[1], np.int64, 2 * len(array), 16 * array.offset)
        return words[::2].copy()
    values = array.to_numpy(zero_copy_only=False)
    if values.dtype == np.int64:
        return np.asarray(values * np.int64(scale), np.int64)
    whole = np.floor(values)
    return np.asarray(whole.astype(np.int64) * scale + np.round((values - whole) * scale).astype(np.int64), np.int64)


def _located(layout: Layout, chunk: Chunk, types: Mapping[int, Any], times: Mapping[int, TimeForm], error: Exception | None) -> CsvError:
    """The first cell that cannot be read: only now is it worth to look at each."""
    for offset, raw in enumerate(chunk.data.split(b"\n")[:-1]):
        line = chunk.line + offset
        try:
            text = raw.decode("utf-8").rstrip("\r")
        except UnicodeDecodeError as damage:
            return CsvError(layout.path, line, "(line)", "UTF-8", str(damage))
        if not text:
            continue
        row = cells(text, layout.separator)
        if len(row) != len(layout.columns):
            return CsvError(layout.path, line, "(line)", f"{len(layout.columns)} cells", str(len(row)))
        for column, form in times.items():
            if not _readable(layout, row[column], _time_type(form, 2 if form in _DIGITS else 0)) or not row[column]:
                wanted = "an ISO 8601 time" if form in ("iso", "iso_zone") else f"a time in {form}"
                wanted += " with its offset" if form == "iso_zone" else " without an offset, as in the first row" if form == "iso" else ""
                return layout.error(line, column, wanted, repr(row[column]))
        for column, kind in types.items():
            if not _readable(layout, row[column], kind):
                wanted = "a number" if pa.types.is_floating(kind) else "a status code from 0 to 4294967295" if pa.types.is_integer(kind) else "a text"
                return layout.error(line, column, wanted, repr(row[column]))
    return CsvError(layout.path, chunk.line, "(line)", "readable rows", str(error))


def _readable(layout: Layout, cell: str, kind: Any) -> bool:
    cell = cell.replace('"', "")
    if pa.types.is_string(kind) or pa.types.is_dictionary(kind) or not cell:
        return True
    one = Layout(layout.path, "\t", layout.decimal_point, ("cell",), 0, "s", long=False)
    return not isinstance(_table(one, Chunk(cell.encode("utf-8") + b"\n", 1, 1), {0: kind}), _Failed)


def _lines(chunk: Chunk, rows: int) -> NDArray[np.intp]:
    if rows == chunk.lines:
        return np.arange(chunk.line, chunk.line + rows)
    kept = [i for i, raw in enumerate(chunk.data.split(b"\n")[:-1]) if raw not in (b"", b"\r")]
    return np.array(kept, np.intp) + chunk.line


def _judge(value: Float64, status: UInt32) -> UInt32:
    """Numbers that are none are bad; whole numbers beyond 2^53 may have been rounded."""
    missing = np.isnan(value) & (status < BAD)
    rounded = (np.abs(value) > EXACT_INTEGER_LIMIT) & np.isfinite(value) & (status < UNCERTAIN)
    if missing.any():
        status = np.where(missing, np.uint32(BAD_DECODING), status)
    return np.where(rounded, np.uint32(UNCERTAIN), status) if rounded.any() else status


def _parse_wide(layout: Layout, chunk: Chunk, tags: Mapping[str, Tag]) -> Columns:
    wanted = [(i, tags[name]) for i, name in enumerate(layout.columns) if i != layout.time and name in tags]
    numeric = [(i, tag) for i, tag in wanted if tag.kind == "numeric"]
    types = {i: pa.float64() if tag.kind == "numeric" else pa.string() for i, tag in wanted}
    arrays, times = _columns(layout, chunk, types, {layout.time: layout.time_form})
    n, k = len(times[layout.time]), len(numeric)
    values = np.empty((n, k), np.float64)
    present = np.ones((n, k), np.bool_)
    for j, (i, _) in enumerate(numeric):
        values[:, j] = arrays[i].to_numpy(zero_copy_only=False)
        if arrays[i].null_count:
            present[:, j] = arrays[i].is_valid().to_numpy(zero_copy_only=False)
    value, row = values.ravel(), np.repeat(np.arange(n), k)
    tag = np.tile(np.array([t.id for _, t in numeric], np.int32), n)
    if not present.all():
        keep = present.ravel()
        value, row, tag = value[keep], row[keep], tag[keep]
    texts = [Row(at, t.id, text, 0) for i, t in wanted if t.kind == "text" for at, text in enumerate(arrays[i].to_pylist()) if text is not None]
    texts.sort(key=lambda text: text.row)
    status = _judge(value, np.zeros(len(value), np.uint32))
    return Columns(times[layout.time], None, row, tag, value, status, texts, _lines(chunk, n))


def _parse_long(layout: Layout, chunk: Chunk, tags: Mapping[str, Tag], *, refuse: bool) -> Columns:
    mixed = any(tag.kind == "text" for tag in tags.values())
    types = {layout.tag: pa.dictionary(pa.int32(), pa.string()), layout.value: pa.string() if mixed else pa.float64()}
    times: dict[int, TimeForm] = {layout.time: layout.time_form}
    if layout.status >= 0:
        types[layout.status] = pa.uint32()
    if layout.received >= 0:
        times[layout.received] = layout.received_form
    arrays, found = _columns(layout, chunk, types, times)
    n, names = len(arrays[layout.tag]), arrays[layout.tag].dictionary.to_pylist()
    line = _lines(chunk, n)
    if arrays[layout.tag].null_count:
        at = int(np.argmin(arrays[layout.tag].is_valid().to_numpy(zero_copy_only=False)))
        raise layout.error(int(line[at]), layout.tag, "a tag name", "''")
    index = np.asarray(arrays[layout.tag].indices.to_numpy(zero_copy_only=False), np.intp)
    ids = np.array([tags[name].id if name in tags else -1 for name in names], np.int32)
    if refuse and (ids < 0).any():
        at = int(np.argmax(ids[index] < 0))
        raise layout.error(int(line[at]), layout.tag, "a configured tag", repr(names[index[at]]))
    wordy = np.array([name in tags and tags[name].kind == "text" for name in names], np.bool_)
    status = np.zeros(n, np.uint32)
    if layout.status >= 0:
        status = np.asarray(pc.fill_null(arrays[layout.status], 0).to_numpy(zero_copy_only=False), np.uint32)
    numbers = np.flatnonzero((ids[index] >= 0) & ~wordy[index])
    values = arrays[layout.value]
    texts: list[Row] = []
    if mixed:
        for at in np.flatnonzero(wordy[index]).tolist():
            text = values[at].as_py()
            texts.append(Row(at, int(ids[index[at]]), text or "", int(status[at]) if text is not None else max(int(status[at]), BAD_DECODING)))
        values = _numbers(layout, values.take(pa.array(numbers)), line[numbers])
        value = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)
    else:
        value = np.asarray(values.to_numpy(zero_copy_only=False), np.float64)[numbers]
    return Columns(found[layout.time], found.get(layout.received), numbers, ids[index[numbers]], value, _judge(value, status[numbers]), texts, line)


def _numbers(layout: Layout, texts: Any, line: NDArray[np.intp]) -> Any:
    if layout.decimal_point != ".":
        texts = pc.replace_substring(texts, layout.decimal_point, ".")
    try:
        return texts.cast(pa.float64())
    except pa.ArrowInvalid as error:
        for at, text in enumerate(texts.to_pylist()):
            if text is not None and not _readable(layout, text, pa.float64()):
                raise layout.error(int(line[at]), layout.value, "a number", repr(text)) from error
        raise CsvError(layout.path, int(line[0]), layout.columns[layout.value], "numbers", str(error)) from error


@dataclass(frozen=True, slots=True)
class Batch:
    """What was received at one time: texts before numbers, for a batch or phase is valid for the values beside it.

    line   the last line of the file that is in it
    """

    items: tuple[Samples | Texts, ...]
    received_ns: int
    line: int


@dataclass(frozen=True, slots=True)
class _Cuts:
    """Where columns are cut: time of receipt and last line (b,) of each piece; number and text (b + 1,): where its values begin among each."""

    received_ns: Int64
    line: NDArray[np.intp]
    number: NDArray[np.intp]
    text: NDArray[np.intp]


def _cut(columns: Columns, newest_ns: int, tick_ns: int) -> _Cuts:
    rows = len(columns.time_ns)
    clock = columns.time_ns if columns.received_ns is None else columns.received_ns
    received = np.maximum.accumulate(np.maximum(clock, newest_ns))
    slot = received // tick_ns if tick_ns and columns.received_ns is None else received
    starts = np.flatnonzero(slot[1:] != slot[:-1]) + 1
    text_rows = np.array([text.row for text in columns.texts], np.intp)
    starts = np.union1d(np.union1d(starts, text_rows), np.zeros(1, np.intp)).astype(np.intp)
    ends = np.append(starts[1:], rows)
    edges = np.append(starts, rows)
    return _Cuts(received[ends - 1], columns.line[ends - 1], np.searchsorted(columns.row, edges), np.searchsorted(text_rows, edges))


def batches(columns: Columns, newest_ns: int, tick_ns: int) -> Iterator[Batch]:
    """Cut columns where the time of receipt enters another tick, and before each text.

    Received is the column of that name or else the running maximum of time, from `newest_ns` on; a batch has that of its last row. With a
    received column, or `tick_ns` 0, rows share a batch only when received at the very same time.
    """
    if not len(columns.time_ns):
        return
    cuts = _cut(columns, newest_ns, tick_ns)
    number_at, text_at = cuts.number.tolist(), cuts.text.tolist()
    sample_time = columns.time_ns[columns.row]
    times, lines = cuts.received_ns.tolist(), cuts.line.tolist()
    for g in range(len(times)):
        items: list[Samples | Texts] = []
        if text_at[g] < text_at[g + 1]:
            items.append(_texts(columns, columns.texts[text_at[g] : text_at[g + 1]], times[g]))
        a, b = number_at[g], number_at[g + 1]
        if a < b:
            items.append(Samples(sample_time[a:b], columns.tag[a:b], columns.value[a:b], columns.status[a:b], times[g]))
        yield Batch(tuple(items), times[g], lines[g])


def runs(columns: Columns, newest_ns: int, tick_ns: int) -> Iterator[tuple[tuple[Run | Texts, ...], int]]:
    """The items of `batches`, in the same order, values between two texts together; with each the newest time of receipt so far."""
    if not len(columns.time_ns):
        return
    cuts = _cut(columns, newest_ns, tick_ns)
    worded = np.flatnonzero(cuts.text[1:] > cuts.text[:-1])
    sample_time = columns.time_ns[columns.row]
    for g, behind in zip(np.append([0], worded).tolist(), np.append(worded, len(cuts.line)).tolist(), strict=True):
        items: list[Run | Texts] = []
        if cuts.text[g] < cuts.text[g + 1]:
            items.append(_texts(columns, columns.texts[cuts.text[g] : cuts.text[g + 1]], int(cuts.received_ns[g])))
        a, b = int(cuts.number[g]), int(cuts.number[behind])
        held = g + np.flatnonzero(cuts.number[g + 1 : behind + 1] > cuts.number[g:behind])
        if a < b:
            rows = Samples(sample_time[a:b], columns.tag[a:b], columns.value[a:b], columns.status[a:b])
            items.append(Run(rows, cuts.number[held + 1].astype(np.int64) - a, cuts.received_ns[held]))
        if g < behind:
            yield tuple(items), int(cuts.received_ns[behind - 1])


def _texts(columns: Columns, texts: Sequence[Row], received_ns: int) -> Texts:
    times = tuple(int(columns.time_ns[t.row]) for t in texts)
    return Texts(times, tuple(t.tag for t in texts), tuple(t.text for t in texts), tuple(t.status for t in texts), received_ns)
