"""The uplink to a log server: every audit entry of this edge as an RFC 5424 message, also while no gateway is there.

Its place in the outbox is its own, so it neither waits for others nor holds them: what it sends is kept for it when all else has been forgotten.
A log server confirms nothing: entries that were handed to a connection that broke at once may be lost there. What was not handed over is sent again,
so one may come twice.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Annotated, Final, Literal

from pydantic import Field

from edge_agent.broker import TlsConfig
from edge_agent.core import AlarmEvent, Audit, NotConnected, WireError, audit_link, decode, syslog
from edge_agent.core.settings import Section
from edge_agent.core.wire import KINDS
from edge_agent.uplinks.following import Following, Portion
from edge_agent.uplinks.uplink import Port, Uplink

_IDLE_S: Final = 1.0
_TOLD: Final = frozenset({KINDS[Audit], KINDS[AlarmEvent]})
WRONG: Final = ("_refused", "_set_aside", "_differs", "_unusable", "_changed", "_behind")
"""Ends of actions that somebody should look at."""


class SyslogConfig(Section):
    """Audit entries, and alarm transitions where asked for, to the log server of the site."""

    kind: Literal["syslog"]
    name: Annotated[str, Field(min_length=1)]
    host: Annotated[str, Field(min_length=1)]
    """Name or address of the log server."""
    port: Annotated[int, Field(ge=1, le=65535)] = 6514
    """TCP port; 6514 is that of syslog over TLS."""
    tls: TlsConfig | None = TlsConfig()
    """Encryption, the server's name is checked; `null` sends in the clear."""
    alarms: bool = False
    """Whether alarm transitions are sent too; a gateway sends them also."""
    timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """Seconds for one connection or message."""
    required: bool = False
    """Whether all that it sends is kept until this uplink has sent it, without regard to `hold_bytes`."""
    hold_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 40)] = 16_000_000
    """Bytes of what it sends that are kept while the log server is away, a quarter of `outbox.max_bytes` at the most; the oldest beyond it are given
    up, with the alarm `edge/audit_unsent`."""

    @property
    def carries(self) -> frozenset[int]:
        """Kinds of records that go to the log server."""
        return _TOLD if self.alarms else frozenset({KINDS[Audit]})

    def uplink(self, port: Port) -> Uplink:
        """The uplink of this configuration."""
        return SyslogUplink(self, port)


def audit_line(edge: str, entry: Audit) -> str:
    """One audit entry, with the hash that the next one carries, so that the log server's copy can be held against the edge's chain.

    >>> audit_line("e1", Audit(time_ns=10**9, user="edge-agent", role="system", action="start", object="edge"))[:83]
    '<109>1 1970-01-01T00:00:01.000000Z e1 pharmedge - audit [audit@32473 user="edge-age'
    """
    severity = syslog.WARNING if entry.action.endswith(WRONG) else syslog.NOTICE
    keys = ("user", "role", "station", "action", "object", "old", "new", "reason")
    about = {**{key: str(getattr(entry, key)) for key in keys}, "hash": audit_link(entry), "previous": entry.chain}
    said = f"{entry.action} {syslog.shown(entry.object)}: {entry.user}"
    return syslog.line(severity, syslog.instant(entry.time_ns), edge, syslog.AUDIT, syslog.AUDIT_ID, about, said)


def _let_go(connecting: asyncio.Future[syslog.LogServer]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


class SyslogUplink:
    """Tells what this edge wrote into its audit trail."""

    def __init__(self, config: SyslogConfig, port: Port) -> None:
        self._config, self._port = config, port
        self._following = Following(port.outbox, port.place())
        self._counts = {"sent_messages": 0, "sent_records": 0, "sent_bytes": 0, "damaged_records": 0, "gone_records": 0}
        port.status.update(connected=False, committed_seq=self._following.position, error="", **self._counts)

    async def run(self) -> None:
        """Connect and tell until the connection is lost."""
        port = self._port
        connecting = asyncio.ensure_future(asyncio.to_thread(self._connected))
        try:
            server = await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_let_go)  # the thread goes on, and nobody would close what it opens
            raise
        try:
            port.status.update(connected=True, error="")
            # The place may have been on its way when the connection before was ended; nothing new need come that would tell it again.
            await asyncio.to_thread(self._port.moved, self._following.position)
            self._following.begin()
            while True:
                portion = await asyncio.to_thread(self._following.next, port.clock())
                if portion is not None:
                    await self._send(server, portion)
                else:
                    await port.wake(_IDLE_S)
                    await asyncio.to_thread(server.ask_whether_somebody_is_there)
        finally:
            port.status.update(connected=False)
            server.close()

    def _connected(self) -> syslog.LogServer:
        config = self._config
        try:
            context: ssl.SSLContext | None = None if config.tls is None else config.tls.context()
        except OSError as error:
            raise NotConnected(f"{config.name}: {error}") from error
        return syslog.LogServer(config.name, config.host, config.port, context, config.timeout_s)

    async def _send(self, server: syslog.LogServer, portion: Portion) -> None:
        lines = self._lines(portion)
        if lines:
            self._counts["sent_bytes"] += await asyncio.to_thread(server.send, lines)
        self._following.done(portion)
        self._counts["sent_messages"] += len(lines)
        self._counts["sent_records"] += len(lines)
        # Values that were forgotten meanwhile are no loss here: they would not have been sent.
        self._counts["gone_records"] = self._port.given_up()
        self._counts["damaged_records"] += portion.damaged
        await asyncio.to_thread(self._port.moved, self._following.position)
        self._port.status.update(committed_seq=self._following.position, **self._counts)

    def _lines(self, portion: Portion) -> list[str]:
        found: list[str] = []
        for row in portion.rows:
            try:
                record = decode(row.data) if row.kind in _TOLD else None
            except WireError:
                self._counts["damaged_records"] += 1
                continue
            if isinstance(record, Audit):
                found.append(audit_line(self._port.edge, record))
            elif isinstance(record, AlarmEvent) and self._config.alarms:
                found.append(syslog.alarm_line(self._port.edge, record))
        return found
