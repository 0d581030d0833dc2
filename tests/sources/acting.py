"""A clock that the test moves, a source that does what it is told, and an intake that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_agent.core import Connection, NotConnected, Tag
from edge_agent.sources.runner import SourceRunner
from edge_agent.sources.source import Item, Plug, Received, Source
from edge_agent.sources.zone import SourceTime

START_NS = 1_767_225_600_000_000_000


async def settle() -> None:
    """Let every task run until all of them wait."""
    for _ in range(50):
        await asyncio.sleep(0)


class Time:
    """Time that passes only when told; `waits` lists every sleep that was asked for."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def clock(self) -> int:
        return START_NS + round(self.now_s * 1e9)

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self.now_s + seconds, future))
        await future

    async def pass_(self, seconds: float) -> None:
        """Let time pass, waking sleepers in their order."""
        await settle()
        until = self.now_s + seconds
        while True:
            self._sleepers = [(at, f) for at, f in self._sleepers if not f.done()]
            due = [(at, f) for at, f in self._sleepers if at <= until]
            if not due:
                break
            at, future = min(due, key=lambda item: item[0])
            self.now_s = max(self.now_s, at)
            future.set_result(None)
            await settle()
        self.now_s = until
        await settle()


Step = Received | Exception | None
"""One answer of a source; None waits for ever."""


class Actor:
    """Plays a script per connection: what each `read` returns or raises; then what is pushed. Without a script left `open` fails."""

    def __init__(self, *connections: Sequence[Step]) -> None:
        self._connections = list(connections)
        self._script: list[Step] = []
        self.calls: list[str] = []
        self.resumes: list[bytes | None] = []
        self.push: asyncio.Queue[Received | Exception] = asyncio.Queue()

    async def open(self, resume: bytes | None) -> None:
        self.calls.append("open")
        self.resumes.append(resume)
        if not self._connections:
            raise NotConnected("nobody there")
        self._script = list(self._connections.pop(0))

    async def read(self) -> Received:
        step = self._script.pop(0) if self._script else await self.push.get()
        if isinstance(step, Exception):
            raise step
        if not isinstance(step, Received):
            await asyncio.Event().wait()
            raise AssertionError
        return step

    async def close(self) -> None:
        self.calls.append("close")


@dataclass(frozen=True)
class ActingConfig:
    """A section whose connector is given."""

    actor: Source
    name: str = "line"
    kind: str = "acting"
    watchdog_s: float | None = 10.0
    time: SourceTime = field(default_factory=SourceTime)

    def source(self, plug: Plug) -> Source:
        return self.actor


@dataclass
class Intake:
    """Takes everything, or blocks while `shut`; `commit` acknowledges what came."""

    taken: list[tuple[str, tuple[Item, ...], bytes | None]] = field(default_factory=list)
    acks: list[Callable[[], None]] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.open.set()

    async def offer(self, source: str, items: Sequence[Item], ack: Callable[[], None], resume: bytes | None) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.taken.append((source, tuple(items), resume))
        self.acks.append(ack)

    def commit(self) -> None:
        acks, self.acks = self.acks, []
        for ack in acks:
            ack()

    def said(self) -> list[str]:
        """States told by Connection items, and the class names of all other items."""
        return [i.state if isinstance(i, Connection) else type(i).__name__ for _, items, _ in self.taken for i in items]


def runner(
    config: ActingConfig, intake: Intake, time: Time, tags: Sequence[Tag] = (), resume: bytes | None = None, jitter: float = 0.5
) -> SourceRunner:
    """A runner on moved time; jitter 0.5 is none."""
    plug = Plug(config.name, tags, {}, time.clock, Path("unused"))
    return SourceRunner(config, plug, intake.offer, resume, sleep=time.sleep, random=lambda: jitter)
