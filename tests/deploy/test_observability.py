"""Alert rules and dashboard name metrics that /metrics of edge and gateway really has; promtool checks the rest where it is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge_agent.agent.commit import STREAMS
from edge_agent.agent.figures import registry_of
from edge_agent.agent.growth import Growth
from edge_agent.agent.status import Status
from edge_agent.core import Log
from edge_agent.pipeline.chain import Pipeline
from gateway.app import Gateway
from gateway.config import GatewayConfig
from gateway.console.app import _Counters
from tests.pipeline.line import T0, start, values

FILES = Path(__file__).parents[2] / "configs" / "observability"
FOREIGN = {"up"}
"""What Prometheus itself makes."""


def source(name: str, state: str) -> dict[str, Any]:
    return {"name": name, "state": state, "last_data_ns": T0, "connects": 2, "failures": 1, "counters": {"late": 3}}


@pytest.fixture
def edge(tmp_path: Path) -> Status:
    pipeline = Pipeline()
    pipeline.step(start(T0))
    for second in (1.0, 2.0):
        pipeline.step(values(second, 12.0))
    log = Log(tmp_path / "edge.sqlite", STREAMS)
    growth = Growth(1000)
    engine = SimpleNamespace(
        pipeline=pipeline, log=log, gaps=1, gap_values=2, filled_values=1, alarms_raised=3,
        held_bytes=10, limit_bytes=1000, to_full_s=growth.seconds_to_full(),
        commits=4, write_error="", full=False, failed=None, standing=[],
    )  # fmt: skip
    intake = SimpleNamespace(waiting_bytes=0, clock_offset_ns=5 * 10**8)
    return Status(
        edge="e1", site="demo", simulated=False, epoch=lambda: 1, engine=engine, intake=intake,  # type: ignore[arg-type]
        sources=lambda: [source("plc", "connected")], uplinks=lambda: [{"name": "site", "connected": True, "committed_seq": 0, "behind_records": 4}],
        required=lambda: frozenset({"site"}), started=0.0,
    )  # fmt: skip


def names_of(text: str) -> set[str]:
    return {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}


def edge_text(edge: Status) -> str:
    return generate_latest(registry_of(edge)).decode()


@pytest.fixture
def gateway_text(tmp_path: Path) -> Any:
    from prometheus_client import CollectorRegistry

    config = GatewayConfig.model_validate({"gateway": {"id": "gw1", "site": "demo", "data_dir": tmp_path / "gateway"}})
    gateway = Gateway(config)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Counters(gateway.questions, SimpleNamespace(clients=0, cut_off_total=0)))  # type: ignore[arg-type]
    yield generate_latest(registry).decode()
    gateway.close()


def families(text: str) -> set[str]:
    """Families without samples count too: a target or an edge gives them."""
    declared = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    return declared | names_of(text)


def expressions() -> list[str]:
    rules = yaml.safe_load((FILES / "alerts.yml").read_text())
    board = json.loads((FILES / "grafana-dashboard.json").read_text())
    asked = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    return asked + [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]


def test_every_metric_that_rules_and_dashboard_ask_for_is_there(edge, gateway_text):
    there = families(edge_text(edge)) | families(gateway_text) | FOREIGN
    plain = [re.sub(r'"[^"]*"', "", expression) for expression in expressions()]
    asked = {name for expression in plain for name in re.findall(r"\b((?:pharmedge|process)_[a-z_]+|up)\b", expression)}
    assert len(asked) > 20
    assert asked <= there, asked - there


def test_values_are_told_by_connector_and_fate(edge):
    found = {(s.name, *sorted(s.labels.values())): s.value for f in text_string_to_metric_families(edge_text(edge)) for s in f.samples}
    received = sum(value for name, value in ((k[0], v) for k, v in found.items()) if name == "pharmedge_samples_received_total")
    fates = sum(value for name, value in ((k[0], v) for k, v in found.items()) if name == "pharmedge_samples_total")
    assert received == fates == 2
    assert found["pharmedge_gap_values_total",] == 2
    assert found["pharmedge_gap_values_filled_total",] == 1
    assert found["pharmedge_clock_offset_seconds",] == 0.5
    assert np.isinf(found["pharmedge_buffer_seconds_to_full",])
    assert found["pharmedge_ready",] == 1


def test_each_uplink_says_what_it_has_to_do_and_has_done(edge):
    one = {"name": "site", "connected": True, "committed_seq": 7, "behind_records": 4, "sent_records": 9, "resent_records": 2, "failures": 1}
    other = {"name": "siem", "connected": False, "committed_seq": 0, "behind_records": 0, "sent_records": 3, "gone_records": 5}
    edge.uplinks = lambda: [one, other]
    said = {
        (sample.name.removeprefix("pharmedge_uplink_"), sample.labels["uplink"]): sample.value
        for family in text_string_to_metric_families(edge_text(edge))
        for sample in family.samples
        if sample.name.startswith("pharmedge_uplink_")
    }
    assert {key: said[key] for key in said if key[0].endswith(("records", "records_total"))} == {
        ("behind_records", "site"): 4, ("behind_records", "siem"): 0, ("sent_records_total", "site"): 9, ("sent_records_total", "siem"): 3,
        ("resent_records_total", "site"): 2, ("gone_records_total", "siem"): 5,
    }  # fmt: skip
    assert (said["up", "site"], said["up", "siem"], said["failures_total", "site"]) == (1, 0, 1)


def test_connected_but_without_data_is_not_ready(edge):
    edge.sources = lambda: [source("plc", "no_data")]
    assert edge.problems() == ["source plc: no_data"]
    assert "pharmedge_ready 0.0" in edge_text(edge)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed; names are checked without it")
def test_promtool_finds_no_fault(edge, gateway_text):
    for arguments in (["check", "rules", "alerts.yml"], ["check", "config", "prometheus.yml"]):
        done = subprocess.run(["promtool", *arguments], cwd=FILES, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    for text in (edge_text(edge), gateway_text):
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in (0, 3), done.stderr
        assert "error" not in done.stderr
