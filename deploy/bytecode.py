"""What Python makes of every module at its first import, made once with the bundle instead of on every computer that installs it.

Compiling 7,000 modules takes three quarters of an installation. The bytecode is that of one minor version of Python, as the bundle is, and carries no
time of its source (PEP 552, unchecked): a release is never changed in place. An interpreter of another version passes it over.
"""

from __future__ import annotations

import compileall
import py_compile
import re
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

NAME: Final = "bytecode.tar.gz"
PLACE: Final = "/opt/pharmedge/current"
"""Where tracebacks say that the modules are."""


def bytecode(wheels: Path, out: Path, work: Path, platforms: Sequence[str] = ()) -> None:
    """Install the wheels of a folder into `work` and write the bytecode of all modules but tests as an archive with paths below site-packages.

    `platforms` are pip's names for another processor; bytecode is the same on all of them.
    """
    tree = work / "programs"
    names = sorted(path for path in wheels.glob("*.whl") if not path.name.startswith("pip-"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input", "install", "--no-index", "--no-deps", "--no-compile"]
    pip += platforms
    subprocess.run([*pip, "--target", tree, *names], check=True)
    compileall.compile_dir(
        tree, quiet=2, workers=0, stripdir=str(tree), prependdir=f"{PLACE}/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages",
        rx=re.compile(r"/tests?/"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = "root"
        info.mode = 0o644
        return info

    with tarfile.open(out, "w:gz", compresslevel=6) as tar:
        for path in sorted(tree.rglob("__pycache__/*.pyc")):
            tar.add(path, path.relative_to(tree).as_posix(), filter=plain)
