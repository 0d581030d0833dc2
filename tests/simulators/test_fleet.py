"""The load generator says what an edge would say: its messages are read by the code of the product, and a gateway's answers by it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest

from edge_agent.core import Committed, Definitions, Delivery, Ranges, Samples, Summaries, chain_crc, decode, topic
from simulators.fleet import Fleet, FleetConfig, moments
from simulators.fleet_wire import SECOND_NS, FleetEdge, answer
from tests.brokers import Broker, running

NOW_NS = 1_767_225_600 * SECOND_NS


def test_an_edge_of_the_fleet_speaks_the_wire_format() -> None:
    edge = FleetEdge("demo", "fleet0001", tags=30, seed=1, epoch=7)
    frames = [edge.definitions(NOW_NS, 1.0)] + [edge.samples(NOW_NS + i * SECOND_NS) for i in range(3)]
    frames.append(edge.summaries(NOW_NS + 3 * SECOND_NS))
    told = Delivery.decode(edge.message(frames))
    assert (told.site, told.edge, told.epoch, told.simulated, edge.topic) == ("demo", "fleet0001", 7, True, topic("demo", "fleet0001", "records"))
    assert [record.seq for record in told.records] == [1, 2, 3, 4, 5]
    chain = 0
    for record in told.records:
        chain = chain_crc(chain, record.data)
        assert record.chain == chain
    definitions, *samples, summaries = (decode(record.data) for record in told.records)
    assert isinstance(definitions, Definitions)
    assert [(tag.id, tag.class_) for tag in definitions.tags] == [(i, "gmp") for i in range(30)]
    assert isinstance(summaries, Summaries)
    values = np.stack([found.value for found in samples if isinstance(found, Samples)])
    assert values.shape == (3, 30)
    rows = summaries.rows
    np.testing.assert_array_equal(rows["tag"], np.arange(30))
    assert set(rows["count"]) == set(rows["n_good"]) == {3}
    assert (set(rows["start_ns"]), set(rows["first_ns"]), set(rows["last_ns"])) == ({NOW_NS}, {NOW_NS}, {NOW_NS + 2 * SECOND_NS})
    assert set(rows["length_ns"]) == {3 * SECOND_NS}
    np.testing.assert_allclose(rows["sum"], values.sum(axis=0))
    for name, row in (("min", values.min(axis=0)), ("max", values.max(axis=0)), ("first", values[0]), ("last", values[2])):
        np.testing.assert_array_equal(rows[name], row)
    assert [record.seq for record in Delivery.decode(edge.message([edge.samples(NOW_NS)])).records] == [6]


def test_an_answer_confirms_what_has_no_hole_before_it() -> None:
    many = {epoch: Ranges([(1, 40), (50, 60)]) for epoch in range(7, 40)}
    name, through = answer(Committed("gw1", "s", "fleet0001", many | {6: Ranges([(3, 5)])}).encode())
    assert (name, through[7], through[6]) == ("fleet0001", 40, 0)
    edge = FleetEdge("demo", name, tags=2, seed=1, epoch=7)
    edge.waiting = {38: (2, 1.0), 41: (2, 2.0)}
    assert (edge.committed(40, 1.5), list(edge.waiting)) == ([0.5], [41])


@pytest.mark.parametrize("every_s", [0.1, 0.3, 0.7, 1.0, 1.1])
def test_every_edge_speaks_as_often_as_the_time_holds(every_s: float) -> None:
    for edges in (1, 3, 7, 1000):
        for rounds in (1, 3, 10):
            told = list(moments(FleetConfig("", 0, edges=edges, every_s=every_s, duration_s=rounds * every_s)))
            assert [i for i, _ in told] == list(range(edges)) * rounds


class OneUnanswered(Fleet):
    """Does not wait for the edge that is never answered."""

    def drained(self) -> bool:
        return {edge.name for edge in self.edges if edge.waiting} <= {"fleet0002"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    yield from running("mosquitto", tmp_path / "broker", durable=False)


@pytest.mark.system
def test_a_fleet_counts_what_is_committed_and_what_is_not(broker: Broker) -> None:
    held: dict[str, Ranges] = {}
    listening = threading.Event()
    gateway = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="gw1")

    def take(_client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        told = Delivery.decode(message.payload)
        ranges = held.setdefault(told.edge, Ranges())
        if told.edge != "fleet0002":  # the gateway never answers this one
            ranges.add(told.records[0].seq, told.records[-1].seq)
            chain = told.records[-1].chain
            committed = Committed("gw1", "s", told.edge, {told.epoch: ranges}, {told.epoch: (chain,)})
            gateway.publish(topic("demo", told.edge, "committed/gw1"), committed.encode(), qos=1)

    gateway.on_message, gateway.on_subscribe = take, lambda *_: listening.set()
    gateway.connect("127.0.0.1", broker.port)
    gateway.subscribe("pharmedge/demo/+/records", 1)
    gateway.loop_start()
    try:
        assert listening.wait(30)
        config = FleetConfig("127.0.0.1", broker.port, edges=3, tags=4, every_s=0.1, window_s=0.15, duration_s=0.3)
        told = OneUnanswered(config, drain_s=30.0).run().summary()
    finally:
        gateway.loop_stop()
        gateway.disconnect()
    assert (told["messages"], told["values"], told["uncommitted"]) == (9, 36, 3)
    assert {name: ranges.contiguous for name, ranges in held.items() if ranges.contiguous}.keys() == {"fleet0000", "fleet0001"}


class Pinged:
    """Counts when a connection is looked after."""

    def __init__(self) -> None:
        self.times = 0

    def loop_misc(self) -> None:
        self.times += 1

    def want_write(self) -> bool:
        return False


def test_connections_are_kept_through_many_short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def later() -> float:
        now[0] += 0.004
        return now[0]

    monkeypatch.setattr("simulators.fleet.time.monotonic", later)
    fleet, listener = Fleet(FleetConfig("", 0, edges=0)), Pinged()
    fleet._clients.append(listener)  # type: ignore[arg-type]
    while now[0] < 60.0:
        fleet._turn(0.01)
    assert 10 <= listener.times <= 12, "every five seconds"
