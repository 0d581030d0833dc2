"""`make sbom`: the bill of materials of what runs, as CycloneDX (ECMA-424) JSON: every library with version, hashes and package URL.

python -m deploy.sbom [FILE]     standard output when absent
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from deploy.needed import locked, needed

ROOT: Final = Path(__file__).resolve().parent.parent


def bill() -> str:
    """The document; the same for the same requirements.lock."""
    with tempfile.TemporaryDirectory() as work:
        lock = Path(work, "requirements.lock")
        lock.write_text(locked(needed(), (ROOT / "requirements.lock").read_text()))
        about = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application", "--output-reproducible", "--of", "JSON", "-o", "-"]
        command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(lock), *about]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Entry point."""
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(bill())
    else:
        sys.stdout.write(bill())


if __name__ == "__main__":
    main()
