"""Alarm occurrences folded from their events.

Events count in the order of their edge (epoch, seq), in whatever order they arrive; the state of an occurrence is the last `state_to`.
A refusal tells that an action was not carried out; it changes no state, whatever it carries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.core import AlarmEvent, occurrence_id
from gateway.catalog import PlantCatalogue
from gateway.query import AlarmRow, EventRow

ACKNOWLEDGEABLE = frozenset({"UNACK", "RTNUN", "LATUN"})
OVER = "NORM"


@dataclass(slots=True)
class Occurrence:
    """One occurrence with its events by (epoch, seq)."""

    edge: str
    events: dict[tuple[int, int], AlarmEvent] = field(default_factory=dict)

    @property
    def ordered(self) -> list[AlarmEvent]:
        """The events in the order of their edge."""
        return [self.events[key] for key in sorted(self.events)]

    @property
    def state(self) -> str:
        """Where the occurrence stands; over when all that is known of it is refusals."""
        last = self.last
        return last.state_to if last is not None else OVER

    @property
    def last(self) -> AlarmEvent | None:
        """The last event that may change the state."""
        return max(((key, e) for key, e in self.events.items() if e.event != "refuse"), key=lambda found: found[0], default=(None, None))[1]


class Standing:
    """Occurrences that are not over; `stored` reads the events of any other from the journal."""

    def __init__(self, stored: Callable[[str], Occurrence]) -> None:
        self._stored = stored
        self.open: dict[str, Occurrence] = {}

    def take(self, edge: str, epoch: int, seq: int, event: AlarmEvent) -> str:
        """Take in one event; the id of its occurrence."""
        id_ = occurrence_id(edge, event.alarm, event.raised_ns)
        found = self.open.get(id_)
        if found is None:
            found = self._stored(id_)
            found.edge = edge
            self.open[id_] = found
        found.events[epoch, seq] = event
        return id_

    def settle(self, ids: set[str]) -> None:
        """Let go of those that are over."""
        for id_ in ids:
            found = self.open.get(id_)
            if found is not None and found.state == OVER:
                del self.open[id_]


def alarm_row(id_: str, occurrence: Occurrence, catalogue: PlantCatalogue) -> AlarmRow:
    """What is shown of an occurrence."""
    events = occurrence.ordered
    first, last = events[0], occurrence.last or events[-1]
    known = catalogue.edges.get(occurrence.edge)
    definition = known.alarms.get(first.alarm) if known is not None else None
    number = known.numbers.get(first.tag) if known is not None else None
    unit = definition.unit if definition is not None and definition.unit else ""
    if not unit and known is not None and number is not None:
        unit = known.tags[number].unit
    raised = next((e for e in events if e.event in ("raise", "re_alarm")), first)
    acked = next((e for e in reversed(events) if e.event == "acknowledge"), None)
    return {
        "occurrence": id_,
        "alarm": first.alarm,
        "edge": occurrence.edge,
        "tag": first.tag,
        "state": occurrence.state,
        "priority": last.priority,
        "advisory": last.advisory,
        "raised_ns": first.raised_ns,
        "last_ns": last.time_ns,
        "value": raised.value,
        "limit": raised.limit,
        "unit": unit,
        "acked_by": acked.user if acked is not None else "",
        "acked_ns": acked.time_ns if acked is not None else None,
        "cause": dict(definition.cause) if definition is not None else {},
        "response": dict(definition.response) if definition is not None else {},
        "consequence": dict(definition.consequence) if definition is not None else {},
        "explanation": raised.explanation,
        "contributions": dict(raised.contributions),
        "events": [_event_row(e) for e in events],
    }


def _event_row(event: AlarmEvent) -> EventRow:
    return {
        "time_ns": event.time_ns,
        "received_ns": event.received_ns,
        "event": event.event,
        "state_from": event.state_from,
        "state_to": event.state_to,
        "value": event.value,
        "status": event.status,
        "explanation": event.explanation,
        "user": event.user,
        "role": event.role,
        "station": event.station,
        "reason": event.reason,
        "action_id": event.action_id,
    }
