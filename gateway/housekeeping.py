"""What a running gateway does again and again: it seals, trims and tidies, and writes and gives away heads of its trails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from edge_agent.core import LogError, PharmedgeError
from gateway.audit import Trail
from gateway.audit_watch import Watch
from gateway.backup import sealing_lock
from gateway.broker import Broker
from gateway.office import Office
from gateway.panels import Panels
from gateway.store import Store
from gateway.targets.runner import Runner

SEAL_CHECK_S: Final = 2.0
TIDY_S: Final = 60.0
AUDIT_CHECK_S: Final = 1.0

RunIn = Callable[[Callable[[], object]], Awaitable[object]]
"""Runs a function in one certain thread."""


class Sealing:
    """Seals, trims and tidies the store when it is time; what goes wrong is told by `error` and tried again."""

    def __init__(
        self, store: Store, targets: Sequence[Runner], trail: Trail, *, in_writer: RunIn, in_sealer: RunIn, clock: Callable[[], int]
    ) -> None:
        self._store, self._targets, self._trail, self._clock = store, targets, trail, clock
        self._in_writer, self._in_sealer = in_writer, in_sealer
        self.error = ""

    async def run(self) -> None:
        """Run until cancelled."""
        store = self._store
        await self._trim()
        tidied = 0.0
        while True:
            try:
                await self._in_writer(lambda: store.watch(self._clock(), self._trail.forgotten()))
                await self._in_writer(lambda: store.roll(self._clock()))
                if len(store.view().generations) > 1 or any(t.release() for t in self._targets):
                    await self._alone(store.seal)
                if time.monotonic() - tidied >= TIDY_S:
                    await self._alone(store.tidy)
                    tidied = time.monotonic()
                self.error = ""
            except (OSError, LogError) as error:
                # A full disk passes; a damaged segment is named here and by `verify`, and nothing else has to stop for it.
                self.error = f"cannot seal: {error}"
            await asyncio.sleep(SEAL_CHECK_S)

    async def _alone(self, work: Callable[[int], int]) -> None:
        """Work over the segments unless a backup or another command is at them; afterwards the inbox lets go of what is sealed."""
        with sealing_lock(self._store.data_dir) as mine:
            if mine:
                await self._in_sealer(lambda: work(self._clock()))
                await self._trim()

    async def _trim(self) -> None:
        await self._in_writer(lambda: self._store.trim(min((t.held_from for t in self._targets), default=2**62)))


class Auditing:
    """Writes down changed configurations, signs heads and gives them to the edges; what goes wrong is told by `error` and tried again."""

    def __init__(self, store: Store, watch: Watch, panels: Panels, office: Office, broker: Callable[[], Broker | None]) -> None:
        self._store, self._watch, self._panels, self._office, self._broker = store, watch, panels, office, broker
        self.error = ""

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                head = await asyncio.to_thread(self._watch.turn)
                broker = self._broker()
                if broker is not None and broker.connected:
                    known = [edge for edge, fact in list(self._store.inbox.facts.items()) if not fact.refused]
                    self._watch.give(head, known, broker.publish)
                    self._watch.give_manifest(self._store.manifest.given(), known, broker.publish)
                    self._panels.give(known, broker.publish)
                    self._office.proposals.give(broker.publish)
                else:
                    self._watch.disconnected()
                    self._panels.disconnected()
                    self._office.proposals.disconnected()
                self.error = ""
            except (OSError, PharmedgeError) as error:
                # A full disk passes; until then whatever needs an entry is refused, and `ready` says so.
                self.error = f"audit trail: {error}"
            await asyncio.sleep(AUDIT_CHECK_S)
