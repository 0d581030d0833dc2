"""The wrapper around uplinks: back-off, and errors that stay with their uplink."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_agent.core import NotConnected
from edge_agent.uplinks.runner import UplinkRunner
from edge_agent.uplinks.uplink import Port, Uplink
from tests.sources.acting import Time
from tests.uplinks.acting import Edge, outbox


class Failing:
    """Fails as scripted, then for ever with the last; `moves` says after which failures it had delivered something."""

    def __init__(self, port: Port, errors: list[Exception], moves: set[int]) -> None:
        self._port, self._errors, self._moves = port, errors, moves
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs in self._moves:
            self._port.status["committed_seq"] = self.runs
        raise self._errors[min(self.runs, len(self._errors)) - 1]


@dataclass(frozen=True)
class Config:
    """A section that makes the failing uplink."""

    errors: list[Exception]
    moves: frozenset[int] = frozenset()
    name: str = "plant"
    kind: str = "failing"
    required: bool = True

    def uplink(self, port: Port) -> Uplink:
        return Failing(port, self.errors, set(self.moves))


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    log = outbox(tmp_path)
    yield Edge(log)
    log.close()


async def waits(config: Config, edge: Edge, seconds: float) -> tuple[list[float], UplinkRunner]:
    time = Time()
    runner = UplinkRunner(config, edge.port(time.clock), sleep=time.sleep, random=lambda: 0.5)
    task = asyncio.create_task(runner.run())
    await time.pass_(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return time.waits, runner


async def test_waits_double_up_to_a_minute(edge: Edge) -> None:
    found, runner = await waits(Config([NotConnected("away")]), edge, 200)
    assert found[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert runner.status()["error"] == "away"
    assert runner.status()["required"]


async def test_a_run_that_delivered_begins_with_one_second_again(edge: Edge) -> None:
    found, _ = await waits(Config([NotConnected("away")], frozenset({4})), edge, 20)
    assert found[:5] == [1, 2, 4, 1, 2]


async def test_a_defect_is_shown_and_tried_again(edge: Edge) -> None:
    found, runner = await waits(Config([ValueError("a defect"), OSError("a cable")]), edge, 1.5)
    assert found == [1, 2]
    assert runner.status()["failures"] == 2
    assert runner.status()["error"] == "a cable"
