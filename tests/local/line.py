"""A line for the tests of what is served beside it: real alarms behind a desk, people with known passwords, and a server on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import argon2
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette

from edge_agent.alarms import Alarms
from edge_agent.core import AlarmDefinition, AlarmEvent, Catalogue, OperatorAction, Tag
from edge_agent.core.people import People, Person, signed_people
from edge_agent.local.desk import Desk, Facts
from edge_agent.local.panel import Panel, routes
from edge_agent.local.people import KnownPeople, Where
from edge_agent.local.sessions import PanelSessions

S = 1_000_000_000
T0 = 1_767_225_600 * S
PASSWORD = "correct horse battery"
HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TAGS = (
    Tag(id=0, name="press1/main_force", unit="kN", decimals=2, class_="gmp", description={"en": "Main compression force", "zh": "主压力"}),
    Tag(id=1, name="press1/hopper_level", unit="%", decimals=1, description={"en": "Hopper level", "zh": "料斗料位"}),
    Tag(id=2, name="press1/guard", unit="", decimals=0, class_="safety", description={"en": "Guard door", "zh": "防护门"}),
)
WORDS = {
    "cause": {"en": "Worn punch or overfilled die", "zh": "冲头磨损或填料过多"},
    "response": {"en": "Reduce the fill depth, check the punches", "zh": "减小填充深度，检查冲头"},
    "consequence": {"en": "Tablets too hard, punches break", "zh": "片剂过硬，冲头断裂"},
}


def alarm(tag: str, kind: str, priority: int, **more: Any) -> AlarmDefinition:
    """A condition that a test switches by hand."""
    return AlarmDefinition(name=f"{tag}.{kind}", tag=tag, kind="diagnostic", priority=priority, **WORDS, **more)


ALARMS = (
    alarm("press1/main_force", "high", 2, unit="kN", limit=16.0),
    alarm("press1/hopper_level", "low", 3, unit="%", limit=10.0),
    alarm("press1/hopper_level", "drift", 4, advisory=True),
    alarm("press1/guard", "open", 1),
    alarm("press1/guard", "latch", 3, latching=True),
)


def person(name: str, role: str = "operator", full_name: str = "王丽") -> Person:
    return Person(name=name, full_name=full_name, role=role, hash=HASHER.hash(PASSWORD))


PEOPLE = (person("wang"), person("li", "shift_lead", "李强"), person("zhao", "engineer", "赵敏"))


def listed(
    *people: Person, issued_ns: int = T0, key: Ed25519PrivateKey = KEY, open_: bool = False, edge: str = "press-edge-1", gateway: str = "gw1"
) -> bytes:
    """A signed list."""
    return signed_people(People(gateway=gateway, site="demo", edge=edge, issued_ns=issued_ns, open=open_, people=people), key)


class Line:
    """Alarms of the edge as the pipeline keeps them, and the desk before them."""

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self.clock = clock
        self.alarms = Alarms(ALARMS, Catalogue(TAGS))
        self.actions: list[OperatorAction] = []
        self.notes: list[tuple[str, str, str]] = []
        self.trouble: list[str] = []
        self.values: dict[str, bytes] = {}
        self.heard: list[Callable[[list[AlarmEvent]], None]] = []
        """Who else is told of events."""
        self.deaf = False
        """Actions are taken and nothing becomes of them."""
        facts = Facts("press-edge-1", "demo", False, "Asia/Shanghai", "0.1.0", TAGS, ALARMS)
        self.desk = Desk(facts, act=self._act, problems=lambda: self.trouble, clock=clock)
        self.people = KnownPeople(Where("demo", "press-edge-1", ("gw1", "gw2"), {}), {}, self.values.update)
        self.sessions = PanelSessions(
            self.people, 300, clock=clock, tell=lambda action, person, why: self.notes.append((action, person.name, why))
        )
        self.panel = Panel(self.desk, self.sessions)

    def _act(self, action: OperatorAction) -> None:
        self.actions.append(action)
        if not self.deaf:
            self.committed(self.alarms.act(action, self.clock()))

    def committed(self, events: list[AlarmEvent]) -> None:
        self.desk.committed(self.alarms.standing(), events)
        for heard in self.heard:
            heard(events)

    def turn(self, name: str, active: bool, value: float | None = None) -> str:
        """Switch a condition; the id of its occurrence."""
        now = self.clock()
        why = f"{value} beyond the limit" if value is not None else "condition met"
        self.committed(self.alarms.condition(name, active, now, now, explanation=why, value=value))
        found = {s.alarm: s for s in self.alarms.standing()}
        return f"press-edge-1~{name}~{found[name].raised_ns}" if name in found else ""

    def state(self, name: str) -> str:
        return next((s.state for s in self.alarms.standing() if s.alarm == name), "NORM")


class ServedPanel:
    """The panel of a line on a loopback port, its heart beating; `stop` drops every connection at once."""

    def __init__(self, line: Line) -> None:
        self.line = line
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = int(s.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/panel/"
        self.beating = True
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> ServedPanel:
        self.line.panel = Panel(self.line.desk, self.line.sessions)
        app = Starlette(routes=routes(self.line.panel))
        self._server = uvicorn.Server(
            uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        )
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="panel", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the panel did not start within 10 s")
            time.sleep(0.01)
        return self

    async def _run(self) -> None:
        assert self._server is not None
        self.loop = asyncio.get_running_loop()
        beat = asyncio.create_task(self._beat())
        await self._server.serve()
        beat.cancel()

    async def _beat(self) -> None:
        while True:
            if self.beating:
                self.line.committed([])
            await asyncio.sleep(0.2)

    def do(self, what: Callable[[], Any]) -> Any:
        """Something done to the line where it lives: on the loop."""
        assert self.loop is not None
        done: Any = None
        ready = threading.Event()

        def act() -> None:
            nonlocal done
            done = what()
            ready.set()

        self.loop.call_soon_threadsafe(act)
        assert ready.wait(10)
        return done

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(10)
