"""What the demo is made of, without its processes: configurations, kills, books, the last line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from simulators.accounting import Accounts, TagAccount
from simulators.chaos import LEAD_S, VICTIMS, cuts
from simulators.children import Child, free_port, http_json, http_status, port_taken, wait_for
from simulators.demo import DemoConfig, last_line
from simulators.demo_files import Ports, templates, write_configs
from simulators.press_signals import press_signals
from simulators.sent import SentLedger, truth_lines, write_atomically
from simulators.signals import BAD_SENSOR_FAILURE, SIMULATED, Truth


def test_configs_of_a_run_differ_from_the_templates_only_in_ports_and_folders(tmp_path: Path) -> None:
    write_configs(tmp_path, Ports(console=1, agent=2, opcua=3, mqtt=4, broker=5))
    agent = yaml.safe_load((tmp_path / "agent.yaml").read_text(encoding="utf-8"))
    origin = yaml.safe_load((templates() / "agent.yaml").read_text(encoding="utf-8"))
    assert agent["http"]["port"] == 2
    assert agent["sources"][0]["url"] == "opc.tcp://127.0.0.1:3/"
    assert agent["sources"][1]["port"] == agent["uplinks"][0]["port"] == 4
    for key in ("alarms", "models", "windows", "outbox", "tags"):
        assert agent[key] == origin[key]
    gateway = yaml.safe_load((tmp_path / "gateway.yaml").read_text(encoding="utf-8"))
    assert (gateway["http"]["port"], gateway["broker"]["port"], gateway["gateway"]["mode"]) == (1, 4, "simulation")
    assert (tmp_path / "tags.csv").read_bytes() == (templates() / "tags.csv").read_bytes()
    nats = (tmp_path / "nats.conf").read_text(encoding="utf-8")
    assert "server_name: pharmedge-demo" in nats
    assert '"127.0.0.1:4"' in nats


@given(st.integers(0, 10_000), st.floats(30.0, 3000.0))
def test_every_victim_is_killed_at_least_three_times_inside_the_run(seed: int, duration: float) -> None:
    found = cuts(seed, duration)
    for victim in VICTIMS:
        assert sum(c.victim == victim for c in found) >= 3
    assert all(LEAD_S <= c.at_s <= duration - LEAD_S + 0.01 for c in found)
    assert list(found) == sorted(found)
    assert found == cuts(seed, duration)


def test_the_last_line_holds_every_promised_key() -> None:
    accounts = Accounts(tags=[TagAccount("a", sent=10, stored=8, missing=1), TagAccount("b", sent=5, stored=6)])
    line = last_line(accounts, 42, [88.8888] * 500, 12.34567)
    assert list(line) == [
        "samples_sent", "samples_stored", "records_committed", "lost", "duplicated", "declared_missing", "duplicates_removed",
        "late", "sums_differ", "alarms_raised", "false_alarms", "faults_injected", "faults_detected", "sensor_to_alarm_p99_ms",
        "alarm_latency_n", "settle_s",
    ]
    assert (line["lost"], line["duplicated"], line["records_committed"]) == (1, 1, 42)
    assert line["sensor_to_alarm_p99_ms"] == 88.889
    assert last_line(accounts, 42, [88.9] * 499, 1.0)["sensor_to_alarm_p99_ms"] is None
    assert last_line(accounts, 42, [], 1.0)["alarm_latency_n"] == 0
    json.dumps(line)


def test_sent_ledger_counts_bad_samples_but_not_their_value() -> None:
    ledger = SentLedger(press_signals(2.0))
    ledger.add(np.array([10, 20, 30], np.int64), np.array([1, 2, 1], np.int32), np.array([1.5, np.nan, 2.0]),
               np.array([SIMULATED, BAD_SENSOR_FAILURE, SIMULATED], np.uint32))
    ledger.add(np.array([40], np.int64), np.array([1], np.int32), np.array([0.25]), np.array([SIMULATED], np.uint32))
    ledger.add(np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0), np.empty(0, np.uint32))
    rows = {r[0]: r for r in ledger.rows()}
    assert rows["press1/main_force"] == ("press1/main_force", 3, 10, 40, 3.75)
    assert rows["press1/pre_force"] == ("press1/pre_force", 1, 20, 20, 0.0)
    assert "press1/batch" not in rows
    assert ledger.total == 4
    assert "press1/main_force,3,10,40,3.75\n" in ledger.text()


def test_truth_of_a_run_that_stopped_early_ends_with_it() -> None:
    text = truth_lines([Truth("x", 10.0, 30.0, ("a",), 8.0)], 1_000_000_000_000, 2.0, 20.0)
    assert json.loads(text) == {"fault": "x", "t_start": 1005.0, "t_end": 1010.0, "tags": ["a"], "detect_within_s": 4.0}


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_atomically(path, "one")
    write_atomically(path, "two")
    assert path.read_text() == "two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_child_is_started_killed_and_stopped(tmp_path: Path) -> None:
    child = Child("c", [sys.executable, "-c", "print('up', flush=True); import time; time.sleep(60)"], tmp_path / "c.log", tmp_path)
    child.start()
    assert wait_for(lambda: "up" in child.tail(), 10)
    child.kill()
    assert (child.running, child.returncode, child.kills) == (False, -9, 1)
    child.start()
    assert child.running
    assert child.stop()
    assert child.returncode == -15
    stubborn = Child("s", [sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"],
                     tmp_path / "s.log", tmp_path)
    stubborn.start()
    assert wait_for(lambda: "up" in stubborn.tail(), 10)
    assert not stubborn.stop(0.2)


def test_children_end_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    script = ("import sys; from pathlib import Path; from simulators.children import Child; "
              f"c = Child('c', [sys.executable, '-c', 'import time; time.sleep(60)'], Path({str(tmp_path / 'c.log')!r}), Path({str(tmp_path)!r})); "
              "c.start(); print(c.process.pid, flush=True); import time; time.sleep(60)")
    launcher = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    pid = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    stat = Path(f"/proc/{pid}/stat")
    assert wait_for(lambda: not stat.exists() or stat.read_text().split()[2] == "Z", 10)


def test_nobody_answering_is_none_not_an_error() -> None:
    port = free_port()
    assert http_status(f"http://127.0.0.1:{port}/x") is None
    assert http_json(f"http://127.0.0.1:{port}/x") is None
    assert not port_taken(port)


@pytest.mark.parametrize(("how", "message"), [
    ({"duration_s": 0.0}, "--duration"), ({"chaos": True}, "--chaos: expected --duration"),
])
def test_wrong_demo_settings_are_refused(how: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DemoConfig(**how)  # type: ignore[arg-type]
