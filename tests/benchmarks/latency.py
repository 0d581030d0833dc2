"""Sensor to alarm: milliseconds from the source time of a value beyond its limit to its alarm event being durable, at 5,000 values/s over OPC UA.

`python -m tests.benchmarks.latency [--seconds 20] [--publishing 250]`: an asyncua server in a process of its own has 500 variables measured ten
times a second, its notifications encoded in bulk so that it keeps up; each crosses its limit once in five seconds. A real agent with three models
per tag subscribes; the latencies are its own, from /status. Once as the disk is, once with 50 ms added to every commit. A value waits up to one
publishing interval at the server, which no client can shorten: figures are also given beyond it. Prints a table and one JSON line; never fails on
time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from asyncua import ua

from tests.benchmarks import _plant
from tests.benchmarks._opcua import URI, serving
from tests.benchmarks.opcua_decode import ITEM
from tests.system.processes import Child, free_port, script

TAGS, PERIOD_S, STEPS = 500, 0.1, 20
CROSSES_EVERY = 50
"""Values of a tag from one crossing to the next."""
AIM_BEYOND_MS = 100.0
SLOW = """
import sys, time
from edge_agent.core import Log
commit = Log.commit
def slow(*args, **kwargs):
    time.sleep(0.05)
    return commit(*args, **kwargs)
Log.commit = slow
from edge_agent.__main__ import main
sys.argv = ["edge-agent", *sys.argv[1:]]
main()
"""


class Values:
    """What has been measured since the last notification; it replaces asyncua's own queues, with which the server came up to 200 ms late."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray[Any, Any]] = []
        self._handles: np.ndarray[Any, Any] | None = None

    def add(self, first: int, value: np.ndarray[Any, Any]) -> None:
        """Values of the tags from `first` on, measured now."""
        items = np.zeros(len(value), ITEM)
        items["handle"], items["value"] = np.arange(first, first + len(value)), value
        items["source"] = items["server"] = 116_444_736_000_000_000 + time.time_ns() // 100
        self._parts.append(items)

    def body(self, monitored: dict[int, Any], nodes: list[ua.NodeId]) -> bytes | None:
        """A DataChangeNotification of all of them; None when there is none or not every tag is subscribed to yet."""
        if self._handles is None and len(monitored) == len(nodes):
            place = {item.read_value_id.NodeId: item.client_handle for item in monitored.values()}
            self._handles = np.array([place[node] for node in nodes], np.uint32)
        parts, self._parts = self._parts, []
        if self._handles is None or not parts:
            return None
        items = np.concatenate(parts)
        items["handle"], items["mask"], items["kind"] = self._handles[items["handle"]], 0x0F, 11
        return len(items).to_bytes(4, "little") + items.tobytes() + b"\xff\xff\xff\xff"


