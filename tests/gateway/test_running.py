"""The gateway as a process with a real broker: nothing is lost or doubled whoever is killed."""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.config import StoreSection
from gateway.store import Store
from tests.gateway.conftest import feed
from tests.gateway.edge import SECOND, START, Edge
from tests.gateway.road import LiveEdge, Process, broker, free_port, gateway, get, wait_for

pytestmark = pytest.mark.system


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _export(config: Path, kind: str) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "export", "-c", str(config), "--kind", kind], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(done.stdout.splitlines()))


def _start(stack: ExitStack, folder: Path, **store: object) -> tuple[Process, Process, Path, int, int]:
    mqtt_port, http_port = free_port(), free_port()
    peer = broker(folder, mqtt_port)
    stack.callback(peer.kill)
    process, config = gateway(folder, mqtt_port, http_port, **store)
    stack.callback(process.kill)
    return peer, process, config, mqtt_port, http_port


def test_an_acknowledge_is_taken_before_the_broker_was_ever_there(stack: ExitStack, tmp_path: Path) -> None:
    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    store = Store(tmp_path / "data", gateway="gw1", production=False, settings=StoreSection(), clock=time.time_ns)
    feed(store, edge.deliver())
    store.close()
    http_port = free_port()
    process, _ = gateway(tmp_path, free_port(), http_port)
    stack.callback(process.kill)
    (alarm,) = wait_for("alarm", lambda: (get(http_port, "/api/v1/alarms") or {}).get("alarms"))
    url = f"http://127.0.0.1:{http_port}/api/v1/alarms/{urllib.request.quote(alarm['occurrence'], safe='')}/ack"
    headers = {"content-type": "application/json", "X-Forwarded-For": "10.9.9.9"}
    request = urllib.request.Request(url, b'{"user": "li", "reason": "seen"}', headers)
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status in (200, 202)
    entries = get(http_port, "/api/v1/audit?action=acknowledge")["entries"]
    assert [e["station"] for e in entries] == ["127.0.0.1"]  # where the request came from, not where it says
    assert process.child is not None
    assert process.child.poll() is None


def test_a_record_comes_through_and_an_acknowledge_goes_back(stack: ExitStack, tmp_path: Path) -> None:
    _, process, config, mqtt_port, http_port = _start(stack, tmp_path)
    edge = Edge()
    edge.define()
    edge.summary(edge.samples(0, 60))
    edge.samples(60, 20_000)  # more than one message holds
    edge.event("raise", "NORM", "UNACK")
    wait_for("gateway", lambda: (s := get(http_port, "/api/v1/status")) and s["broker_connected"])
    live = LiveEdge(edge, mqtt_port)
    stack.callback(live.close)
    wait_for("commit", lambda: live.settled)
    (alarm,) = wait_for("alarm", lambda: (get(http_port, "/api/v1/alarms") or {}).get("alarms"))
    body = b'{"user": "li", "reason": "seen"}'
    url = f"http://127.0.0.1:{http_port}/api/v1/alarms/{urllib.request.quote(alarm['occurrence'], safe='')}/ack"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 202
    action = wait_for("action at the edge", lambda: live.actions)[0]
    edge.event("acknowledge", "UNACK", "ACKED", at=130, action_id=action.id, user=action.user)
    wait_for("action settled", lambda: live.settled and not live.actions)
    assert get(http_port, "/api/v1/alarms")["alarms"][0]["state"] == "ACKED"
    assert get(http_port, "/readyz") == {"ready": True, "why": []}
    assert len(_export(config, "sample")) == 20_060
    second = subprocess.run([sys.executable, "-m", "gateway", "run", "-c", str(config)], capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "found one running" in second.stderr
    own = [r["event"] for r in _export(config, "alarm") if r["alarm"] == alarm["alarm"]]  # on a slow machine the edge falls silent, too
    assert own == ["raise", "acknowledge"]
    assert process.kill(signal.SIGTERM) == 0, process.said


def test_kills_lose_and_double_nothing(stack: ExitStack, tmp_path: Path) -> None:
    peer, process, config, mqtt_port, http_port = _start(stack, tmp_path, seal_after_s=0.3, compact_files=3)
    seed = random.Random(11)
    edge = Edge()
    edge.define()
    live = LiveEdge(edge, mqtt_port)
    stack.callback(live.close)
    sent = 0
    for victim in ("gateway", "gateway", "broker", "gateway", "gateway"):
        until = time.monotonic() + seed.uniform(1.0, 2.5)
        while time.monotonic() < until:
            edge.summary(edge.samples(sent, 50))
            sent += 50
            time.sleep(0.01)
        chosen = process if victim == "gateway" else peer
        chosen.kill()
        chosen.start()
        wait_for("gateway connected", lambda: (s := get(http_port, "/api/v1/status")) and s["broker_connected"])
    wait_for("everything committed", lambda: live.settled, 30)
    assert len(live.sessions) >= 4
    wait_for("journal applied", lambda: sum(r["n_good"] for r in (get(http_port, "/api/v1/ledger") or {"ledger": []})["ledger"]) == sent)
    time.sleep(1.0)  # let some of it be sealed
    rows = _export(config, "sample")
    assert sorted(int(r["time_ns"]) for r in rows) == [START + i * SECOND for i in range(sent)]
    windows = _export(config, "summary")
    assert sum(int(r["n_good"]) for r in windows) == sent
    assert get(http_port, "/api/v1/status")["quarantined"] == 0
    process.kill()
    assert len(_export(config, "sample")) == sent
    done = subprocess.run([sys.executable, "-m", "gateway", "verify", "-c", str(config)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout
