"""What a Sparkplug B host makes of messages: births, deaths, aliases, numbers; knows nothing of connections.

A node is believed from its birth to its death. A number that is missing is waited for; when it does not come, births are asked for, and what each tag
may have lost until it has a newer value is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from edge_agent.core import Block, Connection, Overflow, Tag, WireError
from edge_agent.core.status import BAD, BAD_NO_COMMUNICATION, BAD_WAITING_FOR_INITIAL_DATA
from edge_agent.sources.mqtt_payload import Columns, PoisonError
from edge_agent.sources.source import Item
from edge_agent.sources.sparkplug_address import Address
from edge_agent.sparkplug.payload import BD_SEQ, decode, qualities_of, value_of
from edge_agent.sparkplug.sparkplug_b_pb2 import Payload
from edge_agent.sparkplug.topics import Topic
from edge_agent.sparkplug.values import QUALITY_STALE, status_of

_MS: Final = 1_000_000
_LATEST_MS: Final = (2**63 - 1) // _MS
_ROUND: Final = 256
_HELD: Final = 64
"""Messages held while one before them is missing, at the most."""

Metric = Payload.Metric


@dataclass(slots=True)
class _Known:
    """A metric as its birth told it."""

    datatype: int
    tags: tuple[Tag, ...]


@dataclass(slots=True)
class _Node:
    """One edge node."""

    tags: dict[str, list[Tag]]
    """Its tags by device, "" for its own."""
    online: bool = False
    bd_seq: int | None = None
    expected: int = 0
    aliases: dict[int, _Known] = field(default_factory=dict)
    held: dict[int, tuple[Topic, Payload]] = field(default_factory=dict)
    gap_ns: int = 0
    asked_ns: int | None = None
    failed: set[str] = field(default_factory=set)
    """Devices that are dead."""


class SparkplugHost:
    """All nodes of one source.

    tags        with the metrics they are read from
    reorder_ns  how long a missing number is waited for; ask_ns: after which births are asked for again
    count       adds to a counter by name
    """

    def __init__(self, source: str, tags: Sequence[tuple[Tag, Address]], *, reorder_ns: int, ask_ns: int, count: Callable[[str], None]) -> None:
        self._source, self._reorder_ns, self._ask_ns, self._count = source, reorder_ns, ask_ns, count
        self._metrics: dict[tuple[str, str, str, str], tuple[Tag, ...]] = {}
        self.nodes: dict[tuple[str, str], _Node] = {}
        for tag, at in tags:
            key = (at.group, at.node, at.device, at.metric)
            self._metrics[key] = (*self._metrics.get(key, ()), tag)
            self.nodes.setdefault((at.group, at.node), _Node({})).tags.setdefault(at.device, []).append(tag)
        self._last: dict[int, tuple[int, Any]] = {}
        self._lost_from: dict[int, int] = {}
        self._columns = Columns()
        self._items: list[Item] = []
        self.troubles: list[str] = []
        """What could not be read since `items` was called last."""

    # -- messages --------------------------------------------------------------------------------------------------------------

    def take(self, topic: Topic, data: bytes, now_ns: int) -> None:
        """One message; WireError when it is no payload."""
        node = self.nodes.get((topic.group, topic.node))
        if node is None:
            self._count("unmapped")
            return
        payload = decode(data)
        if topic.kind == "NBIRTH":
            self._born(node, topic, payload, now_ns)
            self._in_order(node, now_ns)
        elif topic.kind == "NDEATH":
            if node.online and _bd_seq(payload) == node.bd_seq:
                node.online = False
                self._failed(node, list(node.tags), f"node {topic.node} is dead", now_ns)
            else:
                self._count("old_deaths")
        elif not node.online:
            self._count("unborn")
            self.want(node)
        else:
            node.held[payload.seq % _ROUND] = (topic, payload)
            self._in_order(node, now_ns)

    def _in_order(self, node: _Node, now_ns: int) -> None:
        moved = False
        while node.online and node.expected in node.held:
            topic, payload = node.held.pop(node.expected)
            node.expected = (node.expected + 1) % _ROUND
            self._processed(node, topic, payload, now_ns)
            moved = True
        if len(node.held) == 1 or moved:
            node.gap_ns = now_ns  # from here on the next one is waited for
        if len(node.held) >= _HELD:
            self._given_up(node)

    def tick(self, now_ns: int) -> None:
        """Time goes on."""
        for node in self.nodes.values():
            if node.held and now_ns - node.gap_ns >= self._reorder_ns:
                self._given_up(node)

    def due_ns(self) -> int | None:
        """When `tick` is to be called at the latest, or None."""
        times = [node.asked_ns for node in self.nodes.values() if node.asked_ns is not None]
        held = self.reorder_due_ns()
        return min(times if held is None else [*times, held], default=None)

    def reorder_due_ns(self) -> int | None:
        """When what is held is given up at the latest, or None."""
        return min((node.gap_ns + self._reorder_ns for node in self.nodes.values() if node.held), default=None)

    def _given_up(self, node: _Node) -> None:
        """A message is lost: which tags were in it nobody knows, and aliases may have been given anew in it."""
        self._count("sequence_gaps")
        node.online = False
        node.held.clear()
        for tag in (tag for tags in node.tags.values() for tag in tags):
            if tag.id in self._last:
                self._lost_from.setdefault(tag.id, self._last[tag.id][0])
        self.want(node)

    def _processed(self, node: _Node, topic: Topic, payload: Payload, now_ns: int) -> None:
        if topic.kind == "DBIRTH":
            self._recovered(node, [topic.device])
            self._values(node, topic, payload, now_ns, born=True)
        elif topic.kind == "DDEATH":
            self._failed(node, [topic.device], f"device {topic.device} is dead", now_ns)
        elif topic.kind in ("NDATA", "DDATA"):
            self._values(node, topic, payload, now_ns, born=False)

    def _born(self, node: _Node, topic: Topic, payload: Payload, now_ns: int) -> None:
        if node.held:
            self._given_up(node)  # a birth makes an end of waiting
        node.online, node.bd_seq = True, _bd_seq(payload)
        node.expected = (payload.seq + 1) % _ROUND
        node.aliases.clear()
        node.asked_ns = None
        self._recovered(node, [""])
        self._values(node, topic, payload, now_ns, born=True)

    # -- births that are asked for ---------------------------------------------------------------------------------------------

    def want(self, node: _Node) -> None:
        """Births of this node are needed."""
        if node.asked_ns is None:
            node.asked_ns = 0

    def want_all(self) -> None:
        """We were away: what nodes are has to be said anew."""
        for node in self.nodes.values():
            self.want(node)

    def asks(self, now_ns: int) -> list[Topic]:
        """Where births are to be asked for now; again after a while when none came."""
        found = []
        for (group, name), node in self.nodes.items():
            if node.asked_ns is not None and node.asked_ns <= now_ns:
                node.asked_ns = now_ns + self._ask_ns
                found.append(Topic(group, "NCMD", name))
        return found

    # -- values ----------------------------------------------------------------------------------------------------------------

    def _values(self, node: _Node, topic: Topic, payload: Payload, now_ns: int, *, born: bool) -> None:
        for metric in payload.metrics:
            known = self._known(node, topic, metric, born=born)
            if known is None or not known.tags:
                continue
            stamp = metric.timestamp or payload.timestamp
            time_ns = stamp * _MS if 0 < stamp <= _LATEST_MS else now_ns
            try:
                value = value_of(metric, known.datatype)
                for tag in known.tags:
                    self._value(tag, time_ns, value, metric, born=born)
            except (WireError, PoisonError) as error:
                self.troubles.append(f"{known.tags[0].name}: {error}")

    def _known(self, node: _Node, topic: Topic, metric: Metric, *, born: bool) -> _Known | None:
        if born:
            tags = self._metrics.get((topic.group, topic.node, topic.device, metric.name), ())
            known = _Known(metric.datatype, tags)
            if metric.HasField("alias"):
                node.aliases[metric.alias] = known
            return known
        if metric.HasField("alias"):
            known_ = node.aliases.get(metric.alias)
            if known_ is None:
                self._count("unknown_aliases")
                self.want(node)
            return known_
        return _Known(metric.datatype, self._metrics.get((topic.group, topic.node, topic.device, metric.name), ()))

    def _value(self, tag: Tag, time_ns: int, value: Any, metric: Metric, *, born: bool) -> None:
        quality, ua_status = qualities_of(metric)
        status = status_of(quality, ua_status)
        if value is None and status < BAD:
            status = BAD_WAITING_FOR_INITIAL_DATA if quality == QUALITY_STALE else BAD
        kept = (time_ns, value.tobytes() if isinstance(value, np.ndarray) else value)
        if born and tag.id in self._last and self._last[tag.id] == kept and value is not None:
            self._lost_from.pop(tag.id, None)
            return  # a birth repeats what is known
        if not metric.is_historical:
            since = self._lost_from.pop(tag.id, None)
            if since is not None and time_ns > since:
                self._add(Overflow(received_ns=0, source=self._source, tag=tag.id, after_ns=since, before_ns=time_ns))
        if tag.kind == "block":
            self._add(_block(tag, time_ns, value, status))
        else:
            self._columns.add(tag, [(time_ns, value, status)])
        if tag.id not in self._last or time_ns >= self._last[tag.id][0]:
            self._last[tag.id] = kept

    # -- items -----------------------------------------------------------------------------------------------------------------

    def _failed(self, node: _Node, devices: Sequence[str], detail: str, now_ns: int) -> None:
        tags = tuple(tag.id for device in devices for tag in node.tags.get(device, ()) if device not in node.failed)
        node.failed.update(devices)
        if tags:
            self._add(Connection(received_ns=now_ns, source=self._source, state="tag_failed", tags=tags, detail=detail, status=BAD_NO_COMMUNICATION))

    def _recovered(self, node: _Node, devices: Sequence[str]) -> None:
        back = [device for device in devices if device in node.failed]
        node.failed.difference_update(back)
        tags = tuple(tag.id for device in back for tag in node.tags.get(device, ()))
        if tags:
            self._add(Connection(received_ns=0, source=self._source, state="tag_recovered", tags=tags))

    def _add(self, item: Item) -> None:
        self._items.extend(self._columns.items())
        self._columns = Columns()
        self._items.append(item)

    def items(self) -> tuple[Item, ...]:
        """What has come since, in its order."""
        found = (*self._items, *self._columns.items())
        self._items, self._columns = [], Columns()
        return found


def _bd_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == BD_SEQ and metric.WhichOneof("value") in ("long_value", "int_value"):
            return int(metric.long_value or metric.int_value)  # Int64 or UInt64: nodes differ
    return None


def _block(tag: Tag, time_ns: int, value: Any, status: int) -> Block:
    if value is None:
        value = np.full(1, math.nan)
    if not isinstance(value, np.ndarray):
        raise PoisonError(f"expected an array, found {value!r:.80}")
    return Block(
        tag.id, np.array([time_ns]), np.ascontiguousarray(value, np.float64).reshape(1, -1), np.array([status], np.uint32),
        np.arange(value.size, dtype=np.float64), unit=tag.unit,
    )  # fmt: skip


def tags_of(tags: Sequence[Tag], address: Mapping[int, str]) -> list[tuple[Tag, Address]]:
    """Tags with the metrics their addresses name; those whose address names none are left out."""
    found = []
    for tag in tags:
        try:
            found.append((tag, Address.of(address.get(tag.id, ""))))
        except ValueError:
            continue
    return found
