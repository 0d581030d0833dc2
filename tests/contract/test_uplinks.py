"""What every registered uplink promises (`edge_agent/uplinks/uplink.py`), run over the register; and what the runner makes of its errors."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pydantic
import pytest
from paho.mqtt.client import MQTTMessage

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import Append, Audit, Log, NotConnected, Row, Samples, Tag, decode, encode
from edge_agent.core.wire import KINDS as KINDS_OF
from edge_agent.uplinks import AnyUplink
from edge_agent.uplinks.outgoing import STREAM
from edge_agent.uplinks.syslog import audit_line
from edge_agent.uplinks.uplink import Uplink
from tests.brokers import started
from tests.sources.opcua_plant import START_NS
from tests.uplinks.acting import EDGE, Edge, Gateway, fill, outbox, until

CONFIGS: dict[str, Any] = {get_args(config.model_fields["kind"].annotation)[0]: config for config in get_args(get_args(AnyUplink)[0])}
KINDS = sorted(CONFIGS)


@dataclass
class Target:
    """The other side of an uplink: its section, what it holds by record number, and how to take it away for a moment."""

    section: dict[str, Any]
    held: Callable[[], dict[int, Any]]
    kill: Callable[[], None]
    restore: Callable[[], Any]


@asynccontextmanager
async def _gateway(folder: Path) -> AsyncIterator[Target]:
    with started("mosquitto", folder / "broker") as broker:
        gateway = Gateway(broker.port)
        await gateway.start()

        async def restore() -> None:
            broker.start()
            await gateway.start()

        section = {"host": "127.0.0.1", "port": broker.port, "gateways": ["gw1"]}
        try:
            yield Target(section, lambda: gateway.kept.get(1, {}), broker.kill, restore)
        finally:
            gateway.stop()


def _values(log: Log, sizes: Iterable[int]) -> None:
    """One record of samples per size, a value for each 400 bytes; every value tells its record and its place in it."""
    head = log.head(STREAM).seq
    records = []
    for seq, size in enumerate(sizes, head + 1):
        own = seq * 1_000_000 + np.arange(max(1, size // 400))
        records.append(Samples.of(START_NS + own * 1_000_000, np.zeros(len(own), np.int32), own.astype(np.float64)))
    log.commit([Append(STREAM, KINDS_OF[Samples], encode(record)) for record in records])


def _by_record(points: dict[int, float]) -> dict[int, dict[int, float]]:
    """Points by time in ms since START_NS, parted by the record they are from."""
    found: dict[int, dict[int, float]] = {}
    for time_ms, value in points.items():
        found.setdefault(int(value) // 1_000_000, {})[time_ms] = value
    return found


def _carried(row: Row) -> dict[int, float]:
    record = decode(row.data)
    assert isinstance(record, Samples)
    return dict(zip(((record.time_ns - START_NS) // 1_000_000).tolist(), record.value.tolist(), strict=True))


class Listener:
    """Whoever subscribes to values: points by time in ms since START_NS."""

    def __init__(self, port: int, topics: Sequence[str], read: Callable[[MQTTMessage], Iterable[tuple[int, float]]]) -> None:
        self.points: dict[int, float] = {}
        self._broker, self._topics, self._read = BrokerConfig(host="127.0.0.1", port=port), topics, read
        self._link: Link | None = None

    async def start(self) -> None:
        """Subscribe, waiting for the broker."""
        while True:
            self._link = Link(self._broker, "listener", self._message)
            try:
                await self._link.open(self._topics)
                return
            except NotConnected:
                self._link.close()
                await asyncio.sleep(0.05)

    def _message(self, message: MQTTMessage) -> None:
        self.points.update(self._read(message))
        if self._link is not None:
            self._link.ack(message)

    def stop(self) -> None:
        if self._link is not None:
            self._link.close()


@asynccontextmanager
async def _listened(
    folder: Path, section: dict[str, Any], topics: Sequence[str], read: Callable[[MQTTMessage], Iterable[tuple[int, float]]]
) -> AsyncIterator[Target]:
    with started("mosquitto", folder / "broker", durable=False) as broker:
        listener = Listener(broker.port, topics, read)
        await listener.start()

        async def restore() -> None:
            broker.start()
            await listener.start()

        try:
            yield Target(section | {"host": "127.0.0.1", "port": broker.port}, lambda: _by_record(listener.points), broker.kill, restore)
        finally:
            listener.stop()


def _sparkplug(folder: Path) -> AbstractAsyncContextManager[Target]:
    return _listened(folder, {"missed_bytes_per_s": 100_000_000}, ["spBv1.0/#"], _sparkplug_points)


def _sparkplug_points(message: MQTTMessage) -> Iterator[tuple[int, float]]:
    from edge_agent.sparkplug.payload import decode as payload_of

    if "/DDATA/" in message.topic:
        for metric in payload_of(bytes(message.payload)).metrics:
            assert metric.alias == 1
            yield metric.timestamp - START_NS // 1_000_000, metric.double_value


def _unified(folder: Path) -> AbstractAsyncContextManager[Target]:
    return _listened(folder, {"missed_bytes_per_s": 100_000_000}, ["demo/#"], _unified_points)


def _unified_points(message: MQTTMessage) -> Iterator[tuple[int, float]]:
    point = json.loads(message.payload)
    assert message.topic == "demo/press1/force"
    yield (point["t"] - START_NS) // 1_000_000, point["v"]


class LogServer:
    """A log server that takes framed messages of any number of connections; entries by the record that they tell of."""

    def __init__(self) -> None:
        self.held: dict[int, str] = {}
        self._server: socketserver.ThreadingTCPServer | None = None
        self.port = 0
        self._open: list[socket.socket] = []

    def start(self) -> None:
        """Listen where it listened before."""
        taken = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                taken._open.append(self.connection)
                with contextlib.suppress(OSError, ValueError):
                    size = b""
                    while byte := self.rfile.read(1):
                        size += byte
                        if byte == b" ":
                            text = self.rfile.read(int(size)).decode()
                            taken.held[int(text.partition('object="record ')[2].partition('"')[0])] = text
                            size = b""

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def kill(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.clear()


@asynccontextmanager
async def _syslog(_: Path) -> AsyncIterator[Target]:
    server = LogServer()
    server.start()

    async def restore() -> None:
        server.start()

    try:
        yield Target({"host": "127.0.0.1", "port": server.port, "tls": None}, lambda: dict(server.held), server.kill, restore)
    finally:
        server.kill()


def _audits(log: Log, sizes: Iterable[int]) -> None:
    """One audit entry per size, which names its record."""
    head = log.head(STREAM).seq
    entries = [Audit(time_ns=START_NS, user="li", action="comment", object=f"record {n}", new="x" * size) for n, size in enumerate(sizes, head + 1)]
    log.commit([Append(STREAM, KINDS_OF[Audit], encode(entry)) for entry in entries])


def _told(row: Row) -> str:
    entry = decode(row.data)
    assert isinstance(entry, Audit)
    return audit_line(EDGE, entry)


@dataclass(frozen=True)
class Rig:
    """How to try an uplink.

    fill     put records of these sizes into an outbox; carried: what of one of them its target must hold
    """

    target: Callable[[Path], AbstractAsyncContextManager[Target]]
    absent: dict[str, Any]
    fill: Callable[[Log, Iterable[int]], None] = fill
    carried: Callable[[Row], Any] = lambda row: row.data


RIGS = {
    "gateway": Rig(_gateway, {"host": "127.0.0.1", "port": 9, "gateways": ["gw1"]}),
    "sparkplug": Rig(_sparkplug, {"host": "127.0.0.1", "port": 9}, _values, _carried),
    "syslog": Rig(_syslog, {"host": "127.0.0.1", "port": 9}, _audits, _told),
    "unified": Rig(_unified, {"host": "127.0.0.1", "port": 9}, _values, _carried),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(kind: str) -> Rig:
    return RIGS[kind]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    log = outbox(tmp_path)
    yield Edge(log, tags=(Tag(id=0, name="press1/force"),), data_dir=tmp_path / "uplink")
    log.close()


def uplink(kind: str, section: dict[str, Any], edge: Edge) -> Uplink:
    made: Uplink = CONFIGS[kind].model_validate({"kind": kind, "name": "rig"} | section).uplink(edge.port(time.time_ns))
    return made


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_every_uplink_has_a_rig() -> None:
    assert sorted(RIGS) == KINDS


def test_sections_load_without_the_protocols_libraries() -> None:
    script = "import sys, edge_agent.uplinks; print([m for m in ('paho', 'influxdb_client', 'google.protobuf') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_unknown_keys_are_refused(kind: str, rig: Rig) -> None:
    with pytest.raises(pydantic.ValidationError, match="colour"):
        CONFIGS[kind].model_validate({"kind": kind, "name": "rig", "colour": "red"} | rig.absent)


async def test_nobody_there_is_not_connected(kind: str, rig: Rig, edge: Edge) -> None:
    with pytest.raises(NotConnected):
        await uplink(kind, rig.absent, edge).run()
    assert edge.moved == []


async def test_all_arrives_unchanged_and_the_place_moves_behind_them(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    rig.fill(edge.log, [10, 70_000, 400_000])
    rows = {row.seq: rig.carried(row) for row in edge.log.read(STREAM, 0, max_bytes=1 << 24)}
    async with rig.target(tmp_path) as target:
        task = asyncio.create_task(uplink(kind, target.section, edge).run())
        await until(lambda: edge.moved and edge.moved[-1] == 3 and target.held() == rows)
        await ended(task)


async def test_a_loss_is_not_connected_and_the_same_uplink_runs_again(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    rig.fill(edge.log, [100] * 5)
    async with rig.target(tmp_path) as target:
        made = uplink(kind, target.section, edge)
        task = asyncio.create_task(made.run())
        await until(lambda: edge.moved and edge.moved[-1] == 5)
        target.kill()
        with pytest.raises(NotConnected):
            await asyncio.wait_for(task, 20)
        rig.fill(edge.log, [100] * 5)
        await target.restore()
        task = asyncio.create_task(made.run())
        await until(lambda: edge.moved[-1] == 10 and sorted(target.held()) == list(range(1, 11)))
        await ended(task)
    assert edge.moved == sorted(edge.moved)


async def test_it_only_reads_the_outbox(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    rig.fill(edge.log, [100] * 5)
    async with rig.target(tmp_path) as target:
        task = asyncio.create_task(uplink(kind, target.section, edge).run())
        await until(lambda: edge.moved and edge.moved[-1] == 5)
        await ended(task)
    assert edge.log.first(STREAM) == 1
    assert edge.log.verify(STREAM) == []


async def test_it_may_be_cancelled_at_any_moment(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    rig.fill(edge.log, [50_000] * 20)
    async with rig.target(tmp_path) as target:
        made = uplink(kind, target.section, edge)
        for turn in range(12):
            task = asyncio.create_task(made.run())
            await asyncio.sleep(0.01 * turn)
            await ended(task)
        task = asyncio.create_task(made.run())
        await until(lambda: edge.moved and edge.moved[-1] == 20 and sorted(target.held()) == list(range(1, 21)))
        await ended(task)
