"""Connections that ask for nothing end, and those that do stay."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from edge_agent.core.patience import HEAD_S, MOST, Patient

WHOLE = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


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


class Served:
    """A server on a port of its own, whose patience is tried by hand."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        app = Starlette(routes=[Route("/x", _hello), Route("/stream", _stream)])
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

    async def look(self) -> None:
        """Its time is up, for every connection."""
        while not (connections := list(self._server.server_state.connections)):
            await asyncio.sleep(0.01)
        for connection in connections:
            assert isinstance(connection, Hasty)
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


def test_a_page_of_the_console_has_room_and_a_log_can_always_open_its_files() -> None:
    assert HEAD_S <= 10
    assert 128 * 2 < MOST < 1024 / 2
