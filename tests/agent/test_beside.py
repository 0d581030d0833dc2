"""What the agent serves beside the line: only what was asked for, and people only from whom it trusts."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import AgentSettings, load_agent
from edge_agent.core import ConfigError
from tests.agent.line import CONFIG, settings


def mistakes(folder: Path, more: str) -> list[tuple[str, str]]:
    path = folder / "agent.yaml"
    path.write_text(CONFIG.replace("http: {port: 0}\n", "") + more, "utf-8")
    try:
        load_agent(path)
    except ConfigError as error:
        return [(m.key, m.found) for m in error.mistakes]
    return []


def test_nothing_listens_that_was_not_asked_for_and_other_computers_only_on_purpose(tmp_path: Path) -> None:
    plain: AgentSettings = settings(tmp_path)
    assert (plain.http.panel, plain.serve.opcua, plain.serve.modbus) == (False, None, None)
    on = mistakes(tmp_path, "http: {port: 0, panel: true}\nserve: {opcua: {}, modbus: {}}\n")
    assert on == []
    away = mistakes(tmp_path, "serve: {opcua: {host: 10.0.0.4}, modbus: {host: 0.0.0.0}}\n")
    assert away == [("serve.opcua.host", "'10.0.0.4'"), ("serve.modbus.host", "'0.0.0.0'")]
    assert mistakes(tmp_path, "serve: {opcua: {host: 10.0.0.4, exposed: true}, modbus: {host: 0.0.0.0, exposed: true}}\n") == []


@pytest.mark.parametrize(
    ("http", "key"),
    [("{panel: true, host: 10.0.0.4, exposed: true}", "http.panel"), ('{panel: true, panel_keys: {gw9: "' + "0" * 64 + '"}}', "http.panel_keys.gw9")],
)
def test_a_panel_stays_on_loopback_and_a_key_is_of_a_gateway_that_is_there(tmp_path: Path, http: str, key: str) -> None:
    assert [k for k, _ in mistakes(tmp_path, f"http: {http}\n")] == [key]
