"""The alarm database: from YAML and CSV into definitions, every mistake with its file and line."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edge_agent.alarms import AlarmRules, Alarms
from edge_agent.config import load_agent, start_of
from edge_agent.config.alarms import AlarmRulesSection
from edge_agent.core import AlarmDefinition, Catalogue, ConfigError, decode, encode
from edge_agent.pipeline.plan import plan_of

HEAD = """\
edge: {site: demo, id: e1}
tags:
  - {name: press1/force, range: [0, 40], unit: kN, report: {kind: periodic, expected_s: 1}}
  - {name: press1/guard, range: [0, 3]}
  - {name: press1/batch, kind: text}
"""
CSV = """\
name,kind,tag,side,limit,state,expression,deadband,on_delay_s,priority,suppressed_by,suppress_modes,phase_limits,re_alarm_s,cause_en,cause_zh,check_zh,respond_within_s,owner,approval,last_review
f.high,limit,press1/force,high,16,,,0.4,2,2,,cleaning; maintenance,start=20; idle=none,900,Granules,颗粒过硬,查看冲头,300,process,CC-12,2026-03-01
guard,discrete,press1/guard,,,1,,,,3,f.high,,,,,,,,,,
both,expression,press1/force,,,,'press1/force' > 5 and 'press1/guard' == 1,,,4,,,,,,,,,,,
"""


def definitions(folder: Path, text: str) -> dict[str, AlarmDefinition]:
    path = folder / "agent.yaml"
    path.write_text(HEAD + text, "utf-8")
    return {a.name: a for a in start_of(load_agent(path), 1).alarms}


def mistakes(folder: Path, text: str) -> list[str]:
    path = folder / "agent.yaml"
    path.write_text(HEAD + text, "utf-8")
    with pytest.raises(ConfigError) as error:
        load_agent(path)
    return [f"{Path(m.file).name}:{m.line}: {m.key}: expected {m.expected}, found {m.found}" for m in error.value.mistakes]


def test_a_database_from_csv(tmp_path: Path) -> None:
    (tmp_path / "alarms.csv").write_text(CSV, "utf-8-sig")
    found = definitions(tmp_path, "alarms:\n  - csv: alarms.csv\n")
    high = found["f.high"]
    assert (high.limit, high.deadband, high.on_delay_s, high.priority, high.unit) == (16.0, 0.4, 2.0, 2, "kN")
    assert (high.suppress_modes, high.phase_limits, high.re_alarm_s) == (("cleaning", "maintenance"), {"start": 20.0, "idle": None}, 900.0)
    assert (high.cause, high.check, high.respond_within_s) == ({"en": "Granules", "zh": "颗粒过硬"}, {"zh": "查看冲头"}, 300.0)
    assert (high.owner, high.approval, high.last_review) == ("process", "CC-12", "2026-03-01")
    assert (found["guard"].limit, found["guard"].when, found["guard"].suppressed_by) == (1.0, "equals", ("f.high",))
    assert found["both"].expression == "'press1/force' > 5 and 'press1/guard' == 1"
    assert (found["edge/flood"].advisory, found["edge/flood"].cause["en"]) == (True, "Alarms come faster than people can act")
    start = start_of(load_agent(tmp_path / "agent.yaml"), 1)
    assert decode(encode(start)).alarms == start.alarms  # type: ignore[union-attr]
    Alarms(start.alarms, Catalogue(start.tags), plan_of(start).alarm_rules)


def test_every_mistake_names_its_file_and_line(tmp_path: Path) -> None:
    rows = CSV.splitlines()
    rows[1] = rows[1].replace("limit,press1/force,high,16,", "limit,press1/force,high,x,").replace("idle=none", "idle=none;idle=2")
    rows[2] = rows[2].replace("f.high", "f.low")
    rows[3] = rows[3].replace(" == 1", " = 1")
    (tmp_path / "alarms.csv").write_text("\n".join(rows) + "\nshort,limit\n", "utf-8")
    found = mistakes(tmp_path, "alarms:\n  - csv: alarms.csv\n  - csv: none.csv\nalarm_rules: {flood_end: 20}\n")
    assert [f.split(": expected")[0] for f in found if f.startswith("alarms.csv")] == [
        "alarms.csv:2: limit",
        "alarms.csv:2: phase_limits",
        "alarms.csv:2: alarms[0].limit",
        "alarms.csv:3: alarms[1].suppressed_by[0]",
        "alarms.csv:4: alarms[2].expression",
        "alarms.csv:5: (row)",
    ]
    assert "alarms.csv:4: alarms[2].expression: expected at 39: a tag, a number or an operator, found '='" in found
    assert any(f.startswith("none.csv:1: (file)") for f in found)
    assert any("alarm_rules.flood_end: expected at most flood_start, found 20" in f for f in found)


def test_a_header_is_checked(tmp_path: Path) -> None:
    (tmp_path / "alarms.csv").write_text("name,kind,tag,limt\n", "utf-8")
    assert mistakes(tmp_path, "alarms:\n  - csv: alarms.csv\n")[0].endswith("found limt")


@pytest.mark.parametrize(
    ("alarm", "expected"),
    [
        ("kind: limit, limit: 5, phase_limits: {p: 50}", "phase_limits.p: expected a limit within the tag's range [0.0, 40.0], found 50.0"),
        ("kind: discrete, state: 50", "state: expected a state within the tag's range [0.0, 40.0], found 50.0"),
        ("kind: expression, expression: 'press1/batch > 1'", "expression: expected measured numeric tags, found 'press1'"),
        ("kind: expression, expression: '1 +'", "expression: expected at 4: a tag, a number or (, found the end"),
        ("kind: limit, limit: 5, when_not_first: suppress", "when_not_first: expected a group beside it, found suppress without one"),
        ("kind: limit, limit: 5, suppressed_by: [a]", "suppressed_by[0]: expected the name of another configured alarm, found 'a'"),
        ("kind: limit, limit: 5, respond_within_s: 3600", "respond_within_s: expected at most 1800 s, or advisory: true, found 3600"),
        ("kind: limit, limit: 5, suppress_modes: [production]", "suppress_modes[0]: expected one of 'cleaning', 'maintenance'"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, alarm: str, expected: str) -> None:
    found = mistakes(tmp_path, f"alarms:\n  - {{name: a, tag: press1/force, {alarm}}}\n")
    assert any(f.startswith(f"agent.yaml:7: alarms[0].{expected}") for f in found), found


def test_the_default_rules_are_those_of_the_pipeline(tmp_path: Path) -> None:
    assert AlarmRulesSection().rules() == AlarmRules()
    path = tmp_path / "agent.yaml"
    path.write_text(HEAD + "alarm_rules: {watching: [guest], shelve: [{roles: [operator], max_s: 60}]}\n", "utf-8")
    rules = plan_of(start_of(load_agent(path), 1)).alarm_rules
    assert (rules.watching, rules.shelve[0].max_s, rules.flood_start) == (("guest",), 60.0, 10)
    assert msgspec.convert(msgspec.to_builtins(rules), AlarmRules) == rules


def test_shelving_is_never_longer_than_a_shift(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "alarm_rules: {shelve: [{roles: [operator], max_s: 50000}]}\n")
    assert any("max_s: expected a number at most 43200" in f for f in found), found
