"""The life of an installation: an upgrade keeps configuration and data, a release that cannot run changes nothing, and there is a way back.

The installer's own text runs, with its folders moved below one of this test and the programs that need root in place of stand-ins; `make bare` runs
it as it is on a bare root.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from deploy.bundle import sums
from tests.system.processes import ROOT

PLACES = {"/opt/pharmedge": "opt", "/etc/pharmedge": "etc", "/var/lib/pharmedge": "data", "/etc/systemd/system": "units"}
BESIDE = {"/usr/local/bin": "bin", "/run/systemd/system": "no-systemd"}
STAND_INS = {
    "id": "echo 0",
    "chown": "exit 0",
    "chgrp": "exit 0",
    "useradd": "exit 0",
    "install": """folders=
while [ $# -gt 0 ]; do case "$1" in -d) folders=1; shift ;; -m|-o|-g) shift 2 ;; *) break ;; esac; done
if [ -n "$folders" ]; then mkdir -p "$@"; else cp "$1" "$2"; fi""",
    "python-of-the-bundle": """[ "$1" = -c ] && exit 0
mkdir -p "$4/bin" "$4/lib/python3.11/site-packages"
for program in edge-agent edge-gateway; do cp "$PROGRAM" "$4/bin/$program"; done
printf '#!/bin/sh\\nexit ${WHEELS_FAIL:-0}\\n' > "$4/bin/python"
chmod +x "$4/bin/python\"""",
    "program": """grep -q "refused by $(basename "$(dirname "$(dirname "$0")")")" "$3" && exit 2
exit 0""",
}


class Computer:
    """A computer below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "stand-ins"
        for name in (*PLACES.values(), *BESIDE.values()):
            if name != "no-systemd":
                (folder / name).mkdir()
        self.bin.mkdir()
        for name, text in STAND_INS.items():
            (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
            (self.bin / name).chmod(0o755)
        text = (ROOT / "deploy" / "install.sh").read_text()
        for place, name in PLACES.items():
            assert f"={place}\n" in text, f"{place} is a place of the installer"
            text = text.replace(f"={place}\n", f"={folder / name}\n")
        for place, name in BESIDE.items():
            assert place in text
            text = text.replace(place, str(folder / name))
        self._text = text

    def bundle(self, release: str) -> Path:
        bundle = self.folder / f"bundle-{release}"
        for name, content in {
            "PYTHON": f"3.11 {platform.machine()}\n", "RELEASE": f"{release}\n", "wheels/pip-1.whl": "", "wheels/pharmedge.whl": release,
            **{f"systemd/edge-{kind}.service": release for kind in ("agent", "gateway", "broker")}, "share/about": release,
            **{f"etc/{name}": "as delivered\n" for name in ("agent.yaml", "gateway.yaml", "broker.conf")}, "install.sh": self._text,
        }.items():  # fmt: skip
            (bundle / name).parent.mkdir(parents=True, exist_ok=True)
            (bundle / name).write_text(content)
        with tarfile.open(bundle / "bytecode.tar.gz", "w:gz"):
            pass
        (bundle / "SHA256SUMS").write_text(sums(bundle))
        return bundle

    def run(self, script: Path, *words: str, **more: str) -> tuple[int, str]:
        env = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHON": str(self.bin / "python-of-the-bundle"),
            "PROGRAM": str(self.bin / "program"),
            **more,
        }
        done = subprocess.run(["sh", script, *words], env=env, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, done.stdout + done.stderr

    def install(self, release: str, **more: str) -> tuple[int, str]:
        return self.run(self.bundle(release) / "install.sh", **more)

    @property
    def current(self) -> str:
        return (self.folder / "opt" / "current").readlink().name


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_an_upgrade_keeps_configuration_and_data_and_there_is_a_way_back(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    config, journal = tmp_path / "etc" / "agent.yaml", tmp_path / "data" / "agent" / "edge.sqlite"
    code, said = computer.install("1.0")
    assert (code, computer.current, config.read_text()) == (0, "1.0", "as delivered\n"), said
    config.write_text("the plant's own\n")
    journal.write_text("records that wait")

    code, said = computer.install("2.0")
    assert (code, computer.current) == (0, "2.0"), said
    assert (config.read_text(), journal.read_text()) == ("the plant's own\n", "records that wait")
    assert (tmp_path / "units" / "edge-agent.service").read_text() == "2.0"

    # A release that refuses the configuration, and one whose programs cannot be installed: what ran goes on, nothing of the plant is touched.
    config.write_text("the plant's own\nrefused by 3.0\nrefused by 1.0\n")
    code, said = computer.install("3.0")
    assert (code, computer.current) == (1, "2.0")
    assert "release 3.0 does not accept" in said
    code, said = computer.install("4.0", WHEELS_FAIL="1")
    assert (code, computer.current) == (1, "2.0")
    assert "what ran before still does" in said
    assert not (tmp_path / "opt" / "4.0").exists()
    assert (config.read_text().startswith("the plant's own"), journal.read_text()) == (True, "records that wait")

    # Back: what the earlier release does not know it does not get; its own file comes back, and the newer one is kept beside it.
    code, said = computer.run(tmp_path / "opt" / "install.sh", "rollback")
    assert (code, computer.current) == (0, "1.0"), said
    assert config.read_text() == "the plant's own\n"
    assert (tmp_path / "etc" / "agent.yaml.2.0").read_text().endswith("refused by 1.0\n")
    assert journal.read_text() == "records that wait"
    assert (tmp_path / "units" / "edge-agent.service").read_text() == "1.0"
    assert computer.run(tmp_path / "opt" / "install.sh", "list")[1].split() == ["*", "1.0", "2.0", "3.0"]

    code, said = computer.run(tmp_path / "opt" / "install.sh", "remove")
    assert (code, config.exists(), journal.exists(), (tmp_path / "opt").exists()) == (0, True, True, False), said
