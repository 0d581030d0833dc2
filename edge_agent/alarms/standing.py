"""All alarms of one edge: what stands, what people did about it, and the events that tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent.alarms.detect import REQUIRED, Detection, Found, delay_ns
from edge_agent.alarms.flood import Flood
from edge_agent.alarms.kernels import NEVER
from edge_agent.alarms.lives import SHELVED_UNTIL, Lives, calls
from edge_agent.alarms.refusals import impossible, other_occurrence
from edge_agent.alarms.rules import AlarmRules
from edge_agent.alarms.saved import lives_from, lives_state
from edge_agent.alarms.states import Suppression
from edge_agent.alarms.words import condition_words, expression_words, over_words
from edge_agent.core import MODES, AlarmDefinition, AlarmEvent, Catalogue, OperatorAction, Samples
from edge_agent.core.tag import JUDGED_MODES, UNMODED

REMEMBERED_ACTIONS: Final = 4096
"""Operator actions whose repetition is recognised; an older one would be refused by the state of its alarm."""
AT_ONCE: Final = 0
"""The due time when `tick` has something to say whatever the time."""
FLOOD: Final = "edge/flood"
"""The alarm that says that alarms come faster than people can act."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm that is not normal, as a status page shows it."""

    alarm: str
    tag: str
    state: str
    """As shown: a suppression lies over the state of life."""
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
    met: bool = True
    """Whether the condition is met, also under a suppression."""
    until_ns: int | None = None
    """When its shelving ends."""
    one_shot: bool = False
    permit: str = ""
    why: str = ""
    """Reason of its suppression."""
    held: str = ""
    """The mode of its unit in which its limit is not judged, so that it stands as it last was; empty while it is judged."""


