"""The uplink to our own gateways: records over MQTT, each confirmed by what the gateways say they have committed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import Committed, Delivered, Delivery, NotConnected, WireError, decode_actions, decode_anchor, topic
from edge_agent.core.change import LEAF, decode_changes
from edge_agent.uplinks.holding import Holding
from edge_agent.uplinks.outgoing import STREAM, Message, Outgoing, common
from edge_agent.uplinks.uplink import Port, Uplink

if TYPE_CHECKING:
    from paho.mqtt.client import MQTTMessage

_AGAIN_NS: Final = 5_000_000_000
_MOVED_NS: Final = 1_000_000_000
_ASK_AGAIN_NS: Final = (2_000_000_000, 60_000_000_000)
"""After connecting, and from then on. nats-server may miss a retained message that is published while we subscribe."""
_GREETING_S: Final = 0.5
_IDLE_S: Final = 1.0
_NAME: Final = r"^[^/+#\s]+$"


ANCHORS: Final = {"anchors": "audit_head", "manifest": "manifest_head"}
"""Topics on which a gateway gives heads of its chains to be kept here, and the actions under which they are kept."""


class GatewayConfig(BrokerConfig):
    """Delivery to one or more gateways through a broker."""

    kind: Literal["gateway"]
    name: Annotated[str, Field(min_length=1)]
    gateways: Annotated[tuple[Annotated[str, Field(pattern=_NAME)], ...], Field(min_length=1)]
    """Ids of the gateways that may confirm records."""
    copies: Annotated[int, Field(ge=1)] = 1
    """How many of them must hold a record before this edge may forget it."""
    required: bool = True
    """Whether records are kept until this uplink has delivered them."""
    gather_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Seconds that values wait for more of them, to be sent as one message: fewer messages for broker and gateway. Alarms never wait."""
    window_bytes: Annotated[int, Field(ge=262144)] = 8_000_000
    """Bytes sent and not yet confirmed, at most."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if len(set(self.gateways)) != len(self.gateways):
            raise ValueError("gateways: expected each gateway once")
        if self.copies > len(self.gateways):
            raise ValueError(f"copies: expected at most {len(self.gateways)}, one per gateway")
        return self

    def uplink(self, port: Port) -> Uplink:
        """The uplink of this configuration."""
        return GatewayUplink(self, port)


class GatewayUplink:
    """Delivers the outbox through one broker."""

    def __init__(self, config: GatewayConfig, port: Port) -> None:
        self._config = config
        self._port = port
        self._gather_ns = int(config.gather_s * 1e9)
        self._records = topic(port.site, port.edge, "records")
        self._actions = {topic(port.site, port.edge, f"actions/{gateway}"): gateway for gateway in config.gateways}
        self._anchors = {
            topic(port.site, port.edge, f"{leaf}/{gateway}"): (gateway, what) for gateway in config.gateways for leaf, what in ANCHORS.items()
        }
        self._approvals = {topic(port.site, port.edge, f"{LEAF}/{gateway}") for gateway in config.gateways}
        self._answers = {topic(port.site, port.edge, f"committed/{gateway}"): gateway for gateway in config.gateways}
        self._people = {topic(port.site, port.edge, f"people/{g}"): g for g in config.gateways} if port.people is not None else {}
        self._news: deque[Committed] = deque()
        self._heard = asyncio.Event()
        self._holdings = {gateway: Holding(gateway, port.outbox, port.apart(gateway)) for gateway in config.gateways}
        self._told = 0
        self._told_ns = 0
        self._epochs = port.epochs()
        self._counts = {"sent_messages": 0, "sent_records": 0, "sent_bytes": 0, "damaged_messages": 0, "resent_records": 0}
        port.status.update(connected=False, committed_seq=0, in_flight_bytes=0, error="", **self._counts)

    async def run(self) -> None:
        """Connect, learn what the gateways hold, then send until the connection is lost."""
        self._news.clear()
        for holding in self._holdings.values():
            holding.reconnected()
        link = Link(self._config, f"pharmedge-{self._port.site}-{self._port.edge}-{self._config.name}", self._message)
        try:
            # With QoS 0: each of these messages says everything again, so no broker need keep them for us. In a cluster of brokers
            # each subscription with QoS 1 is a queue that its nodes must agree on.
            await link.open([*self._answers, *self._actions, *self._anchors, *self._people, *self._approvals], qos=0)
            self._port.status.update(connected=True, error="")
            await self._greeting(link)
            await self._deliver(link)
        finally:
            self._port.status.update(connected=False, error=link.error)
            link.close()

    async def _greeting(self, link: Link) -> None:
        # Retained answers come right after the subscription: waiting for them saves sending what is held. An absent gateway costs half a second.
        try:
            async with asyncio.timeout(_GREETING_S):
                while not link.lost.is_set() and {news.gateway for news in self._news} < set(self._config.gateways):
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            return

    async def _deliver(self, link: Link) -> None:
        outgoing = self._begin()
        ask_ns = self._port.clock() + _ASK_AGAIN_NS[0]
        while True:
            if link.lost.is_set():
                raise NotConnected(link.error)
            now_ns = self._port.clock()
            if now_ns >= ask_ns:
                ask_ns = now_ns + _ASK_AGAIN_NS[1]
                link.ask_again()
            self._heard.clear()
            heard, new_session = bool(self._news), False
            while self._news:
                news = self._news.popleft()
                new_session |= self._holdings[news.gateway].learn(news) and self._counts["sent_messages"] > 0
            if heard:
                await asyncio.to_thread(self._look)
            if self._port.epochs() != self._epochs:
                outgoing, heard = self._begin(), True
                self._told = 0
            message = await asyncio.to_thread(self._step, outgoing, now_ns, heard, new_session)
            if message is not None:
                self._send(link, message)
                continue
            await self._tell(outgoing, now_ns)
            await link.lost_or(self._port.wake(min(_IDLE_S, self._config.gather_s or _IDLE_S)), self._heard.wait())

    def _begin(self) -> Outgoing:
        self._epochs = self._port.epochs()
        return Outgoing(self._port.outbox, window_bytes=self._config.window_bytes, again_ns=_AGAIN_NS, gather_ns=self._gather_ns)

    def _look(self) -> None:
        """Compare what the gateways say with the outbox: what another life of this edge has delivered makes the agent begin a new epoch."""
        for gateway, holding in self._holdings.items():
            contest = holding.look(self._port.epochs())
            if contest is not None:
                before = self._port.epochs()
                self._port.part(contest.through, contest.above, contest.why)
                if self._port.epochs() == before:
                    raise NotConnected(contest.why)
            if holding.settled():
                self._port.settled(gateway)

    def _step(self, outgoing: Outgoing, now_ns: int, heard: bool, new_session: bool) -> Message | None:
        """Everything that reads the outbox; runs beside the event loop, never twice at once."""
        if heard:
            outgoing.confirm(common([holding.held(self._epochs) for holding in self._holdings.values()], self._config.copies), now_ns)
        if new_session:
            outgoing.everything_again()
        outgoing.again(now_ns)
        return outgoing.next(now_ns)

    def _send(self, link: Link, message: Message) -> None:
        oldest = self._port.outbox.first(STREAM)
        for records in message.parts:
            for first, last, epoch in self._epochs.spans(records[0].seq, records[-1].seq):
                # A message is of one epoch; records of before a new one was begun go out under the epoch they were made in.
                own = tuple(r for r in records if first <= r.seq <= last)
                if own:
                    self._publish(link, own, epoch, oldest)
        self._counts["sent_records"] += len(message.seqs)

    def _publish(self, link: Link, records: tuple[Delivered, ...], epoch: int, oldest: int) -> None:
        port, current = self._port, self._epochs.current
        begun = next(max(1, seq) for seq, e in self._epochs.begins if e == epoch)
        told = 0 if epoch == current else current
        payload = Delivery(port.site, port.edge, epoch, max(oldest, begun), port.simulated, records, told).encode()
        link.publish(self._records, payload)
        self._counts["sent_messages"] += 1
        self._counts["sent_bytes"] += len(payload)

    async def _tell(self, outgoing: Outgoing, now_ns: int) -> None:
        if outgoing.position > self._told and now_ns - self._told_ns >= _MOVED_NS:
            self._told, self._told_ns = outgoing.position, now_ns
            # The agent keeps the place durably: not on the event loop.
            await asyncio.to_thread(self._port.moved, outgoing.position)
        self._counts["resent_records"] = outgoing.resent
        self._port.status.update(
            committed_seq=outgoing.position, in_flight_bytes=outgoing.in_flight_bytes, damaged_records=len(outgoing.damaged), **self._counts
        )

    def _message(self, message: MQTTMessage) -> None:
        try:
            if message.topic in self._actions:
                self._port.acted(self._actions[message.topic], decode_actions(bytes(message.payload)))
            elif message.topic in self._approvals:
                self._port.approved(decode_changes(bytes(message.payload)))
            elif message.topic in self._anchors and message.payload:
                self._port.anchored(*self._anchors[message.topic], decode_anchor(bytes(message.payload)))
            elif message.topic in self._people:
                if message.payload and self._port.people is not None:
                    self._port.people(self._people[message.topic], bytes(message.payload))
            elif message.payload and message.topic not in self._anchors:
                news = Committed.decode(bytes(message.payload))
                if news.edge != self._port.edge or news.gateway != self._answers.get(message.topic):
                    raise WireError(f"committed: expected {message.topic}, found edge {news.edge} and gateway {news.gateway}")
                self._news.append(news)
                self._heard.set()
        except (WireError, UnicodeDecodeError) as error:
            self._counts["damaged_messages"] += 1
            self._port.status.update(error=str(error))
