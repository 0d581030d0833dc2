"""docs/rules.md and docs/expectations.md name tests that exist, for every rule and every promise."""

from __future__ import annotations

import re

import pytest

from tests.system.processes import ROOT


def rows(page: str) -> list[str]:
    """Numbered rows of a page's table."""
    return [line for line in (ROOT / "docs" / page).read_text("utf-8").splitlines() if re.match(r"\| \d+ ", line)]


RULES, PROMISES = rows("rules.md"), rows("expectations.md")


def test_none_is_left_out() -> None:
    assert [int(row.split()[1]) for row in RULES] == list(range(1, 12))
    assert [int(row.split()[1]) for row in PROMISES] == list(range(1, 26))


@pytest.mark.parametrize("row", RULES + PROMISES, ids=lambda row: row.split("|")[2].strip()[:40])
def test_every_named_test_exists(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
    assert named
    for file, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), f"{file}::{name}"
