"""A real OPC UA server in this process that a module of tests shares, and a source that reads from it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.sources.opcua_plant import Plant, Reader, free_port, source


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Plant]:
    plant = await Plant(free_port(), names=("a", "b", "batch")).start()
    yield plant
    await plant.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A subscription counts as silent after a second."""
    monkeypatch.setattr("edge_agent.sources.opcua.SILENCE_AT_LEAST_S", 1.0)


@pytest_asyncio.fixture(loop_scope="module")
async def plant(server: Plant) -> Plant:
    return await server.fresh()


@pytest_asyncio.fixture(loop_scope="module")
async def reader(plant: Plant, tmp_path: Path) -> AsyncIterator[Reader]:
    reader = Reader(source(plant, tmp_path))
    yield reader
    await reader.plc.close()
