"""Options of earlier versions: what a file becomes, that nothing is changed unasked, and that the error names the command."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from edge_agent.__main__ import app as agent_app
from edge_agent.config import AgentSettings
from edge_agent.core import ConfigError
from edge_agent.core.renamed import AGENT, GATEWAY, Renamed, migrate, migrated
from gateway.__main__ import app as gateway_app
from gateway.config import GatewayConfig, load_config

TABLE = (
    Renamed(("sources", "*", "speed"), "rate_s", "0.2.0", "seconds between reads"),
    Renamed(("edge", "colour"), None, "0.3.0", "screens have one colour"),
    Renamed(("users",), None, "0.1.0", "made by a command"),
)
OLD = """\
# a plant
edge:
  id: e1   # first
  colour: >
    light

    blue
  site: s

sources:
  - kind: csv
    speed: 5  # as the PLC
  - {kind: x, speed: 7, name: "片"}
users:
- name: li
  role: operator

# end
"""
NEW = """\
# a plant
edge:
  id: e1   # first
  # colour is no option since 0.3.0: screens have one colour
  # colour: >
  #   light
  #
  #   blue
  site: s

sources:
  - kind: csv
    rate_s: 5  # as the PLC
  - {kind: x, rate_s: 7, name: "片"}
# users is no option since 0.1.0: made by a command
# users:
# - name: li
#   role: operator

# end
"""
LEGACY = "gateway: {id: gw1, site: demo, data_dir: data}\n# who\nusers:\n  - name: wang\n    role: operator\nhttp:\n  port: 8081\n"


def test_options_get_their_names_of_today_and_comments_order_and_quotes_stay() -> None:
    got = migrated(OLD, TABLE, "f")
    assert [line.rstrip() for line in got.splitlines()] == NEW.splitlines()
    assert yaml.safe_load(got) == {
        "edge": {"id": "e1", "site": "s"}, "sources": [{"kind": "csv", "rate_s": 5}, {"kind": "x", "rate_s": 7, "name": "片"}],
    }  # fmt: skip
    assert migrated(got, TABLE, "f") == got


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("sources:\n- {speed: 1, rate_s: 2}\n", 2, "both"),
        ("a: 1\nedge: {id: x, colour: red}\n", 2, "one colour"),
        ("a: [1\n", 2, "valid YAML"),
    ],
)
def test_what_only_a_person_can_decide_is_told_by_line(text: str, line: int, words: str) -> None:
    with pytest.raises(ConfigError) as found:
        migrated(text, TABLE, "f.yaml")
    assert f"f.yaml:{line}:" in str(found.value)
    assert words in str(found.value)


def test_nothing_is_written_unasked_and_what_was_there_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_text(LEGACY)
    file.chmod(0o640)
    shown, kept = migrate(file, GATEWAY, write=False)
    assert (file.read_text(), kept, sorted(p.name for p in tmp_path.iterdir())) == (LEGACY, None, ["g.yaml"])
    assert "-users:\n" in shown
    (tmp_path / "g.yaml.bak1").write_text("an earlier one")
    shown, kept = migrate(file, GATEWAY, write=True)
    assert kept == tmp_path / "g.yaml.bak2"
    assert kept.read_text() == LEGACY
    assert (tmp_path / "g.yaml.bak1").read_text() == "an earlier one"
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["g.yaml", "g.yaml.bak1", "g.yaml.bak2"]
    assert load_config(file).http.port == 8081
    assert migrate(file, GATEWAY, write=True) == ("", None)


def test_the_error_for_an_old_option_names_the_command_and_the_command_mends_it(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    file.write_text(LEGACY)
    with pytest.raises(ConfigError) as found:
        load_config(file)
    assert f"{file}:3: users: expected no such key since 0.1.0 (accounts are made with `edge-gateway user add`" in str(found.value)
    assert "`edge-gateway config migrate -c FILE`" in str(found.value)
    run = CliRunner()
    assert run.invoke(gateway_app, ["check", "-c", str(file)]).exit_code == 2
    shown = run.invoke(gateway_app, ["config", "migrate", "-c", str(file)])
    assert (shown.exit_code, file.read_text()) == (0, LEGACY)
    assert "+# users is no option since 0.1.0" in shown.output
    assert run.invoke(gateway_app, ["config", "migrate", "-c", str(file), "--write"]).exit_code == 0
    assert run.invoke(gateway_app, ["check", "-c", str(file)]).exit_code == 0


def test_an_agent_s_file_of_today_has_nothing_to_migrate(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("edge: {id: e1, site: s}\n")
    answer = CliRunner().invoke(agent_app, ["config", "migrate", "-c", str(file), "--write"])
    assert (answer.exit_code, answer.output) == (0, f"{file}: nothing to migrate\n")
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]


def test_both_commands_know_their_table_and_no_option_of_today_is_in_it() -> None:
    for settings, table in ((AgentSettings, AGENT), (GatewayConfig, GATEWAY)):
        assert settings.renamed is table
        for old in table:
            assert old.place[0] not in settings.model_fields or len(old.place) > 1
