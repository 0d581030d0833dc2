"""The uplink to a unified namespace: each tag a JSON topic at its ISA-95 place, for whoever subscribes at the plant's broker.

Values travel with QoS 1; the place in the outbox moves when the broker has acknowledged all messages of the records before it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import Field

from edge_agent.broker import BrokerConfig, Link
from edge_agent.core import AlarmEvent, NotConnected, Samples, Tag, Texts, WireError
from edge_agent.core.status import QUALITY_NAMES, quality
from edge_agent.uplinks.following import Following, Portion
from edge_agent.uplinks.telling import Chosen, Newest, Telling
from edge_agent.uplinks.uplink import Port, Uplink

_IDLE_S: Final = 1.0
_AT_ONCE: Final = 500
"""Messages that the broker has not acknowledged, at the most."""

Message = tuple[str, bytes, bool]
"""Topic, payload, whether the broker keeps it."""


class UnifiedConfig(BrokerConfig):
    """Values and alarms as JSON topics of a unified namespace."""

    kind: Literal["unified"]
    name: Annotated[str, Field(min_length=1)]
    root: Annotated[str, Field(pattern=r"^[^+#/$][^+#]*[^+#/]$|^[^+#/$]$")] | None = None
    """What topics begin with, e.g. ENTERPRISE/SITE; the site when absent."""
    tags: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Patterns of the names of tags that are told, with their alarms."""
    alarms: bool = True
    """Whether alarms of these tags are told."""
    newest_only: bool = False
    """Send only the newest value of each tag of what is waiting, not each of them; and nothing that was missed but is no longer the newest."""
    retain: bool = True
    """Whether the broker keeps the newest value of each topic for those who come later."""
    missed_bytes_per_s: Annotated[int, Field(ge=1000)] = 200_000
    """Bytes of records a second at which what was missed is sent, behind live values."""
    required: bool = False
    """Whether records are kept until this uplink has sent them."""

    def uplink(self, port: Port) -> Uplink:
        """The uplink of this configuration."""
        return UnifiedUplink(self, port)


def place(tag: Tag) -> str:
    """Where a tag stands below the root: its ISA-95 path and the last part of its name.

    >>> place(Tag(id=0, name="press1/main_force", path="area1/line2/press1")), place(Tag(id=0, name="press1/main_force"))
    ('area1/line2/press1/main_force', 'press1/main_force')
    """
    return _clean("/".join(part for part in (tag.unit_path, tag.name.rpartition("/")[2]) if part))


def _clean(topic: str) -> str:
    return topic.replace("+", "_").replace("#", "_")


def topics(root: str, tags: tuple[Tag, ...]) -> list[str]:
    """The topic of each tag, no two the same: where places meet, the whole name makes the difference.

    >>> topics("s", (Tag(id=0, name="a/x", path="p"), Tag(id=1, name="b/x", path="p")))
    ['s/p/x', 's/p/b/x']
    """
    taken: set[str] = set()
    found = []
    for tag in tags:
        topic = f"{root}/{place(tag)}"
        if topic in taken:
            topic = f"{root}/{_clean(f'{tag.unit_path}/{tag.name}')}"
        taken.add(topic)
        found.append(topic)
    return found


class Namespace:
    """Records as messages; knows nothing of connections."""

    def __init__(self, root: str, tags: tuple[Tag, ...], *, edge: str, simulated: bool, newest_only: bool, retain: bool) -> None:
        self._root, self._tags, self._edge, self._simulated = root, tags, edge, simulated
        self._newest_only, self._retain = newest_only, retain
        self._topics = topics(root, tags)
        self._ids = {tag.name: tag.id for tag in tags}
        self._newest = Newest(len(tags))
        self._newest_event: dict[str, tuple[int, int]] = {}

    def messages(self, told: list[Telling], *, historical: bool) -> Iterator[Message]:
        """One message per value or alarm, oldest record first."""
        for item in told:
            if isinstance(item, AlarmEvent):
                yield self._alarm(item, historical=historical)
                continue
            newer = self._newest.take(item).tolist()
            if isinstance(item, Samples):
                values: Any = (None if math.isnan(v) else v for v in item.value.tolist())
                rows = zip(item.tag.tolist(), item.time_ns.tolist(), values, item.status.tolist(), newer, strict=True)
            elif isinstance(item, Texts):
                rows = zip(item.tag, item.time_ns, item.value, item.status, newer, strict=True)
            else:
                worst = item.status if item.status.ndim == 1 else item.status.max(axis=1)
                rows = zip([item.tag] * len(item), item.time_ns.tolist(), item.values.tolist(), worst.tolist(), newer, strict=True)
            yield from self._values(rows, historical=historical)

    def _values(self, rows: Any, *, historical: bool) -> Iterator[Message]:
        for tag, time_ns, value, status, newer in rows:
            newest = newer and time_ns == self._newest.time_ns[tag]
            if self._newest_only and not newest:
                continue
            point: dict[str, Any] = {"t": time_ns, "v": value, "s": status, "q": QUALITY_NAMES[quality(status, simulated=self._simulated)]}
            if self._tags[tag].unit:
                point["unit"] = self._tags[tag].unit
            point["edge"] = self._edge
            if self._simulated:
                point["simulated"] = True
            if historical or not newer:
                point["historical"] = True
            yield self._topics[tag], msgspec.json.encode(point), self._retain and newest

    def _alarm(self, event: AlarmEvent, *, historical: bool) -> Message:
        tag = self._tags[self._ids[event.tag]]
        said: dict[str, Any] = {
            "t": event.time_ns, "alarm": event.alarm, "tag": event.tag, "event": event.event, "state": event.state_to, "priority": event.priority,
            "raised": event.raised_ns, "value": event.value, "limit": event.limit, "why": event.explanation, "edge": self._edge,
        }  # fmt: skip
        if self._simulated:
            said["simulated"] = True
        if historical:
            said["historical"] = True
        unit = f"/{tag.unit_path}" if tag.unit_path else ""
        name = event.alarm.removeprefix(tag.unit_path + "/") if tag.unit_path else event.alarm
        at = (event.received_ns, event.time_ns)
        newest = at >= self._newest_event.get(event.alarm, at)  # live goes before what was missed: an older event must not stay for the newer one
        if newest:
            self._newest_event[event.alarm] = at
        return _clean(f"{self._root}{unit}/alarms/{name}"), msgspec.json.encode(said), self._retain and newest


