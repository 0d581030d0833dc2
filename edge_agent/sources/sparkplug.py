"""Sparkplug B: tags from edge nodes of others, through any MQTT broker.

We publish nothing but requests for births, and whether we are there when we have a host id. Sparkplug keeps nothing for a host that is away: what
nodes do not send again as history is declared missing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal

from pydantic import Field

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import NotConnected, Samples, WireError
from edge_agent.sources.dead_letters import DeadLetter, DeadLetters
from edge_agent.sources.source import Plug, Received, Source
from edge_agent.sources.sparkplug_address import Address
from edge_agent.sources.zone import SourceTime
from edge_agent.sparkplug.topics import ID, NAMESPACE, State, Topic, state_topic

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    from edge_agent.sources.sparkplug_host import SparkplugHost

_BATCH_MESSAGES: Final = 500
_COST: Final = 256
_S: Final = 1_000_000_000
_MS: Final = 1_000_000


class SparkplugConfig(BrokerConfig):
    """Tags that Sparkplug B edge nodes bring."""

    lossy: ClassVar[bool] = True
    """Data are sent once, to whoever is there."""

    kind: Literal["sparkplug"]
    name: Annotated[str, Field(min_length=1)]
    client_id: Annotated[str, Field(min_length=1, max_length=65535)]
    """Identity of our session at the broker, unique there."""
    host_id: Annotated[str, Field(pattern=ID)] | None = None
    """Our id as a host application: nodes that have it as their primary host send while we are there. Absent: we say nothing of ourselves."""
    rebirth: bool = True
    """Whether births are asked for when a message is missing, a node unknown, and after connecting; otherwise we wait for them."""
    rebirth_s: Annotated[float, Field(ge=1)] = 10.0
    """Seconds without an answer after which births are asked for again."""
    reorder_s: Annotated[float, Field(ge=0, le=60)] = 2.0
    """Seconds that a missing message is waited for."""
    max_pending_bytes: Annotated[int, Field(ge=65536)] = 16_000_000
    """Bytes taken and not yet handed on, at most (one message more); then the broker has to wait."""
    time: SourceTime = SourceTime()
    dead_letter_bytes: Annotated[int, Field(ge=8192)] = 10_000_000
    watchdog_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds without any value, while periodic tags are configured, after which the connection is made anew."""

    def address_mistake(self, address: str, kind: str) -> str | None:  # noqa: ARG002 - any metric may be of any kind
        """What is wrong with a tag's address, or None."""
        try:
            Address.of(address)
        except ValueError as error:
            return str(error)
        return None

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return SparkplugSource(self, plug)


