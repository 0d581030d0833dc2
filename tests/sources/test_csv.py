"""CSV: layouts, times, order, received time, errors that name their place, and the live source with its place kept."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Catalogue, EndOfInput, NotConnected, Samples, Tag, Texts
from edge_agent.core.status import BAD_DECODING, UNCERTAIN
from edge_agent.sources.csv import CsvConfig, CsvSource, read_csv, tags_of
from edge_agent.sources.csv_layout import CsvError, chunks
from edge_agent.sources.source import Plug
from tests.naive.csv import Value, wide

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND


def catalogue(*names: str, texts: tuple[str, ...] = ()) -> Catalogue:
    every = [*names, *texts]
    return Catalogue([Tag(id=i, name=n, kind="text" if n in texts else "numeric") for i, n in enumerate(every)])


def written(tmp_path: Path, text: str, name: str = "a.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def values(items: list[Samples | Texts], tags: Catalogue) -> list[Value]:
    found = []
    for item in items:
        rows = zip(np.asarray(item.time_ns).tolist(), np.asarray(item.tag).tolist(), list(item.value), strict=True)
        found += [Value(item.received_ns, t, tags[tag].name, v if isinstance(v, str) else float(v)) for t, tag, v in rows]
    return found


def test_wide_rows_become_one_batch_each(tmp_path: Path) -> None:
    tags = catalogue("a", "b")
    path = written(tmp_path, "time,a,b\n2026-01-01 00:00:00,1,2\n2026-01-01T00:00:10,3,\n")
    assert list(read_csv([path], tags)) == [
        Samples.of([START, START], [0, 1], [1.0, 2.0], 0, START),
        Samples.of([START + 10 * SECOND], [0], [3.0], 0, START + 10 * SECOND),
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("separator", "one", "two"), [(",", "1.5", "2.5"), (";", "1,5", "2,5"), ("\t", "1.5", "2.5"), ("|", "1.5", "2.5")])
def test_separators_and_decimal_points_are_sniffed(tmp_path: Path, separator: str, one: str, two: str, ending: str) -> None:
    lines = [["time", "a", "b"], ["1767225600", one, two], ["1767225601", two, one]]
    path = written(tmp_path, "\ufeff" + ending.join(separator.join(line) for line in lines))
    found = list(read_csv([path], catalogue("a", "b")))
    assert [item.value.tolist() for item in found if isinstance(item, Samples)] == [[1.5, 2.5], [2.5, 1.5]]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1767225600", "1767225600.000000001"),
        ("1767225600000", "1767225600000.000001"),
        ("1767225600000000", "1767225600000000.001"),
        ("1767225600000000000", "1767225600000000001"),
        ("2026-01-01T00:00:00", "2026-01-01T00:00:00.000000001"),
        ("2026-01-01T00:00:00Z", "2026-01-01T08:00:00.000000001+08:00"),
    ],
)
def test_times_are_exact_to_the_nanosecond(tmp_path: Path, first: str, second: str) -> None:
    path = written(tmp_path, f"timestamp,a\n{first},1\n{second},2\n")
    (item,) = read_csv([path], catalogue("a"))
    assert np.asarray(item.time_ns).tolist() == [START, START + 1]
    assert item.received_ns == START + 1


def test_long_rows_with_status_and_received(tmp_path: Path) -> None:
    tags = catalogue("a", texts=("phase",))
    text = "time,tag,value,status,received\n10,a,1.5,0,11\n11,phase,run,0,11\n12,a,,2156658688,13\n12,a,2,,12\n"
    assert list(read_csv([written(tmp_path, text)], tags)) == [
        Samples.of([10 * SECOND], [0], [1.5], 0, 11 * SECOND),
        Texts((11 * SECOND,), (1,), ("run",), (0,), 11 * SECOND),
        Samples.of([12 * SECOND] * 2, [0, 0], [np.nan, 2.0], [0x808C0000, 0], 13 * SECOND),
    ]


def test_what_the_gateway_exports_can_be_read_again(tmp_path: Path) -> None:
    text = f"edge,tag,version,time_ns,received_ns,value,status\ne1,a,1,{START},{START + 5},3.5,1107886080\n"
    assert list(read_csv([written(tmp_path, text)], catalogue("a"))) == [Samples.of([START], [0], [3.5], 0x42090000, START + 5)]


def test_duplicates_and_steps_back_stay_and_received_never_does(tmp_path: Path) -> None:
    path = written(tmp_path, "time,a\n100,1\n100,1\n50,2\n101,3\n")
    found = list(read_csv([path], catalogue("a")))
    assert values(found, catalogue("a")) == [
        Value(100 * SECOND, 100 * SECOND, "a", 1.0),
        Value(100 * SECOND, 100 * SECOND, "a", 1.0),
        Value(100 * SECOND, 50 * SECOND, "a", 2.0),
        Value(101 * SECOND, 101 * SECOND, "a", 3.0),
    ]


def test_received_goes_on_from_file_to_file(tmp_path: Path) -> None:
    one, two = written(tmp_path, "time,a\n100,1\n", "1.csv"), written(tmp_path, "time,a\n60,1\n", "2.csv")
    assert [item.received_ns for item in read_csv([one, two], catalogue("a"))] == [100 * SECOND] * 2


def test_fast_rows_share_the_batch_of_their_tick(tmp_path: Path) -> None:
    rows = "".join(f"{START + i * 10_000_000},{i}\n" for i in range(25))
    path = written(tmp_path, "time,a\n" + rows)
    assert [len(item) for item in read_csv([path], catalogue("a"))] == [10, 10, 5]
    assert [len(item) for item in read_csv([path], catalogue("a"), tick_ns=0)] == [1] * 25


def test_a_text_takes_effect_before_the_numbers_of_its_row(tmp_path: Path) -> None:
    tags = catalogue("a", texts=("batch",))
    path = written(tmp_path, "time,a,batch\n1767225600.00,1,\n1767225600.01,2,B7\n1767225600.02,3,\n")
    assert [type(item).__name__ for item in read_csv([path], tags)] == ["Samples", "Texts", "Samples"]
    assert [v.value for v in values(list(read_csv([path], tags)), tags)] == [1.0, "B7", 2.0, 3.0]


def test_cells_that_are_no_number_and_rounded_ones_are_marked(tmp_path: Path) -> None:
    (item,) = read_csv([written(tmp_path, "time,a,b,c\n1,nan,9007199254740994,inf\n")], catalogue("a", "b", "c"))
    assert isinstance(item, Samples)
    assert item.status.tolist() == [BAD_DECODING, UNCERTAIN, 0]


def test_gzip_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(gzip.compress(b"time,a\n1,2\n"))
    assert [item.value for item in read_csv([path], catalogue("a"))] == [np.array([2.0])]
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(CsvError, match=r"a\.csv:1: .*expected a readable file"):
        list(read_csv([path], catalogue("a")))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("time,a\n1,2\n\n2,x\n", "4: a: expected a number, found 'x'"),
        ("time,a\n1,2\n2\n", "3: (line): expected 2 cells, found 1"),
        ("time,a\n1,2\nlater,3\n", "3: time: expected a time in s, found 'later'"),
        ("time,a\n1,2\n,3\n", "3: time: expected a time in s, found ''"),
        ("time,a\n2026-01-01,2\n2026-13-01,3\n", "3: time: expected an ISO 8601 time without an offset, as in the first row, found '2026-13-01'"),
        ("time,a\nsoon,2\n", "2: time: expected an ISO 8601 time or seconds, ms, us or ns since 1970, found 'soon'"),
        ("time,a,b\n1,2,3\n", "1: b: expected a configured tag, found 'b'"),
        ("time,a,a\n1,2,3\n", "1: column 3: expected a name of its own, found 'a'"),
        ("time,tag,value\n1,a,2\n2,b,2\n", "3: tag: expected a configured tag, found 'b'"),
        ("time,tag,value\n1,a,2\n2,a,high\n", "3: value: expected a number, found 'high'"),
        ("time,tag,value,status\n1,a,2,0\n2,a,2,-1\n", "3: status: expected a status code from 0 to 4294967295, found '-1'"),
        ("time,tag,value,colour\n1,a,2,0\n", "1: colour: expected time, tag, value, status or received, found 'colour'"),
        ("time\n1\n", "1: (header): expected columns separated by , ; tab or |, found 'time'"),
        ("time,a\n", "1: (file): expected a header and at least one row, found 1 lines"),
    ],
)
def test_errors_name_file_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(CsvError) as found:
        list(read_csv([path], catalogue("a")))
    assert str(found.value) == f"{path}:{place}"


def test_errors_far_inside_are_found_too(tmp_path: Path) -> None:
    path = written(tmp_path, "time,a\n" + "".join(f"{i},{i}\n" for i in range(5000)) + "5000,oops\n")
    with pytest.raises(CsvError, match=r"a\.csv:5002: a: "):
        list(read_csv([path], catalogue("a"), chunk_bytes=1000))


def test_texts_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"time,p\n1,ok\n2,\xff\n")
    with pytest.raises(CsvError, match=r"a.csv:3: \(line\): expected UTF-8"):
        list(read_csv([path], catalogue(texts=("p",))))


def test_unknown_columns_may_be_skipped(tmp_path: Path) -> None:
    wide_file, long_file = written(tmp_path, "time,a,b\n1,2,x\n", "w.csv"), written(tmp_path, "time,tag,value\n1,b,3\n1,a,2\n", "l.csv")
    for path in (wide_file, long_file):
        assert list(read_csv([path], catalogue("a"), unknown="skip")) == [Samples.of([SECOND], [0], [2.0], 0, SECOND)]


def test_tags_are_defined_by_their_columns(tmp_path: Path) -> None:
    wide_file = written(tmp_path, "time;speed;phase;empty\n1;1,5;run;\n2;nan;3;\n", "w.csv")
    long_file = written(tmp_path, "time,tag,value\n1,speed,2\n1,lot,7\n2,lot,L7\n", "l.csv")
    assert [(t.id, t.name, t.kind) for t in tags_of([wide_file, long_file])] == [
        (0, "speed", "numeric"),
        (1, "phase", "text"),
        (2, "empty", "numeric"),
        (3, "lot", "text"),
    ]


TICKS = st.integers(0, 10_000_000_000).map(lambda n: START + n)
NUMBERS = st.none() | st.floats(-1e6, 1e6).map(lambda v: round(v, 6))
WORDS = st.none() | st.sampled_from(["run", "stop", "B 12", 'a"b', "x;y", "7"])


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(TICKS, NUMBERS, WORDS, NUMBERS), min_size=1, max_size=40),
    size=st.integers(20, 400),
    tick=st.sampled_from([0, 100_000_000]),
)
def test_any_wide_file_reads_like_the_obvious_reader(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], size: int, tick: int) -> None:
    tags = catalogue("a", "b", texts=("p",))
    lines = ["time,a,p,b"]
    for t, a, p, b in rows:
        quoted = "" if p is None else '"' + p.replace('"', '""') + '"'
        lines.append(",".join([str(t), "" if a is None else repr(a), quoted, "" if b is None else repr(b)]))
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_text("\n".join(lines))
    expected = list(wide(lines, ",", {"p"}, 1))
    found = values(list(read_csv([path], tags, tick_ns=tick, chunk_bytes=size)), tags)
    if tick == 0:
        assert found == expected
    else:
        assert [v[1:] for v in found] == [v[1:] for v in expected]
        assert all(0 <= f.received_ns - e.received_ns < tick for f, e in zip(found, expected, strict=True))


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(0, 12))
def test_chunks_are_the_lines_of_the_file(tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int, after: int) -> None:
    data = b"x" + data  # a first byte that is neither gzip nor a byte order mark
    path = tmp_path_factory.mktemp("chunks") / "a"
    path.write_bytes(data)
    lines = (data if data.endswith(b"\n") else data + b"\n").split(b"\n")[:-1]
    found: list[bytes] = []
    for chunk in chunks(path, size, after):
        assert chunk.line == after + len(found) + 1
        part = chunk.data.split(b"\n")[:-1]
        assert len(part) == chunk.lines
        found += part
    assert found == lines[after:]


def plug(tags: Catalogue, tmp_path: Path, clock: Any = lambda: START) -> Plug:
    return Plug("history", list(tags), {}, clock, tmp_path)


async def test_the_live_source_plays_once_and_goes_on_where_it_was(tmp_path: Path) -> None:
    rows = "".join(f"{1000 + i},{i},p{i}\n" for i in range(30_000))
    files = (written(tmp_path, "time,a,p\n" + rows, "1.csv"), written(tmp_path, "time,a\n40000,-1\n", "2.csv"))
    tags = catalogue("a", texts=("p",))
    config = CsvConfig(kind="csv", name="history", files=files)
    source = config.source(plug(tags, tmp_path))
    await source.open(None)
    first = await source.read()
    await source.close()
    await source.open(first.resume)
    seen = list(first.items)
    received = first
    while received.items[-1].time_ns[-1] != 40_000 * SECOND:  # type: ignore[union-attr]
        received = await source.read()
        seen += received.items
    with pytest.raises(EndOfInput):
        await source.read()
    await source.close()
    assert [v.value for v in values(seen, tags) if v.tag == "a"] == [*map(float, range(30_000)), -1.0]
    assert sum(len(i) for i in seen if isinstance(i, Texts)) == 30_000
    await source.open(received.resume)
    with pytest.raises(EndOfInput):
        await source.read()
    await source.close()


async def test_a_place_in_another_file_is_not_taken_up(tmp_path: Path) -> None:
    tags = catalogue("a")
    config = CsvConfig(kind="csv", name="history", files=(written(tmp_path, "time,a\n1,1\n2,2\n"),))
    source = config.source(plug(tags, tmp_path))
    await source.open(b'{"file": 0, "path": "elsewhere.csv", "line": 2}')
    assert sum(len(i) for i in (await source.read()).items if isinstance(i, Samples)) == 2


async def test_recorded_speed_is_kept(tmp_path: Path) -> None:
    now = START
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        waits.append(seconds)
        now += round(seconds * SECOND)

    config = CsvConfig(kind="csv", name="history", files=(written(tmp_path, "time,a\n10,1\n14,2\n16,3\n"),), speed=2.0)
    source = CsvSource(config, plug(catalogue("a"), tmp_path, lambda: now), sleep=sleep)
    await source.open(None)
    for _ in range(3):
        assert len((await source.read()).items) == 1
    assert waits == [2.0, 1.0]


async def test_a_missing_file_is_not_connected(tmp_path: Path) -> None:
    config = CsvConfig(kind="csv", name="history", files=(tmp_path / "none.csv",))
    with pytest.raises(NotConnected, match=r"none\.csv: no such file"):
        await config.source(plug(catalogue("a"), tmp_path)).open(None)


@pytest.mark.parametrize("text", ["time,a\rb\n1,2\n", "time,a\n1,2\r3\n", "time,a\n1," + "9" * 200_000 + "x\n"])
def test_lines_that_cannot_be_cut_into_cells_are_errors_of_the_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(CsvError):
        list(read_csv([written(tmp_path, text)], catalogue("a")))


def test_a_carriage_return_alone_is_refused_by_line_and_not_taken_for_a_line_end(tmp_path: Path) -> None:
    tags = catalogue("a", texts=("p",))
    long = "time;tag;value\r\n2026-01-01T00:00:00Z;a;1,5\r\n2026-01-01T00:00:01Z;a;1,5\r2026-01-01T00:00:02Z;a;2,5\r\n"
    for text in (long, "time,a\n1,2\n2,3\r3,4\n"):
        with pytest.raises(CsvError, match=r"a\.csv:3: .*expected lines that end with a line feed"):
            list(read_csv([written(tmp_path, text)], tags))
    assert len(values(list(read_csv([written(tmp_path, "time,a\r\n1,2\r\n2,3\r")], tags)), tags)) == 2
