"""Connections that ask for nothing end, and those that do stay."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import h11
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edge_agent.core.patience import HEAD_S, MOST, Patient

WHOLE = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
NO_BODY = b"POST /body HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n"


class Hasty(Patient):
    head_s = 60.0
    most = 5


async def _hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def _stream(request: Request) -> StreamingResponse:
    async def beats() -> AsyncIterator[bytes]:
        while True:
            yield b"beat\n"
            await asyncio.sleep(0.05)

    return StreamingResponse(beats())


async def _body(request: Request) -> PlainTextResponse:
    try:
        return PlainTextResponse(str(len(await request.body())))
    except ClientDisconnect:
        return PlainTextResponse("")


async def _much(request: Request) -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 20)
            await asyncio.sleep(0)  # what is not taken any more ends here

    return StreamingResponse(pieces())


async def _large(_: Request) -> Response:
    return Response(bytes(32 << 20), headers={"Connection": "close"})


class Served:
    """A server on a port of its own, whose patience is tried by hand."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        routes = [Route("/x", _hello), Route("/stream", _stream), Route("/much", _much), Route("/large", _large)]
        routes.append(Route("/body", _body, methods=["POST"]))
        app = Starlette(routes=routes)
        config = uvicorn.Config(app, http=Hasty, log_config=None, lifespan="off", timeout_graceful_shutdown=0, timeout_keep_alive=60)
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]

    async def start(self) -> None:
        self._serving = asyncio.create_task(self._server._serve([self._listener]))
        while not self._server.started:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._serving

    @property
    def connections(self) -> list[Hasty]:
        found = list(self._server.server_state.connections)
        return [connection for connection in found if isinstance(connection, Hasty)]

    async def until(self, so: Callable[[list[Hasty]], bool]) -> None:
        """Wait until the connections are as said."""
        async with asyncio.timeout(60):
            while not so(self.connections):
                await asyncio.sleep(0.01)

    async def look(self) -> None:
        """Its time is up, for every connection."""
        await self.until(bool)
        for connection in self.connections:
            connection._look()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    made = Served()
    await made.start()
    yield made
    await made.stop()


async def connected(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


async def gone(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends it soon."""
    try:
        async with asyncio.timeout(20):
            return await reader.read() == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("begun", [b"", b"GET /x HTTP/1.1\r\nHost: h\r\nX-a: "])
async def test_a_head_that_does_not_come_is_not_waited_for(served: Served, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hasty, "head_s", 0.05)
    reader, writer = await connected(served.port, begun)
    assert await gone(reader)
    writer.close()


async def test_nor_is_the_next_head_on_a_connection_that_asked_before(served: Served) -> None:
    reader, writer = await connected(served.port, WHOLE)
    assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    await served.look()
    writer.write(WHOLE + b"GET /x HT")
    await reader.readuntil(b"hello")
    await served.look()  # it has asked again since
    await served.look()
    assert await gone(reader)
    writer.close()


async def test_a_stream_goes_on_for_as_long_as_somebody_looks(served: Served) -> None:
    reader, writer = await connected(served.port, b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    for _ in range(4):
        await reader.readuntil(b"beat\n")
        await served.look()
    await reader.readuntil(b"beat\n")
    writer.close()


async def test_of_too_many_the_one_that_has_asked_for_nothing_for_longest_makes_room(served: Served) -> None:
    port = served.port
    stream, held = await connected(port, b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n")
    await stream.readuntil(b"beat\n")
    idle = []
    for _ in range(4):
        reader, writer = await connected(port, b"GET /x")
        idle.append((reader, writer))
    # One connection more than may be: it is served, and the oldest idle one is gone.
    reader, writer = await connected(port, WHOLE)
    assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
    assert await gone(idle[0][0])
    await stream.readuntil(b"beat\n")
    for _, other in (*idle, (reader, writer), (stream, held)):
        other.close()


async def test_one_that_was_answered_lately_is_not_the_one_that_has_waited_longest(served: Served) -> None:
    asks, held = await connected(served.port, b"")
    await served.until(lambda found: len(found) == 1)
    idle = [await connected(served.port, b"") for _ in range(Hasty.most - 1)]
    await served.until(lambda found: len(found) == Hasty.most)
    held.write(WHOLE)
    await asks.readuntil(b"hello")
    reader, writer = await connected(served.port, WHOLE)
    await reader.readuntil(b"hello")
    assert await gone(idle[0][0])
    held.write(WHOLE)
    await asks.readuntil(b"hello")
    for _, other in (*idle, (reader, writer), (asks, held)):
        other.close()


STUCK: dict[str, tuple[bytes, int, Callable[[Hasty], bool]]] = {
    "a body does not come": (NO_BODY, 1 << 16, lambda c: c.conn.their_state is h11.SEND_BODY),
    "an answer is not taken": (b"GET /much HTTP/1.1\r\nHost: h\r\n\r\n", 1 << 16, lambda c: c.flow.write_paused),
    "the end of an answer is not taken": (b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n", 1 << 30, lambda c: c.transport.is_closing()),
}


@pytest.mark.parametrize("stuck", STUCK)
async def test_whoever_holds_every_connection_locks_nobody_out(served: Served, stuck: str) -> None:
    begun, buffered, so = STUCK[stuck]
    holding = [await connected(served.port, b"") for _ in range(Hasty.most)]
    await served.until(lambda found: len(found) == Hasty.most)
    for connection in served.connections:
        connection.transport.set_write_buffer_limits(buffered)
    for _, writer in holding:
        writer.write(begun)
    await served.until(lambda found: all(map(so, found)))
    held = set(served.connections)
    for k in range(2):
        reader, writer = await connected(served.port, WHOLE)
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        assert len(held & set(served.connections)) == Hasty.most - k - 1
        holding.append((reader, writer))
    for _, writer in holding:
        writer.transport.abort()


async def test_all_that_come_at_once_make_room_each(served: Served) -> None:
    first = [await connected(served.port, b"") for _ in range(Hasty.most)]
    await served.until(lambda found: len(found) == Hasty.most)
    burst = await asyncio.gather(*(connected(served.port, b"") for _ in range(4 * Hasty.most)))
    made = [*first, *burst]
    assert all(await asyncio.gather(*(gone(reader) for reader, _ in made[: -Hasty.most])))
    assert len(served.connections) == Hasty.most
    for _, writer in made:
        writer.close()


def test_a_page_of_the_console_has_room_and_a_log_can_always_open_its_files() -> None:
    assert HEAD_S <= 10
    assert 128 * 2 < MOST < 1024 / 2
