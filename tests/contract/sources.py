"""For each registered source a real peer that sends what it is told; a new source adds its rig here."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from paho.mqtt import publish
from paho.mqtt.client import MQTTMessage
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import Samples, Tag
from edge_agent.sources.source import Plug
from edge_agent.uplinks.sparkplug_node import EdgeNode
from edge_agent.uplinks.telling import Newest
from tests.brokers import free_port, started
from tests.sources.opcua_plant import START_NS, STEP_NS, URI, Plant

NAME = "value"


class Peer(Protocol):
    """The other side of a source."""

    async def send(self, first: int, last: int) -> None:
        """Values first .. last of the tag, value k with source time START_NS + k STEP_NS."""

    @property
    def section(self) -> dict[str, Any]:
        """The source's section in the configuration."""

    @property
    def address(self) -> str:
        """The tag's address."""


@dataclass(frozen=True)
class Rig:
    """How to try a source.

    finite      it ends after what was sent before it was opened; and it can be sent nothing while open
    keeps       its peer keeps what was not acknowledged
    """

    peer: Callable[[Path], AbstractAsyncContextManager[Peer]]
    absent: dict[str, Any]
    finite: bool = False
    keeps: bool = True


_NOW = [START_NS]
"""Received time: stands still, but for peers that stamp nothing and are read at the time their value was sent."""


def plug(peer_address: str, folder: Path) -> Plug:
    """One numeric tag."""
    return Plug("rig", [Tag(id=0, name=NAME, expected_s=0.1)], {0: peer_address}, lambda: _NOW[0], folder)


class _Modbus:
    address = "holding 4 int32"

    def __init__(self, port: int) -> None:
        self.section = {"host": "127.0.0.1", "port": port, "period_s": 0.01}
        self.values: list[int] = []

    async def send(self, first: int, last: int) -> None:
        self.values = [*self.values[:1], *range(first, last + 1)]

    async def look(self, _function: int, start: int, _at: int, _count: int, registers: list[int], _written: object) -> ExcCodes | None:
        """Each reading sees the next value, the last one for ever."""
        if not self.values:
            return ExcCodes.DEVICE_FAILURE
        if len(self.values) > 1 and (self.values[0] < self.values[1] or _NOW[0] == START_NS):
            self.values.pop(0)
        value = self.values[0]
        _NOW[0] = START_NS + value * STEP_NS
        registers[4 - start : 6 - start] = [value >> 16, value & 0xFFFF]
        return None


@asynccontextmanager
async def _modbus(_folder: Path) -> AsyncIterator[Peer]:
    port = free_port()
    peer = _Modbus(port)
    memory = SimData(0, count=10, values=0, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(0, [memory], action=peer.look), address=("127.0.0.1", port))
    await server.listen()
    try:
        yield peer
    finally:
        await server.shutdown()
        _NOW[0] = START_NS


class _Csv:
    def __init__(self, folder: Path) -> None:
        self._path = folder / "values.csv"
        self.section = {"files": [str(self._path)]}
        self.address = ""

    async def send(self, first: int, last: int) -> None:
        new = not self._path.exists()
        with self._path.open("a") as file:
            file.write(f"time,{NAME}\n" if new else "")
            file.writelines(f"{START_NS + k * STEP_NS},{k}\n" for k in range(first, last + 1))


@asynccontextmanager
async def _csv(folder: Path) -> AsyncIterator[Peer]:
    yield _Csv(folder)


class _Mqtt:
    address = "plant/value"

    def __init__(self, port: int) -> None:
        self._port = port
        self.section = {"host": "127.0.0.1", "port": port, "client_id": "contract", "topics": ["plant/#"]}

    async def send(self, first: int, last: int) -> None:
        payloads = [json.dumps({"t": START_NS + k * STEP_NS, "v": float(k)}) for k in range(first, last + 1)]
        messages: list[Any] = [{"topic": self.address, "payload": payload, "qos": 1} for payload in payloads]
        await asyncio.to_thread(publish.multiple, messages, hostname="127.0.0.1", port=self._port, client_id="sender")


@asynccontextmanager
async def _mqtt(folder: Path) -> AsyncIterator[Peer]:
    with started("mosquitto", folder / "broker") as broker:
        yield _Mqtt(broker.port)


class _Sparkplug:
    """An edge node that is born when it is asked to be, and then sends."""

    address = f"plant/node1/press1#press1/{NAME}"

    def __init__(self, port: int) -> None:
        self.section = {"host": "127.0.0.1", "port": port, "client_id": "contract"}
        self._node = EdgeNode("plant", "node1", [Tag(id=0, name=f"press1/{NAME}")], 0, Newest(1), simulated=False)
        self._link = Link(BrokerConfig(host="127.0.0.1", port=port), "node1", self._asked)

    async def start(self) -> None:
        await self._link.open(["spBv1.0/plant/NCMD/node1"])
        self._tell(self._node.births(0))

    def stop(self) -> None:
        self._link.close()

    def _asked(self, message: MQTTMessage) -> None:
        self._link.ack(message)
        self._tell(self._node.births(0))

    def _tell(self, messages: Iterable[tuple[str, bytes]]) -> None:
        for topic, payload in messages:
            self._link.publish(topic, payload, qos=0)

    async def send(self, first: int, last: int) -> None:
        values = np.arange(first, last + 1)
        self._tell(self._node.data([Samples.of(START_NS + values * STEP_NS, np.zeros(len(values), np.int32), values)], 0, historical=False))


@asynccontextmanager
async def _sparkplug(folder: Path) -> AsyncIterator[Peer]:
    with started("mosquitto", folder / "broker") as broker:
        peer = _Sparkplug(broker.port)
        await peer.start()
        try:
            yield peer
        finally:
            peer.stop()


class _OpcUa:
    address = f"nsu={URI};s={NAME}"

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self.section = {"url": plant.url, "publishing_ms": 50}

    async def send(self, first: int, last: int) -> None:
        await self._plant.run(NAME, first, last)


@asynccontextmanager
async def _opcua(_folder: Path) -> AsyncIterator[Peer]:
    plant = await Plant(free_port(), names=(NAME,)).start()
    try:
        yield _OpcUa(plant)
    finally:
        await plant.stop()


RIGS: dict[str, Rig] = {
    "csv": Rig(_csv, {"files": ["/nowhere/values.csv"]}, finite=True, keeps=False),
    "modbus": Rig(_modbus, {"host": "127.0.0.1", "port": 9}, keeps=False),
    "mqtt": Rig(_mqtt, {"host": "127.0.0.1", "port": 9, "client_id": "contract", "topics": ["#"]}),
    "sparkplug": Rig(_sparkplug, {"host": "127.0.0.1", "port": 9, "client_id": "contract"}, keeps=False),
    "opcua": Rig(_opcua, {"url": "opc.tcp://127.0.0.1:9/"}),
}
