"""The journal: alarm events, context, gaps, audit entries and definitions, each exactly once by (edge, epoch, seq), and what follows from them.

It is applied from the inbox: one transaction holds the new rows, the ledger, the folded alarm states, settled operator actions and the inbox number
up to which all this counts. A crash before it leaves the number where it was, and the same rows are applied again. Rows are chained:
hash = SHA-256(hash of the row before || edge, epoch, seq, kind and frame), so that a changed, inserted or missing row shows.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from edge_agent.core import OperatorAction
from gateway import ledger
from gateway.manifest import GENESIS, Head

FILE: Final = "journal.sqlite"
ALARM, CONTEXT, GAP, AUDIT, DEFINITIONS, UNREADABLE = 8, 9, 10, 11, 12, 255

_SCHEMA: Final = (
    """
CREATE TABLE IF NOT EXISTS record (n INTEGER PRIMARY KEY, edge TEXT NOT NULL, epoch INTEGER NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL,
  time_ns INTEGER NOT NULL, received_ns INTEGER NOT NULL, occurrence TEXT, frame BLOB NOT NULL, hash BLOB NOT NULL, UNIQUE (edge, epoch, seq));
CREATE INDEX IF NOT EXISTS record_kind ON record (kind, time_ns);
CREATE INDEX IF NOT EXISTS record_received ON record (kind, received_ns);
CREATE INDEX IF NOT EXISTS record_occurrence ON record (occurrence) WHERE occurrence IS NOT NULL;
CREATE TABLE IF NOT EXISTS occurrence (id TEXT PRIMARY KEY, edge TEXT NOT NULL, raised_ns INTEGER NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS occurrence_raised ON occurrence (raised_ns);
CREATE INDEX IF NOT EXISTS occurrence_standing ON occurrence (state) WHERE state <> 'NORM';
CREATE TABLE IF NOT EXISTS found (id TEXT PRIMARY KEY, unit TEXT NOT NULL, priority INTEGER NOT NULL, words TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tag (edge TEXT NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (edge, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS action (id TEXT PRIMARY KEY, edge TEXT NOT NULL, occurrence TEXT NOT NULL, time_ns INTEGER NOT NULL,
  body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcome (id TEXT PRIMARY KEY, occurrence TEXT NOT NULL, event TEXT NOT NULL, reason TEXT NOT NULL,
  time_ns INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS latest (edge TEXT PRIMARY KEY, state BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS anchor (only INTEGER PRIMARY KEY CHECK (only = 1), n INTEGER NOT NULL, hash TEXT NOT NULL);
"""
    + ledger.SCHEMA
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an event said of an operator action that it cites."""

    occurrence: str
    event: str
    reason: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Found:
    """By what an occurrence is found in the history."""

    unit: str
    priority: int
    words: str
    """Everything that is searched, in lower case."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row to keep."""

    edge: str
    epoch: int
    seq: int
    kind: int
    time_ns: int
    received_ns: int
    frame: bytes
    occurrence: str | None = None


def chained(previous: bytes, entry: Entry) -> bytes:
    """The hash of a row behind another."""
    head = f"{entry.edge}\0{entry.epoch}\0{entry.seq}\0{entry.kind}\0".encode()
    return hashlib.sha256(previous + head + entry.frame).digest()


class Journal:
    """journal.sqlite; one thread writes, any may read."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        if read_only:
            self._reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False, isolation_level=None, timeout=30)
            self._db = self._reader
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._reader = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
            self._reader.execute("PRAGMA query_only=1")
        last = self._ask("SELECT hash FROM record ORDER BY n DESC LIMIT 1")
        self._hash = bytes(last[0][0]) if last else GENESIS

    def hold(self) -> None:
        """From here on see the journal as it is now."""
        with self._lock:
            self._reader.execute("BEGIN")
            self._reader.execute("SELECT count(*) FROM number").fetchone()

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._reader.close()
            self._db.close()

    def _ask(self, sql: str, args: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._reader.execute(sql, args).fetchall()

    @property
    def applied(self) -> int:
        """Inbox number up to which everything is in here."""
        found = self._ask("SELECT value FROM number WHERE name='applied'")
        return int(found[0][0]) if found else 0

    def apply(
        self,
        entries: Sequence[Entry] = (),
        *,
        applied: int | None = None,
        totals: Iterable[tuple[object, ...]] = (),
        occurrences: Mapping[str, tuple[str, int, str]] | None = None,
        tags: Iterable[tuple[str, int, str]] = (),
        settled: Mapping[str, Outcome] | None = None,
        actions: Iterable[tuple[OperatorAction, str, str]] = (),
        anchor: Head | None = None,
        latest: Mapping[str, bytes] | None = None,
        found_by: Mapping[str, Found] | None = None,
    ) -> int:
        """Everything in one durable transaction; returns how many entries were new.

        occurrences  id to (edge, raised_ns, state)
        tags         (edge, number, name)
        settled      ids of operator actions that an event has cited, and what it said
        actions      new operator actions with their edge and occurrence
        latest       edge to the state of its newest values
        found_by     id of an occurrence to what it is found by
        """
        new, last = 0, self._hash
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for e in entries:
                digest = chained(last, e)
                done = self._db.execute(
                    "INSERT OR IGNORE INTO record (edge, epoch, seq, kind, time_ns, received_ns, occurrence, frame, hash) VALUES (?,?,?,?,?,?,?,?,?)",
                    (e.edge, e.epoch, e.seq, e.kind, e.time_ns, e.received_ns, e.occurrence, e.frame, digest),
                )
                if done.rowcount:
                    last, new = digest, new + 1
            self._db.executemany(ledger.UPSERT, totals)
            rows = [(id_, edge, raised, state) for id_, (edge, raised, state) in (occurrences or {}).items()]
            self._db.executemany("INSERT OR REPLACE INTO occurrence VALUES (?,?,?,?)", rows)
            words = [(id_, by.unit, by.priority, by.words) for id_, by in (found_by or {}).items()]
            self._db.executemany("INSERT OR REPLACE INTO found VALUES (?,?,?,?)", words)
            self._db.executemany("INSERT OR REPLACE INTO tag VALUES (?,?,?)", tags)
            for id_, found in (settled or {}).items():
                told = (found.occurrence, found.event, found.reason, found.time_ns, id_)
                self._db.execute("INSERT OR IGNORE INTO outcome SELECT id, ?, ?, ?, ?, body FROM action WHERE id=?", told)
                self._db.execute("DELETE FROM action WHERE id=?", (id_,))
            asked = [(a.id, edge, occurrence, a.time_ns, msgspec.json.encode(a)) for a, edge, occurrence in actions]
            self._db.executemany("INSERT INTO action VALUES (?,?,?,?,?)", asked)
            if anchor is not None:
                self._db.execute("INSERT OR REPLACE INTO anchor VALUES (1,?,?)", (anchor.n, anchor.hash))
            self._db.executemany("INSERT OR REPLACE INTO latest VALUES (?,?)", (latest or {}).items())
            if applied is not None:
                self._db.execute("INSERT OR REPLACE INTO number VALUES ('applied', ?)", (applied,))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._hash = last
        return new

    def entries(self, *kinds: int, from_ns: int | None = None, to_ns: int | None = None) -> Iterator[Entry]:
        """Rows of some kinds in the order they were applied, optionally by time [from_ns, to_ns)."""
        after = 0
        where = f"kind IN ({','.join(str(int(k)) for k in kinds)})"
        bounds: list[object] = []
        for sql, bound in ((" AND time_ns>=?", from_ns), (" AND time_ns<?", to_ns)):
            if bound is not None:
                where += sql
                bounds.append(bound)
        while True:
            rows = self._ask(
                f"SELECT n, edge, epoch, seq, kind, time_ns, received_ns, frame, occurrence FROM record WHERE n>? AND {where} ORDER BY n LIMIT 2000",
                (after, *bounds),
            )
            for row in rows:
                yield Entry(row[1], row[2], row[3], row[4], row[5], row[6], bytes(row[7]), row[8])
            if not rows:
                return
            after = rows[-1][0]

    def alarms_since(self, from_ns: int) -> Iterator[tuple[str, bytes]]:
        """(edge, frame) of the alarm events that came from `from_ns` on, and before them every earlier event of what then still stood.

        What an edge decided in a span may come long after it, when the network is back: only the reader can tell where a span ends.

        In the order of each edge. What was over before `from_ns` is not read, so that the price is that of the span and not of the journal.
        """
        yield from self._ask(
            "WITH alive AS (SELECT occurrence AS id FROM record WHERE kind=:kind AND received_ns>=:at"
            " UNION SELECT id FROM occurrence WHERE state <> 'NORM')"
            " SELECT r.edge, r.frame FROM alive CROSS JOIN record AS r INDEXED BY record_occurrence ON r.occurrence = alive.id"
            " WHERE r.occurrence IS NOT NULL AND r.kind=:kind AND r.received_ns<:at"
            " ORDER BY r.received_ns, r.n",
            {"kind": ALARM, "at": from_ns},
        )
        at, after = from_ns, 0
        while True:
            rows = self._ask(
                "SELECT received_ns, n, edge, frame FROM record WHERE kind=? AND received_ns>=? AND (received_ns, n) > (?, ?)"
                " ORDER BY received_ns, n LIMIT 5000",
                (ALARM, at, at, after),
            )
            yield from ((row[2], row[3]) for row in rows)
            if not rows:
                return
            at, after = rows[-1][:2]

    def behind(self, n: int, kind: int, limit: int = 1000) -> list[tuple[int, Entry]]:
        """Rows of one kind behind row `n`, with their numbers."""
        rows = self._ask(
            "SELECT n, edge, epoch, seq, kind, time_ns, received_ns, frame, occurrence FROM record WHERE n>? AND kind=? ORDER BY n LIMIT ?",
            (n, kind, limit),
        )
        return [(row[0], Entry(row[1], row[2], row[3], row[4], row[5], row[6], bytes(row[7]), row[8])) for row in rows]

    def of_occurrence(self, occurrence: str) -> list[Entry]:
        """The events of one occurrence in the order of their edge."""
        rows = self._ask(
            "SELECT edge, epoch, seq, kind, time_ns, received_ns, frame FROM record WHERE occurrence=? ORDER BY epoch, seq", (occurrence,)
        )
        return [Entry(r[0], r[1], r[2], r[3], r[4], r[5], bytes(r[6]), occurrence) for r in rows]

    def of_alarm(self, edge: str, alarm: str) -> Iterator[Entry]:
        """The events of every occurrence of an alarm (and of any other whose name begins with it and `~`)."""
        rows = self._ask(
            "SELECT edge, epoch, seq, kind, time_ns, received_ns, frame, occurrence FROM record WHERE occurrence>=? AND occurrence<?",
            (f"{edge}~{alarm}~", f"{edge}~{alarm}~\x7f"),
        )
        return (Entry(r[0], r[1], r[2], r[3], r[4], r[5], bytes(r[6]), r[7]) for r in rows)

    def occurrences(self, *, standing: bool, limit: int, from_ns: int | None = None, to_ns: int | None = None) -> list[str]:
        """Ids of occurrences raised in [from_ns, to_ns), newest first."""
        bounds = (-(2**63) if from_ns is None else from_ns, 2**63 - 1 if to_ns is None else to_ns)
        where = "raised_ns>=? AND raised_ns<?" + (" AND state <> 'NORM'" if standing else "")
        return [str(r[0]) for r in self._ask(f"SELECT id FROM occurrence WHERE {where} ORDER BY raised_ns DESC LIMIT ?", (*bounds, limit))]

    def search(
        self, words: Sequence[str], *, unit: str, priority: int, state: str, from_ns: int | None, to_ns: int | None
    ) -> Iterator[tuple[str, bool]]:
        """(id, whether it is known to fit) of occurrences that fit or may fit, newest first; empty values take all, each word has to be found.

        Occurrences that an older version wrote are not known: the caller looks at them.
        """
        where, args = ["raised_ns>=?", "raised_ns<?"], [-(2**63) if from_ns is None else from_ns, 2**63 - 1 if to_ns is None else to_ns]
        values: list[object] = list(args)
        if state:
            where.append("state=?")
            values.append(state)
        for sql, value in (("unit=?", unit), ("priority=?", priority), *(("instr(words, ?)", word) for word in words)):
            if value:
                where.append(f"(words IS NULL OR {sql})")
                values.append(value)
        sql = f"SELECT o.id, words IS NOT NULL FROM occurrence AS o LEFT JOIN found USING (id) WHERE {' AND '.join(where)} ORDER BY raised_ns DESC"
        return ((str(id_), bool(known)) for id_, known in self._ask(sql, values))

    def tags(self) -> list[tuple[str, int, str]]:
        """(edge, number, name) of every tag in order of number."""
        return self._ask("SELECT edge, number, name FROM tag ORDER BY edge, number")

    def totals(self) -> list[tuple[Any, ...]]:
        """The rows of the ledger."""
        return self._ask("SELECT * FROM ledger")

    def actions(self) -> list[tuple[OperatorAction, str, str]]:
        """Outstanding operator actions, oldest first, with edge and occurrence."""
        rows = self._ask("SELECT body, edge, occurrence FROM action ORDER BY time_ns, id")
        return [(msgspec.json.decode(r[0], type=OperatorAction), r[1], r[2]) for r in rows]

    def outcome(self, action_id: str) -> tuple[OperatorAction, Outcome] | None:
        """A settled operator action and what became of it."""
        rows = self._ask("SELECT body, occurrence, event, reason, time_ns FROM outcome WHERE id=?", (action_id,))
        return (msgspec.json.decode(rows[0][0], type=OperatorAction), Outcome(*rows[0][1:])) if rows else None

    def anchor(self) -> Head | None:
        """The head of the manifest as it was last written down."""
        found = self._ask("SELECT n, hash FROM anchor")
        return Head(found[0][0], found[0][1]) if found else None

    def latest(self) -> dict[str, bytes]:
        """The newest values of each edge as they were when the inbox was last trimmed."""
        return {str(edge): bytes(state) for edge, state in self._ask("SELECT edge, state FROM latest")}

    def highest(self, edge: str, epoch: int) -> int:
        """The highest number of one edge and epoch; 0 when there is none."""
        return int(self._ask("SELECT coalesce(max(seq), 0) FROM record WHERE edge=? AND epoch=?", (edge, epoch))[0][0])

    def count(self) -> int:
        """Rows held."""
        return int(self._ask("SELECT count(*) FROM record")[0][0])

    def faults(self) -> list[str]:
        """Every row that is not as it was written, or not where it was."""
        found = [f"{FILE}: {r[0]}" for r in self._ask("PRAGMA integrity_check") if r[0] != "ok"]
        previous, after, expected = GENESIS, 0, None
        while True:
            rows = self._ask("SELECT n, edge, epoch, seq, kind, frame, hash FROM record WHERE n>? ORDER BY n LIMIT 2000", (after,))
            for n, edge, epoch, seq, kind, frame, stored in rows:
                if expected is not None and n != expected:
                    found.append(f"{FILE} row {n}: expected row {expected} before it")
                if chained(previous, Entry(edge, epoch, seq, kind, 0, 0, bytes(frame))) != bytes(stored):
                    found.append(f"{FILE} row {n} ({edge} {epoch} {seq}): its hash does not follow from the row before")
                previous, expected = bytes(stored), n + 1
            if not rows:
                return found
            after = rows[-1][0]


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a SQLite file that may be in use."""
    with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=30)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)
