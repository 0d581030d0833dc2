"""What an agent serves, its own routes and those of the panel beside the line, against damaged bodies, foreign methods, paths and headers.

There is no document to draw requests from. The applications are the real ones, with real alarms and people behind the panel, called in this process;
anything that an application raises, and every status of 5xx but that of an edge that is not ready, is a finding.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from starlette.types import ASGIApp

from edge_agent.agent.clock import Clock
from edge_agent.agent.commit import STREAMS
from edge_agent.agent.engine import Engine
from edge_agent.agent.intake import Intake
from edge_agent.agent.recovery import recover
from edge_agent.agent.status import Status, create_app
from edge_agent.config import AgentSettings
from edge_agent.core import Catalogue, Log
from edge_agent.local.panel import COOKIE, routes
from edge_agent.local.sessions import TooSoon
from tests.faults.fuzz import damaged
from tests.local.line import PASSWORD, PEOPLE, Line, listed

PANEL: Final = (
    ("GET", "/panel/api/session", b""),
    ("POST", "/panel/api/session", json.dumps({"user": "wang", "password": PASSWORD}).encode()),
    ("DELETE", "/panel/api/session", b""),
    ("POST", "/panel/api/session/touch", b"{}"),
    ("POST", "/panel/api/actions", b'{"kind":"acknowledge","occurrences":["press-edge-1~press1/main_force.high~1"],"reason":"x"}'),
    ("POST", "/panel/api/actions", b'{"kind":"shelve","occurrences":["press-edge-1~press1/hopper_level.low~0"],"reason":"x","duration_s":60.5}'),
    ("POST", "/panel/api/actions", b'{"kind":"comment","occurrences":["press-edge-1~press1/guard.open~1"],"second":{"user":"zhao","password":"x"}}'),
    ("GET", "/panel/", b""),
    ("GET", "/panel/js/panel.js", b""),
)  # fmt: skip
"""Sound requests to the panel; its stream never ends."""
AGENT: Final = tuple(("GET", f"/{leaf}", b"") for leaf in ("healthz", "ping", "readyz", "ready", "metrics", "version", "status"))
_METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


def injured(sound: Sequence[tuple[str, str, bytes]], rng: random.Random) -> tuple[str, str, bytes, dict[str, str]]:
    """A request that was sound: method, path, body and headers, of which some were damaged."""
    method, path, body = rng.choice(sound)
    if rng.random() < 0.2:
        method = rng.choice(_METHODS)
    if rng.random() < 0.25:
        junk = rng.choice(("..", "%00", "%2e%2e/", "a" * 5000, "片", "?x=%ff", "//", ";a=b", "\\", "%zz"))
        at = rng.randrange(1, len(path) + 1)
        path = path[:at] + junk + path[at:]
    if body and rng.random() < 0.8:
        body = damaged(body, rng, [one for _, _, one in sound if one])
    headers = {"content-type": rng.choice(("application/json", "text/plain", "multipart/form-data", ""))}
    for name, values in (
        ("x-csrf-token", ("", "x", "\xff" * 40)), ("cookie", ("pharmedge_panel=x", "=;=;", "a" * 4000)), ("host", ("[::1]:1", "evil", ":")),
        ("sec-fetch-site", ("same-origin", "cross-site", "x")), ("content-length", ("0", "-1", "9" * 30)), ("accept-encoding", ("gzip", "\x80")),
    ):  # fmt: skip
        if rng.random() < 0.15:
            headers[name] = rng.choice(values)
    return method, path, body, headers


async def _asked(app: Any, method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and body of one request, made as a server would hand it to the application; an error inside is raised."""
    plain, _, query = path.partition("?")
    named = [(name.encode(), value.encode("latin-1", "replace")) for name, value in {"host": "127.0.0.1:9580", **headers}.items()]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http", "path": unquote(plain),
        "root_path": "", "raw_path": plain.encode(), "query_string": query.encode("latin-1", "replace"), "headers": named,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 9580),
    }  # fmt: skip
    told: list[Any] = []
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return {"type": "http.disconnect"}
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        told.append(message)

    await app(scope, receive, send)
    status = next((m["status"] for m in told if m["type"] == "http.response.start"), 0)
    return status, b"".join(m.get("body", b"") for m in told if m["type"] == "http.response.body")


@contextmanager
def agent_app(folder: Path) -> Iterator[tuple[ASGIApp, Line]]:
    """What an agent serves, with a panel of real alarms and people, over a real engine that has nothing to read."""
    line = Line()
    line.people.take("gw1", listed(*PEOPLE))
    line.committed([])
    for name in ("press1/main_force.high", "press1/guard.open"):
        line.turn(name, True, 17.0)
    loop = asyncio.new_event_loop()
    log = Log(folder / "edge.sqlite", STREAMS)
    clock = Clock()
    intake = Intake(clock, Catalogue(()), 1 << 20)
    section = AgentSettings.model_validate({"edge": {"id": "e1", "site": "demo"}}).outbox
    engine = Engine(
        log, recover(log).pipeline, intake, clock, section, loop=loop, safe_through=lambda: 0, cursors=dict, on_commit=lambda _: None
    )  # fmt: skip
    status = Status("e1", "demo", False, lambda: 1, engine, intake, list, list, frozenset, 0.0)
    try:
        yield create_app(status, routes(line.panel)), line
    finally:
        log.close()
        loop.close()


def fuzz_agent(folder: Path, number: int, seconds: float) -> tuple[int, str]:
    """Requests made until the time is over, half of them by somebody who is logged in at the panel; and the first finding."""
    folder.mkdir(parents=True, exist_ok=True)
    with agent_app(folder) as (app, line):
        return asyncio.run(_fuzz(app, line, random.Random(number), seconds))


async def _fuzz(app: ASGIApp, line: Line, rng: random.Random, seconds: float) -> tuple[int, str]:
    made, until = 0, time.monotonic() + seconds  # to make the applications takes time too
    while time.monotonic() < until:
        who: dict[str, str] = {}
        if rng.random() < 0.5:
            with contextlib.suppress(TooSoon):  # the requests before had wrong passwords: then nobody asks
                token, session = line.sessions.login("wang", PASSWORD)
                who = {"cookie": f"{COOKIE}={token}", "x-csrf-token": session.csrf}
        for _ in range(50):
            method, path, body, headers = injured(PANEL if rng.random() < 0.9 else AGENT, rng)
            asked = f"{method} {path!r} {body!r} {headers!r}"
            made += 1
            try:
                status, said = await asyncio.wait_for(_asked(app, method, path, body, {**who, **headers}), 60)
            except Exception as error:  # noqa: BLE001 - any error out of an application is what this program looks for, and it is told
                return made, f"{asked}: {type(error).__name__}: {error}"
            if status == 0 or (status >= 500 and not path.startswith("/read")):
                return made, f"{asked}: {status} {said[:300]!r}"
    return made, ""
