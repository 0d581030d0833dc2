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
from tests.gateway.edge import START, Edge


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
    edge.epoch = 2
    taken = feed(store, edge.deliver())
    assert len(taken.kept) == 3  # type: ignore[attr-defined]
    assert sorted(store.inbox.committed(edge.name, "s").epochs) == [1, 2]


def test_backlog_counts_what_is_announced_and_missing(store: Store) -> None:
    edge = _edge(5)
    feed(store, edge.deliver([edge.records[4]]))
    assert store.ask.edges()[0]["backlog"] == 4
    feed(store, edge.deliver())
    assert store.ask.edges()[0]["backlog"] == 0
    assert store.ask.edges()[0]["committed_through"] == 5
