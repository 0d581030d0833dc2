"""`make bare`: the bundle and the Debian package on a computer that has nothing but a base system and Python, and no network.

    python -m tests.deploy.bare [--root DIR] [--bundle TAR] [--deb FILE]

The base system is made with debootstrap (the only step that needs a network, skipped where DIR holds one already); everything else runs in it
by chroot, in namespaces of its own, with no network device but loopback. Needs root.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SUITE: Final = "bookworm"

SCRIPT: Final = Path(__file__).with_name("walk.sh")


def base_system(root: Path, include: str = "python3,ca-certificates") -> None:
    """A base system with Python in a folder."""
    if not (root / "usr/bin/python3").exists():
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={include}", SUITE, root], check=True, stdout=subprocess.DEVNULL)


def put(tree: Path, tar: Path, deb: Path | None) -> None:
    """Lay the bundle into a base system."""
    (tree / "given").mkdir()
    subprocess.run(["tar", "-xzf", tar, "-C", tree / "given"], check=True)
    next((tree / "given").iterdir()).rename(tree / "given" / "bundle")
    if deb is not None:
        shutil.copy(deb, tree / "given" / "pharmedge.deb")
    shutil.copy(SCRIPT, tree / "given" / "walk.sh")


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="tests.deploy.bare")
    parser.add_argument("--root", type=Path, default=Path("build/bare"))
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--deb", type=Path)
    asked = parser.parse_args()
    bundle = asked.bundle or max(Path("dist").glob("pharmedge-*.tar.gz"), key=lambda p: p.stat().st_mtime)
    deb = asked.deb or max(Path("dist").glob("pharmedge_*.deb"), key=lambda p: p.stat().st_mtime, default=None)
    asked.root.parent.mkdir(parents=True, exist_ok=True)
    base_system(asked.root)
    tree = asked.root.with_name(asked.root.name + ".used")
    if tree.exists():
        shutil.rmtree(tree)
    subprocess.run(["cp", "-a", "--reflink=auto", asked.root, tree], check=True)
    put(tree, bundle, deb)
    began = time.monotonic()
    inside = (
        'ip link set lo up 2>/dev/null || python3 -c "import socket,fcntl,struct; s=socket.socket(); '
        "fcntl.ioctl(s,0x8914,struct.pack('16sh',b'lo',1))\"; "
        f"mount -t proc proc {tree}/proc; mount -t tmpfs tmpfs {tree}/dev; "
        f"mknod -m 666 {tree}/dev/null c 1 3; mknod -m 666 {tree}/dev/urandom c 1 9; "
        f"exec env -i PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/root chroot {tree} sh /given/walk.sh"
    )
    done = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", inside], check=False)
    print(f"{time.monotonic() - began:.0f} s on {SUITE}")
    shutil.rmtree(tree)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
