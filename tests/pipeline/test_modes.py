"""A unit's mode set by a person: with reason and end, above what tags say, refused otherwise, over at a tick, the same after any death."""

from __future__ import annotations

from typing import Any

import pytest

from edge_agent.core import Action, Audit, Context, OperatorAction, Tag, Texts, UnitMode, pack, unpack
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.modes import ModeRules, Word
from tests.pipeline.line import FORCE, MODE, T0, S, alarms, reborn, run, start, values
from tests.pipeline.test_chain import begun, idle

HIGH = "press1/force.high"


def asked(id_: str, second: float, mode: str = "cleaning", until_s: float | None = 60, **other: Any) -> Action:
    """A person asks at a second for a mode until another."""
    at = T0 + round(second * S)
    until = None if until_s is None else T0 + round(until_s * S)
    unit = other.pop("unit", "press1")
    fields = {"kind": "set_mode", "user": "li", "role": "shift_lead", "reason": "CIP", "station": "panel-1"} | other
    wanted = UnitMode(unit=unit, mode=mode, until_ns=until)
    return Action(received_ns=at, action=OperatorAction(id=id_, alarm="", raised_ns=0, time_ns=at, unit_mode=wanted, **fields))


def said(second: float, mode: str) -> Texts:
    at = T0 + round(second * S)
    return Texts((at,), (MODE,), (mode,), (0,), at)


def told(records: list[Any]) -> list[tuple[str, str]]:
    return [(r.unit, r.value) for r in records if isinstance(r, Context) and r.role == "mode"]


def audits(records: list[Any]) -> list[Audit]:
    return [r for r in records if isinstance(r, Audit) and r.action.startswith("unit_mode")]


def test_a_mode_is_set_withdrawn_and_written_down_with_who_why_and_until_when() -> None:
    p = begun()
    found = run(p, [asked("a", 1)])
    (entry,) = audits(found)
    assert (entry.action, entry.action_id, entry.object, entry.old, entry.new) == (
        "unit_mode", "a", "press1", "production", "cleaning until 2025-10-09T08:54:20Z"
    )  # fmt: skip
    assert (entry.user, entry.role, entry.station, entry.reason) == ("li", "shift_lead", "panel-1", "CIP")
    (change,) = [r for r in found if isinstance(r, Context)]
    assert (change.value, change.user, change.reason, change.until_ns) == ("cleaning", "li", "CIP", T0 + 60 * S)
    assert alarms(run(p, [values(t, 39.0) for t in (2, 3, 4, 5)])) == []
    assert run(p, [asked("a", 6)]) == [], "the same action again"
    found = run(p, [asked("b", 6, kind="withdraw_mode", mode="", until_s=None)])
    assert [(a.action, a.action_id, a.old, a.new) for a in audits(found)] == [("unit_mode_withdrawn", "b", "cleaning", "production")]
    assert told(found) == [("press1", "production")]
    assert (HIGH, "raise") in alarms(run(p, [values(t, 39.0) for t in (7, 8, 9, 10)]))


def test_it_ends_at_a_tick_also_when_the_agent_was_down_meanwhile() -> None:
    p = begun()
    run(p, [asked("a", 1, until_s=60.05)])
    p = reborn(p)
    assert p.due_ns <= T0 + 60 * S + S // 10
    assert told(run(p, [idle(60)])) == []
    found = run(p, [idle(60.2)])
    assert told(found) == [("press1", "production")]
    assert [(a.action, a.user, a.reason) for a in audits(found)] == [("unit_mode_ended", "pharmedge", "the time is up; set by li: CIP")]
    assert [r.time_ns for r in found if isinstance(r, Context)] == [T0 + 60 * S + S // 10]
    run(p, [asked("b", 70, until_s=100)])
    assert told(run(reborn(p), [start(T0 + 500 * S, models=())])) == [("press1", "production")]


def test_a_person_s_word_holds_over_the_tag_s_and_the_tag_s_holds_again_afterwards() -> None:
    p = begun()
    assert told(run(p, [said(1, "calibration")])) == [("press1", "calibration")]
    assert told(run(p, [asked("a", 2, mode="maintenance")])) == [("press1", "maintenance")]
    assert told(run(p, [said(3, "production"), said(4, "cleaning")])) == []
    assert told(run(p, [asked("b", 5, mode="production", until_s=50)])) == [("press1", "production")]
    assert told(run(p, [idle(51)])) == [("press1", "cleaning")], "the later word replaced the earlier one"


def test_the_word_about_a_whole_line_reaches_its_parts_and_each_comes_back_to_its_own() -> None:
    begin = start(models=())
    parts = [Tag(id=len(begin.tags) + i, name=f"line/{n}/mode", kind="text", role="mode") for i, n in enumerate(("a", "b"))]
    forces = [Tag(id=len(begin.tags) + 2 + i, name=f"line/{n}/force") for i, n in enumerate(("a", "b"))]
    p = Pipeline()
    run(p, [type(begin)(**{f: getattr(begin, f) for f in begin.__struct_fields__} | {"tags": (*begin.tags, *parts, *forces)})])
    at = T0 + S
    run(p, [Texts((at, at), (parts[0].id, parts[1].id), ("production", "cleaning"), (0, 0), at)])
    assert told(run(p, [asked("a", 2, unit="line")])) == [("line", "cleaning"), ("line/a", "cleaning")]
    assert told(run(p, [asked("b", 3, unit="line/b", mode="calibration", until_s=300)])) == [("line/b", "calibration")]
    assert told(run(reborn(p), [idle(61)])) == [("line", "production"), ("line/a", "production")]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"user": " "}, "the name of a user"),
        ({"role": "operator"}, "shift_lead or maintenance"),
        ({"role": ""}, "of nobody"),
        ({"unit": "press"}, "no unit of this name"),
        ({"unit": ""}, "no unit of this name"),
        ({"mode": "holiday"}, "expected a mode of production"),
        ({"reason": ""}, "a reason"),
        ({"until_s": None}, "an end"),
        ({"until_s": 1}, "over already"),
        ({"until_s": 3 + 43_200.1}, "ends after 720 min"),
        ({"kind": "withdraw_mode"}, "nobody has set"),
    ],
)
def test_what_is_refused_changes_nothing_and_says_why(change: dict[str, Any], why: str) -> None:
    p = begun()
    found = run(p, [asked("a", 3, **change)])
    assert told(found) == []
    (entry,) = audits(found)
    assert (entry.action, entry.action_id) == ("unit_mode_refused", "a")
    assert why in entry.reason


