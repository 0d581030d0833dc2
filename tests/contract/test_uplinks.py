"""What every registered uplink promises (`edge_agent/uplinks/uplink.py`), run over the register; and what the runner makes of its errors."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pydantic
import pytest

from edge_agent.core import NotConnected
from edge_agent.uplinks import AnyUplink
from edge_agent.uplinks.outgoing import STREAM
from edge_agent.uplinks.uplink import Uplink
from tests.brokers import started
from tests.uplinks.acting import Edge, Gateway, fill, outbox, until

_MEMBERS = get_args(get_args(AnyUplink)[0]) if get_args(AnyUplink) else (AnyUplink,)
CONFIGS: dict[str, Any] = {get_args(config.model_fields["kind"].annotation)[0]: config for config in _MEMBERS}
KINDS = sorted(CONFIGS)


@dataclass
class Target:
    """The other side of an uplink: its section, the bytes it holds by number, and how to take it away for a moment."""

    section: dict[str, Any]
    held: Callable[[], dict[int, bytes]]
    kill: Callable[[], None]
    restore: Callable[[], Any]


@asynccontextmanager
async def _gateway(folder: Path) -> AsyncIterator[Target]:
    with started("mosquitto", folder / "broker") as broker:
        gateway = Gateway(broker.port)
        await gateway.start()

        async def restore() -> None:
            broker.start()
            await gateway.start()

        section = {"host": "127.0.0.1", "port": broker.port, "gateways": ["gw1"]}
        try:
            yield Target(section, lambda: gateway.kept.get(1, {}), broker.kill, restore)
        finally:
            gateway.stop()


@dataclass(frozen=True)
class Rig:
    """How to try an uplink."""

    target: Callable[[Path], AbstractAsyncContextManager[Target]]
    absent: dict[str, Any]


RIGS = {"gateway": Rig(_gateway, {"host": "127.0.0.1", "port": 9, "gateways": ["gw1"]})}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(kind: str) -> Rig:
    return RIGS[kind]


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    log = outbox(tmp_path)
    yield Edge(log)
    log.close()


def uplink(kind: str, section: dict[str, Any], edge: Edge) -> Uplink:
    made: Uplink = CONFIGS[kind].model_validate({"kind": kind, "name": "rig"} | section).uplink(edge.port(time.time_ns))
    return made


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def test_every_uplink_has_a_rig() -> None:
    assert sorted(RIGS) == KINDS


def test_sections_load_without_the_protocols_libraries() -> None:
    script = "import sys, edge_agent.uplinks; print([m for m in ('paho', 'influxdb_client') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_unknown_keys_are_refused(kind: str, rig: Rig) -> None:
    with pytest.raises(pydantic.ValidationError, match="colour"):
        CONFIGS[kind].model_validate({"kind": kind, "name": "rig", "colour": "red"} | rig.absent)


async def test_nobody_there_is_not_connected(kind: str, rig: Rig, edge: Edge) -> None:
    with pytest.raises(NotConnected):
        await uplink(kind, rig.absent, edge).run()
    assert edge.moved == []


async def test_bytes_arrive_unchanged_and_the_place_moves_behind_them(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    fill(edge.log, [10, 70_000, 400_000])
    rows = {row.seq: row.data for row in edge.log.read(STREAM, 0, max_bytes=1 << 24)}
    async with rig.target(tmp_path) as target:
        task = asyncio.create_task(uplink(kind, target.section, edge).run())
        await until(lambda: edge.moved and edge.moved[-1] == 3)
        assert target.held() == rows
        await ended(task)


async def test_a_loss_is_not_connected_and_the_same_uplink_runs_again(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    fill(edge.log, [100] * 5)
    async with rig.target(tmp_path) as target:
        made = uplink(kind, target.section, edge)
        task = asyncio.create_task(made.run())
        await until(lambda: edge.moved and edge.moved[-1] == 5)
        target.kill()
        with pytest.raises(NotConnected):
            await asyncio.wait_for(task, 20)
        fill(edge.log, [100] * 5)
        await target.restore()
        task = asyncio.create_task(made.run())
        await until(lambda: edge.moved[-1] == 10)
        assert sorted(target.held()) == list(range(1, 11))
        await ended(task)
    assert edge.moved == sorted(edge.moved)


async def test_it_only_reads_the_outbox(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    fill(edge.log, [100] * 5)
    async with rig.target(tmp_path) as target:
        task = asyncio.create_task(uplink(kind, target.section, edge).run())
        await until(lambda: edge.moved and edge.moved[-1] == 5)
        await ended(task)
    assert edge.log.first(STREAM) == 1
    assert edge.log.verify(STREAM) == []


async def test_it_may_be_cancelled_at_any_moment(kind: str, rig: Rig, edge: Edge, tmp_path: Path) -> None:
    fill(edge.log, [50_000] * 20)
    async with rig.target(tmp_path) as target:
        made = uplink(kind, target.section, edge)
        for turn in range(12):
            task = asyncio.create_task(made.run())
            await asyncio.sleep(0.01 * turn)
            await ended(task)
        task = asyncio.create_task(made.run())
        await until(lambda: edge.moved and edge.moved[-1] == 20)
        assert sorted(target.held()) == list(range(1, 21))
        await ended(task)


