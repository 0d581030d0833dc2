"""`python -m deploy.arm64`: which wheels an edge box with an ARM64 processor needs, at hashes of requirements.lock, into `aarch64.sha256`.

Asks the package index, once after each change of the lock; a test then holds the two together without one.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.bundle import ROOT, fetch

TABLE: Final = ROOT / "deploy" / "aarch64.sha256"


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as work:
        try:
            fetch(Path(work), "aarch64")
        except subprocess.CalledProcessError as error:
            sys.exit(error.returncode)
        names = sorted(Path(work).glob("*.whl"))
        TABLE.write_text("".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in names))
    print(f"{TABLE}: {len(names)} wheels")


if __name__ == "__main__":
    main()
