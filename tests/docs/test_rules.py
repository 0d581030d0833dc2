"""docs/rules.md names tests that exist, for every rule."""

from __future__ import annotations

import re

import pytest

from tests.system.processes import ROOT

ROWS = [line for line in (ROOT / "docs/rules.md").read_text("utf-8").splitlines() if re.match(r"\| \d+ ", line)]


def test_there_are_eleven() -> None:
    assert [int(row.split()[1]) for row in ROWS] == list(range(1, 12))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_named_test_exists(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
    assert named
    for file, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), f"{file}::{name}"