class SparkplugSource:
    """One subscription to the nodes of one broker."""

    def __init__(self, config: SparkplugConfig, plug: Plug) -> None:
        self._config, self._plug = config, plug
        self._dead = DeadLetters(plug.data_dir, config.dead_letter_bytes)
        self._waiting: list[MQTTMessage] = []
        self._held_bytes = 0
        self._arrived = asyncio.Event()
        self._link: Link | None = None
        self._host: SparkplugHost | None = None
        self._state = b""

    async def open(self, resume: bytes | None) -> None:  # noqa: ARG002 - nodes say anew what is
        """Connect, subscribe to the groups of our tags, say that we are there and ask for births."""
        from edge_agent.sources.sparkplug_host import SparkplugHost, tags_of

        config, plug = self._config, self._plug
        self._waiting, self._held_bytes = [], 0
        self._arrived.clear()
        self._host = host = SparkplugHost(
            plug.name, tags_of(plug.tags, plug.address), reorder_ns=int(config.reorder_s * _S), ask_ns=int(config.rebirth_s * _S),
            count=lambda name: self._count(name, 1),
        )  # fmt: skip
        groups = sorted({group for group, _ in host.nodes}) or ["+"]
        topics = [f"{NAMESPACE}/{group}/#" for group in groups]
        now_ms = plug.clock() // _MS
        self._state = State(True, now_ms).encode()
        ours = None if config.host_id is None else state_topic(config.host_id)
        will = None if ours is None else (ours, State(False, now_ms).encode(), True)
        self._link = link = Link(config, config.client_id, self._message, will=will)
        await link.open(topics + ([ours] if ours is not None else []))
        if ours is not None:
            link.publish(ours, self._state, retain=True)
        host.want_all()

    async def read(self) -> Received:
        """What has arrived, in one batch."""
        link, host = self._link, self._host
        if link is None or host is None:
            raise NotConnected("not open")
        while True:
            self._ask(link, host)
            if not self._waiting:
                await self._wait(link, host)
            if not self._waiting and link.lost.is_set():
                raise NotConnected(link.error)
            await self._batch(host)
            if self._held_bytes <= self._config.max_pending_bytes // 2:
                link.resume()
            items = host.items()
            if items:
                self._count("values", sum(len(item) for item in items if isinstance(item, Samples)))
                return Received(items)

    async def close(self) -> None:
        """Say that we are gone and leave the broker."""
        link, self._link, config = self._link, None, self._config
        if link is not None:
            if config.host_id is not None and not link.lost.is_set() and self._state:
                link.publish(state_topic(config.host_id), State(False, self._plug.clock() // _MS).encode(), retain=True)
            link.close()

    def _ask(self, link: Link, host: SparkplugHost) -> None:
        if self._config.rebirth:
            from edge_agent.sparkplug.payload import rebirth

            for topic in host.asks(self._plug.clock()):
                link.publish(str(topic), rebirth(self._plug.clock() // _MS), qos=0)
                self._count("rebirths_asked", 1)

    async def _wait(self, link: Link, host: SparkplugHost) -> None:
        due_ns = host.due_ns() if self._config.rebirth else host.reorder_due_ns()
        self._arrived.clear()
        timeout_s = None if due_ns is None else max(0.0, (due_ns - self._plug.clock()) / _S)
        await link.lost_or(self._arrived.wait(), timeout_s=timeout_s)

    def _message(self, message: MQTTMessage) -> None:
        link = self._link
        if link is None:
            return
        link.ack(message)  # deaths and states only; data come with QoS 0 and are not sent again by anybody
        if message.topic.endswith(f"/STATE/{self._config.host_id}"):
            self._another_spoke(link, bytes(message.payload))
            return
        self._waiting.append(message)
        self._held_bytes += len(message.payload) + _COST
        if self._held_bytes >= self._config.max_pending_bytes and link.pause():
            self._count("pauses", 1)
        self._arrived.set()

    def _another_spoke(self, link: Link, payload: bytes) -> None:
        # The will of an earlier session of ours may come after our word: then we say it again.
        try:
            online = State.decode(payload).online
        except WireError:
            online = False
        if not online and self._config.host_id is not None:
            link.publish(state_topic(self._config.host_id), self._state, retain=True)

    async def _batch(self, host: SparkplugHost) -> None:
        batch, self._waiting = self._waiting[:_BATCH_MESSAGES], self._waiting[_BATCH_MESSAGES:]
        letters: list[DeadLetter] = []
        now_ns = self._plug.clock()
        for message in batch:
            payload = bytes(message.payload)
            self._held_bytes -= len(payload) + _COST
            try:
                topic = Topic.of(message.topic)
                if not topic.kind.endswith("CMD"):
                    host.take(topic, payload, now_ns)
            except (WireError, UnicodeDecodeError) as error:
                letters.append(DeadLetter(now_ns, repr(message._topic), payload, str(error)))
            if host.troubles:
                letters.append(DeadLetter(now_ns, message.topic, payload, "; ".join(host.troubles)))
                host.troubles = []
        host.tick(now_ns)
        self._count("messages", len(batch))
        if letters:
            given_up = await asyncio.to_thread(self._dead.write, letters)
            self._count("dead_letters", len(letters))
            self._count("dead_letters_given_up", given_up)

    def _count(self, name: str, n: int) -> None:
        self._plug.counters[name] = self._plug.counters.get(name, 0) + n
