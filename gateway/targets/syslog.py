"""Syslog target: alarm transitions and every entry of the audit trail as RFC 5424 messages to the log server of the site (`edge_agent.core.syslog`).

No values are sent. The two go over connections of their own with places of their own, `target/NAME` in the inbox and `target/NAME/audit` in the
trail, so that neither waits for the other. Exceptions of the audit trail are warnings, a broken trail an alert, all else notice.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edge_agent.core import NotConnected, syslog
from edge_agent.core.settings import Section, credential
from gateway.audit import EXCEPTIONS, FIELDS
from gateway.targets.target import Outcome, Page, Reader, Told

BROKEN = "audit_broken"


class SyslogConfig(Section):
    """Where the log server listens."""

    name: str = Field(min_length=1)
    kind: Literal["syslog"] = "syslog"
    host: str = Field(min_length=1)
    """Name or address of the server."""
    port: int = Field(6514, ge=1, le=65535)
    """TCP port; 6514 is that of syslog over TLS."""
    tls: bool = True
    """Whether the connection is encrypted and the server's name checked."""
    ca_file: Path | None = None
    """Authority that signed the server's certificate; absent means those of the system."""
    cert_file: Path | None = None
    """Our certificate, where the server asks for one."""
    key_file: Path | None = None
    """The private key of our certificate."""
    alarms: bool = True
    """Whether alarm transitions are sent."""
    audit: bool = True
    """Whether every entry of the gateway's audit trail is sent; what edges report of themselves is among them."""
    timeout_s: float = Field(10.0, gt=0)
    """Seconds for one connection or message."""
    hold_bytes: int = Field(2_000_000_000, ge=1 << 20)
    """Bytes of inbox kept for this target while it is away; beyond it, it skips the oldest and says how much."""

    def make(self) -> SyslogTarget:
        """The target of this configuration."""
        return SyslogTarget(self)

    def connect(self) -> syslog.LogServer:
        """A connection; raises NotConnected."""
        try:
            return syslog.LogServer(self.name, self.host, self.port, self._context(), self.timeout_s)
        except OSError as error:  # files of TLS that cannot be used
            raise NotConnected(f"{self.name}: {error}") from error

    def _context(self) -> ssl.SSLContext | None:
        if not self.tls:
            return None
        context = ssl.create_default_context(cafile=None if self.ca_file is None else str(self.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert_file is not None:
            context.load_cert_chain(self.cert_file, None if self.key_file is None else credential(self.key_file))
        return context

    def reader(self) -> Reader | None:
        """A log server is not asked."""
        return None


def audit_line(gateway: str, entry: Mapping[str, Any]) -> str:
    """One entry of the audit trail with its number and hash, so that the log server's copy can be held against the trail.

    >>> entry = {"seq": 7, "ts": "2026-01-05T08:00:00.000Z", "user": "wang", "role": "operator", "action": "login", "object": "session", "hash": "ab"}
    >>> audit_line("gw1", entry)
    '<109>1 2026-01-05T08:00:00.000Z gw1 pharmedge - audit [audit@32473 seq="7" user="wang" role="operator" action="login" object="session" \
hash="ab"] login session: wang'
    """
    severity = syslog.ALERT if entry["action"] == BROKEN else syslog.WARNING if entry["action"] in EXCEPTIONS else syslog.NOTICE
    about = {key: str(entry.get(key, "")) for key in ("seq", *(k for k in FIELDS if k not in ("ts", "local")), "hash")}
    said = f"{entry['action']} {syslog.shown(str(entry['object']))}" + (f": {entry['user']}" if entry["user"] else "")
    return syslog.line(severity, entry["ts"], gateway, syslog.AUDIT, syslog.AUDIT_ID, about, said)


class SyslogTarget:
    """One connection to a log server. It answers nothing: what it was handed when a connection breaks may be lost, and is counted as written."""

    def __init__(self, config: SyslogConfig) -> None:
        self._config = config
        self._server: syslog.LogServer | None = None

    def open(self) -> None:
        """Connect; raises NotConnected."""
        self._server = self._config.connect()

    def close(self) -> None:
        """Close the connection."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def write(self, page: Page) -> Outcome:
        """Send the alarm transitions of a page; raises NotConnected."""
        if not page.alarms or not self._config.alarms:
            return Outcome()
        return self._sent([syslog.alarm_line(page.edge, event) for event in page.alarms])

    def tell(self, gateway: str, entries: Told) -> Outcome:
        """Send entries of the audit trail; raises NotConnected."""
        return self._sent([audit_line(gateway, entry) for entry in entries])

    def _sent(self, lines: list[str]) -> Outcome:
        if self._server is None:
            raise NotConnected(f"{self._config.name}: not open")
        self._server.send(lines)
        return Outcome(written=len(lines))
