"""The log server of a site gets alarm transitions as RFC 5424, framed by RFC 6587."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.core import AlarmEvent, NotConnected, Samples
from gateway.targets import Page, SyslogConfig
from gateway.targets.syslog import SyslogTarget, message
from tests.certificates import Certificates, certificates

RAISED = AlarmEvent(
    alarm="p1/f.high", tag="p1/f", raised_ns=1, time_ns=10**9, received_ns=2, event="raise", state_from="NORM", state_to="UNACK", priority=1,
    value=1.5, explanation="1.5 over 1",
)  # fmt: skip
TAKEN = AlarmEvent(
    alarm="p1/f.high", tag="p1/f", raised_ns=1, time_ns=2 * 10**9, received_ns=3, event="acknowledge", state_from="UNACK", state_to="ACKED",
    priority=1, user='li "the" ]', reason="两行\nText",
)  # fmt: skip


class LogServer:
    """Takes everything of one connection, or closes behind the first of it (`once`)."""

    def __init__(self, made: Certificates | None, *, once: bool = False) -> None:
        self._once = once
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._context = None
        if made is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(made.cert, made.key)
        self.taken: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            plain, _ = self._listener.accept()
            with plain if self._context is None else self._context.wrap_socket(plain, server_side=True) as peer:
                while data := peer.recv(65536):
                    self.taken.append(data)
                    if self._once:
                        break
        except OSError:
            return

    def heard(self) -> bytes:
        self._thread.join(20)
        self._listener.close()
        return b"".join(self.taken)


@pytest.fixture(params=["tls", "plain"])
def secured(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Certificates | None]:
    return certificates(tmp_path, "127.0.0.1") if request.param == "tls" else None


def target(port: int, made: Certificates | None) -> SyslogTarget:
    return SyslogConfig(name="siem", host="127.0.0.1", port=port, tls=made is not None, ca_file=made.ca if made else None, timeout_s=5).make()


def test_transitions_arrive_framed_and_values_do_not(secured):
    server = LogServer(secured)
    out = target(server.port, secured)
    out.open()
    page = Page("e1", "demo", (), (Samples.of([1], [0], [2.0], [0]),), (), (RAISED, TAKEN))
    assert out.write(page).written == 2
    assert out.write(Page("e1", "demo", ())).written == 0
    out.close()
    one, two = (message("e1", event).encode() for event in (RAISED, TAKEN))
    assert server.heard() == f"{len(one)} ".encode() + one + f"{len(two)} ".encode() + two
    assert one.startswith(b"<105>1 1970-01-01T00:00:01.000000Z e1 pharmedge - raise [")
    assert two.startswith(b"<109>1 ")
    assert b'user="li \\"the\\" \\]"' in two
    assert b"\n" not in two


def test_what_would_go_to_a_closed_connection_is_not_counted_as_written(secured):
    server = LogServer(secured, once=True)
    out = target(server.port, secured)
    out.open()
    page = Page("e1", "demo", (), (), (), (RAISED,))
    assert out.write(page).written == 1
    assert server.heard()
    with pytest.raises(NotConnected, match=r"closed|reset|EOF"):
        out.write(page)
    out.close()


def test_a_server_that_is_away_or_a_stranger_is_not_connected(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(NotConnected):
        target(port, None).open()
    ours, stranger = certificates(tmp_path / "a", "127.0.0.1"), certificates(tmp_path / "b", "127.0.0.1")
    server = LogServer(stranger)
    with pytest.raises(NotConnected, match="certificate verify failed"):
        target(server.port, ours).open()
    server.heard()
