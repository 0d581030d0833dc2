"""From a walk over a live server to a configuration that is accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.config import load_agent
from edge_agent.config.beginning import TEMPLATE, begin
from edge_agent.config.tag_csv import COLUMNS
from edge_agent.core import ConfigError

URL = "opc.tcp://127.0.0.1:4840/"


def row(name: str) -> dict[str, str]:
    known = {"name": name, "source": "plc", "address": f"nsu=urn:x;s={name}", "kind": "numeric", "unit": "kN", "class": "other"}
    return dict.fromkeys(COLUMNS, "") | known | {"report": "by_exception", "record": "raw", "role": "value"}


def test_it_is_accepted_as_it_is_and_with_one_alarm_added(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(TEMPLATE.read_text().replace("data_dir: data ", "data_dir: /var/lib/pharmedge/agent ").replace("id: line1-edge1", "id: line2"))
    written = begin(file, URL, [row("press1/force"), row("press1/speed")], simulated=True, username="line", password_file=tmp_path / "word")
    assert [path.name for path in written] == ["agent.yaml", "tags.csv", "alarms.csv"]
    found = load_agent(file)
    assert [tag.name for tag in found.tags] == ["press1/force", "press1/speed"]
    assert (found.edge.id, found.edge.simulated, str(found.edge.data_dir)) == ("line2", True, "/var/lib/pharmedge/agent")
    assert (found.sources[0].url, found.sources[0].username, found.alarms, found.models) == (URL, "line", (), ())  # type: ignore[union-attr]
    with (tmp_path / "alarms.csv").open("a") as rows:
        rows.write("press1/force.high,limit,press1/force,high,16,0.4,2,2,,,Reduce the fill depth,减小充填深度\n")
    (alarm,) = load_agent(file).alarms
    assert (alarm.name, alarm.priority, alarm.response["zh"]) == ("press1/force.high", 2, "减小充填深度")


def test_a_new_file_is_the_example_and_a_real_server_is_not_called_simulated(tmp_path: Path) -> None:
    begin(tmp_path / "agent.yaml", URL, [row("a")], simulated=False, username=None, password_file=None)
    found = load_agent(tmp_path / "agent.yaml")
    assert (found.edge.simulated, found.uplinks[0].name) == (False, "site")


@pytest.mark.parametrize("name", ["10", "yes", "null", "#x", "a: b", "- a", 'so "called"', "1号压机", "*a"])
def test_a_source_may_have_any_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / "agent.yaml"
    begin(file, URL, [row("a") | {"source": name}], simulated=False, username=None, password_file=None)
    found = load_agent(file)
    assert (found.sources[0].name, found.tags[0].source) == (name, name)


def test_nobody_s_work_is_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(TEMPLATE.read_text().replace("limit: 16 ", "limit: 17 "))
    before = file.read_text()
    with pytest.raises(ConfigError, match="alarms that somebody wrote"):
        begin(file, URL, [row("a")], simulated=False, username=None, password_file=None)
    assert (file.read_text(), sorted(path.name for path in tmp_path.iterdir())) == (before, ["agent.yaml"])
    file.unlink()
    begin(file, URL, [row("a")], simulated=False, username=None, password_file=None)
    with pytest.raises(ConfigError, match=r"somebody wrote|tags\.csv"):
        begin(file, URL, [row("b")], simulated=False, username=None, password_file=None)
    file.unlink()
    with pytest.raises(ConfigError, match=r"tags\.csv and .*alarms\.csv already"):
        begin(file, URL, [row("b")], simulated=False, username=None, password_file=None)
