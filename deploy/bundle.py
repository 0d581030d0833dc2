"""`make bundle`: everything that a computer without a network needs, in one archive.

    python -m deploy.bundle [--out DIR] [--deb] [--sign KEY.pem] [--machine aarch64]

The archive holds our wheel with its compiled kernels, the wheels of every library at the hashes of requirements.lock, pip itself, the bytecode of all
of them, `install.sh`, the units of the service manager, commented configurations, dashboards, docs, and `SHA256SUMS` over all of it, with the
maker's signature where a key is given. It is for the Python version it was made on and for one type of processor:
this one, or another for which a C compiler is there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Final

from deploy.bytecode import NAME as BYTECODE
from deploy.bytecode import bytecode
from deploy.needed import PACKAGE, locked, needed
from deploy.sbom import bill
from deploy.sign import SIGNATURE, sign

ROOT: Final = Path(__file__).resolve().parent.parent
PIP: Final = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
CONFIGURATIONS: Final = ("agent.yaml", "gateway.yaml", "broker.conf")


def platforms(machine: str) -> list[str]:
    """pip's options for wheels of another processor with a C library of Debian 12 or later (glibc 2.36)."""
    names = [*(f"manylinux_2_{n}_{machine}" for n in range(17, 37)), f"manylinux2014_{machine}", f"linux_{machine}"]
    return [word for name in names for word in ("--platform", name)]


def fetch(folder: Path, machine: str | None = None) -> None:
    """Wheels of every library at the hashes of the lock, for this processor or another one."""
    with tempfile.TemporaryDirectory() as work:
        lock = Path(work, "lock.txt")
        lock.write_text(locked(needed(), (ROOT / "requirements.lock").read_text()))
        pinned = ["--no-deps", "--require-hashes", "-r", str(lock)]
        if machine is None:
            subprocess.run([*PIP, "wheel", *pinned, "--wheel-dir", folder], check=True)
        else:
            subprocess.run([*PIP, "download", "--only-binary", ":all:", *platforms(machine), *pinned, "--dest", folder], check=True)


def wheels(folder: Path, machine: str | None = None) -> None:
    """Fetch and build all wheels into a folder."""
    fetch(folder, machine)
    with tempfile.TemporaryDirectory() as work:
        environment = dict(os.environ)
        if machine is not None:
            subprocess.run([sys.executable, "-m", "deploy.cross", machine, work], cwd=ROOT, check=True)
            environment["PHARMEDGE_KERNELS"] = work
        subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True, env=environment)
    subprocess.run([*PIP, "download", "--no-deps", "--only-binary", ":all:", "--dest", folder, "pip"], check=True)


