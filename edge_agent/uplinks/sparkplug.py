"""The uplink as a Sparkplug B 3.0 edge node: values for SCADA and plant systems through any MQTT broker.

Sparkplug sends data with QoS 0 and keeps no account: the place in the outbox moves when the broker has read what was sent, and what was missed goes
out again as history. Nothing that comes back but a request for births is obeyed: this edge writes to no control system.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import NotConnected, WireError
from edge_agent.sparkplug.topics import ID, State, Topic, state_topic
from edge_agent.uplinks.following import Following, Portion
from edge_agent.uplinks.telling import Chosen, Newest, Telling, unheard
from edge_agent.uplinks.uplink import Port, Uplink

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

    from edge_agent.uplinks.sparkplug_node import EdgeNode, Message

_IDLE_S: Final = 1.0
_MS: Final = 1_000_000
_REBIRTH_NS: Final = 2_000_000_000
"""Requests for births within this time after one are answered together, at its end."""
_LOOK_BACK: Final = 200
"""Records that are looked through for what tags are, at the most."""
_HOST_S: Final = (5.0, 30.0)
"""Seconds that a primary host is waited for at one of several brokers: on the first round through the list, and on later ones."""


class HostAway(NotConnected):
    """The primary host is not at this broker."""


class SparkplugConfig(BrokerConfig):
    """Values as a Sparkplug B edge node."""

    kind: Literal["sparkplug"]
    name: Annotated[str, Field(min_length=1)]
    group: Annotated[str, Field(pattern=ID)] = ""
    """Group id; the site when absent."""
    node: Annotated[str, Field(pattern=ID)] = ""
    """Edge node id, unique in its group; the id of this edge when absent."""
    primary_host: Annotated[str, Field(pattern=ID)] | None = None
    """Host application without which nothing is sent: where it is offline the next of `others` is tried, and values wait while it is at none."""
    tags: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Patterns of the names of tags that are told."""
    missed_bytes_per_s: Annotated[int, Field(ge=1000)] = 200_000
    """Bytes of records a second at which what was missed is sent, behind live values."""
    required: bool = False
    """Whether records are kept until this uplink has sent them."""

    def uplink(self, port: Port) -> Uplink:
        """The uplink of this configuration."""
        return SparkplugUplink(self, port)


