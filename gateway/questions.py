"""`Query` of a running gateway: what the store, the targets and the parts beside them answer. Any thread may ask."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol, TypeVar
from zoneinfo import ZoneInfo

from edge_agent.core import PharmedgeError
from gateway import __version__
from gateway.batches import BatchRow
from gateway.blocks import BlocksRow
from gateway.broker import Broker
from gateway.config import GatewayConfig
from gateway.housekeeping import Auditing, Sealing
from gateway.ingest import Ingest
from gateway.kpis import LEAD, KpiRow, key_figures
from gateway.notify.runner import Notifier
from gateway.notify.trial import trial
from gateway.office import Office
from gateway.query import ALL, AlarmFilter, Asked, ModeAsked, NotFound, Subscription
from gateway.rows import ActionRow, AlarmRow, EdgeRow, LedgerRow, ModeRow, SeriesRow, StatusRow, TagRow
from gateway.store import Store
from gateway.targets import Reader
from gateway.targets.auditing import AuditRunner
from gateway.targets.runner import Runner

T = TypeVar("T")


class InWriter(Protocol):
    """Runs a function in the writer thread and waits for what it returns."""

    def __call__(self, function: Callable[[], T], /) -> T:
        """What `function` returns."""


@dataclass
class Questions:
    """Answers for the whole gateway; implements `Query`.

    broker  the connection, None before it is made
    """

    config: GatewayConfig
    store: Store
    ingest: Ingest
    sealing: Sealing
    auditing: Auditing
    targets: Sequence[Runner]
    auditors: Sequence[AuditRunner]
    notifier: Notifier
    office: Office
    broker: Callable[[], Broker | None] = field(kw_only=True)
    in_writer: InWriter = field(kw_only=True)
    clock: Callable[[], int] = field(kw_only=True)

    def __post_init__(self) -> None:
        self._started = time.monotonic()
        self._readers: dict[str, Reader] = {}

    def tags(self) -> list[TagRow]:
        """See Query."""
        return self.store.ask.tags()

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """See Query."""
        return self.store.ask.series(key, from_ns, to_ns, points)

    def series_in(self, store: str, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """See Query."""
        if store not in self._readers:
            found = next((t.config.reader() for t in self.targets if t.config.name == store), None)
            if found is None:
                raise NotFound(f"store: expected the name of a target that is read, found {store!r}")
            self._readers[store] = found
        return self.store.ask.series_from(self._readers[store], key, from_ns, to_ns, points)

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        """See Query."""
        return self.store.ask.blocks(key, from_ns, to_ns, count)

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        """See Query."""
        return self.store.ask.alarms(state, limit, wanted)

    def alarm(self, occurrence: str) -> AlarmRow:
        """See Query."""
        return self.store.ask.alarm(occurrence)

    def batches(self) -> list[BatchRow]:
        """See Query."""
        return self.store.ask.batches()

    def batch_of(self, occurrence: str) -> str:
        """See Query."""
        return self.store.ask.batch_of(occurrence)

    def kpis(self, from_ns: int, to_ns: int) -> KpiRow:
        """See Query."""
        offset = datetime.fromtimestamp(from_ns // 1_000_000_000, ZoneInfo(self.config.gateway.timezone)).utcoffset()
        return key_figures(
            self.store.ask.events(from_ns - LEAD, to_ns),
            from_ns,
            to_ns,
            positions=self.config.operation.positions,
            offset_s=round(offset.total_seconds()) if offset else 0,
        )

    def edges(self) -> list[EdgeRow]:
        """See Query."""
        return self.store.ask.edges()

    def ledger(self) -> list[LedgerRow]:
        """See Query."""
        return self.store.ask.ledger()

    def act(self, asked: Sequence[Asked]) -> list[str | PharmedgeError]:
        """See Query."""
        return self.in_writer(lambda: self.store.act([(one, uuid.uuid4().hex) for one in asked]))

    def set_mode(self, asked: ModeAsked) -> str:
        """See Query."""
        return self.in_writer(lambda: self.store.set_mode(asked, uuid.uuid4().hex))

    def modes(self, from_ns: int, to_ns: int) -> list[ModeRow]:
        """See Query."""
        return self.store.ask.modes(from_ns, to_ns)

    def action(self, action_id: str) -> ActionRow:
        """See Query."""
        return self.store.asked.row(action_id)

    def subscribe(self) -> Subscription:
        """See Query."""
        return self.store.subscribe()

    def status(self) -> StatusRow:
        """See Query."""
        section, broker = self.config.gateway, self.broker()
        status: StatusRow = {
            "version": __version__,
            "gateway": section.id,
            "site": section.site,
            "mode": section.mode,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "now_ns": self.clock(),
            **self.store.figures(),  # type: ignore[typeddict-item]
            "dead_letters": sum(t.rejected for t in self.targets),
            "queue_bytes": self.ingest.queue_bytes,
            "elsewhere": dict(self.ingest.elsewhere),
            "broker_connected": broker is not None and broker.connected,
            "broker_error": broker.error if broker is not None else "not started",
            "seal_error": self.sealing.error,
            "targets": [*(t.row() for t in self.targets), *(a.row() for a in self.auditors)],
            "receivers": self.notifier.rows(),
            "notices": self._notices(),
        }
        return status

    def _notices(self) -> list[str]:
        refused = [f.edge for f in list(self.store.inbox.facts.values()) if f.refused]
        found = self.notifier.notices() + [f"edge {edge} says it is simulated; a gateway in production refuses it" for edge in refused]
        overdue = self.office.handovers.overdue_ns()
        if overdue is not None:
            found.append(f"the shift handover is overdue by {(self.clock() - overdue) / 60e9:.0f} min")
        if self.store.orphans:
            found.append(f"{self.store.orphans} unfinished files of an interrupted sealing were removed at the start")
        return found

    def try_receiver(self, name: str) -> None:
        """See Query."""
        section = self.config.gateway
        trial(self.config.notifications, name, gateway=section.id, timezone=section.timezone, now_ns=self.clock())

    def ready(self) -> list[str]:
        """See Query."""
        why, broker = [], self.broker()
        if broker is None or not broker.connected:
            why.append(f"broker: {broker.error if broker is not None else 'not started'}")
        if self.store.write_error:
            why.append(self.store.write_error)
        if self.sealing.error:
            why.append(self.sealing.error)
        if self.auditing.error:
            why.append(self.auditing.error)
        if self.ingest.queue_bytes >= self.config.store.queue_bytes:
            why.append("more is coming in than can be committed")
        return why

    def counters(self) -> dict[str, float]:
        """See Query."""
        status = self.status()
        found = {
            "records_total": status["records"],
            "duplicates_total": status["duplicates"],
            "quarantined_total": status["quarantined"],
            "refused_total": status["refused"],
            "dead_letters_total": status["dead_letters"],
            "elsewhere_total": sum(status["elsewhere"].values()),
            "rows": status["rows"],
            "inbox_records": status["inbox_records"],
            "inbox_bytes": status["inbox_bytes"],
            "queue_bytes": status["queue_bytes"],
            "segments": status["segments"],
            "segment_bytes": status["segment_bytes"],
            "alarms_standing": status["alarms_standing"],
            "broker_connected": int(status["broker_connected"]),
            "uptime_seconds": status["uptime_s"],
        }
        return {name: float(value) for name, value in found.items()}
