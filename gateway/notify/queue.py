"""The durable queue: notify.sqlite in the gateway's data folder.

One transaction holds the place in the journal up to which events are planned, what the plan remembers, and the messages it made: a crash before it
plans the same events again, a crash behind it does not. A message leaves the queue when its receiver took it; a crash between the two sends it once
more under the same id.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.notify.plan import Group, Watched
from gateway.notify.receiver import Message

FILE: Final = "notify.sqlite"

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS number (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS watched (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gathered (receiver TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS message (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, receiver TEXT NOT NULL, made_ns INTEGER NOT NULL,
  state TEXT NOT NULL, attempts INTEGER NOT NULL, next_ns INTEGER NOT NULL, ended_ns INTEGER, error TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS message_queued ON message (receiver, next_ns) WHERE state = 'queued';
CREATE INDEX IF NOT EXISTS message_ended ON message (ended_ns) WHERE state <> 'queued';
"""


class Queued(msgspec.Struct, frozen=True):
    """A message that waits to be handed over."""

    message: Message
    attempts: int


class Waiting(msgspec.Struct, frozen=True):
    """What waits for one receiver."""

    n: int
    oldest_ns: int
    error: str


class Queue:
    """notify.sqlite; any thread."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=30)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    def _ask(self, sql: str, args: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(sql, args).fetchall()

    @property
    def cursor(self) -> int | None:
        """Row of the journal up to which everything is planned; None before the first time."""
        found = self._ask("SELECT value FROM number WHERE name='cursor'")
        return int(found[0][0]) if found else None

    def watched(self) -> dict[str, Watched]:
        """What the plan remembers of occurrences."""
        return {str(id_): msgspec.msgpack.decode(body, type=Watched) for id_, body in self._ask("SELECT id, body FROM watched ORDER BY id")}

    def groups(self) -> dict[str, Group]:
        """What the plan has gathered for each receiver."""
        rows = self._ask("SELECT receiver, body FROM gathered ORDER BY receiver")
        return {str(name): msgspec.msgpack.decode(body, type=Group) for name, body in rows}

    def planned(self, cursor: int, watched: Mapping[str, Watched | None], groups: Mapping[str, Group | None], messages: Iterable[Message]) -> None:
        """Write down one step of the plan; None removes a row. A message that is there already stays as it is."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("INSERT OR REPLACE INTO number VALUES ('cursor', ?)", (cursor,))
                for table, rows in (("watched", watched), ("gathered", groups)):
                    column = "id" if table == "watched" else "receiver"
                    for key, row in rows.items():
                        if row is None:
                            self._db.execute(f"DELETE FROM {table} WHERE {column}=?", (key,))
                        else:
                            self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?,?)", (key, msgspec.msgpack.encode(row)))
                for m in messages:
                    self._insert(m)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _insert(self, message: Message) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO message (id, receiver, made_ns, state, attempts, next_ns, error, body) VALUES (?,?,?,'queued',0,?,'',?)",
            (message.id, message.receiver, message.made_ns, message.made_ns, msgspec.msgpack.encode(message)),
        )

    def put(self, message: Message) -> None:
        """A message beside the plan; one that is there already stays as it is."""
        with self._lock:
            self._insert(message)

    def next(self, receiver: str, now_ns: int) -> Queued | None:
        """The oldest message of a receiver whose time has come."""
        rows = self._ask(
            "SELECT body, attempts FROM message WHERE receiver=? AND state='queued' AND next_ns<=? ORDER BY n LIMIT 1", (receiver, now_ns)
        )
        return Queued(msgspec.msgpack.decode(rows[0][0], type=Message), int(rows[0][1])) if rows else None

    def later(self, message: Message, next_ns: int, error: str) -> None:
        """Try a message again at some time; its `left` is kept."""
        sql = "UPDATE message SET attempts=attempts+1, next_ns=?, error=?, body=? WHERE id=?"
        self._ask(sql, (next_ns, error, msgspec.msgpack.encode(message), message.id))

    def end(self, id_: str, state: str, now_ns: int, error: str = "") -> None:
        """Close a message: sent, rejected, given_up or no_receiver."""
        self._ask("UPDATE message SET state=?, attempts=attempts+1, ended_ns=?, error=? WHERE id=?", (state, now_ns, error, id_))

    def waiting(self) -> dict[str, Waiting]:
        """What waits for each receiver that anything waits for."""
        sql = "SELECT receiver, count(*), min(made_ns), max(error) FROM message WHERE state='queued' GROUP BY receiver"
        return {str(r): Waiting(int(n), int(oldest), str(error)) for r, n, oldest, error in self._ask(sql)}

    def counts(self) -> dict[str, dict[str, int]]:
        """Messages kept by receiver and state."""
        found: dict[str, dict[str, int]] = {}
        for receiver, state, n in self._ask("SELECT receiver, state, count(*) FROM message GROUP BY receiver, state"):
            found.setdefault(receiver, {})[state] = n
        return found

    def forget(self, before_ns: int) -> int:
        """Remove messages that were closed before some time; how many."""
        with self._lock:
            return self._db.execute("DELETE FROM message WHERE state<>'queued' AND ended_ns<?", (before_ns,)).rowcount
