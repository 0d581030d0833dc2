"""The whole road: an edge, a broker, a gateway process that is killed, and a mail server and a robot that hear of the alarm."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from tests.contract.test_notifiers import HttpPeer, MailPeer
from tests.gateway.edge import Edge
from tests.gateway.road import LiveEdge, Process, broker, free_port, get, wait_for


@pytest.mark.system
def test_an_alarm_of_an_edge_is_told_by_mail_and_robot_across_a_kill(tmp_path: Path) -> None:
    port, http_port = free_port(), free_port()
    mail, robot = MailPeer(tmp_path), HttpPeer(tmp_path)
    config = {
        "gateway": {"id": "gw1", "site": "demo", "data_dir": "data", "mode": "simulation", "timezone": "Asia/Shanghai"},
        "broker": {"host": "127.0.0.1", "port": port},
        "http": {"port": http_port},
        "notifications": {
            "settle_s": 1,
            "max_age_s": 1e9,  # the edge of this test lives on the first of January
            "receivers": [
                {
                    "name": "mail",
                    "kind": "smtp",
                    "host": "127.0.0.1",
                    "port": mail._controller.port,
                    "ca_file": "ca.pem",
                    "username": "gateway",
                    "password_file": "password.txt",
                    "sender": "gw@plant.example",
                    "to": ["a@plant.example"],
                    "group_s": 0,
                },
                {"name": "robot", "kind": "webhook", "style": "wecom", "url": f"http://127.0.0.1:{robot.port}/", "language": "zh", "group_s": 0},
            ],
            "rules": [{"name": "all", "steps": [{"receivers": ["mail"]}, {"after_s": 1, "receivers": ["robot"]}]}],
        },
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gateway", "run", "-c", str(file)]
    hub, gateway, live = broker(tmp_path, port), Process(command, tmp_path / "gateway.log"), None
    try:
        robot.status = 503
        edge = Edge(simulated=True)
        edge.define()
        edge.event("raise", "NORM", "UNACK")
        live = LiveEdge(edge, port)
        wait_for("mail", lambda: mail.mails, 30)
        gateway.kill()
        gateway.start()
        robot.status = 200
        wait_for("robot", lambda: robot.requests, 30)
        wait_for("gateway", lambda: get(http_port, "/api/v1/alarms?state=standing"))
        assert len({id_ for id_, _ in mail.got()}) == 1, gateway.said  # killed behind the sending, it comes twice with one id
        assert "[SIMULATED] 1 alarm needs attention (priority 2: 1)" in mail.got()[0][1]
        assert json.loads(robot.requests[0][2])["text"]["content"].startswith("【模拟】1 条报警需要处理（优先级 2：1 条）")
    finally:
        if live is not None:
            live.close()
        gateway.kill()
        hub.kill()
        mail.kill()
        robot.kill()
