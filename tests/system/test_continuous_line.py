"""A continuous line with its PLC over real protocols: what only the truth knows to be outside its limits is not accepted."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from edge_agent.local.modbus import ACCEPT, DIVERT, DIVERTERS
from tests.brokers import Broker, executable
from tests.system.processes import ROOT, Child, free_port, script

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

# The small line: washed out in six seconds. A word to its PLC is old after 0.6 s, and nothing passes its chute in less than 2.5 s.
SMALL = {
    "sections": [
        {
            "units": [{"kind": "tanks", "tau_s": 1.0, "tanks": 2.6}],
            "instrument": {"tag": "cm1/nir_api", "uncertainty": 1.5, "values": 5, "hold_s": 1.5},
        },
        {"units": [{"kind": "tanks", "tau_s": 0.0, "dead_s": 2.5}, {"kind": "tanks", "tau_s": 0.3}]},
    ],
    "step_s": 0.2, "hold_s": 0.8, "lead_s": 1.4, "after_s": 0.4, "valid_s": 0.6, "actuator_s": 1.0, "margin": 0.3,
}  # fmt: skip


def configured(folder: Path, opcua: int, mqtt: int, modbus: int, http: int) -> Path:
    source = ROOT / "configs" / "continuous"
    shutil.copy(source / "tags.csv", folder)
    config: Any = yaml.safe_load((source / "agent.yaml").read_text("utf-8"))
    config["edge"]["data_dir"] = str(folder / "data")
    config["sources"][0]["url"] = f"opc.tcp://127.0.0.1:{opcua}/"
    config["sources"][1]["port"] = mqtt
    config["diverters"][0] |= SMALL
    config["serve"]["modbus"]["port"], config["http"]["port"] = modbus, http
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    return path


def status(http: int) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/status", timeout=10) as answer:
        return json.load(answer)


def until(what: str, found: Any, deadline: float) -> None:
    while not found():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


@pytest.mark.skipif(executable("nats") is None, reason="needs nats-server")
def test_a_disturbance_is_diverted_and_no_gram_of_it_accepted(tmp_path: Path) -> None:
    opcua, modbus, http = free_port(), free_port(), free_port()
    broker = Broker("nats", tmp_path / "broker")
    broker.start()
    keep, go, end = tmp_path / "keep", tmp_path / "go", tmp_path / "end"
    line = [
        script("edge-sim"), "run", "continuous", "--small", "--seed", "3", "--opcua-port", str(opcua), "--mqtt", f"127.0.0.1:{broker.port}",
        "--plc", f"127.0.0.1:{modbus}", "--keep", str(keep), "--start-when", str(go), "--stop-when", str(end), "--fault", "api_overfeed@8",
    ]  # fmt: skip
    deadline = time.monotonic() + 150
    agent = [script("edge-agent"), "run", "-c", str(configured(tmp_path, opcua, broker.port, modbus, http))]
    try:
        with Child(line, log=tmp_path / "sim.log") as sim, Child(agent, log=tmp_path / "agent.log"):
            sim_json = keep / "sim.json"
            until("subscribed", lambda: sim_json.exists() and json.loads(sim_json.read_text())["opcua_subscribed"] >= 11, deadline)
            go.touch()
            client = ModbusTcpClient("127.0.0.1", port=modbus, timeout=5)

            def word() -> int:
                try:
                    answer = client.read_input_registers(DIVERTERS, count=1) if client.connected or client.connect() else None
                except ModbusException:
                    return 0
                return 0 if answer is None or answer.isError() else int(answer.registers[0])

            until("the line is washed out", lambda: word() == ACCEPT, deadline)
            until("the disturbance is diverted", lambda: json.loads(sim_json.read_text())["line_s"] > 8 and word() == DIVERT, deadline)
            until("it has passed", lambda: word() == ACCEPT, deadline)
            edge = status(http)["diverters"][0]
            end.touch()
            sim.process.wait(30)
            client.close()
        material = json.loads(sim_json.read_text())["material"]
    finally:
        broker.kill()
    assert material["accepted_outside_kg"] == 0.0
    assert material["accepted_kg"] > 0.0
    assert material["outside_kg"] > 0.02  # start of the line, and the disturbance
    assert edge["name"] == "cm1/divert"
    assert edge["diverted_kg"] > 0.02
    assert edge["diverted_kg"] + edge["unconfirmed_kg"] == pytest.approx(material["diverted_kg"], abs=0.03)
