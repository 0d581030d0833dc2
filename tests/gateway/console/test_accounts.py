"""Accounts over HTTP: what an administrator may change, what nobody may change about themselves, and what is written down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from gateway.sessions import NotAllowed
from gateway.users import RIGHTS
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_access import login
from tests.gateway.console.test_api import is_problem
from tests.gateway.test_users import PASSWORD, Desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path)
    for name, role in (("wang", "operator"), ("chen", "engineer"), ("root", "security_admin")):
        made.add(name, role)
    yield made
    made.close()


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Plant(), timezone="Asia/Shanghai", hosts=LOOPBACK, sessions=desk.sessions)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1") as made:
        yield made


def test_duties_are_separate() -> None:
    assert all(not {"propose", "approve"} <= rights and not {"approve", "manage_users"} <= rights for rights in RIGHTS.values())


THREE = ("system_admin", "security_admin", "audit_admin")


def test_system_security_and_audit_are_administered_by_three_and_nobody_reads_the_trail_of_what_they_administer() -> None:
    change, trail = {"manage_users", "manage_system", "propose"}, {"read_audit", "review_audit"}
    held = {role: set(rights) for role, rights in RIGHTS.items()}
    assert all(not (rights & change and rights & trail) for rights in held.values())
    for role in THREE:  # each has a duty, no two have one in common, and none has a part in production
        assert held[role]
        assert held[role] <= change | trail
        assert not any(held[role] & held[other] for other in THREE if other != role)
    assert {role for role, rights in held.items() if "manage_users" in rights} == {"security_admin"}


async def test_who_administers_neither_reads_nor_exports_nor_verifies_the_trail(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.add("sys", "system_admin")
    desk.add("rev", "audit_admin")
    asked = ("audit", "audit?format=csv", "audit/verify", "audit/batches")
    for name in ("root", "sys", "chen"):
        await login(client, name)
        for path in asked:
            assert "may not read audit" in is_problem(await client.get(f"/api/v1/{path}"), 403)["detail"]
    token = await login(client, "rev")
    assert [(await client.get(f"/api/v1/{path}")).status_code for path in asked] == [200] * 4
    # What was taken out of the trail or judged of it is itself in it.
    assert [e["action"] for e in desk.trail.entries()[:2]] == ["audit_verify", "audit_export"]
    is_problem(await client.get("/api/v1/users"), 403)
    for leaf, body in (("role", {"role": "viewer", "reason": "x"}), ("disabled", {"disabled": True, "reason": "x"})):
        is_problem(await client.post(f"/api/v1/users/wang/{leaf}", json=body, headers=token), 403)
    is_problem(await client.post("/api/v1/notifications/x/test", headers=token), 403)


async def test_verification_at_the_console_names_what_was_changed(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.add("rev", "audit_admin")
    await login(client, "rev")
    assert (await client.get("/api/v1/audit/verify")).json()["faults"] == []
    desk.trail._db.executescript("DROP TRIGGER entry_kept; UPDATE entry SET body=replace(body, 'login', 'logout') WHERE seq=1")
    assert "entry 1" in str((await client.get("/api/v1/audit/verify")).json()["faults"])


@pytest.mark.parametrize(("before", "after"), [("security_admin", "audit_admin"), ("audit_admin", "system_admin"), ("system_admin", "quality")])
async def test_an_account_never_moves_between_administering_and_auditing(client: httpx.AsyncClient, desk: Desk, before: str, after: str) -> None:
    desk.add("sun", before)
    token = await login(client, "root")
    answer = await client.post("/api/v1/users/sun/role", json={"role": after, "reason": "new duties"}, headers=token)
    assert "never one account" in is_problem(answer, 422)["detail"]
    assert desk.users.known("sun").role == before
    assert desk.trail.entries()[0]["action"] == "refused"
    moved = await client.post("/api/v1/users/sun/role", json={"role": "viewer", "reason": "moved"}, headers=token)
    assert moved.status_code == 200
    # Nor in two steps: what the account was stays in the trail.
    answer = await client.post("/api/v1/users/sun/role", json={"role": after, "reason": "new duties"}, headers=token)
    assert f"{before} and {after} are never one account" in is_problem(answer, 422)["detail"]
    assert desk.users.known("sun").role == "viewer"
    back = await client.post("/api/v1/users/sun/role", json={"role": before, "reason": "old duties"}, headers=token)
    assert back.status_code == 200


async def test_the_one_administrator_of_an_earlier_version_keeps_accounts_and_no_longer_reads_the_trail(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.add("root", "security_admin")
    desk.users.ask("UPDATE user SET role='admin'")
    desk.close()
    for _ in range(2):  # and it is written down once
        desk = Desk(tmp_path)
        _, session = desk.sessions.login("root", PASSWORD, "127.0.0.1")
        desk.sessions.allowed(session, "manage_users", "accounts")
        with pytest.raises(NotAllowed, match="read audit"):
            desk.sessions.allowed(session, "read_audit", "audit trail")
        changed = [e for e in desk.trail.entries() if e["action"] == "user_role"]
        assert [(e["role"], e["object"], e["old"], e["new"]) for e in changed] == [("service", "user root", "admin", "security_admin")]
        # The older version finds its role again after a rollback, also when the account was changed meanwhile.
        desk.users.put(desk.users.known("root"), None, 1)
        desk.users.put(desk.users.known("root"), PASSWORD, 2)
        assert desk.users.ask("SELECT role FROM user WHERE name='root'") == [("admin",)]
        desk.close()


@pytest.mark.parametrize("name", ["wang", "chen"])
async def test_only_an_administrator_sees_and_changes_accounts(client: httpx.AsyncClient, desk: Desk, name: str) -> None:
    is_problem(await client.get("/api/v1/users"), 401)
    token = await login(client, name)
    is_problem(await client.get("/api/v1/users"), 403)
    is_problem(await client.post("/api/v1/users/wang/role", json={"role": "quality", "reason": "x"}, headers=token), 403)
    assert [e["action"] for e in desk.trail.entries()[:2]] == ["refused", "refused"]


async def test_an_administrator_makes_changes_resets_disables_and_ends(client: httpx.AsyncClient, desk: Desk) -> None:
    await login(client, "wang")  # the cookie is taken over by the next login; wang's session stays open
    token = await login(client, "root")
    made = {"name": "zhao", "full_name": "赵敏", "role": "quality", "password": PASSWORD, "reason": "new in the department"}
    assert (await client.post("/api/v1/users", json=made, headers=token)).status_code == 201
    is_problem(await client.post("/api/v1/users", json=made, headers=token), 422)  # a name is never given twice
    promoted = await client.post("/api/v1/users/wang/role", json={"role": "shift_lead", "reason": "trained"}, headers=token)
    assert promoted.json()["role"] == "shift_lead"
    entry = desk.trail.entries()[0]
    assert (entry["user"], entry["action"], entry["old"], entry["new"], entry["reason"]) == ("root", "user_role", "operator", "shift_lead", "trained")
    listed = (await client.get("/api/v1/users")).json()
    assert [u["name"] for u in listed["users"]] == ["chen", "root", "wang", "zhao"]
    assert "hash" not in str(listed)
    assert [s["user"] for s in listed["sessions"]] == ["root"]  # another role ended wang's
    reset = {"password": "another horse 7", "reason": "forgotten"}
    assert (await client.post("/api/v1/users/wang/password", json=reset, headers=token)).status_code == 200
    is_problem(await client.post("/api/v1/session", json={"user": "wang", "password": PASSWORD}), 401)
    token = await login(client, "root")
    disabled = await client.post("/api/v1/users/chen/disabled", json={"disabled": True, "reason": "left the plant"}, headers=token)
    assert disabled.json()["disabled"] is True
    assert desk.users.verify("chen", PASSWORD) is None
    is_problem(await client.post("/api/v1/users/zhao/role", json={"role": "viewer", "reason": " "}, headers=token), 422)  # why is needed


async def test_who_knows_the_password_of_another_does_not_sign_as_them(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.add("zhao", "quality")
    token = await login(client, "root")
    reset = {"password": "another horse 7", "reason": "forgotten"}
    assert (await client.post("/api/v1/users/zhao/password", json=reset, headers=token)).status_code == 200

    async def as_zhao(password: str) -> dict[str, str]:
        answer = await client.post("/api/v1/session", json={"user": "zhao", "password": password})
        assert answer.json()["user"]["must_change"] is (password == reset["password"])
        return {"X-CSRF-Token": answer.json()["csrf"]}

    token = await as_zhao(reset["password"])
    signed = {"through": 1, "signature": {"password": reset["password"], "meaning": "reviewed"}}
    assert "change it" in is_problem(await client.post("/api/v1/audit/review", json=signed, headers=token), 403)["detail"]
    assert desk.trail.entries()[0]["action"] == "refused"
    _, lead = desk.sessions.login("chen", PASSWORD, "127.0.0.1")
    with pytest.raises(NotAllowed, match="change it"):
        desk.sessions.agreeing(lead, "zhao", reset["password"])
    same = {"old": reset["password"], "new": reset["password"]}
    is_problem(await client.post("/api/v1/session/password", json=same, headers=token), 422)
    fresh = {"old": reset["password"], "new": "known to one alone"}
    assert (await client.post("/api/v1/session/password", json=fresh, headers=token)).status_code == 200
    token = await as_zhao(fresh["new"])
    signed["signature"] = {"password": fresh["new"], "meaning": "reviewed"}
    assert (await client.post("/api/v1/audit/review", json=signed, headers=token)).status_code == 200


async def test_sessions_are_listed_and_ended(client: httpx.AsyncClient, desk: Desk) -> None:
    token_of_wang, _ = desk.sessions.login("wang", PASSWORD, "10.0.0.7")
    token = await login(client, "root")
    [theirs] = [s for s in (await client.get("/api/v1/users")).json()["sessions"] if s["user"] == "wang"]
    assert token_of_wang not in str(theirs)
    assert (await client.request("DELETE", f"/api/v1/sessions/{theirs['id']}?reason=left", headers=token)).json() == {"user": "wang"}
    assert desk.sessions.find(token_of_wang) is None
    assert desk.trail.entries()[0]["action"] == "session_end"
    is_problem(await client.request("DELETE", "/api/v1/sessions/0000", headers=token), 422)


@pytest.mark.parametrize(
    ("leaf", "body"),
    [
        ("role", {"role": "quality", "reason": "x"}),
        ("password", {"password": "another horse 7", "reason": "x"}),
        ("disabled", {"disabled": True, "reason": "x"}),
    ],
)
async def test_nobody_changes_their_own_account(client: httpx.AsyncClient, desk: Desk, leaf: str, body: dict[str, object]) -> None:
    token = await login(client, "root")
    problem = is_problem(await client.post(f"/api/v1/users/root/{leaf}", json=body, headers=token), 422)
    assert "one's own" in problem["detail"]
    assert desk.users.known("root").role == "security_admin"
    assert (desk.trail.entries()[0]["action"], desk.trail.entries()[0]["reason"]) == ("refused", "one's own account")


async def test_the_first_account_is_not_made_over_the_network(client: httpx.AsyncClient, desk: Desk) -> None:
    desk.users.ask("DELETE FROM user")
    made = {"name": "evil", "full_name": "E", "role": "admin", "password": PASSWORD}
    assert "edge-gateway user add" in is_problem(await client.post("/api/v1/users", json=made), 404)["detail"]
