"""Alarm occurrences folded from their events.

Events count in the order of their edge (epoch, seq), in whatever order they arrive; the state of an occurrence is the last `state_to`.
A refusal tells that an action was not carried out; it changes no state, whatever it carries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from edge_agent.core import AlarmDefinition, AlarmEvent, OperatorAction, Tag, occurrence_id, shelve_rule
from gateway.catalog import EdgeTags, PlantCatalogue
from gateway.rows import AlarmRow, EventRow, PendingRow, ShelveTerms, SuppressionRow
from gateway.units import held

OVER: Final = "NORM"
COVERED: Final = {"SHLVD": ("shelved",), "DSUPR": ("shelved", "designed"), "OOSRV": ("shelved", "designed", "out_of_service")}
"""States that are shown for a suppression, and what may lie over an alarm that shows them: the strongest is shown."""

Number = tuple[int, int]
"""(epoch, seq) of an event of one edge."""


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
    """Occurrences that are not over, and what lies over their alarms.

    stored  reads the events of any other occurrence from the journal
    past    reads every event of an alarm of an edge from there
    """

    def __init__(
        self, stored: Callable[[str], Occurrence], past: Callable[[str, str], Iterable[tuple[Number, AlarmEvent]]] = lambda _edge, _alarm: ()
    ) -> None:
        self._stored, self._past = stored, past
        self.open: dict[str, Occurrence] = {}
        self._laid: dict[tuple[str, str], dict[str, tuple[Number, AlarmEvent]]] = {}

    def resume(self, id_: str) -> None:
        """Take up an occurrence that stood when the journal was last written."""
        found = self.open[id_] = self._stored(id_)
        if found.events and found.state in COVERED:
            self._laid_over(found.edge, found.ordered[0].alarm)

    def _laid_over(self, edge: str, alarm: str) -> dict[str, tuple[Number, AlarmEvent]]:
        # A suppression outlives the occurrence that it began with: what is raised underneath has events of its own.
        laid = self._laid.get((edge, alarm))
        if laid is None:
            laid = {}
            for number, event in self._past(edge, alarm):
                _newer(laid, number, event)
            self._laid[edge, alarm] = laid
        return laid

    def suppressions(self, edge: str, alarm: str, shown: str) -> list[AlarmEvent]:
        """What lies over an alarm that is shown in this state, the events with which it came."""
        laid = dict(self._laid.get((edge, alarm), {}))
        return [laid[name][1] for name in COVERED.get(shown, ()) if name in laid and laid[name][1].event == "suppress"]

    def take(self, edge: str, epoch: int, seq: int, event: AlarmEvent) -> str:
        """Take in one event; the id of its occurrence."""
        id_ = occurrence_id(edge, event.alarm, event.raised_ns)
        found = self.open.get(id_)
        if found is None:
            found = self._stored(id_)
            found.edge = edge
            self.open[id_] = found
        found.events[epoch, seq] = event
        if event.overlay:
            _newer(self._laid_over(edge, event.alarm), (epoch, seq), event)
        return id_

    def settle(self, ids: set[str]) -> None:
        """Let go of those that are over."""
        for id_ in ids:
            found = self.open.get(id_)
            if found is not None and found.state == OVER:
                del self.open[id_]


def _newer(laid: dict[str, tuple[Number, AlarmEvent]], number: Number, event: AlarmEvent) -> None:
    if event.overlay and (event.overlay not in laid or laid[event.overlay][0] < number):
        laid[event.overlay] = number, event


def alarm_row(
    id_: str, occurrence: Occurrence, catalogue: PlantCatalogue, laid: Sequence[AlarmEvent] = (), asked: Sequence[OperatorAction] = ()
) -> AlarmRow:
    """What is shown of an occurrence.

    laid   the events of the suppressions that lie over it
    asked  actions that no event has answered
    """
    events = occurrence.ordered
    first, last = events[0], occurrence.last or events[-1]
    known = catalogue.edges.get(occurrence.edge)
    definition = known.alarms.get(first.alarm) if known is not None else None
    number = known.numbers.get(first.tag) if known is not None else None
    tag = known.tags[number] if known is not None and number is not None else None
    unit = definition.unit if definition is not None and definition.unit else tag.unit if tag is not None else ""
    raised = next((e for e in events if e.event in ("raise", "re_alarm")), first)
    acked = next((e for e in reversed(events) if e.event == "acknowledge"), None)
    turned = [e for e in events if e.event in ("raise", "re_alarm", "clear")]
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
        "description": dict(tag.description) if tag is not None else {},
        "acked_by": acked.user if acked is not None else "",
        "acked_ns": acked.time_ns if acked is not None else None,
        "cause": dict(definition.cause) if definition is not None else {},
        "response": dict(definition.response) if definition is not None else {},
        "consequence": dict(definition.consequence) if definition is not None else {},
        "check": dict(definition.check) if definition is not None else {},
        "explanation": raised.explanation,
        "contributions": dict(raised.contributions),
        "plant_unit": plant_unit(first.tag, tag),
        "group": definition.group if definition is not None else raised.group,
        "first_out": raised.first_out,
        "respond_within_s": definition.respond_within_s if definition is not None else None,
        "met": bool(turned) and turned[-1].event != "clear",
        "suppressions": [_suppression(e) for e in laid],
        "pending": [pending_row(a) for a in asked],
        "shelve": _terms(known, definition, tag),
        "out_of_service": list(known.out_of_service) if known is not None else [],
        "held": "" if occurrence.state == OVER else held(known, definition, tag),
        "events": [_event_row(e) for e in events],
    }


def plant_unit(name: str, tag: Tag | None) -> str:
    """The unit of the plant that a tag belongs to: the last part of its path, else of its name.

    >>> plant_unit("press1/main_force", None), plant_unit("", None)
    ('press1', '')
    """
    path = tag.path if tag is not None and tag.path else name.rpartition("/")[0]
    return path.rpartition("/")[2]


def pending_row(action: OperatorAction) -> PendingRow:
    """What is shown of an action while it waits for the edge."""
    return {"action_id": action.id, "kind": action.kind, "user": action.user, "time_ns": action.time_ns}


def _terms(known: EdgeTags | None, definition: AlarmDefinition | None, tag: Tag | None) -> ShelveTerms | None:
    if known is None or definition is None:
        return None
    rule = shelve_rule(known.shelve, definition.priority, tag.class_ if tag is not None else "other")
    return None if rule is None else {"roles": list(rule.roles), "second_roles": list(rule.second_roles), "max_s": rule.max_s}


def _suppression(event: AlarmEvent) -> SuppressionRow:
    return {
        "overlay": event.overlay,
        "since_ns": event.time_ns,
        "until_ns": event.until_ns,
        "one_shot": event.one_shot,
        "permit": event.permit,
        "user": event.user,
        "second_user": event.second_user,
        "reason": event.reason or event.explanation,
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
        "overlay": event.overlay,
        "until_ns": event.until_ns,
        "permit": event.permit,
        "second_user": event.second_user,
    }
