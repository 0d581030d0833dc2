"""What the agent serves beside the line: puts desk, panel and the servers for DCS and SCADA together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog
from starlette.routing import BaseRoute

from edge_agent import __version__
from edge_agent.agent.clock import Clock
from edge_agent.agent.engine import Engine
from edge_agent.agent.intake import Intake
from edge_agent.config import AgentSettings
from edge_agent.core import AlarmEvent, Log, Note, OperatorAction, PharmedgeError, Start
from edge_agent.core.people import Person
from edge_agent.local.desk import Desk, Facts
from edge_agent.local.modbus import ModbusRegisters
from edge_agent.local.opcua import OpcUaServer
from edge_agent.local.people import KEY, LIST, KnownPeople, Where
from edge_agent.local.sessions import STATION, PanelSessions

log = structlog.get_logger()


class Serving(Protocol):
    """A server that runs from `start`, which gives its port or raises OSError, to `stop`."""

    async def start(self) -> int:
        """Listen."""

    async def stop(self) -> None:
        """Close everything."""


class Beside:
    """Panel and servers of one running edge; on the event loop."""

    def __init__(
        self, settings: AgentSettings, data_dir: Path, start: Start, engine: Engine, intake: Intake, file: Log, clock: Clock, *,
        act: Callable[[OperatorAction], None],
    ) -> None:  # fmt: skip
        self._settings, self._data_dir, self._engine, self._intake, self._file = settings, data_dir, engine, intake, file
        self.problems: Callable[[], list[str]] = list
        edge = settings.edge
        facts = Facts(edge.id, edge.site, edge.simulated, edge.timezone, __version__, start.tags, start.alarms, len(settings.diverters))
        self.desk = Desk(facts, act=act, problems=self._problems, clock=clock)
        gateways = tuple(dict.fromkeys(g for u in settings.uplinks for g in getattr(u, "gateways", ())))
        kept = {**file.values(LIST), **file.values(KEY)}
        self.people = KnownPeople(Where(edge.site, edge.id, gateways, settings.http.panel_keys), kept, self._keep)
        self.sessions = PanelSessions(self.people, settings.http.panel_idle_s, clock=clock, tell=self._tell)
        self.routes: list[BaseRoute] = []
        self._stops: list[Callable[[], None]] = []
        if settings.http.panel:
            from edge_agent.local.panel import Panel, routes

            panel = Panel(self.desk, self.sessions)
            self.routes = [*routes(panel)]
            self._stops.append(panel.streams.stop)
        self._opcua: OpcUaServer | None = None
        self.listening: list[dict[str, object]] = []
        """What answers beside the agent's own http port."""
        self._taking: set[asyncio.Task[None]] = set()
        self._refused = ""

    def _problems(self) -> list[str]:
        return self.problems()

    @property
    def people_came(self) -> Callable[[str, bytes], None] | None:
        """What an uplink hands lists of people to; None where nobody could log in anyway."""
        return self._people_came if self._settings.http.panel or self._settings.serve.opcua is not None else None

    def tasks(self) -> list[asyncio.Task[None]]:
        """The servers, running."""
        serve, made = self._settings.serve, list[tuple[str, Serving]]()
        if serve.modbus is not None:
            made.append((f"Modbus on {serve.modbus.host}", ModbusRegisters(serve.modbus, self.desk)))
        if serve.opcua is not None:
            self._opcua = OpcUaServer(serve.opcua, self._data_dir / "serve" / "opcua", self.desk, self.sessions)
            made.append((f"OPC UA on {serve.opcua.host}", self._opcua))
        return [asyncio.create_task(self._serving(name, server), name=name) for name, server in made]

    async def _serving(self, name: str, server: Serving) -> None:
        try:
            port = await server.start()
            log.info("listening", what=name, port=port)
            self.listening.append({"what": name, "port": port})
            await asyncio.Event().wait()
        except OSError as error:
            # Whoever supervises sees that nothing answers; the edge goes on.
            log.error("not served", what=name, error=str(error))
        finally:
            await server.stop()

    def stop(self) -> None:
        """End what is open."""
        for stop in self._stops:
            stop()

    def committed(self, events: list[AlarmEvent]) -> None:
        """A commit is durable."""
        self.desk.committed(self._engine.standing, events, diverts=self._engine.diverts)
        if self._opcua is not None:
            self._opcua.committed(events)

    def _people_came(self, gateway: str, data: bytes) -> None:
        task = asyncio.create_task(self._take(gateway, data), name=f"people {gateway}")
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take(self, gateway: str, data: bytes) -> None:
        try:
            changed = await asyncio.to_thread(self.people.take, gateway, data)
        except PharmedgeError as error:
            if str(error) != self._refused:  # a retained message comes again at every connect
                self._refused = str(error)
                log.error("a list of people is refused", gateway=gateway, error=str(error))
                self._intake.put(lambda now, why=str(error): Note(received_ns=now, action="people_refused", object=f"gateway {gateway}", reason=why))  # type: ignore[misc]
            return
        if changed:
            count = f"{self.people.count} may act at the panel"
            self._intake.put(lambda now: Note(received_ns=now, action="people", object=f"gateway {gateway}", new=count))

    def _keep(self, values: dict[str, bytes]) -> None:
        self._file.commit(values={**values})

    def _tell(self, action: str, person: Person, reason: str) -> None:
        self._intake.put(
            lambda now: Note(received_ns=now, action=action, object="panel", reason=reason, user=person.name, role=person.role, station=STATION)
        )
