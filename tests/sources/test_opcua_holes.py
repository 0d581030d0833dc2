"""Coming back to a server that loses values without a word: what is missing is declared, exactly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from edge_agent.core import Samples
from edge_agent.sources.source import Item
from tests.sources.declared import declared
from tests.sources.opcua_plant import Plant, Reader, cut, free_port, source

NAMES = ("a", "b")


@pytest_asyncio.fixture
async def plant() -> AsyncIterator[Plant]:
    plant = await Plant(free_port(), names=NAMES).start()
    yield plant
    await plant.stop()


async def run(plant: Plant, first: int, last: int) -> None:
    """Values first .. last, one publishing interval apart."""
    for k in range(first, last + 1):
        await plant.run("a", k, k)
        await asyncio.sleep(0.06)


def books_close(items: list[Item], last: int) -> list[int]:
    """Every step up to `last` is there or declared, none is both; the missing ones."""
    values = {float(v) for item in items if isinstance(item, Samples) for k, v in zip(item.tag, item.value, strict=True) if k == 0}
    holes = declared(items, len(NAMES), 0)
    missing = [k for k in range(1, last + 1) if float(k) not in values]
    assert [k for k in missing if not any(a < k < b for a, b in holes)] == [], holes
    assert sum(b - a - 1 for a, b in holes) == len(missing), holes
    return missing


@pytest.mark.system
async def test_a_subscription_given_up_with_values_in_its_queue(plant: Plant, tmp_path: Path) -> None:
    before = Reader(source(plant, tmp_path))
    await before.open()
    await run(plant, 1, 3)
    await before.until(0, 3.0)
    kept = list(before.items)
    await run(plant, 4, 5)
    await before.until(0, 5.0, commit=False)
    await before.plc.close()
    await run(plant, 6, 11)
    after = Reader(source(plant, tmp_path))
    after.resume = before.resume
    await after.open()
    await run(plant, 12, 14)
    await after.until(0, 14.0)
    await after.plc.close()
    books_close([*kept, *after.items], 14)


@pytest.mark.system
async def test_messages_that_the_server_sends_again_only_once(plant: Plant, tmp_path: Path) -> None:
    first = Reader(source(plant, tmp_path))
    await first.open()
    await run(plant, 1, 3)
    await first.until(0, 3.0)
    cut(first.plc)
    await run(plant, 4, 11)
    dying = Reader(source(plant, tmp_path))
    dying.resume = first.resume
    await dying.open()
    while not dying.values(0):
        await dying.read(commit=False)
    cut(dying.plc)
    after = Reader(source(plant, tmp_path))
    after.resume = first.resume
    await after.open()
    await run(plant, 12, 14)
    await after.until(0, 14.0)
    await after.plc.close()
    assert books_close([*first.items, *after.items], 14)


@pytest.mark.system
async def test_a_queue_that_ran_over_without_the_overflow_bit(plant: Plant, tmp_path: Path) -> None:
    first = Reader(source(plant, tmp_path, queue_size=5, outstanding=1))
    await first.open()
    await run(plant, 1, 3)
    await first.until(0, 3.0)
    cut(first.plc)
    await asyncio.sleep(0.2)
    next(iter(plant.subscriptions.values())).pub_request_callback = lambda _: None
    for k in range(4, 40):
        await plant.run("a", k, k)
    after = Reader(source(plant, tmp_path, queue_size=5, outstanding=1))
    after.resume = first.resume
    await after.open()
    await after.until(0, 39.0)
    await after.plc.close()
    assert len(books_close([*first.items, *after.items], 39)) >= 20
