"""The live stream: greeting, pace, merging, slow clients, stopping."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.console import live as module
from gateway.console.live import QUEUE_FRAMES, Busy, Live, LiveResponse, Pace
from tests.gateway.console.plant import Plant

FAST = Pace(values_s=0.05, beat_s=0.1, look_s=0.005, stall_s=0.2)


def parse(data: bytes) -> list[tuple[str, Any]]:
    events = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        if "event" in lines:
            events.append((lines["event"], json.loads(lines["data"])))
    return events


class Page:
    """A client at the other end of the ASGI connection."""

    def __init__(self, live: Live, *, stuck_after: int | None = None) -> None:
        self.live = live
        self.events: list[tuple[str, Any]] = []
        self.messages = 0
        self.left = asyncio.Event()
        self.stuck_after = stuck_after

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.messages += 1
        if self.stuck_after is not None and self.messages > self.stuck_after:
            await asyncio.Event().wait()
        self.events.extend(parse(message.get("body", b"")))

    async def visit(self) -> None:
        await LiveResponse(self.live, await self.live.open())({}, self.receive, self.send)

    async def until(self, name: str, count: int = 1) -> None:
        async with asyncio.timeout(5):
            while sum(event == name for event, _ in self.events) < count:
                await asyncio.sleep(0.005)


async def test_hello_comes_first_then_beats_values_alarms_and_edges() -> None:
    plant = Plant()
    live = Live(plant, lambda: {"version": "7"}, pace=FAST, clock=lambda: 42)
    page = Page(live)
    visit = asyncio.create_task(page.visit())
    await page.until("beat", 2)
    occurrence = plant.raise_alarm("press1/main_force", "high", 1)
    plant.tell(tags=True)
    for name in ("alarms", "values", "edges", "tags"):
        await page.until(name)
    assert page.events[0] == ("hello", {"server_ns": 42, "version": "7"})
    assert ("beat", {"server_ns": 42}) in page.events
    values = next(data for name, data in page.events if name == "values")["v"]
    time_ns, value, status = values["press-edge-1:press1/turret_speed"]
    assert (type(time_ns), type(value), status) == (int, float, 0x42090000)
    rows = next(data for name, data in page.events if name == "alarms")["alarms"]
    assert rows[0]["occurrence"] == occurrence
    page.left.set()
    await visit
    assert live.clients == 0
    async with asyncio.timeout(5):
        while plant.subscriptions:
            await asyncio.sleep(0.005)


async def test_values_come_at_the_pace_however_often_they_change() -> None:
    plant = Plant()
    live = Live(plant, dict, pace=Pace(values_s=0.2, beat_s=10, look_s=0.001))
    page = Page(live)
    visit = asyncio.create_task(page.visit())
    await page.until("beat")
    loop = asyncio.get_running_loop()
    began = loop.time()
    while loop.time() - began < 0.9:
        plant.tell()
        await asyncio.sleep(0.002)
    elapsed = loop.time() - began
    assert 1 <= sum(name == "values" for name, _ in page.events) <= elapsed / 0.2 + 1
    page.left.set()
    await visit


async def test_a_client_that_takes_nothing_is_cut_off_and_the_others_go_on() -> None:
    plant = Plant()
    live = Live(plant, dict, pace=FAST)
    stuck, well = Page(live, stuck_after=2), Page(live)
    visits = [asyncio.create_task(page.visit()) for page in (stuck, well)]
    async with asyncio.timeout(5):
        await visits[0]
    assert live.cut_off_total == 1
    before = sum(name == "beat" for name, _ in well.events)
    await well.until("beat", before + 2)
    assert live.clients == 1
    well.left.set()
    await visits[1]


async def test_a_full_queue_cuts_off_without_growing() -> None:
    live = Live(Plant(), dict, pace=Pace(values_s=0.01, beat_s=0.01, look_s=0.001))
    client = await live.open()
    async with asyncio.timeout(5):
        await client.gone.wait()
    assert client.frames.qsize() == QUEUE_FRAMES
    assert live.cut_off_total == 1
    await live.close()


async def test_closing_ends_every_stream_and_refuses_new_ones() -> None:
    live = Live(Plant(), dict, pace=FAST)
    page = Page(live)
    visit = asyncio.create_task(page.visit())
    await page.until("beat")
    await live.close()
    async with asyncio.timeout(5):
        await visit
    with pytest.raises(Busy):
        await live.open()


async def test_pages_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 1)
    live = Live(Plant(), dict, pace=FAST)
    await live.open()
    with pytest.raises(Busy):
        await live.open()
    await live.close()


async def test_when_the_look_fails_no_page_goes_on_believing() -> None:
    plant = Plant()
    live = Live(plant, dict, pace=FAST)
    page = Page(live)
    visit = asyncio.create_task(page.visit())
    await page.until("beat")
    (subscription,) = plant.subscriptions

    async def broken(_timeout: float) -> None:
        raise OSError("the store is gone")

    subscription.take = broken  # type: ignore[assignment,method-assign]
    async with asyncio.timeout(5):
        await visit
    assert live.clients == 0
    pump = live._pump
    assert pump is not None
    assert isinstance(pump.exception(), OSError)
