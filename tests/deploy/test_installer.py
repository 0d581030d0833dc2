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
import tempfile
from pathlib import Path

import pytest

from deploy.bundle import sums
from deploy.sign import sign
from tests.deploy.test_signature import pair
from tests.system.processes import ROOT

PLACES = {"/opt/pharmedge": "opt", "/etc/pharmedge": "etc", "/var/lib/pharmedge": "data", "/etc/systemd/system": "units"}
BESIDE = {"/usr/local/bin": "bin", "/run/systemd/system": "systemd"}
STAND_INS = {
    "id": "echo 0",
    "sync": "exit 0",
    # A file for each service that is enabled: its state and its release. BAD names one that does not start, and with which release.
    "systemctl": """[ "$1" = --quiet ] && shift
services=$(dirname "$0")/../services
case "$1" in
is-enabled) [ -e "$services/$2" ] ;;
is-active) read -r state _ 2>/dev/null < "$services/$2" || state=inactive; echo "$state"; [ "$state" = active ] ;;
restart)
  release=$(readlink "$services/../opt/current")
  if [ "$2 $release" = "${BAD:-}" ]; then echo "failed $release" > "$services/$2"; exit 1; fi
  echo "active $release" > "$services/$2" ;;
esac""",
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


pytestmark = pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")


class Computer:
    """A computer below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "stand-ins"
        for name in (*PLACES.values(), *BESIDE.values()):
            if name != "systemd":
                (folder / name).mkdir()
        self.bin.mkdir()
        self.services = folder / "services"
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

    def start(self, *services: str) -> None:
        """From now on there is a service manager, and these run."""
        (self.folder / "systemd").mkdir()
        self.services.mkdir()
        for name in services:
            (self.services / name).write_text(f"active {self.current}\n")

    @property
    def runs(self) -> dict[str, str]:
        return {path.name: path.read_text().strip() for path in self.services.iterdir()}

    @property
    def installed(self) -> list[str]:
        return self.run(self.folder / "opt" / "install.sh", "list")[1].split()

    @property
    def current(self) -> str:
        return (self.folder / "opt" / "current").readlink().name


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
    assert computer.installed == ["*", "1.0", "2.0", "3.0"]

    code, said = computer.run(tmp_path / "opt" / "install.sh", "remove")
    assert (code, config.exists(), journal.exists(), (tmp_path / "opt").exists()) == (0, True, True, False), said


def test_after_a_release_that_does_not_start_the_one_before_comes_back(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    assert computer.install("1.0")[0] == 0
    computer.start("edge-gateway", "edge-agent")
    code, said = computer.install("2.0", BAD="edge-gateway 2.0")
    assert (code, computer.current) == (1, "2.0")
    assert "did not start: edge-gateway;" in said
    assert f"back to 1.0: sh {tmp_path}/opt/install.sh rollback" in said
    assert computer.runs == {"edge-gateway": "failed 2.0", "edge-agent": "active 2.0"}, "one that fails keeps no other from the new release"

    code, said = computer.run(tmp_path / "opt" / "install.sh", "rollback", BAD="edge-gateway 2.0")
    assert (code, computer.current) == (0, "1.0"), said
    assert computer.runs == {"edge-gateway": "active 1.0", "edge-agent": "active 1.0"}


def test_a_service_that_was_stopped_stays_so(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    assert computer.install("1.0")[0] == 0
    computer.start("edge-agent")
    (computer.services / "edge-gateway").write_text("inactive 1.0\n")
    assert computer.install("2.0")[0] == 0
    assert computer.runs == {"edge-gateway": "inactive 1.0", "edge-agent": "active 2.0"}


def test_an_installation_that_was_interrupted_begins_anew_and_nothing_goes_back_to_it(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    assert computer.install("1.0")[0] == 0
    half = tmp_path / "opt" / "2.0"
    (half / "bin").mkdir(parents=True)
    for program in ("edge-agent", "edge-gateway"):
        (half / "bin" / program).write_text("cut")
        (half / "bin" / program).chmod(0o755)
    (half / "left.pyc").write_bytes(bytes(16))
    assert computer.installed == ["*", "1.0"]
    code, said = computer.run(tmp_path / "opt" / "install.sh", "rollback", "2.0")
    assert (code, "expected release 2.0" in said) == (1, True)
    code, said = computer.install("2.0")
    assert (code, computer.current, (half / "left.pyc").exists()) == (0, "2.0", False), said
    assert (half / "share" / "about").read_text() == "2.0"


def test_a_release_is_whole_only_when_its_last_file_is_on_the_disk(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    (computer.bin / "sync").write_text("#!/bin/sh\nexit 1\n")
    code, _ = computer.install("1.0")
    assert (code, (tmp_path / "opt" / "current").exists(), (tmp_path / "opt" / "1.0" / "complete").exists()) == (1, False, False)


def test_the_newest_three_releases_are_kept_and_what_power_cuts_left_goes(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    for release in ("1.0", "2.0", "3.0"):
        assert computer.install(release)[0] == 0
    assert computer.installed == ["1.0", "2.0", "*", "3.0"]
    for left in (".upgrade.x1/bundle", "3.5/bin"):
        (tmp_path / "opt" / left).mkdir(parents=True)
    code, said = computer.run(tmp_path / "opt" / "install.sh", "upgrade", str(computer.bundle("4.0")))
    assert (code, computer.installed) == (0, ["2.0", "3.0", "*", "4.0"]), said
    there = sorted(path.name for path in (tmp_path / "opt").iterdir())
    assert there == ["2.0", "3.0", "4.0", "current", "install.sh"]


def test_a_package_that_is_refused_does_not_say_that_nothing_happened(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    for before, said_of_it in (("", "dpkg -r pharmedge"), ("1.0", "release 1.0 goes on")):
        if before:
            assert computer.install(before)[0] == 0
        bundle = computer.bundle("2.0")
        (bundle / "wheels" / "pharmedge.whl").write_text("another")
        code, said = computer.run(bundle / "install.sh", "install", "--packaged")
        assert (code, "the package is unpacked but not in force" in said, "nothing was installed" in said) == (1, True, False), said
        assert said_of_it in said


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_a_release_that_cannot_look_at_a_signature_leaves_it_to_openssl(tmp_path: Path) -> None:
    computer = Computer(tmp_path)
    private, public = pair(tmp_path, "maker")
    assert computer.install("1.0")[0] == 0
    library = tmp_path / "opt" / "1.0" / "bin" / "python"
    bundle = computer.bundle("2.0")
    sign(bundle, private)
    library.write_text("#!/bin/sh\nexit 1\n")
    code, said = computer.run(bundle / "install.sh", "verify", "--key", str(public))
    assert (code, "signed by the maker" in said) == (0, True), said
    library.write_text("#!/bin/sh\nexit 3\n")
    code, said = computer.run(bundle / "install.sh", "verify", "--key", str(public))
    assert (code, "its signature is not that of" in said) == (1, True), said


def test_who_cannot_see_the_kept_key_is_not_told_that_there_is_none() -> None:
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        folder.chmod(0o755)
        computer = Computer(folder)
        bundle = computer.bundle("1.0")
        (folder / "etc" / "maker.pub").write_text("a key")
        (folder / "etc").chmod(0)
        other = {"user": 65534, "group": 65534, "extra_groups": ()} if os.geteuid() == 0 else {}
        command, env = ["sh", str(bundle / "install.sh"), "verify"], {"PATH": os.environ["PATH"]}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120, **other)  # type: ignore[call-overload]
        (folder / "etc").chmod(0o755)
    assert (done.returncode, "expected to run as root" in done.stderr, "NOT SIGNED" in done.stdout) == (1, True, False), done.stdout + done.stderr
