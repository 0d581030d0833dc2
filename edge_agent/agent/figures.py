"""The figures of an edge as Prometheus metrics: counters end in `_total`, units stand in the name, connectors and uplinks are labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edge_agent import __version__
from edge_agent.agent.commit import JOURNAL, OUTBOX
from edge_agent.core.alarm import ANNUNCIATED

if TYPE_CHECKING:
    from edge_agent.agent.status import Status

CARRIED = {
    "sent_records": "Records that the uplink has sent",
    "sent_bytes": "Bytes that the uplink has sent",
    "resent_records": "Records that were sent again because nobody had confirmed them in time",
    "gone_records": "Records that were no longer there when the uplink came to send them",
    "damaged_records": "Records of the outbox that could not be read",
}
"""What uplinks count since the start, each those that it has."""
DROPPED = ("late", "rejected", "duplicate")
"""Fates of values that are counted and judged no further."""


def registry_of(status: Status) -> CollectorRegistry:
    """Everything that /metrics shows: the edge, and the process with its memory and files."""
    registry = CollectorRegistry()
    registry.register(Figures(status))
    ProcessCollector(registry=registry)
    return registry


def gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    """A gauge of this product."""
    return GaugeMetricFamily(f"pharmedge_{name}", text, labels=labels)


def counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    """A counter of this product; `_total` comes by itself."""
    return CounterMetricFamily(f"pharmedge_{name}", text, labels=labels)


class Figures(Collector):
    """Asked at each scrape."""

    def __init__(self, status: Status, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._status, self._now_ns = status, now_ns

    def collect(self) -> list[Metric]:
        """All families."""
        return [*self._values(), *self._connectors(), *self._uplinks(), *self._buffers(), *self._alarms()]

    def _values(self) -> list[Metric]:
        samples = counter("samples", "Values received, by what became of them", "fate")
        received = counter("samples_received", "Values received", "connector")
        dropped = counter("samples_dropped", "Values that were counted and judged no further", "connector", "reason")
        pipeline = self._status.engine.pipeline
        if pipeline.started:
            for fate, counts in pipeline.totals().items():
                samples.add_metric([fate], float(counts.sum()))
            for connector, fates in pipeline.totals_of_sources().items():
                received.add_metric([connector], float(sum(fates.values())))
                for reason in DROPPED:
                    dropped.add_metric([connector, reason], float(fates[reason]))
        engine = self._status.engine
        gaps = counter("gaps", "Gaps declared since the start of the process")
        gaps.add_metric([], float(engine.gaps))
        missing = counter("gap_values", "Values declared missing in gaps since the start of the process")
        missing.add_metric([], float(engine.gap_values))
        filled = counter("gap_values_filled", "Values declared missing that a server's history brought after all, since the start of the process")
        filled.add_metric([], float(engine.filled_values))
        return [samples, received, dropped, gaps, missing, filled]

    def _connectors(self) -> list[Metric]:
        up = gauge("connector_up", "1 when the connector is connected and gets data", "connector")
        age = gauge("last_data_age_seconds", "Seconds since the connector's last value", "connector")
        connects = counter("connector_connects", "Connections made", "connector")
        failures = counter("connector_failures", "Connections that failed or were lost", "connector")
        events = counter("connector_events", "What a connector counts", "connector", "event")
        for source in self._status.sources():
            name = source["name"]
            up.add_metric([name], float(source["state"] == "connected"))
            if source.get("last_data_ns"):
                age.add_metric([name], max(0.0, (self._now_ns() - source["last_data_ns"]) / 1e9))
            connects.add_metric([name], float(source.get("connects", 0)))
            failures.add_metric([name], float(source.get("failures", 0)))
            for event, count in source.get("counters", {}).items():
                events.add_metric([name, event], float(count))
        return [up, age, connects, failures, events]

    def _uplinks(self) -> list[Metric]:
        up = gauge("uplink_up", "1 when the uplink is connected", "uplink")
        delivered = gauge("uplink_delivered_seq", "Number up to which the uplink has delivered", "uplink")
        behind = gauge("uplink_behind_records", "Records in the outbox that the uplink has not delivered", "uplink")
        failures = counter("uplink_failures", "Connections of the uplink that failed or were lost", "uplink")
        carried = {count: counter(f"uplink_{count}", text, "uplink") for count, text in CARRIED.items()}
        for uplink in self._status.uplinks():
            name, through = [uplink["name"]], uplink.get("committed_seq", 0)
            up.add_metric(name, float(bool(uplink.get("connected"))))
            delivered.add_metric(name, float(through))
            behind.add_metric(name, float(uplink["behind_records"]))
            failures.add_metric(name, float(uplink.get("failures", 0)))
            for count, family in carried.items():
                if count in uplink:
                    family.add_metric(name, float(uplink[count]))
        return [up, delivered, behind, failures, *carried.values()]

    def _buffers(self) -> list[Metric]:
        status, engine = self._status, self._status.engine
        log = engine.log
        simple = [
            ("journal_bytes", "Bytes of journal held", log.head(JOURNAL).bytes),
            ("buffer_bytes", "Bytes waiting for delivery", engine.held_bytes),
            ("buffer_limit_bytes", "Bytes that may wait for delivery", engine.limit_bytes),
            ("buffer_records", "Records in the outbox", log.head(OUTBOX).rows),
            ("buffer_seconds_to_full", "Seconds until the buffer is full at the rate of five minutes; +Inf while it does not grow", engine.to_full_s),
            ("waiting_bytes", "Bytes received and not yet durable", status.intake.waiting_bytes),
            ("write_failing", "1 while commits fail", float(bool(engine.write_error))),
            ("clock_offset_seconds", "Wall clock minus received time", status.intake.clock_offset_ns / 1e9),
            ("ready", "1 when ready", float(not status.problems())),
        ]
        found: list[Metric] = [GaugeMetricFamily(f"pharmedge_{name}", text, value=float(value)) for name, text, value in simple]
        info = gauge("info", "What runs here; always 1", "edge", "site", "version")
        info.add_metric([status.edge, status.site, __version__], 1.0)
        commits = counter("commits", "Commits made durable")
        commits.add_metric([], float(engine.commits))
        return [*found, info, commits]

    def _alarms(self) -> list[Metric]:
        standing = self._status.engine.standing
        every = gauge("alarms_standing", "Alarms standing")
        every.add_metric([], float(len(standing)))
        by_priority = gauge("alarms_unacknowledged", "Alarms that call somebody and nobody has acknowledged", "priority")
        for priority in (1, 2, 3, 4):
            calling = [s for s in standing if s.state in ANNUNCIATED and s.priority == priority and not s.suppression and not s.advisory]
            by_priority.add_metric([str(priority)], float(len(calling)))
        suppressed = gauge("alarms_suppressed", "Alarms shelved, suppressed by design or out of service")
        suppressed.add_metric([], float(sum(1 for s in standing if s.suppression)))
        raised = counter("alarms_raised", "Alarms raised since the start of the process")
        raised.add_metric([], float(self._status.engine.alarms_raised))
        return [every, by_priority, suppressed, raised]
