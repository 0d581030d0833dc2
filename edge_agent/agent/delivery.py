"""What uplinks have delivered, and what comes back over them: places in the outbox, operator actions, heads of gateways."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from pathlib import Path

from edge_agent.agent.commit import OUTBOX
from edge_agent.agent.identity import Identity
from edge_agent.agent.intake import Intake
from edge_agent.alarms.standing import Standing
from edge_agent.config import AgentSettings
from edge_agent.core import Action, Log, LogError, Note, OperatorAction, Tag
from edge_agent.core.change import ChangeApproval
from edge_agent.core.log import Held
from edge_agent.core.record import LANE_ALARM
from edge_agent.uplinks import AnyUplink
from edge_agent.uplinks.gateway import GatewayConfig
from edge_agent.uplinks.runner import UplinkRunner
from edge_agent.uplinks.syslog import SyslogConfig
from edge_agent.uplinks.uplink import Port


def away_of(standing: Iterable[Standing], measured: Mapping[str, frozenset[int]]) -> frozenset[int]:
    """Ids of the tags, by source in `measured`, whose source is disconnected or silent for long enough to be an alarm."""
    gone = {one.alarm for one in standing if one.met}
    return frozenset[int]().union(*(ids for source, ids in measured.items() if f"source/{source}.disconnected" in gone))


class Delivery:
    """The places of all uplinks in the outbox, and what each uplink is given.

    On the event loop, but for `cursors`, `safe_through`, `held` and `count`.
    """

    def __init__(self, settings: AgentSettings, outbox: Log, identity: Identity, intake: Intake, data_dir: Path, clock: Callable[[], int]) -> None:
        self.settings = settings
        """Those in force; another reload brings others."""
        self._outbox, self._identity, self._intake, self._data_dir, self._clock = outbox, identity, intake, data_dir, clock
        self._delivered = {u.name: outbox.cursor(f"uplink/{u.name}") for u in settings.uplinks}
        self._behind: dict[str, int] = {}
        self.count(settings.uplinks)
        self._grown: dict[str, asyncio.Event] = {}
        self._seen_actions: dict[str, set[str]] = {}

    # -- how far each uplink is -------------------------------------------------------------------------------------------------------

    def place(self, name: str) -> int:
        """Everything up to here is safe at this uplink's target."""
        return self._delivered[name]

    def cursors(self) -> dict[str, int]:
        """All places, for the next commit; from the writer's thread."""
        return {f"uplink/{name}": through for name, through in self._delivered.items()}

    def safe_through(self) -> int:
        """Every record up to here has reached all required uplinks, or all there are when none is; without any, nothing is ever forgotten.

        Those that carry no values, as that to a log server, do not count: what they need is `held` beyond it.
        """
        whole = [u for u in self.settings.uplinks if not isinstance(u, SyslogConfig)]
        return min((self._delivered.get(u.name, 0) for u in [u for u in whole if u.required] or whole), default=0)

    def held(self) -> list[Held]:
        """What log servers still need, whatever is safe elsewhere."""
        most = self.settings.outbox.max_bytes // 4
        return [
            Held(u.name, u.carries, self._delivered.get(u.name, 0), None if u.required else min(u.hold_bytes, most))
            for u in self.settings.uplinks
            if isinstance(u, SyslogConfig)
        ]

    def behind(self, name: str) -> int:
        """Records in the outbox that this uplink still had to deliver when they were last counted; of a log server's those that it is sent."""
        return self._behind.get(name, 0)

    def count(self, uplinks: Iterable[AnyUplink] | None = None) -> None:
        """Count what these uplinks, or all, still have to deliver: it reads the outbox, so the event loop only asks for the last figures."""
        for uplink in self.settings.uplinks if uplinks is None else uplinks:
            place = self._delivered.get(uplink.name, 0)
            with contextlib.suppress(LogError, sqlite3.Error):  # what cannot be read is told by whoever needs it; the last figure stays
                if isinstance(uplink, SyslogConfig):
                    self._behind[uplink.name] = self._outbox.waiting(OUTBOX, place, uplink.carries, (LANE_ALARM,))
                else:
                    self._behind[uplink.name] = self._outbox.waiting(OUTBOX, place)

    def grown(self) -> None:
        """Wake all uplinks: the outbox has grown."""
        for grown in self._grown.values():
            grown.set()

    def forget(self, names: Iterable[str]) -> None:
        """These uplinks have ended for good."""
        for name in names:
            self._grown.pop(name, None)

    # -- what an uplink is given ------------------------------------------------------------------------------------------------------

    def runners(
        self,
        tags: tuple[Tag, ...],
        *,
        people: Callable[[str, bytes], None] | None,
        approved: Callable[[tuple[ChangeApproval, ...]], None],
        names: Collection[str] | None = None,
        given_up: Callable[[str], int] = lambda _: 0,
        away: Callable[[], frozenset[int]] = frozenset,
    ) -> list[UplinkRunner]:
        """Runners of the uplinks with these names, or of all; `given_up` says how many records an uplink has lost that were held
        for it, `away` which measured tags have a source that is away."""
        wanted = [u for u in self.settings.uplinks if names is None or u.name in names]
        for config in wanted:
            if config.name not in self._delivered:  # a new dictionary: the writer's thread may be reading this one
                self._delivered = {**self._delivered, config.name: self._outbox.cursor(f"uplink/{config.name}")}
                self.count([config])
        return [UplinkRunner(config, self.port(config.name, tags, people, approved, given_up, away)) for config in wanted]

    def port(
        self,
        name: str,
        tags: tuple[Tag, ...] = (),
        people: Callable[[str, bytes], None] | None = None,
        approved: Callable[[tuple[ChangeApproval, ...]], None] = lambda _: None,
        given_up: Callable[[str], int] = lambda _: 0,
        away: Callable[[], frozenset[int]] = frozenset,
    ) -> Port:
        """What the uplink of this name is handed."""
        edge, who = self.settings.edge, self._identity
        return Port(
            site=edge.site, edge=edge.id, simulated=edge.simulated, outbox=self._outbox, epochs=lambda: who.epochs, moved=self._mover(name),
            acted=self._act, anchored=self._anchored(), people=people, approved=approved, part=who.part, wake=self._waker(name), clock=self._clock,
            data_dir=self._data_dir / name,
            apart=lambda gateway: who.apart(name, gateway), settled=lambda gateway: who.settled(name, gateway),
            place=lambda: self._delivered[name], tags=tags, given_up=lambda: given_up(name), away=away,
        )  # fmt: skip

    def _mover(self, name: str) -> Callable[[int], None]:
        # Whether this edge's numbers are its own is proven by gateways alone; other targets keep no account of them.
        proves = any(isinstance(u, GatewayConfig) and u.name == name for u in self.settings.uplinks)

        def moved(through: int) -> None:
            if through > self._delivered[name]:
                self._delivered[name] = through  # the writer thread makes it durable with its next commit
                if proves:
                    self._identity.moved(through)

        return moved

    def _waker(self, name: str) -> Callable[[float], Awaitable[None]]:
        grown = self._grown[name] = asyncio.Event()

        async def wake(timeout_s: float) -> None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(grown.wait(), timeout_s)
            grown.clear()

        return wake

    def _act(self, gateway: str, actions: tuple[OperatorAction, ...]) -> None:
        # Only new ones become entries; the alarms remember ids themselves, so a restart may hand one over twice without harm.
        # Each gateway has a list of its own, and none knows of another's.
        seen = self._seen_actions.get(gateway, set())
        for action in actions:
            if action.id not in seen:
                self._intake.put(lambda now, a=action: Action(received_ns=now, action=a))  # type: ignore[misc]
        self._seen_actions[gateway] = {a.id for a in actions}

    def _anchored(self) -> Callable[[str, str, str], None]:
        last: dict[tuple[str, str], str] = {}

        def anchored(gateway: str, what: str, head: str) -> None:
            # A retained message comes again at every connect; once in the journal is enough.
            if last.get((gateway, what)) != head:
                last[gateway, what] = head
                self._intake.put(lambda now: Note(received_ns=now, action=what, object=f"gateway {gateway}", new=head))

        return anchored
