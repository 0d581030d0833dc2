"""Messages that could not be read, kept for a person to look at; bounded in bytes."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message and why it could not be read."""

    time_ns: int
    topic: str
    payload: bytes
    reason: str


class DeadLetters:
    """A file of JSON lines {"time_ns", "topic", "payload" (base64), "reason"}.

    Two files share the bytes: when the newer is full it replaces the older, whose letters are then gone and counted.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.path = folder / "dead-letters.jsonl"
        self.older = folder / "dead-letters.1.jsonl"
        self._half = max_bytes // 2

    def write(self, letters: Sequence[DeadLetter]) -> int:
        """Append durably; returns how many earlier letters were given up for them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        given_up = 0
        size = self.path.stat().st_size if self.path.exists() else 0
        file = self.path.open("ab")
        try:
            for letter in letters:
                line = self._line(letter)
                if size and size + len(line) > self._half:
                    file.close()
                    if self.older.exists():
                        with self.older.open("rb") as old:
                            given_up += sum(1 for _ in old)
                    self.path.replace(self.older)
                    file, size = self.path.open("ab"), 0
                size += file.write(line)
            file.flush()
            os.fsync(file.fileno())
        finally:
            file.close()
        return given_up

    def _line(self, letter: DeadLetter) -> bytes:
        payload, reason = letter.payload, letter.reason
        room = max(self._half - 1024 - 6 * len(letter.topic), 0) * 3 // 4
        if len(payload) > room:
            reason = f"{reason} (first {room} of {len(payload)} bytes kept)"
            payload = payload[:room]
        encoded = base64.b64encode(payload).decode("ascii")
        return msgspec.json.encode({"time_ns": letter.time_ns, "topic": letter.topic, "payload": encoded, "reason": reason[:500]}) + b"\n"
