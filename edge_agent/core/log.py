"""The one log: numbered frames in SQLite, committed together or not at all.

Intake journal, outbox and inbox are three uses of it. One file holds several streams; a commit appends to any of them, moves cursors and
writes small values in one transaction (WAL, synchronous=FULL: durable when `commit` returns). Within a stream numbers are contiguous from 1
and are never given twice, also when everything has been forgotten. `chain` is the running CRC over all frames of the stream.
"""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edge_agent.core.delivery import chain_crc
from edge_agent.core.errors import LogError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS head (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL, chain INTEGER NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS cursor (name TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS value (key TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
"""
_STREAM: Final = """
CREATE TABLE IF NOT EXISTS "{0}" (seq INTEGER PRIMARY KEY, kind INTEGER NOT NULL, lane INTEGER NOT NULL, shed INTEGER NOT NULL,
  size INTEGER NOT NULL, crc INTEGER NOT NULL, chain INTEGER NOT NULL, ref_stream TEXT, ref_seq INTEGER, data BLOB);
CREATE INDEX IF NOT EXISTS "{0}_pins" ON "{0}" (ref_stream, ref_seq) WHERE ref_stream IS NOT NULL;
CREATE INDEX IF NOT EXISTS "{0}_lane" ON "{0}" (lane, seq);
"""

_PINNED: Final = 'SELECT min(ref_seq) FROM "{0}" WHERE ref_stream=?'

SHED_NEVER: Final = 0
SHED_SUMMARY: Final = 1
SHED_SAMPLES: Final = 2


@dataclass(frozen=True, slots=True)
class Append:
    """One frame to append. With `same_as` the bytes are those of a frame of another stream, appended earlier in this commit, and are
    stored once: (stream, index among this commit's appends to that stream)."""

    stream: str
    kind: int
    data: bytes
    lane: int = 1
    shed: int = SHED_NEVER
    same_as: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One frame as it is kept."""

    seq: int
    kind: int
    lane: int
    chain: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a stream: last number, running CRC, bytes held (references count nothing), frames held."""

    seq: int
    chain: int
    bytes: int
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Held:
    """What one reader of a stream still needs: frames of these kinds with greater numbers than `after`, the newest `max_bytes` of them."""

    reader: str
    kinds: frozenset[int]
    after: int
    max_bytes: int | None = None
    """None: all of them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One frame that is not as it was written."""

    stream: str
    seq: int
    what: str

    def __str__(self) -> str:
        return f"{self.stream} {self.seq}: {self.what}"


class Log:
    """A log file; safe for one committing thread and any number of reading ones."""

    def __init__(self, path: Path, streams: Sequence[str], *, synchronous: str = "FULL") -> None:
        self.path = path
        self.streams = tuple(streams)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={synchronous}")
            self._db.executescript(_SCHEMA)
            for stream in self.streams:
                self._db.executescript(_STREAM.format(stream))
                self._db.execute("INSERT OR IGNORE INTO head VALUES (?, 0, 0, 0)", (stream,))
            heads = self._db.execute("SELECT stream, seq, chain, bytes FROM head").fetchall()
            self._heads = {s: Head(q, c, b, self._counted(s, q)) for s, q, c, b in heads}
            self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._reader.execute("PRAGMA query_only=1")
        except sqlite3.DatabaseError:
            self._db.close()
            raise

    @classmethod
    def open_or_quarantine(cls, path: Path, streams: Sequence[str], *, now_ns: int, synchronous: str = "FULL") -> tuple[Log, Path | None]:
        """The log at `path`; a file that SQLite cannot read is moved aside and a new one begun.

        Returns the log and, when that happened, where the damaged file now is: the caller declares the loss and raises an alarm.
        """
        try:
            log = cls(path, streams, synchronous=synchronous)
            try:
                log._probe()
            except sqlite3.DatabaseError:
                # Before the file moves, so that no connection of ours still holds it under its old name.
                log.close()
                raise
            return log, None
        except sqlite3.OperationalError:
            raise  # disk full, locked, read-only: the file itself is not at fault
        except sqlite3.DatabaseError:
            aside = cls.set_aside(path, now_ns)
            return cls(path, streams, synchronous=synchronous), aside

    @staticmethod
    def set_aside(path: Path, now_ns: int) -> Path:
        """Move a damaged, closed file with its companions out of the way; returns its new name."""
        aside = path.with_name(f"{path.name}.damaged-{now_ns}")
        for suffix in ("", "-wal", "-shm"):
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        return aside

    def _probe(self) -> None:
        # The tail is what a torn write or a bad block hits first; a full check is `verify`.
        for stream in self.streams:
            self._db.execute(f'SELECT max(seq), count(*) FROM (SELECT seq FROM "{stream}" ORDER BY seq DESC LIMIT 100)').fetchone()

    def _counted(self, stream: str, seq: int) -> int:
        # Counting reads a whole index: a page that rotted there makes no number unreadable, and what the file is worth `_probe` judges.
        if stream not in self.streams:
            return 0
        for sql in ('SELECT count(*) FROM "{0}"', 'SELECT max(0, ? - min(seq) + 1) FROM "{0}"'):
            try:
                found = self._db.execute(sql.format(stream), (seq,) * sql.count("?")).fetchone()[0]
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                continue
            return int(found or 0)
        return 0

    def close(self) -> None:
        """Release the file; further calls fail."""
        with self._write_lock, self._read_lock:
            self._reader.close()
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[tuple[sqlite3.Connection, dict[str, Head]]]:
        # Readers see the new heads only when they are durable.
        with self._write_lock:
            heads = dict(self._heads)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db, heads
                self._db.execute("COMMIT")
                self._heads = heads
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def commit(
        self,
        appends: Iterable[Append] = (),
        *,
        values: Mapping[str, bytes | None] | None = None,
        cursors: Mapping[str, int] | None = None,
        forget: Mapping[str, int] | None = None,
    ) -> dict[str, range]:
        """Append, set values (None deletes), move cursors and forget streams up to a number, all durable or none.

        Returns the numbers given, by stream. A stream that another refers to is not forgotten this way: see `forget`.

        Raises LogError when a `same_as` points to no frame of these bytes.
        """
        given: dict[str, list[int]] = {}
        frames: dict[tuple[str, int], bytes] = {}
        with self._transaction() as (db, heads):
            for a in appends:
                head = heads[a.stream]
                seq, chain = head.seq + 1, chain_crc(head.chain, a.data)
                ref_stream = ref_seq = None
                data: bytes | None = a.data
                held = head.bytes + len(a.data)
                if a.same_as is not None:
                    if a.same_as[0] == a.stream or frames.get(a.same_as) != a.data:
                        raise LogError(
                            f"{self.path.name}: {a.stream} {seq}: expected the same bytes appended earlier to another stream, found {a.same_as}"
                        )
                    ref_stream, index = a.same_as
                    ref_seq, data, held = given[ref_stream][index], None, head.bytes
                else:
                    frames[a.stream, len(given.get(a.stream, ()))] = a.data
                db.execute(
                    f'INSERT INTO "{a.stream}" VALUES (?,?,?,?,?,?,?,?,?,?)',
                    (seq, a.kind, a.lane, a.shed, len(a.data), zlib.crc32(a.data), chain, ref_stream, ref_seq, data),
                )
                heads[a.stream] = Head(seq, chain, held, head.rows + 1)
                given.setdefault(a.stream, []).append(seq)
            for stream in given:
                head = heads[stream]
                db.execute("UPDATE head SET seq=?, chain=?, bytes=? WHERE stream=?", (head.seq, head.chain, head.bytes, stream))
            self._put(db, values, cursors)
            for stream, through in (forget or {}).items():
                self._delete(db, heads, stream, "seq<=?", (through,))
        return {stream: range(seqs[0], seqs[-1] + 1) for stream, seqs in given.items()}

    @staticmethod
    def _put(db: sqlite3.Connection, values: Mapping[str, bytes | None] | None, cursors: Mapping[str, int] | None) -> None:
        for key, data in (values or {}).items():
            if data is None:
                db.execute("DELETE FROM value WHERE key=?", (key,))
            else:
                db.execute("INSERT INTO value VALUES (?,?) ON CONFLICT (key) DO UPDATE SET data=excluded.data", (key, data))
        for name, seq in (cursors or {}).items():
            db.execute("INSERT INTO cursor VALUES (?,?) ON CONFLICT (name) DO UPDATE SET seq=excluded.seq", (name, seq))

    def head(self, stream: str) -> Head:
        """The end of a stream, as it was last committed."""
        return self._heads[stream]

    @property
    def reusable_bytes(self) -> int:
        """Bytes of the file that hold nothing any more: it never gets smaller, but new frames go there first."""
        return int(self._query("PRAGMA freelist_count")[0][0]) * int(self._query("PRAGMA page_size")[0][0])

    def first(self, stream: str) -> int:
        """The oldest number still held; one more than the head when none is."""
        found, head = self._query(f'SELECT (SELECT min(seq) FROM "{stream}"), (SELECT seq FROM head WHERE stream=?)', (stream,))[0]
        return int(head) + 1 if found is None else int(found)

    def waiting(self, stream: str, after: int, kinds: Iterable[int] = (), lanes: Iterable[int] = (0, 1)) -> int:
        """How many frames are held behind a number: all, or those of these kinds, which are found in these lanes alone."""
        head, wanted = self._heads[stream], ",".join(str(int(kind)) for kind in kinds)
        if not wanted:
            first = self.first(stream)
            if head.rows == head.seq - first + 1:  # nothing is missing in between: there is nothing to count
                return head.seq - max(after, first - 1) if head.seq > after else 0
        only = f" AND kind IN ({wanted})" if wanted else ""
        # Lane by lane the index answers, without a look at the frames themselves.
        return sum(int(self._query(f'SELECT count(*) FROM "{stream}" WHERE lane=? AND seq>?{only}', (lane, after))[0][0]) for lane in lanes)

    def chain(self, stream: str, seq: int) -> int | None:
        """The running CRC at a number; None when the frame is no longer held."""
        head = self._heads[stream]
        if seq == head.seq:
            return head.chain
        rows = self._query(f'SELECT chain FROM "{stream}" WHERE seq=?', (seq,))
        return int(rows[0][0]) if rows else None

    def value(self, key: str) -> bytes | None:
        """A small value, or None."""
        rows = self._query("SELECT data FROM value WHERE key=?", (key,))
        return bytes(rows[0][0]) if rows else None

    def values(self, prefix: str) -> dict[str, bytes]:
        """All small values whose key starts with `prefix`."""
        return {k: bytes(d) for k, d in self._query("SELECT key, data FROM value WHERE substr(key,1,?)=?", (len(prefix), prefix))}

    def cursor(self, name: str) -> int:
        """A reader's position: the last number it has done with; 0 at first."""
        rows = self._query("SELECT seq FROM cursor WHERE name=?", (name,))
        return int(rows[0][0]) if rows else 0

    def read(
        self,
        stream: str,
        after: int,
        *,
        through: int | None = None,
        max_bytes: int = 1 << 20,
        max_rows: int = 1000,
        lanes: Sequence[int] | None = None,
    ) -> list[Row]:
        """Frames after a number, oldest first, until a bound is met; at least one when there is any.

        A frame whose CRC does not match is not returned but raises LogError naming it: `verify` lists all of them.
        """
        lane_sql = "" if lanes is None else f" AND lane IN ({','.join(str(int(lane)) for lane in lanes)})"
        bound = self._heads[stream].seq if through is None else through
        rows: list[Row] = []
        taken = 0
        sql = (
            f'SELECT seq, kind, lane, size, crc, chain, ref_stream, ref_seq, data FROM "{stream}" '
            f"WHERE seq>? AND seq<=?{lane_sql} ORDER BY seq LIMIT ?"
        )
        with self._reading(stream) as reader, closing(reader.execute(sql, (after, bound, max_rows))) as found:
            for seq, kind, lane, size, crc, chain, ref_stream, ref_seq, data in found:
                if rows and taken + size > max_bytes:
                    break
                if ref_stream is not None:
                    held = reader.execute(f'SELECT data FROM "{ref_stream}" WHERE seq=?', (ref_seq,)).fetchone()
                    data = held[0] if held else b""
                if zlib.crc32(data) != crc:
                    raise LogError(f"{self.path.name}: {stream} {seq}: expected CRC {crc:08x}, found {zlib.crc32(data):08x}")
                rows.append(Row(seq, kind, lane, chain, bytes(data)))
                taken += size
        return rows

    def floor(self, stream: str, held: Held, through: int) -> tuple[int, int]:
        """Up to which number a reader has what it needs of the frames up to `through`, or gives it up for its bound; how many it gives up."""
        if held.max_bytes is None or not held.kinds:
            return held.after, 0
        kinds = ",".join(map(str, sorted(held.kinds)))
        rows = self._query(
            f'SELECT seq, size FROM "{stream}" WHERE seq>? AND seq<=? AND kind IN ({kinds}) ORDER BY seq DESC', (held.after, through)
        )
        left = held.max_bytes
        for place, (seq, size) in enumerate(rows):
            left -= size
            if left < 0:
                return int(seq), len(rows) - place
        return held.after, 0

    def forget(self, stream: str, through: int, held: Sequence[Held] = ()) -> int:
        """Delete frames up to a number that no other stream refers to any more, but for what is held; returns how many were deleted."""
        keep = "".join(f" AND NOT (seq>{int(h.after)} AND kind IN ({','.join(map(str, sorted(h.kinds)))}))" for h in held)
        with self._transaction() as (db, heads):
            limit = through
            for other in self.streams:
                # Without the index this reads every row of the other stream each time (test_forget_asks_an_index).
                pinned = db.execute(_PINNED.format(other), (stream,)).fetchone()[0]
                if pinned is not None:
                    limit = min(limit, pinned - 1)
            return self._delete(db, heads, stream, "seq<=?" + keep, (limit,))

    def trim(self, stream: str, max_bytes: int, through: int) -> int:
        """Forget the oldest frames, up to a number, until the stream holds at most `max_bytes`; returns how many were deleted."""
        excess = self._heads[stream].bytes - max_bytes
        if excess <= 0:
            return 0
        last = 0
        for seq, size in self._query(f'SELECT seq, size FROM "{stream}" WHERE seq<=? ORDER BY seq LIMIT 10000', (through,)):
            if excess <= 0:
                break
            last, excess = seq, excess - size
        return self.forget(stream, last) if last else 0

    def shed(
        self, stream: str, level: int, excess: int, note: Callable[[int, int, list[bytes]], tuple[str, bytes]] | None = None
    ) -> list[tuple[int, int]]:
        """Delete the oldest frames of one shed level until they sum to `excess` bytes; returns the ranges given up.

        Frames that refer to another stream hold no bytes of their own but count in full: what they pin there can be forgotten afterwards.
        `note` is given each range (first, last) and its own frames' bytes; the key and value it returns are kept in the same transaction.
        """
        gone: list[tuple[int, int]] = []
        with self._transaction() as (db, heads):
            chosen: list[int] = []
            for seq, size in db.execute(f'SELECT seq, size FROM "{stream}" WHERE shed=? ORDER BY seq', (level,)):
                if excess <= 0:
                    break
                chosen.append(seq)
                excess -= size
            for seq in chosen:
                if gone and gone[-1][1] == seq - 1:
                    gone[-1] = (gone[-1][0], seq)
                else:
                    gone.append((seq, seq))
            for a, b in gone:
                if note is not None:
                    held = db.execute(f'SELECT data FROM "{stream}" WHERE seq BETWEEN ? AND ? AND data IS NOT NULL ORDER BY seq', (a, b))
                    self._put(db, dict([note(a, b, [bytes(row[0]) for row in held])]), None)
                self._delete(db, heads, stream, "seq BETWEEN ? AND ?", (a, b))
        return gone

    @staticmethod
    def _delete(db: sqlite3.Connection, heads: dict[str, Head], stream: str, where: str, args: tuple[int, ...]) -> int:
        counted = f'SELECT count(*), coalesce(sum(size) FILTER (WHERE ref_stream IS NULL), 0) FROM "{stream}" WHERE {where}'
        count, size = db.execute(counted, args).fetchone()
        if count:
            db.execute(f'DELETE FROM "{stream}" WHERE {where}', args)
            head = heads[stream]
            heads[stream] = Head(head.seq, head.chain, head.bytes - size, head.rows - count)
            db.execute("UPDATE head SET bytes=? WHERE stream=?", (head.bytes - size, stream))
        return int(count)

    def verify(self, stream: str) -> list[Fault]:
        """Read everything: each frame against its CRC, the chain from frame to frame, the head against the last frame.

        Where SQLite cannot read on, that is the last fault.
        """
        faults: list[Fault] = []
        previous = (0, 0)  # the chain of the first frame ever goes on from nothing
        while True:
            try:
                rows = self._query(
                    f'SELECT seq, crc, chain, ref_stream, ref_seq, data FROM "{stream}" WHERE seq>? ORDER BY seq LIMIT 500', (previous[0],)
                )
            except LogError as error:
                return [*faults, Fault(stream, previous[0] + 1, str(error))]
            for seq, crc, chain, ref_stream, ref_seq, data in rows:
                if ref_stream is not None:
                    held = self._query(f'SELECT data FROM "{ref_stream}" WHERE seq=?', (ref_seq,))
                    data = held[0][0] if held else b""
                if zlib.crc32(data) != crc:
                    faults.append(Fault(stream, seq, f"expected CRC {crc:08x}, found {zlib.crc32(data):08x}"))
                if previous[0] == seq - 1 and chain_crc(previous[1], data) != chain:
                    faults.append(Fault(stream, seq, f"expected chain {chain_crc(previous[1], data):08x}, found {chain:08x}"))
                previous = (seq, chain)
            if not rows:
                break
        seq, chain = self._query("SELECT seq, chain FROM head WHERE stream=?", (stream,))[0]
        if previous[0] > seq:
            faults.append(Fault(stream, previous[0], f"expected the head at or behind it, found head {seq}"))
        elif previous[0] == seq and previous[1] != chain:
            faults.append(Fault(stream, seq, f"expected chain {previous[1]:08x} in the head, found {chain:08x}"))
        return faults

    @contextmanager
    def _reading(self, what: str) -> Iterator[sqlite3.Connection]:
        with self._read_lock:
            try:
                yield self._reader
            except sqlite3.OperationalError:
                raise  # locked, no space, input/output: another attempt may succeed
            except sqlite3.DatabaseError as error:
                raise LogError(f"{self.path.name}: {what}: expected a readable database, found {error}") from error

    def _query(self, sql: str, args: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._reading("log") as reader:
            return reader.execute(sql, args).fetchall()
