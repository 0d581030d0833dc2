"""Many edges toward one gateway, at the level of the wire format: what a gateway box carries is measured with them.

Each edge has a connection of its own and says everything once; what was lost on the way is not sent again, so a missing number is seen at the end.
"""

from __future__ import annotations

import resource
import selectors
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from simulators.fleet_wire import FleetEdge, answer

BEAT_S = 5.0
ANSWER_S = 30.0
DRAIN_S = 60.0
ROUNDING_S = 1e-6


@dataclass(frozen=True)
class FleetConfig:
    """`edges` edges of `tags` tags; each tells all its tags every `every_s` seconds, and their windows every `window_s`."""

    host: str
    port: int
    edges: int = 1000
    tags: int = 200
    every_s: float = 1.0
    window_s: float = 10.0
    duration_s: float = 60.0
    site: str = "demo"
    gateway: str = "gw1"
    seed: int = 1


@dataclass
class Told:
    """What came of it."""

    edges: int
    tags: int
    seconds: float = 0.0
    messages: int = 0
    values: int = 0
    bytes: int = 0
    behind_s: float = 0.0
    """By how much the generator itself came too late at the most."""
    uncommitted: int = 0
    """Messages that the gateway had not committed at the end, after waiting."""
    drained_s: float = 0.0
    commit_s: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Figures for people and programs: rates over the time of sending, seconds from publishing to the answer."""
        p50, p99 = np.percentile(self.commit_s, [50, 99]).round(3).tolist() if self.commit_s else (None, None)
        return {
            "edges": self.edges, "tags": self.tags, "seconds": round(self.seconds, 1), "messages": self.messages, "values": self.values,
            "messages_s": round(self.messages / self.seconds, 1), "values_s": round(self.values / self.seconds), "bytes": self.bytes,
            "behind_s": round(self.behind_s, 2), "commit_p50_s": p50, "commit_p99_s": p99, "uncommitted": self.uncommitted,
            "drained_s": round(self.drained_s, 1),
        }  # fmt: skip


def moments(config: FleetConfig) -> Iterator[tuple[int, float]]:
    """Whose turn it is and when, in seconds after the begin: every edge has its own moment within `every_s`, so that the load is even.

    >>> [(i, round(s, 2)) for i, s in moments(FleetConfig("", 0, edges=2, every_s=0.1, duration_s=0.2))]
    [(0, 0.0), (1, 0.05), (0, 0.1), (1, 0.15)]
    """
    for turn in count():
        round_, i = divmod(turn, config.edges)
        offset_s = (round_ + i / config.edges) * config.every_s
        if offset_s >= config.duration_s - ROUNDING_S:
            return
        yield i, offset_s


class Fleet:
    """The edges and one listener, on the sockets of this thread."""

    def __init__(self, config: FleetConfig, *, drain_s: float = DRAIN_S) -> None:
        self.config, self._drain_s = config, drain_s
        self.told = Told(config.edges, config.tags)
        epoch = time.time_ns() // 1_000_000
        self.edges = [FleetEdge(config.site, f"fleet{i:04d}", config.tags, config.seed + i, epoch) for i in range(config.edges)]
        self._by_name = {edge.name: edge for edge in self.edges}
        self._select = selectors.DefaultSelector()
        self._clients: list[mqtt.Client] = []
        self._ready = 0
        self._beat = time.monotonic() + BEAT_S
        self.lost = ""

    def run(self) -> Told:
        """Connect all, send for the configured time, wait for what is under way. Raises ConnectionError."""
        _allow_files(self.config.edges + 100)
        self._connect("fleet-listener", self._hear, f"pharmedge/{self.config.site}/+/committed/{self.config.gateway}")
        for edge in self.edges:
            self._connect(edge.name, None, None)
        self._turn(ANSWER_S, until=lambda: self._ready == len(self._clients))
        if self._ready < len(self._clients):
            raise ConnectionError(f"broker: expected {len(self._clients)} connections, found {self._ready}")
        self._send()
        begin = time.monotonic()
        self._turn(self._drain_s, until=self.drained)
        self.told.drained_s = time.monotonic() - begin
        self.told.uncommitted = sum(len(edge.waiting) for edge in self.edges)
        for client in self._clients:
            client.disconnect()
        return self.told

    def drained(self) -> bool:
        """Whether nothing more is waited for at the end."""
        return not any(edge.waiting for edge in self.edges)

    def _connect(self, name: str, hear: Callable[..., None] | None, topic: str | None) -> None:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        client.max_inflight_messages_set(1000)

        def ready(*_: Any) -> None:
            self._ready += 1

        def connected(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
            if reason.is_failure:
                self.lost = f"{name}: {reason}"
            elif topic is None:
                ready()
            else:
                client.subscribe(topic, 0)

        client.on_connect, client.on_subscribe = connected, ready
        if hear is not None:
            client.on_message = hear
        client.connect(self.config.host, self.config.port, 60)
        self._clients.append(client)
        self._select.register(client.socket(), selectors.EVENT_READ, client)  # type: ignore[arg-type]

    def _hear(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        name, through = answer(bytes(message.payload))
        edge = self._by_name.get(name)
        if edge is not None:
            self.told.commit_s += edge.committed(through.get(edge.epoch, 0), time.monotonic())

    def _turn(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Serve the sockets for a time, or until something holds."""
        end = time.monotonic() + seconds
        while not until():
            now = time.monotonic()
            if now >= end:
                return
            for key, _ in self._select.select(min(0.05, end - now)):
                if key.data.loop_read() != mqtt.MQTT_ERR_SUCCESS:
                    self._select.unregister(key.fileobj)
                    raise ConnectionError("broker: expected it to keep the connections, found one closed")
            if now >= self._beat:  # over many short turns: a listener that only hears is closed out when it never pings
                self._beat = now + BEAT_S
                for client in self._clients:
                    client.loop_misc()
                    if client.want_write():
                        client.loop_write()

    def _send(self) -> None:
        config, told = self.config, self.told
        begin = time.monotonic()
        pairs = list(zip(self.edges, self._clients[1:], strict=True))  # the first client listens
        closing = [begin + config.window_s * (1 + i / config.edges) for i in range(config.edges)]
        for i, offset_s in moments(config):
            edge, client = pairs[i]
            at = begin + offset_s
            self._turn(max(0.0, at - time.monotonic()))
            now, now_ns = time.monotonic(), time.time_ns()
            told.behind_s = max(told.behind_s, now - at)
            frames = [] if edge.sent else [edge.definitions(now_ns, config.every_s)]
            frames.append(edge.samples(now_ns))
            if now >= closing[i]:
                closing[i] += config.window_s
                frames.append(edge.summaries(now_ns))
            payload = edge.message(frames)
            edge.waiting[edge.sent] = (config.tags, now)
            client.publish(edge.topic, payload, qos=1)
            told.messages, told.bytes = told.messages + 1, told.bytes + len(payload)
        told.seconds, told.values = time.monotonic() - begin, sum(edge.values for edge in self.edges)


def _allow_files(many: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < many:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(many, hard) if hard > 0 else many, hard))
