"""A real broker for the tests that publish."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulators.children import Child, answers, free_port, nats_server, wait_for
from simulators.demo_files import Ports, nats_config


class Broker:
    """nats-server with MQTT on a free port, to be killed and restarted on the same store."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        config = folder / "nats.conf"
        config.write_text(nats_config(folder / "store", Ports(0, 0, 0, self.port, free_port())), encoding="utf-8")
        self.child = Child("broker", [str(nats_server()), "-c", str(config)], folder / "broker.log", folder)

    def start(self) -> None:
        self.child.start()
        assert wait_for(lambda: answers(self.port), 10.0), self.child.tail()

    def kill(self) -> None:
        self.child.kill()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    try:
        made = Broker(tmp_path)
    except FileNotFoundError:
        pytest.skip("needs nats-server")
    made.start()
    yield made
    made.child.stop()
