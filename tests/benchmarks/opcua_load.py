"""5,000 tags at 10 Hz over OPC UA: whether a real agent holds them on loopback, with every value of every tag once in its journal.

`python -m tests.benchmarks.opcua_load [--tags 5000] [--seconds 60]`: an asyncua server in a process of its own measures all tags every 100 ms,
its notifications encoded in bulk so that it keeps up. Each value is the number of its measurement. A real agent with a limit alarm and a robust z
on every tag subscribes and is stopped; then its journal is read and each number from the first to the last is looked for at each tag. Beside it:
how far behind its own clock the server was, and the processor time of both. Prints a table and one JSON line; never fails on time, ends with exit
code 1 when a value is lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from asyncua import ua

from edge_agent.agent.commit import STREAMS
from edge_agent.agent.opening import FILE
from edge_agent.agent.recovery import entries
from edge_agent.core import Log, Samples
from tests.benchmarks import _plant
from tests.benchmarks._opcua import URI, serving
from tests.benchmarks.opcua_decode import ITEM
from tests.system.processes import Child, free_port, script

PERIOD_S: Final = 0.1
PERIOD_TICKS: Final = 1_000_000
"""100 ms in OPC UA's ticks of 100 ns."""
HIGHEST: Final = 1e6


class Measured:
    """All tags every 100 ms from the first subscription to all of them on; the value is the number of the measurement."""

    def __init__(self) -> None:
        self._items: np.ndarray[Any, Any] | None = None
        self.begun, self.number, self.late_s = 0.0, 0, 0.0

    def body(self, monitored: dict[int, Any], nodes: list[ua.NodeId]) -> bytes | None:
        """A DataChangeNotification of what has been measured since the last one; None when there is none."""
        if self._items is None:
            if len(monitored) < len(nodes):
                return None
            place = {item.read_value_id.NodeId: item.client_handle for item in monitored.values()}
            self._items = np.zeros(len(nodes), ITEM)
            self._items["handle"], self._items["mask"], self._items["kind"] = [place[node] for node in nodes], 0x0F, 11
            self._items["source"] = 116_444_736_000_000_000 + time.time_ns() // 100
            self.begun = time.monotonic()
        behind = time.monotonic() - self.begun - self.number * PERIOD_S
        self.late_s = max(self.late_s, behind)
        parts = []
        while self.number * PERIOD_S <= time.monotonic() - self.begun:
            self.number += 1
            self._items["value"] = self.number
            self._items["source"] += PERIOD_TICKS
            self._items["server"] = self._items["source"]
            parts.append(self._items.tobytes())
        if not parts:
            return None
        return (len(parts) * len(nodes)).to_bytes(4, "little") + b"".join(parts) + b"\xff\xff\xff\xff"


async def serve(port: int, tags: int) -> None:
    """Measure until killed; once a second say how many measurements there were and how late they came."""
    measured = Measured()
    async with serving(port, tags, measured.body):
        while True:
            await asyncio.sleep(1)
            print(json.dumps({"measured": measured.number, "late_ms": measured.late_s * 1e3}), flush=True)
            measured.late_s = 0.0


def config(folder: Path, tags: int, opcua: int, http: int) -> Path:
    """The agent's file."""
    found = _plant.agent_config(
        tags,
        models=("robust_z",),
        period_s=PERIOD_S,
        folder=str(folder / "data"),
        sources=[{"name": "plc", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{opcua}/", "namespace": URI, "publishing_ms": PERIOD_S * 1e3}],
        outbox={"journal_bytes": 10_000_000_000},
        http={"port": http},
    )
    for tag, alarm in zip(found["tags"], found["alarms"], strict=True):
        tag |= {"source": "plc", "address": f"s={tag['name']}", "range": [0, HIGHEST]}
        alarm |= {"limit": HIGHEST - 1.0, "deadband": 0.0}
    return _plant.written(found, folder / "agent.yaml")


def held(folder: Path, tags: int) -> dict[str, float]:
    """What the journal has of each tag: measurements from the first to the last, how many values are missing among them and how many twice."""
    seen = np.zeros((tags, 1 << 16), np.uint16)
    log = Log(folder / "data" / FILE, STREAMS)
    try:
        for entry in entries(log, 0):
            if isinstance(entry, Samples):
                mine = entry.tag < tags
                np.add.at(seen, (entry.tag[mine], entry.value[mine].astype(np.int64)), 1)
    finally:
        log.close()
    numbers = np.flatnonzero(seen[:, 1:].any(axis=0)) + 1
    span = seen[:, numbers[0] : numbers[-1] + 1]
    return {"measurements": int(span.shape[1]), "values": int(span.sum()), "lost": int((span == 0).sum()), "doubled": int((span > 1).sum())}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tags", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--serve", type=int, default=0)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if args.serve:
        asyncio.run(serve(args.serve, args.tags))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        opcua, http = free_port(), free_port()
        path = config(folder, args.tags, opcua, http)
        status = f"http://127.0.0.1:{http}/status"
        command = [sys.executable, "-m", "tests.benchmarks.opcua_load", "--tags", str(args.tags), "--serve", str(opcua)]
        with Child(command, log=folder / "server.log") as server:
            server.wait_for("ready", 120)
            with Child([script("edge-agent"), "run", "-c", str(path)], log=folder / "agent.log") as agent:
                _plant.until(lambda: (_plant.asked(status) or {}).get("samples", {}).get("good", 0) > 20 * args.tags)
                cpu, begun = (_plant.cpu_s(agent.process.pid), _plant.cpu_s(server.process.pid)), time.monotonic()
                time.sleep(args.seconds)
                took = time.monotonic() - begun
                used = [(_plant.cpu_s(child.process.pid) - then) / took for child, then in zip((agent, server), cpu, strict=True)]
                memory = _plant.rss_mb(agent.process.pid)
                agent.stop()
            server.kill()
            lines = [json.loads(line) for line in server.rest() if line.startswith("{")]
        found = held(folder, args.tags)
    late = max(line["late_ms"] for line in lines[-max(2, int(args.seconds)) :])
    print(f"{args.tags} tags at {1 / PERIOD_S:g} Hz for {args.seconds:g} s and while it began: {found['measurements']} measurements")
    print(f"  {found['values']} values in the journal, lost {found['lost']}, doubled {found['doubled']}")
    print(f"  one core: agent {used[0]:.0%}, server {used[1]:.0%}; agent {memory:.0f} MB; the server up to {late:.0f} ms behind its own clock")
    _plant.told("opcua_load", found | {"tags": args.tags, "agent_cpu": used[0], "server_cpu": used[1], "agent_mb": memory, "server_late_ms": late})
    sys.exit(1 if found["lost"] or found["doubled"] else 0)


if __name__ == "__main__":
    main()
