"""What every response carries and what no request may do: security headers, foreign hosts, requests from foreign pages, bodies without an end."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Final

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.core.patience import BODY_RATE, BODY_S
from gateway.console.errors import MEDIA_TYPE

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; "
    "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
}

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


RATE: Final = 100.0
"""Requests a second of one address, in the mean; a page that opens makes some dozens at once. Behind an untrusted proxy all browsers are one."""
BURST: Final = 2000.0
ADDRESSES: Final = 4096
"""Addresses that are remembered; the one that was heard of longest ago is forgotten first."""


SMALL_BODY: Final = 64 << 10
"""Bytes of a body that anybody may send: a login is far smaller."""


class Rate:
    """How many requests an address still has: a bucket that fills by `rate` a second up to `burst`.

    >>> rate = Rate(1.0, 2.0)
    >>> [rate.take("a", 0.0), rate.take("a", 0.0), rate.take("a", 0.0), rate.take("b", 0.0), rate.take("a", 1.0)]
    [True, True, False, True, True]
    """

    def __init__(self, rate: float = RATE, burst: float = BURST) -> None:
        self._rate, self._burst = rate, burst
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, now_s: float) -> bool:
        """Whether one more request may be answered now."""
        left, since = self._left.pop(address, (self._burst, now_s))
        left = min(self._burst, left + max(0.0, now_s - since) * self._rate)
        self._left[address] = (left - 1.0 if left >= 1.0 else left, now_s)
        if len(self._left) > ADDRESSES:
            self._left.popitem(last=False)
        return left >= 1.0


def forwarded(scope: Scope, proxies: Collection[str]) -> str:
    """The address that a request came from: the one that connected, or, when that is a trusted proxy, what it says in X-Forwarded-For.

    Each proxy appends whom it heard; so the last address that is no trusted proxy is believed and nothing before it, which anybody can send.

    >>> asked = {"client": ("127.0.0.1", 1), "headers": [(b"x-forwarded-for", b"6.6.6.6, 10.0.0.7")]}
    >>> forwarded(asked, ["127.0.0.1"]), forwarded(asked, []), forwarded({**asked, "client": ("10.0.0.9", 1)}, ["127.0.0.1"])
    ('10.0.0.7', '127.0.0.1', '10.0.0.9')
    """
    address = str(scope["client"][0]) if scope.get("client") else ""
    if address not in proxies:
        return address
    named = [part.strip() for text in Headers(scope=scope).getlist("x-forwarded-for") for part in text.split(",")]
    for part in reversed(named):
        try:
            address = str(ip_address(part))
        except ValueError:  # whatever stands before it is nobody's word
            return address
        if address not in proxies:
            return address
    return address


class Guard:
    """Adds the headers; refuses unknown host names (rebound DNS), writes that another site's page sends, and more requests than `rate` allows.

    hosts    names without port; empty accepts any, for a gateway behind a proxy that checks them
    proxies  addresses whose X-Forwarded-For is believed
    spared   whether a request is answered although its address has had its share: people who acknowledge an alarm must not wait for others
    largest  bytes that the body of a request may have; asked only for more than `SMALL_BODY`
    body_s   seconds in which it has to be whole, and one more for each `BODY_RATE` bytes that came
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = (),
        rate: Rate | None = None,
        *,
        proxies: Collection[str] = (),
        spared: Callable[[Scope], bool] = lambda _: False,
        largest: Callable[[Scope], int] = lambda _: SMALL_BODY,
        body_s: float = BODY_S,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._rate = rate or Rate()
        self._proxies = frozenset(proxies)
        self._spared = spared
        self._largest = largest
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api/") else "no-cache")
            await send(message)

        reason = self._refusal(scope)
        address = forwarded(scope, self._proxies)
        if scope.get("client") and address != scope["client"][0]:
            scope = {**scope, "client": (address, 0)}  # the throttle of passwords and the station in the trail go by it
        wait = {"Retry-After": "1"}
        if not self._rate.take(address, time.monotonic()) and not self._spared(scope):
            answer = _problem(scope, 429, "Too Many Requests", f"more than {RATE:.0f} requests a second: wait a moment", wait)
        elif reason:
            answer = _problem(scope, 403, "Forbidden", reason)
        elif scope["method"] in _SAFE:
            await self._app(scope, receive, guarded)
            return
        else:
            try:
                body = await self._body(scope, receive)
            except TimeoutError:
                why = f"body: expected all of it within {self._body_s:g} s, and {BODY_RATE >> 10} KB a second beyond"
                answer = _problem(scope, 408, "Request Timeout", why, {"Connection": "close"})
            except _TooLargeError as error:
                answer = _problem(scope, 413, "Content Too Large", str(error), {"Connection": "close"})
            else:
                await self._app(scope, _replayed(body, receive), guarded)
                return
        await answer(scope, receive, guarded)

    async def _body(self, scope: Scope, receive: Receive) -> list[Message]:
        """The whole body as it came; TimeoutError, or that it is too large before there is more of it in memory than is allowed."""
        most, asked = SMALL_BODY, False
        length = Headers(scope=scope).get("content-length", "")
        size = int(length) if length.isdecimal() else 0
        taken: list[Message] = []
        came, whole = 0, False
        async with asyncio.timeout(self._body_s) as patience:
            latest = patience.when() or 0.0
            while True:
                if max(came, size) > most and not asked:
                    most, asked = max(most, self._largest(scope)), True
                if max(came, size) > most:
                    raise _TooLargeError(f"body: expected at most {most} bytes, found more")
                if whole:
                    return taken
                message = await receive()
                taken.append(message)
                came += len(message.get("body", b""))
                patience.reschedule(latest + came / BODY_RATE)
                whole = message["type"] == "http.disconnect" or not message.get("more_body", False)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        if self._hosts and name not in self._hosts:
            return f"host: expected one of {', '.join(sorted(self._hosts))}, found {name[:64]!r}"
        if scope["method"] not in _SAFE and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "a page of another site may not send this request"
        return ""


class _TooLargeError(Exception):
    """A body with more bytes than its sender may send."""


def _problem(scope: Scope, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": scope["path"]}
    return Response(msgspec.json.encode(body), status, headers, media_type=MEDIA_TYPE)


def _replayed(taken: list[Message], receive: Receive) -> Receive:
    """A body that has been read, and then whatever comes."""
    left = iter(taken)

    async def again() -> Message:
        message = next(left, None)
        return message if message is not None else await receive()

    return again
