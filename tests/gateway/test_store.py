"""What goes in comes out: tail, segments, journal, ledger, alarms, actions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from edge_agent.core import Context, Refused
from gateway.inbox import STREAM
from gateway.query import NotFound
from gateway.store import Store
from tests.gateway.conftest import Clock, ask, feed, seal
from tests.gateway.edge import SECOND, START, TAGS, Edge, line

KEY = "press-edge-1:press1/main_force"


def _values(edge: Edge) -> np.ndarray:
    return 10.0 + 0.25 * (np.arange(30) % 7)


@pytest.mark.parametrize("how", ["tail", "sealed", "half sealed", "restarted", "sealed, restarted"])
def test_series_is_the_same_wherever_the_rows_are(opened: Callable[..., Store], clock: Clock, how: str) -> None:
    edge = line()
    store = opened()
    half = len(edge.records) // 2
    feed(store, edge.deliver(edge.records[:half]))
    if how == "half sealed":
        assert seal(store, clock) == 1
    feed(store, edge.deliver(edge.records[half:]))
    if how.startswith("sealed"):
        assert seal(store, clock) == 1
    if "restarted" in how:
        store.close()
        store = opened()
    row = store.ask.series(KEY, START, START + 300 * SECOND, 500)
    assert row["level"] == "raw"
    assert row["time_ns"] == [START + i * SECOND for i in range(300)]
    np.testing.assert_array_equal(row["mean"], np.tile(_values(edge), 10))
    coarse = store.ask.series(KEY, START, START + 300 * SECOND, 30)
    assert coarse["level"] == "window"
    assert sum(coarse["n"]) == 300
    assert len(coarse["time_ns"]) == 30
    minute = store.ask.series(KEY, START, START + 300 * SECOND, 5)
    assert minute["level"] == "60"
    assert minute["n"] == [60] * 5
    np.testing.assert_allclose(minute["mean"], [np.tile(_values(edge), 2).mean()] * 5)
    assert store.ask.series("press-edge-1:press1/batch", START, START + 300 * SECOND)["text"] == ["B1", "B2"]
    assert sum(store.ask.series(KEY, START, START + 300 * SECOND, 7)["n"]) == 300
    assert len(store.ask.series(KEY, START, START + 300 * SECOND, 1)["n"]) == 1


def test_sealing_empties_the_inbox_and_compaction_merges(opened: Callable[..., Store], clock: Clock) -> None:
    store = opened(compact_files=3, seal_after_s=10)
    edge = line(60)
    feed(store, edge.deliver())
    seal(store, clock)
    for i in range(3):
        edge.summary(edge.samples(60 + 30 * i, 30))
        feed(store, edge.deliver(edge.records[-2:]))
        seal(store, clock)
    assert store.log.first(STREAM) == store.log.head(STREAM).seq + 1
    before = store.ask.series(KEY, START, START + 200 * SECOND)
    assert store.tidy(clock()) == 8
    kinds = sorted((f.retention, f.kind) for f in store.view().files)
    assert kinds == [("gmp", "sample"), ("gmp", "summary"), ("other", "sample"), ("other", "summary"), ("other", "text")]
    assert store.ask.series(KEY, START, START + 200 * SECOND) == before
    assert store.ask.series(KEY, START, START + 180 * SECOND, 3)["n"] == [60, 60, 30]


def test_retention_writes_removed_before_the_file_goes(opened: Callable[..., Store], clock: Clock) -> None:
    store = opened(retention_days={"gmp": 3650, "other": 1})
    feed(store, line(60).deliver())
    seal(store, clock)
    clock.go(3 * 86400)
    store.tidy(clock())
    assert {f.retention for f in store.view().files} == {"gmp"}
    assert store.manifest.lines[-1].what == "removed"
    assert len(store.manifest.lines[-1].gone) == 3
    assert len(list(store.segments.folder.rglob("*.parquet"))) == 2


def test_retention_counts_from_sealing_and_never_removes_gmp(opened: Callable[..., Store], clock: Clock) -> None:
    store = opened(retention_days={"gmp": 1, "other": 2})
    edge = Edge()
    edge.define()
    for tag in (0, 1):
        edge.samples(5 - START // SECOND, 3, tag)  # a device clock that fell back to 1970
    feed(store, edge.deliver())
    seal(store, clock)
    sealed = {f.name for f in store.view().files}
    assert {f.day for f in store.view().files} == {"1970-01-01"}
    clock.go(86400)
    store.tidy(clock())
    assert {f.name for f in store.view().files} == sealed
    clock.go(3650 * 86400)
    store.tidy(clock())
    assert [f.retention for f in store.view().files] == ["gmp"]


def test_ledger_counts_every_summary_and_gap_once(opened: Callable[..., Store]) -> None:
    edge = line(60)
    edge.gap(7)
    store = opened()
    feed(store, edge.deliver(), edge.deliver())
    store.close()
    store = opened()
    feed(store, edge.deliver())
    rows = {r["tag"]: r for r in store.ask.ledger()}
    force = rows["press1/main_force"]
    assert (force["n_good"], force["n_missing"], force["gaps"]) == (60, 7, 1)
    assert force["sum"] == pytest.approx(2 * _values(edge).sum())
    assert (force["first_ns"], force["last_ns"]) == (START, START + 59 * SECOND)
    assert rows["press1/speed"]["n_good"] == 60


def test_tags_show_the_newest_value_and_turn_stale(store: Store, clock: Clock) -> None:
    edge = line(60)
    clock.now_ns = START + 60 * SECOND
    feed(store, edge.deliver())
    force, speed, batch = store.ask.tags()
    assert force["last"] is not None
    assert (force["last"]["time_ns"], force["last"]["quality"]) == (START + 59 * SECOND, "good")
    assert batch["last"] is not None
    assert batch["last"]["value"] == "B2"
    assert force["limits"] == [{"alarm": "press1/main_force.high", "side": "high", "limit": 16.0, "priority": 2}]
    clock.go(6)
    assert store.ask.tags()[1]["last"]["quality"] == "stale"  # type: ignore[index]
    assert store.ask.tags()[2]["last"]["quality"] == "good"  # type: ignore[index]
    clock.go(30)
    assert store.ask.tags()[2]["last"]["quality"] == "stale"  # type: ignore[index]
    assert speed["class"] == "other"


def test_alarms_fold_in_the_order_of_their_edge(opened: Callable[..., Store]) -> None:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    edge.event("acknowledge", "UNACK", "ACKED", at=110, user="li")
    edge.event("clear", "ACKED", "NORM", at=120)
    store = opened()
    feed(store, edge.deliver([edge.records[0], edge.records[2]]))
    feed(store, edge.deliver([edge.records[1]]))
    (row,) = store.ask.alarms()
    assert (row["state"], row["acked_by"], row["unit"], row["cause"]) == ("ACKED", "li", "kN", {"en": "punch wear"})
    assert [e["event"] for e in row["events"]] == ["raise", "acknowledge"]
    feed(store, edge.deliver([edge.records[3]]))
    assert store.ask.alarms() == []
    (old,) = store.ask.alarms("history")
    assert (old["state"], len(old["events"])) == ("NORM", 3)
    store.close()
    store = opened()
    assert store.ask.alarms() == []
    assert store.ask.alarm(old["occurrence"]) == old


@pytest.mark.parametrize("state", ["NORM", "UNACK", "ACKED"])
def test_a_refusal_changes_no_state(opened: Callable[..., Store], state: str) -> None:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    edge.event("clear", "UNACK", "RTNUN", at=110)
    edge.event("refuse", state, state, at=111, action_id="a1")
    store = opened()
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    assert (row["state"], [e["event"] for e in row["events"]]) == ("RTNUN", ["raise", "clear", "refuse"])
    store.close()
    store = opened()
    assert store.ask.alarms() == [row]
    edge.event("acknowledge", "RTNUN", "NORM", at=120, user="li")
    edge.event("refuse", "UNACK", "UNACK", at=121, action_id="a2")
    feed(store, edge.deliver())
    assert store.ask.alarms() == []
    edge.event("refuse", state, state, raised=50, at=130, action_id="a3")
    feed(store, edge.deliver())
    assert store.ask.alarms() == []


def test_acknowledge_stays_outstanding_until_the_edge_answers(opened: Callable[..., Store]) -> None:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    store = opened()
    changed: list[str] = []
    store.actions_changed = changed.append
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    with pytest.raises(NotFound):
        ask(store, "press-edge-1~x~1", "li", "", "a0")
    with pytest.raises(ValueError, match="user"):
        ask(store, row["occurrence"], " ", "", "a0")
    assert ask(store, row["occurrence"], "li", "seen", "a1") == "a1"
    assert ask(store, row["occurrence"], "li", "seen", "a2") == "a1"
    with pytest.raises(Refused, match="li"):
        ask(store, row["occurrence"], "wang", "", "a3")
    store.close()
    store = opened()
    store.actions_changed = changed.append
    (action,) = store.actions(edge.name)
    assert (action.id, action.alarm, action.raised_ns, action.reason) == ("a1", "press1/main_force.high", row["raised_ns"], "seen")
    edge.event("acknowledge", "UNACK", "ACKED", action_id="a1", user="li")
    feed(store, edge.deliver())
    assert store.actions(edge.name) == []
    assert changed == [edge.name, edge.name]
    with pytest.raises(Refused, match="ACKED"):
        ask(store, row["occurrence"], "li", "", "a4")


def test_unreadable_record_is_kept_and_alarmed(store: Store) -> None:
    from edge_agent.core import Delivered, chain_crc

    edge = Edge()
    edge.define()
    bad = b"Ph\x09" + bytes(30)
    edge.records.append(Delivered(2, chain_crc(edge.records[-1].chain, bad), bad))
    feed(store, edge.deliver())
    (row,) = store.ask.alarms()
    assert row["alarm"] == "gateway/press-edge-1.unreadable_record"
    assert [e.frame for e in store.journal.entries(255)] == [bad]
    ask(store, row["occurrence"], "li", "sent to the maker", "a1")
    assert store.ask.alarms() == []


def test_edge_that_numbers_its_tags_anew_keeps_its_history(store: Store, clock: Clock) -> None:
    edge = line(30)
    feed(store, edge.deliver())
    seal(store, clock)
    renewed = Edge(epoch=2)
    from msgspec.structs import replace

    renewed.define([replace(TAGS[1], id=0), replace(TAGS[0], id=1)])
    renewed.samples(100, 5, tag=1, value=33.0)
    feed(store, renewed.deliver())
    row = store.ask.series(KEY, START, START + 200 * SECOND)
    assert len(row["n"]) == 35
    assert row["mean"][-5] == 33.0


def test_samples_before_their_definition_get_their_name_when_it_comes(store: Store) -> None:
    edge = Edge()
    edge.define()
    edge.samples(0, 5)
    feed(store, edge.deliver([edge.records[1]]))
    assert store.ask.tags()[0]["name"].startswith("#")
    feed(store, edge.deliver([edge.records[0]]))
    assert len(store.ask.series(KEY, START, START + 10 * SECOND)["n"]) == 5


async def test_subscribers_get_values_alarms_and_edges(store: Store) -> None:
    edge = line(30)
    edge.event("raise", "NORM", "UNACK")
    look = store.subscribe()
    feed(store, edge.deliver())
    change = await look.take(1.0)
    assert change is not None
    assert change["values"][KEY] == (START + 29 * SECOND, 10.25, 0)
    assert [a["state"] for a in change["alarms"].values()] == ["UNACK"]
    assert change["edges"]["press-edge-1"]["committed_through"] == len(edge.records)
    assert change["tags"]
    look.close()
    assert await look.take(0.01) is None


@pytest.mark.parametrize(("from_ns", "to_ns", "points"), [(5, 5, 10), (0, 10, 0), (0, 10, 10_001)])
def test_impossible_series_are_refused(store: Store, from_ns: int, to_ns: int, points: int) -> None:
    feed(store, line(30).deliver())
    with pytest.raises(ValueError, match="series"):
        store.ask.series(KEY, from_ns, to_ns, points)
    with pytest.raises(NotFound):
        store.ask.series("x:y", 0, 10)


def test_newest_values_outlive_the_inbox(opened: Callable[..., Store], clock: Clock) -> None:
    store = opened()
    feed(store, line(60).deliver())
    seal(store, clock)
    before = store.ask.tags()
    store.close()
    after = opened().ask.tags()
    assert [t["last"] for t in after] == [t["last"] for t in before]
    assert after[2]["last"]["value"] == "B2"  # type: ignore[index]


def test_an_alarm_belongs_to_the_batch_that_its_unit_was_making(opened: Callable[..., Store]) -> None:
    store, edge = opened(), Edge()
    edge.define()
    unit = "demo/solids/press-line/press1"
    for at, batch in ((50, "B1"), (200, ""), (300, "B2")):
        edge.add(Context(unit=unit, role="batch", value=batch, time_ns=START + at * SECOND, received_ns=START + at * SECOND, tag=2))
    for raised in (40, 100, 250, 300):
        edge.event("raise", "NORM", "UNACK", raised=raised, at=raised)
    feed(store, edge.deliver())

    def asked(one: Store) -> list[str]:
        return [one.ask.batch_of(f"press-edge-1~press1/main_force.high~{START + raised * SECOND}") for raised in (40, 100, 250, 300)]

    assert asked(store) == ["", "B1", "", "B2"]
    assert store.ask.batch_of("press-edge-1~unknown~1") == store.ask.batch_of("nonsense") == ""
    assert [(b["batch"], b["unit"], b["to_ns"]) for b in store.ask.batches()] == [("B2", unit, None), ("B1", unit, START + 200 * SECOND)]
    store.close()
    assert asked(opened()) == ["", "B1", "", "B2"]
