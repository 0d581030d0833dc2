"""The log: together or not at all, numbered once, stored once, forgotten only when nobody needs it."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Append, Head, Log, LogError
from edge_agent.core import log as log_module
from edge_agent.core.log import SHED_NEVER, SHED_SAMPLES, SHED_SUMMARY, Held

STREAMS = ("journal", "outbox")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / "deep" / "log.sqlite", STREAMS, synchronous="OFF")
    yield log
    log.close()


def journal(data: bytes = b"j", **more: int) -> Append:
    return Append("journal", 1, data, **more)  # type: ignore[arg-type]


def shared(data: bytes, index: int, **more: int) -> Append:
    return Append("outbox", 1, data, same_as=("journal", index), **more)  # type: ignore[arg-type]


def test_a_commit_returns_the_numbers_it_gave(log: Log) -> None:
    assert log.commit([journal(), Append("outbox", 2, b"o"), journal()]) == {"journal": range(1, 3), "outbox": range(1, 2)}
    assert log.commit([journal()]) == {"journal": range(3, 4)}
    assert log.commit(values={"k": b"v"}) == {}


def test_a_failing_commit_leaves_nothing_behind(log: Log) -> None:
    log.commit([journal(b"first")], values={"k": b"old"}, cursors={"gw1": 1})

    def appends() -> Iterator[Append]:
        yield journal(b"second")
        yield Append("outbox", 1, b"o")
        raise RuntimeError("the pipeline failed")

    with pytest.raises(RuntimeError, match="pipeline"):
        log.commit(appends(), values={"k": b"new"}, cursors={"gw1": 9})
    assert (log.head("journal").seq, log.head("outbox"), log.value("k"), log.cursor("gw1")) == (1, Head(0, 0, 0), b"old", 1)
    assert log.commit([journal(b"third")]) == {"journal": range(2, 3)}
    assert [r.data for r in log.read("journal", 0)] == [b"first", b"third"]
    assert log.verify("journal") == []


def test_an_unknown_stream_undoes_the_whole_commit(log: Log) -> None:
    with pytest.raises(KeyError):
        log.commit([journal(), Append("nowhere", 1, b"")])
    assert log.read("journal", 0) == []


def test_a_head_is_seen_only_when_it_is_durable(log: Log) -> None:
    seen: list[int] = []

    def appends() -> Iterator[Append]:
        for _ in range(3):
            yield journal()
            seen.append(log.head("journal").seq)
            seen.append(log.first("journal"))

    log.commit(appends())
    assert seen == [0, 1] * 3
    assert log.head("journal").seq == 3


def test_the_chain_runs_over_all_frames(log: Log) -> None:
    log.commit([journal(b"a"), journal(b"")])
    log.commit([journal(b"bc")])
    assert log.head("journal").chain == zlib.crc32(b"abc")
    assert [r.chain for r in log.read("journal", 0)] == [zlib.crc32(b"a"), zlib.crc32(b"a"), zlib.crc32(b"abc")]


def test_the_same_bytes_are_stored_once(log: Log) -> None:
    big = b"x" * 100_000
    log.commit([journal(b"other"), journal(big), Append("outbox", 5, b"alarm"), shared(big, 1)])
    assert [(r.seq, r.kind, r.data) for r in log.read("outbox", 0)] == [(1, 5, b"alarm"), (2, 1, big)]
    assert (log.head("journal").bytes, log.head("outbox").bytes) == (100_005, 5)
    assert log.path.stat().st_size + log.path.with_name("log.sqlite-wal").stat().st_size < 200_000 + 100_000
    assert log.verify("outbox") == []


@pytest.mark.parametrize(
    "appends",
    [
        [journal(b"a"), shared(b"b", 0)],
        [shared(b"a", 0), journal(b"a")],
        [journal(b"a"), shared(b"a", 1)],
        [journal(b"a"), Append("journal", 1, b"a", same_as=("journal", 0))],
        [journal(b"a"), shared(b"a", 0), Append("journal", 1, b"a", same_as=("outbox", 0))],
    ],
    ids=["other bytes", "later", "no such", "own stream", "reference to a reference"],
)
def test_a_reference_that_could_not_be_read_again_is_refused(log: Log, appends: list[Append]) -> None:
    with pytest.raises(LogError, match="expected the same bytes"):
        log.commit(appends)
    assert log.head("journal") == log.head("outbox") == Head(0, 0, 0)


def test_frames_held_are_counted_behind_any_number_also_where_some_are_missing(log: Log) -> None:
    log.commit([Append("journal", kind, b"a", lane) for kind, lane in ((1, 1), (2, 0), (1, 1), (2, 0), (3, 0), (1, 1))])
    assert [log.waiting("journal", after) for after in (0, 1, 5, 6, 9)] == [6, 5, 1, 0, 0]
    assert (log.waiting("journal", 0, (2,), (0,)), log.waiting("journal", 2, (2, 3), (0,)), log.waiting("journal", 5, (2,), (0,))) == (2, 2, 0)
    log.forget("journal", 5, [Held("siem", frozenset({2}), 0)])
    assert (log.head("journal").rows, log.first("journal")) == (3, 2)
    assert [log.waiting("journal", after) for after in (0, 2, 3, 4, 6)] == [3, 2, 2, 1, 0]
    with pytest.raises(LogError):
        log.commit([Append("journal", 1, b"a"), Append("journal", 1, b"b", same_as=("outbox", 0))])
    assert log.head("journal").rows == 3
    again = Log(log.path, log.streams)
    assert again.head("journal").rows == 3
    again.close()


def test_a_reference_pins_what_it_refers_to(log: Log) -> None:
    for i in range(5):
        data = b"%d" % i * 10
        log.commit([journal(data), *([shared(data, 0)] if i == 2 else [])])
    assert log.forget("journal", 5) == 2
    assert log.first("journal") == 3
    assert [r.data for r in log.read("outbox", 0)] == [b"2" * 10]
    assert log.forget("outbox", 1) == 1
    assert log.forget("journal", 5) == 3
    assert log.head("journal").bytes == log.head("outbox").bytes == 0


def test_what_a_reader_still_needs_is_not_forgotten_within_its_bound(log: Log) -> None:
    log.commit([Append("outbox", kind, b"x" * 10) for kind in (1, 2, 1, 2, 2, 1, 2)])
    assert log.floor("outbox", Held("siem", frozenset({2}), 2), 7) == (2, 0)
    assert log.floor("outbox", Held("siem", frozenset({2}), 2, 30), 7) == (2, 0)
    assert log.floor("outbox", Held("siem", frozenset({2}), 0, 20), 7) == (4, 2)
    assert log.floor("outbox", Held("siem", frozenset({2}), 0, 20), 4) == (0, 0)
    assert log.forget("outbox", 6, [Held("siem", frozenset({2}), 2)]) == 4
    assert [row.seq for row in log.read("outbox", 0)] == [4, 5, 7]
    assert log.head("outbox").bytes == 30
    assert log.verify("outbox") == []
    assert log.forget("outbox", 7, [Held("siem", frozenset({2}), 4), Held("other", frozenset({1}), 0)]) == 1
    assert log.forget("outbox", 7) == 2


def test_forget_asks_an_index(log: Log) -> None:
    for stream in STREAMS:
        (plan,) = log._db.execute("EXPLAIN QUERY PLAN " + log_module._PINNED.format(stream), ("journal",)).fetchall()
        assert "USING COVERING INDEX" in plan[3]


def test_numbers_are_never_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Log(path, STREAMS)
    log.commit([journal(b"a"), journal(b"b")])
    chain = log.head("journal").chain
    assert log.forget("journal", 99) == 2
    assert (log.first("journal"), log.head("journal")) == (3, Head(2, chain, 0))
    log.close()
    log = Log(path, STREAMS)
    assert log.head("journal") == Head(2, chain, 0)
    assert log.commit([journal(b"c")]) == {"journal": range(3, 4)}
    assert log.head("journal").chain == zlib.crc32(b"abc")
    assert log.verify("journal") == []
    log.close()


def test_reading_keeps_to_its_bounds_but_always_gets_on(log: Log) -> None:
    log.commit([journal(b"x" * 100, lane=i % 2) for i in range(10)])
    read = log.read
    assert [r.seq for r in read("journal", 0, max_bytes=1)] == [1]
    assert [r.seq for r in read("journal", 0, max_bytes=300)] == [1, 2, 3]
    assert [r.seq for r in read("journal", 4, max_rows=2)] == [5, 6]
    assert [r.seq for r in read("journal", 8, through=9)] == [9]
    assert [r.seq for r in read("journal", 0, lanes=[0])] == [1, 3, 5, 7, 9]
    assert [r.seq for r in read("journal", 3, lanes=[0, 1], through=5)] == [4, 5]
    assert read("journal", 10) == read("outbox", 0) == read("journal", 0, lanes=[]) == []


def test_small_values_and_cursors(log: Log) -> None:
    assert (log.value("a"), log.cursor("gw1"), log.values("")) == (None, 0, {})
    log.commit(values={"range/e1/1": b"1", "range/e1/2": b"2", "rangé": b"3"}, cursors={"gw1": 5, "gw2": 6})
    log.commit(values={"range/e1/1": None, "none": None, "range/e1/2": b""}, cursors={"gw1": 4})
    assert log.values("range/") == {"range/e1/2": b""}
    assert log.values("rangé") == {"rangé": b"3"}
    assert (log.cursor("gw1"), log.cursor("gw2")) == (4, 6)


def test_shedding_gives_up_the_oldest_of_a_level_and_says_which(log: Log) -> None:
    levels = [SHED_SAMPLES, SHED_NEVER, SHED_SAMPLES, SHED_SAMPLES, SHED_SUMMARY, SHED_SAMPLES]
    log.commit([Append("outbox", 1, b"x" * 10, shed=level) for level in levels])
    assert log.shed("outbox", SHED_SAMPLES, 0) == []
    assert log.shed("outbox", SHED_SAMPLES, 25) == [(1, 1), (3, 4)]
    assert log.head("outbox").bytes == 30
    assert log.shed("outbox", SHED_SAMPLES, 99) == [(6, 6)]
    assert log.shed("outbox", SHED_SUMMARY, 1) == [(5, 5)]
    assert log.shed("outbox", SHED_SAMPLES, 99) == []
    assert [r.seq for r in log.read("outbox", 0)] == [2]
    assert (log.head("outbox").seq, log.head("outbox").bytes, log.verify("outbox")) == (6, 10, [])


def test_a_shed_reference_counts_what_it_pinned(log: Log) -> None:
    data = b"r" * 1000
    log.commit([journal(data), shared(data, 0, shed=SHED_SAMPLES), Append("outbox", 1, b"x" * 10, shed=SHED_SAMPLES)])
    assert log.forget("journal", 1) == 0
    assert log.shed("outbox", SHED_SAMPLES, 1000) == [(1, 1)]
    assert log.head("outbox").bytes == 10
    assert log.forget("journal", 1) == 1


def test_trimming_keeps_the_newest_within_a_budget(log: Log) -> None:
    log.commit([journal(b"x" * 10) for _ in range(10)])
    assert log.trim("journal", 100, 10) == 0
    assert log.trim("journal", 95, 10) == 1
    assert log.trim("journal", 35, 3) == 2
    assert log.first("journal") == 4
    assert log.trim("journal", 0, 99) == 7
    assert log.trim("journal", 0, 99) == 0


@given(st.lists(st.sampled_from(["j", "o", "both", "forget_j", "forget_o", "shed"]), max_size=25), st.data())
@settings(max_examples=40)
def test_bytes_held_are_what_is_held(tmp_path_factory: pytest.TempPathFactory, steps: list[str], data: st.DataObject) -> None:
    log = Log(tmp_path_factory.mktemp("log") / "log.sqlite", STREAMS, synchronous="OFF")
    given: dict[tuple[str, int], bytes] = {}
    try:
        for step in steps:
            frame = data.draw(st.binary(max_size=30))
            if step in ("j", "o", "both"):
                appends = {"j": [journal(frame)], "o": [Append("outbox", 1, frame, shed=SHED_SAMPLES)]}.get(step) or [
                    journal(frame),
                    shared(frame, 0),
                ]
                for stream, numbers in log.commit(appends).items():
                    given[stream, numbers[0]] = frame
            elif step == "shed":
                log.shed("outbox", SHED_SAMPLES, data.draw(st.integers(0, 60)))
            else:
                log.forget("journal" if step == "forget_j" else "outbox", data.draw(st.integers(0, 12)))
            for stream in STREAMS:
                rows = log.read(stream, 0)
                assert all(given[stream, r.seq] == r.data for r in rows)
                held = log._db.execute(f'SELECT coalesce(sum(length(data)), 0) FROM "{stream}"').fetchone()[0]
                assert log.head(stream).bytes == held
                assert log.verify(stream) == []
                assert log.first(stream) == (rows[0].seq if rows else log.head(stream).seq + 1)
    finally:
        log.close()


def test_readers_beside_a_writer_see_a_prefix(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log, other = Log(path, STREAMS), Log(path, STREAMS)
    done = threading.Event()

    def write() -> None:
        for i in range(200):
            data = b"%d" % i * 50
            log.commit([journal(data), shared(data, 0)], cursors={"n": i + 1})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    last = 0
    while not done.is_set() or last < 200:
        cursor = other.cursor("n")
        head = log.head("journal")
        for reader in (log, other):
            rows = reader.read("outbox", last, through=cursor)
            assert [r.seq for r in rows] == list(range(last + 1, last + 1 + len(rows)))
            assert all(r.data == b"%d" % (r.seq - 1) * 50 for r in rows)
        assert other._query("SELECT seq FROM head WHERE stream='journal'")[0][0] >= head.seq, "a head is never ahead of the file"
        assert other.verify("outbox") == []
        last = max(last, cursor)
    writer.join()
    log.close()
    other.close()


def test_a_closed_log_is_closed(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.sqlite", STREAMS)
    log.close()
    with pytest.raises(Exception, match="closed"):
        log.commit([journal()])
    with pytest.raises(Exception, match="closed"):
        log.read("journal", 0)
    assert not log.path.with_name("log.sqlite-wal").exists()
