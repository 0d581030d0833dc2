"""A bounded file of what was refused, one JSON line each, so that somebody can look at it."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path


class DeadLetters:
    """Appends refused data to a file until it has `max_bytes`; counts all of it. Any thread."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._size = path.stat().st_size if path.exists() else 0
        self.count = 0
        """Refused since the start."""
        self.unkept = 0
        """Of these, how many the file had no room for."""

    def add(self, now_ns: int, origin: str, reason: str, data: bytes) -> None:
        """Keep one refused item."""
        line = json.dumps({"time_ns": now_ns, "origin": origin, "reason": reason, "data": base64.b64encode(data).decode()}, ensure_ascii=False)
        text = line.encode() + b"\n"
        with self._lock:
            self.count += 1
            if self._size + len(text) > self._max_bytes:
                self.unkept += 1
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.write(text)
            self._size += len(text)
