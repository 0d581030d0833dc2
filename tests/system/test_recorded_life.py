"""A live run over OPC UA and MQTT with a kill, an acknowledgement and a late value, recorded, comes out the same when it is replayed (rule 4)."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
import yaml

from edge_agent.agent.recording import Recording
from edge_agent.core import AlarmEvent, OperatorAction, Start, Summaries, decode, encode_actions, topic
from tests.brokers import Broker, executable
from tests.system.processes import ROOT, Child, free_port, script

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(180),
    pytest.mark.skipif(executable("nats") is None, reason="needs nats-server (make venv)"),
]


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def until(what: Any, timeout: float = 40.0) -> Any:
    """What `what()` gives once it is true; a peer that is not up yet counts as not yet."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            if found := what():
                return found
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {timeout} s")


def configured(folder: Path, opcua: int, broker: int, http: int) -> Path:
    config = yaml.safe_load((ROOT / "configs/demo/agent.yaml").read_text("utf-8"))
    config["edge"]["data_dir"] = str(folder / "data")
    config["sources"][0]["url"] = f"opc.tcp://127.0.0.1:{opcua}/"
    config["sources"][1]["port"] = config["uplinks"][0]["port"] = broker
    config["http"]["port"] = http
    # Crossed by noise within a second or two, so that there is something to acknowledge soon.
    test = {"name": "press1/main_force.test", "kind": "limit", "tag": "press1/main_force", "limit": 11.0, "priority": 3, "latching": True}
    config["alarms"].append(test)
    (folder / "tags.csv").write_bytes((ROOT / "configs/demo/tags.csv").read_bytes())
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    return path


def test_a_recorded_life_replays_to_no_difference(tmp_path):
    broker = Broker("nats", tmp_path / "broker").start()
    opcua, http = free_port(), free_port()
    config = configured(tmp_path, opcua, broker.port, http)
    recording = tmp_path / "recording"
    run = [script("edge-agent"), "run", "-c", str(config), "--record", str(recording)]
    status = f"http://127.0.0.1:{http}/status"
    plant = [script("edge-sim"), "run", "press", "--opcua-port", str(opcua), "--mqtt", f"127.0.0.1:{broker.port}", "--seed", "4", "--speed", "1"]
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    try:
        with Child(plant, log=tmp_path / "plant.log"):
            with Child(run, log=tmp_path / "agent.log") as agent:
                until(lambda: asked(status)["samples"]["good"] > 100)
                until(lambda: asked(status)["alarms"]["standing"] > 0)
                agent.kill()
            before = _records(recording)
            raised = next(r for r in before if isinstance(r, AlarmEvent) and r.alarm == "press1/main_force.test")
            action = OperatorAction(
                id="a-1", kind="acknowledge", alarm=raised.alarm, raised_ns=raised.raised_ns, user="op1", reason="seen", time_ns=time.time_ns()
            )
            client.publish(topic("demo", "press-edge-1", "actions/gw1"), encode_actions([action]), qos=1, retain=True).wait_for_publish(10)
            with Child(run, log=tmp_path / "agent.log") as agent:
                good = until(lambda: asked(status)["samples"]["good"])
                until(lambda: asked(status)["samples"]["good"] > good + 100)
                late = {"t": time.time_ns() - 30_000_000_000, "v": 99.5, "s": 0x42090000}
                client.publish("plant/press1/nir_api", json.dumps(late), qos=1).wait_for_publish(10)
                until(lambda: asked(status)["samples"]["late"] >= 1)
                until(lambda: any(isinstance(r, AlarmEvent) and r.action_id == "a-1" for r in _records(recording)))
                time.sleep(3)  # the supplement is written at the next full second
                assert agent.stop() == 0
    finally:
        client.loop_stop()
        client.disconnect()
        broker.kill()
    records = _records(recording)
    assert [r.event for r in records if isinstance(r, AlarmEvent) and r.action_id == "a-1"] == ["acknowledge"]
    assert sum(int(r.rows["n_late"].sum()) for r in records if isinstance(r, Summaries)) >= 1
    finished = Recording.open(recording)
    assert sum(isinstance(e, Start) for e in finished.entries()) == 2
    finished.close()
    with Child([script("edge-agent"), "replay", "--diff", str(recording)]) as replay:
        assert replay.wait_for("compared").endswith("no differences")
        assert replay.process.wait(20) == 0


def _records(folder: Path) -> list[Any]:
    recording = Recording.open(folder)
    try:
        return [decode(frame) for frame in recording.records()]
    finally:
        recording.close()
