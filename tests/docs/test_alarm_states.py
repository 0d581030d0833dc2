"""The page about alarms says what the tables say."""

from __future__ import annotations

import re

import pytest

from edge_agent.alarms.expression import compiled
from tests.docs import alarm_states


def test_the_page_is_as_the_tables_are() -> None:
    text = alarm_states.FILE.read_text("utf-8")
    assert alarm_states.renewed(text) == text, "run `python -m tests.docs.alarm_states`"


@pytest.mark.parametrize("block", alarm_states.BLOCKS)
def test_every_block_is_on_the_page(block: str) -> None:
    assert f"<!-- {block}: begin -->" in alarm_states.FILE.read_text("utf-8")


def test_the_expressions_on_the_page_are_expressions() -> None:
    (examples,) = re.findall(r"```text\n(.*?)```", alarm_states.FILE.read_text("utf-8"), re.DOTALL)
    for line in examples.splitlines():
        assert compiled(line).tags
