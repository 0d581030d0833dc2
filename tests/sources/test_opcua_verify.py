"""By-exception tags are asked now and then whether they can still be read, although the subscription is content (rule 6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import ua

from edge_agent.core import Connection
from tests.sources.opcua_plant import Plant, Reader, free_port, source

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOST = 0x80310000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant() -> AsyncIterator[Plant]:
    started = await Plant(free_port(), names=("a", "b")).start()
    yield started
    await started.stop()


async def quietly(plant: Plant, name: str, status: int) -> None:
    """Change what a read finds without a word to the subscriptions, as a server does that forgot about a device."""
    node = plant.server.iserver.aspace[ua.NodeId(name, plant.index)]
    node.attributes[ua.AttributeIds.Value].value = ua.DataValue(1.0, ua.StatusCode(status))


async def test_a_tag_that_can_no_longer_be_read_is_bad_although_its_subscription_is_alive(plant: Plant, tmp_path: Path) -> None:
    reader = Reader(source(plant, tmp_path, expected_s=None, verify_s=0.2))
    await reader.open()
    await plant.run("a", 1, 1)
    await plant.run("b", 1, 1)
    await reader.until(1, 1.0)
    await quietly(plant, "b", LOST)
    while "tag_failed" not in reader.states():
        await reader.read()
    (failed,) = [item for item in reader.of(Connection) if item.state == "tag_failed"]
    assert (failed.tags, failed.status) == ((1,), LOST)
    assert "verifying read" in failed.detail
    await quietly(plant, "b", 0)
    while "tag_recovered" not in reader.states():
        await reader.read()
    assert reader.states().count("tag_failed") == 1
    await reader.plc.close()


async def test_periodic_tags_are_not_asked(plant: Plant, tmp_path: Path) -> None:
    plc = source(plant, tmp_path, expected_s=0.1, verify_s=0.05)
    reader = Reader(plc)
    await reader.open()
    for k in range(1, 6):
        await plant.run("a", k, k)
        await reader.until(0, float(k))
    assert "verifying_reads" not in plc._plug.counters
    await reader.plc.close()
