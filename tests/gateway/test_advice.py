"""Maintenance advice at the gateway: from an edge's context over a person's decision to a work request, and what was found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from edge_agent.core import Audit, Context, Refused
from edge_agent.core.signing import signing_key
from gateway.audit import Actor
from gateway.audit_verify import faults
from gateway.console.app import create_app
from gateway.console.guard import LOOPBACK
from gateway.notify.queue import FILE, Queue
from gateway.notify.runner import Notifier
from gateway.notify.words import Writer
from gateway.office import Office
from gateway.query import Maintained
from gateway.store import Store
from tests.gateway.conftest import Clock, feed
from tests.gateway.console.plant import Plant
from tests.gateway.console.test_access import login
from tests.gateway.console.test_api import is_problem
from tests.gateway.edge import START, Edge
from tests.gateway.notify.made import mail, section
from tests.gateway.test_users import Desk, S

TEXTS = {
    "kind": "wear", "urgency": "plan", "what": {"en": "Plan the service of filter1/dp", "zh": "安排 filter1/dp 对应部件的维护"},
    "why": {"en": "it drifts", "zh": "趋近限值"}, "how_soon": {"en": "in 200 h", "zh": "200 小时后"}, "how_sure": {"en": "80 %", "zh": "80 %"},
}  # fmt: skip


def advised(edge: Edge, second: int, **change: Any) -> None:
    """The edge gives advice; `urgency=""` takes it back."""
    texts = TEXTS | change
    value = msgspec.json.encode(texts).decode() if texts["urgency"] else ""
    at = START + second * S
    edge.add(Context(unit="filter1/dp", role="advice", value=value, time_ns=at, received_ns=at))


@pytest.fixture
def edge(store: Store) -> Edge:
    made = Edge()
    made.define()
    advised(made, 100)
    feed(store, made.deliver(made.records))
    return made


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    made = Desk(tmp_path / "gw")
    for name, role in (("wang", "operator"), ("zhou", "maintenance")):
        made.add(name, role)
    yield made
    made.close()


@pytest.fixture
async def office(store: Store, clock: Clock, desk: Desk, tmp_path: Path) -> AsyncIterator[Office]:
    async def find(name: str, why: str) -> None: ...

    of = section(receivers=[mail("workshop")], work_requests=("workshop",))
    notifier = Notifier(tmp_path / "gw", of, gateway="gw1", timezone="Asia/Shanghai", catalogue=store.applier.catalogue, clock=clock, find=find)
    key = signing_key(tmp_path / "gw" / "keys")
    made = Office.open(
        tmp_path / "gw", desk.trail, key, gateway="gw1", site="demo", handover_s=0, clock=lambda: desk.now, journal=store.journal,
        request=notifier.request, tell=store.maintained,
    )  # fmt: skip
    yield made
    made.close()


@pytest.fixture
async def client(desk: Desk, office: Office) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(Plant(), timezone="Asia/Shanghai", hosts=LOOPBACK, sessions=desk.sessions, office=office)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://127.0.0.1") as made:
        yield made


async def test_accepted_advice_becomes_one_work_request_and_its_outcome_is_kept(
    client: httpx.AsyncClient, store: Store, edge: Edge, desk: Desk, tmp_path: Path
) -> None:
    shown = (await client.get("/api/v1/advice")).json()
    (row,) = shown["advice"]
    assert (row["unit"], row["edge"], row["until_ns"], row["decision"]) == ("filter1/dp", "press-edge-1", None, None)
    assert row["advice"]["what"]["zh"] == TEXTS["what"]["zh"]  # type: ignore[index]
    at = f"/api/v1/advice/{row['id']}"
    operator = await login(client, "wang")
    is_problem(await client.post(f"{at}/accept", json={}, headers=operator), 403)
    token = await login(client, "zhou")
    is_problem(await client.post(f"{at}/outcome", json={"outcome": "confirmed"}, headers=token), 409)
    done = (await client.post(f"{at}/accept", json={"reason": "spare is in store"}, headers=token)).json()
    assert (done["decision"]["state"], done["decision"]["by"], done["decision"]["receivers"]) == ("accepted", "zhou", ["workshop"])
    is_problem(await client.post(f"{at}/reject", json={"reason": "no"}, headers=token), 409)
    wish = {"outcome": "confirmed", "remark": "clogged", "renewed": True}
    found = (await client.post(f"{at}/outcome", json=wish, headers=token)).json()
    assert (found["decision"]["outcome"], found["decision"]["renewed"]) == ("confirmed", True)
    numbers = {"kind": "wear", "given": 1, "accepted": 1, "rejected": 0, "confirmed": 1, "other_fault": 0, "no_fault": 0}
    shown = (await client.get("/api/v1/advice")).json()
    assert shown["counts"] == [numbers | {"edge": "", "unit": ""}]
    assert shown["machines"] == [numbers | {"edge": "press-edge-1", "unit": "filter1/dp"}]
    # The edge is told, and asked until it has answered.
    (action,) = store.asked.of_edge("press-edge-1")
    assert (action.kind, action.alarm, action.user, action.role, action.reason) == ("renewed", "filter1/dp", "zhou", "maintenance", "clogged")
    assert action.raised_ns == row["time_ns"]
    before = len(edge.records)
    answer = Audit(time_ns=START + 200 * S, user="zhou", role="maintenance", action="renewed", object="filter1/dp", action_id=action.id)
    edge.add(answer)
    feed(store, edge.deliver(edge.records[before:]))
    assert store.asked.of_edge("press-edge-1") == []
    queue = Queue(tmp_path / "gw" / FILE)
    queued = queue.next("workshop", 2**62)
    queue.close()
    assert queued is not None
    assert queued.message.request is not None
    assert (queued.message.request.id, queued.message.request.reason) == (row["id"], "spare is in store")
    acts = [(e["action"], e["user"]) for e in desk.trail.entries() if e["action"].startswith("advice")]
    assert sorted(acts) == [("advice_accept", "zhou"), ("advice_outcome", "zhou")]
    assert faults(tmp_path / "gw") == []


async def test_rejecting_needs_a_reason_that_the_edge_is_told(client: httpx.AsyncClient, store: Store, edge: Edge) -> None:
    (row,) = (await client.get("/api/v1/advice")).json()["advice"]
    token = await login(client, "zhou")
    at = f"/api/v1/advice/{row['id']}/reject"
    is_problem(await client.post(at, json={"reason": " "}, headers=token), 422)
    done = (await client.post(at, json={"reason": "changed yesterday"}, headers=token)).json()
    assert (done["decision"]["state"], done["decision"]["reason"]) == ("rejected", "changed yesterday")
    (action,) = store.asked.of_edge("press-edge-1")
    assert (action.kind, action.alarm, action.raised_ns, action.reason) == ("rejected", "filter1/dp", row["time_ns"], "changed yesterday")
    is_problem(await client.post("/api/v1/advice/00000000000000000000/reject", json={"reason": "x"}, headers=token), 404)


async def test_what_an_edge_takes_back_or_makes_more_urgent_is_over(office: Office, store: Store, edge: Edge) -> None:
    assert office.advices is not None
    assert [r.until_ns for r in office.advices.all()] == [None]
    before = len(edge.records)
    advised(edge, 200, urgency="act")
    feed(store, edge.deliver(edge.records[before:]))
    assert [(r.advice.urgency, r.until_ns) for r in office.advices.all()] == [("act", None), ("plan", START + 200 * S)]
    before = len(edge.records)
    advised(edge, 300, urgency="")
    feed(store, edge.deliver(edge.records[before:]))
    assert [r.until_ns for r in office.advices.all()] == [START + 300 * S, START + 200 * S]


def asked(store: Store) -> list[tuple[str, int]]:
    return [(a.kind, (a.raised_ns - START) // S) for a in store.asked.of_edge("press-edge-1")]


async def test_an_edge_is_told_what_changes_something_there_and_only_once(office: Office, store: Store, edge: Edge, desk: Desk) -> None:
    assert office.advices is not None
    zhou = Actor("zhou", "maintenance", "Zhou Yi")
    (row,) = office.advices.all()
    office.advices.accept(zhou, row.id, "")
    office.advices.outcome(zhou, row.id, "no_fault", "")
    office.advices.outcome(zhou, row.id, "no_fault", "looked again")
    assert asked(store) == [("no_fault", 100)]
    before = len(edge.records)
    advised(edge, 200, urgency="")  # the edge takes it back
    feed(store, edge.deliver(edge.records[before:]))
    desk.now += 1
    office.advices.outcome(zhou, row.id, "confirmed", "it was one")
    office.advices.outcome(zhou, row.id, "other_fault", "the valve")
    assert asked(store) == [("no_fault", 100), ("withdraw_no_fault", 100)]
    desk.now += 1
    office.advices.outcome(zhou, row.id, "confirmed", "", renewed=True)
    office.advices.outcome(zhou, row.id, "other_fault", "the valve", renewed=True)
    assert asked(store) == [("no_fault", 100), ("withdraw_no_fault", 100), ("renewed", 100)]


async def test_what_is_said_of_advice_that_is_over_leaves_the_newer_one_alone(office: Office, store: Store, edge: Edge) -> None:
    assert office.advices is not None
    zhou = Actor("zhou", "maintenance", "Zhou Yi")
    (old,) = office.advices.all()
    office.advices.reject(zhou, old.id, "looks well")
    before = len(edge.records)
    advised(edge, 200, urgency="act")
    feed(store, edge.deliver(edge.records[before:]))
    with pytest.raises(Refused, match="advised on anew"):
        office.advices.outcome(zhou, old.id, "confirmed", "", renewed=True)
    assert office.advices.outcome(zhou, old.id, "no_fault", "").decision is not None
    assert asked(store) == [("rejected", 100)]


async def test_a_rejection_that_was_wrong_is_withdrawn_by_what_was_found(office: Office, store: Store, edge: Edge, desk: Desk) -> None:
    assert office.advices is not None
    zhou = Actor("zhou", "maintenance", "Zhou Yi")
    (row,) = office.advices.all()
    office.advices.reject(zhou, row.id, "looks well")
    desk.now += 1
    office.advices.outcome(zhou, row.id, "no_fault", "")
    assert asked(store) == [("rejected", 100)]  # silent already
    desk.now += 1
    office.advices.outcome(zhou, row.id, "confirmed", "it was worn")
    assert asked(store) == [("rejected", 100), ("withdraw_rejected", 100)]


async def test_a_wish_that_comes_again_under_its_id_is_one(store: Store, edge: Edge) -> None:
    zhou = Actor("zhou", "maintenance", "Zhou Yi")
    said = Maintained(id="m1", edge="press-edge-1", subject="filter1/dp", advised_ns=START, kind="no_fault", remark="")
    store.maintained(said, zhou)
    store.maintained(said, zhou)
    assert asked(store) == [("no_fault", 0)]
    before = len(edge.records)
    edge.add(Audit(time_ns=START + S, user="zhou", role="maintenance", action="no_fault", object="filter1/dp", action_id="m1"))
    feed(store, edge.deliver(edge.records[before:]))
    store.maintained(said, zhou)
    assert asked(store) == []


async def test_a_work_request_in_words_tells_as_much_as_its_receiver_is_to_see(office: Office, edge: Edge, tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    assert office.advices is not None
    (row,) = office.advices.all()
    office.advices.accept(Actor("zhou", "maintenance", "Zhou Yi"), row.id, "spare is in store")
    queue = Queue(tmp_path / "gw" / FILE)
    queued = queue.next("workshop", 2**62)
    queue.close()
    assert queued is not None
    for content, language, there, missing in (
        ("full", "zh", "安排 filter1/dp 对应部件的维护", "Plan"), ("names", "en", "Plan the service of filter1/dp", "安排"),
        ("minimal", "en", "Work request for maintenance (to be planned)", "filter1"),
    ):  # fmt: skip
        of = section(receivers=[mail("workshop", content=content, language=language)]).receivers[0]
        writer = Writer(of, ZoneInfo("Asia/Shanghai"))
        text, document = writer.text(queued.message), writer.document(queued.message)
        assert there in text
        assert missing not in text
        assert missing not in writer.subject(queued.message)
        assert document["work_request"]["id"] == row.id  # type: ignore[index]
        assert "filter1" not in str(document) or content != "minimal"
