"""From committed alarm events to messages: a pure function of the events, the time passed in and what came before.

An alarm that is raised begins the steps of every rule that covers it. A step that becomes due puts the alarm into the group of each of its receivers,
once for each (occurrence, step, receiver); a group becomes one message when its time is over, the limit of its receiver allows it and no earlier
message is stuck there. Nothing is left out: what may not go now is in the next message.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from edge_agent.core import AlarmEvent, occurrence_id
from edge_agent.core.alarm import ACTIVE, TO_ACKNOWLEDGE
from gateway.notify.receiver import Item, Message, ReceiverConfig
from gateway.notify.rules import Calendar, Rule

ITEMS: Final = 100
"""Alarms told one by one in a message; the others are counted in it."""
OVER: Final = "NORM"
LATCHED: Final = "LATACK"
BEGINS: Final = frozenset({"raise", "re_alarm", "unsuppress"})
PRUNE_NS: Final = 60_000_000_000
SUPPRESSED_NS: Final = 7 * 86_400_000_000_000
"""An occurrence that was suppressed and not heard of for so long is forgotten; should it come back, it is told anew."""


class Facts(msgspec.Struct, frozen=True):
    """What the catalogue knows of an alarm."""

    unit: str = ""
    measure: str = ""
    response: dict[str, str] = {}
    routing: str = ""
    simulated: bool = False


class Due(msgspec.Struct, frozen=True, array_like=True):
    """A step of an occurrence that is still to come; `step` counts from 0."""

    due_ns: int
    rule: str
    step: int


class Watched(msgspec.Struct):
    """One occurrence, while it can still be told or heard of."""

    item: Item
    advisory: bool
    newest: tuple[int, int]
    """(epoch, seq) of the event whose state counts."""
    heard_ns: int
    routing: str = ""
    began: bool = False
    waiting: list[Due] = []
    told: list[tuple[int, str]] = []
    """(step, receiver) that have been, or are about to be, told."""


class Group(msgspec.Struct):
    """What is gathered for one receiver."""

    opened_ns: int = 0
    keys: list[tuple[str, int]] = []
    """(occurrence, step)."""
    made_ns: list[int] = []
    """When its latest messages were made."""


class Plan:
    """All that is under way; `watched` and `groups` are kept by the queue, those in `changed` after each step."""

    def __init__(
        self,
        rules: Sequence[Rule],
        receivers: Sequence[ReceiverConfig],
        calendar: Calendar,
        facts: Callable[[str, str, str], Facts],
        *,
        max_age_s: float,
        watched: dict[str, Watched] | None = None,
        groups: dict[str, Group] | None = None,
    ) -> None:
        self._rules = {r.name: r for r in rules}
        self._receivers = {r.name: r for r in receivers}
        self._calendar, self._facts, self._max_age_ns = calendar, facts, int(max_age_s * 1e9)
        self.watched = {} if watched is None else watched
        self.groups = {} if groups is None else groups
        self.changed: set[str] = set()
        """Occurrences and receivers whose row the queue has to write, or to remove when it is gone."""
        self._pruned_ns = 0
        for name in [name for name in self.groups if name not in self._receivers]:
            del self.groups[name]
            self.changed.add(name)

    def take(self, edge: str, epoch: int, seq: int, event: AlarmEvent, now_ns: int) -> None:
        """Take in one committed event; one that is older than the limit begins nothing."""
        id_ = occurrence_id(edge, event.alarm, event.raised_ns)
        recent = now_ns - min(event.time_ns, event.received_ns) <= self._max_age_ns
        found = self.watched.get(id_)
        if found is None:
            if not recent:
                return
            facts = self._facts(edge, event.alarm, event.tag)
            item = _item(id_, edge, event, facts)
            found = self.watched[id_] = Watched(item, event.advisory, (epoch, seq), now_ns, facts.routing)
        self.changed.add(id_)
        found.heard_ns = now_ns
        if (epoch, seq) >= found.newest:
            found.newest = (epoch, seq)
            found.item = msgspec.structs.replace(found.item, state=event.state_to, priority=event.priority)
        if event.event == "suppress":
            found.began, found.waiting = False, []
        elif event.event in BEGINS and recent and not found.began and found.item.state in TO_ACKNOWLEDGE:
            found.began = True
            told = {"value": _finite(event.value), "limit": _finite(event.limit), "explanation": event.explanation, "first_out": event.first_out}
            found.item = msgspec.structs.replace(found.item, **told)
            found.waiting = list(self._steps(found, min(now_ns, event.received_ns)))

    def _steps(self, watched: Watched, from_ns: int) -> Iterator[Due]:
        item = watched.item
        for rule in self._rules.values():
            if rule.covers(
                edge=item.edge,
                unit=item.unit,
                tag=item.tag,
                alarm=item.alarm,
                routing=watched.routing,
                priority=item.priority,
                advisory=watched.advisory,
            ):
                for n, step in enumerate(rule.steps):
                    yield Due(from_ns + int(step.after_s * 1e9), rule.name, n)

    def due(self, now_ns: int, stuck: frozenset[str] = frozenset()) -> list[Message]:
        """Take the steps that are due and make the messages that may go now; receivers in `stuck` get none."""
        shifts = self._calendar.open(now_ns)
        for id_, watched in self.watched.items():
            if any(d.due_ns <= now_ns for d in watched.waiting):
                self._step(id_, watched, now_ns, shifts)
        free = [(name, group) for name, group in sorted(self.groups.items()) if name not in stuck]
        made = [self._message(name, group, now_ns) for name, group in free if self._may(name, group, now_ns)]
        if now_ns - self._pruned_ns >= PRUNE_NS:
            self._prune(now_ns)
        return made

    def _step(self, id_: str, watched: Watched, now_ns: int, shifts: frozenset[str]) -> None:
        left = []
        for due in watched.waiting:
            rule = self._rules.get(due.rule)
            if due.due_ns > now_ns:
                left.append(due)
            elif rule is not None and due.step < len(rule.steps):
                step = rule.steps[due.step]
                if watched.item.state not in (TO_ACKNOWLEDGE if step.when == "unacknowledged" else ACTIVE):
                    continue
                if step.shifts and not shifts.intersection(step.shifts):
                    if step.outside == "wait":
                        left.append(due)
                    continue
                for receiver in step.receivers:
                    self._gather(id_, watched, due.step, receiver, now_ns)
        if left != watched.waiting:
            watched.waiting = left
            self.changed.add(id_)

    def _gather(self, id_: str, watched: Watched, step: int, receiver: str, now_ns: int) -> None:
        # What is wrong with a receiver is told to the others.
        if (step, receiver) in watched.told or watched.item.alarm.startswith(f"gateway/notify.{receiver}."):
            return
        watched.told.append((step, receiver))
        group = self.groups.setdefault(receiver, Group())
        if not group.keys:
            group.opened_ns = now_ns
        group.keys.append((id_, step))
        self.changed.add(receiver)

    def _may(self, name: str, group: Group, now_ns: int) -> bool:
        config = self._receivers.get(name)
        if config is None or not group.keys or now_ns - group.opened_ns < config.group_s * 1e9:
            return False
        recent = [t for t in group.made_ns if now_ns - t < config.per_s * 1e9]
        return len(recent) < config.messages

    def _message(self, name: str, group: Group, now_ns: int) -> Message:
        config = self._receivers[name]
        items = [msgspec.structs.replace(self.watched[id_].item, step=step + 1) for id_, step in group.keys]
        items.sort(key=lambda i: (i.priority, i.raised_ns, i.occurrence, i.step))
        keys = tuple(sorted(f"{id_}#{step}" for id_, step in group.keys))
        group.keys, group.made_ns = [], [*(t for t in group.made_ns if now_ns - t < config.per_s * 1e9), now_ns]
        self.changed.add(name)
        return Message(
            id=hashlib.sha256("\0".join((name, *keys)).encode()).hexdigest()[:32],
            receiver=name,
            made_ns=now_ns,
            total=len(items),
            priorities={p: sum(i.priority == p for i in items) for p in sorted({i.priority for i in items})},
            step=max(i.step for i in items),
            first_ns=min(i.raised_ns for i in items),
            simulated=any(i.simulated for i in items),
            items=tuple(items[:ITEMS]),
            keys=keys,
        )

    def _prune(self, now_ns: int) -> None:
        """Forget occurrences that are over, of which nothing waits, and whose events are too old by now to begin anything again."""
        self._pruned_ns = now_ns
        gathered = {id_ for group in self.groups.values() for id_, _ in group.keys}
        for id_, watched in list(self.watched.items()):
            state = watched.item.state
            if state in TO_ACKNOWLEDGE or state in ACTIVE or state == LATCHED or watched.waiting or id_ in gathered:
                continue
            if now_ns - watched.heard_ns > (self._max_age_ns if state == OVER else SUPPRESSED_NS):
                del self.watched[id_]
                self.changed.add(id_)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _item(id_: str, edge: str, event: AlarmEvent, facts: Facts) -> Item:
    return Item(
        occurrence=id_,
        step=1,
        edge=edge,
        alarm=event.alarm,
        tag=event.tag,
        unit=facts.unit,
        priority=event.priority,
        state=event.state_to,
        raised_ns=event.raised_ns,
        simulated=facts.simulated,
        measure=facts.measure,
        response=facts.response,
    )
