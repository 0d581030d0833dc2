"""What every response carries and what no request may do: security headers, foreign hosts, requests from foreign pages."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from ipaddress import ip_address
from typing import Final

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = (),
        rate: Rate | None = None,
        *,
        proxies: Collection[str] = (),
        spared: Callable[[Scope], bool] = lambda _: False,
    ) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._rate = rate or Rate()
        self._proxies = frozenset(proxies)
        self._spared = spared

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
        if not self._rate.take(address, time.monotonic()) and not self._spared(scope):
            detail = f"more than {RATE:.0f} requests a second: wait a moment"
            body = {"type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": detail, "instance": scope["path"]}
            await Response(msgspec.json.encode(body), 429, {"Retry-After": "1"}, media_type=MEDIA_TYPE)(scope, receive, guarded)
        elif reason:
            body = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": reason, "instance": scope["path"]}
            await Response(msgspec.json.encode(body), 403, media_type=MEDIA_TYPE)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _refusal(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        if self._hosts and name not in self._hosts:
            return f"host: expected one of {', '.join(sorted(self._hosts))}, found {name[:64]!r}"
        if scope["method"] not in _SAFE and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "a page of another site may not send this request"
        return ""