class Alarms:
    """Every alarm of the edge: detection, states, suppressions, what people do.

    A function of the rows, ticks, conditions, contexts and actions it is given, in their order: no clock, no I/O. However samples of one
    received time are cut into calls, the events and the state are the same.
    """

    def __init__(self, definitions: Sequence[AlarmDefinition], catalogue: Catalogue, rules: AlarmRules | None = None) -> None:
        """ValueError when a definition names no numeric tag, lacks what its kind needs, or a name comes twice."""
        self._definitions = tuple(definitions)
        self._rules = AlarmRules() if rules is None else rules
        self._lives = Lives(self._definitions)
        self._index = self._lives.index
        self._detection = Detection(self._definitions, catalogue)
        tags = [catalogue.get(d.tag) for d in self._definitions]
        self._decimals = [2 if tag is None else tag.decimals for tag in tags]
        self._units = [d.unit or ("" if tag is None else tag.unit) for d, tag in zip(self._definitions, tags, strict=True)]
        self._classes = ["other" if tag is None else tag.class_ for tag in tags]
        self._paths = ["" if tag is None else tag.unit_path for tag in tags]
        self._told: dict[int, tuple[str, float | None]] = {}  # what a running condition was reported with
        self._acted: dict[str, None] = {}
        self._closing: list[AlarmEvent] = []
        self._context: dict[str, str] = {}
        self._flood = Flood(self._rules)
        self._moded = [a for a, d in enumerate(self._definitions) if d.suppress_modes]
        self._phased = [a for a, d in enumerate(self._definitions) if d.phase_limits]
        self._review = False

    @property
    def definitions(self) -> tuple[AlarmDefinition, ...]:
        """The alarms, in the order in which they are numbered."""
        return self._definitions

    # -- conditions -------------------------------------------------------------------------------------------------------------

    def step(self, samples: Samples, usable: NDArray[np.uint8]) -> list[tuple[int, AlarmEvent]]:
        """Evaluate n rows in order and return (row, event) pairs; `usable` (n,) uint8: 1 = evaluate, 0 = hold (bad quality, wrong mode)."""
        return [(found.row, event) for found in self.detect(samples, usable) for event in self.turned(found, samples)]

    def detect(self, samples: Samples, usable: NDArray[np.uint8]) -> list[Found]:
        """The first half of `step`: what turns in n rows; each is then given to `turned`, in the order of all rows received together."""
        return self._detection.step(samples, usable)

    def turned(self, found: Found, samples: Samples, received_ns: int | None = None) -> list[AlarmEvent]:
        """The second half of `step`: the events of one thing found, in samples received together or at `received_ns`."""
        return self._turned(found, (int(samples.time_ns[found.row]), samples.received_ns if received_ns is None else received_ns))

    def watches(self, tag: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which rows feed an alarm."""
        return self._detection.watches(tag)

    def pass_over(
        self, part: int, row: int, until: int, parts: NDArray[np.int64], rows: Samples, usable: NDArray[np.uint8], tick_ns: int
    ) -> tuple[int, int, list[Found]]:
        """`detect` for parts of rows, each received at its own time: see `Detection.pass_over`."""
        return self._detection.pass_over(part, row, until, parts, rows, usable, tick_ns, self._other_ns)

    def tick(self, tick_ns: int) -> list[AlarmEvent]:
        """End the delays, shelvings and waits that are over at this tick; the events' time is the tick."""
        at = tick_ns, tick_ns
        out = [msgspec.structs.replace(event, time_ns=tick_ns, received_ns=tick_ns) for event in self._closing]
        self._closing.clear()
        if self._review:
            out += self._moded_all(at)
        for found in self._detection.tick(tick_ns):
            out += self._turned(found, at)
        out += self._called(self._lives.due(tick_ns, reviewed=self._review), at)
        self._review = False
        if self._flood.due_ns <= tick_ns:
            first = self._flood.first
            count = self._flood.over()
            out += self._flooded(active=False, at=at, why=f"over: {count} alarms, the first was {first}", value=float(count))
        return out

    @property
    def due_ns(self) -> int:
        """The earliest tick at which `tick` could act; 2**63 - 1 when there is none."""
        return min(self._detection.due_ns, self._other_ns)

    @property
    def _other_ns(self) -> int:
        """The same without the delays of conditions."""
        if self._closing or self._review:
            return AT_ONCE
        timers = self._lives.timers
        return min(int(timers.min()) if len(timers) else NEVER, self._flood.due_ns)

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
            return self._turned(found, (time_ns, received_ns))
        if self._detection.due[a] == NEVER:
            self._told.pop(a, None)
        elif a not in self._told or active:
            self._told[a] = explanation, value
        return []

    def _turned(self, found: Found, at: tuple[int, int]) -> list[AlarmEvent]:
        a, d = found.alarm, self._lives.definitions[found.alarm]
        value: float | None
        if self._detection.is_condition(a):
            told, value = self._told.pop(a, ("", None))
            words = told or condition_words(d, met=found.met)
        elif d.kind == "expression":
            value, words = None, expression_words(d, met=found.met)
        else:
            value = found.compared
            words = over_words(d, found, self._units[a], self._decimals[a])
        return self._called(
            self._lives.turned(a, met=found.met, first_ns=found.first_ns, value=value, status=found.status, explanation=words, at=at), at
        )

    def _called(self, events: list[AlarmEvent], at: tuple[int, int]) -> list[AlarmEvent]:
        out = list(events)
        for event in events:
            if calls(event) and self._flood.called(event.alarm, at[1]):
                why = f"{self._flood.count} alarms in {self._rules.flood_span_s / 60:g} min, first {self._flood.first}"
                out += self._flooded(active=True, at=at, why=why, value=float(self._flood.count))
        return out

    def _flooded(self, *, active: bool, at: tuple[int, int], why: str, value: float) -> list[AlarmEvent]:
        return self.condition(FLOOD, active, *at, explanation=why, value=value) if FLOOD in self._index else []

    # -- what the units are doing -----------------------------------------------------------------------------------------------

    def context(self, unit: str, role: str, value: str, time_ns: int, received_ns: int) -> list[AlarmEvent]:
        """A unit is now in this mode or phase: suppressions by design and limits follow."""
        if role not in ("mode", "phase"):
            return []
        key = f"{unit}\n{role}"
        self._context.pop(key, None)  # a later word about a part of a unit holds over an earlier one about the whole
        self._context[key] = value.strip().lower() if role == "mode" else value.strip()
        at = time_ns, received_ns
        if role == "mode":
            return self._moded_all(at)
        out: list[AlarmEvent] = []
        for a in self._phased:
            found = self._detection.relimited(a, self._limit(a), time_ns, received_ns)
            if found is not None:
                out += self._turned(found, at)
        return out

    def modes(self, modes: Mapping[str, str], time_ns: int, received_ns: int) -> list[AlarmEvent]:
        """The units are now in these modes, units before their parts; what was said of modes before no longer counts."""
        phases = {key: value for key, value in self._context.items() if not key.endswith("\nmode")}
        self._context = phases | {f"{unit}\nmode": value.strip().lower() for unit, value in modes.items()}
        return self._moded_all((time_ns, received_ns))

    def _limit(self, a: int) -> float | None:
        d = self._definitions[a]
        limit = d.phase_limits.get(self._of_unit(a, "phase"), d.limit)
        self._lives.definitions[a] = msgspec.structs.replace(d, limit=limit)
        return limit

    def _moded_all(self, at: tuple[int, int]) -> list[AlarmEvent]:
        out: list[AlarmEvent] = []
        for a, mode in self._switched():
            out += self._called(self._lives.moded(a, mode, at, suppress=mode in self._definitions[a].suppress_modes), at)
        return out

    def _switched(self) -> list[tuple[int, str]]:
        modes = [(a, self._of_unit(a, "mode")) for a in self._moded]
        return [(a, mode) for a, mode in modes if (mode in self._definitions[a].suppress_modes) != self._lives.lives[a].by_mode]

    def _of_unit(self, a: int, role: str) -> str:
        path, now = self._paths[a], ""
        for key, value in self._context.items():
            unit, _, what = key.partition("\n")
            if what == role and (path == unit or path.startswith(unit + "/")):
                now = value
        return now

    # -- what people do ---------------------------------------------------------------------------------------------------------

    def act(self, action: OperatorAction, received_ns: int) -> list[AlarmEvent]:
        """Carry out or refuse what an operator asked for: one event that cites the action, none when its id was seen before.

        An unshelving may be followed by events of alarms that were suppressed as its consequences.
        """
        if action.id in self._acted:
            return []
        self._acted[action.id] = None
        while len(self._acted) > REMEMBERED_ACTIONS:
            del self._acted[next(iter(self._acted))]
        a = self._index.get(action.alarm)
        at = action.time_ns, received_ns
        refusal = "there is no alarm of this name" if a is None else self._refusal(a, action, received_ns)
        if a is None or refusal:
            return [self._refused(a, action, refusal, at)]
        return self._called(self._done(a, action, at), at)

    def _done(self, a: int, action: OperatorAction, at: tuple[int, int]) -> list[AlarmEvent]:
        lives, life = self._lives, self._lives.lives[a]
        cited: dict[str, Any] = {"action": action, "reason": action.reason}
        if action.kind == "acknowledge" or action.kind == "reset":
            return [lives.acted(a, action.kind, action, at)]
        if action.kind == "unshelve":
            return lives.uncover(a, Suppression.SHELVED, at, explanation=f"by {action.user}", **cited)
        if action.kind == "in_service":
            return lives.uncover(a, Suppression.OUT_OF_SERVICE, at, explanation=f"by {action.user}", **cited)
        if action.kind == "comment":
            return [lives.event(a, "comment", life.shown, at, **cited)]
        if action.kind == "out_of_service":
            event = lives.cover(a, Suppression.OUT_OF_SERVICE, at, why=action.reason, **cited)
            life.permit = action.permit
            return [msgspec.structs.replace(event, permit=action.permit), *lives.settle(a, at)]
        rule = self._rules.shelve_rule(self._definitions[a].priority, self._classes[a])
        longest = 0.0 if rule is None else rule.max_s
        until = at[1] + delay_ns(longest if action.duration_s is None else action.duration_s)
        event = lives.cover(a, Suppression.SHELVED, at, why=action.reason, **cited)
        lives.timers[a, SHELVED_UNTIL] = until
        life.one_shot = action.one_shot
        return [msgspec.structs.replace(event, until_ns=until, one_shot=action.one_shot), *lives.settle(a, at)]

    def _refusal(self, a: int, action: OperatorAction, received_ns: int) -> str:
        life, d = self._lives.lives[a], self._definitions[a]
        return (
            self._rules.refusal(action, d.priority, self._classes[a], received_ns)
            or other_occurrence(life, action)
            or impossible(life, action, latching=d.latching)
        )

    def _refused(self, a: int | None, action: OperatorAction, reason: str, at: tuple[int, int]) -> AlarmEvent:
        if a is None:
            return AlarmEvent(
                alarm=action.alarm, tag="", raised_ns=action.raised_ns, time_ns=at[0], received_ns=at[1], event="refuse",
                state_from="NORM", state_to="NORM", priority=4, explanation=reason, action_id=action.id, user=action.user, role=action.role,
                station=action.station, reason=reason,
            )  # fmt: skip
        event = self._lives.event(a, "refuse", self._lives.lives[a].shown, at, action=action, reason=reason, explanation=reason)
        if action.raised_ns == event.raised_ns:
            return event
        # It is about another occurrence, and each but the newest is over.
        return msgspec.structs.replace(event, raised_ns=action.raised_ns, state_from="NORM", state_to="NORM")

    # -- what is kept -----------------------------------------------------------------------------------------------------------

    def standing(self) -> list[Standing]:
        """Every alarm that is not normal, in the order of the definitions."""
        return [
            Standing(
                alarm=d.name, tag=d.tag, state=life.shown, suppression=int(life.suppression), priority=d.priority, advisory=d.advisory,
                raised_ns=life.raised_ns, last_ns=life.last_ns, value=life.value, limit=d.limit, unit=self._units[a],
                explanation=life.explanation, acked_by=life.acked_by, acked_ns=life.acked_ns, met=life.met,
                until_ns=None if self._lives.timers[a, SHELVED_UNTIL] == NEVER else int(self._lives.timers[a, SHELVED_UNTIL]),
                one_shot=life.one_shot, permit=life.permit, why=life.why, held=self._held(a),
            )
            for a, (d, life) in enumerate(zip(self._lives.definitions, self._lives.lives, strict=True))
            if life.shown != "NORM"
        ]  # fmt: skip

    def _held(self, a: int) -> str:
        mode = self._of_unit(a, "mode")
        judged = self._detection.is_condition(a) or self._classes[a] in UNMODED or mode not in MODES or mode in JUDGED_MODES
        return "" if judged else mode

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, for `core.pack`; independent copies."""
        return {
            "detection": self._detection.state(),
            **lives_state(self._lives),
            "told": {self._definitions[a].name: list(told) for a, told in self._told.items()},
            "acted": list(self._acted),
            "closing": [msgspec.to_builtins(e) for e in self._closing],
            "context": dict(self._context),
            "flood": self._flood.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state of `state`, of these or of earlier definitions.

        An alarm whose definition is new or of another version starts normal. One that stood and is gone or changed gets its clear event at
        the next `tick`, which is then due at once. ValueError when the state is not one of `state`.
        """
        try:
            kept = state["detection"]
            detection = {key: np.asarray(kept[key]) for key in self._detection.state() if key in kept or key in REQUIRED}
            told = state["told"]
            closing = [msgspec.convert(e, AlarmEvent) for e in state["closing"]]
            acted = dict.fromkeys(state["acted"])
            lives = Lives(self._definitions)
            same, ended = lives_from(lives, state)
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise ValueError(f"alarms: expected a saved state, found {error!r}") from error
        lengths = {len(state["names"]), *(len(c) for c in detection.values())}
        if len(lengths) != 1:
            raise ValueError(f"alarms: expected columns of one length, found {sorted(lengths)}")
        self._detection.forget()
        self._lives, self._told, self._acted, self._closing = lives, {}, acted, [*closing, *ended]
        for row, a in same:
            self._detection.take(a, detection, row)
            name = self._definitions[a].name
            if name in told:
                explanation, value = told[name]
                self._told[a] = explanation, value
        self._context = dict(state.get("context", {}))
        if "flood" in state:
            self._flood.restore(state["flood"])
        for a in self._phased:
            self._detection.limited(a, self._limit(a))
        self._review = bool(self._switched() or self._lives.orphans())
