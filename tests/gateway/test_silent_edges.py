"""Edges that fall silent, are forgotten, move or come back, as the store sees them."""

from __future__ import annotations

from collections.abc import Callable

from gateway.store import Store
from tests.gateway.conftest import Clock, ask, feed
from tests.gateway.edge import line


async def test_subscribers_hear_when_an_edge_falls_silent_and_comes_back(store: Store, clock: Clock) -> None:
    edge = line(30)
    feed(store, edge.deliver())
    store.watch(clock())
    look = store.subscribe()
    store.watch(clock())
    assert await look.take(0.01) is None
    clock.go(21)
    store.watch(clock())
    change = await look.take(1.0)
    assert change is not None
    assert not change["edges"]["press-edge-1"]["connected"]
    feed(store, edge.deliver())
    change = await look.take(1.0)
    assert change is not None
    assert change["edges"]["press-edge-1"]["connected"]


def test_an_edge_that_is_gone_is_an_alarm_until_it_is_back(opened: Callable[..., Store], clock: Clock) -> None:
    def now(one: Store) -> list[tuple[str, str]]:
        one.watch(clock())
        return [(row["alarm"], row["state"]) for row in one.ask.alarms()]

    edge, store = line(30), opened()
    feed(store, edge.deliver())
    assert now(store) == []
    clock.go(21)
    assert now(store) == now(store) == [("gateway/press-edge-1.silent", "UNACK")]
    ask(store, store.ask.alarms()[0]["occurrence"], "li", "cabinet is off", "a1")
    assert now(store) == [("gateway/press-edge-1.silent", "ACKED")]
    store.close()
    store = opened()
    assert now(store) == [("gateway/press-edge-1.silent", "ACKED")]
    feed(store, edge.deliver())
    assert now(store) == []
    # Once more, unseen: it returns and stays to be acknowledged, and calls again.
    clock.go(21)
    assert now(store) == [("gateway/press-edge-1.silent", "UNACK")]
    feed(store, edge.deliver())
    assert now(store) == [("gateway/press-edge-1.silent", "RTNUN")]
    clock.go(21)
    assert now(store) == [("gateway/press-edge-1.silent", "UNACK")]
    feed(store, edge.deliver())
    now(store)
    ask(store, store.ask.alarms()[0]["occurrence"], "li", "", "a2")
    assert now(store) == []


def test_an_edge_that_was_forgotten_calls_nobody_until_it_is_heard_again(opened: Callable[..., Store], clock: Clock) -> None:
    edge, store = line(30), opened()
    edge.event("raise", "NORM", "UNACK")
    feed(store, edge.deliver())
    store.watch(clock())
    clock.go(21)
    store.watch(clock())
    assert sorted(row["alarm"] for row in store.ask.alarms()) == ["gateway/press-edge-1.silent", "press1/main_force.high"]
    forgotten = {"press-edge-1": clock(), "nobody": clock()}
    store.watch(clock(), forgotten)
    assert [(row["alarm"], row["state"]) for row in store.ask.alarms()] == [("gateway/press-edge-1.silent", "RTNUN")]
    assert (store.ask.edges(), store.ask.tags()) == ([], [])
    assert len(store.ask.alarms("history")) == 2
    clock.go(60)
    feed(store, edge.deliver())
    store.watch(clock(), forgotten)
    assert [row["edge"] for row in store.ask.edges()] == ["press-edge-1"]
    assert store.ask.tags()
    clock.go(21)
    store.watch(clock(), forgotten)
    assert "UNACK" in [row["state"] for row in store.ask.alarms() if row["alarm"].endswith(".silent")]


def test_an_edge_that_moved_to_another_gateway_calls_nobody_here(opened: Callable[..., Store], clock: Clock) -> None:
    edge, store = line(30), opened(edges=("press-edge-1",))
    feed(store, edge.deliver())
    store.watch(clock())
    clock.go(21)
    store.watch(clock())
    assert [(row["alarm"], row["state"]) for row in store.ask.alarms()] == [("gateway/press-edge-1.silent", "UNACK")]
    store.close()
    store = opened(edges=("press-edge-2",))
    for _ in range(3):
        store.watch(clock())
        clock.go(21)
    (row,) = store.ask.alarms()
    assert (row["alarm"], row["state"]) == ("gateway/press-edge-1.silent", "RTNUN")
    assert "another gateway" in str(row)
    assert (store.ask.edges(), store.ask.tags()) == ([], [])
    store.close()
    store = opened()  # keeps all edges of its site
    store.watch(clock())
    assert [row["edge"] for row in store.ask.edges()] == ["press-edge-1"]


def test_a_gateway_that_has_just_started_waits_for_its_edges(opened: Callable[..., Store], clock: Clock) -> None:
    edge, store = line(30), opened()
    feed(store, edge.deliver())
    store.close()
    clock.go(3600)
    store = opened()
    store.watch(clock())
    clock.go(15)
    store.watch(clock())
    assert store.ask.alarms() == []
    clock.go(6)
    store.watch(clock())
    assert [row["state"] for row in store.ask.alarms()] == ["UNACK"]
