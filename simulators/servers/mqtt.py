"""MQTT publisher of the simulated plant: QoS 1 on paho, nothing dropped in silence."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from simulators.signals import Signal


@dataclass(frozen=True)
class MqttConfig:
    """Broker to publish to."""

    host: str = "127.0.0.1"
    port: int = 1883
    client_id: str = "pharmedge-sim"
    max_pending: int = 20_000
    """Messages not yet acknowledged by the broker that are held; beyond it messages are refused and counted.
    Stays below 65,535, the number of MQTT packet identifiers."""
    username: str | None = None
    password: str | None = None


def payload(samples: Sequence[tuple[int, float | str, int]]) -> bytes:
    """JSON of one sample, or of a list of them: `{"t": ns UTC, "v": value or null, "s": StatusCode}`.

    >>> payload([(17, 1.5, 0), (18, float("nan"), 2156658688)])
    b'[{"t": 17, "v": 1.5, "s": 0}, {"t": 18, "v": null, "s": 2156658688}]'
    """
    rows = [
        {"t": t, "v": None if isinstance(v, float) and math.isnan(v) else v, "s": s}
        for t, v, s in samples
    ]
    return json.dumps(rows[0] if len(rows) == 1 else rows).encode()


class MqttPublisher:
    """Publishes samples and keeps each message until the broker has acknowledged it, over any number of broker restarts."""

    def __init__(self, config: MqttConfig) -> None:
        if not 0 < config.max_pending < 65_535:
            raise ValueError(f"max_pending: expected 1 to 65534, found {config.max_pending}")
        self._config = config
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._pending: dict[int, int] = {}
        self._early: set[int] = set()
        self._refused = 0
        self._connected = threading.Event()
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=config.client_id, clean_session=False,
                             protocol=paho.MQTTv311)
        if config.username is not None:
            client.username_pw_set(config.username, config.password)
        client.max_inflight_messages_set(100)
        client.max_queued_messages_set(0)  # bounded by max_pending above it
        client.reconnect_delay_set(min_delay=1, max_delay=2)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        self._client = client

    def start(self) -> None:
        """Begin connecting in the background; the broker may appear later."""
        self._client.connect_async(self._config.host, self._config.port, keepalive=10)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted the connection."""
        return self._connected.is_set()

    def wait_connected(self, timeout_s: float) -> bool:
        """Wait for the broker; False when the time is over."""
        return self._connected.wait(timeout_s)

    @property
    def pending(self) -> int:
        """Samples handed over that the broker has not acknowledged yet."""
        with self._lock:
            return sum(self._pending.values())

    @property
    def not_sent(self) -> int:
        """Samples refused because `max_pending` messages were waiting."""
        with self._lock:
            return self._refused

    def publish(self, signal: Signal, samples: Sequence[tuple[int, float | str, int]], *, retain: bool = False) -> bool:
        """Hand samples of one signal over; False, and counted, when too many messages wait for the broker."""
        with self._lock:
            if len(self._pending) >= self._config.max_pending:
                self._refused += len(samples)
                return False
        self._hand(signal.topic, payload(samples), len(samples), retain)
        return True

    def send(self, topic: str, body: bytes) -> bool:
        """Hand over one message that is made already, as a block; False, and counted, when too many messages wait for the broker."""
        with self._lock:
            if len(self._pending) >= self._config.max_pending:
                self._refused += 1
                return False
        self._hand(topic, body, 1, retain=False)
        return True

    def _hand(self, topic: str, body: bytes, values: int, retain: bool) -> None:
        # Outside the lock: paho calls on_publish from its own thread, perhaps before publish() has returned.
        info = self._client.publish(topic, body, qos=1, retain=retain)
        with self._lock:
            if info.mid in self._early:
                self._early.discard(info.mid)
            else:
                self._pending[info.mid] = values

    def drain(self, timeout_s: float) -> int:
        """Wait until the broker has acknowledged everything; the number of samples still unacknowledged."""
        with self._idle:
            self._idle.wait_for(lambda: not self._pending, timeout_s)
            return sum(self._pending.values())

    def stop(self) -> None:
        """Disconnect and end the background thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, _client: paho.Client, _userdata: object, _flags: paho.ConnectFlags, reason: ReasonCode,
                    _properties: Properties | None) -> None:
        if not reason.is_failure:
            self._connected.set()

    def _on_disconnect(self, _client: paho.Client, _userdata: object, _flags: paho.DisconnectFlags, _reason: ReasonCode,
                       _properties: Properties | None) -> None:
        self._connected.clear()

    def _on_publish(self, _client: paho.Client, _userdata: object, mid: int, _reason: ReasonCode,
                    _properties: Properties) -> None:
        with self._idle:
            if self._pending.pop(mid, None) is None:
                self._early.add(mid)
            if not self._pending:
                self._idle.notify_all()