def test_safety_tags_are_judged_in_every_mode() -> None:
    begin = start(models=())
    tags = tuple(Tag(**{f: getattr(t, f) for f in t.__struct_fields__} | {"class_": "safety"}) if t.id == FORCE else t for t in begin.tags)
    p = Pipeline()
    run(p, [type(begin)(**{f: getattr(begin, f) for f in begin.__struct_fields__} | {"tags": tags}), asked("a", 1)])
    assert (HIGH, "raise") in alarms(run(p, [values(t, 39.0) for t in (2, 3, 4, 5)]))


def test_an_alarm_that_stands_says_that_it_is_held() -> None:
    p = begun()
    run(p, [values(t, 17.0) for t in (1, 2, 3, 4)])
    assert [(s.alarm, s.held) for s in p.alarms.standing() if s.alarm == HIGH] == [(HIGH, "")]
    run(p, [asked("a", 5)])
    p = reborn(p)
    run(p, [values(t, 12.0) for t in (6, 7, 8)])
    assert [(s.state, s.held) for s in p.alarms.standing() if s.alarm == HIGH] == [("UNACK", "cleaning")]
    found = run(p, [idle(61)])
    assert alarms(found)[:1] != [(HIGH, "raise")]
    assert (HIGH, "clear") in alarms(run(p, [values(t, 12.0) for t in (62, 63, 64)]))


def test_the_rules_say_who_and_how_long() -> None:
    p = Pipeline()
    run(p, [start(models=(), mode_rules=ModeRules(roles=("operator",), longest_s=30))])
    assert [a.action for a in audits(run(p, [asked("a", 1, role="operator", until_s=31.5)]))] == ["unit_mode_refused"]
    assert [a.action for a in audits(run(p, [asked("b", 2, role="operator", until_s=31.5)]))] == ["unit_mode"]


def test_a_death_after_any_entry_changes_nothing() -> None:
    story = [
        said(1, "production"), asked("a", 2), values(3, 17.0), said(4, "calibration"), asked("b", 5, mode="maintenance", until_s=9),
        values(8, 18.0), idle(10), asked("b", 10, mode="maintenance", until_s=9), values(11, 17.0), values(14, 17.0), idle(70),
    ]  # fmt: skip
    whole, parts = begun(), begun()
    expected = run(whole, story)
    found = []
    for entry in story:
        parts = reborn(parts)
        found += parts.step(entry)
    assert [r for r in found if isinstance(r, Context | Audit)] == [r for r in expected if isinstance(r, Context | Audit)]
    assert alarms(found) == alarms(expected)
    assert pack(parts.state()) == pack(whole.state())
    assert Word.__struct_fields__ == ("mode", "until_ns", "user", "reason", "since_ns")


def test_modes_of_a_checkpoint_of_an_earlier_version_are_kept() -> None:
    p = begun()
    run(p, [said(1, "cleaning")])
    state = unpack(pack(p.state()))
    del state["modes"]
    q = Pipeline()
    q.restore(state)
    assert told(run(q, [said(5, "cleaning")])) == []
    assert (HIGH, "raise") not in alarms(run(q, [values(t, 39.0) for t in (6, 7, 8, 9)]))
    assert told(run(q, [said(10, "production")])) == [("press1", "production")]
    assert (HIGH, "raise") in alarms(run(q, [values(t, 39.0) for t in (11, 12, 13, 14)]))
