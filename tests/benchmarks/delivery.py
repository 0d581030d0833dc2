"""MB and records per second from a full outbox through a broker into a gateway's inbox: real agent, real gateway, nats-server and Mosquitto.

`python -m tests.benchmarks.delivery [--rows 6000000]`: an outbox is filled by the agent's own pipeline and commits, then `edge-agent run` and
`edge-gateway run` meet at the broker; what counts is what the gateway says it has committed, from its first answer to its last. Beside it in the
same run: a paho client publishing the same bytes in messages of the same size with QoS 1 to another that only counts them. Prints a table and one
JSON line; never fails on time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt

from edge_agent.agent.commit import CHECKPOINTS, OUTBOX, STREAMS, Commit, write
from edge_agent.config import start_of
from edge_agent.config.agent import AgentSettings
from edge_agent.core import Committed, Log, topic
from edge_agent.pipeline.chain import Pipeline
from tests.benchmarks import _plant
from tests.brokers import KINDS, Broker, BrokerKind, executable
from tests.system.processes import Child, free_port, script

TAGS, MESSAGE = 500, 200_000
PUBLISH = """
import os, sys, time
import paho.mqtt.client as mqtt
port, size, count = (int(x) for x in sys.argv[1:4])
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="peer-out")
client.max_inflight_messages_set(40)  # as many bytes on their way as the agent allows itself
client.connect("127.0.0.1", port)
client.loop_start()
payload = os.urandom(size)
for info in [client.publish("peer/records", payload, qos=1) for _ in range(count)]:
    info.wait_for_publish(60)
client.disconnect()
"""


def filled(folder: Path, rows: int) -> tuple[int, int]:
    """An agent's data folder whose outbox waits for delivery: its records and their bytes as sent."""
    settings = AgentSettings.model_validate(_plant.agent_config(TAGS, models=()))
    log, pipeline = Log(folder / "data" / "edge.sqlite", STREAMS), Pipeline()
    start = start_of(settings, _plant.START_NS)
    never_shed = np.array([t.never_shed for t in start.tags], np.bool_)
    size, commit = 0, Commit()
    commit.add(start, pipeline.step(start))
    for n, entry in enumerate(_plant.entries(TAGS, rows)):
        commit.add(entry, pipeline.step(entry))
        if n % 100 == 99:
            write(log, commit, never_shed, CHECKPOINTS[0], {})
            commit = Commit()
    commit.state = pipeline.state()
    write(log, commit, never_shed, CHECKPOINTS[0], {})
    after = 0
    while found := log.read(OUTBOX, after, max_bytes=8 << 20):
        size, after = size + sum(len(row.data) for row in found), found[-1].seq
    log.close()
    return after, size


