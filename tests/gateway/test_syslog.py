"""The log server of a site gets alarm transitions as RFC 5424, framed by RFC 6587."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_agent.core import AlarmEvent, NotConnected, Samples, syslog
from edge_agent.core.syslog import alarm_line
from gateway.app import Gateway
from gateway.audit import Act, Actor, Trail
from gateway.config import GatewayConfig
from gateway.store import Store
from gateway.targets import Outcome, Page, SyslogConfig
from gateway.targets.auditing import AuditRunner
from gateway.targets.runner import Runner
from gateway.targets.syslog import SyslogTarget, audit_line
from gateway.targets.target import Told
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
    one, two = (alarm_line("e1", event).encode() for event in (RAISED, TAKEN))
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
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))  # taken, so that nobody else gets it, and refused, because nobody listens
        with pytest.raises(NotConnected):
            target(silent.getsockname()[1], None).open()
    ours, stranger = certificates(tmp_path / "a", "127.0.0.1"), certificates(tmp_path / "b", "127.0.0.1")
    server = LogServer(stranger)
    with pytest.raises(NotConnected, match="certificate verify failed"):
        target(server.port, ours).open()
    server.heard()


@pytest.mark.parametrize("host", ["log..plant.example", ".plant.example", "x" * 64 + ".example"])
def test_a_name_that_can_be_none_of_a_host_is_not_connected(host: str) -> None:
    with pytest.raises(NotConnected, match="siem"):
        SyslogConfig(name="siem", host=host, port=1, tls=False).make().open()


class Slow(socket.socket):
    """Takes what it is handed and writes down how much that was at once."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[int] = []

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.handed.append(len(data))


def test_the_timeout_is_that_of_a_piece_and_not_of_everything_that_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr(socket, "create_connection", lambda *_: slow)
    server = syslog.LogServer("siem", "host", 1, None, 5)
    monkeypatch.setattr(server, "ask_whether_somebody_is_there", lambda: None)
    sent = server.send(["x" * 1000] * 500)
    server.close()
    assert sum(slow.handed) == sent == 500 * 1005
    assert max(slow.handed) == syslog.PIECE


# --- the audit trail ---------------------------------------------------------------------------------------------------------------


