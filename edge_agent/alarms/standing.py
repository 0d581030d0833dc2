"""All alarms of one edge: what stands, what people did about it, and the events that tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.detect import NEVER, Detection, Found
from edge_agent.alarms.states import LATCHING_TRANSITIONS, STATES, TRANSITIONS, Cause, State, Suppression, after
from edge_agent.alarms.words import condition_words, over_words
from edge_agent.core import AlarmDefinition, AlarmEvent, Catalogue, OperatorAction, Samples

REMEMBERED_ACTIONS: Final = 4096
"""Operator actions whose repetition is recognised; an older one would be refused by the state of its alarm."""
AT_ONCE: Final = 0
"""The due time when `tick` has something to say whatever the time."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm that is not normal, as a status page shows it."""

    alarm: str
    tag: str
    state: State
    suppression: int
    priority: int
    advisory: bool
    raised_ns: int
    last_ns: int
    """Time of the latest transition."""
    value: float | None
    limit: float | None
    unit: str
    explanation: str
    acked_by: str = ""
    acked_ns: int | None = None


@dataclass(slots=True)
class _Life:
    """Where one alarm is in its life."""

    state: State = "NORM"
    suppression: Suppression = Suppression.NONE
    raised_ns: int = -1
    """Raise time of the current or latest occurrence; -1 before the first."""
    last_ns: int = 0
    value: float | None = None
    status: int = 0
    explanation: str = ""
    acked_by: str = ""
    acked_ns: int | None = None


