"""Syslog target: alarm transitions as RFC 5424 messages to the log server of the site, over TCP with octet counting (RFC 6587) or TLS (RFC 5425).

No values are sent. Facility 13 (log audit); severity by the alarm's priority: 1 alert, 2 critical,
3 error, 4 warning; what returns or is acknowledged is notice. The time is that of the event.
"""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path
from typing import Final, Literal

from pydantic import Field

from edge_agent.core import AlarmEvent, NotConnected
from edge_agent.core.settings import Section, credential
from gateway.targets.target import Outcome, Page, Reader

FACILITY: Final = 13
_SEVERITY: Final = {1: 1, 2: 2, 3: 3, 4: 4}
_NOTICE: Final = 5
ID: Final = "pharmedge@32473"
"""Structured data of ours; 32473 is the enterprise number for documentation (RFC 5612)."""


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
    timeout_s: float = Field(10.0, gt=0)
    """Seconds for one connection or message."""
    hold_bytes: int = Field(2_000_000_000, ge=1 << 20)
    """Bytes of inbox kept for this target while it is away; beyond it, it skips the oldest and says how much."""

    def make(self) -> SyslogTarget:
        """The target of this configuration."""
        return SyslogTarget(self)

    def reader(self) -> Reader | None:
        """A log server is not asked."""
        return None


def escaped(text: str) -> str:
    r"""A parameter value of structured data (RFC 5424, 6.3.3).

    >>> escaped('a "b" ]')
    'a \\"b\\" \\]'
    """
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]").replace("\n", " ")


def _word(text: str, longest: int) -> str:
    """A header field: printable ASCII without blanks, `-` when there is none."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:longest] or "-"


def message(edge: str, event: AlarmEvent) -> str:
    """One alarm transition.

    >>> raised = AlarmEvent(alarm="p1/f.high", tag="p1/f", raised_ns=1, time_ns=10**9, received_ns=2, event="raise", state_from="NORM",
    ...     state_to="UNACK", priority=2, value=1.5)
    >>> message("e1", raised)[:-12] + "..."
    '<106>1 1970-01-01T00:00:01.000000Z e1 pharmedge - raise [pharmedge@32473 alarm="p1/f.high" state="UNACK" priority="2" value="1.5"] p1/...'
    """
    severity = _SEVERITY.get(event.priority, _NOTICE) if event.event in ("raise", "re_alarm") and not event.advisory else _NOTICE
    when = datetime.datetime.fromtimestamp(event.time_ns // 1000 / 1e6, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    about = {"alarm": event.alarm, "state": event.state_to, "priority": str(event.priority)}
    about |= {"value": repr(event.value)} if event.value is not None else {}
    about |= {key: text for key in ("user", "role", "station", "reason") if (text := getattr(event, key))}
    data = " ".join(f'{key}="{escaped(text)}"' for key, text in about.items())
    said = f"{event.alarm} {event.event}" + (f": {event.explanation}" if event.explanation else "")
    head = f"<{FACILITY * 8 + severity}>1 {when} {_word(edge, 255)} pharmedge - {_word(event.event, 32)}"
    return f"{head} [{ID} {data}] {said}".replace("\n", " ")


class SyslogTarget:
    """One connection to a log server. It answers nothing: what it was handed when a connection breaks may be lost, and is counted as written."""

    def __init__(self, config: SyslogConfig) -> None:
        self._config = config
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect; raises NotConnected."""
        config = self._config
        try:
            plain = socket.create_connection((config.host, config.port), config.timeout_s)
            if not config.tls:
                self._socket = plain
                return
            try:
                context = ssl.create_default_context(cafile=None if config.ca_file is None else str(config.ca_file))
                if config.cert_file is not None:
                    context.load_cert_chain(config.cert_file, None if config.key_file is None else credential(config.key_file))
                self._socket = context.wrap_socket(plain, server_hostname=config.host)
            except OSError:
                plain.close()
                raise
        except OSError as error:
            raise NotConnected(f"{config.name}: {config.host}:{config.port}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def write(self, page: Page) -> Outcome:
        """Send the alarm transitions of a page; raises NotConnected."""
        if not page.alarms:
            return Outcome()
        if self._socket is None:
            raise NotConnected(f"{self._config.name}: not open")
        self._ask_whether_somebody_is_there(self._socket)
        frames = [f"{len(text)} ".encode() + text for event in page.alarms if (text := message(page.edge, event).encode())]
        try:
            self._socket.sendall(b"".join(frames))
        except OSError as error:
            raise NotConnected(f"{self._config.name}: {error}") from error
        return Outcome(written=len(frames))

    def _ask_whether_somebody_is_there(self, peer: socket.socket) -> None:
        """NotConnected when the log server has closed: what is written behind its close is taken by nobody, and only the next write would say so."""
        peer.setblocking(False)
        try:
            gone = peer.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            gone = False
        except OSError as error:
            raise NotConnected(f"{self._config.name}: {error}") from error
        finally:
            peer.settimeout(self._config.timeout_s)
        if gone:
            raise NotConnected(f"{self._config.name}: the log server closed the connection")
