"""Every mistake of a configuration in one look, one line each; files that nobody would write give a line too, never a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_agent.config import load_agent
from edge_agent.core import ConfigError

BASE = """\
edge: {site: demo, id: e1}
sources:
  - {kind: mqtt, name: m1, host: 127.0.0.1, client_id: same, topics: ["a/#"]}
tags:
  - {name: p/a, source: m1, address: "a#v", range: [0, 10]}
"""

WRONG = """\
edge:
  site: demo works
  id: e1
  timezone: Shanghai
sources:
  - {kind: mqtt, name: m1, host: 127.0.0.1, client_id: same, topics: ["a/#"]}
  - {kind: mqtt, name: m2, host: 127.0.0.1, client_id: same, topics: ["b/#"]}
tags:
  - {name: p/a, source: m1, address: "a#v", range: [0, 10]}
  - {name: p/b, source: m3, address: "b#v", range: [5, 5]}
  - {name: p/c, source: m1, address: "c#v", decimals: many}
alarms:
  - {kind: limit, name: db, tag: p/a, side: high, limit: 1, deadband: 20}
  - {kind: rate, name: fall, tag: p/a, side: low, limit: 1}
  - {kind: deviation, name: dev, tag: p/a, side: high, limit: 1, setpoint: .nan}
  - {kind: limit, name: inf, tag: p/a, side: high, limit: .inf}
  - {kind: limit, name: lost, tag: p/zz, side: high, limit: 1}
  - {kind: limit, name: late, tag: p/a, side: high, limit: 5, respond_within_s: 7200}
windows: {length_s: 0, colour: red}
outbox: {max_bytes: 99999999999999999999999}
uplinks:
  - {kind: gateway, name: u1, host: 127.0.0.1, gateways: [g1]}
  - {kind: gateway, name: u2, host: 127.0.0.1, gateways: [g1]}
http: {host: 0.0.0.0, port: 99999}
mode_rules: {longest_s: -5}
"""


def lines(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as found:
        load_agent(path)
    return str(found.value).splitlines()


def test_more_than_twelve_different_mistakes_in_one_look(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(WRONG)
    told = lines(path)
    form = re.compile(rf"{re.escape(str(path))}:(\d+): (\S+): expected (.+), found (.+)")
    parts = [form.fullmatch(line) for line in told]
    assert all(parts), told
    assert [(int(m[1]), m[2]) for m in parts if m] == [
        (2, "edge.site"), (4, "edge.timezone"), (7, "sources[1].client_id"), (10, "tags[1].source"), (10, "tags[1].range"),
        (11, "tags[2].decimals"), (13, "alarms[0].deadband"), (14, "alarms[1].limit"), (15, "alarms[2].setpoint"), (16, "alarms[3].limit"),
        (17, "alarms[4].tag"), (18, "alarms[5].respond_within_s"), (19, "windows.length_s"), (19, "windows.colour"), (20, "outbox.max_bytes"),
        (23, "uplinks[1].gateways[0]"), (24, "http.port"), (24, "http.host"), (25, "mode_rules.longest_s"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("alarm", "right"),
    [
        ("{kind: rate, name: x, tag: p/a, side: low, limit: -1, deadband: 0.5}", True),
        ("{kind: rate, name: x, tag: p/a, side: high, limit: 1, deadband: 0.5}", True),
        ("{kind: rate, name: x, tag: p/a, side: high, limit: 0}", False),
        ("{kind: rate, name: x, tag: p/a, side: high, limit: 1, deadband: 1}", False),
        ("{kind: limit, name: x, tag: p/a, side: low, limit: 4, deadband: 5.9}", True),
        ("{kind: limit, name: x, tag: p/a, side: low, limit: 4, deadband: 6}", False),
        ("{kind: deviation, name: x, tag: p/a, side: low, limit: -1, setpoint: 5, deadband: 0.9}", True),
        ("{kind: deviation, name: x, tag: p/a, side: low, limit: -1, setpoint: 5, deadband: 1}", False),
    ],
)
def test_an_alarm_must_be_able_to_clear(tmp_path: Path, alarm: str, right: bool) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(f"{BASE}alarms:\n  - {alarm}\n")
    if right:
        load_agent(path)
    else:
        (line,) = lines(path)
        assert ":7: alarms[0]." in line


def test_answering_other_computers_is_deliberate(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(f"{BASE}http: {{host: 192.0.2.1}}\n")
    (line,) = lines(path)
    assert "exposed: true" in line
    path.write_text(f"{BASE}http: {{host: 192.0.2.1, exposed: true}}\n")
    assert load_agent(path).http.exposed


ODD = {
    "empty": b"",
    "tabs": b"edge:\n\tsite: demo\n",
    "list": b"- a\n",
    "scalar": b"hello\n",
    "latin": "edge: {site: Köln, id: x}\n".encode("latin-1"),
    "utf16": BASE.encode("utf-16"),
    "twice": b"edge:\n  site: a\n  site: b\n  id: x\n",
    "itself": b"a: &a\n  b: *a\n",
    "no anchor": b"a: *b\n",
    "keys": b"on: 3\n? \n: 4\n",
    "list as key": b"? [a]\n: 3\n",
    "object": b'x: !!python/object/apply:os.system ["true"]\n',
    "two documents": b"a: 1\n---\nb: 2\n",
    "NUL": b'edge: "a\0b"\n',
    "deep": b"a: " + b"[" * 2000 + b"]" * 2000 + b"\n",
    "digits": BASE.encode() + b"http: {port: " + b"9" * 5000 + b"}\n",
    "types": b"edge: 3\nsources: {}\ntags: hello\nhttp: [1]\n",
    "nothing": b"edge:\nsources:\ntags:\n",
    "merge": b"edge: {<<: 5, site: a, id: b}\n",
    "kinds": BASE.encode() + b"alarms: [{name: x}, 5, null, [], {kind: [limit]}, {kind: {a: 1}}, {csv: 5}]\n",
    "CSV not there": BASE.encode() + b"  - csv: nowhere.csv\n",
    "CSV a folder": BASE.encode() + b"  - csv: .\n",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_give_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("odd.yaml").write_bytes(ODD[name])
    told = lines(Path("odd.yaml"))
    assert told
    for line in told:
        assert re.fullmatch(r"[^:]+:\d+: .+: expected .+, found .+", line), line
        assert "found found" not in line


@pytest.mark.parametrize(
    "table",
    [
        b"", "name,source\np/b,m1\n".encode("utf-16"), b"name,sauce\np/b,m1\n", b'name,source\n"p/b,m1\n', b"name,source\np/b,m1,x\n",
        b"name;source\np/b;m1\n", b"name,source\np/\0b,m1\n", b"name,source,decimals\np/b,m1,x\n", b"name,source\n" + b"x" * 200_000 + b",m1\n",
    ],
)  # fmt: skip
def test_odd_tables_give_lines(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "tags.csv").write_bytes(table)
    (tmp_path / "agent.yaml").write_text(f"{BASE}  - csv: tags.csv\n")
    (line,) = lines(tmp_path / "agent.yaml")
    assert re.fullmatch(r".*tags\.csv:\d+: .+: expected .+, found .+", line), line
    (tmp_path / "tags.csv").write_bytes(b"\xef\xbb\xbfname,source,address\np/b,m1,x\n")
    assert len(load_agent(tmp_path / "agent.yaml").tags) == 2, "a byte order mark is no mistake"
