"""Real peers for tests: a broker process, a gateway process, and an edge that resends like the agent's uplink."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.core import Committed, Delivered, OperatorAction, decode_actions
from edge_agent.core.delivery import topic
from tests.gateway.edge import Edge


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


class Process:
    """One child process; killed at the end of its test."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command, self._log = command, log
        self.child: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.child = subprocess.Popen(self._command, stdout=out, stderr=out, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def kill(self, number: int = signal.SIGKILL) -> int:
        assert self.child is not None
        if self.child.poll() is None:
            self.child.send_signal(number)
        return self.child.wait(20)

    @property
    def said(self) -> str:
        return self._log.read_text(errors="replace")


def broker(folder: Path, port: int) -> Process:
    """Mosquitto where installed, else nats-server with JetStream."""
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    nats = Path(sys.executable).with_name("nats-server")
    if mosquitto:
        file = folder / "mosquitto.conf"
        file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nmessage_size_limit 300000\n")
        made = Process([mosquitto, "-c", str(file)], folder / "broker.log")
    elif nats.exists():
        file = folder / "nats.conf"
        client = free_port()
        store = folder / "js"
        file.write_text(
            f'server_name: t\nhost: 127.0.0.1\nport: {client}\njetstream {{ store_dir: "{store}" }}\nmqtt {{ host: 127.0.0.1, port: {port} }}\n'
        )
        made = Process([str(nats), "-c", str(file)], folder / "broker.log")
    else:
        pytest.skip("needs mosquitto or nats-server")

    def listening() -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    wait_for("broker", listening)
    return made


def gateway(folder: Path, mqtt_port: int, http_port: int, **store: object) -> tuple[Process, Path]:
    """A gateway process and its configuration file."""
    config = {
        "gateway": {"id": "gw1", "site": "demo", "data_dir": "data", "mode": "simulation"},
        "broker": {"host": "127.0.0.1", "port": mqtt_port},
        "store": store,
        "http": {"port": http_port},
    }
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(config))
    return Process([sys.executable, "-m", "gateway", "run", "-c", str(file)], folder / "gateway.log"), file


def get(port: int, path: str) -> Any:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return json.load(answer)
    except OSError:
        return None


class LiveEdge:
    """Publishes an `Edge`'s records and resends what is not committed on a new session, at reconnect and after a second without progress."""

    def __init__(self, edge: Edge, port: int, *, resend_s: float = 1.0) -> None:
        self.edge, self._resend_s = edge, resend_s
        self.held: set[int] = set()
        self.actions: tuple[OperatorAction, ...] = ()
        self.sessions: list[str] = []
        self._sent = 0
        self._lock = threading.Lock()
        self._moved = time.monotonic()
        self._end = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, f"edge-{edge.name}-{port}")
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe([(topic(self.edge.site, self.edge.name, "committed/+"), 1), (topic(self.edge.site, self.edge.name, "actions/+"), 1)])
        self._sent = 0

    def _on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        if "/actions/" in message.topic:
            self.actions = decode_actions(bytes(message.payload))
            return
        said = Committed.decode(bytes(message.payload))
        with self._lock:
            ranges = said.epochs.get(self.edge.epoch)
            held = {s for a, b in (ranges.ranges if ranges else ()) for s in range(a, b + 1)}
            if held - self.held:
                self._moved = time.monotonic()
            self.held |= held
            if said.session not in self.sessions:
                self.sessions.append(said.session)
                self._sent = 0

    def _run(self) -> None:
        while not self._end.wait(0.02):
            with self._lock:
                if time.monotonic() - self._moved > self._resend_s:
                    self._sent, self._moved = 0, time.monotonic()
                todo = [r for r in self.edge.records[self._sent :] if r.seq not in self.held]
                self._sent = len(self.edge.records)
            self._publish(todo)

    def _publish(self, records: list[Delivered]) -> None:
        name = topic(self.edge.site, self.edge.name, "records")
        for begin in range(0, len(records), 8):
            self.client.publish(name, self.edge.deliver(records[begin : begin + 8]).encode(), qos=1)

    @property
    def settled(self) -> bool:
        return len(self.held) == len(self.edge.records)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self.client.disconnect()
        self.client.loop_stop()
