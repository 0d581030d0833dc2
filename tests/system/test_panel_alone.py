"""The gateway goes away, a person acts at the panel beside the line, the gateway comes back: one history, each event once, states equal."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from tests.brokers import Broker, executable
from tests.system.processes import Child, free_port, script

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(150),
    pytest.mark.skipif(executable("nats") is None, reason="needs nats-server (make venv)"),
]
GIVEN, PASSWORD = "given by somebody else", "correct horse battery"
AGENT = """
edge: {{site: demo, id: e1, data_dir: data, timezone: Asia/Shanghai}}
sources:
  - {{name: history, kind: csv, files: [values.csv], speed: 5}}
tags:
  - {{name: press1/force, source: history, unit: kN}}
  - {{name: press1/level, source: history, unit: "%"}}
alarms:
  - {{name: press1/force.high, kind: limit, tag: press1/force, limit: 16, priority: 2}}
  - {{name: press1/level.low, kind: limit, tag: press1/level, limit: 10, side: low, priority: 3}}
uplinks:
  - {{name: site, kind: gateway, host: 127.0.0.1, port: {broker}, gateways: [gw1]}}
http: {{port: {http}, panel: true}}
serve: {{modbus: {{port: {modbus}}}}}
"""


class Desk:
    """A person's browser without its window."""

    def __init__(self, url: str) -> None:
        self._url, self._headers = url, {"Content-Type": "application/json"}

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self._url + path, data, self._headers), timeout=10) as answer:
            if cookie := answer.headers.get("Set-Cookie"):
                self._headers["Cookie"] = cookie.partition(";")[0]
            found = json.load(answer)
        if found.get("csrf"):
            self._headers["X-CSRF-Token"] = found["csrf"]
        return found


class Panel(Desk):
    """The same beside the line."""

    def __init__(self, port: int) -> None:
        super().__init__(f"http://127.0.0.1:{port}/panel/api/")

    def alarms(self) -> dict[str, dict[str, Any]]:
        """What stands, as a page that has just opened is told."""
        with urllib.request.urlopen(self._url + "stream", timeout=10) as stream:
            for line in stream:
                if line.startswith(b'data: {"alarms"'):
                    return {row["alarm"]: row for row in json.loads(line[6:])["alarms"]}
        return {}


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def until(what: Any, timeout: float = 60.0) -> Any:
    end, last = time.monotonic() + timeout, None
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except OSError as error:
            last = error
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout} s: {last}")


def gateway(folder: Path, broker: int, http: int) -> tuple[list[str], Path]:
    config = {
        "gateway": {"id": "gw1", "site": "demo", "data_dir": str(folder / "gw")},
        "broker": {"host": "127.0.0.1", "port": broker},
        "accounts": {"panels": ["e1"]},
        "http": {"port": http},
    }
    path = folder / "gateway.yaml"
    path.write_text(json.dumps(config))
    return [script("edge-gateway"), "run", "-c", str(path)], path


def test_what_was_done_at_the_panel_is_in_the_one_history_when_the_gateway_is_back(tmp_path: Path) -> None:
    rows = [f"2026-01-01T00:{k // 60:02d}:{k % 60:02d}Z,{17 if k >= 20 else 12},{5 if k >= 20 else 50}" for k in range(600)]
    (tmp_path / "values.csv").write_text("time,press1/force,press1/level\n" + "\n".join(rows) + "\n")
    (tmp_path / "password").write_text(GIVEN + "\n")
    web, http, modbus = free_port(), free_port(), free_port()
    with ExitStack() as stack:
        broker = Broker("nats", tmp_path / "broker").start()
        stack.callback(broker.kill)
        run, config = gateway(tmp_path, broker.port, web)
        (tmp_path / "agent.yaml").write_text(AGENT.format(broker=broker.port, http=http, modbus=modbus))
        add = ["user", "add", "-c", str(config), "wang", "--role", "operator", "--full-name", "王丽", "--password-file", str(tmp_path / "password")]
        with Child([sys.executable, "-m", "gateway", *add]) as made:
            made.rest()
        served = stack.enter_context(Child(run, log=tmp_path / "gateway.log"))
        desk = Desk(f"http://127.0.0.1:{web}/api/v1/")
        until(lambda: desk.ask("session", {"user": "wang", "password": GIVEN}))
        desk.ask("session/password", {"old": GIVEN, "new": PASSWORD})
        agent = stack.enter_context(Child([script("edge-agent"), "run", "-c", str(tmp_path / "agent.yaml")], log=tmp_path / "agent.log"))
        panel = Panel(http)
        until(lambda: panel.ask("session")["people"]["count"] == 1)
        until(lambda: len(panel.alarms()) >= 2)
        served.kill()
        with ModbusTcpClient("127.0.0.1", port=modbus) as dcs:
            _, beat, worst, open_ = dcs.read_input_registers(0, count=4).registers
            assert (worst, open_) == (2, 2)
            until(lambda: dcs.read_input_registers(1, count=1).registers[0] > beat + 1)

        panel.ask("session", {"user": "wang", "password": PASSWORD})
        standing = panel.alarms()
        force, level = standing["press1/force.high"]["occurrence"], standing["press1/level.low"]["occurrence"]
        panel.ask("actions", {"kind": "acknowledge", "occurrences": [force], "reason": "seen at the press"})
        panel.ask("actions", {"kind": "shelve", "occurrences": [level], "reason": "probe is dirty", "duration_s": 1800})
        until(lambda: {a: r["state"] for a, r in panel.alarms().items()} == {"press1/force.high": "ACKED", "press1/level.low": "SHLVD"})

        served = stack.enter_context(Child(run, log=tmp_path / "gateway.log"))
        until(lambda: asked(f"http://127.0.0.1:{web}/api/v1/edges")["edges"][0]["backlog"] == 0)
        history = until(
            lambda: (
                {r["occurrence"]: r for r in asked(f"http://127.0.0.1:{web}/api/v1/alarms?state=history")["alarms"]}
                if any(
                    r["occurrence"] == level and r["state"] == "SHLVD" for r in asked(f"http://127.0.0.1:{web}/api/v1/alarms?state=history")["alarms"]
                )
                else None
            )
        )
        assert [(e["event"], e["user"], e["station"]) for e in history[force]["events"]] == [("raise", "", ""), ("acknowledge", "wang", "panel")]
        assert [(e["event"], e["user"], e["reason"]) for e in history[level]["events"]] == [("raise", "", ""), ("suppress", "wang", "probe is dirty")]
        assert {o: history[o]["state"] for o in (force, level)} == {force: "ACKED", level: "SHLVD"}
        assert agent.stop() == 0
        assert served.stop() == 0
    with Child([script("edge-gateway"), "export", "-c", str(config), "--kind", "audit", "--format", "jsonl"]) as export:
        said = [json.loads(line) for line in export.rest()]
    logins = [(e["user"], e["station"]) for e in said if e["action"] == "login" and e["object"] == "panel"]
    assert logins == [("wang", "panel")]
    assert "Traceback" not in (tmp_path / "agent.log").read_text() + (tmp_path / "gateway.log").read_text()
