"""The doctor of a gateway."""

from __future__ import annotations

import sqlite3

from typer.testing import CliRunner

from gateway.__main__ import app

CONFIG = "gateway: {id: gw1, site: demo, data_dir: data}\nbroker: {host: 127.0.0.1, port: 1}\nhttp: {port: 0}\n"


def test_what_is_wrong_is_said_in_words(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG)
    (tmp_path / "data").mkdir()
    with sqlite3.connect(tmp_path / "data" / "good.sqlite") as db:
        db.execute("CREATE TABLE t (x)")
    db.close()
    (tmp_path / "data" / "torn.sqlite").write_bytes(b"not a database " * 100)
    told = CliRunner().invoke(app, ["doctor", "-c", str(path)])
    assert told.exit_code == 1
    states = {line[7:].split(":")[0]: line[:6].strip() for line in told.stdout.splitlines()}
    assert (states["configuration"], states["data folder"], states["database good.sqlite"]) == ("ok", "ok", "ok")
    assert (states["database torn.sqlite"], states["broker"], states["gateway"]) == ("wrong", "wrong", "look")


def test_a_mistaken_file_is_told(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.replace("port: 1}", "port: none}"))
    told = CliRunner().invoke(app, ["doctor", "-c", str(path)])
    assert told.exit_code == 1
    assert told.stdout.startswith(f"wrong  configuration: {path}:2: broker.port")
