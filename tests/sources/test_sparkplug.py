"""The Sparkplug B host: what it makes of births, deaths, aliases and numbers, and how it asks."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import Block, Connection, Overflow, Samples, Tag, Texts, WireError
from edge_agent.core.status import BAD_NO_COMMUNICATION, BAD_WAITING_FOR_INITIAL_DATA
from edge_agent.sources.source import Item, Plug
from edge_agent.sources.sparkplug import SparkplugConfig, SparkplugSource
from edge_agent.sources.sparkplug_host import SparkplugHost, tags_of
from edge_agent.sparkplug.payload import decode, encode, put
from edge_agent.sparkplug.sparkplug_b_pb2 import Payload
from edge_agent.sparkplug.topics import State, Topic
from edge_agent.sparkplug.values import DataType
from edge_agent.uplinks.sparkplug_node import EdgeNode
from edge_agent.uplinks.telling import Newest
from tests.brokers import Broker, started
from tests.uplinks.acting import until

T0 = 1_767_225_600_000_000_000
MS = 1_000_000
S = 1_000_000_000
THEIRS = (
    Tag(id=0, name="press1/force", unit="kN"),
    Tag(id=1, name="press1/batch", kind="text"),
    Tag(id=2, name="uptime"),
    Tag(id=3, name="oven/temperature"),
)
OURS = (Tag(id=0, name="force", unit="kN"), Tag(id=1, name="batch", kind="text"), Tag(id=2, name="uptime"), Tag(id=3, name="oven"))
ADDRESS = {0: "g/n/press1#press1/force", 1: "g/n/press1#press1/batch", 2: "g/n#uptime", 3: "g/n/oven#oven/temperature"}


class Line:
    """A node and a host with a wire between them, on which messages may be lost or change places."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.host = SparkplugHost(
            "spb", tags_of(OURS, ADDRESS), reorder_ns=2 * S, ask_ns=10 * S, count=lambda name: self.counts.update([name])
        )  # fmt: skip
        self.node = EdgeNode("g", "n", THEIRS, 5, Newest(4), simulated=False)

    def say(self, messages: Iterable[tuple[str, bytes]], now_ns: int = 0) -> tuple[Item, ...]:
        for topic, payload in messages:
            self.host.take(Topic.of(topic), payload, now_ns)
        return self.host.items()

    def births(self) -> tuple[Item, ...]:
        return self.say(self.node.births(T0 // MS))

    def data(self, *rows: tuple[int, int, float, int], historical: bool = False) -> list[tuple[str, bytes]]:
        """Rows (ms behind T0, tag, value, status)."""
        columns = Samples.of([T0 + t * MS for t, *_ in rows], [k for _, k, *_ in rows], [v for *_, v, _ in rows], [s for *_, s in rows])
        return list(self.node.data([columns], 0, historical=historical))


def values(items: Iterable[Item]) -> list[tuple[int, int, float]]:
    """(tag, ms behind T0, value) of everything that is not bad."""
    found = [item.take(item.status < 0x80000000) for item in items if isinstance(item, Samples)]
    return [(k, (t - T0) // MS, v) for s in found for k, t, v in zip(s.tag.tolist(), s.time_ns.tolist(), s.value.tolist(), strict=True)]


def test_a_birth_tells_what_is_and_data_come_by_alias() -> None:
    line = Line()
    born = line.births()
    statuses = [s for item in born if isinstance(item, Samples | Texts) for s in list(item.status)]
    assert statuses == [BAD_WAITING_FOR_INITIAL_DATA] * 4
    assert values(line.say(line.data((1, 0, 21.5, 0), (2, 2, 7.0, 0)))) == [(0, 1, 21.5), (2, 2, 7.0)]
    (told,) = line.say(line.node.data([Texts((T0,), (1,), ("B-7",), (0,))], 0, historical=False))
    assert told == Texts((T0,), (1,), ("B-7",), (0,))
    again = line.births()
    assert values(again) == []  # it repeats what is known


def test_status_comes_through_exactly() -> None:
    line = Line()
    line.births()
    statuses = (0, 0x40940000, 0x408F0000, 0x808C0000, 0)
    (told,) = line.say(line.data(*((k, 0, float("nan") if s >= 0x80000000 else 1.0, s) for k, s in enumerate(statuses))))
    assert isinstance(told, Samples)
    assert tuple(told.status.tolist()) == statuses


def test_a_dead_node_has_no_tag_and_a_birth_brings_them_back() -> None:
    line = Line()
    line.births()
    other = EdgeNode("g", "n", THEIRS, 4, Newest(4), simulated=False)
    assert line.say([other.death(1)]) == ()
    assert line.counts["old_deaths"] == 1
    (gone,) = line.say([line.node.death(1)], 9)
    assert isinstance(gone, Connection)
    assert (gone.state, sorted(gone.tags), gone.status, gone.received_ns) == ("tag_failed", [0, 1, 2, 3], BAD_NO_COMMUNICATION, 9)
    assert line.say(line.data((1, 0, 1.0, 0))) == ()
    assert line.counts["unborn"] == 1
    back = [item for item in line.births() if isinstance(item, Connection)]
    assert [(item.state, sorted(item.tags)) for item in back] == [("tag_recovered", [2]), ("tag_recovered", [0, 1]), ("tag_recovered", [3])]


def test_a_dead_device_takes_only_its_own_tags() -> None:
    line = Line()
    line.births()
    payload = Payload(timestamp=1, seq=3)
    (gone,) = line.say([("spBv1.0/g/DDEATH/n/oven", encode(payload))])
    assert isinstance(gone, Connection)
    assert gone.tags == (3,)
    line.node.data([], 0, historical=False)
    assert line.host.nodes["g", "n"].online


def test_messages_that_changed_places_are_put_in_order() -> None:
    line = Line()
    line.births()
    first, second, third = (line.data((k, 0, float(k), 0))[0] for k in (1, 2, 3))
    assert line.say([third, second], 0) == ()
    assert line.host.due_ns() == 2 * S
    assert values(line.say([first], 1 * S)) == [(0, 1, 1.0), (0, 2, 2.0), (0, 3, 3.0)]
    assert line.host.due_ns() is None
    assert line.counts == {}


def test_a_lost_message_is_declared_for_every_tag_it_may_have_been_about() -> None:
    line = Line()
    line.births()
    line.say(line.data((1, 0, 1.0, 0), (1, 3, 4.0, 0)))
    line.data((2, 0, 2.0, 0))  # lost
    assert line.say(line.data((3, 0, 3.0, 0)), 0) == ()
    line.host.tick(1 * S)
    assert line.host.asks(1 * S) == []
    line.host.tick(2 * S)
    assert line.counts["sequence_gaps"] == 1
    assert line.host.asks(2 * S) == [Topic("g", "NCMD", "n")]
    assert line.host.asks(3 * S) == []
    assert line.host.asks(12 * S) == [Topic("g", "NCMD", "n")]
    born = line.births()
    assert [(i.tag, (i.after_ns - T0) // MS, (i.before_ns - T0) // MS) for i in born if isinstance(i, Overflow)] == [(0, 1, 3)]
    assert values(born) == [(0, 3, 3.0)]
    assert line.host.asks(30 * S) == []
    later = line.say(line.data((5, 3, 5.0, 0)))  # the oven's value had not changed when it was born again
    assert [type(item) for item in later] == [Samples]


def test_history_closes_no_hole_and_is_taken_as_it_is() -> None:
    line = Line()
    line.births()
    line.say(line.data((1, 0, 1.0, 0)))
    line.data((5, 0, 5.0, 0))
    line.say(line.data((6, 0, 6.0, 0)), 0)
    line.host.tick(2 * S)
    assert values(line.births()) == [(0, 6, 6.0)]
    told = line.say(line.data((5, 0, 5.0, 0), historical=True))
    assert values(told) == [(0, 5, 5.0)]


def test_unknown_aliases_and_nodes_do_no_harm() -> None:
    line = Line()
    line.births()
    payload = Payload(timestamp=1, seq=3)
    put(payload.metrics.add(alias=99, timestamp=1), DataType.DOUBLE, 1.0)
    assert line.say([("spBv1.0/g/NDATA/n", encode(payload)), ("spBv1.0/g/NDATA/stranger", encode(payload))]) == ()
    assert line.counts == {"unknown_aliases": 1, "unmapped": 1}
    assert line.host.asks(0) == [Topic("g", "NCMD", "n")]


def test_metrics_by_name_uint64_bdseq_and_arrays() -> None:
    """What nodes of others do: no aliases, bdSeq as UInt64, arrays of numbers."""
    counts: Counter[str] = Counter()
    tags = tags_of([Tag(id=0, name="nir", kind="block"), Tag(id=1, name="on")], {0: "g/n#Spectrum", 1: "g/n#Running"})
    host = SparkplugHost("spb", tags, reorder_ns=0, ask_ns=1, count=lambda name: counts.update([name]))
    birth = Payload(timestamp=7, seq=0)
    put(birth.metrics.add(name="bdSeq"), DataType.UINT64, 3)
    put(birth.metrics.add(name="Running", timestamp=5), DataType.BOOLEAN, True)
    put(birth.metrics.add(name="Spectrum"), DataType.FLOATARRAY, np.array([1.5, 2.5]))
    put(birth.metrics.add(name="Other"), DataType.INT32, 1)
    host.take(Topic("g", "NBIRTH", "n"), encode(birth), 0)
    on, block = host.items()
    assert isinstance(on, Samples)
    assert isinstance(block, Block)
    assert (on.time_ns.tolist(), on.value.tolist()) == ([5 * MS], [1.0])
    assert (block.time_ns.tolist(), block.values.tolist(), block.axis.tolist()) == ([7 * MS], [[1.5, 2.5]], [0.0, 1.0])
    wrong = Payload(timestamp=7, seq=1)
    put(wrong.metrics.add(name="Running"), DataType.STRING, "yes")
    put(wrong.metrics.add(name="Spectrum"), DataType.DOUBLEARRAY, np.array([3.0]))
    host.take(Topic("g", "NDATA", "n"), encode(wrong), 0)
    assert len(host.items()) == 1
    assert host.troubles == ["on: expected a number, found 'yes'"]
    death = Payload(timestamp=8)
    put(death.metrics.add(name="bdSeq"), DataType.INT64, 3)
    host.take(Topic("g", "NDEATH", "n"), encode(death), 0)
    assert not host.nodes["g", "n"].online


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_whatever_is_lost_and_in_whatever_order_no_value_is_taken_for_another(data: st.DataObject) -> None:
    line = Line()
    line.births()
    messages = [line.data((k, k % 4 if k % 4 != 1 else 0, float(k), 0))[0] for k in range(1, data.draw(st.integers(1, 30)))]
    kept = [m for m in messages if data.draw(st.booleans())]
    found: list[tuple[int, int, float]] = []
    for now, message in enumerate(data.draw(st.permutations(kept)) if data.draw(st.booleans()) else kept):
        found += values(line.say([message], now * S))
        line.host.tick(now * S)
    for tag, ms, value in found:
        assert (ms, tag) == (int(value), int(value) % 4 if int(value) % 4 != 1 else 0)
    assert len(found) == len(set(found))
    if kept == messages:
        assert found or not messages


@given(st.binary(max_size=120), st.sampled_from(["NBIRTH", "NDEATH", "NDATA"]))
@settings(max_examples=200, deadline=None)
def test_whatever_bytes_come_the_host_lives(data: bytes, kind: str) -> None:
    line = Line()
    line.births()
    try:
        line.host.take(Topic("g", kind, "n"), data, 0)
    except WireError:
        return
    line.host.items()


@pytest.mark.parametrize("address", ["", "g/n", "g#m", "g/n/d/e#m", "g//d#m", "g/n#", "+/n#m"])
def test_an_address_that_names_no_metric_is_a_mistake(address: str) -> None:
    config = SparkplugConfig.model_validate({"kind": "sparkplug", "name": "s", "host": "h", "client_id": "c"})
    mistake = config.address_mistake(address, "numeric")
    assert mistake is not None
    assert mistake.startswith("expected GROUP/NODE")
    assert config.address_mistake("g/n/d#a/b", "numeric") is None


# -- with a broker ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with started("mosquitto", tmp_path_factory.mktemp("broker"), durable=False) as running:
        yield running


async def test_it_says_that_it_is_there_asks_for_births_and_nothing_else(broker: Broker, tmp_path: Path) -> None:
    heard: list[tuple[str, bytes]] = []

    def took(message: MQTTMessage) -> None:
        heard.append((message.topic, bytes(message.payload)))
        link.ack(message)

    def states() -> list[bool]:
        return [State.decode(payload).online for topic, payload in heard if topic == "spBv1.0/STATE/us"]

    link = Link(BrokerConfig(host="127.0.0.1", port=broker.port), "all", took)
    await link.open(["#"])
    section: dict[str, Any] = {"kind": "sparkplug", "name": "spb", "host": "127.0.0.1", "port": broker.port, "client_id": "us", "host_id": "us"}
    source = SparkplugConfig.model_validate(section).source(Plug("spb", OURS, ADDRESS, lambda: T0, tmp_path))
    assert isinstance(source, SparkplugSource)
    await source.open(None)
    reading = asyncio.ensure_future(source.read())
    await until(lambda: states() == [True] and any(topic == "spBv1.0/g/NCMD/n" for topic, _ in heard))
    link.publish("spBv1.0/STATE/us", State(False, T0 // MS - 1).encode(), retain=True)  # the will of a session before
    await until(lambda: states() == [True, False, True])
    node = EdgeNode("g", "n", THEIRS, 0, Newest(4), simulated=False)
    for topic, payload in node.births(T0 // MS):
        link.publish(topic, payload, qos=0)
    link.publish("spBv1.0/g/NDATA/n", b"\xff")
    received = await asyncio.wait_for(reading, 20)
    assert received.items
    reading.cancel()
    await source.close()
    await until(lambda: states()[-1] is False)
    ours = [(topic, payload) for topic, payload in heard if "BIRTH" not in topic and "DATA" not in topic and "STATE" not in topic]
    assert {topic for topic, _ in ours} == {"spBv1.0/g/NCMD/n"}
    assert {m.name for _, payload in ours for m in decode(payload).metrics} == {"Node Control/Rebirth"}
    link.close()
