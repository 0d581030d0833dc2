"""The OPC UA source as a process that is killed at random moments while a server goes on: nothing is lost in silence and nothing is made up."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.server.internal_subscription import InternalSubscription

from edge_agent.core import Connection, Overflow, Samples
from edge_agent.sources.source import Item
from tests.sources.declared import declared
from tests.sources.opcua_child import journal
from tests.sources.opcua_plant import START_NS, STEP_NS, Plant, free_port

NAMES = ("a", "b")


def told(lines: list[dict[str, Any]]) -> list[Item]:
    """The items of a journal, in order."""
    items: list[Item] = []
    for line in lines:
        items += [Connection(received_ns=0, source="plc", state=state) for state in line["states"] if state in ("connected", "resumed")]
        items += [Overflow(received_ns=0, source="plc", tag=k, after_ns=after, before_ns=before) for k, after, before in line["holes"]]
        tag, time, value = zip(*line["rows"], strict=True) if line["rows"] else ((), (), ())
        ids, times, status = np.array(tag, np.int32), np.array(time, np.int64), np.zeros(len(tag), np.uint32)
        items.append(Samples(tag=ids, time_ns=times, value=np.array(value, np.float64), status=status, received_ns=0))
    return items


def _keeps_what_it_sent_again(subscription: InternalSubscription, sequence: int) -> ua.NotificationMessage:
    found = subscription._not_acknowledged_results.get(sequence)
    return found.NotificationMessage if found else ua.NotificationMessage()


@pytest.mark.system
@pytest.mark.parametrize("queue_size", [200, 4])
async def test_killed_at_random_moments_every_value_is_in_the_journal_or_declared_missing(
    tmp_path: Path, queue_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # OPC 10000-4, 5.14.6: only an acknowledgement removes a message. asyncua's server removes it with its first Republish, so that a reader
    # killed between that and its commit finds a hole (and declares it): with that server nothing could be asked of the large queue.
    monkeypatch.setattr(InternalSubscription, "republish", _keeps_what_it_sent_again)
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    plant = await Plant(free_port(), names=NAMES).start()
    command = [sys.executable, "-m", "tests.sources.opcua_child", str(plant.port), str(tmp_path), str(queue_size), *NAMES]
    step = 0

    async def live(seconds: float) -> None:
        nonlocal step
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            step += 1
            for name in NAMES:
                await plant.run(name, step, step)
            await asyncio.sleep(0.03)

    def seen(tag: int) -> list[float]:
        return [row[2] for line in journal(tmp_path) for row in line["rows"] if row[0] == tag]

    child = subprocess.Popen(command)
    try:
        for _ in range(200):
            await live(0.1)
            if seen(0):
                break
        for _ in range(5):
            await live(chance.uniform(0.2, 1.0))
            child.kill()
            child.wait()
            await live(chance.uniform(0.0, 0.6))
            child = subprocess.Popen(command)
            await live(0.5)
        for _ in range(200):
            await asyncio.sleep(0.1)
            if all(step in seen(tag) for tag in range(len(NAMES))):
                break
    finally:
        child.kill()
        child.wait()
        await plant.stop()
    lines = journal(tmp_path)
    states = [state for line in lines for state in line["states"]]
    for tag in range(len(NAMES)):
        values, holes = set(seen(tag)), declared(told(lines), len(NAMES), tag)
        missing = [k for k in range(int(min(values)), step + 1) if k not in values]
        assert [k for k in missing if not any(after < k < before for after, before in holes)] == [], f"seed {seed}, {states}, {holes}"
        # What is declared is missing indeed: no hole is wider than what it stands for.
        assert sum(before - after - 1 for after, before in holes) == len(missing), f"seed {seed}, {states}, {holes}"
        if queue_size == 200 and states.count("connected") == 1:
            # On a computer that is too busy to answer for seconds a subscription is given up; what that costs is declared like anything else.
            assert missing == [], f"seed {seed}, {states}, {holes}"
    rows = {tuple(row) for line in lines for row in line["rows"]}
    assert all(time == START_NS + int(value) * STEP_NS for _, time, value in rows), f"seed {seed}"
    assert states[0] == "connected", f"seed {seed}, {states}"
