"""The Sparkplug B edge node: what it says by itself, and how it gets on with a broker, a host and their absence."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paho.mqtt.client import Client, MQTTMessage

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import Append, Block, Log, NotConnected, Recalled, Samples, Summaries, Tag, Texts, encode
from edge_agent.core.record import SUMMARY_DTYPE
from edge_agent.core.wire import KINDS
from edge_agent.sparkplug.payload import decode, qualities_of, value_of
from edge_agent.sparkplug.payload import encode as bytes_of
from edge_agent.sparkplug.sparkplug_b_pb2 import Payload
from edge_agent.sparkplug.topics import State, Topic
from edge_agent.sparkplug.values import DataType
from edge_agent.uplinks import sparkplug
from edge_agent.uplinks.following import Following
from edge_agent.uplinks.outgoing import STREAM
from edge_agent.uplinks.sparkplug import SparkplugConfig
from edge_agent.uplinks.sparkplug_node import EdgeNode
from edge_agent.uplinks.telling import Chosen, Newest
from tests.brokers import Broker, free_port, started
from tests.uplinks.acting import Edge, outbox, until

T0 = 1_767_225_600_000_000_000
MS = 1_000_000
TAGS = (
    Tag(id=0, name="press1/force", unit="kN", range=(0, 40), description={"en": "main force", "zh": "主压力"}),
    Tag(id=1, name="press1/batch", kind="text"),
    Tag(id=2, name="room/temperature", path="site/area/room"),
    Tag(id=3, name="uptime", record="summary"),
    Tag(id=4, name="press1/nir", kind="block"),
)


def node(newest: Newest | None = None) -> EdgeNode:
    return EdgeNode("g", "n", TAGS, 7, newest or Newest(len(TAGS)), simulated=True)


def read(messages: Any) -> list[tuple[str, Payload]]:
    return [(topic, decode(payload)) for topic, payload in messages]


def samples(*rows: tuple[int, int, float, int], received_ms: int = 0) -> Samples:
    """Rows (ms behind T0, tag, value, status)."""
    columns = [T0 + t * MS for t, *_ in rows], [k for _, k, *_ in rows], [v for *_, v, _ in rows], [s for *_, s in rows]
    return Samples.of(*columns, received_ns=received_ms * MS)


def test_births_hold_every_metric_and_come_first() -> None:
    born = read(node().births(5))
    assert [(topic, payload.seq) for topic, payload in born] == [
        ("spBv1.0/g/NBIRTH/n", 0), ("spBv1.0/g/DBIRTH/n/press1", 1), ("spBv1.0/g/DBIRTH/n/site:area:room", 2),
    ]  # fmt: skip
    first = born[0][1].metrics
    assert [(m.name, m.HasField("alias"), value_of(m, m.datatype)) for m in first[:3]] == [
        ("bdSeq", False, 7), ("Node Control/Rebirth", False, False), ("Properties/Simulated", False, True),
    ]  # fmt: skip
    assert first[0].datatype == DataType.INT64
    assert [(m.name, m.alias) for m in first[3:]] == [("uptime", 4)]
    device = born[1][1].metrics
    assert [(m.name, m.alias, m.datatype, m.is_null) for m in device] == [
        ("press1/force", 1, DataType.DOUBLE, True), ("press1/batch", 2, DataType.STRING, True), ("press1/nir", 5, DataType.DOUBLEARRAY, True),
    ]  # fmt: skip
    assert qualities_of(device[0]) == (500, None)
    assert list(device[0].properties.keys) == ["Quality", "engUnit", "engLow", "engHigh", "documentation"]
    assert all(metric.timestamp and payload.timestamp == 5 for _, payload in born for metric in payload.metrics)


def test_numbers_go_round_and_births_begin_them_anew() -> None:
    made = node()
    made.births(0)
    seqs = [payload.seq for k in range(300) for _, payload in read(made.data([samples((k, 0, 1.0, 0))], 0, historical=False))]
    assert seqs == [k % 256 for k in range(3, 303)]
    assert [payload.seq for _, payload in read(made.births(0))] == [0, 1, 2]


def test_data_carry_aliases_their_own_time_and_the_order_of_time() -> None:
    made = node()
    made.births(0)
    told = read(made.data([samples((3, 0, 3.0, 0), (1, 0, 1.0, 0), (2, 2, 2.0, 0), (2, 3, 9.0, 0))], 77, historical=False))
    assert [topic for topic, _ in told] == ["spBv1.0/g/DDATA/n/press1", "spBv1.0/g/DDATA/n/site:area:room", "spBv1.0/g/NDATA/n"]
    assert [(m.alias, m.name, m.timestamp - T0 // MS, m.double_value) for m in told[0][1].metrics] == [(1, "", 1, 1.0), (1, "", 3, 3.0)]
    assert told[0][1].timestamp == 77
    assert not any(m.HasField("is_historical") for _, payload in told for m in payload.metrics)


def test_what_is_older_than_what_was_told_is_history_and_births_keep_the_newest() -> None:
    newest = Newest(len(TAGS))
    made = node(newest)
    made.births(0)
    list(made.data([samples((10, 0, 1.0, 0))], 0, historical=False))
    late = read(made.data([samples((5, 0, 2.0, 0), (20, 0, 3.0, 0))], 0, historical=False))[0][1].metrics
    assert [(m.double_value, m.is_historical) for m in late] == [(2.0, True), (3.0, False)]
    missed = read(made.data([samples((30, 0, 4.0, 0))], 0, historical=True))[0][1].metrics
    assert [m.is_historical for m in missed] == [True]
    metric = read(made.births(0))[1][1].metrics[0]
    assert (metric.double_value, metric.timestamp, metric.is_historical) == (4.0, T0 // MS + 30, False)


def test_history_that_is_newer_than_what_hosts_show_leaves_the_node_outdated_until_it_is_born_again() -> None:
    made = node()
    made.births(0)
    assert not made.outdated
    list(made.data([samples((10, 0, 1.0, 0)), Texts((T0,), (1,), ("B-7",), (0,))], 0, historical=False))
    list(made.data([samples((5, 0, 0.5, 0))], 0, historical=True))  # older than what was told live
    assert not made.outdated
    list(made.data([samples((7, 2, 20.0, 0))], 0, historical=True))
    assert made.outdated
    list(made.data([samples((8, 0, 1.5, 0))], 0, historical=False))  # live values of another tag make up for nothing
    assert made.outdated
    assert [m.double_value for m in read(made.births(0))[2][1].metrics] == [20.0]
    assert not made.outdated


def test_quality_is_said_when_it_is_not_good_and_when_it_is_good_again() -> None:
    made = node()
    made.births(0)
    statuses = (0, 0, 0x42090000, 0x408F0000, 0x808C0000, 0, 0)
    values = (1.0, 2.0, 3.0, 4.0, float("nan"), 6.0, 7.0)
    rows = [(k, 0, v, s) for k, (v, s) in enumerate(zip(values, statuses, strict=True))]
    found = read(made.data([samples(*rows)], 0, historical=False))[0][1].metrics
    assert [qualities_of(m) for m in found] == [
        (192, None), (None, None), (192, 0x42090000), (500, None), (0, 0x808C0000), (192, None), (None, None),
    ]  # fmt: skip
    assert [value_of(m, DataType.DOUBLE) for m in found] == [1.0, 2.0, 3.0, 4.0, None, 6.0, 7.0]
    assert [m.is_null for m in found] == [False, False, False, False, True, False, False]


def test_texts_and_spectra_are_told_too() -> None:
    made = node()
    made.births(0)
    block = Block(4, np.array([T0]), np.array([[1.0, 2.5]]), np.array([0], np.uint32), np.array([900.0, 901.0]))
    told = read(made.data([Texts((T0,), (1,), ("B-7",), (0,)), block], 0, historical=False))
    assert [(topic, value_of(m, DataType.STRING)) for topic, p in told[:1] for m in p.metrics] == [("spBv1.0/g/DDATA/n/press1", "B-7")]
    np.testing.assert_array_equal(value_of(told[1][1].metrics[0], DataType.DOUBLEARRAY), [1.0, 2.5])
    born = read(made.births(0))[1][1].metrics
    assert value_of(born[1], DataType.STRING) == "B-7"
    np.testing.assert_array_equal(value_of(born[2], DataType.DOUBLEARRAY), [1.0, 2.5])


def test_large_records_are_parted() -> None:
    made = node()
    made.births(0)
    told = read(made.data([samples(*((k, 0, float(k), 0) for k in range(1200)))], 0, historical=False))
    assert [len(payload.metrics) for _, payload in told] == [500, 500, 200]
    assert [m.double_value for _, payload in told for m in payload.metrics] == list(range(1200))


def test_summaries_stand_for_tags_that_have_nothing_else_and_others_are_not_told() -> None:
    rows = np.zeros(3, SUMMARY_DTYPE)
    rows["tag"], rows["part"], rows["count"], rows["last"], rows["last_ns"] = [0, 3, 3], [1, 1, 2], 1, 5.0, T0
    chosen = Chosen(TAGS, ["*"])
    (told,) = chosen.of(encode(Summaries(rows)))
    assert isinstance(told, Samples)
    assert (told.tag.tolist(), told.value.tolist()) == ([3], [5.0])
    only = Chosen(TAGS, ["room/*"])
    (told,) = only.of(encode(samples((0, 0, 1.0, 0), (0, 2, 2.0, 0), (0, 99, 2.0, 0))))
    assert isinstance(told, Samples)
    assert told.tag.tolist() == [2]
    assert list(only.of(encode(Texts((T0,), (1,), ("x",), (0,))))) == []


def qualities(payload: Payload) -> list[int | None]:
    return [qualities_of(metric)[0] for metric in payload.metrics]


def test_a_device_that_is_not_heard_dies_alone_and_is_born_again_when_it_is() -> None:
    made = node()
    made.births(0)
    list(made.data([samples((0, 0, 1.0, 0), (0, 2, 20.0, 0))], 0, historical=False))
    assert made.heard(frozenset({2}), 5) == []
    ((topic, dead),) = read(made.deaths(5))
    assert (topic, dead.timestamp, dead.seq, len(dead.metrics)) == ("spBv1.0/g/DDEATH/n/site:area:room", 5, 5, 0)
    assert made.deaths(6) == []
    list(made.data([samples((1, 0, 2.0, 0))], 0, historical=False))
    ((topic, born),) = read(made.heard(frozenset(), 7))
    assert (topic, born.seq, [(m.name, m.double_value) for m in born.metrics]) == (
        "spBv1.0/g/DBIRTH/n/site:area:room", 7, [("room/temperature", 20.0)],
    )  # fmt: skip
    assert qualities(born) == [192]
    assert made.deaths(8) == []


def test_of_a_device_that_is_heard_in_part_births_say_which_metrics_are_stale() -> None:
    made = node()
    made.births(0)
    list(made.data([samples((0, 0, 1.0, 0)), Texts((T0,), (1,), ("B-7",), (0,))], 0, historical=False))
    ((topic, born),) = read(made.heard(frozenset({0}), 5))
    assert (topic, qualities(born), born.metrics[0].double_value) == ("spBv1.0/g/DBIRTH/n/press1", [500, 192, 500], 1.0)
    assert made.deaths(5) == []
    # What comes of it all the same says that it is good, and births say so when the source is back.
    ((_, told),) = read(made.data([samples((1, 0, 2.0, 0), received_ms=6)], 0, historical=False))
    assert qualities(told) == [192]
    assert qualities(read(made.heard(frozenset(), 7))[0][1]) == [192, 192, 500]


def test_tags_of_the_node_itself_are_stale_in_births_of_all() -> None:
    made = node()
    list(made.births(0))
    list(made.data([samples((0, 3, 9.0, 0))], 0, historical=False))
    told = read(made.heard(frozenset({3}), 5))
    assert [topic.split("/")[2] for topic, _ in told] == ["NBIRTH", "DBIRTH", "DBIRTH"]
    assert [payload.seq for _, payload in told] == [0, 1, 2]
    assert qualities(told[0][1])[3:] == [500]
    assert made.deaths(5) == []


def test_what_was_missed_of_a_dead_device_comes_behind_its_birth_and_it_dies_again() -> None:
    made = node()
    made.births(0)
    made.heard(frozenset({2}), 1)
    made.deaths(1)
    told = read(made.data([samples((5, 2, 3.0, 0))], 2, historical=True))
    assert [topic.split("/")[2] for topic, _ in told] == ["DBIRTH", "DDATA"]
    assert (qualities(told[0][1]), told[0][1].metrics[0].double_value) == ([500], 3.0)
    assert [topic.split("/")[2] for topic, _ in read(made.deaths(3))] == ["DDEATH"]
    # Live values say that it lives, whatever is said of its source.
    told = read(made.data([samples((6, 2, 4.0, 0), received_ms=4)], 4, historical=False))
    assert [(topic.split("/")[2], qualities(payload)) for topic, payload in told] == [("DBIRTH", [500]), ("DDATA", [192])]
    assert made.deaths(5) == []
    made.heard(frozenset(), 6)
    made.heard(frozenset({2}), 7)
    assert len(made.deaths(7)) == 1


MIXER = (
    Tag(id=0, name="mixer/torque", unit="Nm"),
    Tag(id=1, name="mixer/heat", record="summary"),
    Tag(id=2, name="mixer/energy", derived_from=("mixer/torque",)),
    Tag(id=3, name="mixer/recipe", kind="text"),
    Tag(id=4, name="mixer/nir", kind="block"),
)


def window(t: int, tag: int, value: float, received_ms: int) -> Summaries:
    """A window of one tag that closed, its last value `t` ms behind T0."""
    rows = np.zeros(1, SUMMARY_DTYPE)
    rows["tag"], rows["part"], rows["count"], rows["last"], rows["last_ns"] = tag, 1, 1, value, T0 + t * MS
    return Summaries(rows, received_ms * MS)


def test_the_last_window_late_rows_and_what_is_computed_keep_nothing_alive_that_is_not_heard() -> None:
    chosen, newest = Chosen(MIXER, ["*"]), Newest(len(MIXER))
    made = EdgeNode("g", "n", MIXER, 7, newest, simulated=True)
    made.births(0)
    list(made.data([samples((0, 0, 1.0, 0), (0, 1, 50.0, 0))], 0, historical=False))
    made.heard(frozenset(range(5)), 5000)
    assert len(made.deaths(5000)) == 1
    at_ns = 5000 * MS
    block = Block(4, np.array([T0 + 4]), np.array([[1.0]]), np.array([0], np.uint32), np.array([900.0]), received_ns=at_ns)
    for told in (
        [*chosen.of(encode(window(4900, 1, 60.0, 13_900)))],  # the window closes behind the alarm
        [samples((4800, 0, 2.0, 0), received_ms=5000)],  # waited here when the alarm came
        [samples((13_000, 2, 9.0, 0), received_ms=13_000)],  # energy goes on with the clock
        [Recalled.of([T0 + 4850 * MS], [0], [3.0], received_ns=14_000 * MS)],  # a server's history
        [Texts((T0 + 1,), (3,), ("R2",), (0,), at_ns)],
        [block],
    ):
        sent = read(made.data(told, 14_000, historical=False))
        assert [topic.split("/")[2] for topic, _ in sent] == ["DBIRTH", "DDATA"]
        assert set(qualities(sent[0][1])) == {500}
        assert [m.is_historical for m in sent[1][1].metrics] == [True]
        assert not made.outdated, "births of everything would not make it any newer"
        assert [topic.split("/")[2] for topic, _ in read(made.deaths(14_000))] == ["DDEATH"]
    ((topic, born),) = read(made.heard(frozenset(), 20_000))
    assert (topic, qualities(born)) == ("spBv1.0/g/DBIRTH/n/mixer", [192] * 5)
    assert [m.double_value for m in born.metrics[:3]] == [3.0, 60.0, 9.0]
    ((_, live),) = read(made.data([*chosen.of(encode(window(21_000, 1, 61.0, 30_000)))], 30_000, historical=False))
    assert [m.is_historical for m in live.metrics] == [False]


def test_of_a_device_that_is_heard_in_part_the_last_window_of_a_tag_leaves_it_stale() -> None:
    chosen = Chosen(MIXER, ["*"])
    made = EdgeNode("g", "n", MIXER, 7, Newest(len(MIXER)), simulated=True)
    made.births(0)
    list(made.data([samples((0, 0, 1.0, 0), (0, 1, 50.0, 0))], 0, historical=False))
    made.heard(frozenset({1}), 5000)
    ((_, told),) = read(made.data([*chosen.of(encode(window(4900, 1, 60.0, 13_900)))], 14_000, historical=False))
    assert [(m.is_historical, qualities_of(m)) for m in told.metrics] == [(True, (None, None))]
    ((_, told),) = read(made.data([samples((14_100, 0, 2.0, 0), received_ms=14_100)], 14_100, historical=False))
    assert [m.is_historical for m in told.metrics] == [False]
    assert made.deaths(14_200) == []


# -- with a broker ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with started("mosquitto", tmp_path_factory.mktemp("broker"), durable=False) as running:
        yield running


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    log = outbox(tmp_path)
    yield Edge(log, tags=TAGS, data_dir=tmp_path / "uplink")
    log.close()


def put(log: Log, *records: Samples) -> None:
    log.commit([Append(STREAM, KINDS[Samples], encode(record)) for record in records])


class Host:
    """A host application: hears everything of a group, says that it is there, asks."""

    def __init__(self, broker: Broker) -> None:
        self.heard: list[tuple[Topic, Payload]] = []
        self._link = Link(BrokerConfig(host="127.0.0.1", port=broker.port), "host", self._message)

    async def __aenter__(self) -> Host:
        await self._link.open(["spBv1.0/+/+/+", "spBv1.0/+/+/+/+"])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._link.close()

    def _message(self, message: MQTTMessage) -> None:
        if "CMD" not in message.topic:
            self.heard.append((Topic.of(message.topic), decode(bytes(message.payload))))
        self._link.ack(message)

    def say(self, online: bool, at: int, host: str = "scada") -> None:
        self._link.publish(f"spBv1.0/STATE/{host}", State(online, at).encode(), retain=True)

    def ask(self, topic: str, name: str = "Node Control/Rebirth") -> None:
        payload = Payload(timestamp=1)
        payload.metrics.add(name=name, datatype=DataType.BOOLEAN, boolean_value=True)
        self._link.publish(topic, bytes_of(payload))

    def kinds(self) -> list[str]:
        return [topic.kind for topic, _ in self.heard]

    def bd_seq(self, kind: str) -> list[int]:
        return [p.metrics[0].long_value for topic, p in self.heard if topic.kind == kind]

    def values(self) -> list[tuple[float, bool]]:
        return [(m.double_value, m.is_historical) for topic, p in self.heard if topic.kind == "DDATA" for m in p.metrics]


@asynccontextmanager
async def telling(edge: Edge, broker: Broker, clock: Callable[[], int] = time.time_ns, **more: Any) -> AsyncIterator[asyncio.Task[None]]:
    config = SparkplugConfig.model_validate({"kind": "sparkplug", "name": "spb", "host": "127.0.0.1", "port": broker.port} | more)
    task = asyncio.create_task(config.uplink(edge.port(clock)).run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_born_live_and_dead_under_one_number_which_goes_up_with_each_connection(edge: Edge, broker: Broker) -> None:
    put(edge.log, samples((0, 0, 1.0, 0)))
    async with Host(broker) as host:
        async with telling(edge, broker):
            await until(lambda: edge.moved[-1:] == [1])
            put(edge.log, samples((1, 0, 2.0, 0)))
            await until(lambda: len(host.values()) == 2 and edge.moved[-1] == 2)
        await until(lambda: "NDEATH" in host.kinds())
        async with telling(edge, broker):
            await until(lambda: host.kinds().count("DBIRTH") == 4)
        await until(lambda: host.kinds().count("NDEATH") == 2)
        assert host.values() == [(1.0, True), (2.0, False)]
        assert host.kinds()[:4] == ["NBIRTH", "DBIRTH", "DBIRTH", "DDATA"]
        assert (host.bd_seq("NBIRTH"), host.bd_seq("NDEATH")) == ([0, 1], [0, 1])
        assert [p.seq for topic, p in host.heard if topic.kind != "NDEATH"] == [0, 1, 2, 3, 4, 0, 1, 2]
        # Born again it says at once what it knows.
        force = [p for topic, p in host.heard if topic.kind == "DBIRTH" and topic.device == "press1"][-1].metrics[0]
        assert (force.double_value, force.timestamp) == (2.0, T0 // MS + 1)


async def test_a_broker_tells_the_death_of_one_that_vanished(edge: Edge, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    links: list[Link] = []
    opened = Link.open

    async def opening(link: Link, *topics: Any) -> None:
        links.append(link)
        await opened(link, *topics)

    async with Host(broker) as host:
        monkeypatch.setattr(Link, "open", opening)
        async with telling(edge, broker) as task:
            await until(lambda: "NBIRTH" in host.kinds())
            socket = links[0]._socket
            assert socket is not None
            socket.shutdown(2)
            with pytest.raises(NotConnected):
                await asyncio.wait_for(task, 20)
        await until(lambda: "NDEATH" in host.kinds())
        assert host.bd_seq("NDEATH") == host.bd_seq("NBIRTH") == [0]


async def test_births_are_given_when_asked_for_once_for_many_and_nothing_else_is_obeyed(edge: Edge, broker: Broker) -> None:
    now = [10**18]
    async with Host(broker) as host, telling(edge, broker, lambda: now[0]):
        await until(lambda: "NBIRTH" in host.kinds())
        for _ in range(3):
            host.ask("spBv1.0/demo/NCMD/e1")
        host.ask("spBv1.0/demo/DCMD/e1/press1", "press1/force")
        edge_status = edge.ports[-1].status
        await until(lambda: edge_status.get("connected"))
        put(edge.log, samples((0, 0, 5.0, 0)))
        now[0] += 3 * 10**9
        await until(lambda: host.kinds().count("NBIRTH") == 2)
        await until(lambda: len(host.values()) == 1 and edge_status.get("refused_commands") == 1)
        assert host.kinds().count("NBIRTH") == 2
        assert edge_status["rebirths"] == 1
        assert host.bd_seq("NBIRTH") == [0, 0]


async def test_births_follow_a_drained_backlog_so_that_hosts_show_what_is(edge: Edge, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparkplug, "_LOOK_BACK", 2)
    now = [10**18]
    put(edge.log, samples((0, 2, 21.5, 0)))  # the room says nothing more: further back than a birth looks
    for k in range(4):
        put(edge.log, samples((k, 0, float(k), 0)))
    async with Host(broker) as host, telling(edge, broker, lambda: now[0]):
        await until(lambda: edge.moved[-1:] == [5])
        assert host.kinds().count("NBIRTH") == 1
        now[0] += 3 * 10**9
        await until(lambda: host.kinds().count("DBIRTH") == 4)
        rooms = [p.metrics[0] for topic, p in host.heard if topic.kind == "DBIRTH" and topic.device == "site:area:room"]
        assert [(m.is_null, m.double_value, qualities_of(m)[0]) for m in rooms] == [(True, 0.0, 500), (False, 21.5, 192)]
        assert (host.bd_seq("NBIRTH")[0], edge.ports[-1].status["rebirths"]) == (host.bd_seq("NBIRTH")[1], 0)
        put(edge.log, samples((9, 0, 9.0, 0)))
        await until(lambda: (9.0, False) in host.values())
        now[0] += 3 * 10**9
        put(edge.log, samples((10, 0, 10.0, 0)))
        await until(lambda: (10.0, False) in host.values())
        assert host.kinds().count("NBIRTH") == 2


def test_the_number_of_connections_goes_round_and_survives_what_is_not_one(edge: Edge) -> None:
    made = SparkplugConfig.model_validate({"kind": "sparkplug", "name": "spb", "host": "127.0.0.1", "port": 9}).uplink(edge.port(time.time_ns))
    file = edge.ports[-1].data_dir / "bdseq"
    assert [made._next_bd_seq(), made._next_bd_seq(), file.read_text()] == [0, 1, "1"]
    file.write_text("255")
    assert made._next_bd_seq() == 0
    file.write_text("")
    assert made._next_bd_seq() == 0


async def test_without_its_primary_host_it_keeps_everything(edge: Edge, broker: Broker) -> None:
    put(edge.log, samples((0, 0, 1.0, 0)))
    async with Host(broker) as host:
        host.say(False, 100)
        async with telling(edge, broker, primary_host="scada") as task:
            await until(lambda: "waiting" in str(edge.ports[-1].status["error"]))
            assert host.heard == []
            host.say(True, 200)
            await until(lambda: edge.moved[-1:] == [1])
            host.say(False, 150)  # the will of an earlier session, late
            put(edge.log, samples((1, 0, 2.0, 0)))
            await until(lambda: len(host.values()) == 2 and edge.moved[-1] == 2)
            host.say(False, 200)
            with pytest.raises(NotConnected, match="primary host scada is offline"):
                await asyncio.wait_for(task, 20)
        await until(lambda: "NDEATH" in host.kinds())
        assert host.values() == [(1.0, True), (2.0, False)]
        put(edge.log, samples((2, 0, 3.0, 0)))
        host.say(True, 300)
        async with telling(edge, broker, primary_host="scada"):
            await until(lambda: len(host.values()) == 3)
        assert host.values()[-1] == (3.0, True)
        host.say(False, 400)


async def test_a_source_that_is_away_makes_its_device_alone_stale_for_hosts(edge: Edge, broker: Broker) -> None:
    put(edge.log, samples((0, 0, 1.0, 0), (0, 2, 20.0, 0)))
    async with Host(broker) as host, telling(edge, broker):
        await until(lambda: edge.moved[-1:] == [1])
        edge.away = frozenset({2})
        await until(lambda: "DDEATH" in host.kinds())
        put(edge.log, samples((1, 0, 2.0, 0)))
        await until(lambda: (2.0, False) in host.values())
        edge.away = frozenset()
        await until(lambda: host.kinds()[-1] == "DBIRTH")
        put(edge.log, samples((2, 2, 21.0, 0)))
        await until(lambda: (21.0, False) in host.values())
        device = [(topic.kind, topic.device) for topic, _ in host.heard if topic.device == "site:area:room"]
        assert [kind for kind, _ in device] == ["DBIRTH", "DDATA", "DDEATH", "DBIRTH", "DDATA"]
        numbered = [p.seq for topic, p in host.heard]
        assert numbered == list(range(len(numbered)))
        assert "NDEATH" not in host.kinds()


async def test_where_the_primary_host_is_offline_the_next_broker_is_tried(
    edge: Edge, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparkplug, "_HOST_S", (0.2, 0.2))
    with started("mosquitto", tmp_path / "second", durable=False) as second:
        async with Host(broker) as host, Host(second) as other:
            host.say(True, 100, "walker")
            other.say(False, 50, "walker")
            more = {"primary_host": "walker", "others": [f"127.0.0.1:{second.port}"]}
            async with telling(edge, broker, **more):
                put(edge.log, samples((0, 0, 1.0, 0)))
                await until(lambda: (1.0, False) in host.values() or (1.0, True) in host.values())
                assert edge.ports[-1].status["broker"] == f"127.0.0.1:{broker.port}"
                host.say(False, 100, "walker")
                await until(lambda: "NDEATH" in host.kinds())
                put(edge.log, samples((1, 0, 2.0, 0)))  # while it is at none
                other.say(True, 60, "walker")
                await until(lambda: (2.0, True) in other.values())
                assert other.kinds()[0] == "NBIRTH", "who was not born there does not die there"
                assert edge.ports[-1].status["broker"] == f"127.0.0.1:{second.port}"
                # Each connection has a number of its own, and nothing is told where the host is not.
                assert other.bd_seq("NBIRTH")[0] > host.bd_seq("NBIRTH")[0]
                assert (2.0, True) not in host.values()
                host.say(True, 200, "walker")
                put(edge.log, samples((2, 0, 3.0, 0)))
                await until(lambda: (3.0, False) in other.values())
                assert host.kinds().count("NBIRTH") == 1


async def test_connections_that_come_and_go_leave_nothing_behind(edge: Edge, broker: Broker) -> None:
    def left() -> tuple[int, int, int]:
        gc.collect()
        files = len(list(Path("/proc/self/fd").iterdir()))
        return sum(1 for found in gc.get_objects() if type(found) in (Link, Client)), len(asyncio.all_tasks()), files

    config = SparkplugConfig.model_validate({"kind": "sparkplug", "name": "spb", "host": "127.0.0.1", "port": broker.port})
    uplink = config.uplink(edge.port(time.time_ns))
    counted = []
    for k in range(6):
        put(edge.log, samples((k, 0, float(k), 0)))
        task = asyncio.create_task(uplink.run())
        await until(lambda: edge.moved[-1:] == [edge.log.head(STREAM).seq])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        if k in (1, 5):
            counted.append(left())
    assert counted[0] == counted[1], "objects, tasks and open files are as many as before"


async def test_a_broker_that_is_away_is_left_for_the_next(edge: Edge, broker: Broker) -> None:
    put(edge.log, samples((0, 0, 1.0, 0)))
    more = {"port": free_port(), "others": [f"127.0.0.1:{broker.port}"]}
    async with Host(broker) as host, telling(edge, broker, **more):
        await until(lambda: edge.moved[-1:] == [1])
        assert host.bd_seq("NBIRTH") == [1]


async def test_live_values_do_not_wait_for_what_was_missed(edge: Edge, broker: Broker) -> None:
    rng = np.random.default_rng(1)
    for k in range(40):
        put(edge.log, Samples.of(T0 + k * 1000 * MS + np.arange(5000), np.zeros(5000, np.int32), rng.normal(size=5000)))
    live_after: list[int] = []
    async with Host(broker) as host, telling(edge, broker, missed_bytes_per_s=1000):
        await until(lambda: edge.moved)
        put(edge.log, samples((90_000, 0, 77.0, 0)))
        await until(lambda: (77.0, False) in host.values())
        live_after.append(edge.moved[-1])
    assert live_after[0] < 40


def test_a_place_of_its_own_survives_a_restart(edge: Edge) -> None:
    put(edge.log, samples((0, 0, 1.0, 0)))
    edge.moved.append(1)
    config = SparkplugConfig.model_validate({"kind": "sparkplug", "name": "spb", "host": "127.0.0.1", "port": 9})
    config.uplink(edge.port(time.time_ns))
    assert edge.ports[-1].status["committed_seq"] == 1
    assert Following(edge.log, 1, portion_bytes=1).missed() is None
