"""The panel's interface: who may act, what is sent on to the alarms, and what its stream says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.types import Message

from edge_agent.local import panel
from edge_agent.local.panel import routes
from edge_agent.local.panel_stream import PanelStream
from tests.local.line import PASSWORD, PEOPLE, T0, Line, S, listed, person

FORCE, LEVEL, GUARD, LATCH = "press1/main_force.high", "press1/hopper_level.low", "press1/guard.open", "press1/guard.latch"


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> int:
        self.now += 1000
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def line(clock: Clock) -> Line:
    made = Line(clock)
    made.people.take("gw1", listed(*PEOPLE))
    made.committed([])
    return made


def client(line: Line) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Starlette(routes=routes(line.panel))), base_url="http://127.0.0.1:9580/panel/")


async def logged_in(http: httpx.AsyncClient, name: str = "wang") -> None:
    answer = await http.post("api/session", json={"user": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    http.headers["x-csrf-token"] = answer.json()["csrf"]
    http.cookies.set("pharmedge_panel", answer.cookies["pharmedge_panel"])


async def act(http: httpx.AsyncClient, kind: str, *occurrences: str, **more: Any) -> httpx.Response:
    return await http.post("api/actions", json={"kind": kind, "occurrences": list(occurrences), **more})


async def test_looking_needs_no_login_and_acting_does(line: Line) -> None:
    occurrence = line.turn(FORCE, True, 16.5)
    async with client(line) as http:
        state = (await http.get("api/session")).json()
        assert (state["user"], state["people"]["count"], state["edge"]) == (None, 3, "press-edge-1")
        refused = await act(http, "acknowledge", occurrence)
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
        await logged_in(http)
        done = await act(http, "acknowledge", occurrence, reason="seen")
        assert done.status_code == 202
    assert line.state(FORCE) == "ACKED"
    (action,) = line.actions
    assert (action.user, action.role, action.station, action.reason) == ("wang", "operator", "panel", "seen")
    assert done.json()["actions"] == {occurrence: action.id}
    assert line.notes == [("login", "wang", "")]


async def test_shelving_follows_the_rules_of_the_edge_with_a_second_person_where_they_ask_for_one(line: Line) -> None:
    level, guard = line.turn(LEVEL, True, 8.0), line.turn(GUARD, True)
    async with client(line) as http:
        await logged_in(http)
        await act(http, "shelve", level, reason="probe is dirty", duration_s=600)
        assert line.state(LEVEL) == "SHLVD"
        await act(http, "unshelve", level)
        assert line.state(LEVEL) == "UNACK"
        await logged_in(http, "zhao")
        await act(http, "shelve", guard, reason="door switch replaced", duration_s=600)
        assert line.state(GUARD) == "UNACK"  # nobody alone
        wrong = await act(http, "shelve", guard, reason="x", second={"user": "li", "password": "not it"})
        assert wrong.status_code == 401
        await act(http, "shelve", guard, reason="door switch replaced", duration_s=600, second={"user": "li", "password": PASSWORD})
    assert line.state(GUARD) == "SHLVD"
    assert (line.actions[-1].second_user, line.actions[-1].second_role) == ("li", "shift_lead")


async def test_a_password_that_another_person_set_opens_nothing(line: Line) -> None:
    reset = msgspec.structs.replace(PEOPLE[1], must_change=True)
    line.people.take("gw1", listed(PEOPLE[0], reset, PEOPLE[2], issued_ns=T0 + 1))
    guard = line.turn(GUARD, True)
    async with client(line) as http:
        refused = await http.post("api/session", json={"user": "li", "password": PASSWORD})
        assert (refused.status_code, "change it at the console first" in refused.json()["detail"]) == (403, True)
        await logged_in(http, "zhao")
        agreed = await act(http, "shelve", guard, reason="x", duration_s=600, second={"user": "li", "password": PASSWORD})
        assert agreed.status_code == 403
    assert line.state(GUARD) == "UNACK"
    assert ("login_failed", "li", "password set by another person, for login") in line.notes


async def test_quality_agrees_and_does_not_act(line: Line) -> None:
    quality = msgspec.structs.replace(person("chen", "quality"), acts=False)
    line.people.take("gw1", listed(*PEOPLE, quality, issued_ns=T0 + 1))
    guard = line.turn(GUARD, True)
    async with client(line) as http:
        refused = await http.post("api/session", json={"user": "chen", "password": PASSWORD})
        assert (refused.status_code, (await http.get("api/session")).json()["people"]["count"]) == (403, 3)
        await logged_in(http, "zhao")
        await act(http, "shelve", guard, reason="door switch replaced", duration_s=600, second={"user": "chen", "password": PASSWORD})
    assert line.state(GUARD) == "SHLVD"


async def test_a_latched_alarm_is_reset_and_an_old_occurrence_is_refused(line: Line) -> None:
    occurrence = line.turn(LATCH, True)
    line.turn(LATCH, False)
    async with client(line) as http:
        await logged_in(http)
        await act(http, "acknowledge", occurrence)
        await act(http, "reset", occurrence)
        assert line.state(LATCH) == "NORM"
        again = line.turn(LATCH, True)
        assert again != occurrence
        await act(http, "acknowledge", occurrence)
    assert line.state(LATCH) == "UNACK"
    assert [e.event for _, e in line.desk.events][-1] == "refuse"


async def test_wrong_passwords_wait_at_most_ten_seconds_and_never_lock_a_name(line: Line, clock: Clock) -> None:
    async with client(line) as http:
        codes = [(await http.post("api/session", json={"user": "wang", "password": f"wrong {i}"})).status_code for i in range(7)]
        assert codes[:5] == [401] * 5
        assert 429 in codes
        late = await http.post("api/session", json={"user": "wang", "password": PASSWORD})
        assert int(late.headers["retry-after"]) <= 10
        clock.now += 10 * S
        await logged_in(http)
    assert next(n for n in line.notes if n[0] == "login_failed") == ("login_failed", "wang", "wrong password for login")


async def test_a_name_that_nobody_has_is_not_written_down(line: Line) -> None:
    async with client(line) as http:
        assert (await http.post("api/session", json={"user": "my secret password", "password": "x"})).status_code == 401
    assert line.notes == []


async def test_a_session_ends_by_itself_and_with_another_role(line: Line, clock: Clock) -> None:
    async with client(line) as http:
        await logged_in(http)
        clock.now += 299 * S
        assert (await http.post("api/session/touch")).status_code == 200
        clock.now += 301 * S
        assert (await http.get("api/session")).json()["user"] is None
        assert (await http.post("api/session/touch")).status_code == 401
        await logged_in(http)
        line.people.take("gw1", listed(person("wang", "viewer"), issued_ns=T0 + 1))
        assert (await http.get("api/session")).json()["user"] is None


async def test_other_sites_other_hosts_and_what_is_no_action_are_refused(line: Line) -> None:
    occurrence = line.turn(FORCE, True, 16.5)
    async with client(line) as http:
        await logged_in(http)
        assert (await http.get("api/session", headers={"host": "evil.example:9580"})).status_code == 403
        assert (await http.post("api/session/touch", headers={"sec-fetch-site": "cross-site"})).status_code == 403
        assert (await http.post("api/session/touch", headers={"x-csrf-token": "other"})).status_code == 403
        assert (await act(http, "out_of_service", occurrence)).status_code == 422
        assert (await act(http, "acknowledge", "press-edge-1~no.such~1")).status_code == 404
        assert (await act(http, "acknowledge", "nonsense")).status_code == 422
        assert (await act(http, "acknowledge")).status_code == 422
        assert (await http.post("api/actions", content=b"{")).status_code == 400
        assert (await http.post("api/actions", content=b" " * 300_000)).status_code == 422
        page = await http.get("")
        assert "script-src 'self'" in page.headers["content-security-policy"]
    assert line.actions == []


async def test_a_body_that_does_not_come_is_not_waited_for(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    monkeypatch.setattr(panel, "BODY_S", 0.05)
    async with client(line) as http:
        for path in ("api/session", "api/actions"):
            answer = await http.post(path, content=never())
            assert (answer.status_code, answer.headers["connection"]) == (408, "close")
            assert answer.json()["detail"] == "body: expected all of it within 0.05 s"


async def test_whoever_goes_in_the_middle_of_a_body_leaves_no_fault_behind(line: Line) -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def nobody(_: Message) -> None:
        return

    headers = [(b"host", b"127.0.0.1:9580"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": "/panel/api/session", "root_path": "", "query_string": b"", "headers": headers}
    await Starlette(routes=routes(line.panel))(scope, gone, nobody)
    assert line.notes == []


async def test_without_accounts_a_name_is_given_and_without_a_list_nobody_acts(line: Line) -> None:
    occurrence = line.turn(FORCE, True, 16.5)
    line.people.take("gw1", listed(open_=True, issued_ns=T0 + 1))
    async with client(line) as http:
        assert (await act(http, "acknowledge", occurrence)).status_code == 422
        assert (await act(http, "acknowledge", occurrence, user="wang")).status_code == 202
    assert line.state(FORCE) == "ACKED"
    never = Line(line.clock)
    async with client(never) as http:
        assert (await act(http, "acknowledge", occurrence, user="wang")).status_code == 401


def read(frame: bytes) -> tuple[str, Any]:
    event, data = frame.decode().strip().split("\n")[-2:]
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def test_the_stream_tells_what_stands_each_change_what_became_of_actions_and_a_beat(line: Line) -> None:
    line.turn(FORCE, True, 16.5)
    stream = line.panel.streams.open()
    assert isinstance(stream, PanelStream)
    frames = stream.frames()
    hello, first = read(await anext(frames)), read(await anext(frames))
    assert (hello[0], hello[1]["timezone"]) == ("hello", "Asia/Shanghai")
    assert [(r["alarm"], r["state"], r["response"]["zh"]) for r in first[1]["alarms"]] == [(FORCE, "UNACK", "减小填充深度，检查冲头")]
    assert read(await anext(frames))[0] == "beat"
    line.turn(LEVEL, True, 8.0)
    id_ = line.desk.ask("acknowledge", FORCE, line.desk.standing[FORCE].raised_ns, _wang())
    async with asyncio.timeout(5):
        kind, data = read(await anext(frames))
    assert kind == "alarms"
    assert {r["alarm"]: r["state"] for r in data["alarms"]} == {FORCE: "ACKED", LEVEL: "UNACK"}
    assert [(o["action_id"], o["event"]) for o in data["outcomes"]] == [(id_, "acknowledge")]
    line.panel.streams.stop()
    async with asyncio.timeout(5):
        assert [read(f)[0] async for f in frames] in ([], ["beat"])
    stream.close()
    assert line.panel.streams.open() is None


def _wang() -> Any:
    from edge_agent.local.desk import Actor

    return Actor("wang", "operator", "panel")


async def test_a_logout_of_nobody_is_refused(line: Line) -> None:
    async with client(line) as http:
        answer = await http.delete("api/session")
    assert (answer.status_code, answer.json()["title"]) == (401, "NotLoggedIn")