class UnifiedUplink:
    """Tells the values and alarms of one edge through one broker."""

    def __init__(self, config: UnifiedConfig, port: Port) -> None:
        self._config, self._port = config, port
        self._chosen = Chosen(port.tags, config.tags)
        self._namespace = Namespace(
            config.root or port.site, port.tags, edge=port.edge, simulated=port.simulated, newest_only=config.newest_only, retain=config.retain
        )
        self._following = Following(port.outbox, port.place(), missed_bytes_per_s=config.missed_bytes_per_s)
        self._open: set[int] = set()
        self._taken = asyncio.Event()
        self._counts = {"sent_messages": 0, "sent_records": 0, "sent_bytes": 0, "damaged_records": 0, "gone_records": 0}
        port.status.update(connected=False, committed_seq=self._following.position, error="", **self._counts)

    async def run(self) -> None:
        """Connect and tell until the connection is lost."""
        port = self._port
        self._open.clear()
        link = Link(self._config, f"pharmedge-{port.site}-{port.edge}-{self._config.name}", lambda _: None, on_taken=self._acknowledged)
        try:
            await link.open([])
            port.status.update(connected=True, error="")
            # The place may have been on its way when the connection before was ended; nothing new need come that would tell it again.
            await asyncio.to_thread(self._port.moved, self._following.position)
            self._following.begin()
            while True:
                now_ns = port.clock()
                portion = await asyncio.to_thread(self._following.next, now_ns)
                if portion is not None:
                    await self._send(link, portion)
                elif link.lost.is_set():
                    raise NotConnected(link.error)
                else:
                    await link.lost_or(port.wake(min(_IDLE_S, self._following.pause_s(now_ns) or _IDLE_S)))
        finally:
            port.status.update(connected=False, error=link.error)
            link.close()

    async def _send(self, link: Link, portion: Portion) -> None:
        messages = await asyncio.to_thread(self._messages, portion)
        for topic, payload, retain in messages:
            self._open.add(link.publish(topic, payload, retain=retain))
            self._counts["sent_messages"] += 1
            self._counts["sent_bytes"] += len(payload)
            if len(self._open) >= _AT_ONCE:
                await self._emptied(link, _AT_ONCE // 2)
        await self._emptied(link, 0)
        self._following.done(portion)
        self._counts["sent_records"] += len(portion.rows)
        self._counts["gone_records"] += portion.gone - portion.damaged
        self._counts["damaged_records"] += portion.damaged
        await asyncio.to_thread(self._port.moved, self._following.position)
        self._port.status.update(committed_seq=self._following.position, **self._counts)

    def _messages(self, portion: Portion) -> list[Message]:
        told: list[Telling] = []
        for row in portion.rows:
            try:
                told += [item for item in self._chosen.of(row.data) if self._config.alarms or not isinstance(item, AlarmEvent)]
            except WireError:
                self._counts["damaged_records"] += 1
        return list(self._namespace.messages(told, historical=not portion.live))

    async def _emptied(self, link: Link, to: int) -> None:
        """Wait until no more than `to` messages are unacknowledged; NotConnected when the connection is lost before."""
        while len(self._open) > to:
            if link.lost.is_set():
                raise NotConnected(link.error)
            self._taken.clear()
            await link.lost_or(self._taken.wait())

    def _acknowledged(self, number: int) -> None:
        self._open.discard(number)
        self._taken.set()
