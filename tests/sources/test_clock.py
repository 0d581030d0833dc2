"""The state of this computer's clock as tags."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_agent.core import NotConnected, Samples, Tag, timex
from edge_agent.core.timex import KernelClock
from edge_agent.sources.clock import ADDRESSES, ClockConfig, ClockSource
from edge_agent.sources.source import Plug

CONFIG = ClockConfig(kind="clock", name="clock", period_s=10)
TOLD = KernelClock(True, -2e-6, 5e-6, 0.0125, -11.5)


def plug(folder: Path) -> Plug:
    tags = [Tag(id=i + 3, name=f"edge/clock/{what}") for i, what in enumerate(ADDRESSES)]
    return Plug("clock", tags, dict(zip((t.id for t in tags), ADDRESSES, strict=True)), lambda: 77, folder)


def test_every_word_of_the_kernel_becomes_a_value_at_once_and_then_each_period(tmp_path: Path) -> None:
    waited: list[float] = []
    told = [TOLD, TOLD, KernelClock(False, 0.0, 0.0, 16.0, 0.0)]

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    async def life() -> list[Samples]:
        source = ClockSource(CONFIG, plug(tmp_path), ask=lambda: told.pop(0), sleep=sleep)
        await source.open(None)
        found = [item for _ in range(2) for item in (await source.read()).items if isinstance(item, Samples)]
        await source.close()
        return found

    first, second = asyncio.run(life())
    assert (first.tag.tolist(), first.value.tolist()) == ([3, 4, 5, 6, 7], [1.0, -2e-6, 5e-6, 0.0125, -11.5])
    assert set(first.time_ns.tolist()) == {77}
    assert (second.value[0], second.value[3], waited) == (0.0, 16.0, [10.0])


def test_a_kernel_that_does_not_tell_is_not_connected(tmp_path: Path) -> None:
    with pytest.raises(NotConnected, match="adjtimex"):
        asyncio.run(ClockSource(CONFIG, plug(tmp_path), ask=lambda: None).open(None))


def test_an_address_that_it_does_not_know_is_told() -> None:
    assert CONFIG.address_mistake("maximum_error_s", "numeric") is None
    assert "expected one of synchronised" in str(CONFIG.address_mistake("drift", "numeric"))
    assert CONFIG.address_mistake("synchronised", "text") == "expected a numeric tag, found kind text"


def test_numbers_come_in_seconds_whatever_unit_the_kernel_counts_in() -> None:
    micro = timex._Timex(offset=-2000, esterror=5, maxerror=12500, freq=-65536)
    assert timex.read(0, micro) == KernelClock(True, -0.002, 5e-6, 0.0125, -1.0)
    nano = timex._Timex(offset=-2000, status=0x2000)
    assert timex.read(5, nano) == KernelClock(False, -2e-6, 0.0, 0.0, 0.0)


def test_this_kernel_tells_or_refuses() -> None:
    found = timex.kernel_clock()
    assert found is None or found.maximum_error_s >= 0
