"""A wrong configuration is refused with every mistake at once, each with its file and line."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.config import load_agent, start_of
from edge_agent.core import ConfigError, decode, encode
from tests.agent.line import CONFIG, settings

SIX = """\
edge: {site: demo, id: e1}
sources:
  - {name: plc, kind: opcua, url: "opc.tcp://127.0.0.1:4840/"}
tags:
  - {name: press1/force, source: plk, range: [40, 0]}
  - {name: press1/speed, source: plc, unitt: rpm}
  - {name: press1/force, source: plc}
alarms:
  - {name: a, kind: limit, tag: press1/froce, limit: 5}
  - {name: b, kind: limit, tag: press1/speed, limit: high}
windows: {length_s: -1}
"""


def found(text: str, folder: Path) -> list[str]:
    path = folder / "agent.yaml"
    path.write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["check", "-c", str(path)])
    assert result.exit_code == 2
    lines = result.output.strip().splitlines()
    assert all(re.fullmatch(rf"{re.escape(str(path))}:\d+: \S+: expected .+, found .+", line) for line in lines), lines
    return [line.removeprefix(f"{path}:") for line in lines]


def test_mistakes_of_form_are_all_named_at_once(tmp_path):
    text = "edge: {site: demo, id: 7}\nsources:\n  - {name: x, kind: opcau}\ntags:\n  - {name: t, unitt: kN}\n"
    text += "windows: {length_s: -1}\nhttp: {port: many}\ncolour: red\n"
    lines = found(text, tmp_path)
    assert [line.split(":")[:2] for line in lines] == [
        ["1", " edge.id"],
        ["3", " sources[0]"],
        ["5", " tags[0].unitt"],
        ["6", " windows.length_s"],
        ["7", " http.port"],
        ["8", " colour"],
    ]
    assert "expected no such key, found 'unitt'" in lines[2]


def test_mistakes_of_sense_are_all_named_at_once(tmp_path):
    text = CONFIG + "uplinks:\n  - {name: g, kind: gateway, host: h, gateways: [gw1]}\n  - {name: g, kind: gateway, host: h, gateways: [gw1]}\n"
    text = text.replace("source: history, unit: kN, range: [0, 40]", "source: histroy, unit: kN, range: [40, 0]")
    text = text.replace('tags: ["press1/*"]', 'tags: ["press2/*"]').replace("tag: press1/force, limit", "tag: press1/froce, limit")
    text = text.replace("unit: r/min}", "unit: r/min, record: summary}")
    lines = found(text, tmp_path)
    keys = [line.split(": ")[1] for line in lines]
    assert keys == ["tags[0].source", "tags[0].range", "tags[1].record", "models[0].tags[0]", "alarms[0].tag", "uplinks[1].name"]


def test_mistakes_of_form_and_sense_are_found_in_one_look_and_nothing_that_only_follows_from_them(tmp_path):
    keys = [(int(line.split(":")[0]), line.split(": ")[1]) for line in found(SIX, tmp_path)]
    assert keys == [
        (5, "tags[0].source"),
        (5, "tags[0].range"),
        (6, "tags[1].unitt"),
        (7, "tags[2].name"),
        (9, "alarms[0].tag"),
        (10, "alarms[1].limit"),
        (11, "windows.length_s"),
    ]


def test_an_item_that_cannot_be_read_is_not_missed_elsewhere(tmp_path):
    text = CONFIG.replace("name: history, kind: csv", "name: history, kind: cvs").replace("data_dir: data", "data_dir: data, idd: 1")
    keys = [line.split(": ")[1] for line in found(text, tmp_path)]
    assert keys == ["edge.idd", "sources[0]"]


def test_a_gmp_critical_tag_refuses_an_alarm_on_a_model_that_learns(tmp_path):
    text = CONFIG.replace("class: gmp,", "class: gmp_critical,").replace(
        "windows:", "  - {name: d, kind: limit, tag: press1/force.robust_z.z, limit: 5}\nwindows:"
    )
    (line,) = found(text, tmp_path)
    assert "advisory: true, or a static model, on a gmp_critical tag" in line
    static = text.replace('kind: robust_z, tags: ["press1/*"], window: 20', 'kind: ewma, tags: ["press1/*"], mu: 12, sigma: 1').replace(
        "robust_z.z", "ewma.z"
    )
    settings(tmp_path, static)


def test_tags_from_csv_name_their_own_file_and_line(tmp_path):
    (tmp_path / "tags.csv").write_text("name,source,unit,range_low,range_high\npress1/a,history,kN,0,40\npress1/b,history,kN,9,4\n")
    text = CONFIG.replace("tags:\n", "tags:\n  - csv: tags.csv\n", 1)
    (tmp_path / "agent.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_agent(tmp_path / "agent.yaml")
    (mistake,) = error.value.mistakes
    assert (Path(mistake.file).name, mistake.line, mistake.key) == ("tags.csv", 3, "tags[1].range")
    (tmp_path / "tags.csv").write_text("name,range_low\npress1/a,low\n")
    (tmp_path / "agent.yaml").write_text(text.replace("length_s: 10", "length_s: -10"))
    with pytest.raises(ConfigError) as error:
        load_agent(tmp_path / "agent.yaml")
    assert "tags.csv:2: range_low: expected a number, found 'low'" in str(error.value)
    assert "windows.length_s" in str(error.value)


def test_the_environment_beats_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PHARMEDGE_EDGE__ID", "e2")
    assert settings(tmp_path).edge.id == "e2"


def test_ids_stay_and_versions_count_up(tmp_path):
    before = start_of(settings(tmp_path), 1)
    after = start_of(settings(tmp_path, CONFIG.replace("unit: kN", "unit: N").replace("limit: 16", "limit: 17")), 2, before)
    old, new = ({t.name: t for t in s.tags} for s in (before, after))
    assert {n: t.id for n, t in old.items()} == {n: t.id for n, t in new.items()}
    assert (old["press1/force"].version, new["press1/force"].version, new["press1/speed"].version) == (1, 2, 1)
    assert {a.name: a.version for a in after.alarms}["press1/force.high"] == 2
    assert start_of(settings(tmp_path), 1).config_hash == before.config_hash != after.config_hash


def test_definitions_that_are_as_before_are_those_of_before(tmp_path):
    before = decode(encode(start_of(settings(tmp_path), 1)))
    after = start_of(settings(tmp_path, CONFIG.replace("limit: 16", "limit: 17")), 2, before)
    assert all(new is old for new, old in zip(after.tags, before.tags, strict=True))
    assert [new.name for new, old in zip(after.alarms, before.alarms, strict=True) if new is not old] == ["press1/force.high"]


def test_words_that_thousands_of_diagnostics_have_in_common_are_kept_once(tmp_path):
    read = decode(encode(start_of(settings(tmp_path), 1)))
    mine = [a for a in read.alarms if a.kind == "bad_quality"]
    assert len(mine) > 1
    assert len({(id(a.cause), id(a.response), id(a.consequence), id(a.check), id(a.phase_limits)) for a in mine}) == 1


def test_every_limit_brings_diagnostics_of_its_priority(tmp_path):
    alarms = {a.name: a for a in start_of(settings(tmp_path), 1).alarms}
    assert (alarms["press1/force.stale"].priority, alarms["press1/force.stale"].advisory) == (2, False)
    assert (alarms["press1/speed.bad_quality"].priority, alarms["press1/speed.bad_quality"].advisory) == (4, True)
    assert alarms["source/history.disconnected"].priority == 2


def test_a_tag_may_not_have_the_name_of_a_derived_one(tmp_path):
    text = CONFIG.replace("models:", "  - {name: press1/force.robust_z.z, source: history}\nmodels:")
    assert any("a name that no model gives to a derived tag" in line for line in found(text, tmp_path))


def test_a_time_zone_that_does_not_exist_is_refused(tmp_path):
    (line,) = found(CONFIG.replace("data_dir: data", "data_dir: data, timezone: Mars/Olympus"), tmp_path)
    assert "expected an IANA time zone such as Asia/Shanghai, found 'Mars/Olympus'" in line


def test_a_budget_is_shared_by_its_tags_and_calls_nobody(tmp_path):
    text = CONFIG.replace("window: 20}", 'window: 20}\n  - {kind: budget, name: desk, tags: ["press1/*.robust_z.z"], per_day: 2}')
    start = start_of(settings(tmp_path, text), 0)
    made = [a for a in start.alarms if a.group == "budget/desk"]
    assert [(a.tag, a.advisory, a.limit, a.when_not_first) for a in made] == [
        (f"press1/{name}.robust_z.z.budget.finding", True, 0.5, "suppress") for name in ("force", "speed")
    ]
    assert [j["config"]["among"] for j in start.config["judgements"] if j["kind"] == "budget"] == [2, 2]
    own = text.replace("windows:", "  - {name: mine, kind: limit, tag: press1/speed.robust_z.z.budget.finding, limit: 0.5, advisory: true}\nwindows:")
    assert [a.tag for a in start_of(settings(tmp_path, own), 0).alarms if a.group == "budget/desk"] == [made[0].tag]


def test_no_limit_of_a_safety_or_gmp_tag_takes_its_threshold_from_a_budget(tmp_path):
    text = CONFIG.replace("window: 20}", 'window: 20}\n  - {kind: budget, tags: ["press1/*.robust_z.z"], per_month: 2}').replace(
        "windows:", "  - {name: d, kind: limit, tag: press1/force.robust_z.z.budget.finding, limit: 0.5}\nwindows:"
    )
    (line,) = found(text, tmp_path)
    assert "alarms[1].advisory: expected advisory: true: no limit of a safety or GMP tag takes its threshold from a budget" in line
    settings(tmp_path, text.replace("limit: 0.5}", "limit: 0.5, advisory: true}"))
    assert "either per_day or per_month" in " ".join(found(text.replace("per_month: 2", "per_month: 2, per_day: 1"), tmp_path))
