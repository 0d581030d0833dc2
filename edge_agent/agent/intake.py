"""The intake: what sources bring waits here, bounded in bytes, until it is durable."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from edge_agent.agent.clock import Clock
from edge_agent.core import Block, Catalogue, Entry, Heartbeat, Samples, Start, Texts
from edge_agent.sources.source import Item

ENTRY_ROWS: Final = 4096
"""Rows of one journal entry at the most: about 96 kB uncompressed, well under one delivery message."""


@dataclass(frozen=True, slots=True)
class Offered:
    """Entries that belong together: durable all or none, then acknowledged."""

    entries: tuple[Entry, ...]
    nbytes: int
    ack: Callable[[], None] | None = None
    source: str = ""
    resume: bytes | None = None


class Intake:
    """A queue from the event loop to the pipeline thread.

    `offer` blocks while more than `max_bytes` are not yet durable, or while the outbox is full: a source that is not read keeps its values,
    or its peer does.
    """

    def __init__(self, clock: Clock, catalogue: Catalogue, max_bytes: int) -> None:
        self._clock, self._max_bytes = clock, max_bytes
        self._know(catalogue)
        self._queue: deque[Offered] = deque()
        self._arrived = threading.Condition()
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._last_ns = 0
        self._shut = False
        self._stop = False

    @property
    def clock_offset_ns(self) -> int:
        """Wall clock minus received time."""
        return self._clock.ahead_ns()

    def _know(self, catalogue: Catalogue) -> None:
        self._raw = np.array([t.record == "raw" for t in catalogue], np.bool_)
        self._never_shed = np.array([t.never_shed for t in catalogue], np.bool_)

    @property
    def waiting_bytes(self) -> int:
        """Bytes offered and not yet durable."""
        return self._bytes

    async def offer(self, source: str, items: Sequence[Item], ack: Callable[[], None], resume: bytes | None) -> None:
        """Hand over what one read of a source brought; returns when it is queued. All items get one time of receipt."""
        while not self._room.is_set():
            await self._room.wait()
        entries: list[Entry] = []
        size = 0
        with self._arrived:
            now = self._now()
            for item in items:
                stamped = _stamp(item, now)
                size += getattr(stamped, "nbytes", 200)
                entries += self._parted(stamped) if isinstance(stamped, Samples) else [stamped]
            self._append(Offered(tuple(entries), size, ack, source, resume))

    def put(self, entry_at: Callable[[int], Entry]) -> None:
        """Queue an entry of the agent itself, made for the received time it is given; never blocks."""
        with self._arrived:
            self._append(Offered((entry_at(self._now()),), 0))

    def plan_anew(self, start: Start, follow: Callable[[], None] | None = None) -> None:
        """Queue another plan: what came before is judged by the old one, what comes behind by this one. Never blocks.

        `follow` sets the clock; nothing is stamped between it and the plan, so that no time that was never lived is judged.
        """
        with self._arrived:
            if follow is not None:
                follow()
            self._know(Catalogue(start.tags))
            self._append(Offered((msgspec.structs.replace(start, received_ns=self._now()),), 0))

    def _now(self) -> int:
        # Received times must not decrease from entry to entry, also between threads.
        self._last_ns = max(self._last_ns, self._clock())
        return self._last_ns

    def _append(self, offered: Offered) -> None:
        self._queue.append(offered)
        self._bytes += offered.nbytes
        if self._bytes >= self._max_bytes:
            self._room.clear()
        self._arrived.notify()

    def _parted(self, samples: Samples) -> list[Entry]:
        # What is delivered as it came is stored once (Append.same_as): so values of different fate go into entries of their own.
        group = self._raw[samples.tag] * 2 + self._never_shed[samples.tag]
        parts = [samples] if len(samples) == 0 or (group == group[0]).all() else [samples.take(group == g) for g in np.unique(group)]
        return [part.take(slice(i, i + ENTRY_ROWS)) for part in parts for i in range(0, len(part), ENTRY_ROWS)]

    def take(self, timeout_s: float) -> list[Offered]:
        """Everything queued, waiting up to a time for the first; for the pipeline thread."""
        with self._arrived:
            if not self._queue and not self._stop:
                self._arrived.wait(timeout_s)
            taken = list(self._queue)
            self._queue.clear()
            return taken

    def heartbeat(self) -> Offered:
        """An entry that says only that time went on."""
        with self._arrived:
            return Offered((Heartbeat(received_ns=self._now()),), 0)

    def release(self, nbytes: int) -> None:
        """These bytes are durable; on the event loop."""
        self._bytes -= nbytes
        if self._bytes < self._max_bytes and not self._shut:
            self._room.set()

    def shut(self, closed: bool) -> None:
        """Stop taking values in while the outbox is full; on the event loop."""
        self._shut = closed
        if closed:
            self._room.clear()
        elif self._bytes < self._max_bytes:
            self._room.set()

    def stop(self) -> None:
        """Wake the pipeline thread for good."""
        with self._arrived:
            self._stop = True
            self._arrived.notify()


def _stamp(item: Item, now: int) -> Item:
    if isinstance(item, Samples | Texts | Block):
        return item.received(now)
    return msgspec.structs.replace(item, received_ns=now)
