"""Nothing in the product writes to a control system: no connector names a service that could."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import edge_agent.sources

FOLDER = Path(edge_agent.sources.__file__).parent
WRITING = re.compile(
    r"^(write_(attributes?|value|values|coils?|registers?|data_value|params)|set_(value|values|data_value|attribute|writable)|call_method|call|WriteRequest"
    r"|WriteParameters|CallRequest|add_(nodes?|references?)|delete_(nodes?|references?)|history_update\w*|HistoryUpdateRequest)$"
)


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.py")), ids=lambda f: f.name)
def test_no_connector_can_write_to_a_control_system(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    named = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} | {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    found = {name for name in named if WRITING.match(name)} - {"call"}
    assert not found, f"{file.name}: {found}"


def test_the_mqtt_source_publishes_nothing() -> None:
    tree = ast.parse((FOLDER / "mqtt.py").read_text("utf-8"))
    assert "publish" not in {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