class Answers:
    """What the gateway says it has committed, with the time of each answer."""

    def __init__(self, port: int) -> None:
        self.told: list[tuple[float, int]] = []
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="listening")
        self.client.on_message = self._hear
        self.client.connect("127.0.0.1", port)
        self.client.subscribe(topic("bench", "e1", "committed/gw1"), 1)
        self.client.loop_start()

    def _hear(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        held = Committed.decode(bytes(message.payload)).epochs
        self.told.append((time.monotonic(), sum(b - a + 1 for ranges in held.values() for a, b in ranges.ranges)))

    def close(self) -> None:
        self.client.loop_stop()
        self.client.disconnect()


def delivered(folder: Path, full: Path, broker: Broker, records: int, size: int) -> dict[str, float]:
    """One delivery of the whole outbox."""
    folder.mkdir()
    shutil.copytree(full / "data", folder / "data")
    agent_http, gateway_http = free_port(), free_port()
    uplinks = [{"name": "plant", "kind": "gateway", "host": "127.0.0.1", "port": broker.port, "gateways": ["gw1"]}]
    agent = _plant.written(_plant.agent_config(TAGS, models=(), uplinks=uplinks, http={"port": agent_http}), folder / "agent.yaml")
    settings = {
        "gateway": {"id": "gw1", "site": "bench", "data_dir": "gateway", "mode": "production"},
        "broker": {"host": "127.0.0.1", "port": broker.port},
        "http": {"host": "127.0.0.1", "port": gateway_http},
    }
    gateway = _plant.written(settings, folder / "gateway.yaml")
    answers = Answers(broker.port)
    try:
        with Child([script("edge-gateway"), "run", "-c", str(gateway)], log=folder / "gateway.log") as store:
            _plant.until(lambda: _plant.asked(f"http://127.0.0.1:{gateway_http}/healthz"), 60)
            with Child([script("edge-agent"), "run", "-c", str(agent)], log=folder / "agent.log") as edge:
                begin = time.monotonic()
                _plant.until(lambda: answers.told and answers.told[-1][1] >= records, 180)
                used = {"agent_cpu_s": _plant.cpu_s(edge.process.pid), "gateway_cpu_s": _plant.cpu_s(store.process.pid)}
                rss = {"agent_rss_mb": _plant.rss_mb(edge.process.pid), "gateway_rss_mb": _plant.rss_mb(store.process.pid)}
    finally:
        answers.close()
    told = [t for t in answers.told if t[1]]
    (first, had), (last, has) = told[0], next(t for t in told if t[1] >= records)
    share = (has - had) / records
    return {"records_s": (has - had) / (last - first), "mb_s": share * size / (last - first) / 1e6, "start_to_end_s": last - begin} | used | rss


def peer(broker: Broker, size: int) -> float:
    """MB per second from one paho client to another in another process, QoS 1."""
    count, times, done = max(1, size // MESSAGE), [], threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="peer-in")

    def hear(*_: Any) -> None:
        times.append(time.monotonic())
        if len(times) == count:
            done.set()

    client.on_message = hear
    ready = threading.Event()
    client.on_subscribe = lambda *_: ready.set()
    client.connect("127.0.0.1", broker.port)
    client.subscribe("peer/records", 1)
    client.loop_start()
    try:
        ready.wait(10)
        with Child([sys.executable, "-c", PUBLISH, str(broker.port), str(MESSAGE), str(count)]) as _:
            done.wait(120)
    finally:
        client.loop_stop()
        client.disconnect()
    return (len(times) - 1) * MESSAGE / (times[-1] - times[0]) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=6_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        records, size = filled(folder / "full", args.rows)
        print(f"an outbox of {records} records, {size / 1e6:.0f} MB, {args.rows / 1e6:.1f} M values; medians of {args.repeats}")
        for kind in KINDS:
            if executable(kind) is None:
                print(f"  {kind}: not installed")
                continue
            figures |= _through(kind, folder, records, size, args.repeats)
            _row(kind, figures, args.rows / size)
    _plant.told("delivery", {"records": records, "outbox_mb": size / 1e6, "values": args.rows} | figures)


def _through(kind: BrokerKind, folder: Path, records: int, size: int, repeats: int) -> dict[str, float]:
    rows, peers = [], []
    for i in range(repeats):
        broker = Broker(kind, folder / f"{kind}{i}").start()
        try:
            rows.append(delivered(folder / f"{kind}{i}" / "road", folder / "full", broker, records, size))
            peers.append(peer(broker, size))
        finally:
            broker.kill()
        shutil.rmtree(folder / f"{kind}{i}")
    found = {f"{kind}_{key}": statistics.median(row[key] for row in rows) for key in rows[0]}
    return found | {f"{kind}_peer_mb_s": statistics.median(peers)}


def _row(kind: BrokerKind, figures: dict[str, Any], values_per_byte: float) -> None:
    mb_s, other = figures[f"{kind}_mb_s"], figures[f"{kind}_peer_mb_s"]
    print(f"  {kind}: {mb_s:.1f} MB/s, {figures[f'{kind}_records_s']:.0f} records/s, {mb_s * values_per_byte:.2f} M values/s into the inbox")
    print(f"    paho alone, {MESSAGE // 1000} kB messages: {other:.1f} MB/s; delivery is {mb_s / other:.0%} of it")
    print(f"    {figures[f'{kind}_start_to_end_s']:.1f} s from starting the agent to the last record, start included")
    cpu = f"agent {figures[f'{kind}_agent_cpu_s']:.1f} s, gateway {figures[f'{kind}_gateway_cpu_s']:.1f} s"
    print(f"    CPU: {cpu}; resident: agent {figures[f'{kind}_agent_rss_mb']:.0f} MB, gateway {figures[f'{kind}_gateway_rss_mb']:.0f} MB")


if __name__ == "__main__":
    main()
