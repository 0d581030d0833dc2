"""What stands at the edge, for whoever looks from beside the line, and the way by which people act on it.

Everything shown is durable: it is told by the engine behind the commit. Lives on the event loop.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edge_agent.alarms.standing import Standing
from edge_agent.core import AlarmDefinition, AlarmEvent, OperatorAction, PharmedgeError, Tag
from edge_agent.core.alarm import TO_ACKNOWLEDGE, ActionKind
from edge_agent.core.divert import DivertNow

REMEMBERED: Final = 512
BEAT_S: Final = 0.95
BEATS: Final = 65_536


class WrongAction(PharmedgeError):
    """Something that no person can mean: an unknown alarm or kind."""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts from where, and who agreed."""

    user: str
    role: str
    station: str
    second_user: str = ""
    second_role: str = ""


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a DCS or SCADA supervises; priorities are 1 (urgent) to 4, 0 when there is none.

    Advisory and suppressed alarms count only as such: neither calls anybody.
    """

    beat: int
    """Counts up once a second, 0 to 65535 and again 0, only while what is judged becomes durable."""
    last_commit_ns: int
    worst_standing: int
    worst_unacknowledged: int
    standing: tuple[int, int, int, int]
    """Alarms that are not normal, by priority 1 to 4."""
    unacknowledged: tuple[int, int, int, int]
    suppressed: int
    advisory: int
    ready: bool
    simulated: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Who the edge is and what it watches."""

    edge: str
    site: str
    simulated: bool
    timezone: str
    version: str
    tags: Sequence[Tag]
    alarms: Sequence[AlarmDefinition]
    diverters: int = 0
    """How many diverters of continuous lines it decides about."""


class Desk:
    """The standing alarms, the newest events, and what is passed on to the alarms.

    act        puts an action into the journal, as one that comes from a gateway
    problems   why the edge is not ready
    clock      received time
    """

    def __init__(
        self, facts: Facts, *, act: Callable[[OperatorAction], None], problems: Callable[[], list[str]], clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.facts, self._act, self.problems, self.clock, self._monotonic = facts, act, problems, clock, monotonic
        self.tags = {t.name: t for t in facts.tags}
        self.alarms = {a.name: a for a in facts.alarms}
        self.standing: dict[str, Standing] = {}
        self.events: deque[tuple[int, AlarmEvent]] = deque(maxlen=REMEMBERED)
        self.told = 0
        """Events so far; the number of the newest in `events`."""
        self.version = 0
        """Changes whenever `standing` does."""
        self._diverts: list[DivertNow] = []
        self._beat, self._beat_at, self._last_commit_ns = 0, -1e18, 0
        self._watchers: set[asyncio.Event] = set()

    def revise(self, tags: Sequence[Tag], alarms: Sequence[AlarmDefinition]) -> None:
        """Other definitions hold from now on."""
        self.facts = replace(self.facts, tags=tags, alarms=alarms)
        self.tags, self.alarms = {t.name: t for t in tags}, {a.name: a for a in alarms}

    def committed(
        self, standing: Sequence[Standing], events: Sequence[AlarmEvent], *, beating: bool = True, diverts: Sequence[DivertNow] | None = None
    ) -> None:
        """A commit is durable: what stands behind it, the alarm events in it, and what diverters are asked to do."""
        if diverts is not None:
            self._diverts = list(diverts)
        if beating:
            now = self._monotonic()
            self._last_commit_ns = self.clock()
            if now - self._beat_at >= BEAT_S:
                self._beat, self._beat_at = (self._beat + 1) % BEATS, now
        if not events and self.version:
            return
        self.standing = {s.alarm: s for s in standing}
        self.version += 1
        for event in events:
            self.told += 1
            self.events.append((self.told, event))
        self.wake()

    def wake(self) -> None:
        """Let all watchers look."""
        for watcher in self._watchers:
            watcher.set()

    def watch(self) -> asyncio.Event:
        """Something that is set whenever what stands changes; give it back to `unwatch`."""
        watcher = asyncio.Event()
        self._watchers.add(watcher)
        return watcher

    def unwatch(self, watcher: asyncio.Event) -> None:
        """No longer."""
        self._watchers.discard(watcher)

    def since(self, told: int) -> list[AlarmEvent]:
        """The events behind a number, the oldest of them forgotten when there are more than `REMEMBERED`."""
        return [event for n, event in self.events if n > told]

    def ask(
        self, kind: ActionKind, alarm: str, raised_ns: int, actor: Actor, reason: str = "", *, duration_s: float | None = None, one_shot: bool = False
    ) -> str:
        """Hand over what a person asked for; the id that an event will cite, done or refused. WrongAction when there is no such alarm."""
        if alarm not in self.alarms:
            raise WrongAction(f"alarm: expected one of this edge, found {alarm[:200]!r}")
        action = OperatorAction(
            id=uuid.uuid4().hex, kind=kind, alarm=alarm, raised_ns=raised_ns, user=actor.user, role=actor.role, station=actor.station, reason=reason,
            time_ns=self.clock(), duration_s=duration_s, one_shot=one_shot, second_user=actor.second_user, second_role=actor.second_role,
        )  # fmt: skip
        self._act(action)
        return action.id

    def diverts(self) -> list[DivertNow]:
        """What diverters are asked to do at this moment; a request that is not valid any more means divert."""
        now = self.clock()
        return [divert.at(now) for divert in self._diverts]

    def supervision(self) -> Supervision:
        """The figures of this moment."""
        shown = list(self.standing.values())
        calling = [s for s in shown if not s.suppression and not s.advisory]
        open_ = [s for s in calling if s.state in TO_ACKNOWLEDGE]
        return Supervision(
            beat=self._beat, last_commit_ns=self._last_commit_ns, worst_standing=_worst(calling), worst_unacknowledged=_worst(open_),
            standing=_counted(calling), unacknowledged=_counted(open_), suppressed=sum(1 for s in shown if s.suppression),
            advisory=sum(1 for s in shown if s.advisory and not s.suppression), ready=not self.problems(), simulated=self.facts.simulated,
        )  # fmt: skip


def _worst(alarms: Iterable[Standing]) -> int:
    return min((s.priority for s in alarms), default=0)


def _counted(alarms: Sequence[Standing]) -> tuple[int, int, int, int]:
    one, two, three, four = (sum(1 for s in alarms if s.priority == p) for p in (1, 2, 3, 4))
    return one, two, three, four
