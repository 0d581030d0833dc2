"""Login, roles, tokens, signatures and the audit trail at the HTTP interface."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from gateway.audit import Act, Actor
from gateway.console.access import MOST
from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK, Rate
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
    for name, role in (("wang", "operator"), ("zhao", "quality"), ("look", "viewer"), ("root", "security_admin")):
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
    assert [(e["user"], e["action"]) for e in desk.trail.entries()[:2]] == [("wang", "refused")] * 2
    assert (await client.post(ack(occurrence), json={"reason": "seen"}, headers=token)).status_code == 202
    assert plant.acknowledged == [(occurrence, "wang", "seen")]
    entry = desk.trail.entries()[0]
    assert (entry["user"], entry["name"], entry["role"], entry["station"], entry["reason"]) == ("wang", "Wang", "operator", "127.0.0.1", "seen")


async def test_a_table_that_leaves_something_out_says_so(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    await login(client, "zhao")
    await login(client, "zhao")
    cut = (await client.get("/api/v1/audit?format=csv&limit=1")).text.splitlines()
    assert len(cut) == 3
    assert "cut: only the first 1 entries" in cut[-1]
    assert "cut:" not in (await client.get("/api/v1/audit?format=csv&limit=4")).text  # both exports are in it, too


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
    assert (await client.post("/api/v1/audit/review", json=review, headers=token)).json() == {"seq": 6}  # behind the export
    done = (await client.get("/api/v1/audit")).json()["reviewed"]
    assert (done["name"], done["meaning"], done["new"]) == ("Zhao", "reviewed", "4")
    token = await login(client, "root")
    is_problem(await client.post("/api/v1/audit/review", json=review, headers=token), 403)


async def test_nobody_reviews_what_they_did_themselves(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    desk.add("qian", "quality")
    zhao = Actor("zhao", "quality", "Zhao", "127.0.0.1")
    desk.trail.append(Actor("wang", "engineer"), Act("propose", "edge e1: proposal 1"), desk.now)
    approved = desk.trail.append(zhao, Act("approve", "edge e1: proposal 1", batch="B-1043"), desk.now)[0]
    token = await login(client, "zhao")
    signature = {"password": PASSWORD, "meaning": "reviewed"}
    for batch in ({}, {"batch": "B-1043"}):
        answer = await client.post("/api/v1/audit/review", json={"through": approved + 1, "signature": signature, **batch}, headers=token)
        is_problem(answer, 403)
        assert answer.json()["detail"] == f"entry {approved} is one's own act, which another person has to review"
        assert (desk.trail.entries()[0]["action"], desk.trail.entries()[0]["new"]) == ("refused", "review")
    # What others did before it, and another batch, are reviewed by the same person; so is their own login.
    for more in ({"through": approved - 1}, {"through": approved + 1, "batch": "B-1042"}):
        assert (await client.post("/api/v1/audit/review", json={"signature": signature, **more}, headers=token)).status_code == 200
    token = await login(client, "qian")
    seq = (await client.get("/api/v1/audit")).json()["head"]["seq"]
    assert (await client.post("/api/v1/audit/review", json={"through": seq, "signature": signature}, headers=token)).status_code == 200
    token = await login(client, "zhao")
    assert (await client.post("/api/v1/audit/review", json={"through": seq + 1, "signature": signature}, headers=token)).status_code == 200
    # An earlier role changes nothing: what wang did as an engineer, wang does not review as quality.
    desk.trail.append(Actor("wang", "engineer"), Act("propose", "edge e1: proposal 2"), desk.now)
    desk.users.ask("UPDATE user SET role='quality' WHERE name='wang'")
    token = await login(client, "wang")
    seq = desk.trail.head()[0]
    is_problem(await client.post("/api/v1/audit/review", json={"through": seq, "signature": signature}, headers=token), 403)


async def test_a_new_login_ends_the_session_that_the_same_browser_had(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    await login(client, "wang")
    before = client.cookies["pharmedge_session"]
    await login(client, "zhao")
    assert client.cookies["pharmedge_session"] != before
    assert (desk.sessions.find(before), desk.users.ask("SELECT user FROM session")) == (None, [("zhao",)])
    client.cookies.clear()
    client.cookies.set("pharmedge_session", "chosen-by-somebody-else")
    answer = await client.post("/api/v1/session", json={"user": "zhao", "password": PASSWORD})
    assert "chosen" not in answer.headers["set-cookie"]
    assert desk.sessions.find("chosen-by-somebody-else") is None


async def test_a_large_body_needs_somebody_who_may_send_one(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    desk.add("li", "engineer")
    large, larger = b" " * 100_000, b" " * 5_000_000
    for token, path, body, status in (
        (None, "/api/v1/session", large, 413),
        (None, "/api/v1/proposals", large, 413),
        ("wang", "/api/v1/alarms/ack", large, 422),
        ("wang", "/api/v1/proposals", larger, 413),
        ("li", "/api/v1/alarms/ack", larger, 413),
        ("li", "/api/v1/proposals", larger, 422),
    ):
        headers = {} if token is None else await login(client, token)
        answer = await client.post(path, content=body, headers={**headers, "Content-Type": "application/json"})
        assert answer.status_code == status, (token, path, answer.text)
        if token is None:
            assert "session" not in dict(client.cookies)


async def test_as_many_occurrences_as_one_request_may_name_have_room_in_chinese_too(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    token = await login(client, "wang")
    named = [f"press-edge-1~压片机/主压力.高{i:04d}".ljust(1024, "高") for i in range(MOST)]
    body = json.dumps({"occurrences": named, "reason": "已处理"}, ensure_ascii=False).encode()
    answer = await client.post("/api/v1/alarms/ack", content=body, headers={**token, "Content-Type": "application/json"})
    assert (answer.status_code, len(answer.json()["results"])) == (202, MOST)


async def test_ones_own_password_over_http(client: httpx.AsyncClient, desk: Desk) -> None:
    people(desk)
    token = await login(client, "wang")
    is_problem(await client.post("/api/v1/session/password", json={"old": PASSWORD, "new": "short"}, headers=token), 422)
    done = await client.post("/api/v1/session/password", json={"old": PASSWORD, "new": "quite another one"}, headers=token)
    assert done.status_code == 200
    assert (await client.get("/api/v1/session")).json()["user"] is None


def to(occurrence: str, what: str) -> str:
    return f"/api/v1/alarms/{quote(occurrence, safe='')}/{what}"


async def test_shelving_carries_role_duration_and_the_second_person(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    desk.add("chen", "engineer")
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, "chen")
    body = {"duration_s": 1800, "one_shot": True, "reason": "sensor moved"}
    second = {"user": "zhao", "password": "wrong"}
    is_problem(await client.post(to(occurrence, "shelve"), json={**body, "second": second}, headers=token), 401)
    is_problem(await client.post(to(occurrence, "shelve"), json={**body, "second": {"user": "chen", "password": PASSWORD}}, headers=token), 403)
    is_problem(await client.post(to(occurrence, "shelve"), json={**body, "duration_s": 50_000}, headers=token), 422)
    assert plant.asked == []
    answer = await client.post(to(occurrence, "shelve"), json={**body, "second": {"user": "zhao", "password": PASSWORD}}, headers=token)
    assert answer.status_code == 202
    (asked,) = plant.asked
    assert (asked.kind, asked.role, asked.duration_s, asked.one_shot, asked.second_user, asked.second_role) == (
        "shelve",
        "engineer",
        1800.0,
        True,
        "zhao",
        "quality",
    )
    entry = desk.trail.entries()[0]
    assert (entry["action"], entry["old"], entry["new"], entry["reason"]) == (
        "shelve",
        "UNACK",
        "asked, 30 min, one shot, agreed by zhao (quality)",
        "sensor moved",
    )


async def test_out_of_service_needs_a_permit_and_the_right(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    desk.add("chen", "engineer")
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    token = await login(client, "wang")
    is_problem(await client.post(to(occurrence, "out-of-service"), json={"permit": "WP-7", "reason": "exchange"}, headers=token), 403)
    token = await login(client, "chen")
    is_problem(await client.post(to(occurrence, "out-of-service"), json={"reason": "exchange"}, headers=token), 422)
    assert plant.asked == []
    assert (await client.post(to(occurrence, "out-of-service"), json={"permit": "WP-7", "reason": "exchange"}, headers=token)).status_code == 202
    assert (plant.asked[0].kind, plant.asked[0].permit) == ("out_of_service", "WP-7")


async def test_many_acknowledged_at_once_are_written_down_one_by_one(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    first, second = plant.raise_alarm("press1/main_force", "high", 2), plant.raise_alarm("press1/hopper_level", "low", 3)
    plant.raise_alarm("press1/ejection_force", "high", 2)  # came after the list was on the screen
    plant.occurrences[second]["state"] = "ACKED"
    token = await login(client, "wang")
    body = {"occurrences": [first, second, "press-edge-1~nothing~5", first], "reason": "flood"}
    results = (await client.post("/api/v1/alarms/ack", json=body, headers=token)).json()["results"]
    assert [(r["occurrence"], r["state"]) for r in results] == [(first, "sent"), (second, "refused"), ("press-edge-1~nothing~5", "refused")]
    assert plant.acknowledged == [(first, "wang", "flood")]
    assert [(e["action"], e["object"]) for e in desk.trail.entries()[::-1][1:]] == [
        ("acknowledge", first),
        ("acknowledge", second),
        ("acknowledge_refused", second),
    ]
    is_problem(await client.post("/api/v1/alarms/ack", json={"occurrences": []}, headers=token), 422)
    is_problem(await client.post("/api/v1/alarms/ack", json={"occurrences": [first]}), 403)


async def test_without_accounts_the_role_is_said_for_suppressions_only(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    occurrence = plant.raise_alarm("press1/hopper_level", "low", 3)
    answer = await client.post(to(occurrence, "shelve"), json={"user": "li", "role": "operator", "duration_s": 60, "reason": "bin change"})
    assert answer.status_code == 202
    assert (plant.asked[0].user, plant.asked[0].role) == ("li", "operator")
    is_problem(await client.post(ack(occurrence), json={"user": "li", "role": "operator"}), 422)
    normal = "press-edge-1~press1/fill_depth.high~0"
    assert (await client.post(to(normal, "shelve"), json={"user": "li", "role": "operator", "reason": "calibration"})).status_code == 202
    assert plant.asked[1].occurrence == normal
    assert desk.trail.entries()[0]["new"] == "asked, as long as allowed"


async def test_a_batch_is_reviewed_with_its_alarms_and_its_own_entries(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2, ago_s=60)
    token = await login(client, "wang")
    assert (await client.post(ack(occurrence), json={"reason": "seen"}, headers=token)).status_code == 202
    is_problem(await client.get("/api/v1/audit/batches"), 403)
    token = await login(client, "zhao")
    [entry] = (await client.get("/api/v1/audit?batch=B-1043")).json()["entries"]
    assert (entry["object"], entry["batch"]) == (occurrence, "B-1043")
    [unit] = (await client.get("/api/v1/audit/batches?batch=B-1043")).json()["batches"]
    assert [(a["occurrence"], a["priority"]) for a in unit["alarms"]] == [(occurrence, 2)]
    body = {"through": 3, "batch": "B-1043", "signature": {"password": PASSWORD, "meaning": "Reviewed"}}
    assert (await client.post("/api/v1/audit/review", json=body, headers=token)).status_code == 200
    entry = desk.trail.entries()[0]
    assert (entry["action"], entry["object"], entry["batch"], entry["new"]) == ("review", "batch B-1043", "B-1043", "3")
    answer = (await client.get("/api/v1/audit")).json()
    assert answer["reviewed"] is None  # the trail as a whole is not
    assert (await client.get("/api/v1/audit?batch=B-1043")).json()["reviewed"]["name"] == "Zhao"
    listed = (await client.get("/api/v1/audit/batches")).json()["batches"]
    assert [(b["batch"], (b["reviewed"] or {}).get("user")) for b in listed] == [("B-1043", "zhao"), ("B-1042", None)]
    assert "B-1043" in (await client.get("/api/v1/audit?batch=B-1043&format=csv")).text


async def test_an_acknowledge_of_somebody_logged_in_never_waits_for_what_others_asked(plant: Plant, desk: Desk) -> None:
    people(desk)
    occurrence = plant.raise_alarm("press1/main_force", "high", 2)
    left = Rate(0.0, 3.0)
    app = create_app(plant, timezone="Asia/Shanghai", hosts=LOOPBACK, sessions=desk.sessions, rate=left)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1") as http:
        token = await login(http, "wang")
        while left.take("127.0.0.1", 0.0):
            pass
        is_problem(await http.get("/api/v1/alarms"), 429)
        assert (await http.post(ack(occurrence), json={}, headers=token)).status_code == 202
        assert (await http.post("/api/v1/alarms/ack", json={"occurrences": [occurrence]}, headers=token)).status_code == 202
        is_problem(await http.post(to(occurrence, "shelve"), json={"reason": "x"}, headers=token), 429)
        is_problem(await http.get(ack(occurrence), headers=token), 429)
        http.cookies.clear()
        is_problem(await http.post(ack(occurrence), json={}, headers=token), 429)  # nobody is logged in
        look, _ = desk.sessions.login("look", PASSWORD, "127.0.0.1")
        http.cookies.set("pharmedge_session", look)
        is_problem(await http.post(ack(occurrence), json={}, headers=token), 429)  # and a viewer acknowledges nothing
    assert [who for _, who, _ in plant.acknowledged] == ["wang", "wang"]