async def serve(port: int) -> None:
    """Measure all tags in 20 portions a period, until killed; once a second say how many values there were and how late the portions came."""
    values = Values()
    async with serving(port, TAGS, values.body):
        levels, all_tags = _plant.level(TAGS), np.arange(TAGS)
        begin, step, written, late = time.monotonic(), 0, 0, 0.0
        while True:
            due = begin + step * PERIOD_S / STEPS
            if due > time.monotonic():
                await asyncio.sleep(due - time.monotonic())
            late = max(late, time.monotonic() - due)
            turn, portion = divmod(step, STEPS)
            mine = all_tags[portion * TAGS // STEPS : (portion + 1) * TAGS // STEPS]
            over = (turn + 7 * mine) % CROSSES_EVERY == 0
            values.add(int(mine[0]), levels[mine] * np.where(over, 1.06, 1.0 + 0.0001 * ((turn * 31 + mine) % 17)))
            written, step = written + len(mine), step + 1
            if portion == STEPS - 1 and turn % 10 == 9:
                print(json.dumps({"written": written, "late_ms": late * 1e3, "t": time.monotonic()}), flush=True)
                late = 0.0


def config(folder: Path, opcua: int, http: int, publishing_ms: float) -> Path:
    """The agent's file."""
    found = _plant.agent_config(
        TAGS,
        period_s=PERIOD_S,
        folder=str(folder / "data"),
        sources=[{"name": "plc", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{opcua}/", "namespace": URI, "publishing_ms": publishing_ms}],
        http={"port": http},
    )
    for tag in found["tags"]:
        tag |= {"source": "plc", "address": f"s={tag['name']}"}
    return _plant.written(found, folder / "agent.yaml")


def run(folder: Path, publishing_ms: float, seconds: float, *, slow: bool) -> dict[str, float]:
    """One server, one agent; the latencies of `seconds` after the models have learned."""
    folder.mkdir()
    opcua, http = free_port(), free_port()
    path = config(folder, opcua, http, publishing_ms)
    server_args = [sys.executable, "-m", "tests.benchmarks.latency", "--serve", str(opcua)]
    agent_args = ["run", "-c", str(path)]
    with Child(server_args, log=folder / "server.log") as server:
        server.wait_for("ready", 60)
        status = f"http://127.0.0.1:{http}/status"
        command = [sys.executable, "-c", SLOW, *agent_args] if slow else [script("edge-agent"), *agent_args]
        with Child(command, log=folder / "agent.log") as agent:
            _plant.until(lambda: (_plant.asked(status) or {}).get("samples", {}).get("good", 0) > 150 * TAGS)
            before, cpu, t0 = _plant.asked(status), (_plant.cpu_s(agent.process.pid), _plant.cpu_s(server.process.pid)), time.monotonic()
            time.sleep(seconds)
            after, took = _plant.asked(status), time.monotonic() - t0
            used = [(now - then) / took for now, then in zip((_plant.cpu_s(agent.process.pid), _plant.cpu_s(server.process.pid)), cpu, strict=True)]
            agent.stop()
        lines = _told_by(server)
    counted = after["latency"]["n"] - before["latency"]["n"]
    latencies = after["latencies_ms"][-counted:]
    cuts = statistics.quantiles(latencies, n=100)
    recent = lines[-max(2, int(seconds)) :]
    return {
        "n": len(latencies),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "p50_beyond_ms": cuts[49] - publishing_ms,
        "p99_beyond_ms": cuts[98] - publishing_ms,
        "values_s": (after["samples"]["good"] - before["samples"]["good"]) / took,
        "written_s": (recent[-1]["written"] - recent[0]["written"]) / (recent[-1]["t"] - recent[0]["t"]),
        "server_late_ms": max(line["late_ms"] for line in recent),
        "agent_cpu": used[0],
        "server_cpu": used[1],
    }


def _told_by(server: Child) -> list[dict[str, Any]]:
    server.kill()
    return [json.loads(line) for line in server.rest() if line.startswith("{")]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--publishing", type=float, default=250.0)
    parser.add_argument("--serve", type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if args.serve:
        asyncio.run(serve(args.serve))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = _plant.fsync_ms(folder)
        found = {what: run(folder / what, args.publishing, args.seconds, slow=what == "slow") for what in ("as_is", "slow")}
    print(f"{TAGS} variables, 10 values a second each; publishing interval {args.publishing:g} ms")
    print(f"  the limit: 64 KiB made durable on this disk, p50 {disk['fsync_p50_ms']:.2f} ms, p99 {disk['fsync_p99_ms']:.2f} ms")
    for what, row in found.items():
        print(f"  {'disk as it is' if what == 'as_is' else '50 ms added to every commit'}: {row['n']} alarms")
        beyond = f"beyond the publishing interval p99 {row['p99_beyond_ms']:.1f} ms (aim {AIM_BEYOND_MS:g})"
        print(f"    p50 {row['p50_ms']:.1f} ms, p99 {row['p99_ms']:.1f} ms; {beyond}")
        served = f"{row['values_s']:.0f} values/s judged of {row['written_s']:.0f} measured, up to {row['server_late_ms']:.0f} ms late at the server"
        print(f"    {served}; CPU of one core: agent {row['agent_cpu']:.0%}, server {row['server_cpu']:.0%}")
    flat = {f"{what}_{k}": v for what, row in found.items() for k, v in row.items()}
    _plant.told("latency", flat | disk | {"publishing_ms": args.publishing, "aim_beyond_ms": AIM_BEYOND_MS})


if __name__ == "__main__":
    main()
