"""Accounts and audit trail of a gateway process: the command line, an acknowledge, a changed edge, and heads that go to the edge."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge_agent.core import decode_anchor
from gateway.audit import Trail
from tests.gateway.edge import Edge
from tests.gateway.road import LiveEdge, broker, free_port, gateway, get, wait_for

pytestmark = pytest.mark.system
PASSWORD = "correct horse battery"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "gateway", *args], capture_output=True, text=True, check=False, timeout=60)


def post(port: int, path: str, body: object, headers: dict[str, str]) -> tuple[dict[str, Any], str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1/{path}", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer), answer.headers.get("Set-Cookie", "").partition(";")[0]


def test_people_changes_and_heads(stack: ExitStack, tmp_path: Path) -> None:
    mqtt_port, http_port = free_port(), free_port()
    stack.callback(broker(tmp_path, mqtt_port).kill)
    process, config = gateway(tmp_path, mqtt_port, http_port)
    stack.callback(process.kill)
    wait_for("gateway", lambda: (s := get(http_port, "/api/v1/status")) and s["broker_connected"])
    secret = tmp_path / "password.txt"
    secret.write_text(PASSWORD + "\n")
    made = command("user", "add", "-c", str(config), "wang", "--role", "operator", "--full-name", "王丽", "--password-file", str(secret))
    assert made.returncode == 0, made.stderr
    assert command("user", "add", "-c", str(config), "wang", "--role", "operator", "--full-name", "x").returncode == 1
    assert "王丽" in command("user", "list", "-c", str(config)).stdout
    assert get(http_port, "/api/v1/session")["accounts"] is True

    edge = Edge()
    edge.define()
    edge.event("raise", "NORM", "UNACK")
    live = LiveEdge(edge, mqtt_port)
    stack.callback(live.close)
    wait_for("commit", lambda: live.settled)
    (alarm,) = wait_for("alarm", lambda: (get(http_port, "/api/v1/alarms") or {}).get("alarms"))
    own = "known to one alone"
    for password in (PASSWORD, own):  # what the administrator set is changed first
        session, cookie = post(http_port, "session", {"user": "wang", "password": password}, {})
        headers = {"Cookie": cookie, "X-CSRF-Token": session["csrf"]}
        if session["user"]["must_change"]:
            post(http_port, "session/password", {"old": password, "new": own}, headers)
    post(http_port, f"alarms/{urllib.request.quote(alarm['occurrence'], safe='')}/ack", {"reason": "看到"}, headers)
    (action,) = wait_for("action", lambda: live.actions)
    assert (action.user, action.role, action.station) == ("wang", "operator", "127.0.0.1")

    heads: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "listener")
    client.on_message = lambda _c, _u, message: heads.append(decode_anchor(bytes(message.payload)))
    client.connect("127.0.0.1", mqtt_port)
    client.subscribe(f"pharmedge/demo/{edge.name}/anchors/+", 1)
    client.loop_start()
    stack.callback(client.loop_stop)
    wait_for("head", lambda: heads)

    with closing(Trail(tmp_path / "data", zone="UTC", version="t")) as trail:
        wait_for("edge", lambda: any(e["action"] == "edge_config" for e in trail.entries()))
        actions = [e["action"] for e in trail.entries()]
    assert {"gateway_config", "user_add", "login", "acknowledge", "edge_config"} <= set(actions)
    checked = command("audit", "verify", "-c", str(config))
    assert checked.returncode == 0, checked.stdout
    assert "wang" in command("audit", "export", "-c", str(config)).stdout
    assert command("audit", "heads", "-c", str(config)).stdout.startswith('{"seq":')
    disabled = command("user", "disable", "-c", str(config), "wang", "--reason", "left")
    assert disabled.returncode == 0, disabled.stderr
    with pytest.raises(urllib.error.HTTPError, match="401"):
        post(http_port, "session/touch", {}, headers)
