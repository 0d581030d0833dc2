"""The configuration file and the commands around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.core import ConfigError
from gateway.__main__ import app
from gateway.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
GOOD = "gateway: {id: gw1, site: demo, data_dir: data}\n"


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "gateway.yaml"
    path.write_text(text)
    return path


def test_the_file_that_comes_with_it_loads_and_is_commented() -> None:
    path = CONFIGS / "gateway.yaml"
    config = load_config(path)
    assert config.gateway.data_dir == CONFIGS.absolute() / "../data/gateway"
    for line in path.read_text().splitlines():
        if ":" in line and not line.lstrip().startswith("#") and not line.rstrip().endswith(":"):
            assert "#" in line, line


def test_paths_are_meant_from_the_file(tmp_path: Path) -> None:
    target = "targets: [{name: ts, kind: influx, url: 'http://127.0.0.1:1', bucket: b, token_file: t.txt}]\n"
    config = load_config(_file(tmp_path, GOOD + "broker: {username: u, password_file: p.txt}\n" + target))
    assert config.gateway.data_dir == tmp_path / "data"
    assert config.broker.password_file == tmp_path / "p.txt"
    assert config.targets[0].token_file == tmp_path / "t.txt"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GOOD + "http: {host: 0.0.0.0}\n", "2: http.host: expected a loopback address (other computers come through a TLS proxy), found '0.0.0.0'"),
        (GOOD + "broker: {username: u}\n", "2: broker.username: expected username and password_file together, found one of them"),
        ("gateway: {id: gw1, site: demo, data_dir: d, timezone: Mars/Base}\n", "1: gateway.timezone: expected an IANA time zone"),
        ("gateway: {id: a/b, site: demo, data_dir: d}\n", "1: gateway.id: expected"),
        (GOOD + "colour: red\n", "2: colour: expected no such key, found 'colour'"),
        (GOOD + "targets:\n- {name: a, kind: influx, url: ftp://x, bucket: b}\n", "3: targets[0].url: expected"),
    ],
)
def test_mistakes_name_file_line_and_key(tmp_path: Path, text: str, line: str) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}:{line}")
    done = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert done.exit_code == 2
    assert f"{path}:{line}" in done.output


def test_commands_say_what_is_wrong(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD + "http: {port: 1}\n")
    run = CliRunner().invoke
    assert run(app, ["check", "-c", str(path)]).exit_code == 0
    assert run(app, ["status", "-c", str(path)]).exit_code == 1
    assert run(app, ["export", "-c", str(path), "--kind", "gap"]).exit_code == 1
    assert run(app, ["export", "-c", str(path), "--kind", "nonsense"]).exit_code == 2
    assert run(app, ["export", "-c", str(path), "--kind", "gap", "--from", "yesterday"]).exit_code == 2
    assert run(app, ["verify", str(tmp_path)]).exit_code == 1
    assert run(app, ["verify"]).exit_code == 2
    assert run(app, ["run", "-c", str(tmp_path / "none.yaml")]).exit_code == 2