class SparkplugUplink:
    """Tells the values of one edge through one broker."""

    def __init__(self, config: SparkplugConfig, port: Port) -> None:
        self._config, self._port = config, port
        self._group, self._node_id = config.group or port.site, config.node or port.edge
        self._chosen = Chosen(port.tags, config.tags)
        self._newest = Newest(len(port.tags))
        self._following = Following(port.outbox, port.place(), missed_bytes_per_s=config.missed_bytes_per_s)
        self._commands = str(Topic(self._group, "NCMD", self._node_id))
        self._host = None if config.primary_host is None else state_topic(config.primary_host)
        self._state: State | None = None
        self._heard = asyncio.Event()
        self._asked = self._born_here = False
        self._at = 0
        self._away: frozenset[int] | None = None
        self._counts = {"sent_messages": 0, "sent_records": 0, "sent_bytes": 0, "damaged_records": 0, "gone_records": 0, "rebirths": 0}
        self._counts |= {"refused_commands": 0, "damaged_messages": 0}
        port.status.update(connected=False, committed_seq=self._following.position, error="", **self._counts)

    async def run(self) -> None:
        """Connect where the primary host is, be born, then tell values until the connection or the host is lost."""
        nodes = self._config.nodes
        if self._host is None:
            self._at = 0
        # One broker at a time, each with a connection of its own number; a host that leaves sends us on to the next one.
        round_ = missing = 0
        while True:
            try:
                await self._session(nodes[self._at], None if len(nodes) == 1 else _HOST_S[min(round_ // len(nodes), 1)])
            except HostAway:
                self._at = (self._at + 1) % len(nodes)
                round_, missing = 0 if self._born_here else round_ + 1, 0
                if len(nodes) == 1:
                    raise
            except NotConnected:
                missing += 1
                if self._born_here or missing >= len(nodes):
                    raise
                self._at = (self._at + 1) % len(nodes)

    async def _session(self, node: tuple[str, int], host_s: float | None) -> None:
        """One connection to one broker; `host_s`: seconds that the primary host is waited for, None: until it comes."""
        from edge_agent.uplinks.sparkplug_node import EdgeNode

        port, self._state, self._asked, self._born_here = self._port, None, False, False
        tags = [tag for tag in port.tags if tag.name in self._chosen.names]
        bd_seq = await asyncio.to_thread(self._next_bd_seq)
        made = EdgeNode(self._group, self._node_id, tags, bd_seq, self._newest, simulated=port.simulated)
        topics = [self._commands, str(Topic(self._group, "DCMD", self._node_id, "+"))] + ([self._host] if self._host else [])
        client_id = f"pharmedge-{port.site}-{port.edge}-{self._config.name}"
        broker = self._config.model_copy(update={"host": node[0], "port": node[1], "others": ()})
        link = Link(broker, client_id, lambda message: self._took(link, message), will=(*made.death(port.clock() // _MS), False))
        try:
            await link.open(topics)
            await self._host_online(link, host_s)
            await asyncio.to_thread(self._look_back)
            # The place may have been on its way when the connection before was ended; nothing new need come that would tell it again.
            await asyncio.to_thread(self._port.moved, self._following.position)
            self._following.begin()
            self._away = None
            self._heard_of(made, port.clock() // _MS)  # births say at once who is away
            self._born(link, made)
            self._born_here = True
            port.status.update(connected=True, error="", broker=broker.address)
            await self._tell(link, made)
        finally:
            port.status.update(connected=False, error=link.error)
            if self._born_here and not link.lost.is_set():  # who was not born here does not die here
                link.publish(*made.death(port.clock() // _MS))
            link.close()

    def _next_bd_seq(self) -> int:
        """One more than at the connect before, also before a restart; durable before it is used."""
        folder = self._port.data_dir
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "bdseq"
        try:
            following = (int(file.read_text("ascii")) + 1) % 256
        except (FileNotFoundError, ValueError):
            following = 0
        with (folder / "bdseq.new").open("w", encoding="ascii") as new:
            new.write(str(following))
            new.flush()
            os.fsync(new.fileno())
        (folder / "bdseq.new").replace(file)
        return following

    def _look_back(self) -> None:
        """Know what tags are from the newest records, so that births say it, also behind an outage; older ones change nothing."""
        for row in self._following.newest_first(_LOOK_BACK):
            for item in self._told(Portion(row.seq, row.seq, live=False, rows=(row,))):
                self._newest.take(item)

    @property
    def _host_here(self) -> bool:
        return self._host is None or (self._state is not None and self._state.online)

    async def _host_online(self, link: Link, host_s: float | None) -> None:
        waiting = f"waiting for primary host {self._config.primary_host}"
        try:
            async with asyncio.timeout(host_s):
                while not self._host_here:
                    self._port.status.update(error=waiting)
                    self._heard.clear()
                    await self._wait(link, 60.0)
        except TimeoutError:
            raise HostAway(waiting) from None

    async def _tell(self, link: Link, node: EdgeNode) -> None:
        born_ns = self._port.clock()
        while True:
            now_ns = self._port.clock()
            if not self._host_here:
                raise HostAway(f"primary host {self._config.primary_host} is offline")
            self._publish(link, self._heard_of(node, now_ns // _MS))
            # Hosts show nothing of history. Once all of it is told, births say what tags are that have not been told anything live since.
            owed = self._following.drained and node.outdated
            if (self._asked or owed) and now_ns >= born_ns + _REBIRTH_NS:
                self._counts["rebirths"] += self._asked
                self._asked, born_ns = False, now_ns
                self._born(link, node)
            portion = None if self._asked else await asyncio.to_thread(self._following.next, now_ns)
            if portion is None:
                if self._following.drained and not (self._asked or owed):
                    self._publish(link, node.deaths(now_ns // _MS))
                self._heard.clear()
                birth_s = (born_ns + _REBIRTH_NS - now_ns) / 1e9 if self._asked or owed else _IDLE_S
                due = [_IDLE_S, self._following.pause_s(now_ns) or _IDLE_S, birth_s]
                await self._wait(link, max(0.0, min(due)))
                continue
            await self._send(link, node, portion)

    def _heard_of(self, node: EdgeNode, now_ms: int) -> list[Message]:
        """What there is to say of tags whose sources went away or came back."""
        away = self._port.away()
        if away == self._away:
            return []
        self._away = away
        return node.heard(unheard(self._port.tags, away), now_ms)

    def _publish(self, link: Link, messages: list[Message]) -> None:
        for topic, payload in messages:
            link.publish(topic, payload, qos=0)
            self._count(payload)
        if messages:
            self._port.status.update(self._counts)

    async def _send(self, link: Link, node: EdgeNode, portion: Portion) -> None:
        now_ms = self._port.clock() // _MS
        messages = await asyncio.to_thread(lambda: list(node.data(self._told(portion), now_ms, historical=not portion.live)))
        for topic, payload in messages:
            link.publish(topic, payload, qos=0)
            self._count(payload)
        if messages:
            await link.taken()
        self._following.done(portion)
        self._counts["sent_records"] += len(portion.rows)
        self._counts["gone_records"] += portion.gone - portion.damaged
        self._counts["damaged_records"] += portion.damaged
        await asyncio.to_thread(self._port.moved, self._following.position)
        self._port.status.update(committed_seq=self._following.position, **self._counts)

    def _told(self, portion: Portion) -> list[Telling]:
        found: list[Telling] = []
        for row in portion.rows:
            try:
                found += self._chosen.of(row.data)
            except WireError:
                self._counts["damaged_records"] += 1
        return found

    def _born(self, link: Link, node: EdgeNode) -> None:
        self._publish(link, node.births(self._port.clock() // _MS))

    def _count(self, payload: bytes) -> None:
        self._counts["sent_messages"] += 1
        self._counts["sent_bytes"] += len(payload)

    async def _wait(self, link: Link, seconds: float) -> None:
        await link.lost_or(self._port.wake(seconds), self._heard.wait())
        if link.lost.is_set():
            raise NotConnected(link.error)

    def _took(self, link: Link, message: MQTTMessage) -> None:
        try:
            if message.topic == self._host:
                self._hear(State.decode(bytes(message.payload)))
            else:
                self._command(bytes(message.payload))
        except (WireError, UnicodeDecodeError) as error:
            self._counts["damaged_messages"] += 1
            self._port.status.update(error=str(error))
        link.ack(message)

    def _hear(self, state: State) -> None:
        # What is older than the last word is the word of an earlier session of the host.
        if self._state is None or state.timestamp >= self._state.timestamp:
            self._state = state
            self._heard.set()

    def _command(self, payload: bytes) -> None:
        from edge_agent.sparkplug.payload import decode

        for metric in decode(payload).metrics:
            if metric.name in ("Node Control/Rebirth", "Device Control/Rebirth") and metric.boolean_value:
                self._asked = True
                self._heard.set()
            else:
                self._counts["refused_commands"] += 1
        self._port.status.update(self._counts)
