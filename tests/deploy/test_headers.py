"""What the gateway's guard adds to every answer and what it refuses, on a bare application."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.console.guard import LOOPBACK, Guard, Rate


async def _hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def client(rate: Rate | None = None) -> httpx.AsyncClient:
    app = Starlette(routes=[Route("/api/v1/x", _hello, methods=["GET", "POST"])])
    app.add_middleware(Guard, hosts=LOOPBACK, rate=rate)
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
