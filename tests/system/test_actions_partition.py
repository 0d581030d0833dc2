"""What people ask while broker, gateway or edge die: every request has one outcome, and edge and gateway never disagree."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import road
from tests.system.processes import Child, free_port, script

pytestmark = [pytest.mark.system, pytest.mark.timeout(150)]

CONFIG = """
edge: {{site: demo, id: e1, data_dir: data}}
sources:
  - {{name: history, kind: csv, files: [values.csv], speed: 50}}
tags:
  - {{name: u/force, source: history, unit: kN, class: other, report: {{kind: by_exception}}}}
  - {{name: u/temp, source: history, unit: Cel, class: other, report: {{kind: by_exception}}}}
alarms:
  - {{name: u/force.high, kind: limit, tag: u/force, limit: 14, priority: 3}}
  - {{name: u/temp.high, kind: limit, tag: u/temp, limit: 100, priority: 3}}
uplinks:
  - {{name: site, kind: gateway, host: 127.0.0.1, port: {mqtt}, gateways: [gw1]}}
http: {{port: {http}}}
"""
FORCE, TEMP = "u/force.high", "u/temp.high"


class Desk:
    """The gateway's API as a person's page uses it."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, occurrence: str, what: str, **body: Any) -> tuple[int, dict[str, Any]]:
        url = f"http://127.0.0.1:{self.port}/api/v1/alarms/{occurrence}/{what}"
        request = urllib.request.Request(url, json.dumps({"user": "li", **body}).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def shelve(self, occurrence: str, seconds: float) -> str:
        status, body = self.ask(occurrence, "shelve", role="operator", reason="bin change", duration_s=seconds)
        assert status == 202, body
        return str(body["action_id"])

    def outcome(self, action: str) -> str:
        return str((road.get(self.port, f"/api/v1/actions/{action}") or {}).get("state", ""))

    def row(self, alarm: str) -> dict[str, Any]:
        rows = (road.get(self.port, "/api/v1/alarms?state=history&limit=100") or {}).get("alarms", [])
        return next((r for r in rows if r["alarm"] == alarm), {})

    def state(self, alarm: str) -> str:
        return str(self.row(alarm).get("state", ""))


def said_by_the_edge(log: Path) -> dict[str, str]:
    """The state that the edge said last of each alarm."""
    found: dict[str, str] = {}
    pair = re.compile(r"""["']?(alarm|change|state)["']?[=:] ?('[^']*'|"[^"]*"|\S+)""")
    for line in log.read_text(errors="replace").splitlines():
        words = {k: v.strip("'\"") for k, v in pair.findall(re.sub(r"\x1b\[[0-9;]*m", "", line))}
        if {"alarm", "change", "state"} <= words.keys() and words["change"] != "refuse":
            found[words["alarm"]] = words["state"].rstrip(",}")
    return found


def test_requests_outlive_broker_gateway_and_edge_and_all_agree(tmp_path: Path) -> None:
    rows = [f"2026-01-01T00:00:{k:02d}Z,{12 if k < 5 else 15},{20 + 0.01 * k:.2f}" for k in range(20)]
    (tmp_path / "values.csv").write_text("time,u/force,u/temp\n" + "\n".join(rows) + "\n")
    mqtt, http, desk = free_port(), free_port(), Desk(free_port())
    (tmp_path / "agent.yaml").write_text(CONFIG.format(mqtt=mqtt, http=http))
    log = tmp_path / "agent.log"
    command = [script("edge-agent"), "run", "-c", str(tmp_path / "agent.yaml")]
    broker = road.broker(tmp_path, mqtt)
    gateway, _ = road.gateway(tmp_path, mqtt, desk.port)
    try:
        with Child(command, log=log) as agent:
            road.wait_for("the alarm at the gateway", lambda: desk.state(FORCE) == "UNACK", 40)
            occurrence = desk.row(FORCE)["occurrence"]

            # The broker is gone when somebody shelves, and then the gateway dies too: the request is kept.
            broker.kill()
            shelving = desk.shelve(occurrence, 6)
            assert desk.shelve(occurrence, 6) == shelving, "the same wish twice is one request"
            assert desk.outcome(shelving) == "pending"
            assert desk.ask(occurrence, "ack", user="li")[0] == 202  # refused by the edge later: whoever shelved it was first
            gateway.kill()
            broker.start()
            gateway.start()
            road.wait_for("the shelving", lambda: desk.outcome(shelving) == "done", 30)

            # It ends while the gateway is away; both say so afterwards.
            gateway.kill()
            road.wait_for("the end of the shelving at the edge", lambda: said_by_the_edge(log).get(FORCE) == "UNACK", 30)
            gateway.start()
            road.wait_for("the end of the shelving at the gateway", lambda: desk.state(FORCE) == "UNACK", 30)
            assert desk.row(FORCE)["suppressions"] == []

            # The edge dies between request and answer; the repeated request is carried out once.
            status, body = desk.ask(occurrence, "ack", reason="seen")
            assert status == 202, body
            agent.kill()
        with Child(command, log=log) as agent:
            road.wait_for("the acknowledge", lambda: desk.outcome(body["action_id"]) == "done", 30)
            assert desk.state(FORCE) == "ACKED"
            # An alarm that does not stand is shelved, and the broker restarts while the answer is on its way.
            normal = desk.shelve(f"e1~{TEMP}~0", 600)
            broker.kill()
            broker.start()
            road.wait_for("the shelving of a normal alarm", lambda: desk.outcome(normal) == "done", 30)
            assert desk.state(TEMP) == "SHLVD"
            assert desk.row(TEMP)["suppressions"][0]["user"] == "li"
            assert agent.stop() == 0
        expected = {FORCE: "ACKED", TEMP: "SHLVD"}
        assert {alarm: desk.state(alarm) for alarm in expected} == expected
        # What was acknowledged may have been committed by the life that was killed before it could say so in its log.
        assert said_by_the_edge(log)[TEMP] == "SHLVD"
        cited = [e["action_id"] for e in desk.row(FORCE)["events"] if e["action_id"]]
        assert len(cited) == len(set(cited)), "each request is answered once"
        kinds = [e["event"] for e in desk.row(FORCE)["events"] if e["event"] != "refuse"]
        assert kinds in (["raise", "suppress", "unsuppress", "acknowledge"], ["raise", "acknowledge", "suppress", "unsuppress", "acknowledge"])
    finally:
        gateway.kill()
        broker.kill()
