"""What people asked of alarms: checked, kept until an event of the edge cites it, and what became of it.

The edge decides; what can be seen here to be impossible is refused at once, so that nobody waits for an answer that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from edge_agent.core import OperatorAction, PharmedgeError, Refused, UnitMode, parse_occurrence_id
from edge_agent.core.alarm import TO_ACKNOWLEDGE, ActionKind
from gateway.applying import Applier
from gateway.audit import Actor
from gateway.journal import Journal, Outcome
from gateway.query import Asked, Maintained, ModeAsked, NotFound
from gateway.rows import ActionRow
from gateway.standing import OVER, Occurrence, pending_row
from gateway.units import subject, units

MACHINE: Final = "machine:"
"""What an action about a machine is about begins with this, where actions about alarms have an occurrence."""
LAYS: Final = {"shelve": "shelved", "out_of_service": "out_of_service"}
LIFTS: Final = {"unshelve": "shelved", "in_service": "out_of_service"}


class Actions:
    """Outstanding operator actions in memory as in the journal. The writer thread asks and settles; any thread may look."""

    def __init__(self, journal: Journal, applier: Applier, clock: Callable[[], int]) -> None:
        self._journal, self._applier, self._clock = journal, applier, clock
        self._open: dict[str, tuple[OperatorAction, str, str]] = {a.id: (a, edge, of) for a, edge, of in journal.actions()}

    def of_edge(self, edge: str) -> list[OperatorAction]:
        """Outstanding actions of an edge, oldest first."""
        return [action for action, of, _ in list(self._open.values()) if of == edge]

    def of_occurrence(self, occurrence: str) -> list[OperatorAction]:
        """Outstanding actions about an occurrence, oldest first."""
        return [action for action, _, of in list(self._open.values()) if of == occurrence] if self._open else []

    def by_occurrence(self) -> dict[str, list[OperatorAction]]:
        """All outstanding actions."""
        found: dict[str, list[OperatorAction]] = {}
        for action, _, of in list(self._open.values()):
            found.setdefault(of, []).append(action)
        return found

    def check(self, asked: Asked) -> tuple[Occurrence | None, str]:
        """The occurrence, and the id of the same wish when it is outstanding already.

        NotFound for an unknown alarm, ValueError for no user, Refused for what is known to be impossible.
        """
        if not asked.user.strip():
            raise ValueError("user: expected a name, found none")
        edge, alarm, raised_ns = _parsed(asked.occurrence)
        found = self._applier.occurrence(asked.occurrence) if raised_ns else None
        if raised_ns == 0:
            self._check_normal(asked, edge, alarm)
        elif found is None:
            raise NotFound(f"alarm occurrence: expected a known one, found {asked.occurrence!r}")
        for action in self.of_occurrence(asked.occurrence) if asked.kind != "comment" else ():
            if action.kind == asked.kind:
                if action.user == asked.user:
                    if _terms(action) != _terms(asked):
                        raise Refused("your earlier wish still waits for the edge; ask again when it has answered")
                    return found, action.id
                raise Refused(f"{action.user} has just asked for the same: {asked.kind.replace('_', ' ')}")
        if found is not None:
            laid: set[str] = {e.overlay for e in self._applier.standing.suppressions(edge, alarm, found.state)}
            refusal = _refusal(asked.kind, found.state, laid)
            if refusal:
                raise Refused(refusal)
        return found, ""

    def _check_normal(self, asked: Asked, edge: str, alarm: str) -> None:
        known = self._applier.catalogue.edges.get(edge)
        if known is None or alarm not in known.alarms:
            raise NotFound(f"alarm: expected one that {edge} has defined, found {alarm!r}")
        if asked.kind not in LAYS:
            raise Refused(f"the alarm does not stand, there is nothing to {asked.kind.replace('_', ' ')}")
        if any(o.edge == edge and o.state != OVER and o.ordered[0].alarm == alarm for o in list(self._applier.standing.open.values()) if o.events):
            raise Refused("the alarm was raised meanwhile")

    def ask(self, wishes: Sequence[tuple[Asked, str]]) -> list[str | PharmedgeError]:
        """Write down many at once; the id of each, or why not. Each wish comes with the id that its action shall have."""
        found: list[str | PharmedgeError] = []
        new: list[tuple[OperatorAction, str, str]] = []
        now, taken = self._clock(), set()
        for asked, id_ in wishes:
            try:
                same = self.check(asked)[1]
            except PharmedgeError as error:
                found.append(error)
                continue
            if same or (asked.kind, asked.occurrence) in taken:
                found.append(same or Refused("asked for twice at once"))
                continue
            taken.add((asked.kind, asked.occurrence))
            edge, alarm, raised_ns = parse_occurrence_id(asked.occurrence)
            action = OperatorAction(
                id=id_, kind=asked.kind, alarm=alarm, raised_ns=raised_ns, user=asked.user, role=asked.role, station=asked.station,
                reason=asked.reason, time_ns=now, duration_s=asked.duration_s, one_shot=asked.one_shot, permit=asked.permit,
                second_user=asked.second_user, second_role=asked.second_role,
            )  # fmt: skip
            new.append((action, edge, asked.occurrence))
            found.append(id_)
        if new:
            self._journal.apply(actions=new)
            self._open |= {action.id: (action, edge, of) for action, edge, of in new}
        return found

    def ask_mode(self, asked: ModeAsked, id_: str) -> str:
        """Write down what a person asks of the mode of a unit; its id, or that of the same wish that is outstanding."""
        known = self._applier.catalogue.edges.get(asked.edge)
        if known is None or asked.unit not in units(known):
            raise NotFound(f"unit: expected one of edge {asked.edge}, found {asked.unit!r}")
        if not asked.user.strip():
            raise ValueError("user: expected a name, found none")
        now = self._clock()
        if asked.mode and (asked.until_ns is None or asked.until_ns <= now):
            raise Refused("a mode needs an end that is still to come")
        if asked.mode and not asked.reason.strip():
            raise Refused("a mode needs a reason")
        about = subject(asked.edge, asked.unit)
        wanted = UnitMode(unit=asked.unit, mode=asked.mode, until_ns=asked.until_ns if asked.mode else None)
        for action in self.of_occurrence(about):
            if action.unit_mode == wanted and action.user == asked.user:
                return action.id
        kind: ActionKind = "set_mode" if asked.mode else "withdraw_mode"
        action = OperatorAction(
            id=id_, kind=kind, alarm="", raised_ns=0, user=asked.user, role=asked.role, station=asked.station, reason=asked.reason, time_ns=now,
            unit_mode=wanted,
        )  # fmt: skip
        self._journal.apply(actions=[(action, asked.edge, about)])
        self._open[id_] = (action, asked.edge, about)
        return id_

    def ask_maintained(self, said: Maintained, by: Actor) -> str:
        """Write down what people found where an edge had advised maintenance, once for each id; its id."""
        edge, id_ = said.edge, said.id
        if id_ in self._open or self._journal.outcome(id_) is not None:
            return id_
        about = f"{MACHINE}{edge}/{said.subject}"
        action = OperatorAction(
            id=id_, kind=said.kind, alarm=said.subject, raised_ns=said.advised_ns, user=by.user, role=by.role, station=by.station,
            reason=said.remark, time_ns=self._clock(),
        )  # fmt: skip
        self._journal.apply(actions=[(action, edge, about)])
        self._open[id_] = (action, edge, about)
        return id_

    def settle(self, settled: Mapping[str, Outcome]) -> set[str]:
        """Events have cited these; the occurrences that the people who asked had before them."""
        gone = [self._open.pop(id_, None) for id_ in settled]
        return {row[2] for row in gone if row is not None}

    def row(self, action_id: str) -> ActionRow:
        """What became of an action; NotFound for one that was not asked for here."""
        waiting = self._open.get(action_id)
        if waiting is not None:
            return {**pending_row(waiting[0]), "occurrence": waiting[2], "state": "pending", "reason": "", "settled_ns": None}
        found = self._journal.outcome(action_id)
        if found is None:
            raise NotFound(f"action: expected one that was asked for here, found {action_id!r}")
        action, outcome = found
        return {
            **pending_row(action),
            "occurrence": outcome.occurrence,
            "state": "refused" if outcome.event == "refuse" else "done",
            "reason": outcome.reason,
            "settled_ns": outcome.time_ns,
        }


def _terms(wish: Asked | OperatorAction) -> tuple[object, ...]:
    """What makes two wishes of one person about one alarm the same."""
    return wish.reason, wish.duration_s, wish.one_shot, wish.permit, wish.second_user, wish.second_role


def _parsed(occurrence: str) -> tuple[str, str, int]:
    try:
        return parse_occurrence_id(occurrence)
    except ValueError as error:
        raise NotFound(str(error)) from error


def _refusal(kind: str, state: str, laid: set[str]) -> str:
    """Why this cannot be asked of an alarm in this state, or nothing."""
    if kind == "acknowledge" and state not in TO_ACKNOWLEDGE:
        return f"the alarm is {state} and has nothing to acknowledge"
    if kind == "reset" and state != "LATACK":
        return f"the alarm is {state} and has nothing to reset"
    if kind in LAYS and LAYS[kind] in laid:
        return "it is shelved already" if kind == "shelve" else "it is out of service already"
    if kind in LIFTS and LIFTS[kind] not in laid:
        return "it is not shelved" if kind == "unshelve" else "it is not out of service"
    return ""
