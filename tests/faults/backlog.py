"""Long outages and little memory: a day without a gateway, drained afterwards, and an agent that may not grow."""

from __future__ import annotations

import time
from pathlib import Path

from simulators.children import Child
from tests.faults.live import Line, Witness
from tests.faults.outcome import Happened, fault
from tests.faults.road import Recording, Road


def peak_mb(child: Child) -> float:
    """Most memory that a process has held, MB."""
    assert child.process is not None
    status = Path(f"/proc/{child.process.pid}/status").read_text("ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@fault("outage of the gateway, compressed, with its backlog",
       "drained at least 50 times faster than it arose, live values of after the return first, every value stored once", quick=False)  # fmt: skip
def outage(seed: int, folder: Path, long: bool) -> Happened:
    """A day (long) or six hours of 20 tags, 1 value a second each, are taken while broker and gateway are away; on return a machine begins to speak.

    The small form lets less be on its way at once, so that live values have something to overtake.
    """
    hours = 24 if long else 6  # less is drained before a live value could overtake it
    recording = Recording(rows=hours * 3600, tags=20, speed=0.0)
    road = Road(folder, recording, seed)
    if not long:
        path = folder / "agent.yaml"
        path.write_text(path.read_text("utf-8").replace("kind: gateway,", "kind: gateway, window_bytes: 262144,"), "utf-8")
    with Line(road) as line, road:
        line.up()
        road.start("agent")
        total = recording.rows * recording.tags
        road.until("all values to be taken", lambda: road.taken() >= total, 600.0)
        road.until("the line", line.connected, 120.0)
        road.start("broker")
        with Witness(road.ports.mqtt, line.tag) as witness:
            began = time.monotonic()
            line.talk()
            road.start("gateway")
            road.until("the backlog to be drained", lambda: road.stored() >= total * 0.99, 600.0)
            drained_s = time.monotonic() - began
            live = witness.while_draining()
            road.sent += line.hush()
            books = road.settle(120.0)
        books.closed()
        times = hours * 3600 / drained_s
        assert times >= 50, times
        delays = sorted(d.delay_s for d in live)
        assert delays, "no live value came before the backlog was there"
        p99 = delays[len(delays) * 99 // 100]
        # Behind all that was missed a value would come as late as the backlog takes from then on.
        assert p99 < max(5.0, drained_s / 4), (p99, drained_s)
        memory = peak_mb(road.children["agent"])
    return Happened(f"{hours} h, {total} values drained in {drained_s:.1f} s with starting broker and gateway: {times:.0f} times real time; "
                    f"meanwhile {len(live)} live values there after {delays[len(delays) // 2]:.1f} s (median) and {p99:.1f} s (p99), with up to "
                    f"{max(d.behind for d in live)} records of before still to come; agent at most {memory:.0f} MB",
                    books.lost, books.duplicated)  # fmt: skip


@fault("memory limit", "the intake is bounded: sources wait instead of memory growing", quick=False)
def memory(seed: int, folder: Path, long: bool) -> Happened:
    """A file is read as fast as it goes while every commit takes a second; the intake may hold 1 MB."""
    recording = Recording(rows=20_000 if long else 4_000, tags=20, speed=0.0)
    with Road(folder, recording, seed, outbox="{max_bytes: 2000000000, queue_bytes: 1048576}") as road:
        (folder / "commit_ms").write_text("300")
        road.start()
        road.until("values", road.taken)
        at_first = peak_mb(road.children["agent"])
        most_waiting, until = 0, time.monotonic() + (30 if long else 8)
        while time.monotonic() < until:
            most_waiting = max(most_waiting, int(road.status.get("waiting_bytes", 0)))
            time.sleep(0.2)
        (folder / "commit_ms").write_text("0")
        books = road.settle(180.0)
        books.closed()
        grown = peak_mb(road.children["agent"]) - at_first
        assert most_waiting < 3 << 20, most_waiting
        assert grown < 80, grown
    return Happened(f"at most {most_waiting / 1e6:.1f} MB waited, the agent grew by {grown:.0f} MB", books.lost, books.duplicated)
