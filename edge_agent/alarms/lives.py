"""Where every alarm is in its life, what lies over it, and which alarms are consequences of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from edge_agent.alarms.detect import delay_ns
from edge_agent.alarms.kernels import NEVER
from edge_agent.alarms.states import COVERED, OVERLAYS, Cause, Suppression, after, shown
from edge_agent.core import AlarmDefinition, AlarmEvent, OperatorAction
from edge_agent.core.alarm import ACTIVE, ANNUNCIATED, Overlay, State

RE_ALARM, SHELVED_UNTIL = range(2)
NAMES: dict[Suppression, Overlay] = {flag: name for flag, name, _ in OVERLAYS}


@dataclass(slots=True)
class Life:
    """Where one alarm is in its life."""

    state: State = "NORM"
    suppression: Suppression = Suppression.NONE
    raised_ns: int = -1
    """Raise time of the current or latest occurrence, or when it was suppressed without one; -1 before the first."""
    last_ns: int = 0
    value: float | None = None
    status: int = 0
    explanation: str = ""
    acked_by: str = ""
    acked_ns: int | None = None
    by_mode: bool = False
    """The mode of its unit suppresses it by design."""
    by: int = -1
    """The alarm whose consequence it is, which suppresses it by design."""
    one_shot: bool = False
    permit: str = ""
    why: str = ""
    """Reason of the latest suppression."""
    causing: bool = False
    """Stands and is shown: what follows from it may be suppressed."""

    @property
    def shown(self) -> str:
        """The state an operator is shown."""
        return shown(self.state, self.suppression)

    @property
    def met(self) -> bool:
        """Whether the condition is met."""
        return self.state in ACTIVE


class Lives:
    """The lives of all alarms; every change returns its events."""

    def __init__(self, definitions: Sequence[AlarmDefinition]) -> None:
        self.definitions = list(definitions)
        """As they hold now: the limit may follow the phase of the unit."""
        self.index = {d.name: a for a, d in enumerate(self.definitions)}
        if len(self.index) != len(self.definitions):
            raise ValueError("alarms: expected unique names, found a name twice")
        self.lives = [Life() for _ in self.definitions]
        self.timers = np.full((len(self.definitions), 2), NEVER, np.int64)
        self.first: dict[str, int] = {}
        """The alarm that was first in each group of which one stands."""
        self._members: dict[str, list[int]] = {}
        self._consequences: dict[int, list[int]] = {}
        for a, d in enumerate(self.definitions):
            if d.group:
                self._members.setdefault(d.group, []).append(a)
            for name in d.suppressed_by:
                self._consequences.setdefault(self._suppressor(d, name), []).append(a)

    def _suppressor(self, d: AlarmDefinition, name: str) -> int:
        a = self.index.get(name)
        if a is None or name == d.name:
            raise ValueError(f"alarm {d.name}: suppressed_by: expected the name of another alarm, found {name!r}")
        if self.definitions[a].suppressed_by or self.definitions[a].when_not_first == "suppress":
            # Otherwise a cause could hide behind its own consequence.
            raise ValueError(f"alarm {d.name}: suppressed_by: expected an alarm that no other one suppresses, found {name!r}")
        return a

    # -- what happens -----------------------------------------------------------------------------------------------------------

    def turned(
        self, a: int, *, met: bool, first_ns: int, value: float | None, status: int, explanation: str, at: tuple[int, int]
    ) -> list[AlarmEvent]:
        """The condition of alarm a is now met, or over; `at`: (time_ns, received_ns)."""
        life, d = self.lives[a], self.definitions[a]
        before = life.shown
        out: list[AlarmEvent] = []
        if met:
            if before != "NORM":
                # The occurrence that was never acknowledged or reset ends here: people act on the newest one only.
                out.append(self.ended(a, "superseded: the alarm was raised again", at))
            # An occurrence is known by its raise time, so no two may share one.
            life.raised_ns = max(first_ns, life.raised_ns + 1)
            life.acked_by, life.acked_ns = "", None
        else:
            self.timers[a, RE_ALARM] = NEVER
        life.value, life.status, life.explanation, life.last_ns = value, status, explanation, at[0]
        if met and life.by < 0 and (cause := self._cause_of(a)) >= 0:
            out += self._designed_by(a, cause, at, before="NORM")
            before = life.shown
        cause_: Cause = "raise" if met else "clear"
        life.state = after(life.state, cause_, latching=d.latching, suppression=life.suppression)
        told = self.event(a, cause_, before, at)
        if met and d.group:
            told = msgspec.structs.replace(told, group=d.group, first_out=self._is_first(a))
        out.append(told)
        if not met and life.one_shot and life.suppression & Suppression.SHELVED:
            out += self.uncover(a, Suppression.SHELVED, at, explanation="one shot: the condition is over")
        if d.group and not met:
            self.forget_first()
        return out + self.settle(a, at)

    def _is_first(self, a: int) -> bool:
        group = self.definitions[a].group
        if group in self.first or self.lives[a].suppression:
            return False
        self.first[group] = a
        return True

    def forget_first(self) -> None:
        """Where no alarm of a group stands, the next one will be the first."""
        for group in [g for g, a in self.first.items() if self.definitions[a].group != g or not any(self.lives[m].met for m in self._members[g])]:
            del self.first[group]

    def orphans(self) -> list[int]:
        """Alarms that are suppressed by design although neither a mode nor an alarm that stands asks for it: after a change of definitions."""
        return [
            a
            for a, life in enumerate(self.lives)
            if life.suppression & Suppression.DESIGNED and not life.by_mode and not (life.by >= 0 and self.lives[life.by].causing)
        ]

    def _cause_of(self, a: int) -> int:
        d = self.definitions[a]
        for name in d.suppressed_by:
            if self.lives[self.index[name]].causing:
                return self.index[name]
        first = self.first.get(d.group, a) if d.when_not_first == "suppress" else a
        return first if first != a and self.lives[first].causing else -1

    def settle(self, a: int, at: tuple[int, int]) -> list[AlarmEvent]:
        """Suppress or uncover the consequences of alarm a where it began or ceased to stand visibly."""
        life, d = self.lives[a], self.definitions[a]
        causing = life.met and not life.suppression
        if causing == life.causing:
            return []
        life.causing = causing
        out: list[AlarmEvent] = []
        if causing:
            for b in self._consequences.get(a, ()):
                if self.lives[b].met and self.lives[b].by < 0:
                    out += self._designed_by(b, a, at)
                    out += self.settle(b, at)
            return out
        followers = [*self._consequences.get(a, ()), *(self._members[d.group] if d.group else ())]
        for b in dict.fromkeys(followers):
            if self.lives[b].by == a:
                self.lives[b].by = self._cause_of(b)
                if self.lives[b].by < 0 and not self.lives[b].by_mode:
                    out += self.uncover(b, Suppression.DESIGNED, at, explanation=f"{d.name} no longer explains it")
        return out

    def _designed_by(self, a: int, cause: int, at: tuple[int, int], before: str = "") -> list[AlarmEvent]:
        self.lives[a].by = cause
        if self.lives[a].suppression & Suppression.DESIGNED:
            return []
        return [self.cover(a, Suppression.DESIGNED, at, why=f"consequence of {self.definitions[cause].name}", before=before)]

    def moded(self, a: int, mode: str, at: tuple[int, int], *, suppress: bool) -> list[AlarmEvent]:
        """The mode of its unit begins or ceases to suppress alarm a by design."""
        life = self.lives[a]
        if suppress == life.by_mode:
            return []
        life.by_mode = suppress
        if suppress:
            if life.suppression & Suppression.DESIGNED:
                return []
            return [self.cover(a, Suppression.DESIGNED, at, why=f"the unit is in {mode}"), *self.settle(a, at)]
        return [] if life.by >= 0 else self.uncover(a, Suppression.DESIGNED, at, explanation=f"the unit is in {mode}")

    def cover(self, a: int, flag: Suppression, at: tuple[int, int], *, why: str, before: str = "", **told: Any) -> AlarmEvent:
        """Lay a suppression over alarm a; one that did not stand gets an occurrence of its own, so that it is listed."""
        life = self.lives[a]
        shown_before = before or life.shown
        if life.shown == "NORM" and not before:
            life.raised_ns = max(at[1], life.raised_ns + 1)
            life.value, life.status, life.explanation = None, 0, ""
            life.acked_by, life.acked_ns = "", None
        if not life.suppression:
            life.state = COVERED[life.state]
            self.timers[a, RE_ALARM] = NEVER
        life.suppression |= flag
        life.why, life.last_ns = why, at[0]
        return msgspec.structs.replace(self.event(a, "suppress", shown_before, at, explanation=why, **told), overlay=NAMES[flag])

    def uncover(self, a: int, flag: Suppression, at: tuple[int, int], *, explanation: str, **told: Any) -> list[AlarmEvent]:
        """Take a suppression off alarm a: where it was the last, the alarm stands anew or is normal."""
        life = self.lives[a]
        before = life.shown
        life.suppression &= ~flag
        life.last_ns = at[0]
        if flag & Suppression.SHELVED:
            self.timers[a, SHELVED_UNTIL] = NEVER
            life.one_shot = False
        if flag & Suppression.OUT_OF_SERVICE:
            life.permit = ""
        if not life.suppression:
            life.acked_by, life.acked_ns, life.why = "", None, ""
        told_ = self.event(a, "unsuppress", before, at, explanation=explanation, **told)
        return [msgspec.structs.replace(told_, overlay=NAMES[flag]), *self.settle(a, at)]

    def acted(self, a: int, cause: Cause, action: OperatorAction, at: tuple[int, int]) -> AlarmEvent:
        """Acknowledge or reset alarm a; TransitionError where the table does not allow it."""
        life, d = self.lives[a], self.definitions[a]
        before = life.state
        life.state = after(before, cause, latching=d.latching, suppression=life.suppression)
        life.last_ns = at[0]
        if cause == "acknowledge":
            life.acked_by, life.acked_ns = action.user, action.time_ns
            if life.state == "ACKED" and d.re_alarm_s > 0:
                self.timers[a, RE_ALARM] = at[1] + delay_ns(d.re_alarm_s)
        return self.event(a, cause, before, at, action=action, reason=action.reason)

    def due(self, tick_ns: int, *, reviewed: bool = False) -> list[AlarmEvent]:
        """End shelvings whose time is up and call again what was acknowledged long ago; `reviewed`: and what suppresses for no reason."""
        out: list[AlarmEvent] = []
        at = tick_ns, tick_ns
        for a in self.orphans() if reviewed else ():
            self.lives[a].by = -1
            out += self.uncover(a, Suppression.DESIGNED, at, explanation="nothing explains it any more")
        for a in np.flatnonzero(self.timers[:, SHELVED_UNTIL] <= tick_ns).tolist():
            out += self.uncover(a, Suppression.SHELVED, at, explanation="the time is up")
        for a in np.flatnonzero(self.timers[:, RE_ALARM] <= tick_ns).tolist():
            life = self.lives[a]
            self.timers[a, RE_ALARM] = NEVER
            before = life.state
            life.state = after(before, "re_alarm", latching=self.definitions[a].latching)
            life.last_ns = tick_ns
            life.acked_by, life.acked_ns = "", None
            out.append(self.event(a, "re_alarm", before, at))
        return out

    # -- what is told -----------------------------------------------------------------------------------------------------------

    def ended(self, a: int, explanation: str, at: tuple[int, int]) -> AlarmEvent:
        """The event that closes the present occurrence of alarm a."""
        return msgspec.structs.replace(self.event(a, "clear", self.lives[a].shown, at), state_to="NORM", explanation=explanation)

    def event(
        self, a: int, event: str, before: str, at: tuple[int, int], *, action: OperatorAction | None = None, reason: str = "", explanation: str = ""
    ) -> AlarmEvent:
        """What is told of alarm a, which was shown as `before`."""
        life, d = self.lives[a], self.definitions[a]
        told = AlarmEvent(
            alarm=d.name, tag=d.tag, raised_ns=life.raised_ns, time_ns=at[0], received_ns=at[1], event=event, state_from=before,
            state_to=life.shown, priority=d.priority, advisory=d.advisory, value=life.value, limit=d.limit, status=life.status,
            explanation=explanation or life.explanation, reason=reason,
        )  # fmt: skip
        if action is None:
            return told
        return msgspec.structs.replace(
            told, action_id=action.id, user=action.user, role=action.role, station=action.station, second_user=action.second_user,
            second_role=action.second_role,
        )  # fmt: skip


def calls(event: AlarmEvent) -> bool:
    """Whether an event calls the operator: the alarm sounds now and did not before."""
    return not event.advisory and event.event in ("raise", "re_alarm", "unsuppress") and event.state_to in ANNUNCIATED
