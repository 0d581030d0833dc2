"""HTTP connections that ask for nothing are not kept: whoever opens many and sends their heads drop by drop takes the place of nobody.

uvicorn waits for ever for the head of a request. Here a head has to be whole within `HEAD_S` (at the most twice that), and of `MOST` connections
the one that has waited longest without a request makes room for a new one.
"""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S: Final = 10.0
MOST: Final = 400
"""Connections at once; open pages of the console are 128 at the most. Far below the 1,024 files that a process may have open: a log must always
be able to open one."""
BACKLOG: Final = 64
"""Connections that are accepted in one go, before any of them is looked at."""


class Patient(H11Protocol):
    """uvicorn's HTTP/1.1 over h11, with an end to its patience."""

    head_s = HEAD_S
    most = MOST
    _look_at: asyncio.TimerHandle | None = None
    _seen: object = None
    """The request that had been served last when it was looked before; None: none yet."""

    @property
    def asks(self) -> bool:
        """Whether the head of a request is whole and not answered yet."""
        return self.conn.their_state is not h11.IDLE

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection came; the one that has asked for nothing for longest goes when there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look_at = self.loop.call_later(self.head_s, self._look)
        if len(self.connections) > self.most:
            idle = [other for other in self.connections if isinstance(other, Patient) and not other.asks]
            # The new one itself is among them.
            min(idle, key=lambda other: other._since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._look_at is not None:
            self._look_at.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if not self.asks and self._seen is self.cycle:
            self.transport.close()
            return
        self._seen = self if self.asks else self.cycle
        self._look_at = self.loop.call_later(self.head_s, self._look)
