"""One SQLite file in which the gateway's office keeps what people did, beside inbox and journal."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any


class Book:
    """One such file: a write is durable when it returns, its owner alone may read it, and any thread may use it."""

    def __init__(self, path: Path, schema: str) -> None:
        """Opens or makes the file; `schema` makes the tables that are not there."""
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        path.chmod(0o600)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(schema)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._db.close()

    def _ask(self, sql: str, *args: object) -> list[tuple[Any, ...]]:
        """Rows of a statement, one at a time between threads."""
        with self._lock:
            return self._db.execute(sql, args).fetchall()
