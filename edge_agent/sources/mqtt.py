"""MQTT: tags by topic and path, acknowledged to the broker only after our commit.

The broker holds what we have not acknowledged: Mosquitto lets 20 messages be outstanding unless `max_inflight_messages` says more, or MQTT 5 is
used, where `max_in_flight` here decides. Publishers of many small messages should send lists.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import NotConnected, Samples
from edge_agent.core.samples import UNACKNOWLEDGED
from edge_agent.sources.blocks import StreamSection, wrong_streams
from edge_agent.sources.dead_letters import DeadLetter, DeadLetters
from edge_agent.sources.mqtt_payload import Columns, Parser, PoisonError, TimeUnit, pointer_tokens, routes
from edge_agent.sources.source import Plug, Received, Source
from edge_agent.sources.zone import SourceTime

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_BATCH_BYTES: Final = 256 * 1024
_BATCH_MESSAGES: Final = 2000
_MESSAGE_COST: Final = 256
"""Bytes a waiting message takes beside its payload: the bound must hold for many empty ones too."""


class MqttConfig(BrokerConfig):
    """Tags that a broker brings."""

    lossy: ClassVar[bool] = False
    """The broker keeps what arises while the agent is away: a persistent session with a fixed client id."""

    kind: Literal["mqtt"]
    name: Annotated[str, Field(min_length=1)]
    client_id: Annotated[str, Field(min_length=1, max_length=65535)]
    """Identity of our session at the broker: fixed, and unique there, so that the broker keeps what arrives while we are away."""
    topics: Annotated[tuple[str, ...], Field(min_length=1)]
    """Topic filters to subscribe to, with QoS 1."""
    prefix: str = ""
    """What stands before the tag's name in the topic of a tag that has no address."""
    version: Literal["3.1.1", "5"] = "3.1.1"
    persistent: bool = True
    """Whether the broker keeps our session while we are away."""
    max_in_flight: Annotated[int, Field(ge=1, le=65535)] = 1000
    """Messages taken and not yet acknowledged, at most."""
    max_pending_bytes: Annotated[int, Field(ge=65536)] = 16_000_000
    """Bytes taken and not yet acknowledged, at most (one message more); then the broker has to wait."""
    strict: bool = False
    """Whether a message on a topic that no tag has is a dead letter; otherwise it is counted and let go."""
    time_path: str | None = None
    """JSON pointer to the source time in payloads read by pointer."""
    time_unit: TimeUnit = "ns"
    """Unit of that time: ns, us, ms or s since 1970 UTC, or iso for ISO 8601."""
    streams: tuple[StreamSection, ...] = ()
    """What is known of tags of kind block and does not stand in their messages."""
    time: SourceTime = SourceTime()
    dead_letter_bytes: Annotated[int, Field(ge=8192)] = 10_000_000
    watchdog_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds without any value, while periodic tags are configured, after which the connection is made anew."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.time_path is not None:
            pointer_tokens(self.time_path)
        wrong_streams(self.streams)
        for topic in self.topics:
            *upper, last = topic.split("/")
            if not topic or any(set(part) & {"#", "+"} and part != "+" for part in upper) or (set(last) & {"#", "+"} and last not in ("#", "+")):
                raise ValueError(f"topics: expected topic filters, found {topic!r}")
        return self

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return MqttSource(self, plug)


class _Session(msgspec.Struct):
    topics: list[str]


