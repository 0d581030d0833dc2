"""Every control on the page of security names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = [
    line
    for line in (ROOT / "docs" / "security.md").read_text("utf-8").splitlines()
    if line.startswith("| ") and not line.startswith(("| requirement", "| 控制点"))
]


def test_every_row_names_tests_and_every_test_exists():
    assert len(ROWS) > 20
    for row in ROWS:
        named = re.findall(r"`(tests/[^`]+)::([^`]+)`", row)
        assert named, row
        for file, test in named:
            assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), f"{file}::{test}"
