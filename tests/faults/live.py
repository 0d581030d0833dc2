"""Values that arise while a backlog drains: who sends them, and when the gateway said that it has them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import paho.mqtt.client as mqtt
import yaml

from edge_agent.core import Samples, decode
from edge_agent.core.delivery import Committed, Delivery
from simulators.accounting import Sent
from simulators.children import Child, answers, free_port, nats_server, wait_for
from simulators.demo_files import Ports, nats_config
from tests.faults.road import Road

TOPIC: Final = "machine/count"
EVERY_S: Final = 0.1
AFTER_S: Final = 1.0
"""A value belongs to those behind the return when it arose so long after the gateway's first word: sooner the edge may not have heard it yet."""


@dataclass(frozen=True)
class Delay:
    """A live value: when it arose, how long until the gateway had it, and how many records of before were still missing there then."""

    arose_s: float
    delay_s: float
    behind: int


@dataclass
class Line:
    """A broker of its own, which no outage reaches, and a machine that says a number there ten times a second; the agent of a road reads it.

    readers   sources of the agent by name, each with what is set for it; one called `line` feeds the tag `line/t`
    ahead_ns  by so much the machine's clock is ahead
    """

    road: Road
    readers: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"line": {}})
    ahead_ns: int = 0

    def __post_init__(self) -> None:
        road, self.ports = self.road, Ports(0, 0, 0, free_port(), free_port())
        folder = road.folder / "line"
        folder.mkdir()
        (folder / "nats.conf").write_text(nats_config(folder / "broker", self.ports), "utf-8")
        self._broker = Child("line", [str(nats_server()), "-c", "nats.conf"], folder / "line.log", folder)
        path = road.folder / "agent.yaml"
        config = yaml.safe_load(path.read_text("utf-8"))
        self.tag = len(config["tags"])
        for name, more in self.readers.items():
            at = {"host": "127.0.0.1", "port": self.ports.mqtt, "client_id": name, "topics": [TOPIC]}
            config["sources"].append({"name": name, "kind": "mqtt", **at, **more})
            config["tags"].append({"name": f"{name}/t", "source": name, "address": TOPIC, "class": "gmp"})
        path.write_text(yaml.safe_dump(config), "utf-8")
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._over = threading.Event()
        self._talk = threading.Thread(target=self._say, name="line")
        self._said = 0

    def _say(self) -> None:
        while not self._over.wait(EVERY_S):
            self._client.publish(TOPIC, json.dumps({"t": time.time_ns() + self.ahead_ns, "v": self._said}), qos=1)
            self._said += 1

    def up(self) -> None:
        """Start the broker."""
        self._broker.start()
        assert wait_for(lambda: answers(self.ports.mqtt), 15.0), self._broker.tail()
        self._client.connect("127.0.0.1", self.ports.mqtt)
        self._client.loop_start()

    def talk(self) -> None:
        """From now on the machine speaks."""
        self._talk.start()

    def connected(self) -> bool:
        """Whether all who read it are."""
        states = {s["name"]: s["state"] for s in self.road.status.get("sources", [])}
        return all(states.get(name) == "connected" for name in self.readers)

    def hush(self) -> list[Sent]:
        """It says no more; what it said to each."""
        self._over.set()
        self._talk.join()
        assert wait_for(lambda: not self._client._out_messages, 30.0)
        return [Sent(f"{name}/t", self._said, float(sum(range(self._said)))) for name in self.readers]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._client.disconnect()
        self._client.loop_stop()
        self._broker.stop(10.0)


@dataclass
class Witness:
    """Listens to what edge and gateway tell each other: which record holds which live value, and when the gateway had committed it."""

    port: int
    tag: int
    delays: list[Delay] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    """When a word of the gateway came; monotonic."""

    def __post_init__(self) -> None:
        self._where: dict[int, tuple[float, ...]] = {}
        self._lowest, self._first_live = 1 << 62, 0
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_message = self._message
        self._client.on_connect = lambda client, *_: client.subscribe([("pharmedge/+/+/records", 0), ("pharmedge/+/+/committed/+", 0)])

    def _message(self, _: mqtt.Client, __: object, message: mqtt.MQTTMessage) -> None:
        now, now_s = time.time_ns(), time.monotonic()
        if message.topic.endswith("/records"):
            for told in Delivery.decode(bytes(message.payload)).records:
                self._lowest = min(self._lowest, told.seq)
                record = decode(told.data) if told.parts == 1 else None
                if isinstance(record, Samples) and len(record) and int(record.tag[0]) == self.tag:
                    self._where[told.seq] = tuple(record.time_ns.tolist())
                    self._first_live = self._first_live or told.seq
            return
        self.arrived_s.append(now_s)
        ranges = next((found.ranges for found in Committed.decode(bytes(message.payload)).epochs.values()), ())
        held = [(max(a, self._lowest), b) for a, b in ranges]
        end = self._first_live - 1
        missing = max(0, end - self._lowest + 1) - sum(min(b, end) - a + 1 for a, b in held if a <= min(b, end))
        for seq in [seq for seq in self._where if any(a <= seq <= b for a, b in held)]:
            self.delays += [Delay(now_s - (now - t) / 1e9, (now - t) / 1e9, missing) for t in self._where.pop(seq)]

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def while_draining(self) -> list[Delay]:
        """The live values from the return on that the gateway had while records of before were still missing there."""
        since = min(self.arrived_s, default=0.0) + AFTER_S
        return [d for d in list(self.delays) if d.arose_s >= since and d.behind > 0]
