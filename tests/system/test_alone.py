"""With gateway, broker and network gone the edge goes on judging, raising and keeping; and it listens on loopback only."""

from __future__ import annotations

import json
import random
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.system.processes import Child, free_port, script

pytestmark = [pytest.mark.system, pytest.mark.timeout(90)]

CONFIG = """
edge: {{site: demo, id: e1, data_dir: data}}
sources:
  - {{name: history, kind: csv, files: [values.csv], speed: 20}}
  - {{name: sensors, kind: mqtt, host: 127.0.0.1, port: {nobody}, client_id: c, topics: ["plant/#"]}}
  - {{name: plc, kind: opcua, url: "opc.tcp://127.0.0.1:{nobody}/"}}
tags:
  - {{name: u/force, source: history, unit: kN, class: gmp}}
  - {{name: u/temp, source: sensors, address: plant/u/temp, report: {{kind: periodic, expected_s: 1}}}}
  - {{name: u/speed, source: plc, address: "nsu=urn:x;s=speed"}}
models:
  - {{kind: robust_z, tags: [u/force], window: 20}}
alarms:
  - {{name: u/force.high, kind: limit, tag: u/force, limit: 14, priority: 2}}
uplinks:
  - {{name: site, kind: gateway, host: 127.0.0.1, port: {nobody}, gateways: [gw1]}}
http: {{port: {http}}}
"""


def asked(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def listening(pid: int) -> set[str]:
    """Local addresses, in hexadecimal, of the TCP sockets that a process listens on."""
    own = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink() and link.exists() is not None}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in own:
                found.add(cells[1].split(":")[0])
    return found


def test_an_edge_without_network_judges_alarms_and_keeps_everything(tmp_path):
    rng = random.Random(2)
    rows = [f"2026-01-01T00:00:{k * 0.1:06.3f}Z,{rng.gauss(15 if k % 50 > 40 else 12, 0.3):.3f}" for k in range(590)]
    (tmp_path / "values.csv").write_text("time,u/force\n" + "\n".join(rows) + "\n")
    http = free_port()
    (tmp_path / "agent.yaml").write_text(CONFIG.format(nobody=free_port(), http=http))
    with Child([script("edge-agent"), "run", "-c", str(tmp_path / "agent.yaml")], log=tmp_path / "agent.log") as agent:
        status: Any = {}
        end = time.monotonic() + 40
        while time.monotonic() < end and not (status.get("samples", {}).get("good") == 590 and status["alarms"]["standing"] >= 3):
            time.sleep(0.2)
            try:
                _, status = asked(f"http://127.0.0.1:{http}/status")
            except OSError:
                continue
        assert status["samples"]["good"] == 590, (tmp_path / "agent.log").read_text()
        assert status["alarms"]["standing"] >= 3  # the limit, and the two sources that are away
        assert status["outbox"]["oldest_seq"] == 1
        assert status["outbox"]["seq"] > 10
        code, ready = asked(f"http://127.0.0.1:{http}/readyz")
        assert code == 503
        assert {p.split(":")[0] for p in ready["problems"]} == {"source sensors", "source plc", "uplink site"}
        assert listening(agent.process.pid) == {"0100007F"}
        assert agent.stop() == 0
    said = (tmp_path / "agent.log").read_text()
    assert "u/force.high" in said
    assert "Traceback" not in said