class MqttSource:
    """One subscription to one broker."""

    def __init__(self, config: MqttConfig, plug: Plug) -> None:
        self._config = config
        self._plug = plug
        self._routes = routes(plug.tags, plug.address, config.prefix)
        self._parser = Parser(config.time_path, config.time_unit, config.streams)
        self._dead = DeadLetters(plug.data_dir, config.dead_letter_bytes)
        self._waiting: list[MQTTMessage] = []
        self._arrived = asyncio.Event()
        self._held_bytes = 0
        self._held = 0
        self._values = 0
        self._freed = asyncio.Event()
        self._link: Link | None = None
        self._resume: bytes | None = None

    async def open(self, resume: bytes | None) -> None:
        """Connect and subscribe; filters of the broker's old session that are no longer wanted are left."""
        config = self._config
        self._waiting, self._held_bytes, self._held, self._values = [], 0, 0, 0
        self._arrived.clear()
        self._link = Link(
            config, config.client_id, self._message, persistent=config.persistent, version=config.version, in_flight=config.max_in_flight
        )
        before = msgspec.json.decode(resume, type=_Session).topics if resume else []
        await self._link.open(config.topics, [topic for topic in before if topic not in config.topics])
        self._resume = msgspec.json.encode(_Session(list(config.topics)))

    async def read(self) -> Received:
        """What has arrived, in one batch; poison goes to the dead letters and is acknowledged once it is durable there."""
        link = self._link
        if link is None:
            raise NotConnected("not open")
        while True:
            if not self._waiting:
                self._arrived.clear()
                # Messages that came before a loss are handed out before the loss is told.
                await link.lost_or(self._arrived.wait())
            if not self._waiting:
                raise NotConnected(link.error)
            while self._values >= UNACKNOWLEDGED // 2:  # a batch brings at most the other half: 8 bytes a value
                self._freed.clear()
                await self._freed.wait()
            received = await self._batch(link)
            if received is not None:
                return received

    async def close(self) -> None:
        """Leave the broker; a persistent session stays there."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _message(self, message: MQTTMessage) -> None:
        self._waiting.append(message)
        self._held += 1
        self._held_bytes += len(message.payload) + _MESSAGE_COST
        full = self._held_bytes >= self._config.max_pending_bytes or self._held >= self._config.max_in_flight
        if full and self._link is not None and self._link.pause():
            self._count("pauses", 1)
        self._arrived.set()

    async def _batch(self, link: Link) -> Received | None:
        size, n = 0, 0
        for message in self._waiting:
            size += len(message.payload)
            n += 1
            if size >= _BATCH_BYTES or n >= _BATCH_MESSAGES:
                break
        batch, self._waiting = self._waiting[:n], self._waiting[n:]
        columns, letters = Columns(), []
        good: list[MQTTMessage] = []
        useless: list[MQTTMessage] = []
        now_ns = self._plug.clock()
        for message in batch:
            reason = self._parse(message, now_ns, columns, good, useless)
            if reason:
                letters.append(DeadLetter(now_ns, _topic(message), bytes(message.payload), reason))
        self._count("messages", len(batch))
        self._count("bytes", size)
        if letters:
            given_up = await asyncio.to_thread(self._dead.write, letters)
            self._count("dead_letters", len(letters))
            self._count("dead_letters_given_up", given_up)
        self._let_go(link, useless)
        items = columns.items()
        if not items:
            self._let_go(link, good)
            return None
        resume, self._resume = self._resume, None
        values = sum(len(item) for item in items if isinstance(item, Samples))
        self._values += values
        return Received(items, lambda: self._let_go(link, good, values), resume)

    def _parse(self, message: MQTTMessage, now_ns: int, columns: Columns, good: list[MQTTMessage], useless: list[MQTTMessage]) -> str:
        """Why the message is poison, or ""."""
        found = self._routes.get(_topic(message))
        if found is None:
            self._count("unmapped", 1)
            useless.append(message)
            return "unknown topic" if self._config.strict else ""
        try:
            self._parser.parse(found, bytes(message.payload), now_ns, columns, retained=message.retain)
        except PoisonError as poison:
            # It may have brought something for other tags: then it waits for their commit.
            good.append(message)
            return str(poison)
        good.append(message)
        return ""

    def _let_go(self, link: Link, messages: list[MQTTMessage], values: int = 0) -> None:
        for message in messages:
            link.ack(message)
        if link is self._link:
            self._values -= values
            self._freed.set()
            self._held -= len(messages)
            self._held_bytes -= sum(len(m.payload) + _MESSAGE_COST for m in messages)
            if self._held_bytes <= self._config.max_pending_bytes // 2 and self._held <= self._config.max_in_flight // 2:
                link.resume()

    def _count(self, name: str, n: int) -> None:
        self._plug.counters[name] = self._plug.counters.get(name, 0) + n


def _topic(message: MQTTMessage) -> str:
    try:
        return message.topic
    except UnicodeDecodeError:
        return message._topic.decode("utf-8", "replace")