class Alarms:
    """Every alarm of the edge: detection, states, acknowledgement.

    A function of the rows, ticks, conditions and actions it is given, in their order: no clock, no I/O. However samples of one received time
    are cut into calls, the events and the state are the same.
    """

    def __init__(self, definitions: Sequence[AlarmDefinition], catalogue: Catalogue) -> None:
        """ValueError when a definition names no numeric tag, lacks what its kind needs, or a name comes twice."""
        self._definitions = tuple(definitions)
        self._index = {d.name: a for a, d in enumerate(self._definitions)}
        if len(self._index) != len(self._definitions):
            raise ValueError("alarms: expected unique names, found a name twice")
        self._detection = Detection(self._definitions, catalogue)
        tags = [catalogue.get(d.tag) for d in self._definitions]
        self._decimals = [2 if tag is None else tag.decimals for tag in tags]
        self._units = [d.unit or ("" if tag is None else tag.unit) for d, tag in zip(self._definitions, tags, strict=True)]
        self._lives = [_Life() for _ in self._definitions]
        self._told: dict[int, tuple[str, float | None]] = {}  # what a running condition was reported with
        self._acted: dict[str, None] = {}
        self._closing: list[AlarmEvent] = []

    def step(self, samples: Samples, usable: NDArray[np.uint8]) -> list[tuple[int, AlarmEvent]]:
        """Evaluate n rows in order and return (row, event) pairs; `usable` (n,) uint8: 1 = evaluate, 0 = hold (bad quality, wrong mode)."""
        out: list[tuple[int, AlarmEvent]] = []
        for found in self._detection.step(samples, usable):
            events = self._turned(found, int(samples.time_ns[found.row]), samples.received_ns)
            out += [(found.row, event) for event in events]
        return out

    def tick(self, tick_ns: int) -> list[AlarmEvent]:
        """End the delays that are over at this tick; the events' time is the tick."""
        out = [msgspec.structs.replace(event, time_ns=tick_ns, received_ns=tick_ns) for event in self._closing]
        self._closing.clear()
        for found in self._detection.tick(tick_ns):
            out += self._turned(found, tick_ns, tick_ns)
        return out

    @property
    def due_ns(self) -> int:
        """The earliest tick at which `tick` could act; 2**63 - 1 when there is none."""
        return AT_ONCE if self._closing else self._detection.due_ns

    def condition(
        self,
        name: str,
        active: bool,
        time_ns: int,
        received_ns: int,
        *,
        explanation: str = "",
        value: float | None = None,
    ) -> list[AlarmEvent]:
        """Say whether a condition found elsewhere (stale, bad_quality, diagnostic) is met; saying it again changes nothing.

        ValueError when no such alarm of these kinds is defined.
        """
        a = self._index.get(name)
        if a is None or not self._detection.is_condition(a):
            raise ValueError(f"condition: expected an alarm of kind stale, bad_quality or diagnostic, found {name!r}")
        found = self._detection.condition(a, active, time_ns, received_ns)
        if found is not None:
            self._told[a] = explanation, value
            return self._turned(found, time_ns, received_ns)
        if self._detection.due[a] == NEVER:
            self._told.pop(a, None)
        elif a not in self._told or active:
            self._told[a] = explanation, value
        return []

    def act(self, action: OperatorAction, received_ns: int) -> list[AlarmEvent]:
        """Carry out or refuse what an operator asked for: one event that cites the action, none when its id was seen before."""
        if action.id in self._acted:
            return []
        self._acted[action.id] = None
        while len(self._acted) > REMEMBERED_ACTIONS:
            del self._acted[next(iter(self._acted))]
        a = self._index.get(action.alarm)
        cause: Cause | None = action.kind if action.kind in ("acknowledge", "reset") else None
        refusal = "" if a is None else self._refusal(a, action, cause)
        if a is None or cause is None or refusal:
            return [self._refused(a, action, refusal or "there is no alarm of this name", received_ns)]
        life, d = self._lives[a], self._definitions[a]
        before = life.state
        life.state = after(before, cause, latching=d.latching)
        life.last_ns = action.time_ns
        if cause == "acknowledge":
            life.acked_by, life.acked_ns = action.user, action.time_ns
        return [self._event(a, cause, before, action.time_ns, received_ns, action=action, reason=action.reason)]

    def _refusal(self, a: int, action: OperatorAction, cause: Cause | None) -> str:
        life, d = self._lives[a], self._definitions[a]
        table = LATCHING_TRANSITIONS if d.latching else TRANSITIONS
        if cause is None:
            return f"{action.kind} is not offered by this edge"
        if not action.user.strip():
            return f"{cause} needs the name of a user"
        if action.raised_ns != life.raised_ns:
            return "this occurrence is over: the alarm was raised again" if action.raised_ns < life.raised_ns else "there is no such occurrence"
        if cause in table[life.state]:
            return ""
        if cause == "acknowledge":
            return "already acknowledged" if life.acked_ns is not None else "this occurrence is over"
        return {"LATUN": "acknowledge it before the reset", "UNACK": "the condition still stands", "ACKED": "the condition still stands"}.get(
            life.state, "nothing is latched"
        )

    def _refused(self, a: int | None, action: OperatorAction, reason: str, received_ns: int) -> AlarmEvent:
        if a is not None:
            return self._event(a, "refuse", self._lives[a].state, action.time_ns, received_ns, action=action, reason=reason)
        return AlarmEvent(
            alarm=action.alarm, tag="", raised_ns=action.raised_ns, time_ns=action.time_ns, received_ns=received_ns, event="refuse",
            state_from="NORM", state_to="NORM", priority=4, explanation=reason, action_id=action.id, user=action.user, role=action.role,
            station=action.station, reason=reason,
        )  # fmt: skip

    def _turned(self, found: Found, time_ns: int, received_ns: int) -> list[AlarmEvent]:
        a = found.alarm
        life, d = self._lives[a], self._definitions[a]
        before = life.state
        out = []
        if found.met:
            if before != "NORM":
                # The occurrence that was never acknowledged or reset ends here: people act on the newest one only.
                out.append(self._ended(a, "superseded: the alarm was raised again", time_ns, received_ns))
            # An occurrence is known by its raise time, so no two may share one.
            life.raised_ns = max(found.first_ns, life.raised_ns + 1)
            life.acked_by, life.acked_ns = "", None
        if self._detection.is_condition(a):
            told, life.value = self._told.pop(a, ("", None))
            life.explanation = told or condition_words(d, met=found.met)
        else:
            life.value = found.compared
            life.explanation = over_words(d, found, self._units[a], self._decimals[a])
        cause: Cause = "raise" if found.met else "clear"
        life.status = found.status
        life.last_ns = time_ns
        life.state = after(before, cause, latching=d.latching)
        out.append(self._event(a, cause, before, time_ns, received_ns))
        return out

    def _ended(self, a: int, explanation: str, time_ns: int, received_ns: int) -> AlarmEvent:
        event = self._event(a, "clear", self._lives[a].state, time_ns, received_ns)
        return msgspec.structs.replace(event, state_to="NORM", explanation=explanation)

    def _event(
        self, a: int, event: str, before: State, time_ns: int, received_ns: int, *, action: OperatorAction | None = None, reason: str = ""
    ) -> AlarmEvent:
        life, d = self._lives[a], self._definitions[a]
        told = AlarmEvent(
            alarm=d.name, tag=d.tag, raised_ns=life.raised_ns, time_ns=time_ns, received_ns=received_ns, event=event, state_from=before,
            state_to=life.state, priority=d.priority, advisory=d.advisory, value=life.value, limit=d.limit, status=life.status,
            explanation=life.explanation, reason=reason,
        )  # fmt: skip
        if action is None:
            return told
        return msgspec.structs.replace(
            told, raised_ns=action.raised_ns, action_id=action.id, user=action.user, role=action.role, station=action.station,
            explanation=reason if event == "refuse" else life.explanation,
        )  # fmt: skip

    def standing(self) -> list[Standing]:
        """Every alarm that is not normal, in the order of the definitions."""
        return [
            Standing(
                alarm=d.name, tag=d.tag, state=life.state, suppression=int(life.suppression), priority=d.priority, advisory=d.advisory,
                raised_ns=life.raised_ns, last_ns=life.last_ns, value=life.value, limit=d.limit, unit=self._units[a],
                explanation=life.explanation, acked_by=life.acked_by, acked_ns=life.acked_ns,
            )
            for a, (d, life) in enumerate(zip(self._definitions, self._lives, strict=True))
            if life.state != "NORM"
        ]  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, for `core.pack`; independent copies."""
        return {
            "names": [d.name for d in self._definitions],
            "versions": [d.version for d in self._definitions],
            "detection": self._detection.state(),
            "state": np.array([STATES.index(life.state) for life in self._lives], np.uint8),
            "suppression": np.array([int(life.suppression) for life in self._lives], np.uint8),
            "raised_ns": np.array([life.raised_ns for life in self._lives], np.int64),
            "last_ns": np.array([life.last_ns for life in self._lives], np.int64),
            "status": np.array([life.status for life in self._lives], np.uint32),
            "said": {
                d.name: [life.value, life.explanation, life.acked_by, life.acked_ns]
                for d, life in zip(self._definitions, self._lives, strict=True)
                if life.raised_ns >= 0
            },
            "standing": {e.alarm: msgspec.to_builtins(e) for e in self._ends("definition removed")},
            "told": {self._definitions[a].name: list(told) for a, told in self._told.items()},
            "acted": list(self._acted),
            "closing": [msgspec.to_builtins(e) for e in self._closing],
        }

    def _ends(self, explanation: str) -> list[AlarmEvent]:
        return [self._ended(a, explanation, 0, 0) for a, life in enumerate(self._lives) if life.state != "NORM"]

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`, of these or of earlier definitions.

        An alarm whose definition is new or of another version starts normal. One that stood and is gone or changed gets its clear event at
        the next `tick`, which is then due at once. ValueError when the state is not one of `state`.
        """
        try:
            names, versions = list(state["names"]), list(state["versions"])
            detection = {key: np.asarray(state["detection"][key]) for key in self._detection.state()}
            columns = {key: np.asarray(state[key]).tolist() for key in ("state", "suppression", "raised_ns", "last_ns", "status")}
            said, told, standing = state["said"], state["told"], state["standing"]
            closing = [msgspec.convert(e, AlarmEvent) for e in state["closing"]]
            ends = {name: msgspec.convert(e, AlarmEvent) for name, e in standing.items()}
            acted = dict.fromkeys(state["acted"])
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise ValueError(f"alarms: expected a saved state, found {error!r}") from error
        lengths = {len(names), len(versions), *(len(c) for c in columns.values()), *(len(c) for c in detection.values())}
        if len(lengths) != 1:
            raise ValueError(f"alarms: expected columns of one length, found {sorted(lengths)}")
        self._detection.forget()
        self._lives = [_Life() for _ in self._definitions]
        self._told = {}
        self._acted, self._closing = acted, closing
        for row, (name, version) in enumerate(zip(names, versions, strict=True)):
            a = self._index.get(name)
            if a is None or self._definitions[a].version != version:
                if name in ends:
                    why = "definition removed" if a is None else "definition changed"
                    self._closing.append(msgspec.structs.replace(ends[name], explanation=why))
                if a is not None:
                    self._lives[a].raised_ns = columns["raised_ns"][row]
                continue
            self._detection.take(a, detection, row)
            life = self._lives[a]
            life.state, life.suppression = STATES[columns["state"][row]], Suppression(columns["suppression"][row])
            life.raised_ns, life.last_ns, life.status = columns["raised_ns"][row], columns["last_ns"][row], columns["status"][row]
            if name in said:
                life.value, life.explanation, life.acked_by, life.acked_ns = said[name]
            if name in told:
                explanation, value = told[name]
                self._told[a] = explanation, value
