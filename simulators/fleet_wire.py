"""The messages of an edge as docs/wire-format.md describes them, written a second time: nothing here is taken from the edge's own code."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import zstandard

SECOND_NS = 1_000_000_000
SAMPLES, SUMMARIES, DEFINITIONS, DELIVERY, COMMITTED = 1, 4, 12, 64, 65

_zstd = zstandard.ZstdCompressor(level=1, write_checksum=False)
_unzstd = zstandard.ZstdDecompressor()


def frame(kind: int, body: bytes) -> bytes:
    """Header, CRC and body; compressed from 256 bytes on where that makes it smaller.

    >>> len(frame(20, b"abc")), frame(20, b"abc")[:4]
    (23, b'Ph\\x01\\x14')
    """
    packed = _zstd.compress(body) if len(body) >= 256 else body
    stored = packed if len(packed) < len(body) else body
    head = struct.pack("<2sBBB3xII", b"Ph", 1, kind, int(stored is not body), len(stored), len(body))
    return head + struct.pack("<I", zlib.crc32(stored, zlib.crc32(head))) + stored


def unframed(data: bytes) -> tuple[int, bytes]:
    """Kind and body of a frame that a gateway sent."""
    kind, flags = data[3], data[4]
    return kind, _unzstd.decompress(data[20:]) if flags & 1 else data[20:]


def _columns(head: dict[str, Any], *columns: bytes) -> bytes:
    text = msgspec.json.encode(head)
    text += b" " * (-(len(text) + 4) % 8)
    return struct.pack("<I", len(text)) + text + b"".join(columns)


def _steps(column: np.ndarray[Any, Any]) -> bytes:
    return np.diff(column, prepend=column.dtype.type(0)).tobytes()


@dataclass
class FleetEdge:
    """One edge: its tags, and the numbers and running CRC of what it has said."""

    site: str
    name: str
    tags: int
    seed: int
    epoch: int
    sent: int = 0
    chain: int = 0
    values: int = 0
    waiting: dict[int, tuple[int, float]] = field(default_factory=dict)
    """By number of the last record of a message, its values and when it was sent."""
    window: list[tuple[int, np.ndarray[Any, Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self._level = self._random.uniform(10.0, 100.0, self.tags)

    @property
    def topic(self) -> str:
        """Where its records go."""
        return f"pharmedge/{self.site}/{self.name}/records"

    def definitions(self, now_ns: int, expected_s: float) -> bytes:
        """What the numbers of the tags mean; the first record of an edge."""
        tags: list[dict[str, Any]] = [
            {"id": i, "name": f"machine{i // 20}/signal{i % 20}", "version": 1, "kind": "numeric", "unit": "bar", "range": None, "decimals": 2,
             "description": {}, "path": f"{self.site}/hall/{self.name}/machine{i // 20}", "class_": "gmp", "role": "value",
             "expected_s": expected_s, "record": "raw", "record_reason": "", "derived_from": [], "model": "", "adaptive": False}
            for i in range(self.tags)
        ]  # fmt: skip
        told = {"received_ns": now_ns, "edge": self.name, "site": self.site, "simulated": True, "config_hash": "fleet", "software": "fleet"}
        return frame(DEFINITIONS, msgspec.msgpack.encode({**told, "tags": tags, "alarms": []}))

    def samples(self, now_ns: int) -> bytes:
        """One value of every tag, at one instant: two decimals around a level of its own."""
        values = np.round(self._level + self._random.normal(0.0, 0.5, self.tags), 2)
        self.window.append((now_ns, values))
        self.values += self.tags
        return frame(SAMPLES, _columns(
            {"n": self.tags, "received_ns": now_ns}, _steps(np.full(self.tags, now_ns, "<i8")), values.astype("<f8").tobytes(),
            _steps(np.arange(self.tags, dtype="<i4")), bytes(4 * self.tags),
        ))  # fmt: skip

    def summaries(self, now_ns: int) -> bytes:
        """The window of every tag since the last ones."""
        times, rows = np.array([t for t, _ in self.window], "<i8"), np.stack([v for _, v in self.window])
        self.window.clear()
        n, k = len(times), self.tags

        def same(number: int, kind: str) -> bytes:
            return np.full(k, number, kind).tobytes()

        def kept(numbers: np.ndarray[Any, Any]) -> bytes:
            return numbers.astype("<f8").tobytes()

        ends = [_steps(np.full(k, t, "<i8")) for t in (times[0], times[0], times[-1])]
        zero, counts = bytes(4 * k), same(n, "<i4")
        return frame(SUMMARIES, _columns(
            {"n": k, "received_ns": now_ns}, _steps(np.arange(k, dtype="<i4")), same(1, "<i4"), ends[0],
            same(max(1, int(now_ns - times[0])), "<i8"), same(1, "<i4"), counts, zero, zero, zero, zero, zero, counts,
            kept(rows.sum(axis=0)), kept(((rows - rows.mean(axis=0)) ** 2).sum(axis=0)), kept(rows.min(axis=0)), kept(rows.max(axis=0)),
            kept(rows[0]), kept(rows[-1]), ends[1], ends[2], zero, bytes(k),
        ))  # fmt: skip

    def message(self, frames: Sequence[bytes]) -> bytes:
        """Records under their numbers, as one message."""
        first, chains = self.sent + 1, []
        for one in frames:
            self.chain = zlib.crc32(one, self.chain)
            chains.append(self.chain)
        self.sent += len(frames)
        told = {"site": self.site, "edge": self.name, "epoch": self.epoch, "oldest_seq": 1, "simulated": True, "n": len(frames)}
        head = msgspec.json.encode(told)
        columns = (np.arange(first, self.sent + 1, dtype="<i8"), np.array(chains, "<u4"), np.array([len(f) for f in frames], "<u4"),
                   np.array([(0, 1)] * len(frames), "<u4"))  # fmt: skip
        return frame(DELIVERY, b"".join((struct.pack("<I", len(head)), head, *(c.tobytes() for c in columns), *frames)))

    def committed(self, through: int, now: float) -> list[float]:
        """A gateway has everything up to a number: the seconds that each message took to be committed."""
        done = [number for number in self.waiting if number <= through]
        return [now - self.waiting.pop(number)[1] for number in done]


def answer(payload: bytes) -> tuple[str, dict[int, int]]:
    """The edge of a gateway's answer, and by epoch the number up to which nothing is missing."""
    kind, body = unframed(payload)
    if kind != COMMITTED:
        raise ValueError(f"answer of a gateway: expected kind {COMMITTED}, found {kind}")
    told = msgspec.json.decode(body)
    return told["edge"], {int(epoch): next((b for a, b in ranges if a == 1), 0) for epoch, ranges in told["epochs"].items()}
