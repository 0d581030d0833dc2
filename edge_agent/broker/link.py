"""One connection to an MQTT broker on the running event loop: paho's protocol without a thread of its own.

Reading can be paused, so that a full intake is felt by the broker, and nothing is acknowledged but by `ack`.
A link is used once: after a loss a new one is made, and delivery rests on our own sequence or on the broker's session, never on paho's memory.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from edge_agent.broker.config import BrokerConfig
from edge_agent.core import NotConnected
from edge_agent.core.settings import secret

if TYPE_CHECKING:
    import socket

    from paho.mqtt.client import Client, MQTTMessage

CONNECT_S: Final = 5.0
ANSWER_S: Final = 30.0
"""A cluster that has just lost a node answers late: its remaining nodes agree anew, stream by stream, before they know a session."""
_BEAT_S: Final = 1.0
_PACKETS_PER_TURN: Final = 64
_IN_FLIGHT: Final = 1000
_SESSION_EXPIRY_S: Final = 7 * 86400
_LARGEST: Final = 0xFFFF

OnMessage = Callable[["MQTTMessage"], None]


class Link:
    """One connection, from `open` to its loss.

    client_id   identity of our session at the broker
    persistent  whether the broker keeps the session, with unacknowledged messages, while we are away
    version     "3.1.1" or "5"; with 5 the broker sends at most `in_flight` unacknowledged messages
    on_message  called on the event loop for every message; must not raise
    will        topic, payload and whether retained: what the broker publishes, with QoS 1, when we vanish
    on_taken    called on the event loop with the number that `publish` gave when the broker has taken that message; must not raise
    """

    def __init__(
        self,
        config: BrokerConfig,
        client_id: str,
        on_message: OnMessage,
        *,
        persistent: bool = False,
        version: Literal["3.1.1", "5"] = "3.1.1",
        in_flight: int = _IN_FLIGHT,
        will: tuple[str, bytes, bool] | None = None,
        on_taken: Callable[[int], None] | None = None,
    ) -> None:
        self._config = config
        self._client_id = client_id
        self._on_message = on_message
        self._persistent = persistent
        self._version = version
        self._in_flight = in_flight
        self._will = will
        self._on_taken = on_taken
        self._behind: dict[int, asyncio.Future[None]] = {}
        self._client: Client | None = None
        self._socket: socket.socket | None = None
        self._beat: asyncio.TimerHandle | None = None
        self._received = 0
        self._paused = False
        self._ready: asyncio.Future[None] | None = None
        self._topics: Sequence[str] = ()
        self._left: Sequence[str] = ()
        self._qos = 1
        self._address = config.address
        self.session_present = False
        """Whether the broker still had our session."""
        self.lost = asyncio.Event()
        self.error = ""
        """Why it was lost; empty while it stands."""

    async def open(self, topics: Sequence[str], left: Sequence[str] = (), *, qos: Literal[0, 1] = 1) -> None:
        """Connect to the first node that lets us in, leave the topics `left` of an earlier session and subscribe to `topics`.

        NotConnected when no node lets us; it says why the last one did not.
        """
        self._topics, self._left, self._qos = topics, left, qos
        *early, last = self._config.nodes
        for node in early:
            try:
                await self._open_at(*node)
            except NotConnected:
                self._again()
            else:
                return
        await self._open_at(*last)

    async def _open_at(self, host: str, port: int) -> None:
        self._address = f"{host}:{port}"
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        self._client = client = self._make()
        connecting = loop.run_in_executor(None, self._connect, client, host, port)
        try:
            await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(lambda done: _abandon(done, client))
            raise
        except (OSError, ValueError) as error:
            raise NotConnected(f"broker {self._address}: {error}") from error
        self._attach(loop, client)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._ready
        except TimeoutError as error:
            raise NotConnected(f"broker {self._address}: expected an answer within {ANSWER_S:.0f} s, found none") from error

    def _again(self) -> None:
        """Forget a node that did not let us in."""
        self.close()
        self.lost.clear()
        self.error, self.session_present, self._socket, self._received = "", False, None, 0

    def publish(self, topic: str, payload: bytes, *, retain: bool = False, qos: Literal[0, 1] = 1) -> int:
        """Hand over one message; its number on this connection. NotConnected when the connection is gone."""
        if self._client is None or self.lost.is_set():
            raise NotConnected(self.error or f"broker {self._address}: not open")
        return self._client.publish(topic, payload, qos=qos, retain=retain).mid

    async def taken(self) -> None:
        """Wait until the broker has read all that was published so far, whatever its QoS; NotConnected when the connection is lost before.

        A broker answers in order: what stands before an answered subscription, here the first of our own once more, has been read.
        """
        if self._client is None or self.lost.is_set():
            raise NotConnected(self.error or f"broker {self._address}: not open")
        _, mid = self._client.subscribe(self._topics[0], self._qos)
        assert mid is not None
        answered = self._behind[mid] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(ANSWER_S):
                await answered
        except TimeoutError as error:
            raise NotConnected(f"broker {self._address}: expected an answer within {ANSWER_S:.0f} s, found none") from error
        finally:
            self._behind.pop(mid, None)

    async def lost_or(self, *others: Awaitable[object], timeout_s: float | None = None) -> None:
        """Wait until the connection is lost, one of the others is done or the time is over; whatever is still waiting then is cancelled."""
        waiting = [asyncio.ensure_future(other) for other in (self.lost.wait(), *others)]
        try:
            await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()

    def ask_again(self) -> None:
        """Subscribe once more: the broker then shows the retained messages again."""
        if self._client is not None and not self.lost.is_set():
            self._client.subscribe([(topic, self._qos) for topic in self._topics])

    def ack(self, message: MQTTMessage) -> None:
        """Let the broker forget a message; after a loss it will send it again instead."""
        if self._client is not None and not self.lost.is_set():
            self._client.ack(message.mid, message.qos)

    def pause(self) -> bool:
        """Stop reading: the broker keeps what it has. One packet per second is still taken, so that the connection is seen to live.

        Returns whether it was reading before.
        """
        if self._paused:
            return False
        self._paused = True
        if self._socket is not None and self._open:
            asyncio.get_running_loop().remove_reader(self._socket)
        return True

    @property
    def _open(self) -> bool:
        # A broker that kept our session may send more than we take before it answers the subscription: until then reading goes on.
        return self._ready is not None and self._ready.done()

    def resume(self) -> None:
        """Read again."""
        if self._paused:
            self._paused = False
            if self._socket is not None and self._open:
                asyncio.get_running_loop().add_reader(self._socket, self._readable)
                self._readable()  # TLS may hold bytes that the socket no longer announces

    def close(self) -> None:
        """Say goodbye and let go of the socket."""
        client, self._client = self._client, None
        self._fail("closed")
        if client is not None:
            client.on_socket_register_write = None
            client.disconnect()
            _drop(client)

    def _make(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        five = self._version == "5"
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if five else not self._persistent,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        client.connect_timeout = CONNECT_S
        client.max_inflight_messages_set(_IN_FLIGHT)
        if self._will is not None:
            topic, payload, retain = self._will
            client.will_set(topic, payload, qos=1, retain=retain)
        return client

    def _connect(self, client: Client, host: str, port: int) -> None:
        # In a thread of its own: name look-up, TCP and TLS handshakes block.
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        config = self._config
        if config.username is not None:
            client.username_pw_set(config.username, secret(config.password_file))
        if config.tls is not None:
            client.tls_set_context(config.tls.context())
        if self._version == "5":
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = min(self._in_flight, _LARGEST)
            properties.SessionExpiryInterval = _SESSION_EXPIRY_S if self._persistent else 0
            client.connect(host, port, config.keepalive_s, clean_start=not self._persistent, properties=properties)
        else:
            client.connect(host, port, config.keepalive_s)

    def _attach(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        self._socket = client.socket()  # type: ignore[assignment]
        if self._socket is None:
            raise NotConnected(self.error or f"broker {self._address}: closed the connection")
        # Only now: until here paho worked in another thread, where none of these may run.
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.on_socket_close = self._socket_closed
        client.on_message = self._message
        if self._on_taken is not None:
            client.on_publish = self._published
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._wrote
        loop.add_reader(self._socket, self._readable)
        if client.want_write():
            self._want_write(client, None, self._socket)
        self._beat = loop.call_later(_BEAT_S, self._misc)

    def _readable(self) -> None:
        for _ in range(_PACKETS_PER_TURN):
            client, before = self._client, self._received
            if client is None or self._socket is None or (self._paused and self._open):
                return
            client.loop_read()
            if self._received == before:
                break  # no whole message arrived; anything else is announced again
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            asyncio.get_running_loop().call_soon(self._readable)

    def _misc(self) -> None:
        if self._client is None or self.lost.is_set():
            return
        if self._paused:
            self._client.loop_read()
        if self._client is not None:
            self._client.loop_misc()
            self._beat = asyncio.get_running_loop().call_later(_BEAT_S, self._misc)

    def _writable(self) -> None:
        if self._client is not None:
            self._client.loop_write()

    def _want_write(self, _client: Client, _data: Any, sock: Any) -> None:
        asyncio.get_running_loop().add_writer(sock, self._writable)

    @staticmethod
    def _wrote(_client: Client, _data: Any, sock: Any) -> None:
        asyncio.get_running_loop().remove_writer(sock)

    def _socket_closed(self, _client: Client, _data: Any, sock: Any) -> None:
        if self._socket is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(sock)
            loop.remove_writer(sock)
            self._socket = None

    def _connected(self, client: Client, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._fail(f"broker {self._address}: refused us: {reason}")
            return
        self.session_present = bool(flags.session_present)
        if self._left and self.session_present:
            client.unsubscribe(list(self._left))
        if self._topics:
            client.subscribe([(topic, self._qos) for topic in self._topics])
        else:
            self._answered()

    def _published(self, _client: Client, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        if self._on_taken is not None:
            self._on_taken(mid)

    def _subscribed(self, _client: Client, _data: Any, mid: int, reasons: Sequence[Any], _properties: Any) -> None:
        refused = [topic for topic, reason in zip(self._topics, reasons, strict=False) if reason.is_failure]
        if refused:
            self._fail(f"broker {self._address}: refused the subscription to {', '.join(refused)}")
        else:
            self._answered()
            behind = self._behind.get(mid)
            if behind is not None and not behind.done():
                behind.set_result(None)

    def _answered(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)
            if self._paused and self._socket is not None:
                asyncio.get_running_loop().remove_reader(self._socket)

    def _disconnected(self, _client: Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._fail(f"broker {self._address}: {str(reason).lower()}")

    def _message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._received += 1
        self._on_message(message)

    def _fail(self, why: str) -> None:
        if self._beat is not None:
            self._beat.cancel()
        if self.lost.is_set():
            return
        self.error = why
        self.lost.set()
        if self._ready is not None and not self._ready.done():
            self._ready.set_exception(NotConnected(why))
            self._ready.exception()  # read here: nobody may be waiting any more
        for behind in self._behind.values():
            if not behind.done():
                behind.set_exception(NotConnected(why))
                behind.exception()


def _drop(client: Client) -> None:
    # The goodbye has closed the socket unless it is clogged.
    sock = client.socket()
    if sock is not None:
        client.on_socket_close = None
        asyncio.get_running_loop().remove_reader(sock)
        asyncio.get_running_loop().remove_writer(sock)
        sock.close()


def _abandon(done: asyncio.Future[None], client: Client) -> None:
    if not done.cancelled() and done.exception() is None:
        client.disconnect()
        _drop(client)
