"""The panel beside the line: a page, its live stream, login, and what people do with alarms, served on loopback by the edge itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_agent.core import PharmedgeError, parse_occurrence_id
from edge_agent.core.alarm import ActionKind
from edge_agent.core.patience import BODY_S
from edge_agent.local.desk import Actor, Desk, WrongAction
from edge_agent.local.panel_stream import PanelStream, Streams
from edge_agent.local.sessions import STATION, NotAllowed, NotLoggedIn, PanelSessions, Session, TooSoon

STATIC: Final = Path(__file__).with_name("static")
COOKIE: Final = "pharmedge_panel"
BODY_MAX: Final = 262_144
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "[::1]"})
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
}


class TooLate(PharmedgeError):
    """A body that did not come in time."""


_STATUS: Final[dict[type[Exception], int]] = {
    NotLoggedIn: 401, NotAllowed: 403, TooSoon: 429, WrongAction: 404, msgspec.DecodeError: 400, msgspec.ValidationError: 422, ValueError: 422,
    TooLate: 408,
}  # fmt: skip

Text = Annotated[str, msgspec.Meta(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")]
Password = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Name and password."""

    user: Name
    password: Password


class Acting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person does with the occurrences they saw."""

    kind: Literal["acknowledge", "reset", "shelve", "unshelve"]
    occurrences: Annotated[tuple[Annotated[str, msgspec.Meta(max_length=400)], ...], msgspec.Meta(min_length=1, max_length=1000)]
    reason: Text = ""
    duration_s: Annotated[float, msgspec.Meta(gt=0, le=43_200)] | None = None
    one_shot: bool = False
    user: Name | None = None
    """Only while there are no accounts."""
    second: Login | None = None
    """Who agrees, where nobody may do it alone."""


def _json(body: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status, media_type="application/json")


class Panel:
    """The routes of the panel."""

    def __init__(self, desk: Desk, sessions: PanelSessions) -> None:
        self._desk, self._sessions = desk, sessions
        self.streams = Streams(desk, self.about)

    def app(self) -> ASGIApp:
        """The application, to be mounted at /panel."""
        routes = [
            Route("/api/session", self._guarded(self._who), methods=["GET"]),
            Route("/api/session", self._guarded(self._login), methods=["POST"]),
            Route("/api/session", self._guarded(self._logout), methods=["DELETE"]),
            Route("/api/session/touch", self._guarded(self._touch), methods=["POST"]),
            Route("/api/stream", self._stream, methods=["GET"]),
            Route("/api/actions", self._guarded(self._act), methods=["POST"]),
            Mount("/", StaticFiles(directory=STATIC, html=True)),
        ]
        return _Shield(Starlette(routes=routes))

    def about(self) -> dict[str, Any]:
        """What the page says of the edge and of the people it knows."""
        facts, people = self._desk.facts, self._sessions.people
        return {
            "edge": facts.edge, "site": facts.site, "simulated": facts.simulated, "timezone": facts.timezone, "version": facts.version,
            "people": {"count": people.count, "open": people.open, "issued_ns": people.issued_ns},
        }  # fmt: skip

    @staticmethod
    def _guarded(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except ClientDisconnect:
                return Response(status_code=400)  # whoever was asking has gone
            except (PharmedgeError, msgspec.DecodeError, ValueError) as error:
                status = next((s for kind, s in _STATUS.items() if type(error) is kind), 422)
                body = {"type": "about:blank", "title": type(error).__name__, "status": status, "detail": str(error), "instance": request.url.path}
                more = {"Retry-After": str(max(1, round(error.wait_s)))} if isinstance(error, TooSoon) else {}
                if isinstance(error, TooLate):
                    more["Connection"] = "close"
                return Response(msgspec.json.encode(body), status, media_type="application/problem+json", headers=more)

        return guarded

    def _state(self, session: Session | None) -> dict[str, Any]:
        person = session.person if session else None
        return {
            "user": None if person is None else {"name": person.name, "full_name": person.full_name, "role": person.role},
            "csrf": session.csrf if session else "",
            "ends_ns": self._sessions.ends_ns(session) if session else None,
            **self.about(),
        }

    async def _who(self, request: Request) -> Response:
        return _json(self._state(self._sessions.find(request.cookies.get(COOKIE))))

    async def _login(self, request: Request) -> Response:
        body = msgspec.json.decode(await _read(request), type=Login)
        token, session = await asyncio.to_thread(self._sessions.login, body.user, body.password)
        answer = _json(self._state(session))
        answer.set_cookie(COOKIE, token, path="/panel", httponly=True, samesite="strict")
        return answer

    def _acting(self, request: Request) -> Session:
        return self._sessions.acting(request.cookies.get(COOKIE), request.headers.get("x-csrf-token", ""))

    async def _touch(self, request: Request) -> Response:
        return _json(self._state(self._acting(request)))

    async def _logout(self, request: Request) -> Response:
        session = self._acting(request)  # refused before the cookie is looked for: there may be none
        self._sessions.logout(request.cookies[COOKIE], session)
        answer = _json(self._state(None))
        answer.delete_cookie(COOKIE, path="/panel", httponly=True, samesite="strict")
        return answer

    async def _actor(self, request: Request, body: Acting) -> Actor:
        if self._sessions.people.open:
            if body.user is None:
                raise ValueError("user: expected a name, because there are no accounts")
            return Actor(body.user.strip(), "", STATION)
        person = self._acting(request).person
        if body.second is None:
            return Actor(person.name, person.role, STATION)
        second = await asyncio.to_thread(self._sessions.verified, body.second.user, body.second.password, "agreeing")
        return Actor(person.name, person.role, STATION, second.name, second.role)

    async def _act(self, request: Request) -> Response:
        body = msgspec.json.decode(await _read(request), type=Acting)
        found = [parse_occurrence_id(text) for text in body.occurrences]
        for edge, alarm, _ in found:
            if edge != self._desk.facts.edge or alarm not in self._desk.alarms:
                raise WrongAction(f"occurrence: expected an alarm of {self._desk.facts.edge}, found {edge}~{alarm}"[:300])
        actor = await self._actor(request, body)
        kind: ActionKind = body.kind
        ids = {
            text: self._desk.ask(kind, alarm, raised, actor, body.reason.strip(), duration_s=body.duration_s, one_shot=body.one_shot)
            for text, (_, alarm, raised) in zip(body.occurrences, found, strict=True)
        }
        return _json({"actions": ids}, 202)

    async def _stream(self, _request: Request) -> Response:
        stream = self.streams.open()
        if stream is None:
            return Response(b"too many panels are open", 503)
        return _StreamResponse(stream)


class _StreamResponse(Response):
    """Server-sent events until the page goes or the edge stops."""

    def __init__(self, stream: PanelStream) -> None:
        super().__init__()
        self._stream = stream

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send what is new until the client goes."""

        async def gone() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async def sending() -> None:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async for frame in self._stream.frames():
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        tasks = [asyncio.create_task(gone()), asyncio.create_task(sending())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._stream.close()


class _Shield:
    """Security headers; refuses other host names (rebound DNS) and what a page of another site sends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-cache")
            await send(message)

        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
        foreign = scope["method"] not in ("GET", "HEAD") and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if name not in LOOPBACK or foreign:
            why = "a page of another site may not send this request" if foreign else "host: expected a loopback name"
            body = {"type": "about:blank", "title": "Forbidden", "status": 403, "detail": why, "instance": scope["path"]}
            await Response(msgspec.json.encode(body), 403, media_type="application/problem+json")(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)


async def _read(request: Request) -> bytes:
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                body += part
                if len(body) > BODY_MAX:
                    raise ValueError(f"body: expected at most {BODY_MAX} bytes, found more")
    except TimeoutError:
        raise TooLate(f"body: expected all of it within {BODY_S:g} s") from None
    return body


def routes(panel: Panel) -> list[Route | Mount]:
    """What the edge's own http listener adds."""

    async def there(_: Request) -> Response:
        return RedirectResponse("/panel/")

    return [Route("/panel", there), Mount("/panel", panel.app())]
