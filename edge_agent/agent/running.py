"""The sources and uplinks of a running agent: tasks that begin and end one by one, so that what is not concerned by a change goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar


class Runner(Protocol):
    """What runs until it is cancelled."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""

    def status(self) -> dict[str, Any]:
        """What /status shows of it."""

    async def run(self) -> None:
        """Run."""


R = TypeVar("R", bound=Runner)


class Running(Generic[R]):
    """Runners of one sort by name; on the event loop."""

    def __init__(self, sort: str) -> None:
        self._sort = sort
        self._runners: dict[str, R] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, runners: Iterable[R]) -> None:
        """Run these too."""
        for runner in runners:
            self._runners[runner.name] = runner
            self._tasks[runner.name] = asyncio.create_task(runner.run(), name=f"{self._sort} {runner.name}")

    async def end(self, names: Iterable[str]) -> None:
        """End these, and wait until they have closed their connections."""
        ending = [self._tasks.pop(name) for name in names]
        for name in names:
            del self._runners[name]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that have not been ended."""
        return list(self._tasks.values())

    @property
    def runners(self) -> list[R]:
        """In the order they began."""
        return list(self._runners.values())

    def status(self) -> list[dict[str, Any]]:
        """Of each."""
        return [runner.status() for runner in self._runners.values()]
