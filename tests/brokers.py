"""Real MQTT brokers on free ports of this machine, to be killed and started again."""

from __future__ import annotations

import getpass
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

BrokerKind = Literal["mosquitto", "nats"]
KINDS: tuple[BrokerKind, ...] = ("mosquitto", "nats")


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def executable(kind: BrokerKind) -> str | None:
    """Where the broker's program is, or None."""
    if kind == "nats":
        beside = Path(sys.executable).parent / "nats-server"
        return str(beside) if beside.exists() else shutil.which("nats-server")
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


class Broker:
    """One broker process; its port and its store outlive a kill."""

    def __init__(self, kind: BrokerKind, folder: Path, *, extra: str = "", durable: bool = True) -> None:
        self.kind, self._durable = kind, durable
        self.port = free_port()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / f"{kind}.conf"
        self._config.write_text((self._mosquitto() if kind == "mosquitto" else self._nats()) + extra)
        self._process: subprocess.Popen[bytes] | None = None

    def _mosquitto(self) -> str:
        return (
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser {getpass.getuser()}\n"
            "max_inflight_messages 1000\nmax_queued_messages 100000\n"
            f"persistence {str(self._durable).lower()}\npersistence_location {self._folder}/\nautosave_on_changes true\nautosave_interval 1\n"
        )

    def _nats(self) -> str:
        store = self._folder / "store"
        return (
            f'server_name: test\nlisten: "127.0.0.1:-1"\njetstream {{ store_dir: "{store}" }}\n'
            f'mqtt {{ listen: "127.0.0.1:{self.port}", max_ack_pending: 1000, ack_wait: "2s" }}\n'
        )

    def start(self) -> Broker:
        """Start it and wait until it answers."""
        program = executable(self.kind)
        assert program is not None
        with (self._folder / "log.txt").open("ab") as log:
            self._process = subprocess.Popen([program, "-c", str(self._config)], stdout=log, stderr=log)
        until = time.monotonic() + 15
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{self.kind}: expected it to listen, found\n{(self._folder / 'log.txt').read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


def running(kind: BrokerKind, folder: Path, *, extra: str = "", durable: bool = True) -> Iterator[Broker]:
    """A started broker, stopped afterwards; the test is skipped where its program is missing. `durable`: Mosquitto writes at each message."""
    if executable(kind) is None:
        pytest.skip(f"needs {kind}")
    broker = Broker(kind, folder, extra=extra, durable=durable).start()
    try:
        yield broker
    finally:
        broker.kill()


started = contextmanager(running)
"""The same for a `with` statement."""
