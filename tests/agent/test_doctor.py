"""The doctor of an edge, and the alarm before a certificate expires."""

from __future__ import annotations

import json
import time

from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.agent import doctor
from edge_agent.agent.certificates import ALARM, CertificateWatch
from edge_agent.agent.doctor import examine
from edge_agent.config import load_agent, start_of
from edge_agent.config.credentials import certificates_of, secrets_of
from tests.agent.line import CONFIG, settings
from tests.certificates import certificates

SECURED = CONFIG + (
    "uplinks:\n  - {name: site, kind: gateway, host: 127.0.0.1, port: 1, gateways: [gw1], username: u, password_file: word.txt,"
    " tls: {ca_file: pki/ca.pem, cert_file: pki/cert.pem, key_file: pki/key.pem}}\n"
)


def test_a_mistaken_file_is_told_mistake_by_mistake_and_nothing_else_is_looked_at(tmp_path):
    path = tmp_path / "agent.yaml"
    path.write_text(CONFIG.replace("limit: 16", "limit: x").replace("unit: kN", "unt: kN"))
    told = CliRunner().invoke(app, ["doctor", "-c", str(path)])
    assert told.exit_code == 1
    lines = told.stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"wrong  configuration: {path}:") for line in lines)


def test_everything_an_edge_rests_on_is_looked_at(tmp_path):
    certificates(tmp_path / "pki", "127.0.0.1")
    (tmp_path / "word.txt").write_text("x\n")
    (tmp_path / "word.txt").chmod(0o644)
    (tmp_path / "agent.yaml").write_text(SECURED)
    told = CliRunner().invoke(app, ["doctor", "-c", str(tmp_path / "agent.yaml"), "--json"])
    found = {f["what"]: (f["state"], f["said"]) for f in json.loads(told.stdout)}
    assert found["configuration"][0] == found["data folder"][0] == "ok"
    assert found["durable writes"][0] in ("ok", "look")  # as slow as this disk is now
    assert found["password of site"] == ("look", f"{tmp_path}/word.txt can be read by everyone on this computer: chmod o-rwx")
    assert found["certificate site cert_file"][0] == "look"
    assert found["gateway site"][0] == "wrong"
    assert "nobody listens" in found["gateway site"][1]
    assert found["csv history"] == ("wrong", f"{tmp_path}/values.csv: expected a file, found none")
    assert found["journal"] == ("ok", "none yet: the agent has not run")
    assert {"disk", "clock", "port of status and metrics", "agent", "key of site", "certificate site ca_file"} <= set(found)


def test_a_damaged_journal_is_named(tmp_path):
    settings(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "edge.sqlite").write_bytes(b"no database at all" * 100)
    journal = next(f for f in examine(tmp_path / "agent.yaml") if f.what == "journal")
    assert journal.state == "wrong"
    assert "edge.sqlite" in journal.said


def test_the_alarm_stands_from_a_month_before_a_certificate_expires(tmp_path):
    made = certificates(tmp_path / "pki", "127.0.0.1")
    (tmp_path / "word.txt").write_text("x\n")
    one = load_agent(_written(tmp_path))
    assert [p.name for _, p in certificates_of(one, tmp_path)] == ["ca.pem", "cert.pem"]
    assert [p.name for _, p in secrets_of(one, tmp_path)] == ["word.txt", "key.pem"]
    assert ALARM in {a.name for a in start_of(one, 0).alarms}
    watch = CertificateWatch(lambda: [("site", made.cert)], lambda _: None, wall_s=time.time)
    assert watch.look().startswith(f"site: {made.cert} holds until ")
    watch = CertificateWatch(lambda: [("site", made.cert)], lambda _: None, wall_s=lambda: time.time() + 2 * 86400)
    assert "has expired" in watch.look()
    assert CertificateWatch(list, lambda _: None).look() == ""


def test_what_a_history_could_not_fill_is_told(monkeypatch, tmp_path):
    counters = {"history_values": 3600, "history_holes_filled": 4, "history_holes_too_old": 2, "history_holes_refused": 1}
    sources = [{"name": "plc", "counters": counters}, {"name": "other", "counters": {"values": 3}}]
    monkeypatch.setattr(doctor, "_running", lambda _: {"edge": "x", "problems": [], "uptime_s": 1.0, "sources": sources})
    (found,) = [f for f in examine(_written(tmp_path)) if f.what.startswith("history")]
    assert (found.what, found.state) == ("history of plc", "look")
    assert found.said.startswith("4 holes filled with 3600 values; not or not wholly: 1 refused, 2 too old; ")


def _written(folder):
    path = folder / "agent.yaml"
    path.write_text(SECURED)
    return path


def test_an_edge_without_certificates_has_no_alarm_about_them(tmp_path):
    assert ALARM not in {a.name for a in start_of(settings(tmp_path), 0).alarms}
