"""Shelving, out of service and the rest: asked for, answered by the edge, and shown as the edge says, in whatever order its words arrive."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from random import Random

import pytest
from msgspec.structs import replace

from edge_agent.core import OperatorAction, Refused, ShelveRule, decode, decode_actions
from gateway.ingest import _list
from gateway.query import AlarmFilter, Asked, NotFound
from gateway.store import Store
from tests.gateway.conftest import ask, feed
from tests.gateway.edge import SECOND, START, Edge

ALARM = "press1/main_force.high"
RAISED = f"press-edge-1~{ALARM}~{START + 100 * SECOND}"
NORMAL = f"press-edge-1~{ALARM}~0"


def shelved_edge() -> Edge:
    """Raised, shelved, over and raised again underneath, unshelved at the end."""
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    until = START + 2000 * SECOND
    edge.event("suppress", "UNACK", "SHLVD", at=110, user="chen", overlay="shelved", until_ns=until, reason="sensor moved", second_user="zhao")
    edge.event("clear", "SHLVD", "SHLVD", at=120)
    edge.event("clear", "SHLVD", "NORM", at=130, explanation="superseded: the alarm was raised again")
    edge.event("raise", "SHLVD", "SHLVD", raised=130, at=130)
    return edge


def test_a_shelving_is_told_with_its_end_its_people_and_its_reason(store: Store) -> None:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    ask(store, RAISED, "chen", "sensor moved", "a1", "shelve", duration_s=1800.0, second_user="zhao", second_role="quality")
    (action,) = store.actions("press-edge-1")
    assert (action.kind, action.duration_s, action.second_user, action.second_role) == ("shelve", 1800.0, "zhao", "quality")
    (row,) = store.ask.alarms()
    assert [(p["action_id"], p["kind"], p["user"]) for p in row["pending"]] == [("a1", "shelve", "chen")]
    assert store.asked.row("a1")["state"] == "pending"
    until = START + 2000 * SECOND
    told = {"user": "chen", "reason": "sensor moved", "second_user": "zhao"}
    edge.event("suppress", "UNACK", "SHLVD", at=110, overlay="shelved", until_ns=until, action_id="a1", **told)
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    assert (row["state"], row["met"], row["pending"]) == ("SHLVD", True, [])
    (laid,) = row["suppressions"]
    assert {key: laid[key] for key in ("overlay", "until_ns", *told)} == {"overlay": "shelved", "until_ns": until, **told}  # type: ignore[literal-required]
    done = store.asked.row("a1")
    assert (done["state"], done["occurrence"], done["settled_ns"]) == ("done", RAISED, START + 110 * SECOND)
    with pytest.raises(Refused, match="shelved already"):
        ask(store, RAISED, "chen", "again", "a2", "shelve")
    with pytest.raises(Refused, match="not out of service"):
        ask(store, RAISED, "chen", "again", "a2", "in_service")
    assert ask(store, RAISED, "li", "", "a3", "unshelve") == "a3"


def test_a_shelving_lies_over_what_is_raised_underneath_also_after_a_restart(opened: Callable[..., Store]) -> None:
    edge = shelved_edge()
    store = opened()
    feed(store, edge.deliver())
    for _ in range(2):
        (row,) = store.ask.alarms()
        assert (row["raised_ns"], row["state"], row["met"]) == (START + 130 * SECOND, "SHLVD", True)
        assert [(s["overlay"], s["user"]) for s in row["suppressions"]] == [("shelved", "chen")]
        store.close()
        store = opened()
    edge.event("unsuppress", "SHLVD", "UNACK", raised=130, at=140, overlay="shelved", explanation="the time is up")
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    assert (row["state"], row["suppressions"]) == ("UNACK", [])


def test_words_of_the_edge_fold_to_the_same_whatever_their_order_and_how_often_they_come(opened: Callable[..., Store]) -> None:
    edge = shelved_edge()
    edge.event("suppress", "SHLVD", "OOSRV", raised=130, at=135, overlay="out_of_service", permit="WP-7", user="wu", reason="exchange")
    edge.event("unsuppress", "OOSRV", "OOSRV", raised=130, at=140, overlay="shelved")
    expected = None
    orders = [list(o) for o in permutations(range(1, 4))]
    for k, front in enumerate(orders):
        rest = list(range(4, 8))
        Random(k).shuffle(rest)
        store = opened(folder=f"d{k}")
        for i in [0, *rest, *front, *rest, 0]:
            feed(store, edge.deliver([edge.records[i]]))
        (row,) = store.ask.alarms()
        expected = expected or row
        assert row == expected
        assert [(s["overlay"], s["permit"]) for s in row["suppressions"]] == [("out_of_service", "WP-7")]


def test_a_normal_alarm_is_shelved_under_raise_time_0(store: Store) -> None:
    edge = Edge()
    edge.define()
    feed(store, edge.deliver())
    with pytest.raises(NotFound):
        ask(store, "press-edge-1~nothing.high~0", "chen", "x", "a0", "shelve")
    with pytest.raises(Refused, match="does not stand"):
        ask(store, NORMAL, "chen", "x", "a0")
    ask(store, NORMAL, "chen", "calibration", "a1", "shelve")
    assert store.actions("press-edge-1")[0].raised_ns == 0
    edge.event("raise", "NORM", "UNACK")
    edge.event("refuse", "NORM", "NORM", raised=-START // SECOND, at=101, action_id="a1", reason="the alarm was raised meanwhile")
    feed(store, edge.deliver())
    outcome = store.asked.row("a1")
    assert (outcome["state"], outcome["reason"]) == ("refused", "the alarm was raised meanwhile")
    # What was only refused never stood: it is no alarm of the history.
    assert [r["occurrence"] for r in store.ask.alarms("history")] == [RAISED]
    with pytest.raises(Refused, match="raised meanwhile"):
        ask(store, NORMAL, "chen", "calibration", "a2", "shelve")


def test_another_wish_of_the_same_kind_is_not_dropped_in_silence(store: Store) -> None:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    ask(store, RAISED, "chen", "sensor moved", "a1", "shelve", duration_s=1800.0)
    assert ask(store, RAISED, "chen", "sensor moved", "a2", "shelve", duration_s=1800.0) == "a1"
    with pytest.raises(Refused, match="earlier wish still waits"):
        ask(store, RAISED, "chen", "sensor moved", "a3", "shelve", duration_s=600.0)


def test_many_are_asked_at_once_and_each_is_answered(store: Store) -> None:
    edge = Edge()
    edge.define()
    for raised in (100, 200):
        edge.event("raise", "NORM", "UNACK", raised=raised, at=raised)
    edge.event("acknowledge", "UNACK", "ACKED", raised=200, at=210)
    feed(store, edge.deliver())
    changed: list[str] = []
    store.actions_changed = changed.append
    wishes = [RAISED, RAISED.replace(str(START + 100 * SECOND), str(START + 200 * SECOND)), "press-edge-1~x~5", RAISED]
    answers = store.act([(Asked(kind="acknowledge", occurrence=of, user="li"), f"a{i}") for i, of in enumerate(wishes)])
    assert answers[0] == "a0"
    assert [type(a) for a in answers[1:]] == [Refused, NotFound, Refused]
    assert changed == ["press-edge-1"]
    assert [a.id for a in store.actions("press-edge-1")] == ["a0"]


def test_outstanding_actions_of_a_flood_fit_one_message() -> None:
    one = OperatorAction(id="", kind="acknowledge", alarm="a" * 60, raised_ns=1, user="li", reason="原因" * 200, time_ns=1)
    actions = [replace(one, id=f"{i:032d}") for i in range(1000)]
    data = _list(actions)
    assert len(data) <= 256 * 1024
    assert [a.id for a in decode_actions(data)] == [a.id for a in actions[: len(decode_actions(data))]]
    assert len(decode_actions(data)) > 100


def test_the_history_is_filtered_where_it_is_kept(store: Store) -> None:
    edge = Edge()
    edge.define()
    for raised in range(100, 160, 10):
        edge.event("raise", "NORM", "UNACK", raised=raised, at=raised)
        edge.event("acknowledge", "UNACK", "ACKED", raised=raised, at=raised + 2, user="li" if raised == 120 else "wang")
        edge.event("clear", "ACKED", "NORM", raised=raised, at=raised + 5)
    feed(store, edge.deliver())
    history = lambda **wanted: [(r["raised_ns"] - START) // SECOND for r in store.ask.alarms("history", 100, AlarmFilter(**wanted))]  # noqa: E731
    assert history() == [150, 140, 130, 120, 110, 100]
    assert history(from_ns=START + 110 * SECOND, to_ns=START + 140 * SECOND) == [130, 120, 110]
    assert history(text="LI wear") == [120]
    assert history(unit="press1", priority=2, state="NORM") == history()
    assert history(unit="press2") == history(priority=1) == history(state="UNACK") == []
    # What an older version wrote without its words is looked at itself.
    store.journal._db.execute("DELETE FROM found WHERE id LIKE '%20000000000'")
    assert history(text="LI wear") == [120]
    assert history(text="nothing of the kind") == []
    assert history(unit="press1", priority=2, state="NORM") == history()


def test_the_edge_tells_who_may_shelve(store: Store) -> None:
    edge = Edge()
    edge.define()
    told = decode(edge.records[0].data)
    rules = (ShelveRule(roles=("shift_lead",), priorities=(1,)), ShelveRule(roles=("operator",), second_roles=("quality",), max_s=600.0))
    edge.records.clear()
    edge.add(replace(told, shelve=rules, out_of_service=("maintenance",)))
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    assert row["shelve"] == {"roles": ["operator"], "second_roles": ["quality"], "max_s": 600.0}
    assert row["out_of_service"] == ["maintenance"]
    assert row["plant_unit"] == "press1"
