"""Power cuts of programs: kill -9 at random points, the broker flapping, a copied disk."""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

from tests.faults.outcome import Happened, fault
from tests.faults.road import Recording, Road


@fault("kill -9 of agent, gateway and broker at random points", "every value stored once; states as if nothing had happened")
def killed(seed: int, folder: Path, long: bool) -> Happened:
    """The agent is also killed while it starts: the pause before the next kill is drawn from 0 to 2 s."""
    rng = random.Random(seed)
    kills = 210 if long else 6
    with Road(folder, Recording(rows=kills * 100, speed=100.0), seed).start() as road:
        road.until("values", road.taken)
        for _ in range(kills):
            victim = rng.choice(("agent", "agent", "gateway", "broker"))
            time.sleep(rng.uniform(0.0, 2.0))
            road.kill(victim)
            road.start(victim)
        books = road.settle(600.0 if long else 90.0)  # what is left of the file is still to be played
        books.closed()
        from tests.system.unbroken import restarts_left_no_trace

        road.children["agent"].stop()
        restarts_left_no_trace(folder / "agent" / "edge.sqlite")
    return Happened(f"{kills} kills; states, windows and models equal those of an unbroken run", books.lost, books.duplicated)


@fault("broker flapping", "every value stored once, nothing declared missing", quick=False)
def flapping(seed: int, folder: Path, long: bool) -> Happened:
    """Up and down every half second: no connection lives long enough to be trusted."""
    rng = random.Random(seed)
    times = 60 if long else 6
    with Road(folder, Recording(rows=times * 100, speed=100.0), seed).start() as road:
        road.until("values", road.taken)
        for _ in range(times):
            road.kill("broker")
            time.sleep(rng.uniform(0.1, 0.6))
            road.start("broker")
            time.sleep(rng.uniform(0.1, 0.8))
        books = road.settle(120.0 if long else 60.0)
        books.closed()
    return Happened(f"{times} times down and up", books.lost, books.duplicated)


@fault("cloned disk image", "both lives are kept whole under epochs of their own, none overwrites the other", quick=False)
def cloned(seed: int, folder: Path, long: bool) -> Happened:
    """A copy of the edge's disk is taken half way and started when the original has ended: it reads the rest of the file once more."""
    rows = 3000 if long else 1000
    with Road(folder, Recording(rows=rows, speed=200.0), seed).start() as road:
        road.until("half of the file", lambda: road.taken() > rows * 5 // 2)
        road.children["agent"].stop()
        at_copy = _taken(road)
        shutil.copytree(folder / "agent", folder / "image")
        road.start("agent")
        road.settle().closed()
        road.children["agent"].stop()
        (folder / "agent").rename(folder / "original")
        (folder / "image").rename(folder / "agent")
        road.start("agent")
        again = rows * 5 - at_copy
        books = road.settle(expected=rows * 5 + again)
        assert books.settled
        assert road.said("new epoch")
        twice = books.duplicated - again
        # Windows that were open when the copy was taken are told by both lives, with the values that were in them.
        assert books.lost == 0
        assert 0 <= twice <= 5 * 40, [(t.stored, t.missing) for t in books.tags]
    return Happened(f"the copy began a new epoch and said so; the {again} values it read itself are kept beside the original's", books.lost, 0)


def _taken(road: Road) -> int:
    """Values that the journal holds; the agent is stopped."""
    from edge_agent.agent.commit import STREAMS
    from edge_agent.agent.recovery import recover
    from edge_agent.core import Log

    log = Log(road.folder / "agent" / "edge.sqlite", STREAMS)
    totals = recover(log).pipeline.totals()
    log.close()
    return sum(int(counts[: road.recording.tags].sum()) for counts in totals.values())
