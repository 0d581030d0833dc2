"""Modes of units at the gateway: asked once, answered by the edge, shown as the edge says, and alarms that they hold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge_agent.core import Audit, Context, Refused, decode_actions
from gateway.ingest import _list
from gateway.query import ModeAsked, NotFound
from gateway.store import Store
from tests.gateway.conftest import feed
from tests.gateway.edge import SECOND, START, Edge

UNIT = "demo/solids/press-line/press1"
UNTIL = START + 10**7 * SECOND


def asked(mode: str = "cleaning", **change: object) -> ModeAsked:
    fields = {"edge": "press-edge-1", "unit": UNIT, "until_ns": UNTIL, "user": "chen", "role": "shift_lead", "station": "desk", "reason": "CIP"}
    return ModeAsked(mode=mode, **(fields | change))  # type: ignore[arg-type]


def begun(store: Store) -> Edge:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    return edge


def says(edge: Edge, at: int, mode: str, **more: object) -> None:
    edge.add(Context(unit=UNIT, role="mode", value=mode, time_ns=START + at * SECOND, received_ns=START + at * SECOND, **more))  # type: ignore[arg-type]


def cites(edge: Edge, at: int, action: str, id_: str, reason: str = "") -> None:
    edge.add(Audit(time_ns=START + at * SECOND, user="chen", action=action, object=UNIT, new="x", reason=reason, action_id=id_))


def unit(store: Store) -> dict[str, object]:
    (row,) = store.ask.edge("press-edge-1", START)["units"]
    return dict(row)


def test_a_mode_is_asked_once_and_stays_outstanding_until_the_edge_cites_it(opened: Callable[..., Store]) -> None:
    store = opened()
    edge = begun(store)
    assert unit(store)["mode"] == "production"
    assert store.set_mode(asked(), "m1") == "m1"
    assert store.set_mode(asked(), "m2") == "m1", "the same wish again"
    store.close()
    store = opened()
    (action,) = decode_actions(_list(store.actions("press-edge-1")))
    assert (action.kind, action.user, action.role, action.station) == ("set_mode", "chen", "shift_lead", "desk")
    assert action.unit_mode is not None
    assert (action.unit_mode.unit, action.unit_mode.mode, action.unit_mode.until_ns) == (UNIT, "cleaning", UNTIL)
    assert (unit(store)["mode"], unit(store)["asked"], unit(store)["asked_by"]) == ("production", "cleaning", "chen")
    cites(edge, 200, "unit_mode", "m1", "CIP")
    says(edge, 200, "cleaning", user="chen", reason="CIP", until_ns=UNTIL)
    feed(store, edge.deliver())
    assert store.actions("press-edge-1") == []
    assert store.asked.row("m1")["state"] == "done"
    for _ in range(2):
        shown = unit(store)
        assert (shown["mode"], shown["user"], shown["reason"], shown["until_ns"], shown["asked"]) == ("cleaning", "chen", "CIP", UNTIL, None)
        store.close()
        store = opened()


def test_what_the_edge_refuses_is_told_with_its_reason(store: Store) -> None:
    edge = begun(store)
    store.set_mode(asked("", until_ns=None), "m1")
    (action,) = store.actions("press-edge-1")
    assert action.kind == "withdraw_mode"
    cites(edge, 200, "unit_mode_refused", "m1", "nobody has set the mode of this unit")
    feed(store, edge.deliver())
    row = store.asked.row("m1")
    assert (row["state"], row["reason"]) == ("refused", "nobody has set the mode of this unit")


def test_what_cannot_be_is_refused_at_once(store: Store) -> None:
    begun(store)
    for wrong, why in (({"unit": "press"}, NotFound), ({"edge": "e9"}, NotFound), ({"until_ns": 5}, Refused), ({"reason": " "}, Refused)):
        with pytest.raises(why):
            store.set_mode(asked(**wrong), "m1")
    assert store.actions("press-edge-1") == []


def test_an_alarm_of_the_unit_says_that_it_is_held_and_its_spans_are_told(store: Store) -> None:
    edge = begun(store)
    (row,) = store.ask.alarms()
    assert row["held"] == ""
    says(edge, 200, "cleaning")
    says(edge, 300, "production")
    feed(store, edge.deliver(edge.records[:-1]))
    (row,) = store.ask.alarms()
    assert (row["state"], row["held"]) == ("UNACK", "cleaning")
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    assert row["held"] == ""
    spans = [(m["mode"], m["from_ns"], m["to_ns"]) for m in store.ask.modes(START + 250 * SECOND, START + 400 * SECOND)]
    assert spans == [("cleaning", START + 200 * SECOND, START + 300 * SECOND), ("production", START + 300 * SECOND, None)]
    assert [m["mode"] for m in store.ask.modes(START + 301 * SECOND, START + 400 * SECOND)] == ["production"]
    assert store.ask.modes(START, START + 100 * SECOND) == []
