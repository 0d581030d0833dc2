"""What every target does: the suite runs over the register."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from edge_agent.core import AlarmEvent, NotConnected, Samples, Tag, Texts
from gateway.targets import TARGETS, InfluxConfig, Page, SyslogConfig, Target

TAGS = (Tag(id=0, name="press 1/force,a=b"), Tag(id=1, name="press1/batch", kind="text"))


class Peer(ThreadingHTTPServer):
    """A time series server that keeps points by series and time, refuses some and may be out of order."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.points: dict[tuple[str, str], str] = {}
        self.refuse = b""
        self.status = 204
        self.requests = 0
        self.tokens: set[str] = set()
        self.paths: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: Peer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests += 1
        self.server.paths.add(self.path.partition("?")[0])
        self.server.tokens.add(self.headers.get("Authorization", ""))
        status = self.server.status
        lines = body.splitlines()
        if status == 204 and self.server.refuse and any(self.server.refuse in line for line in lines):
            status = 400
        if status == 204:
            for line in lines:
                # The last two blanks that are not escaped part series, fields and time.
                series, fields, time = _parted(line.decode())
                self.server.points[series, time] = fields
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def _parted(line: str) -> tuple[str, str, str]:
    head, _, time = line.rpartition(" ")
    at = 0
    while head[at] != " " or head[at - 1] == "\\":
        at += 1
    return head[:at], head[at + 1 :], time


@pytest.fixture
def peer() -> Iterator[Peer]:
    server = Peer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


CONFIGS: dict[str, tuple[type[InfluxConfig], dict[str, str]]] = {
    "influx": (InfluxConfig, {"org": "o"}),
    "influx-1": (InfluxConfig, {"api": "v1", "username": "edge"}),
}
WHO = {"influx": "Token secret", "influx-1": "Basic ZWRnZTpzZWNyZXQ="}


def test_every_target_has_a_configuration() -> None:
    assert {kind for kind, _ in CONFIGS.values()} | {SyslogConfig} == set(TARGETS)  # a log server takes no values: tests/gateway/test_syslog.py


@pytest.fixture(params=CONFIGS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(kind: str, peer: Peer, tmp_path: Path) -> Iterator[Target]:
    (tmp_path / "token.txt").write_text("secret\n")
    config, more = CONFIGS[kind]
    section = {"name": "ts", "url": f"http://127.0.0.1:{peer.server_port}", "bucket": "b", "token_file": tmp_path / "token.txt", "batch_lines": 100}
    made: Target = config.model_validate(section | more).make()
    made.open()
    yield made
    made.close()


def _page(n: int = 250) -> Page:
    values = np.where(np.arange(n) % 10 == 3, np.nan, np.arange(n) / 8)
    samples = Samples.of(np.arange(n) + 1_767_225_600_000_000_000, np.zeros(n, np.int32), values, np.where(np.isnan(values), 0x808C0000, 0))
    event = AlarmEvent(
        alarm="a.high", tag="a", raised_ns=1, time_ns=2, received_ns=2, event="raise", state_from="NORM", state_to="UNACK", priority=2, value=1.5
    )
    return Page("e1", "demo", TAGS, (samples,), (Texts((7,), (1,), ('B "1"',), (0,)),), (event,))


def test_everything_arrives_once_however_often_it_is_written(target: Target, peer: Peer, kind: str) -> None:
    page = _page()
    assert target.write(page).written == len(page) == 252
    before = dict(peer.points)
    assert len(before) == 252
    assert target.write(page).rejected == []
    assert peer.points == before
    assert before["samples,edge=e1,tag=press\\ 1/force\\,a\\=b", "1767225600000000008"] == "value=1,status=0i"  # a number without suffix is a float
    assert before["samples,edge=e1,tag=press\\ 1/force\\,a\\=b", "1767225600000000003"] == f"status={0x808C0000}i"
    assert before["samples,edge=e1,tag=press1/batch", "7"] == 'text="B \\"1\\"",status=0i'
    assert peer.tokens == {WHO[kind]}
    assert peer.paths == {"influx": {"/api/v2/write"}, "influx-1": {"/write"}}[kind]


def test_refused_points_come_back_and_the_others_are_written(target: Target, peer: Peer) -> None:
    peer.refuse = b"000000077"
    outcome = target.write(_page())
    assert (outcome.written, len(outcome.rejected)) == (251, 1)
    assert outcome.rejected[0][1].endswith(b"000000077")
    assert "400" in outcome.rejected[0][0]


def test_when_all_is_refused_it_does_not_take_a_request_for_each(target: Target, peer: Peer) -> None:
    peer.status = 400
    outcome = target.write(_page())
    assert (outcome.written, len(outcome.rejected)) == (0, 252)
    assert peer.requests < 100


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
def test_a_target_that_is_out_of_order_is_not_connected(target: Target, peer: Peer, status: int) -> None:
    peer.status = status
    with pytest.raises(NotConnected):
        target.write(_page())
    peer.status = 204
    assert target.write(_page()).written == 252


def test_a_target_that_is_away_is_not_connected(target: Target, peer: Peer) -> None:
    peer.shutdown()
    peer.server_close()
    with pytest.raises(NotConnected):
        target.write(_page())


def test_an_empty_page_is_no_request(target: Target, peer: Peer) -> None:
    assert target.write(Page("e1", "demo", TAGS)).written == 0
    assert peer.requests == 0
