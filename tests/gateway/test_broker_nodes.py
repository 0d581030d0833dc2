"""A cluster of brokers as agent and gateway see it: a node that is away, one that says nothing, one that lets us in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pydantic
import pytest

import edge_agent.broker.link
import gateway.broker
from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import NotConnected
from gateway.broker import Token
from gateway.config import BrokerSection
from tests.brokers import KINDS, Broker, BrokerKind, free_port, running, started


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    yield from running("mosquitto", tmp_path / "broker", durable=False)


@pytest.fixture
async def closing() -> AsyncIterator[int]:
    """A port that takes connections and closes them, as a node that has just come up alone does."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    yield int(server.sockets[0].getsockname()[1])
    server.close()


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        yield int(listening.getsockname()[1])


async def test_the_agent_asks_every_node_until_one_lets_it_in(closing: int, broker: Broker) -> None:
    heard: list[bytes] = []
    others = (f"localhost:{closing}", f"127.0.0.1:{broker.port}")
    link = Link(BrokerConfig(host="127.0.0.1", port=free_port(), others=others), "edge", lambda message: heard.append(message.payload))
    await link.open(["there"], qos=0)
    assert (link.error, link.lost.is_set()) == ("", False)
    link.publish("there", b"and back")
    await link.taken()
    async with asyncio.timeout(60):
        while not heard:
            await asyncio.sleep(0.01)
    link.close()


async def test_where_no_node_lets_the_agent_in_it_says_what_the_last_one_did(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_agent.broker.link, "ANSWER_S", 0.2)
    link = Link(BrokerConfig(host="127.0.0.1", port=silent, others=(f"127.0.0.1:{free_port()}",)), "edge", lambda _: None)
    with pytest.raises(NotConnected, match="refused"):
        await link.open(["there"])
    link = Link(BrokerConfig(host="127.0.0.1", port=free_port(), others=(f"127.0.0.1:{silent}",)), "edge", lambda _: None)
    with pytest.raises(NotConnected, match="expected an answer"):
        await link.open(["there"])
    link.close()


async def test_the_gateway_asks_every_node_until_one_lets_it_in(closing: int, broker: Broker) -> None:
    others = (f"127.0.0.1:{closing}", f"[::1]:{free_port()}", f"localhost:{broker.port}")
    there = asyncio.Event()
    made = gateway.broker.Broker(
        BrokerSection(port=free_port(), others=others), "gw1", "pharmedge/#", received=lambda *_: None, connected=there.set
    )
    staying = asyncio.create_task(made.run())
    async with asyncio.timeout(60):
        await there.wait()
    assert (made.connected, made.reconnects) == (True, 3)
    staying.cancel()
    with suppress(asyncio.CancelledError):
        await staying


@pytest.mark.parametrize("kind", KINDS)
async def test_a_message_of_qos_0_is_taken_and_the_connection_stays(kind: BrokerKind, tmp_path: Path) -> None:
    heard: list[tuple[bytes, bool]] = []

    def received(_topic: str, payload: bytes, token: Token | None) -> None:
        heard.append((payload, token is not None))
        if token is not None:
            made.acknowledge([token])

    async def until(number: int) -> None:
        async with asyncio.timeout(60):
            while len(heard) < number:
                await asyncio.sleep(0.01)

    with started(kind, tmp_path / "broker", durable=False) as peer:
        there = asyncio.Event()
        made = gateway.broker.Broker(BrokerSection(port=peer.port), "gw1", "demo/+/records", received=received, connected=there.set)
        staying = asyncio.create_task(made.run())
        async with asyncio.timeout(60):
            await there.wait()
        link = Link(BrokerConfig(host="127.0.0.1", port=peer.port), "edge", lambda _: None)
        await link.open(["elsewhere"])
        said: list[tuple[bytes, Literal[0, 1]]] = [(b"x", 0), (b"y", 1), (b"z", 0)]
        for number, (payload, qos) in enumerate(said, 1):
            link.publish("demo/e1/records", payload, qos=qos, retain=True)
            await until(number)
        link.close()
        made.publish("demo/e2/records", b"our own")  # taken behind whatever was answered before
        await until(4)
        assert heard == [(b"x", False), (b"y", True), (b"z", False), (b"our own", True)]
        assert (made.connected, made.reconnects) == (True, 0)
        staying.cancel()
        with suppress(asyncio.CancelledError):
            await staying


@pytest.mark.parametrize("other", ["host", ":1883", "host:", "host:x", "a b:1", "http://host:1"])
def test_another_node_is_a_host_and_a_port(other: str) -> None:
    for section in (BrokerConfig, BrokerSection):
        with pytest.raises(pydantic.ValidationError):
            section.model_validate({"host": "a", "others": [other]})
        right = section.model_validate({"host": "a", "others": ["[::1]:1884", "b:2"]})
        assert right.nodes == (("a", 1883), ("::1", 1884), ("b", 2))
