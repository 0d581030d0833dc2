"""Alarms of the gateway itself: copied edges, silent edges, messages nobody can be given. They stand beside those of the edges."""

from __future__ import annotations

from collections.abc import Callable

from edge_agent.core import AlarmEvent, Refused, encode, parse_occurrence_id
from gateway.actions import Actions
from gateway.applying import Applied, Applier
from gateway.journal import ALARM, Entry, Journal
from gateway.query import Asked
from gateway.standing import OVER, Occurrence


class OwnAlarms:
    """Raised, ended and acknowledged here, in the writer thread; their events go into the journal as those of an edge do."""

    def __init__(
        self,
        gateway: str,
        journal: Journal,
        applier: Applier,
        asked: Actions,
        *,
        durably: Callable[[Callable[[], object]], None],
        tell: Callable[[Applied, set[str]], None],
        clock: Callable[[], int],
    ) -> None:
        """`durably` runs a transaction until it is written; `tell` lets the subscribers know."""
        self._gateway, self._journal, self._applier, self._asked = gateway, journal, applier, asked
        self._durably, self._tell, self._clock = durably, tell, clock

    def find(self, name: str, why: str, done: Applied | None = None) -> None:
        """Raise an alarm of the gateway itself, unless one of that name stands; it is acknowledged here and not at an edge."""
        if self._standing(name) is not None:
            return
        now, told = self._clock(), done if done is not None else Applied()
        self._told(self._event(name, "raise", now, OVER, "UNACK", why), told)
        self._told(self._event(name, "clear", now, "UNACK", "RTNUN", why), told)
        if done is None:
            self._tell(told, set())

    def hold(self, name: str, active: bool, why: str) -> None:
        """An alarm of the gateway itself whose condition lasts: raised when it begins and returned when it ends."""
        found, now, told = self._standing(name), self._clock(), Applied()
        state = OVER if found is None else found.state
        raised_ns = now if found is None else found.ordered[0].raised_ns
        if active and state in (OVER, "RTNUN"):
            self._told(self._event(name, "raise", raised_ns, state, "UNACK", why), told)
        elif not active and state in ("UNACK", "ACKED"):
            self._told(self._event(name, "clear", raised_ns, state, "RTNUN" if state == "UNACK" else OVER, why), told)
        self._tell(told, set())

    def _standing(self, name: str) -> Occurrence | None:
        open_ = (o for o in self._applier.standing.open.values() if o.edge == self._gateway and o.ordered[0].alarm == f"gateway/{name}")
        return next(open_, None)

    def _event(self, name: str, event: str, raised_ns: int, before: str, after: str, why: str) -> AlarmEvent:
        now = self._clock()
        return AlarmEvent(
            alarm=f"gateway/{name}", tag="", raised_ns=raised_ns, time_ns=now, received_ns=now, event=event, state_from=before, state_to=after,
            priority=2, explanation=why,
        )  # fmt: skip

    def _told(self, event: AlarmEvent, done: Applied) -> None:
        seq = self._journal.highest(self._gateway, 0) + 1
        id_ = self._applier.standing.take(self._gateway, 0, seq, event)
        entry = Entry(self._gateway, 0, seq, ALARM, event.time_ns, event.received_ns, encode(event), id_)
        state = {id_: (self._gateway, event.raised_ns, event.state_to)}
        found_by = {id_: self._applier.found_by(id_, self._applier.standing.open[id_])}
        self._durably(lambda: self._journal.apply([entry], occurrences=state, found_by=found_by))
        done.occurrences.add(id_)

    def act(self, asked: Asked, id_: str) -> str:
        """Carry out what a person asked of one of them; its id. Refused for what none of them has."""
        if asked.kind not in ("acknowledge", "comment"):
            raise Refused(f"an alarm of the gateway itself has no {asked.kind.replace('_', ' ')}")
        found, _ = self._asked.check(asked)
        assert found is not None
        _, alarm, raised_ns = parse_occurrence_id(asked.occurrence)
        now, done = self._clock(), Applied()
        after = found.state if asked.kind == "comment" else "ACKED" if found.state == "UNACK" else OVER
        self._told(
            AlarmEvent(
                alarm=alarm, tag="", raised_ns=raised_ns, time_ns=now, received_ns=now, event=asked.kind, state_from=found.state,
                state_to=after, priority=found.ordered[0].priority, action_id=id_,
                user=asked.user, role=asked.role, station=asked.station, reason=asked.reason,
            ),
            done,
        )  # fmt: skip
        self._tell(done, set())
        return id_
