"""Proposals and handovers by their rules, over HTTP, with a clock that is passed in."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge_agent.config import load_agent
from edge_agent.config.approved import Approvals, choose, document_of
from edge_agent.core import Refused
from edge_agent.core.change import check_change, config_sha256, decode_changes
from edge_agent.core.signing import public_keys, signing_key
from gateway.audit import Actor
from gateway.audit_verify import faults
from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from gateway.office import Office
from gateway.proposals import FILE
from tests.agent.line import CONFIG
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_access import login
from tests.gateway.console.test_api import is_problem
from tests.gateway.test_users import PASSWORD, Desk, S

GMP = CONFIG.replace("id: e1,", "id: e1, gmp: true,")
SIGNED = {"password": PASSWORD, "meaning": "approved for use"}


@pytest.fixture
def plant() -> Plant:
    return Plant()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "gw")
    for name, role in (
        ("wang", "operator"), ("li", "shift_lead"), ("chen", "engineer"), ("zhao", "quality"), ("sun", "quality"), ("root", "security_admin"),
    ):
        made.add(name, role)
    yield made
    made.close()


@pytest.fixture
async def office(desk: Desk, tmp_path: Path) -> AsyncIterator[Office]:
    key = signing_key(tmp_path / "gw" / "keys")
    made = Office.open(tmp_path / "gw", desk.trail, key, gateway="gw1", site="demo", handover_s=43_200, clock=lambda: desk.now)
    yield made
    made.close()


@pytest.fixture
async def client(plant: Plant, desk: Desk, office: Office) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(plant, timezone="Asia/Shanghai", hosts=LOOPBACK, sessions=desk.sessions, office=office)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1") as made:
        yield made


def proposal(folder: Path, config: str = GMP, reason: str = "CR-12: wider limit") -> dict[str, Any]:
    """What `edge-agent propose` sends."""
    path = folder / "agent.yaml"
    path.write_text(config, "utf-8")
    document = document_of(load_agent(path))
    return {"edge": "e1", "site": "demo", "sha256": config_sha256(document), "config": document, "reason": reason}


async def test_a_change_goes_from_proposal_over_signature_to_the_edge(client: httpx.AsyncClient, desk: Desk, office: Office, tmp_path: Path) -> None:
    token = await login(client, "chen")
    first = (await client.post("/api/v1/proposals", json=proposal(tmp_path), headers=token)).json()
    assert (first["id"], first["state"], first["proposed_by"]) == (1, "proposed", "chen")
    is_problem(await client.post("/api/v1/proposals", json=proposal(tmp_path), headers=token), 422)  # it waits already
    token = await login(client, "zhao")
    body = {"reason": "reviewed", "signature": SIGNED}
    assert (await client.post("/api/v1/proposals/1/approve", json=body, headers=token)).json()["state"] == "approved"
    token = await login(client, "chen")
    wider = proposal(tmp_path, GMP.replace("limit: 16,", "limit: 18,"))
    second = (await client.post("/api/v1/proposals", json=wider, headers=token)).json()
    assert second["differences"] == [{"key": "alarms[press1/force.high].limit", "old": "16.0", "new": "18.0"}]
    entry = desk.trail.entries()[0]
    limit = "alarms[press1/force.high].limit"
    assert (entry["action"], entry["object"], entry["old"], entry["new"]) == ("propose", "edge e1: proposal 2", f"{limit}=16.0", f"{limit}=18.0")
    token = await login(client, "zhao")
    effective = desk.now + 600 * S
    done = (await client.post("/api/v1/proposals/2/approve", json=body | {"effective": str(effective)}, headers=token)).json()
    assert (done["decided_by"], done["meaning"], done["why"], done["effective_ns"]) == ("zhao", "approved for use", "reviewed", effective)
    entry = desk.trail.entries()[0]
    assert (entry["action"], entry["name"], entry["meaning"], entry["reason"]) == ("approve", "Zhao", "approved for use", "reviewed")
    # What is published is what the edge takes, and nothing before its time.
    sent: dict[str, bytes] = {}
    office.proposals.give(sent.__setitem__)
    approvals = decode_changes(sent["pharmedge/demo/e1/approvals/gw1"])
    assert [a.proposal for a in approvals] == [1, 2]
    sent.clear()
    office.proposals.give(sent.__setitem__)
    assert sent == {}
    keys = tmp_path / "data" / "keys"
    keys.mkdir(parents=True)
    for public in (tmp_path / "gw" / "keys").glob("*.pub"):
        (keys / public.name).write_bytes(public.read_bytes())
    assert Approvals(tmp_path / "data", site="demo", edge="e1").take(approvals)[1] == []
    settings = load_agent(tmp_path / "agent.yaml")
    assert choose(settings, tmp_path / "data", effective - 1).approval is None
    assert choose(settings, tmp_path / "data", effective).settings.alarms[0].limit == 18.0  # type: ignore[union-attr]
    file = await client.get("/api/v1/proposals/2/approval")
    check_change(decode_changes(file.content)[0], public_keys(keys), site="demo", edge="e1")
    assert faults(tmp_path / "gw") == []


async def test_nobody_approves_their_own_proposal_whatever_their_role_became(client: httpx.AsyncClient, desk: Desk, tmp_path: Path) -> None:
    token = await login(client, "chen")
    assert (await client.post("/api/v1/proposals", json=proposal(tmp_path), headers=token)).status_code == 201
    body = {"reason": "fine", "signature": SIGNED}
    is_problem(await client.post("/api/v1/proposals/1/approve", json=body, headers=token), 403)  # an engineer does not approve
    root = Actor("root", "security_admin")
    desk.sessions.accounts.role(root, "chen", "quality", "moved")
    token = await login(client, "chen")
    assert "one's own proposal" in is_problem(await client.post("/api/v1/proposals/1/approve", json=body, headers=token), 409)["detail"]
    assert (desk.trail.entries()[0]["action"], desk.trail.entries()[0]["reason"]) == ("refused", "one's own proposal")
    for name in ("root", "wang", "li"):
        token = await login(client, name)
        is_problem(await client.post("/api/v1/proposals/1/approve", json=body, headers=token), 403)
        is_problem(await client.post("/api/v1/proposals", json=proposal(tmp_path), headers=token), 403)


async def test_an_approval_needs_the_password_again_and_a_reason(client: httpx.AsyncClient, desk: Desk, tmp_path: Path) -> None:
    token = await login(client, "chen")
    await client.post("/api/v1/proposals", json=proposal(tmp_path), headers=token)
    token = await login(client, "zhao")
    wrong = {"reason": "fine", "signature": SIGNED | {"password": "wrong"}}
    is_problem(await client.post("/api/v1/proposals/1/approve", json=wrong, headers=token), 401)
    is_problem(await client.post("/api/v1/proposals/1/approve", json={"reason": " ", "signature": SIGNED}, headers=token), 422)
    assert (await client.get("/api/v1/proposals/1")).json()["state"] == "proposed"


async def test_what_was_compared_with_another_state_is_proposed_again(client: httpx.AsyncClient, desk: Desk, tmp_path: Path) -> None:
    token = await login(client, "chen")
    for limit in (16, 18):
        await client.post("/api/v1/proposals", json=proposal(tmp_path, GMP.replace("limit: 16,", f"limit: {limit},")), headers=token)
    token = await login(client, "zhao")
    body = {"reason": "fine", "signature": SIGNED}
    assert (await client.post("/api/v1/proposals/2/approve", json=body, headers=token)).status_code == 200
    assert "propose it again" in is_problem(await client.post("/api/v1/proposals/1/approve", json=body, headers=token), 409)["detail"]
    refused = (await client.post("/api/v1/proposals/1/refuse", json={"reason": "late"}, headers=token)).json()
    assert (refused["state"], refused["why"]) == ("refused", "late")
    is_problem(await client.post("/api/v1/proposals/1/refuse", json={"reason": "late"}, headers=token), 409)


async def test_a_damaged_proposal_is_not_taken(client: httpx.AsyncClient, tmp_path: Path) -> None:
    token = await login(client, "chen")
    good = proposal(tmp_path)
    other_edge = good | {"edge": "e2"}
    edited = good | {"config": good["config"] | {"windows": {"length_s": 1}}}
    for wrong, words in ((other_edge, "edge e2"), (edited, "sha256"), (good | {"reason": ""}, "reason"), (good | {"site": "x"}, "site")):
        assert words in is_problem(await client.post("/api/v1/proposals", json=wrong, headers=token), 422)["detail"]
    own = await client.post("/api/v1/proposals", json=good, headers=token)
    withdrawn = await client.post(f"/api/v1/proposals/{own.json()['id']}/refuse", json={"reason": "a mistake"}, headers=token)
    assert withdrawn.json()["state"] == "withdrawn"


async def test_an_approval_that_was_edited_in_the_store_is_not_taken(client: httpx.AsyncClient, office: Office, tmp_path: Path) -> None:
    token = await login(client, "chen")
    await client.post("/api/v1/proposals", json=proposal(tmp_path), headers=token)
    token = await login(client, "zhao")
    await client.post("/api/v1/proposals/1/approve", json={"reason": "fine", "signature": SIGNED}, headers=token)
    with sqlite3.connect(tmp_path / "gw" / FILE) as db:
        db.execute("UPDATE proposal SET approval=replace(CAST(approval AS TEXT), 'zhao', 'sun')")
    db.close()
    with pytest.raises(Refused, match="signature"):
        check_change(office.proposals.approvals("e1")[0], public_keys(tmp_path / "gw" / "keys"), site="demo", edge="e1")


async def test_a_shift_is_handed_over_and_taken_over(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:
    standing = plant.raise_alarm("press1/main_force", "high", 2)
    shelved = plant.raise_alarm("press1/hopper_level", "low", 3)
    plant.occurrences[shelved]["state"] = "SHLVD"
    plant.raise_alarm("press1/room_temp", "high", 4, advisory=True)
    token = await login(client, "wang")
    offered = (await client.post("/api/v1/handovers", json={"notes": "punch 7 watched"}, headers=token)).json()
    assert [(i["occurrence"], i["kind"]) for i in offered["items"]] == [(standing, "standing"), (shelved, "shelved")]
    is_problem(await client.post("/api/v1/handovers", json={}, headers=token), 409)  # one at a time
    accept = {"digest": offered["digest"], "remark": "seen"}
    assert "oneself" in is_problem(await client.post("/api/v1/handovers/1/accept", json=accept, headers=token), 409)["detail"]
    assert (desk.trail.entries()[0]["action"], desk.trail.entries()[0]["reason"]) == ("refused", "one's own handover")
    desk.sessions.settings = desk.sessions.settings.model_copy(update={"sign": ("hand_over",)})
    token = await login(client, "li")
    is_problem(await client.post("/api/v1/handovers/1/accept", json=accept | {"digest": "0" * 64}, headers=token), 403)  # not signed
    signature = {"signature": {"password": PASSWORD, "meaning": "taken over"}}
    is_problem(await client.post("/api/v1/handovers/1/accept", json=accept | {"digest": "0" * 64} | signature, headers=token), 409)
    done = (await client.post("/api/v1/handovers/1/accept", json=accept | signature, headers=token)).json()
    assert (done["state"], done["accepted_by"], done["meaning"], done["remark"]) == ("accepted", "li", "taken over", "seen")
    offer, accepted = [e for e in desk.trail.entries() if e["action"].startswith("handover")][::-1]
    assert (offer["action"], offer["user"], offer["reason"]) == ("handover_offer", "wang", "punch 7 watched")
    assert accepted["new"].startswith("1 standing, 1 shelved, 0 suppressed, 0 out of service; list ")
    assert (accepted["action"], accepted["name"], accepted["meaning"]) == ("handover_accept", "Li", "taken over")
    assert [h["id"] for h in (await client.get("/api/v1/handovers")).json()["handovers"]] == [1]
    token = await login(client, "zhao")
    is_problem(await client.post("/api/v1/handovers", json={}, headers=token), 403)


async def test_an_overdue_handover_shows(client: httpx.AsyncClient, desk: Desk, office: Office) -> None:
    assert (await client.get("/api/v1/handovers")).json()["overdue_ns"] is None
    begun = desk.now
    desk.now += 43_201 * S
    assert (await client.get("/api/v1/handovers")).json()["overdue_ns"] == begun + 43_200 * S
    token = await login(client, "wang")
    one = (await client.post("/api/v1/handovers", json={}, headers=token)).json()
    assert (await client.post("/api/v1/handovers/1/withdraw", headers=token)).json()["state"] == "withdrawn"
    two = (await client.post("/api/v1/handovers", json={}, headers=token)).json()
    assert one["digest"] == two["digest"]
    token = await login(client, "li")
    await client.post("/api/v1/handovers/2/accept", json={"digest": two["digest"]}, headers=token)
    assert office.handovers.overdue_ns() is None
