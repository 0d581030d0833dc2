"""Receiver mqtt: each message as JSON to one topic, QoS 1, not retained."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from pydantic import Field

from edge_agent.core import ConfigError, NotConnected
from edge_agent.core.settings import secret
from gateway.notify.receiver import Message, ReceiverConfig
from gateway.notify.words import Writer


class MqttConfig(ReceiverConfig):
    """A broker and a topic."""

    kind: Literal["mqtt"] = "mqtt"
    host: str = "127.0.0.1"
    port: int = Field(1883, ge=1, le=65535)
    username: str | None = None
    password_file: Path | None = None
    tls: bool = False
    """Whether the connection is encrypted."""
    ca_file: Path | None = None
    """Authority that signed the broker's certificate; absent means those of the system."""
    topic: str = Field(pattern=r"^[^+#\x00]+$")
    """Topic to publish to."""

    def make(self, writer: Writer, gateway: str) -> MqttReceiver:
        """The receiver of this configuration."""
        return MqttReceiver(self, writer, gateway)


class MqttReceiver:
    """Connects for each message and waits until the broker has acknowledged it."""

    def __init__(self, config: MqttConfig, writer: Writer, gateway: str) -> None:
        self._config, self._writer, self._gateway = config, writer, gateway

    def send(self, message: Message, now_ns: int) -> tuple[str, ...]:  # noqa: ARG002 - nothing here is signed with the time
        """See Receiver."""
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        config = self._config
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "", clean_session=True, protocol=mqtt.MQTTv311)
        client.connect_timeout = config.timeout_s
        refused: list[str] = []
        client.on_connect = lambda _c, _u, _f, reason, _p: refused.append(str(reason)) if reason.is_failure else None
        try:
            if config.username is not None:
                client.username_pw_set(config.username, secret(config.password_file))
            if config.tls:
                client.tls_set(str(config.ca_file) if config.ca_file else None)
            client.connect(config.host, config.port)
        except (OSError, ValueError, ConfigError) as error:
            raise NotConnected(f"{config.name}: {config.host}:{config.port}: {error}") from error
        client.loop_start()
        try:
            document = self._writer.document(message) | {"gateway": self._gateway}
            info = client.publish(config.topic, msgspec.json.encode(document), qos=1)
            try:
                info.wait_for_publish(config.timeout_s)
                done = info.is_published()
            except (RuntimeError, ValueError) as error:
                raise NotConnected(f"{config.name}: {config.host}:{config.port}: {error}") from error
        finally:
            client.disconnect()
            client.loop_stop()
        if not done:
            why = f"refused: {refused[0]}" if refused else f"did not acknowledge within {config.timeout_s:g} s"
            raise NotConnected(f"{config.name}: {config.host}:{config.port}: {why}")
        return ()
