"""HTTP connections of clients that keep us waiting are not kept: whoever holds many of them takes the place of nobody.

uvicorn waits for ever for the head of a request. Here a head has to be whole within `HEAD_S` (at the most twice that). Beyond `MOST` connections
the one whose client has kept us waiting longest, for a head, a body or that it takes an answer, makes room for the new one.
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
BODY_S: Final = 30.0
"""Seconds in which a body has to be whole, however small it is."""
BODY_RATE: Final = 65_536
"""Bytes of a body that give it one second more."""
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

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: a head or a body is missing, or an answer is not taken."""
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY) or self.flow.write_paused or self.transport.is_closing()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection came; when there are too many, the one that has waited longest goes, or this one while all others are being answered."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._look_at = self.loop.call_later(self.head_s, self._look)
        if len(self.connections) > self.most:
            waiting = [other for other in self.connections if isinstance(other, Patient) and other is not self and other.waits]
            longest = min(waiting, key=lambda other: other._since, default=self)
            longest.transport.abort()
            # `connection_lost` comes later than the other connections of the same moment: each of them has to find another one.
            self.connections.discard(longest)

    def data_received(self, data: bytes) -> None:
        """Something came; a part of a body begins the waiting anew, a part of a head does not."""
        super().data_received(data)
        if self.conn.their_state is h11.SEND_BODY:
            self._since = self.loop.time()

    def pause_writing(self) -> None:
        """The client does not take its answer as fast as it is made."""
        super().pause_writing()
        self._since = self.loop.time()

    def on_response_complete(self) -> None:
        """A request is answered; the next one is waited for from now on."""
        self._since = self.loop.time()
        super().on_response_complete()

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
