"""One log, three uses: what holds for the edge's journal and outbox and for the gateway's inbox alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.core import Append, Heartbeat, Log, Ranges, Row, Samples, chain_crc, decode, encode

FRAMES = (*(encode(Samples.of([i, i + 1], [0, 1], [0.5 * i, float("nan")], 0, i)) for i in range(1, 13)), encode(Heartbeat(received_ns=99)))


@dataclass(frozen=True)
class Use:
    """How one room uses the log."""

    file: str
    streams: tuple[str, ...]
    stream: str
    position: str
    """The cursor or small value that is committed with the frames."""
    shares: bool = False
    """Whether its frames are those of another stream of the same file."""

    def commit(self, log: Log, frame: bytes, n: int) -> range:
        appends = [Append(self.stream, frame[3], frame)]
        if self.shares:
            appends = [Append("journal", frame[3], frame), Append(self.stream, frame[3], frame, same_as=("journal", 0))]
        if self.position.startswith("range/"):
            return log.commit(appends, values={self.position: repr(Ranges([(1, n)]).ranges).encode()})[self.stream]
        return log.commit(appends, cursors={self.position: n})[self.stream]

    def position_of(self, log: Log) -> int:
        if self.position.startswith("range/"):
            return int((log.value(self.position) or b"0))").decode().rstrip("),").rpartition(" ")[2])
        return log.cursor(self.position)


USES = {
    "journal": Use("edge.sqlite", ("journal", "outbox"), "journal", "pipeline"),
    "outbox": Use("edge.sqlite", ("journal", "outbox"), "outbox", "uplink/plant"),
    "outbox of raw samples": Use("edge.sqlite", ("journal", "outbox"), "outbox", "uplink/plant", shares=True),
    "inbox": Use("inbox.sqlite", ("inbox",), "inbox", "range/press-edge-1/1"),
}


@pytest.fixture(params=USES, ids=str)
def use(request: pytest.FixtureRequest) -> Use:
    return USES[request.param]


@pytest.fixture
def log(use: Use, tmp_path: Path) -> Iterator[Log]:
    log = Log(tmp_path / use.file, use.streams)
    yield log
    log.close()


def reopened(log: Log) -> Log:
    log.close()
    return Log(log.path, log.streams)


def all_rows(use: Use, log: Log) -> list[Row]:
    rows: list[Row] = []
    while more := log.read(use.stream, rows[-1].seq if rows else 0, max_rows=5):
        rows += more
    return rows


def test_frames_come_back_in_order_after_a_restart(use: Use, log: Log) -> None:
    for n, frame in enumerate(FRAMES, 1):
        assert use.commit(log, frame, n) == range(n, n + 1)
    log = reopened(log)
    rows = all_rows(use, log)
    assert [r.data for r in rows] == list(FRAMES)
    assert [encode(decode(r.data)) for r in rows] == list(FRAMES)
    assert [r.kind for r in rows] == [f[3] for f in FRAMES]
    log.close()


def test_position_and_frames_are_of_one_commit(use: Use, log: Log) -> None:
    for n, frame in enumerate(FRAMES, 1):
        use.commit(log, frame, n)
        assert use.position_of(log) == log.head(use.stream).seq == n
    log = reopened(log)
    assert use.position_of(log) == log.head(use.stream).seq == len(FRAMES)
    log.close()


def test_the_chain_proves_what_came_before(use: Use, log: Log) -> None:
    chain = 0
    for n, frame in enumerate(FRAMES, 1):
        use.commit(log, frame, n)
        chain = chain_crc(chain, frame)
        assert log.head(use.stream).chain == all_rows(use, log)[-1].chain == chain


def test_what_is_done_with_is_forgotten_and_its_numbers_stay_used(use: Use, log: Log) -> None:
    for n, frame in enumerate(FRAMES, 1):
        use.commit(log, frame, n)
    assert log.forget(use.stream, 5) == 5
    assert (log.first(use.stream), [r.seq for r in all_rows(use, log)]) == (6, list(range(6, len(FRAMES) + 1)))
    assert log.forget(use.stream, 10**9) == len(FRAMES) - 5
    log = reopened(log)
    assert log.first(use.stream) == len(FRAMES) + 1
    assert use.commit(log, FRAMES[0], 99) == range(len(FRAMES) + 1, len(FRAMES) + 2)
    assert log.verify(use.stream) == []
    log.close()


def test_a_clean_log_verifies_in_every_stream(use: Use, log: Log) -> None:
    for n, frame in enumerate(FRAMES, 1):
        use.commit(log, frame, n)
    assert [fault for stream in use.streams for fault in log.verify(stream)] == []
