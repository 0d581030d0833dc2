"""Supplies one target with the gateway's audit trail behind a durable place of its own; backs off while it is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.audit import Trail
from gateway.rows import TargetRow
from gateway.store import Store
from gateway.targets.runner import BACKOFF_S, lost
from gateway.targets.target import Auditor, TargetConfig

AT_ONCE: Final = 500
LOOK_S: Final = 0.5


class AuditRunner:
    """Keeps one log server supplied. The trail is never trimmed: one that is away for long gets everything when it is back, and holds nobody else."""

    def __init__(
        self,
        store: Store,
        trail: Trail,
        gateway: str,
        config: TargetConfig,
        auditor: Auditor,
        *,
        in_writer: Callable[[Callable[[], object]], Awaitable[object]],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._store, self._trail, self._gateway, self._config, self._auditor = store, trail, gateway, config, auditor
        self._in_writer, self._sleep = in_writer, sleep
        self.name = f"{config.name}/audit"
        # A trail that was put back from a backup is shorter than what was sent of it: what is written from here on is new.
        self.cursor = min(store.log.cursor(f"target/{self.name}"), trail.head()[0])
        self.connected, self.error = False, ""
        self.written = 0

    async def run(self) -> None:
        """Supply it until cancelled."""
        attempt = 0
        while True:
            try:
                try:
                    await self._keep(self.cursor)
                    await asyncio.to_thread(self._auditor.open)
                    self.connected, self.error = True, ""
                    while True:
                        if not await self._once():
                            await self._sleep(LOOK_S)
                        attempt = 0
                finally:
                    await asyncio.to_thread(self._auditor.close)
            except Exception as error:  # noqa: BLE001 a defect or a full disk is shown and retried; it must not stop the gateway
                self.connected, self.error = False, lost(self.name, error, self.error)
            await self._sleep(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)])
            attempt += 1

    async def _once(self) -> bool:
        entries = await asyncio.to_thread(self._trail.behind, self.cursor, AT_ONCE)
        if not entries:
            return False
        outcome = await asyncio.to_thread(self._auditor.tell, self._gateway, entries)
        self.written += outcome.written
        self.cursor = int(entries[-1]["seq"])
        await self._keep(self.cursor)
        return True

    async def _keep(self, cursor: int) -> None:
        await self._in_writer(lambda: self._store.log.commit(cursors={f"target/{self.name}": cursor}))

    def row(self) -> TargetRow:
        """What is shown of it."""
        return {
            "name": self.name,
            "kind": self._config.kind,
            "connected": self.connected,
            "cursor": self.cursor,
            "behind": max(0, self._trail.head()[0] - self.cursor),
            "written": self.written,
            "rejected": 0,
            "error": self.error,
        }
