"""A real OPC UA server for the tests, in this process, and the means to read a source from it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.server.user_managers import UserManager

from edge_agent.core import Connection, Overflow, Samples, Tag, Texts
from edge_agent.sources.opcua import OpcUaConfig, OpcUaSource
from edge_agent.sources.source import Item, Plug, Received

URI = "urn:pharmedge:test"
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
START_NS = 1_767_225_600_000_000_000
STEP_NS = 100_000_000


def free_port() -> int:
    """A port on loopback that nobody listens on, below those that outgoing connections are given.

    A server builds its address space for seconds before it listens: of a port that the system chose, some connection would have become the owner.
    """
    while True:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", random.randrange(15_000, 32_000)))
            return int(s.getsockname()[1])


def utc(time_ns: int) -> datetime.datetime:
    """As asyncua wants it."""
    return EPOCH + datetime.timedelta(microseconds=time_ns // 1000)


class Plant:
    """Variables a, b, ... (Double, status good) and `batch` (String), written by the test."""

    def __init__(self, port: int, *, names: tuple[str, ...] = ("a", "b"), before: tuple[str, ...] = (), users: UserManager | None = None) -> None:
        self.port, self.names, self.before = port, names, before
        self.server = Server(user_manager=users)
        self.url = f"opc.tcp://127.0.0.1:{port}/"
        self.index = 0

    async def start(
        self, policies: tuple[ua.SecurityPolicyType, ...] = (ua.SecurityPolicyType.NoSecurity,), pki: tuple[Path, Path] | None = None
    ) -> Plant:
        """Build the address space and listen."""
        server = self.server
        await server.init()
        server.set_endpoint(self.url)
        if pki is not None:
            await server.load_certificate(str(pki[0]))
            await server.load_private_key(str(pki[1]))
        server.set_security_policy(list(policies))
        for uri in self.before:
            await server.register_namespace(uri)
        self.index = await server.register_namespace(URI)
        for name in self.names:
            await self.add(name)
        await server.start()
        return self

    async def add(self, name: str) -> None:
        """One more variable, without a value yet."""
        kind = ua.VariantType.String if name == "batch" else ua.VariantType.Double
        node_id = ua.NodeId(name, self.index)
        await self.server.nodes.objects.add_variable(node_id, ua.QualifiedName(name, self.index), "" if name == "batch" else 0.0, kind)
        await self.server.write_attribute_value(node_id, ua.DataValue(None, ua.StatusCode(0x80320000)))

    async def write(self, name: str, value: Any, time_ns: int, status: int = 0) -> None:
        """A value with its source time."""
        data = ua.DataValue(value, ua.StatusCode(status), SourceTimestamp=utc(time_ns), ServerTimestamp=utc(time_ns))
        await self.server.write_attribute_value(ua.NodeId(name, self.index), data)

    async def run(self, name: str, first: int, last: int) -> None:
        """Values first .. last of the grid: value k at START + k steps."""
        for k in range(first, last + 1):
            await self.write(name, float(k), START_NS + k * STEP_NS)

    @property
    def subscriptions(self) -> dict[int, Any]:
        """asyncua's internal subscriptions by id."""
        return self.server.iserver.subscription_service.subscriptions

    def unacknowledged(self) -> list[int]:
        """Sequence numbers the server still holds, over all subscriptions."""
        return [n for subscription in self.subscriptions.values() for n in subscription._not_acknowledged_results]

    async def fresh(self) -> Plant:
        """As after a start, for the next test: no session, no subscription, no values."""
        iserver = self.server.iserver
        for session in list(iserver._external_sessions.values()):
            await session.close_session(True)
        await iserver.subscription_service.delete_subscriptions(list(self.subscriptions))
        for name in self.names:
            await self.server.write_attribute_value(ua.NodeId(name, self.index), ua.DataValue(None, ua.StatusCode(0x80320000)))
        return self

    async def stop(self) -> None:
        """Close all sessions and stop listening."""
        await self.server.stop()


