"""A Sparkplug B edge node: births, data and death as messages, numbered; knows nothing of connections.

One device per equipment unit (the ISA-95 path of its tags); tags without one are metrics of the node. Metrics carry the names of their tags.
A device is dead while nothing is heard of any of its tags; of others that are not heard births say that they are stale.
What was received before, or is computed, or stands for a whole window is no sign of life of such a tag: it is told as history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import AlarmEvent, Block, Recalled, RecalledTexts, Samples, Tag, Texts
from edge_agent.core.status import BAD, UNCERTAIN_NO_COMMUNICATION_LAST_USABLE
from edge_agent.sparkplug.payload import BD_SEQ, REBIRTH, Metric, encode, number, put, put_property, put_quality
from edge_agent.sparkplug.sparkplug_b_pb2 import Payload
from edge_agent.sparkplug.topics import Topic, device_id
from edge_agent.sparkplug.values import QUALITY_GOOD, QUALITY_STALE, DataType, quality_of
from edge_agent.uplinks.telling import Newest, Telling

_TYPES: Final = {"numeric": DataType.DOUBLE, "text": DataType.STRING, "block": DataType.DOUBLEARRAY}
_METRICS: Final = 500
"""Metrics of one data message at the most."""
_MS: Final = 1_000_000
_NEVER: Final = -1

Message = tuple[str, bytes]


class EdgeNode:
    """One session of the node.

    tags    those that are told; a metric's alias is its tag id + 1
    bd_seq  0 to 255: the number of this CONNECT, in its will and in its births
    newest  what tags are, for births
    """

    def __init__(self, group: str, node: str, tags: Sequence[Tag], bd_seq: int, newest: Newest, *, simulated: bool) -> None:
        self._group, self._node = group, node
        self._tags = {tag.id: tag for tag in tags}
        self._bd_seq, self._newest, self._simulated = bd_seq, newest, simulated
        self._device = {tag.id: device_id(tag.unit_path) for tag in tags}
        self._members: dict[str, list[Tag]] = {}
        for tag in tags:
            self._members.setdefault(self._device[tag.id], []).append(tag)
        self._made_here = {tag.id for tag in tags if tag.derived_from or tag.record == "summary"}
        self._away: dict[int, int] = {}
        self._alive: set[str] = set()
        self._spoke: set[str] = set()
        self._said: dict[int, int] = {}
        self._shown = newest.time_ns.copy()
        self._seq = _NEVER

    @property
    def outdated(self) -> bool:
        """Whether hosts show an older value of some tag than the newest: history does not overwrite what a birth or live data said."""
        ids = list(self._tags)
        return bool((self._newest.time_ns[ids] > self._shown[ids]).any())

    def death(self, now_ms: int) -> Message:
        """NDEATH: the will, and the goodbye of MQTT 3.1.1, which makes the broker forget the will."""
        payload = Payload(timestamp=now_ms)
        put(payload.metrics.add(name=BD_SEQ, timestamp=now_ms), DataType.INT64, self._bd_seq)
        return str(Topic(self._group, "NDEATH", self._node)), encode(payload)

    def births(self, now_ms: int) -> list[Message]:
        """NBIRTH and a DBIRTH for each device, with all metrics that will ever be told; numbering begins anew."""
        self._seq = _NEVER
        self._said = {}
        self._alive = set()
        node = Payload(timestamp=now_ms)
        put(node.metrics.add(name=BD_SEQ, timestamp=now_ms), DataType.INT64, self._bd_seq)
        put(node.metrics.add(name=REBIRTH, timestamp=now_ms), DataType.BOOLEAN, False)
        put(node.metrics.add(name="Properties/Simulated", timestamp=now_ms), DataType.BOOLEAN, self._simulated)
        for tag in self._members.get("", ()):
            self._born(node, tag, now_ms)
        found = [self._numbered("NBIRTH", "", node)]
        return found + [self._birth(device, now_ms) for device in self._members if device]

    def _birth(self, device: str, now_ms: int) -> Message:
        payload = Payload(timestamp=now_ms)
        for tag in self._members[device]:
            self._born(payload, tag, now_ms)
        self._alive.add(device)
        return self._numbered("DBIRTH", device, payload)

    def heard(self, away: frozenset[int], now_ms: int) -> list[Message]:
        """Births of devices with tags that are not heard any more, or are again; `away`: ids of all that are not. Deaths are told by `deaths`."""
        changed = {self._device[tag] for tag in away ^ self._away.keys() if tag in self._device}
        since_ns = (now_ms + 1) * _MS  # what came within this millisecond came before
        self._away = {tag: self._away.get(tag, since_ns) for tag in away}
        self._spoke = {device for device in self._spoke if self._unheard(device)}
        if "" in changed:
            return self.births(now_ms)
        return [self._birth(device, now_ms) for device in self._members if device in changed and not self._unheard(device)]

    def deaths(self, now_ms: int) -> list[Message]:
        """A DDEATH for each device of which nothing is heard; not for one that told live values all the same since it died."""
        dead = [device for device in self._members if device in self._alive - self._spoke and self._unheard(device)]
        self._alive.difference_update(dead)
        return [self._numbered("DDEATH", device, Payload(timestamp=now_ms)) for device in dead]

    def _unheard(self, device: str) -> bool:
        return all(tag.id in self._away for tag in self._members[device])

    def _born(self, payload: Payload, tag: Tag, now_ms: int) -> None:
        newest, datatype = self._newest, _TYPES[tag.kind]
        known = newest.known(tag.id)
        status = int(newest.status[tag.id])
        if tag.id in self._away and status < BAD:
            status = UNCERTAIN_NO_COMMUNICATION_LAST_USABLE
        time_ms = int(newest.time_ns[tag.id]) // _MS if known else now_ms
        metric = payload.metrics.add(name=tag.name, alias=tag.id + 1, timestamp=max(time_ms, 0))
        value: Any = None
        if known:
            number_ = number(float(newest.value[tag.id]))
            value = {"numeric": number_, "text": newest.text.get(tag.id), "block": newest.block.get(tag.id)}[tag.kind]
        quality, ua_status = quality_of(status) if known else (QUALITY_STALE, None)
        self._said[tag.id] = status if known else _NEVER
        self._shown[tag.id] = newest.time_ns[tag.id]
        put(metric, datatype, value if quality else None)
        put_quality(metric, quality, ua_status)
        if tag.unit:
            put_property(metric, "engUnit", tag.unit)
        if tag.range is not None:
            put_property(metric, "engLow", tag.range[0])
            put_property(metric, "engHigh", tag.range[1])
        if tag.description:
            put_property(metric, "documentation", tag.description.get("en") or next(iter(tag.description.values())))

    def data(self, told: Sequence[Telling], now_ms: int, *, historical: bool) -> Iterator[Message]:
        """NDATA and DDATA of values, oldest first; what is older than a value already told, or was missed, or is no sign of life of a tag that is not
        heard, is marked historical.

        Every value is taken into `newest`; metrics of one message are in order of time.
        """
        for item in told:
            if isinstance(item, AlarmEvent):
                continue
            newer = self._newest.take(item)
            if not historical:
                tag = np.full(len(newer), item.tag) if isinstance(item, Block) else np.asarray(item.tag)
                self._shown[tag[newer]] = self._newest.time_ns[tag[newer]]
            past = np.ones(len(newer), np.bool_) if historical else ~newer | self._lifeless(item)
            if isinstance(item, Samples):
                yield from self._samples(item, past, now_ms)
            elif isinstance(item, Texts):
                rows = zip(item.tag, item.time_ns, item.value, item.status, past.tolist(), strict=True)
                yield from self._one_by_one(sorted(rows, key=lambda row: row[1]), now_ms)
            elif isinstance(item, Block):
                worst = item.status if item.status.ndim == 1 else item.status.max(axis=1)
                blocks = zip([item.tag] * len(item), item.time_ns.tolist(), item.values, worst.tolist(), past.tolist(), strict=True)
                yield from self._one_by_one(blocks, now_ms)

    def _lifeless(self, item: Samples | Texts | Block) -> NDArray[np.bool_]:
        """Which rows say nothing of whether their tags are heard again: (rows,), of a block one for all."""
        recalled = isinstance(item, Recalled | RecalledTexts)
        tags = [item.tag] if isinstance(item, Block) else np.asarray(item.tag).tolist()
        known = [self._away.get(tag) for tag in tags]
        old = [at is not None and (recalled or tag in self._made_here or item.received_ns < at) for tag, at in zip(tags, known, strict=True)]
        return np.array(old, np.bool_)

    def _samples(self, samples: Samples, past: NDArray[np.bool_], now_ms: int) -> Iterator[Message]:
        order = np.argsort(samples.time_ns, kind="stable")
        columns = (samples.tag, samples.time_ns, samples.value, samples.status, past)
        rows = zip(*(column[order].tolist() for column in columns), strict=True)
        yield from self._one_by_one(((k, t, number(v), s, p) for k, t, v, s, p in rows), now_ms)

    def _one_by_one(self, rows: Any, now_ms: int) -> Iterator[Message]:
        filling: dict[str, Payload] = {}
        live: set[str] = set()
        for tag, time_ns, value, status, past in rows:
            if tag not in self._tags:
                continue
            device = self._device[tag]
            payload = filling.get(device)
            if payload is None:
                if device and device not in self._alive:  # no data of a device before its birth, also not of what was missed
                    yield self._birth(device, now_ms)
                payload = filling[device] = Payload(timestamp=now_ms)
            metric = payload.metrics.add(alias=tag + 1, timestamp=max(time_ns // _MS, 0))
            if past:
                metric.is_historical = True
            else:
                live.add(device)
            self._fill(metric, tag, value, status, historical=past)
            if len(payload.metrics) >= _METRICS:
                del filling[device]
                yield self._numbered("DDATA" if device else "NDATA", device, payload)
        for device, payload in filling.items():
            yield self._numbered("DDATA" if device else "NDATA", device, payload)
        self._spoke.update(device for device in live if self._unheard(device))

    def _fill(self, metric: Metric, tag: int, value: Any, status: int, *, historical: bool) -> None:
        quality, ua_status = quality_of(status)
        put(metric, _TYPES[self._tags[tag].kind], value if quality else None)
        if historical:
            if quality != QUALITY_GOOD or ua_status is not None:
                put_quality(metric, quality, ua_status)
            return
        # Nothing said means good; a host that keeps properties from message to message must be told when it is good again.
        if status or self._said.get(tag):
            put_quality(metric, quality, ua_status)
        self._said[tag] = status

    def _numbered(self, kind: str, device: str, payload: Payload) -> Message:
        self._seq = (self._seq + 1) % 256
        payload.seq = self._seq
        return str(Topic(self._group, kind, self._node, device)), encode(payload)
