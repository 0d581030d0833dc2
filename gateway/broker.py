"""The gateway's connection to the MQTT broker: paho driven by the asyncio loop, acknowledging by hand.

Reading stops while the ingest is full, so that TCP holds the broker back; nothing is dropped here. The session is clean: what was sent while we were
away is asked for again by announcing a new session to the edges, not kept in the broker's memory.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from edge_agent.core import NotConnected
from edge_agent.core.settings import credential, secret
from gateway.config import BrokerSection

BACKOFF_S: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
ANSWER_S: Final = 30.0
"""A cluster that has just lost a node answers late."""
CHECK_S: Final = 0.5


class Token(NamedTuple):
    """What acknowledges one message: the connection it came by, and its id there. A message of QoS 0 has none, and nobody waits for its answer."""

    connection: int
    mid: int


class Broker:
    """One client; all methods on the loop."""

    def __init__(
        self,
        section: BrokerSection,
        client_id: str,
        subscription: str,
        *,
        received: Callable[[str, bytes, Token | None], None],
        connected: Callable[[], None],
    ) -> None:
        self._section, self._client_id, self._subscription = section, client_id, subscription
        self._received, self._announce = received, connected
        self._client: mqtt.Client | None = None
        self._connection = 0
        self._lost: asyncio.Future[str] | None = None
        self._let_in = False
        self._address = ""
        self._paused = False
        self._reading: socket.socket | None = None
        self._next: dict[str, bytes] = {}
        self._flying: dict[int, str] = {}
        self.connected = False
        self.error = "not yet connected"
        self.reconnects = 0

    async def run(self) -> None:
        """Stay connected until cancelled."""
        attempt = 0
        while True:
            for node in self._section.nodes:
                try:
                    await self._once(*node)
                except NotConnected as error:
                    self.error = str(error)
                finally:
                    self._drop()
                self.reconnects += 1
                if self._let_in:
                    break
            attempt = 0 if self._let_in else min(attempt + 1, len(BACKOFF_S) - 1)
            await asyncio.sleep(BACKOFF_S[attempt])

    async def _once(self, host: str, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._connection += 1
        self._lost, self._let_in, self._address = self._loop.create_future(), False, f"{host}:{port}"
        client = self._client = self._new_client()
        try:
            await asyncio.to_thread(client.connect, host, port, self._section.keepalive_s)
        except (OSError, ValueError) as error:
            raise NotConnected(f"{self._address}: {error}") from error
        until = self._loop.time() + ANSWER_S
        while True:
            if client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS and not self._lost.done():
                self._lost.set_result("the broker does not answer")
            if not self._let_in and self._loop.time() > until:
                raise NotConnected(f"{self._address}: expected an answer within {ANSWER_S:.0f} s, found none")
            done, _ = await asyncio.wait((self._lost,), timeout=CHECK_S)
            if done:
                raise NotConnected(self._lost.result())

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, self._client_id, clean_session=True, manual_ack=True, protocol=mqtt.MQTTv311)
        section = self._section
        if section.username is not None:
            client.username_pw_set(section.username, secret(section.password_file))
        if section.tls is not None:
            cert = str(section.tls.cert_file) if section.tls.cert_file else None
            client.tls_set(str(section.tls.ca_file), cert, str(credential(section.tls.key_file)) if section.tls.key_file else None)
        client.on_socket_open = lambda _c, _u, sock: self._on_loop(self._open, sock)
        client.on_socket_close = lambda _c, _u, sock: self._on_loop(self._closed, sock)
        client.on_socket_register_write = lambda _c, _u, sock: self._on_loop(self._writable, client, sock)
        client.on_socket_unregister_write = lambda _c, _u, sock: self._on_loop(self._loop.remove_writer, sock)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        return client

    def _on_loop(self, function: Callable[..., Any], *args: Any) -> None:
        if threading.get_ident() == self._loop_thread:
            function(*args)
        else:
            self._loop.call_soon_threadsafe(function, *args)

    def _open(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._reading = sock
            if not self._paused:
                self._loop.add_reader(sock, self._readable)

    def _closed(self, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)
        self._reading = None

    def _writable(self, client: mqtt.Client, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.add_writer(sock, client.loop_write)

    def _readable(self) -> None:
        client, sock = self._client, self._reading
        if client is None:
            return
        client.loop_read()
        # TLS may hold decrypted bytes that the loop cannot see on the socket.
        while self._reading is sock and not self._paused and getattr(sock, "pending", lambda: 0)() > 0:
            client.loop_read()

    def _on_connect(self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        if reason.is_failure:
            self._fail(f"{self._address}: refused: {reason}")
        else:
            client.subscribe(self._subscription, qos=1)

    def _on_subscribe(self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: list[ReasonCode], _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            self._fail(f"{self._subscription}: the broker refuses the subscription")
            return
        self.connected, self._let_in, self.error = True, True, ""
        self._flying.clear()
        self._announce()

    def _on_disconnect(self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: ReasonCode, _properties: Any) -> None:
        self._fail(f"{self._address}: {reason}")

    def _fail(self, why: str) -> None:
        self.connected = False
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(why)

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        token = Token(self._connection, message.mid) if message.qos else None
        self._received(message.topic, bytes(message.payload), token)

    def _on_publish(self, _client: mqtt.Client, _userdata: Any, mid: int, _reason: Any, _properties: Any) -> None:
        topic = self._flying.pop(mid, None)
        if topic is not None and topic in self._next:
            self._send(topic, self._next.pop(topic))

    def publish(self, topic: str, payload: bytes) -> None:
        """Send a retained message; while one of that topic is on its way, only the newest waits behind it."""
        if topic in self._flying.values():
            self._next[topic] = payload
        elif self.connected:
            self._send(topic, payload)

    def _send(self, topic: str, payload: bytes) -> None:
        if self._client is not None:
            info = self._client.publish(topic, payload, qos=1, retain=True)
            if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._flying[info.mid] = topic

    def acknowledge(self, tokens: Sequence[tuple[int, int]]) -> None:
        """Let go of messages; those of an earlier connection are gone already."""
        if self._client is not None and self.connected:
            for connection, mid in tokens:
                if connection == self._connection:
                    self._client.ack(mid, 1)

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused:
            self._paused = True
            if self._reading is not None:
                self._loop.remove_reader(self._reading)

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._reading is not None:
                self._loop.add_reader(self._reading, self._readable)
                self._loop.call_soon(self._readable)

    def _drop(self) -> None:
        self.connected = False
        client, self._client = self._client, None
        self._next.clear()
        self._flying.clear()
        if client is not None:
            client.on_disconnect = None
            client.disconnect()
            sock = client.socket()
            if sock is not None:
                self._closed(sock)
                client.loop_write()
                sock.close()
