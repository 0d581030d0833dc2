"""Whoever runs an edge is told before a certificate expires: the alarm `edge/certificate`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from edge_agent.core import Diagnostic
from edge_agent.core.diagnosis import EXPIRES_SOON_DAYS, expiry

ALARM: Final = "edge/certificate"
EVERY_S: Final = 3600.0


class CertificateWatch:
    """Looks at the certificates of an edge every hour; the alarm stands while one expires within 30 days, has expired or cannot be read.

    known  gives what each is for, and its file
    put    takes entries for the journal
    """

    def __init__(
        self,
        known: Callable[[], Sequence[tuple[str, Path]]],
        put: Callable[[Callable[[int], Any]], Any],
        *,
        wall_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._known, self._put, self._wall_s, self._sleep = known, put, wall_s, sleep
        self._told: str | None = None

    async def run(self) -> None:
        """For ever."""
        while True:
            said = await asyncio.to_thread(self.look)
            if said != self._told:
                self._told = said
                self._put(
                    lambda now, why=said: Diagnostic(received_ns=now, alarm=ALARM, active=bool(why), explanation=why or "all certificates hold")  # type: ignore[misc]
                )
            await self._sleep(EVERY_S)

    def look(self) -> str:
        """What is wrong with which; empty when nothing is."""
        found = [(what, *expiry(path, self._wall_s())) for what, path in self._known()]
        return "; ".join(f"{what}: {said}" for what, days, said in found if days is None or days < EXPIRES_SOON_DAYS)
