"""Exactly once: whatever order, repetition and cutting deliveries come in, each record is committed once."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import Delivered, Log, Ranges
from gateway.inbox import STREAM, Inbox, Kept
from gateway.store import Store
from tests.gateway.conftest import feed
from tests.gateway.edge import SECOND, START, Edge


def _edge(n: int) -> Edge:
    edge = Edge()
    edge.define()
    for i in range(n - 1):
        edge.samples(i, 3)
    return edge


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=6), min_size=1, max_size=12), st.integers(1, 400), st.integers(0, 5))
def test_redelivery_in_any_order_commits_once(batches: list[list[int]], piece: int, restart: int) -> None:
    edge = _edge(12)
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder) / "inbox.sqlite", (STREAM,), synchronous="OFF")
        inbox = Inbox(log, gateway="gw1", production=False)
        sent: set[int] = set()
        for i, batch in enumerate(batches):
            if i == restart:
                log.close()
                log = Log(Path(folder) / "inbox.sqlite", (STREAM,), synchronous="OFF")
                inbox = Inbox(log, gateway="gw1", production=False)
            pieces = [p for index in batch for p in edge.records[index].pieces(piece if index % 2 else 1 << 20)]
            taken = inbox.take([(edge.deliver(pieces), START + i)])
            assert not taken.strange
            sent |= {index + 1 for index in batch}
        rows = [Kept.decode(r.data, r.seq) for r in log.read(STREAM, 0)]
        assert sorted(k.seq for k in rows) == sorted(sent)
        assert {k.seq: k.frame for k in rows} == {s: edge.records[s - 1].data for s in sent}
        held = {s for a, b in inbox.committed(edge.name, "s").epochs[1].ranges for s in range(a, b + 1)}
        assert held == sent
        assert log.verify(STREAM) == []
        log.close()


def test_ranges_and_rows_survive_together(opened: Callable[..., Store]) -> None:
    edge = _edge(6)
    first = opened()
    feed(first, edge.deliver([edge.records[i] for i in (0, 1, 4)]))
    first.close()
    again = opened()
    assert again.inbox.positions[edge.name, 1].ranges == Ranges([(1, 2), (5, 5)])
    taken = feed(again, edge.deliver())
    assert [k.seq for k in taken.kept] == [3, 4, 6]  # type: ignore[attr-defined]
    assert taken.duplicates == 3  # type: ignore[attr-defined]


def test_same_number_with_other_content_is_quarantined_and_alarmed(store: Store) -> None:
    edge, clone = _edge(3), _edge(3)
    feed(store, edge.deliver())
    clone.records[2] = Delivered(3, clone.records[2].chain ^ 1, clone.records[2].data)
    taken = feed(store, clone.deliver())
    assert len(taken.strange) == 1  # type: ignore[attr-defined]
    assert [a["alarm"] for a in store.ask.alarms()] == ["gateway/press-edge-1.cloned"]
    assert store.log.head(STREAM).seq == 3


def test_restored_edge_that_goes_on_differently_is_quarantined(store: Store) -> None:
    edge = _edge(4)
    feed(store, edge.deliver(edge.records[:3]))
    other = _edge(2)
    other.samples(77, 5)
    other.samples(78, 5)
    taken = feed(store, other.deliver([other.records[3]]))
    assert len(taken.strange) == 1  # type: ignore[attr-defined]
    assert 4 not in store.inbox.positions[edge.name, 1].ranges


def test_clone_is_found_after_a_restart_too(opened: Callable[..., Store]) -> None:
    edge = _edge(4)
    first = opened()
    feed(first, edge.deliver(edge.records[:3]))
    first.close()
    other = _edge(2)
    other.samples(77, 5)
    other.samples(78, 5)
    taken = feed(opened(), other.deliver(other.records[2:]))
    assert len(taken.strange) == 2  # type: ignore[attr-defined]


def test_production_refuses_simulated_edges(opened: Callable[..., Store]) -> None:
    store = opened(production=True)
    edge = Edge(simulated=True)
    edge.define()
    taken = feed(store, edge.deliver())
    assert taken.refused == 1  # type: ignore[attr-defined]
    assert store.log.head(STREAM).seq == 0
    assert store.ask.edges()[0]["refused"]


def test_new_epoch_begins_its_own_ranges(store: Store) -> None:
    edge = _edge(3)
    feed(store, edge.deliver())
    anew = Edge(epoch=2)
    anew.samples(50, 3)
    anew.samples(60, 3)
    taken = feed(store, anew.deliver())
    assert len(taken.kept) == 2
    assert sorted(store.inbox.committed(edge.name, "s").epochs) == [1, 2]


def test_the_same_records_under_a_new_epoch_are_taken_once_and_told_as_held(opened: Callable[..., Store]) -> None:
    """Another gateway made the edge begin it: this one has the records already, and says so after a restart too."""
    edge = _edge(5)
    store = opened()
    feed(store, edge.deliver(edge.records[:4]))
    edge.epoch = 2
    taken = feed(store, edge.deliver(edge.records[2:]))
    assert ([k.seq for k in taken.kept], taken.duplicates) == ([5], 2)
    store.close()
    again = opened()
    assert again.inbox.committed(edge.name, "s").epochs == {1: Ranges([(1, 4)]), 2: Ranges([(3, 5)])}
    assert again.log.head(STREAM).seq == 5


def test_an_answer_tells_the_chain_at_each_end_and_what_is_disputed(store: Store) -> None:
    edge = _edge(6)
    feed(store, edge.deliver([edge.records[i] for i in (0, 1, 4)]))
    other = _edge(1)
    for i in range(5):
        other.samples(70 + i, 5)
    feed(store, other.deliver([other.records[2], other.records[5]]))
    said = store.inbox.committed(edge.name, "s")
    assert said.chains == {1: (edge.records[1].chain, edge.records[4].chain)}
    assert said.disputed == {1: (3, 6)}
    feed(store, edge.deliver())
    assert store.inbox.committed(edge.name, "s").disputed == {}


def test_the_epoch_that_an_edge_waits_for_is_told_whatever_its_number(store: Store) -> None:
    edge = _edge(1)
    for epoch in range(100, 130):
        feed(store, _another(epoch).deliver())
    low = _another(3)
    feed(store, low.deliver())
    said = store.inbox.committed(edge.name, "s")
    assert 3 in said.epochs
    assert len(said.epochs) == 16


def _another(epoch: int, current: int = 0) -> Edge:
    made = Edge(epoch=epoch, current=current)
    made.samples(epoch, 2)
    made.samples(epoch + 1, 2)
    return made


def alarms(store: Store) -> list[str]:
    return [a["alarm"] for a in store.ask.alarms()]


def test_an_edge_that_says_it_is_in_an_earlier_epoch_is_alarmed_and_followed(opened: Callable[..., Store]) -> None:
    store = opened()
    feed(store, _another(7).deliver())
    feed(store, _another(5, current=7).deliver())
    assert alarms(store) == [], "a backlog of an earlier epoch is none"
    assert store.inbox.facts["press-edge-1"].epoch == 7
    feed(store, _another(6).deliver())
    assert alarms(store) == ["gateway/press-edge-1.epoch_back"]
    assert (store.inbox.facts["press-edge-1"].epoch, store.inbox.facts["press-edge-1"].newest_epoch) == (6, 7)
    store.close()
    again = opened()
    feed(again, _another(7).deliver())
    feed(again, _another(6).deliver())
    assert again.inbox.facts["press-edge-1"].epoch == 7, "what a broker hands over again after a restart says nothing new"
    assert alarms(again) == ["gateway/press-edge-1.epoch_back"]


def test_an_edge_that_starts_earlier_than_it_had_been_is_alarmed(store: Store) -> None:
    edge = _edge(3)
    feed(store, edge.deliver())
    later = Edge(epoch=3)
    later.define(received_ns=START + 3600 * SECOND)
    feed(store, later.deliver())
    assert alarms(store) == []
    backlog = Edge(epoch=2, current=3)
    backlog.samples(1000, 1)
    backlog.define()
    feed(store, backlog.deliver([backlog.records[1]]))
    assert alarms(store) == [], "definitions of an earlier epoch that come late are none"
    lost = Edge(epoch=4)
    lost.define(received_ns=START + 60 * SECOND)
    feed(store, lost.deliver())
    assert alarms(store) == ["gateway/press-edge-1.clock_back"]


def test_a_start_that_comes_behind_what_the_edge_made_after_it_is_no_clock_that_went_back(store: Store) -> None:
    edge = _edge(1)
    edge.samples(10, 10)
    feed(store, edge.deliver([edge.records[1]]))
    feed(store, edge.deliver([edge.records[0]]))
    assert alarms(store) == []
    edge.define(received_ns=START + 5 * SECOND)
    feed(store, edge.deliver([edge.records[2]]))
    assert alarms(store) == ["gateway/press-edge-1.clock_back"]


def test_backlog_counts_what_is_announced_and_missing(store: Store) -> None:
    edge = _edge(5)
    feed(store, edge.deliver([edge.records[4]]))
    assert store.ask.edges()[0]["backlog"] == 4
    feed(store, edge.deliver())
    assert store.ask.edges()[0]["backlog"] == 0
    assert store.ask.edges()[0]["committed_through"] == 5