class Kept:
    """A log server in memory: away when told so, and it may close in the middle."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.away = False

    def open(self) -> None:
        if self.away:
            raise NotConnected("away")

    def tell(self, gateway: str, entries: Told) -> Outcome:
        if self.away:
            raise NotConnected("closed")
        self.numbers += [int(entry["seq"]) for entry in entries]
        return Outcome(len(entries))

    def close(self) -> None:
        return


@pytest.fixture
def trail(tmp_path: Path) -> Iterator[Trail]:
    made = Trail(tmp_path / "gw", zone="UTC", version="1")
    yield made
    made.close()


WANG = Actor("wang", "operator", "Wang Li", "10.0.0.7")


def write(trail: Trail, count: int) -> None:
    for _ in range(count):
        trail.append(WANG, Act("login", "session"), 10**18)


async def _in_thread(function: Callable[[], object]) -> object:
    return function()


async def test_a_fault_of_the_disk_or_of_a_target_is_shown_and_tried_again(store: Store, trail: Trail) -> None:
    config, full = SyslogConfig(name="siem", host="127.0.0.1"), [True]

    async def in_writer(function: Callable[[], object]) -> object:
        if full[0]:
            raise sqlite3.OperationalError("database or disk is full")
        return function()

    shown: list[str] = []

    async def sleep(_: float) -> None:
        shown.append(str(runner.row()["error"]))
        full[0] = False
        if len(shown) > 1:
            raise asyncio.CancelledError

    kept = Kept()
    write(trail, 1)
    runner: AuditRunner | Runner = AuditRunner(store, trail, "gw1", config, kept, in_writer=in_writer, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await runner.run()
    assert shown == ["siem/audit: OperationalError: database or disk is full", ""]
    assert kept.numbers == [1]

    class Faulty:
        def open(self) -> None:
            raise UnicodeError("label empty or too long")

        def write(self, page: Page) -> Outcome:
            raise AssertionError

        def close(self) -> None:
            return

    shown.clear()
    runner = Runner(store, config, in_writer=in_writer, clock=lambda: 1, sleep=sleep, target=Faulty())
    with pytest.raises(asyncio.CancelledError):
        await runner.run()
    assert shown == ["siem: UnicodeError: label empty or too long"] * 2


async def supplied(store: Store, trail: Trail, kept: Kept, turns: int = 4) -> AuditRunner:
    """A runner that lived for some waits; they take no time."""
    left = turns

    async def sleep(_: float) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise asyncio.CancelledError

    runner = AuditRunner(store, trail, "gw1", SyslogConfig(name="siem", host="127.0.0.1"), kept, in_writer=_in_thread, sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await runner.run()
    return runner


async def test_every_entry_is_sent_once_behind_a_durable_place_of_its_own(store: Store, trail: Trail) -> None:
    kept = Kept()
    write(trail, 3)
    await supplied(store, trail, kept)
    assert kept.numbers == [1, 2, 3]
    write(trail, 2)
    kept.away = True
    runner = await supplied(store, trail, kept)
    assert (runner.row()["connected"], runner.row()["behind"], kept.numbers) == (False, 2, [1, 2, 3])
    kept.away = False
    runner = await supplied(store, trail, kept)  # another life of the gateway
    assert kept.numbers == [1, 2, 3, 4, 5]
    assert runner.row() | {"error": ""} == {
        "name": "siem/audit", "kind": "syslog", "connected": True, "cursor": 5, "behind": 0, "written": 2, "rejected": 0, "error": "",
    }  # fmt: skip
    assert store.log.cursor("target/siem/audit") == 5
    assert store.log.cursor("target/siem") == 0


async def test_a_dead_log_server_holds_neither_another_nor_the_trail_nor_the_inbox(store: Store, trail: Trail) -> None:
    dead, alive = Kept(), Kept()
    dead.away = True
    write(trail, 2)
    await supplied(store, trail, dead)
    runner = AuditRunner(store, trail, "gw1", SyslogConfig(name="other", host="127.0.0.1"), alive, in_writer=_in_thread)
    assert await runner._once()
    assert alive.numbers == [1, 2]
    assert not hasattr(runner, "held_from")  # nothing of the inbox is kept for it


async def test_a_trail_that_was_put_back_is_told_from_where_it_is(store: Store, trail: Trail) -> None:
    write(trail, 2)
    store.log.commit(cursors={"target/siem/audit": 9})
    kept = Kept()
    await supplied(store, trail, kept)
    write(trail, 1)
    await supplied(store, trail, kept)
    assert kept.numbers == [3]


def test_an_entry_is_one_framed_message_with_number_hash_and_severity(secured: Certificates | None, trail: Trail) -> None:
    trail.append(WANG, Act("login_failed", 'se"ssion]\n', old="x" * 5000, reason="密码错误"), 1_767_600_000 * 10**9)
    [entry] = trail.behind(0, 10)
    server = LogServer(secured)
    out = target(server.port, secured)
    out.open()
    assert out.tell("gw1", [entry]).written == 1
    out.close()
    text = audit_line("gw1", entry)
    assert server.heard() == f"{len(text.encode())} {text}".encode()
    assert text.startswith('<108>1 2026-01-05T08:00:00.000Z gw1 pharmedge - audit [audit@32473 seq="1" ')  # a failed login is a warning
    assert f'hash="{entry["hash"]}"' in text
    assert 'object="se\\"ssion\\] "' in text
    assert 'reason="密码错误"' in text
    assert "\n" not in text
    assert len(text) < 2500
    trail.append(Actor("gateway gw1", "service"), Act("audit_broken", "audit trail", new="entry 1 was changed"), 10**18)
    assert audit_line("gw1", trail.behind(1, 1)[0]).startswith("<105>1 ")


def test_alarms_and_audit_may_be_left_out(tmp_path: Path) -> None:
    out = SyslogConfig(name="siem", host="127.0.0.1", alarms=False, tls=False).make()
    assert out.write(Page("e1", "demo", (), (), (), (RAISED,))).written == 0
    base = {"gateway": {"id": "gw1", "site": "demo", "data_dir": tmp_path / "data"}}
    for audit in (True, False):
        section = {"kind": "syslog", "name": "siem", "host": "127.0.0.1", "port": 1, "tls": False, "audit": audit}
        gateway = Gateway(GatewayConfig.model_validate({**base, "targets": [section]}))
        try:
            assert [row["name"] for row in gateway.questions.status()["targets"]] == ["siem", *(["siem/audit"] if audit else [])]
        finally:
            gateway.close()
