"""Syslog as edge and gateway speak it: RFC 5424 messages over TCP with octet counting (RFC 6587) or TLS (RFC 5425).

A log server confirms nothing: what it was handed when a connection breaks may be lost there, and counts as handed over.
"""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Mapping, Sequence
from typing import Final

from edge_agent.core.alarm import AlarmEvent
from edge_agent.core.errors import NotConnected

FACILITY: Final = 13
"""Log audit (RFC 5424, table 1)."""
ALERT: Final = 1
WARNING: Final = 4
NOTICE: Final = 5
ALARM_ID: Final = "pharmedge@32473"
"""Structured data of ours; 32473 is the enterprise number for documentation (RFC 5612)."""
AUDIT_ID: Final = "audit@32473"
AUDIT: Final = "audit"
"""MSGID of every entry of an audit trail."""
LONGEST: Final = 1000
"""Characters of one value: log servers cut long messages where they like, so a long value ends with a mark of ours; a hash is of the whole entry."""
PIECE: Final = 16 * 1024
"""Bytes that have to leave within the timeout, however much is to be sent: a slow link takes long, and is not begun from the front again."""
_SEVERITY: Final = {1: 1, 2: 2, 3: 3, 4: 4}


def escaped(text: str) -> str:
    r"""A parameter value of structured data (RFC 5424, 6.3.3), on one line and not longer than a server takes.

    >>> escaped('a "b" ]'), escaped("two\nlines"), len(escaped("x" * 5000))
    ('a \\"b\\" \\]', 'two lines', 1001)
    """
    return shown(text).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def shown(text: str) -> str:
    """A text on one line, cut where it is too long."""
    cut = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    return "".join(c if c >= " " and c != "\x7f" else " " for c in cut)


def word(text: str, longest: int) -> str:
    """A header field: printable ASCII without blanks, `-` when there is none.

    >>> word("edge 1 片", 255), word("", 255)
    ('edge_1__', '-')
    """
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:longest] or "-"


def instant(time_ns: int) -> str:
    """A time with microseconds, UTC.

    >>> instant(10**9)
    '1970-01-01T00:00:01.000000Z'
    """
    return datetime.datetime.fromtimestamp(time_ns // 1000 / 1e6, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line(severity: int, when: str, host: str, kind: str, id_: str, about: Mapping[str, str], said: str) -> str:
    """One message; parameters without a value are left out."""
    data = " ".join(f'{key}="{escaped(text)}"' for key, text in about.items() if text)
    head = f"<{FACILITY * 8 + severity}>1 {when} {word(host, 255)} pharmedge - {word(kind, 32)}"
    return f"{head} [{id_} {data}] {said}".replace("\n", " ")


def alarm_line(edge: str, event: AlarmEvent) -> str:
    """One alarm transition. Severity by priority: 1 alert, 2 critical, 3 error, 4 warning; what returns or is acknowledged is notice.

    >>> raised = AlarmEvent(alarm="p1/f.high", tag="p1/f", raised_ns=1, time_ns=10**9, received_ns=2, event="raise", state_from="NORM",
    ...     state_to="UNACK", priority=2, value=1.5)
    >>> alarm_line("e1", raised)[:-12] + "..."
    '<106>1 1970-01-01T00:00:01.000000Z e1 pharmedge - raise [pharmedge@32473 alarm="p1/f.high" state="UNACK" priority="2" value="1.5"] p1/...'
    """
    severity = _SEVERITY.get(event.priority, NOTICE) if event.event in ("raise", "re_alarm") and not event.advisory else NOTICE
    about = {"alarm": event.alarm, "state": event.state_to, "priority": str(event.priority)}
    about |= {"value": repr(event.value)} if event.value is not None else {}
    about |= {key: text for key in ("user", "role", "station", "reason") if (text := getattr(event, key))}
    said = f"{event.alarm} {event.event}" + (f": {event.explanation}" if event.explanation else "")
    return line(severity, instant(event.time_ns), edge, event.event, ALARM_ID, about, said)


class LogServer:
    """One connection to a log server; used by one thread at a time. `context` None: not encrypted."""

    def __init__(self, name: str, host: str, port: int, context: ssl.SSLContext | None, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s
        try:
            plain = socket.create_connection((host, port), timeout_s)
            try:
                self._socket = plain if context is None else context.wrap_socket(plain, server_hostname=host)
            except (OSError, ValueError):
                plain.close()
                raise
        except (OSError, ValueError) as error:  # ValueError: a name that can be none of a host, as `log..plant.example`
            raise NotConnected(f"{name}: {host}:{port}: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, lines: Sequence[str]) -> int:
        """Hand messages over; bytes sent. Raises NotConnected."""
        self.ask_whether_somebody_is_there()
        frames = b"".join(f"{len(text)} ".encode() + text for one in lines if (text := one.encode()))
        try:
            for start in range(0, len(frames), PIECE):
                self._socket.sendall(frames[start : start + PIECE])
        except OSError as error:
            raise NotConnected(f"{self._name}: {error}") from error
        return len(frames)

    def ask_whether_somebody_is_there(self) -> None:
        """NotConnected when the log server has closed: what is written behind its close is taken by nobody, and only the next write would say so."""
        try:
            self._socket.setblocking(False)
            gone = self._socket.recv(1) == b""
        except (BlockingIOError, ssl.SSLWantReadError):
            gone = False
        except OSError as error:
            raise NotConnected(f"{self._name}: {error}") from error
        if gone:
            raise NotConnected(f"{self._name}: the log server closed the connection")
        self._socket.settimeout(self._timeout_s)
