"""What the gateway's guard adds to every answer and what it refuses, on a bare application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import Scope

from edge_agent.core.patience import BODY_RATE, BODY_S
from gateway.console.guard import LOOPBACK, SMALL_BODY, Guard, Rate


async def _hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.client.host if request.client else "")


def client(rate: Rate | None = None, proxies: tuple[str, ...] = ()) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/api/v1/x", _hello, methods=["GET", "POST"])])
    app.add_middleware(Guard, hosts=LOOPBACK, rate=rate, proxies=proxies)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080")


async def test_what_every_answer_carries():
    async with client() as http:
        answer = await http.get("/api/v1/x")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}])
async def test_foreign_hosts_and_pages_are_refused(headers):
    async with client() as http:
        answer = await http.post("/api/v1/x", headers=headers)
    assert answer.status_code == 403
    assert answer.headers["content-type"].startswith("application/problem+json")


async def test_more_requests_than_the_rate_allows_wait():
    async with client(Rate(0.0, 3.0)) as http:
        found = [(await http.get("/api/v1/x")).status_code for _ in range(4)]
        answer = await http.get("/api/v1/x")
    assert found == [200, 200, 200, 429]
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["title"] == "Too Many Requests"


@pytest.mark.parametrize(
    ("proxies", "said", "believed"),
    [
        ((), "10.0.0.7", "127.0.0.1"),  # anybody may send the header
        (("10.9.9.9",), "10.0.0.7", "127.0.0.1"),
        (("127.0.0.1",), "10.0.0.7", "10.0.0.7"),
        (("127.0.0.1",), "6.6.6.6, 10.0.0.7", "10.0.0.7"),  # what a browser sent itself stands first
        (("127.0.0.1", "10.0.0.2"), "10.0.0.7, 10.0.0.2", "10.0.0.7"),
        (("127.0.0.1",), "10.0.0.7, nonsense", "127.0.0.1"),
        (("127.0.0.1",), "", "127.0.0.1"),
        (("127.0.0.1",), "2001:db8::0:7", "2001:db8::7"),
    ],
)
async def test_only_a_trusted_proxy_says_who_asks(proxies: tuple[str, ...], said: str, believed: str) -> None:
    async with client(proxies=proxies) as http:
        assert (await http.get("/api/v1/x", headers={"x-forwarded-for": said})).text == believed


async def test_people_behind_a_trusted_proxy_have_a_rate_each():
    async with client(Rate(0.0, 1.0), ("127.0.0.1",)) as http:
        found = [(await http.get("/api/v1/x", headers={"x-forwarded-for": f"10.0.0.{i}"})).status_code for i in (1, 2, 2, 3)]
    assert found == [200, 200, 429, 200]


async def _size(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


def taking(largest: int = SMALL_BODY, body_s: float = BODY_S) -> tuple[httpx.AsyncClient, list[Scope]]:
    """A client of an application that counts bodies, and the requests of which more than a little was asked for."""
    app = Starlette(routes=[Route("/x", _size, methods=["POST"])])
    asked: list[Scope] = []

    def most(scope: Scope) -> int:
        asked.append(scope)
        return largest

    app.add_middleware(Guard, hosts=LOOPBACK, largest=most, body_s=body_s)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8080"), asked


async def _pieces(count: int, size: int = 10_000) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield bytes(size)


async def test_a_body_is_taken_up_to_what_its_sender_may_send():
    http, asked = taking()
    async with http:
        assert (await http.post("/x", content=bytes(SMALL_BODY))).text == str(SMALL_BODY)
        assert (await http.post("/x", content=_pieces(6))).text == "60000"
        assert (await http.post("/x")).text == "0"
        assert asked == []
        for body in (bytes(SMALL_BODY + 1), _pieces(7)):
            answer = await http.post("/x", content=body)
            assert (answer.status_code, answer.headers["connection"], answer.json()["title"]) == (413, "close", "Content Too Large")
    http, asked = taking(100_000)
    async with http:
        assert (await http.post("/x", content=_pieces(10))).text == "100000"
        assert (await http.post("/x", content=_pieces(11))).status_code == 413
        assert len(asked) == 2


async def test_no_more_of_a_body_is_read_than_may_be_sent_whatever_its_length_is_said_to_be():
    read = []

    async def pieces() -> AsyncIterator[bytes]:
        for k in range(1000):
            read.append(k)
            yield bytes(10_000)

    http, _ = taking()
    async with http:
        assert (await http.post("/x", content=pieces())).status_code == 413
        assert len(read) <= 8
        assert (await http.post("/x", content=pieces(), headers={"content-length": str(10**15)})).status_code == 413
        assert len(read) <= 8


async def test_a_body_that_does_not_come_is_not_waited_for():
    async def never() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    http, _ = taking(body_s=0.05)
    async with http:
        answer = await http.post("/x", content=never())
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")


@pytest.mark.parametrize(("rate", "status"), [(2 * BODY_RATE, 200), (BODY_RATE // 2, 408)])
async def test_a_large_body_has_the_time_that_its_size_needs(rate: int, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, later = asyncio.get_running_loop(), 0.0
    now = loop.time
    monkeypatch.setattr(loop, "time", lambda: now() + later)

    async def slow() -> AsyncIterator[bytes]:
        nonlocal later
        for _ in range(int(3 * BODY_S / 5)):
            later += 5.0
            for _ in range(3):  # what is due by now comes first
                await asyncio.sleep(0)
            yield bytes(5 * rate)

    http, _ = taking(16 << 20)
    async with http:
        assert (await http.post("/x", content=slow())).status_code == status
