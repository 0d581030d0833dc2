"""The process an agent runs in: its signals and folder, and one agent after the other when another configuration takes effect."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from edge_agent.agent.agent import Agent
from edge_agent.config.approved import Choice, choose_of


def run_agent(choice: Choice, file: Path, record: Path | None, louder: Callable[[], None] = lambda: None) -> None:
    """Run an agent in this process until it is told to stop; again with another configuration whenever one takes effect that asks for it.

    file    the configuration, absolute; relative paths in it start from its folder; SIGHUP reads it again
    louder  called at SIGUSR1
    """
    running: list[tuple[asyncio.AbstractEventLoop, Agent]] = []

    def heard(number: int, _: object) -> None:
        # Python's own handlers stay when an event loop ends: a signal between two lives must not end the process.
        for loop, agent in running:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(agent.reload if number == signal.SIGHUP else louder)

    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, heard)

    async def lived(agent: Agent) -> None:
        running[:] = [(asyncio.get_running_loop(), agent)]
        try:
            await agent.run()
        finally:
            running.clear()

    os.umask(0o077)
    record = record.resolve() if record is not None else None
    os.chdir(file.parent)
    while True:
        agent = Agent(choice.settings, file.parent, record, choice=choice, file=file)
        del choice  # the agent lets go of thousands of tags as soon as it can
        agent.frugal = True
        asyncio.run(lived(agent))
        if not agent.again:
            return
        choice = choose_of(file, time.time_ns())
