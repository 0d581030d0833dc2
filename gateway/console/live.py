"""The live stream: one look at the store's changes, encoded once and handed to every open page.

    store -> Subscription -> Live (2 value frames a second) -> one bounded queue per client -> server-sent events

A client that does not take its frames is cut off and comes back for a fresh picture; it never costs more than its queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from starlette.types import Receive, Scope, Send

from edge_agent.core import PharmedgeError
from gateway.query import Query
from gateway.rows import EdgeRow, Value

QUEUE_FRAMES: Final = 16
"""Frames that may wait for one client, about four seconds of them."""
MAX_CLIENTS: Final = 128


def frame(event: str, data: Any) -> bytes:
    r"""One server-sent event.

    >>> frame("beat", {"server_ns": 1})
    b'event: beat\ndata: {"server_ns":1}\n\n'
    """
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


class Busy(PharmedgeError):
    """No more pages can be served now: try again later."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are said, in seconds."""

    values_s: float = 0.5
    beat_s: float = 1.0
    look_s: float = 0.1
    """Shortest time between two looks at the store: the most that an alarm waits here."""
    stall_s: float = 5.0
    """A client that takes nothing for this long is cut off."""


@dataclass(slots=True, eq=False)
class Client:
    """One open page: its frames in order; None ends it."""

    frames: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue(QUEUE_FRAMES))
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def offer(self, data: bytes) -> bool:
        """Queue one frame; False when the client is too slow to have room for it."""
        try:
            self.frames.put_nowait(data)
        except asyncio.QueueFull:
            return False
        return True


class Live:
    """All open pages of one gateway; lives on one event loop, looks at the store only while a page is open."""

    def __init__(
        self, query: Query, hello: Callable[[], dict[str, Any]], *, pace: Pace | None = None, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._query = query
        self._hello = hello
        self._clock = clock
        self.pace = pace or Pace()
        self._clients: set[Client] = set()
        self._pump: asyncio.Task[None] | None = None
        self._closed = False
        self.cut_off_total = 0

    @property
    def clients(self) -> int:
        """Open pages."""
        return len(self._clients)

    async def open(self) -> Client:
        """A new client with its greeting queued; Busy when there are too many or the gateway stops."""
        if self._closed:
            raise Busy("the gateway is stopping")
        if len(self._clients) >= MAX_CLIENTS:
            raise Busy(f"expected at most {MAX_CLIENTS} open pages")
        greeting = await asyncio.to_thread(self._hello)
        client = Client()
        client.offer(b"retry: 1000\n" + frame("hello", {"server_ns": self._clock(), **greeting}))
        self._clients.add(client)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._run(), name="console.live")
        return client

    def leave(self, client: Client) -> None:
        """The client's connection ended."""
        client.gone.set()
        self._clients.discard(client)

    async def close(self) -> None:
        """End every stream, so that the server can stop without waiting for its pages."""
        self._closed = True
        for client in list(self._clients):
            self.leave(client)
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    def _broadcast(self, data: bytes) -> None:
        for client in [c for c in self._clients if not c.offer(data)]:
            self.cut_off_total += 1
            self.leave(client)

    async def _run(self) -> None:
        now = asyncio.get_running_loop().time
        subscription = self._query.subscribe()
        values: dict[str, tuple[int, Value, int]] = {}
        edges: dict[str, EdgeRow] = {}
        next_values = next_beat = now()
        try:
            while self._clients:
                due = min(next_beat, next_values) if values else next_beat
                change = await subscription.take(max(0.0, due - now()) + 0.001)
                if change is not None:
                    values.update(change["values"])
                    edges.update(change["edges"])
                    if change["tags"]:
                        self._broadcast(frame("tags", {}))
                    if change["alarms"]:
                        self._broadcast(frame("alarms", {"alarms": list(change["alarms"].values())}))
                if values and now() >= next_values:
                    self._broadcast(frame("values", {"v": values}))
                    values = {}
                    next_values = now() + self.pace.values_s
                if now() >= next_beat:
                    if edges:
                        self._broadcast(frame("edges", {"edges": list(edges.values())}))
                        edges = {}
                    self._broadcast(frame("beat", {"server_ns": self._clock()}))
                    next_beat = now() + self.pace.beat_s
                await asyncio.sleep(self.pace.look_s)
        finally:
            subscription.close()
            # Whatever ended the look, no page may believe that it still lives.
            for client in list(self._clients):
                self.leave(client)


class LiveResponse:
    """The stream of one client as an ASGI response; a write that does not move for `stall_s` cuts it off."""

    def __init__(self, live: Live, client: Client) -> None:
        self._live = live
        self._client = client

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send frames until the client goes, is cut off, or the gateway stops."""
        watch = asyncio.create_task(self._until_disconnected(receive), name="console.live.watch")
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            while (data := await self._next()) is not None:
                async with asyncio.timeout(self._live.pace.stall_s):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
            async with asyncio.timeout(self._live.pace.stall_s):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            # Leaving without the end of the body makes the server drop the connection.
            self._live.cut_off_total += 1
        finally:
            self._live.leave(self._client)
            watch.cancel()

    async def _until_disconnected(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._client.gone.set()

    async def _next(self) -> bytes | None:
        """The next frame; None when the client has gone or was cut off, whatever still waits."""
        if self._client.gone.is_set():
            return None
        take = asyncio.create_task(self._client.frames.get())
        gone = asyncio.create_task(self._client.gone.wait())
        try:
            await asyncio.wait((take, gone), return_when=asyncio.FIRST_COMPLETED)
            return take.result() if take.done() and not self._client.gone.is_set() else None
        finally:
            take.cancel()
            gone.cancel()
