"""Keeping PublishRequests at the server, and the acknowledgements that travel with them (OPC 10000-4, 5.14.5)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from typing import Any, Final

from edge_agent.core import NotConnected
from edge_agent.sources.opcua_session import Session

_BAD_TOO_MANY_PUBLISH_REQUESTS: Final = 0x80780000
_BAD_TIMEOUT: Final = 0x800A0000


class Publisher:
    """The outstanding PublishRequests of one subscription.

    arrived  responses in the order of arrival, bytes or what became of the connection, each with the acknowledgements its request carried
    news     set when something arrived
    acks     sequence numbers to let go of with the next request
    heard    loop time of the last response
    """

    def __init__(self, session: Session, subscription: int, target: int) -> None:
        self._session, self._subscription = session, subscription
        self.target = target
        self.arrived: deque[tuple[bytes | BaseException, list[int]]] = deque()
        self.news = asyncio.Event()
        self.acks: list[int] = []
        self.heard = asyncio.get_running_loop().time()
        self._outstanding = 0
        self._stopped = False

    def top_up(self) -> None:
        """Send requests until enough are outstanding; the first carries all acknowledgements. Raises NotConnected."""
        from asyncua import ua

        if self._outstanding == 0:
            # The server could not speak while no request of ours lay there.
            self.heard = asyncio.get_running_loop().time()
        while self._outstanding < self.target:
            request = ua.PublishRequest()
            request.Parameters.SubscriptionAcknowledgements = [ua.SubscriptionAcknowledgement(self._subscription, n) for n in self.acks]
            future = self._session.send(request)
            acks, self.acks = self.acks, []
            self._outstanding += 1
            future.add_done_callback(partial(self._arrive, acks))

    def acknowledge(self, sequences: list[int]) -> None:
        """These messages are kept; the server may let go of them. A lost connection is told by the next response."""
        self.acks += sequences
        with contextlib.suppress(NotConnected):
            self.top_up()

    def refused(self, result: int, acks: list[int]) -> bool:
        """The server refused a request: whether to go on, with fewer requests if they were too many for it."""
        self.acks = acks + self.acks
        code = result & 0xFFFF0000
        if code == _BAD_TOO_MANY_PUBLISH_REQUESTS and self.target > 1:
            self.target -= 1
            return True
        return code == _BAD_TIMEOUT

    def stop(self) -> None:
        """Nothing that still arrives is of interest."""
        self._stopped = True

    def _arrive(self, acks: list[int], future: asyncio.Future[Any]) -> None:
        lost = asyncio.CancelledError() if future.cancelled() else future.exception()
        if self._stopped:
            return
        self._outstanding -= 1
        self.heard = asyncio.get_running_loop().time()
        self.arrived.append((bytes(future.result()) if lost is None else lost, acks))
        self.news.set()
        if self.acks and lost is None:
            # Acknowledgements that found every request under way leave with the next one, also while nobody reads.
            with contextlib.suppress(NotConnected):
                self.top_up()
