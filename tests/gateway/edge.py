"""A small edge for tests: it numbers records, keeps them and packs deliveries, as an agent would."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edge_agent.core import (
    SUMMARY_DTYPE,
    AlarmDefinition,
    AlarmEvent,
    Definitions,
    Delivered,
    Delivery,
    Gap,
    Record,
    Samples,
    Summaries,
    Tag,
    Texts,
    chain_crc,
    encode,
)

SECOND = 1_000_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01T00:00:00Z

TAGS = (
    Tag(id=0, name="press1/main_force", unit="kN", range=(0.0, 40.0), class_="gmp", expected_s=1.0, path="demo/solids/press-line/press1"),
    Tag(id=1, name="press1/speed", unit="1/min", class_="other", expected_s=1.0, path="demo/solids/press-line/press1"),
    Tag(id=2, name="press1/batch", kind="text", role="batch", path="demo/solids/press-line/press1"),
)
ALARMS = (
    AlarmDefinition(
        name="press1/main_force.high", tag="press1/main_force", kind="limit", limit=16.0, priority=2, unit="kN", cause={"en": "punch wear"}
    ),
)


@dataclass
class Edge:
    """Records in the order they were made; `deliver` packs any of them."""

    name: str = "press-edge-1"
    site: str = "demo"
    epoch: int = 1
    current: int = 0
    simulated: bool = False
    records: list[Delivered] = field(default_factory=list)

    def add(self, record: Record) -> Delivered:
        chain = self.records[-1].chain if self.records else 0
        data = encode(record)
        made = Delivered(len(self.records) + 1, chain_crc(chain, data), data)
        self.records.append(made)
        return made

    def define(self, tags: Sequence[Tag] = TAGS, alarms: Sequence[AlarmDefinition] = ALARMS, received_ns: int = START) -> Delivered:
        return self.add(
            Definitions(
                received_ns=received_ns,
                edge=self.name,
                site=self.site,
                simulated=self.simulated,
                config_hash="c0",
                software="0.1.0",
                tags=tuple(tags),
                alarms=tuple(alarms),
            )
        )

    def samples(self, begin: int, n: int, tag: int = 0, *, value: float = 10.0, status: int = 0, step_ns: int = SECOND) -> Samples:
        """n values from `begin` seconds after START on."""
        time = START + begin * SECOND + np.arange(n, dtype=np.int64) * step_ns
        values = value + 0.25 * (np.arange(n) % 7)
        made = Samples.of(time, np.full(n, tag, np.int32), values, status, int(time[-1]) + 5_000_000)
        self.add(made)
        return made

    def summary(self, samples: Samples, length_s: int = 10) -> Summaries:
        """The windows of some samples of one quality."""
        made = Summaries(summarised(samples, length_s), samples.received_ns)
        self.add(made)
        return made

    def gap(self, missing: int, tag: int = 0, begin: int = 0) -> None:
        at = START + begin * SECOND
        self.add(Gap(tag=tag, from_ns=at, to_ns=at + missing * SECOND, missing=missing, cause="disconnected"))

    def event(
        self, event: str, state_from: str, state_to: str, *, raised: int = 100, at: int = 100, action_id: str = "", user: str = "",
        **more: Any,
    ) -> AlarmEvent:
        made = AlarmEvent(
            alarm="press1/main_force.high",
            tag="press1/main_force",
            raised_ns=START + raised * SECOND,
            time_ns=START + at * SECOND,
            received_ns=START + at * SECOND,
            event=event,
            state_from=state_from,
            state_to=state_to,
            priority=2,
            value=16.5,
            limit=16.0,
            explanation=more.pop("explanation", "16.5 kN above 16.0 kN"),
            action_id=action_id,
            user=user,
            **more,
        )
        self.add(made)
        return made

    def deliver(self, records: Iterable[Delivered] | None = None) -> Delivery:
        chosen = tuple(self.records if records is None else records)
        return Delivery(self.site, self.name, self.epoch, 1, self.simulated, chosen, self.current)


def summarised(samples: Samples, length_s: int = 10) -> np.ndarray:
    """Windows of samples by the definition, one loop over windows."""
    rows = []
    length = length_s * SECOND
    for tag in np.unique(samples.tag):
        of_tag = samples.take(samples.tag == tag)
        for start in np.unique(of_tag.time_ns // length * length):
            part = of_tag.take((of_tag.time_ns >= start) & (of_tag.time_ns < start + length))
            severity = part.status >> np.uint32(30)
            used = part.value[severity < 2]
            row = np.zeros(1, SUMMARY_DTYPE)[0]
            row["tag"], row["version"], row["start_ns"], row["length_ns"], row["part"] = tag, 1, start, length, 1
            row["count"] = (severity < 2).sum()
            row["n_good"], row["n_uncertain"], row["n_bad"] = (severity == 0).sum(), (severity == 1).sum(), (severity >= 2).sum()
            for name in ("min", "max", "first", "last"):
                row[name] = np.nan
            if len(used):
                row["sum"], row["m2"] = used.sum(), ((used - used.mean()) ** 2).sum()
                row["min"], row["max"], row["first"], row["last"] = used.min(), used.max(), used[0], used[-1]
            row["first_ns"], row["last_ns"], row["worst_status"] = part.time_ns[0], part.time_ns[-1], part.status.max()
            rows.append(row)
    return np.array(rows, SUMMARY_DTYPE)


def line(seconds: int = 300) -> Edge:
    """Two tags over so many seconds and the names of two batches."""
    edge = Edge()
    edge.define()
    for begin in range(0, seconds, 30):
        for tag in (0, 1):
            edge.summary(edge.samples(begin, 30, tag, value=10.0 + tag))
    edge.add(Texts((START, START + 100 * SECOND), (2, 2), ("B1", "B2"), (0, 0), START))
    return edge