def tags(*names: str, expected_s: float | None = 0.1) -> tuple[Tag, ...]:
    """Numeric tags but for `batch`."""
    return tuple(Tag(id=i, name=n, kind="text" if n == "batch" else "numeric", expected_s=expected_s) for i, n in enumerate(names))


def source(
    plant: Plant, folder: Path, names: tuple[str, ...] = ("a", "b"), *, uri: str = URI, expected_s: float | None = 0.1,
    newest_ns: Callable[[int], int | None] = lambda _: None, late_after_s: float = 0.0, **config: Any,
) -> OpcUaSource:
    """A source of the plant's variables, publishing every 50 ms."""
    found = OpcUaConfig.model_validate({"kind": "opcua", "name": "plc", "url": plant.url, "publishing_ms": 50, "timeout_s": 5} | config)
    chosen = tags(*names, expected_s=expected_s)
    address = {tag.id: f"nsu={uri};s={tag.name}" for tag in chosen}
    opened = found.source(Plug("plc", chosen, address, lambda: START_NS, folder, newest_ns=newest_ns, late_after_s=late_after_s))
    assert isinstance(opened, OpcUaSource)
    return opened


class Reader:
    """Reads a source as the agent does: keeps what it brought, acknowledges when told to."""

    wait_s = 10.0

    def __init__(self, plc: OpcUaSource) -> None:
        self.plc = plc
        self.items: list[Item] = []
        self.waiting: list[Received] = []
        self.resume: bytes | None = None

    async def open(self) -> Connection:
        """Open, and the first item."""
        await self.plc.open(self.resume)
        received = await asyncio.wait_for(self.plc.read(), self.wait_s)
        self._take(received)
        first = received.items[0]
        assert isinstance(first, Connection)
        return first

    def _take(self, received: Received) -> None:
        self.items += received.items
        self.waiting.append(received)

    def commit(self) -> None:
        """Everything read so far is durable."""
        for received in self.waiting:
            self.resume = received.resume or self.resume
            received.ack()
        self.waiting.clear()

    async def read(self, *, commit: bool = True) -> Received:
        """One more batch."""
        received = await asyncio.wait_for(self.plc.read(), self.wait_s)
        self._take(received)
        if commit:
            self.commit()
        return received

    async def until(self, name_id: int, value: float, *, commit: bool = True) -> None:
        """Read until a tag has shown a value."""
        while value not in self.values(name_id):
            await self.read(commit=commit)

    async def lost(self) -> None:
        """Read until the source says that it is not connected."""
        while True:
            await self.read()

    def values(self, tag: int) -> list[float]:
        """Values of a tag in order of arrival."""
        return [v for s in self.of(Samples) for t, v in zip(s.tag.tolist(), s.value.tolist(), strict=True) if t == tag]

    def rows(self, tag: int) -> list[tuple[int, float, int]]:
        """Time, value and status of a tag in order of arrival."""
        found = []
        for s in self.of(Samples):
            columns = zip(s.tag.tolist(), s.time_ns.tolist(), s.value.tolist(), s.status.tolist(), strict=True)
            found += [(time, value, status) for t, time, value, status in columns if t == tag]
        return found

    def of(self, kind: type[Any]) -> list[Any]:
        """Items of one type."""
        return [item for item in self.items if isinstance(item, kind)]

    def states(self) -> list[str]:
        """States of all Connection items."""
        return [item.state for item in self.of(Connection)]

    def words(self) -> list[tuple[int, str]]:
        """Tag and text of all texts."""
        return [pair for item in self.of(Texts) for pair in zip(item.tag, item.value, strict=True)]

    def holes(self) -> list[tuple[int, int, int]]:
        """Tag and grid steps of all overflows."""
        return [(o.tag, (o.after_ns - START_NS) // STEP_NS, (o.before_ns - START_NS) // STEP_NS) for o in self.of(Overflow)]


def cut(plc: OpcUaSource) -> None:
    """Tear the connection as a crash of ours would: nothing is said to the server."""
    session = plc._session
    assert session is not None
    transport = session._client.uaclient.protocol.transport
    transport.abort()
    assert plc._publisher is not None
    plc._publisher.stop()
    plc._session = plc._publisher = None
