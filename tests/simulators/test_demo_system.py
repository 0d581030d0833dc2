"""The whole demo as processes: settled, nothing lost or doubled, all faults found; the books recomputed without our code."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.system.unbroken import restarts_left_no_trace

COUNTS = ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected")
KEYS = {
    "samples_sent", "samples_stored", "records_committed", "lost", "duplicated", "declared_missing", "duplicates_removed", "late",
    "alarms_raised", "false_alarms", "faults_injected", "faults_detected", "sensor_to_alarm_p99_ms", "alarm_latency_n", "settle_s",
}


def demo(keep: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "simulators", "demo", "--duration", "60", "--port", "0", "--json", "--keep", str(keep), *words],
                          capture_output=True, text=True, timeout=130, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert set(line) >= KEYS
    assert isinstance(line, dict)
    return line


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def exported(keep: Path, kind: str) -> list[dict[str, str]]:
    out = keep / f"again-{kind}.csv"
    with out.open("wb") as to:
        subprocess.run([sys.executable, "-m", "gateway", "export", "-c", str(keep / "gateway.yaml"), "--kind", kind, "--format", "csv"],
                       stdout=to, check=True, timeout=60)
    return rows(out)


def recomputed(keep: Path) -> dict[str, int]:
    """Close every tag's account from the kept files and fresh exports alone, count and sum; returns what is declared missing by tag."""
    n: dict[str, int] = defaultdict(int)
    total: dict[str, list[float]] = defaultdict(list)
    missing: dict[str, int] = defaultdict(int)
    not_summed: set[str] = set()
    for row in exported(keep, "summary"):
        n[row["tag"]] += sum(int(row[c]) for c in COUNTS)  # a removed duplicate is a redelivery: it was sent once
        if int(row["n_rejected"]):
            not_summed.add(row["tag"])
        if row["sum"] not in ("", "nan"):
            total[row["tag"]].append(float(row["sum"]))
    for row in exported(keep, "gap"):
        missing[row["tag"]] += int(row["missing"])
    for row in rows(keep / "sent.csv"):
        tag = row["tag"]
        assert n[tag] + missing[tag] == int(row["n"]), tag
        if not missing[tag] and tag not in not_summed:
            assert math.fsum(total[tag]) == pytest.approx(float(row["sum"]), rel=1e-9), tag
    return {tag: count for tag, count in missing.items() if count}


@pytest.mark.system
@pytest.mark.timeout(200)
def test_a_quiet_network_loses_nothing_and_finds_all_faults(tmp_path: Path) -> None:
    line = demo(tmp_path, "--seed", "11")
    assert (line["lost"], line["duplicated"], line["declared_missing"]) == (0, 0, 0)
    assert (line["faults_injected"], line["faults_detected"], line["false_alarms"]) == (5, 5, 0)
    assert line["samples_sent"] == line["samples_stored"] > 1500
    assert recomputed(tmp_path) == {}


@pytest.mark.system
@pytest.mark.timeout(200)
def test_power_cuts_of_agent_gateway_and_broker_lose_and_double_nothing(tmp_path: Path) -> None:
    line = demo(tmp_path, "--seed", "12", "--chaos")
    assert (line["lost"], line["duplicated"]) == (0, 0)
    outages = [json.loads(text) for text in (tmp_path / "outages.jsonl").read_text().splitlines()]
    for victim in ("agent", "gateway", "broker"):
        assert sum(o["victim"] == victim for o in outages) >= 3
    down_s = sum(o["t_up"] - o["t_down"] for o in outages if o["victim"] == "agent")
    tags = {row["name"]: row for row in rows(tmp_path / "tags.csv")}
    missing = recomputed(tmp_path)
    assert sum(missing.values()) == line["declared_missing"]
    for tag, count in missing.items():
        assert tags[tag]["source"] == "press_ua", tag  # the broker keeps what MQTT sends: nothing of it may be missing
        assert count <= down_s / float(tags[tag]["expected_s"]) * 1.2, tag
    assert restarts_left_no_trace(tmp_path / "data" / "agent" / "edge.sqlite") >= 4
