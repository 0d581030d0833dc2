"""Login, roles, tokens, signatures and the audit trail at the HTTP interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_api import is_problem
from tests.gateway.test_users import PASSWORD, Desk


@pytest.fixture
def plant() -> Plant:
    return Plant()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
async def client(plant: Plant, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(plant, timezone="Asia/Shanghai", hosts=LOOPBACK, sessions=desk.sessions)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as made:
        yield made


def people(desk: Desk) -> None:
    for name, role in (("wang", "operator"), ("zhao", "quality"), ("look", "viewer"), ("root", "admin")):
        desk.add(name, role)


async def login(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    answer = await client.post("/api/v1/session", json={"user": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return {"X-CSRF-Token": answer.json()["csrf"]}


def ack(occurrence: str) -> str:
    return f"/api/v1/alarms/{quote(occurrence, safe='')}/ack"


async def test_without_accounts_everyone_acts_under_the_name_they_give(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    assert (await client.get("/api/v1/session")).json()["accounts"] is False
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    assert (await client.post(ack(occurrence), json={"user": "li", "reason": "seen"})).status_code == 202
    entry = (await client.get("/api/v1/audit")).json()["entries"][0]
    assert (entry["user"], entry["role"], entry["action"], entry["object"], entry["old"]) == ("li", "", "acknowledge", occurrence, "UNACK")
    is_problem(await client.post("/api/v1/session", json={"user": "li", "password": "x"}), 404)


async def test_looking_needs_no_login_and_acting_does(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    for path in ("tags", "alarms", "edges", "status", "ledger"):
        assert (await client.get(f"/api/v1/{path}")).status_code == 200
    is_problem(await client.post(ack(occurrence), json={"user": "wang"}), 401)
    is_problem(await client.get("/api/v1/audit"), 401)
    assert plant.acknowledged == []


async def test_the_session_says_who_acknowledges(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, "wang")
    is_problem(await client.post(ack(occurrence), json={"user": "zhao"}, headers=token), 403)
    is_problem(await client.post(ack(occurrence), json={}), 403)  # a foreign form has the cookie and not the token
    assert plant.acknowledged == []
    assert (await client.post(ack(occurrence), json={"reason": "seen"}, headers=token)).status_code == 202
    assert plant.acknowledged == [(occurrence, "wang", "seen")]
    entry = desk.trail.entries()[0]
    assert (entry["user"], entry["name"], entry["role"], entry["station"], entry["reason"]) == ("wang", "Wang", "operator", "127.0.0.1", "seen")


async def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    answer = await client.post("/api/v1/session", json={"user": "wang", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert PASSWORD not in answer.text
    assert answer.json()["user"]["rights"] == ["acknowledge", "hand_over", "shelve"]
    assert (await client.request("DELETE", "/api/v1/session")).status_code == 403
    assert (await client.request("DELETE", "/api/v1/session", headers={"X-CSRF-Token": answer.json()["csrf"]})).status_code == 200
    assert (await client.get("/api/v1/session")).json()["user"] is None


@pytest.mark.parametrize("name", ["look", "zhao", "root"])
async def test_other_roles_do_not_acknowledge(client: httpx.AsyncClient, plant: Plant, desk: Desk, name: str) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, name)
    is_problem(await client.post(ack(occurrence), json={}, headers=token), 403)
    assert plant.acknowledged == []
    assert desk.trail.entries()[0]["action"] == "refused"


async def test_a_signature_where_it_is_asked_for(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    desk.sessions.settings = desk.sessions.settings.model_copy(update={"sign": ("acknowledge",)})
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, "wang")
    assert (await client.get("/api/v1/session")).json()["sign"] == ["acknowledge"]
    assert is_problem(await client.post(ack(occurrence), json={}, headers=token), 403)["type"] == "urn:pharmedge:signature-needed"
    wrong = {"signature": {"password": "wrong", "meaning": "seen"}}
    is_problem(await client.post(ack(occurrence), json=wrong, headers=token), 401)
    right = {"signature": {"password": PASSWORD, "meaning": "seen and answered"}}
    assert (await client.post(ack(occurrence), json=right, headers=token)).status_code == 202
    entry = desk.trail.entries()[0]
    assert (entry["name"], entry["meaning"]) == ("Wang", "seen and answered")
    assert entry["local"] > "2026"


async def test_what_cannot_be_written_down_is_refused(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, "wang")
    desk.trail._db.execute("CREATE TRIGGER full BEFORE INSERT ON entry BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END")
    problem = is_problem(await client.post(ack(occurrence), json={}, headers=token), 503)
    assert "nothing was changed" in problem["detail"]
    assert plant.acknowledged == []
    assert (await client.get("/api/v1/alarms")).status_code == 200


async def test_a_refused_acknowledge_is_written_down_too(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    plant.occurrences[occurrence]["state"] = "ACKED"
    token = await login(client, "wang")
    is_problem(await client.post(ack(occurrence), json={}, headers=token), 409)
    assert desk.actions()[-2:] == ["acknowledge", "acknowledge_refused"]


async def test_too_many_wrong_passwords_say_when_to_come_again(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    for _ in range(5):
        is_problem(await client.post("/api/v1/session", json={"user": "wang", "password": "x"}), 401)
    answer = await client.post("/api/v1/session", json={"user": "wang", "password": PASSWORD})
    is_problem(answer, 429)
    assert answer.headers["retry-after"] == "2"


async def test_the_trail_is_read_filtered_exported_and_reviewed(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, "wang")
    await client.post(ack(occurrence), json={"reason": "=1+1"}, headers=token)
    is_problem(await client.get("/api/v1/audit"), 403)
    token = await login(client, "zhao")
    body = (await client.get("/api/v1/audit", params={"exceptions": "true"})).json()
    assert body["entries"][0]["action"] == "refused"
    assert body["head"]["seq"] == 4
    assert [e["user"] for e in (await client.get("/api/v1/audit", params={"user": "wang", "action": "acknowledge"})).json()["entries"]] == ["wang"]
    text = (await client.get("/api/v1/audit", params={"format": "csv"})).text
    assert text.startswith("\ufeffseq,ts,local,tz,user")
    assert "'=1+1" in text
    review = {"through": 4, "reason": "batch B0007", "signature": {"password": PASSWORD, "meaning": "reviewed"}}
    is_problem(await client.post("/api/v1/audit/review", json={**review, "through": 99}, headers=token), 404)
    assert (await client.post("/api/v1/audit/review", json=review, headers=token)).json() == {"seq": 5}
    done = (await client.get("/api/v1/audit")).json()["reviewed"]
    assert (done["name"], done["meaning"], done["new"]) == ("Zhao", "reviewed", "4")
    token = await login(client, "root")
    is_problem(await client.post("/api/v1/audit/review", json=review, headers=token), 403)


async def test_ones_own_password_over_http(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    token = await login(client, "wang")
    is_problem(await client.post("/api/v1/session/password", json={"old": PASSWORD, "new": "short"}, headers=token), 422)
    done = await client.post("/api/v1/session/password", json={"old": PASSWORD, "new": "quite another one"}, headers=token)
    assert done.status_code == 200
    assert (await client.get("/api/v1/session")).json()["user"] is None
