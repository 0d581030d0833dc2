"""Sensor to screen: milliseconds from a value beyond its limit being sent to its alarm being drawn on the alarm page of a real browser.

`python -m tests.benchmarks.console_latency [--alarms 200] [--pause 0.15]`: a sensor publishes over MQTT, a real agent judges, its uplink and a real
gateway carry, headless Chromium with the console open draws; one clock for all. Each alarm is taken as seen in the frame after its line stands in
the page. Beside it: the agent's own time to the durable alarm, and the time a frame takes on the same page with nothing new on it.
Prints a table and one JSON line; never fails on time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from playwright.sync_api import sync_playwright

from tests.benchmarks import _plant
from tests.gateway import road
from tests.gateway.console.conftest import ARGUMENTS, CHROMIUM
from tests.system.processes import Child, free_port, script

AIM_MS = 1000.0
WATCH = """() => {
    window.seen = {};
    const look = () => {
        for (const node of document.querySelectorAll('.alarm-row[data-occurrence]')) {
            const alarm = node.dataset.occurrence.split('~')[1];
            if (!(alarm in window.seen)) {
                window.seen[alarm] = null;
                requestAnimationFrame(() => { window.seen[alarm] = Date.now(); });
            }
        }
    };
    new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['data-occurrence'] });
}"""
FRAME = """() => new Promise(go => {
    const begin = performance.now();
    requestAnimationFrame(() => requestAnimationFrame(() => go((performance.now() - begin) / 2)));
})"""


def config(folder: Path, names: list[str], mqtt_port: int, http: int) -> Path:
    """The agent's file."""
    source = {"name": "plc", "kind": "mqtt", "host": "127.0.0.1", "port": mqtt_port, "client_id": "agent", "topics": ["plant/#"], "prefix": "plant/"}
    found = {
        "edge": {"site": "demo", "id": "e1", "data_dir": str(folder / "edge")},
        "sources": [source],
        "tags": [{"name": name, "source": "plc", "unit": "Cel", "report": {"kind": "by_exception"}} for name in names],
        "alarms": [{"name": f"{name}.high", "kind": "limit", "tag": name, "limit": 100, "priority": 2} for name in names],
        "uplinks": [{"name": "site", "kind": "gateway", "host": "127.0.0.1", "port": mqtt_port, "gateways": ["gw1"]}],
        "http": {"port": http},
    }
    return _plant.written(found, folder / "agent.yaml")


def measure(folder: Path, alarms: int, pause_s: float) -> dict[str, float]:
    """One run of all processes."""
    names = [f"u{i // 50:02}/t{i:03}" for i in range(alarms)]
    mqtt_port, http, console = free_port(), free_port(), free_port()
    broker = road.broker(folder, mqtt_port)
    gateway, _ = road.gateway(folder, mqtt_port, console)
    sensor = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-sensor")
    sensor.connect("127.0.0.1", mqtt_port)
    sensor.loop_start()
    command = [script("edge-agent"), "run", "-c", str(config(folder, names, mqtt_port, http))]
    try:
        with Child(command, log=folder / "agent.log"), sync_playwright() as driver:
            status = f"http://127.0.0.1:{http}/status"

            def heard() -> bool:
                for name in names:
                    sensor.publish(f"plant/{name}", "20.0", qos=1)
                time.sleep(0.5)
                return bool((_plant.asked(status) or {}).get("samples", {}).get("good", 0) >= alarms)

            _plant.until(heard, every_s=0.5)
            _plant.until(lambda: (road.get(console, "/api/v1/tags") or {}).get("tags"))
            browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(f"http://127.0.0.1:{console}/#/alarms?grouped=0")
            page.wait_for_selector("body:not(.lost) footer .edge-link[data-good]", state="attached", timeout=30_000)
            frames = [float(page.evaluate(FRAME)) for _ in range(30)]
            page.evaluate(WATCH)
            sent: dict[str, float] = {}
            for name in names:
                sent[f"{name}.high"] = time.time() * 1e3
                sensor.publish(f"plant/{name}", "120.0", qos=1).wait_for_publish(10)
                page.wait_for_timeout(pause_s * 1e3)
            _plant.until(lambda: page.evaluate("Object.values(window.seen).filter(Boolean).length") >= alarms, 60)
            seen: dict[str, Any] = page.evaluate("window.seen")
            edge = (_plant.asked(status) or {}).get("latencies_ms", [])[-alarms:]
            browser.close()
    finally:
        sensor.loop_stop()
        sensor.disconnect()
        gateway.kill()
        broker.kill()
    took = [seen[alarm] - at for alarm, at in sent.items()]
    cuts, at_edge = statistics.quantiles(took, n=100), statistics.quantiles(edge, n=100) if len(edge) > 1 else [0.0] * 99
    return {
        "n": len(took),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
        "max_ms": max(took),
        "edge_p50_ms": at_edge[49],
        "edge_p99_ms": at_edge[98],
        "frame_ms": statistics.median(frames),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--alarms", type=int, default=200)
    parser.add_argument("--pause", type=float, default=0.15)
    args = parser.parse_args()
    if not CHROMIUM.exists():
        print(f"{CHROMIUM} is not installed")
        sys.exit(0)
    with tempfile.TemporaryDirectory() as name:
        found = measure(Path(name), args.alarms, args.pause)
    print(f"{found['n']:.0f} alarms, one every {args.pause:g} s, from the sensor to the line on the screen (aim p99 < {AIM_MS:g} ms)")
    print(f"  p50 {found['p50_ms']:.0f} ms, p99 {found['p99_ms']:.0f} ms, longest {found['max_ms']:.0f} ms")
    print(f"  of it to the durable alarm at the edge: p50 {found['edge_p50_ms']:.0f} ms, p99 {found['edge_p99_ms']:.0f} ms")
    print(f"  a frame of the browser with nothing new: {found['frame_ms']:.0f} ms")
    _plant.told("console_latency", found | {"aim_p99_ms": AIM_MS})


if __name__ == "__main__":
    main()
