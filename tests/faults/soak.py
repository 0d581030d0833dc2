"""`python -m tests.faults.soak`: connections come and go for SECONDS (default 3600) from SEED (default: drawn and printed); memory must stay flat.

A press over OPC UA and MQTT and a recorded file feed one agent; every few seconds the press, the broker or the gateway is killed and started
again. Resident memory of agent and gateway is taken every second. The median of the last quarter may lie above that of the second quarter by
GROWTH_MB at most (the first quarter warms up). The last line is JSON; exit code 1 when memory grew or a value was lost or doubled.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from simulators.children import Child, answers, free_port, wait_for
from tests.faults.asked import seed_and_seconds
from tests.faults.road import Recording, Road

ROOT = Path(__file__).resolve().parents[2]
GROWTH_MB = 8.0


def rss_mb(child: Child) -> float:
    """Resident memory of a process, MB; 0 while it is down."""
    if child.process is None or child.process.poll() is not None:
        return 0.0
    try:
        status = Path(f"/proc/{child.process.pid}/status").read_text("ascii")
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024 if "VmRSS:" in status else 0.0


def with_press(road: Road, opcua: int) -> Child:
    """Add the sources and tags of the press to the agent of a road; returns the press, not yet started."""
    path = road.folder / "agent.yaml"
    config: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    config["sources"] += [
        {"name": "press_ua", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{opcua}/"},
        {"name": "press_mqtt", "kind": "mqtt", "host": "127.0.0.1", "port": road.ports.mqtt, "client_id": "soak", "topics": ["plant/#"]},
    ]
    config["tags"].append({"csv": str(ROOT / "configs/demo/tags.csv")})
    path.write_text(yaml.safe_dump(config), "utf-8")
    command = [sys.executable, "-m", "simulators", "run", "press", "--opcua-port", str(opcua), "--mqtt", f"127.0.0.1:{road.ports.mqtt}"]
    return Child("press", command, road.folder / "press.log", ROOT)


def soak(seed: int, seconds: float, folder: Path) -> dict[str, Any]:
    """Let connections come and go; the figures of the run."""
    rng = random.Random(seed)
    speed = 20.0
    rss: dict[str, list[float]] = {"agent": [], "gateway": []}
    cuts = {"press": 0, "broker": 0, "gateway": 0}
    opcua = free_port()
    with Road(folder, Recording(rows=max(1, int(seconds * speed)), speed=speed), seed) as road:
        press = with_press(road, opcua)
        road.start("broker")
        press.start()
        try:
            assert wait_for(lambda: answers(opcua), 30.0), press.tail()
            road.start("gateway", "agent")
            road.until("values", road.taken)
            until, cut_at = time.monotonic() + seconds, time.monotonic() + 3.0
            while time.monotonic() < until:
                if time.monotonic() >= cut_at:
                    victim = rng.choice(sorted(cuts))
                    cuts[victim] += 1
                    child = press if victim == "press" else road.children[victim]
                    child.kill()
                    time.sleep(rng.uniform(0.1, 1.0))
                    child.start()
                    cut_at = time.monotonic() + rng.uniform(2.0, 8.0)
                rss["agent"].append(rss_mb(road.children["agent"]))
                rss["gateway"].append(rss_mb(road.children["gateway"]))
                time.sleep(min(1.0, max(0.0, until - time.monotonic())))
        finally:
            press.stop()
        sent = sum(s.n for s in road.sent)
        patience = time.monotonic() + 90.0
        while road.stored() < sent and time.monotonic() < patience:
            time.sleep(0.5)
        books = road.settle(1.0)
    quarters = {name: [round(statistics.median(part), 1) if part else 0.0 for part in _quarters(values)] for name, values in rss.items()}
    grown = round(quarters["agent"][3] - quarters["agent"][1], 1)
    return {"seed": seed, "seconds": seconds, "cuts": cuts, "rss_mb_by_quarter": quarters, "grown_mb": grown,
            "values": sent, "lost": books.lost, "duplicated": books.duplicated}  # fmt: skip


def _quarters(values: list[float]) -> list[list[float]]:
    n = len(values)
    return [[v for v in values[n * q // 4 : n * (q + 1) // 4] if v] for q in range(4)]


def main() -> int:
    """Soak and tell."""
    seed, seconds = seed_and_seconds("soak", "Connections come and go; memory must stay flat.", 3600.0)
    with tempfile.TemporaryDirectory(prefix="pharmedge-soak-") as folder:
        found = soak(seed, seconds, Path(folder))
    print(json.dumps(found))
    return 1 if found["grown_mb"] > GROWTH_MB or found["lost"] or found["duplicated"] else 0


if __name__ == "__main__":
    sys.exit(main())
