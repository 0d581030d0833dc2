"""One wrapper for every target: reads the inbox behind a durable cursor, writes, moves the cursor; backs off while the target is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import numpy as np

from edge_agent.core import AlarmEvent, NotConnected, Samples, Summaries, Texts, WireError
from gateway.catalog import PlantCatalogue
from gateway.deadletters import DeadLetters
from gateway.inbox import STREAM, Kept
from gateway.rows import TargetRow
from gateway.store import Store
from gateway.targets.target import Page, Target, TargetConfig
from gateway.usable import usable

log = logging.getLogger(__name__)

READ_BYTES: Final = 2 << 20
BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)


def lost(name: str, error: Exception, shown: str) -> str:
    """What is shown of a target that could not go on, in place of what is shown of it already.

    A fault that is no lost connection, as a full disk, is also logged, once, with its place in the program.
    """
    if isinstance(error, NotConnected):
        return str(error)
    told = f"{name}: {type(error).__name__}: {error}"
    if told != shown:
        log.error("target %s failed, it is tried again", name, exc_info=error)
    return told


def pages(batch: list[Kept], catalogue: PlantCatalogue) -> Iterator[Page]:
    """The records of a batch by edge; summaries count only for tags that have nothing else."""
    for edge in dict.fromkeys(k.edge for k in batch):
        known = catalogue.edge(edge)
        samples: list[Samples] = []
        texts: list[Texts] = []
        alarms: list[AlarmEvent] = []
        for kept in (k for k in batch if k.edge == edge):
            try:
                item = usable(kept.frame)
            except WireError:
                continue  # counted and alarmed when it was applied
            if isinstance(item, Samples):
                number, _ = catalogue.numbered(edge, kept.epoch, kept.seq, item.tag)
                samples.append(Samples(item.time_ns, number, item.value, item.status, item.received_ns))
            elif isinstance(item, Summaries):
                number, _ = catalogue.numbered(edge, kept.epoch, kept.seq, np.ascontiguousarray(item.rows["tag"]))
                only = np.array([t.record == "summary" for t in known.tags], np.bool_)[number]
                rows = item.rows[only]
                samples.append(Samples.of(rows["last_ns"], number[only], rows["last"], rows["worst_status"].copy(), item.received_ns))
            elif isinstance(item, Texts):
                number, _ = catalogue.numbered(edge, kept.epoch, kept.seq, np.array(item.tag, np.int32))
                texts.append(Texts(item.time_ns, tuple(number.tolist()), item.value, item.status, item.received_ns))
            elif isinstance(item, AlarmEvent):
                alarms.append(item)
        yield Page(edge, known.site, tuple(known.tags), samples, texts, alarms)


class Runner:
    """Keeps one target supplied. `run` on the loop; the target itself works in a thread."""

    def __init__(
        self,
        store: Store,
        config: TargetConfig,
        *,
        in_writer: Callable[[Callable[[], object]], Awaitable[object]],
        clock: Callable[[], int],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        target: Target | None = None,
    ) -> None:
        self._store, self.config, self._in_writer, self._clock, self._sleep = store, config, in_writer, clock, sleep
        self._target: Target = target if target is not None else config.make()
        self.cursor = store.log.cursor(f"target/{config.name}")
        self._letters = DeadLetters(store.data_dir / f"rejected-{config.name}.jsonl", store.settings.quarantine_bytes)
        self.connected, self.error = False, ""
        self.written = self.rejected = self.skipped = 0

    @property
    def held_from(self) -> int:
        """The first inbox number this target still needs; past what is more than `hold_bytes` behind."""
        return self.cursor + 1

    def release(self) -> int:
        """Skip what is beyond `hold_bytes`, so that a target that is away pins no more of the inbox than that; numbers skipped."""
        head = self._store.log.head(STREAM)
        held = head.seq - self._store.log.first(STREAM) + 1
        if held <= 0 or head.bytes <= self.config.hold_bytes:
            return 0
        mean = head.bytes / held
        cursor = max(self.cursor, head.seq - int(self.config.hold_bytes / mean))
        skipped, self.cursor = cursor - self.cursor, cursor
        self.skipped += skipped
        return skipped

    async def run(self) -> None:
        """Supply the target until cancelled."""
        attempt = 0
        while True:
            try:
                try:
                    await asyncio.to_thread(self._target.open)
                    while True:
                        if not await self._once():
                            await self._sleep(0.25)
                        attempt = 0
                finally:
                    await asyncio.to_thread(self._target.close)
            except Exception as error:  # noqa: BLE001 a defect or a full disk is shown and retried; it must not stop the gateway
                self.connected, self.error = False, lost(self.config.name, error, self.error)
            await self._sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1

    async def _once(self) -> bool:
        after = self.cursor
        rows = await asyncio.to_thread(self._store.log.read, STREAM, after, through=self._store.journal.applied, max_bytes=READ_BYTES)
        if not rows:
            return False
        batch = [Kept.decode(row.data, row.seq) for row in rows]
        for page in pages(batch, self._store.applier.catalogue):
            if len(page):
                outcome = await asyncio.to_thread(self._target.write, page)
                self.written += outcome.written
                self.rejected += len(outcome.rejected)
                for reason, line in outcome.rejected:
                    self._letters.add(self._clock(), f"{self.config.name}/{page.edge}", reason, line)
        self.connected, self.error = True, ""
        await self._in_writer(lambda: self._store.log.commit(cursors={f"target/{self.config.name}": rows[-1].seq}))
        self.cursor = max(self.cursor, rows[-1].seq)
        return True

    def row(self) -> TargetRow:
        """What is shown of this target."""
        return {
            "name": self.config.name,
            "kind": self.config.kind,
            "connected": self.connected,
            "cursor": self.cursor,
            "behind": max(0, self._store.log.head(STREAM).seq - self.cursor),
            "written": self.written,
            "rejected": self.rejected,
            "error": self.error if not self.skipped else f"{self.error} ({self.skipped} records skipped while it was away)".strip(),
        }