def sums(folder: Path) -> str:
    """One line per file, `HASH  NAME`, in the order of names, as `sha256sum -c` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ("SHA256SUMS", SIGNATURE))
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in files)


def lay_out(folder: Path, machine: str | None = None) -> str:
    """Fill a folder with the bundle; returns the name of the release, VERSION+TIME.HASH: later ones sort behind earlier ones."""
    (folder / "wheels").mkdir(parents=True)
    wheels(folder / "wheels", machine)
    with tempfile.TemporaryDirectory() as work:
        bytecode(folder / "wheels", folder / BYTECODE, Path(work), platforms(machine) if machine else ())
    shutil.copy(ROOT / "deploy" / "install.sh", folder)
    shutil.copytree(ROOT / "deploy" / "systemd", folder / "systemd")
    plain = shutil.ignore_patterns("*.png", "*.jpg", "images")
    shutil.copytree(ROOT / "docs", folder / "share" / "docs", ignore=plain)
    shutil.copy(ROOT / "deploy" / "Containerfile", folder / "share")
    for name in ("observability", "broker"):
        if (ROOT / "configs" / name).is_dir():
            shutil.copytree(ROOT / "configs" / name, folder / "share" / name)
    (folder / "sbom.cdx.json").write_text(bill())
    (folder / "etc").mkdir()
    agent = (ROOT / "edge_agent" / "config" / "agent.example.yaml").read_text("utf-8")
    (folder / "etc" / "agent.yaml").write_text(_moved(agent, "data", "/var/lib/pharmedge/agent"), "utf-8")
    (folder / "etc" / "gateway.yaml").write_text(_gateway(), "utf-8")
    shutil.copy(ROOT / "deploy" / "broker.conf", folder / "etc")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    version = importlib.metadata.version(PACKAGE)
    (folder / "PYTHON").write_text(f"{python} {machine or platform.machine()}\n")
    release = f"{version}+{_when()}.{hashlib.sha256(sums(folder).encode()).hexdigest()[:8]}"
    (folder / "RELEASE").write_text(release + "\n")
    (folder / "SHA256SUMS").write_text(sums(folder))
    return release


def _when() -> str:
    """Time of what is bundled, UTC: that of the commit, or now outside a checkout."""
    asked = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = int(asked.stdout) if asked.returncode == 0 and asked.stdout.strip() else time.time()
    return time.strftime("%Y%m%d%H%M", time.gmtime(seconds))


def _gateway() -> str:
    """The commented configuration of a gateway as it is installed: of the same site as that of the agent, and for real edges."""
    text = (ROOT / "configs" / "gateway.yaml").read_text("utf-8")
    for key, of_checkout, installed in (
        ("data_dir", "../data/gateway", "/var/lib/pharmedge/gateway"), ("site", "demo", "plant1"), ("mode", "simulation", "production"),
    ):  # fmt: skip
        text = _moved(text, of_checkout, installed, key)
    return text


def _moved(text: str, old: str, new: str, key: str = "data_dir") -> str:
    found = re.subn(rf"^(  {key}: ){re.escape(old)}\b", rf"\g<1>{new}", text, flags=re.MULTILINE)
    if found[1] != 1:
        raise ValueError(f"{key}: expected {old} once, found it {found[1]} times")
    return found[0]


def archive(folder: Path, release: str, out: Path) -> Path:
    """The bundle as one file, owned by root, whatever the order of the folder."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"pharmedge-{release}.tar.gz"

    def owned(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mode = 0o755 if info.isdir() or info.name.endswith(".sh") else 0o644
        return info

    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(folder, f"pharmedge-{release}", filter=owned)
    return path


def debian(folder: Path, release: str, out: Path) -> Path:
    """The bundle as a Debian package: dpkg brings the files and keeps its conffiles, `install.sh` does the rest."""
    machine = (folder / "PYTHON").read_text().split()[1]
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    path = out / f"pharmedge_{release}_{architecture}.deb"
    python = (folder / "PYTHON").read_text().split()[0]
    with tempfile.TemporaryDirectory() as work:
        tree, control = Path(work, "tree"), Path(work, "tree", "DEBIAN")
        shutil.copytree(folder, tree / "usr" / "share" / "pharmedge" / "bundle")
        (tree / "etc" / "pharmedge").mkdir(parents=True)
        (tree / "etc" / "default").mkdir()
        control.mkdir()
        for name in CONFIGURATIONS:
            shutil.copy(folder / "etc" / name, tree / "etc" / "pharmedge" / name)
        units = tree / "usr" / "lib" / "systemd" / "system"
        shutil.copytree(folder / "systemd", units)
        (control / "conffiles").write_text("".join(f"/etc/pharmedge/{name}\n" for name in CONFIGURATIONS))
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file()) // 1024
        (control / "control").write_text(
            f"Package: pharmedge\nVersion: {release}\nArchitecture: {architecture}\nMaintainer: Pharmedge <root@localhost>\n"
            f"Installed-Size: {size}\nDepends: python3 (>= {python}), python3 (<< {python[:2]}{int(python[2:]) + 1})\n"
            "Section: misc\nPriority: optional\nDescription: Edge software of the pharmaceutical plant\n"
            " Reads sensors and PAT instruments, judges every value, calls the operator,\n keeps the record.\n"
        )
        bundle = "/usr/share/pharmedge/bundle"
        _script(control / "postinst", f'case "$1" in configure) sh {bundle}/install.sh install --packaged ;; esac')
        _script(control / "prerm", f'case "$1" in remove) sh {bundle}/install.sh remove --packaged ;; esac')
        _script(control / "postrm", 'case "$1" in purge) rm -rf /opt/pharmedge /var/lib/pharmedge /etc/pharmedge ;; esac')
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, path], check=True, stdout=subprocess.DEVNULL)
    return path


def _script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\nset -e\n{body}\n")
    path.chmod(0o755)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="deploy.bundle", description="Make the offline bundle.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--deb", action="store_true", help="also as a Debian package")
    parser.add_argument("--sign", type=Path, metavar="KEY.pem", help="the maker's private key (Ed25519, PEM)")
    parser.add_argument("--machine", help="another type of processor than this one, as uname -m calls it")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "bundle")
        release = lay_out(folder, asked.machine if asked.machine != platform.machine() else None)
        if asked.sign is not None:
            sign(folder, asked.sign)
        made = [archive(folder, release, asked.out)]
        if asked.deb:
            made.append(debian(folder, release, asked.out))
    for path in made:
        print(f"{path}  {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
