"""Setting the mode of a unit at the HTTP interface: who may, what is written down, what is refused."""

from __future__ import annotations

import httpx

from tests.gateway.console.plant import Plant
from tests.gateway.console.test_access import client, desk, login, people, plant  # noqa: F401 - fixtures
from tests.gateway.console.test_api import is_problem
from tests.gateway.test_users import Desk

UNIT = "demo/solids/line1/press1"
AT = f"/api/v1/units/press-edge-1/{UNIT}/mode"
WISH = {"mode": "cleaning", "until": "2030-01-01T12:00:00+08:00", "reason": "CIP"}


async def test_a_shift_lead_sets_and_withdraws_a_mode_and_both_are_written_down(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:  # noqa: F811
    people(desk)
    desk.add("lead", "shift_lead")
    is_problem(await client.post(AT, json=WISH), 401)
    token = await login(client, "lead")
    is_problem(await client.post(AT, json=WISH), 403)
    answer = await client.post(AT, json=WISH, headers=token)
    assert answer.status_code == 202, answer.text
    assert answer.json() == {"action_id": "mode-1", "state": "sent"}
    (asked,) = plant.modes_asked
    assert (asked.edge, asked.unit, asked.mode) == ("press-edge-1", UNIT, "cleaning")
    assert (asked.user, asked.role, asked.station) == ("lead", "shift_lead", "127.0.0.1")
    assert asked.until_ns == 1_893_470_400_000_000_000
    entry = desk.trail.entries()[0]
    told = (entry["action"], entry["object"], entry["old"], entry["new"], entry["reason"])
    assert told == ("set_mode", f"unit press-edge-1/{UNIT}", "production", "asked, cleaning until 2030-01-01T04:00:00.000000000Z", "CIP")
    (edge,) = [e for e in (await client.get("/api/v1/edges")).json()["edges"] if e["edge"] == "press-edge-1"]
    (shown,) = [u for u in edge["units"] if u["unit"] == UNIT]
    assert (shown["mode"], shown["user"], shown["until_ns"]) == ("cleaning", "lead", asked.until_ns)
    (span,) = (await client.get("/api/v1/modes")).json()["modes"]
    assert (span["mode"], span["to_ns"]) == ("cleaning", None)
    assert (await client.post(f"{AT}/withdraw", json={"reason": "done"}, headers=token)).status_code == 202
    assert (plant.modes_asked[-1].mode, plant.modes_asked[-1].until_ns) == ("", None)
    assert (desk.trail.entries()[0]["action"], desk.trail.entries()[0]["old"]) == ("withdraw_mode", "cleaning")
    plant.refuse = True
    is_problem(await client.post(AT, json=WISH, headers=token), 409)
    assert [e["action"] for e in desk.trail.entries()[:2]] == ["set_mode_refused", "set_mode"]


async def test_an_operator_may_not(client: httpx.AsyncClient, plant: Plant, desk: Desk) -> None:  # noqa: F811
    people(desk)
    token = await login(client, "wang")
    is_problem(await client.post(AT, json=WISH, headers=token), 403)
    assert plant.modes_asked == []
    assert desk.trail.entries()[0]["action"] == "refused"


async def test_wrong_wishes(client: httpx.AsyncClient, plant: Plant) -> None:  # noqa: F811
    for change in ({"mode": "holiday"}, {"until": "tomorrow"}, {"until": None}, {"more": 1}):
        is_problem(await client.post(AT, json={**WISH, "user": "li", **change}), 422)
    is_problem(await client.post(AT, json=WISH), 422)
    is_problem(await client.post(AT.replace("press1", "press9"), json={**WISH, "user": "li", "role": "engineer"}), 404)
    assert (await client.post(AT, json={**WISH, "user": "li", "role": "engineer"})).status_code == 202
    assert (plant.modes_asked[0].user, plant.modes_asked[0].role) == ("li", "engineer")
    is_problem(await client.get("/api/v1/modes?from=5&to=3"), 422)
