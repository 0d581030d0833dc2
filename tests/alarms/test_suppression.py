"""Suppressions, consequences, re-alarm and floods; a random life in which nothing is lost and nothing is acknowledged by mistake."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from edge_agent.alarms import AlarmRules, Alarms
from edge_agent.alarms.kernels import NEVER
from edge_agent.core import AlarmDefinition, AlarmEvent, Catalogue, OperatorAction, Samples, ShelveRule, Tag, decode, encode, pack, unpack
from edge_agent.core.alarm import ANNUNCIATED
from tests.alarms.plant import CATALOGUE, DOOR, FORCE, QUIET, TEMPERATURE, S, feed, limit, ns

NAME = "press1/main_force.high"


def asked(
    a: Alarms, kind: Any, raised_ns: int = 0, *, alarm: str = NAME, at: float = 50.0, role: str = "operator", reason: str = "work", **more: Any
) -> AlarmEvent:
    """What the first event says that answers an action."""
    said: dict[str, Any] = {"kind": kind, "raised_ns": raised_ns, "alarm": alarm, "role": role, "reason": reason, **more}
    return a.act(OperatorAction(id=f"{at} {said}", user="li", time_ns=ns(at), **said), ns(at))[0]


def shown(a: Alarms) -> dict[str, str]:
    return {row.alarm: row.state for row in a.standing()}


def told(events: list[AlarmEvent]) -> list[tuple[str, str, str, str]]:
    return [(e.event, e.state_from, e.state_to, e.overlay) for e in events]


class TestShelving:
    def test_a_standing_alarm_is_called_anew_when_the_time_is_up(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        asked(a, "acknowledge", raised, at=40)
        event = asked(a, "shelve", raised, duration_s=600.0)
        assert told([event]) == [("suppress", "ACKED", "SHLVD", "shelved")]
        assert (event.until_ns, event.raised_ns, event.user) == (ns(650), raised, "li")
        assert asked(a, "acknowledge", raised, at=60).reason == "it is suppressed (SHLVD)"
        row = a.standing()[0]
        assert (row.until_ns, row.met, row.why) == (ns(650), True, "work")
        assert a.due_ns == ns(650)
        events = a.tick(ns(650))
        assert told(events) == [("unsuppress", "SHLVD", "UNACK", "shelved")]
        assert events[0].raised_ns == raised
        assert asked(a, "acknowledge", raised, at=700).state_to == "ACKED"

    def test_what_was_over_meanwhile_is_normal(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        asked(a, "shelve", raised)
        assert told(feed(a, FORCE, [12], at=[60])) == [("clear", "SHLVD", "SHLVD", "")]
        assert told(a.tick(ns(50 + 3600))) == [("unsuppress", "SHLVD", "NORM", "shelved")]
        assert shown(a) == {}

    def test_logging_goes_on_underneath(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        listed = asked(a, "shelve", duration_s=60.0)
        assert (*told([listed])[0], listed.raised_ns) == ("suppress", "NORM", "SHLVD", "shelved", ns(50))
        events = feed(a, FORCE, [13], at=[60])
        assert told(events) == [("clear", "SHLVD", "NORM", ""), ("raise", "SHLVD", "SHLVD", "")]
        assert [e.raised_ns for e in events] == [ns(50), ns(60)]
        assert told(a.tick(ns(110))) == [("unsuppress", "SHLVD", "UNACK", "shelved")]

    def test_one_shot_ends_with_the_condition(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        asked(a, "shelve", raised, one_shot=True)
        assert told(feed(a, FORCE, [12], at=[60])) == [("clear", "SHLVD", "SHLVD", ""), ("unsuppress", "SHLVD", "NORM", "shelved")]
        assert a.due_ns == NEVER

    def test_unshelve(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        asked(a, "shelve", raised)
        assert asked(a, "shelve", raised, at=51).reason == "already shelved"
        event = asked(a, "unshelve", raised, at=52)
        assert (*told([event])[0], event.reason) == ("unsuppress", "SHLVD", "UNACK", "shelved", "work")

    def test_nobody_shelves_what_was_not_on_the_screen(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        feed(a, FORCE, [13])
        assert asked(a, "shelve", 0).reason == "the alarm was raised meanwhile"
        assert asked(a, "shelve", 5).reason.startswith("this occurrence is over")

    @pytest.mark.parametrize("kind", ["shelve", "out_of_service"])
    def test_a_wish_that_was_long_on_its_way_is_refused(self, kind: Any) -> None:
        a = Alarms([limit()], CATALOGUE)
        said: dict[str, Any] = {"kind": kind, "alarm": NAME, "raised_ns": 0, "user": "li", "reason": "work", "permit": "P-7"}
        role = "operator" if kind == "shelve" else "maintenance"
        late = OperatorAction(id="late", role=role, time_ns=ns(50), **said)
        (event,) = a.act(late, ns(651))
        assert (event.event, event.reason) == ("refuse", "asked too long ago")
        assert a.act(OperatorAction(id="soon", role=role, time_ns=ns(651), **said), ns(1251))[0].event == "suppress"

    def test_it_survives_a_restart_and_ends_in_time(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        asked(a, "shelve", feed(a, FORCE, [13])[0].raised_ns, duration_s=60.0)
        again = Alarms([limit()], CATALOGUE)
        again.restore(unpack(pack(a.state())))
        assert again.standing() == a.standing()
        assert told(again.tick(ns(9000))) == [("unsuppress", "SHLVD", "UNACK", "shelved")]

    def test_a_changed_definition_is_not_shelved(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        asked(a, "shelve", feed(a, FORCE, [13])[0].raised_ns)
        again = Alarms([limit(version=2)], CATALOGUE)
        again.restore(unpack(pack(a.state())))
        assert told(again.tick(ns(60))) == [("clear", "SHLVD", "NORM", "")]


class TestWhoMay:
    CRITICAL = Catalogue([Tag(id=0, name="press1/main_force", class_="gmp_critical")])

    @pytest.mark.parametrize(
        ("priority", "critical", "role", "more", "reason"),
        [
            (3, False, "operator", {}, ""),
            (3, False, "operator", {"duration_s": 3600.1}, "shelving this alarm ends after 60 min at the latest"),
            (3, False, "operator", {"duration_s": float("nan")}, "shelving this alarm ends after 60 min at the latest"),
            (3, False, "operator", {"duration_s": 0.0}, "shelving this alarm ends after 60 min at the latest"),
            (3, False, "operator", {"reason": " "}, "shelving needs a reason"),
            (3, False, "viewer", {}, "the role viewer may only watch"),
            (3, False, "", {}, "shelving this alarm is for operator or shift_lead or engineer, not for the role of nobody"),
            (2, False, "operator", {}, "shelving this alarm is for shift_lead or engineer, not for the role operator"),
            (2, False, "shift_lead", {}, ""),
            (1, False, "shift_lead", {}, "nobody may shelve this alarm alone"),
            (1, False, "shift_lead", {"second_user": "li", "second_role": "quality"}, "nobody may shelve this alarm alone"),
            (1, False, "shift_lead", {"second_user": " Li", "second_role": "quality"}, "nobody may shelve this alarm alone"),
            (1, False, "shift_lead", {"second_user": "wu", "second_role": "operator"}, "nobody may shelve this alarm alone"),
            (1, False, "shift_lead", {"second_user": "wu", "second_role": "quality"}, ""),
            (4, True, "engineer", {}, "nobody may shelve this alarm alone"),
            (4, True, "engineer", {"second_user": "wu", "second_role": "shift_lead"}, ""),
        ],
    )
    def test_shelve(self, *, priority: int, critical: bool, role: str, more: dict[str, Any], reason: str) -> None:
        a = Alarms([limit(priority=priority)], self.CRITICAL if critical else CATALOGUE)
        event = asked(a, "shelve", role=role, **more)
        assert event.event == ("refuse" if reason else "suppress")
        assert event.reason.startswith(reason or "work")
        assert (event.second_user, event.second_role) == (more.get("second_user", ""), more.get("second_role", ""))

    def test_the_rules_are_configured(self) -> None:
        a = Alarms([limit()], CATALOGUE, AlarmRules(shelve=(ShelveRule(roles=("viewer",), max_s=5.0),), watching=("operator",)))
        assert asked(a, "acknowledge").reason == "the role operator may only watch"
        assert asked(a, "shelve", role="viewer").until_ns == ns(55)
        assert asked(Alarms([limit()], CATALOGUE, AlarmRules(shelve=())), "shelve").reason == "nobody may shelve this alarm"

    def test_out_of_service_needs_a_permit(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        assert "is for maintenance or engineer" in asked(a, "out_of_service", raised, permit="P-7").reason
        assert asked(a, "out_of_service", raised, role="maintenance").reason == "out_of_service needs the number of a work permit"
        event = asked(a, "out_of_service", raised, role="maintenance", permit="P-7")
        assert (*told([event])[0], event.permit) == ("suppress", "UNACK", "OOSRV", "out_of_service", "P-7")
        asked(a, "shelve", raised, at=51)
        assert a.standing()[0].permit == "P-7"
        assert shown(a) == {NAME: "OOSRV"}
        assert told([asked(a, "in_service", raised, role="maintenance", at=52)]) == [("unsuppress", "OOSRV", "SHLVD", "out_of_service")]
        assert asked(a, "in_service", raised, role="maintenance", at=53).reason == "it is not out of service"

    def test_comment(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        assert asked(a, "comment", raised, reason="").reason == "a comment needs its words"
        event = asked(a, "comment", raised)
        assert (event.event, event.state_to, event.reason) == ("comment", "UNACK", "work")


class TestDesigned:
    def test_modes(self) -> None:
        a = Alarms([limit(suppress_modes=("cleaning",)), limit(DOOR, 5.0)], CATALOGUE)
        feed(a, FORCE, [13])
        assert told(a.context("press1", "mode", " Cleaning", ns(5), ns(5))) == [("suppress", "UNACK", "DSUPR", "designed")]
        again = Alarms([limit(suppress_modes=("cleaning",)), limit(DOOR, 5.0)], CATALOGUE)
        again.restore(unpack(pack(a.state())))
        assert again.due_ns == NEVER
        assert told(again.context("press1", "mode", "production", ns(6), ns(6))) == [("unsuppress", "DSUPR", "UNACK", "designed")]

    def test_a_new_definition_finds_the_mode(self) -> None:
        a = Alarms([limit()], CATALOGUE)
        assert a.context("press1", "mode", "cleaning", ns(5), ns(5)) == []
        again = Alarms([limit(suppress_modes=("cleaning",), version=2)], CATALOGUE)
        again.restore(unpack(pack(a.state())))
        assert told(again.tick(ns(6))) == [("suppress", "NORM", "DSUPR", "designed")]

    def test_a_consequence_is_called_when_its_cause_is_gone(self) -> None:
        a = Alarms([limit(), limit(DOOR, 5.0, name="door", suppressed_by=(NAME,))], CATALOGUE)
        raised = feed(a, FORCE, [13])[0].raised_ns
        events = feed(a, DOOR, [6], at=[3])
        assert told(events) == [("suppress", "NORM", "DSUPR", "designed"), ("raise", "DSUPR", "DSUPR", "")]
        assert {e.raised_ns for e in events} == {ns(3)}
        assert events[0].explanation == f"consequence of {NAME}"
        assert shown(a) == {NAME: "UNACK", "door": "DSUPR"}
        # A cause that nobody sees explains nothing.
        shelve = OperatorAction(id="s", kind="shelve", alarm=NAME, raised_ns=raised, user="li", role="operator", reason="x", time_ns=ns(9))
        events = a.act(shelve, ns(9))
        assert [(e.alarm, *told([e])[0]) for e in events] == [
            (NAME, "suppress", "UNACK", "SHLVD", "shelved"),
            ("door", "unsuppress", "DSUPR", "UNACK", "designed"),
        ]

    def test_what_stood_before_its_cause_is_suppressed_too(self) -> None:
        a = Alarms([limit(), limit(DOOR, 5.0, name="door", suppressed_by=(NAME,))], CATALOGUE)
        feed(a, DOOR, [6])
        events = feed(a, FORCE, [13], at=[2])
        assert [(e.alarm, e.event) for e in events] == [(NAME, "raise"), ("door", "suppress")]
        again = Alarms([limit(version=2), limit(DOOR, 5.0, name="door", suppressed_by=(NAME,))], CATALOGUE)
        again.restore(unpack(pack(a.state())))
        assert [(e.alarm, e.event, e.state_to) for e in again.tick(ns(9))] == [(NAME, "clear", "NORM"), ("door", "unsuppress", "UNACK")]

    def test_first_out(self) -> None:
        rule = ["announce", "announce", "suppress", "", "suppress"]
        trip = [limit(k, 5.0, name=f"trip{k}", group="trip", when_not_first=rule[k]) for k in (FORCE, DOOR, TEMPERATURE, QUIET)]
        a = Alarms(trip, CATALOGUE)
        events = [e for tag in (DOOR, FORCE, TEMPERATURE) for e in feed(a, tag, [6])]
        assert [(e.alarm, e.event, e.group, e.first_out) for e in events] == [
            ("trip1", "raise", "trip", True),
            ("trip0", "raise", "trip", False),
            ("trip2", "suppress", "", False),
            ("trip2", "raise", "trip", False),
        ]
        assert shown(a) == {"trip1": "UNACK", "trip0": "UNACK", "trip2": "DSUPR"}
        events = [e for tag in (DOOR, FORCE, TEMPERATURE) for e in feed(a, tag, [4], at=[5])]
        assert [(e.alarm, e.event) for e in events] == [("trip1", "clear"), ("trip2", "unsuppress"), ("trip0", "clear"), ("trip2", "clear")]
        assert feed(a, QUIET, [6], at=[9])[0].first_out

    def test_a_cause_is_not_a_consequence(self) -> None:
        for wrong in ("nothing", "door"):
            with pytest.raises(ValueError, match="suppressed_by: expected"):
                Alarms([limit(suppressed_by=(wrong,)), limit(DOOR, 5.0, name="door", suppressed_by=(NAME,))], CATALOGUE)


def test_an_acknowledged_alarm_is_called_again() -> None:
    a = Alarms([limit(re_alarm_s=900.0)], CATALOGUE)
    raised = feed(a, FORCE, [13])[0].raised_ns
    asked(a, "acknowledge", raised)
    assert a.due_ns == ns(950)
    assert told(a.tick(ns(950))) == [("re_alarm", "ACKED", "UNACK", "")]
    asked(a, "acknowledge", raised, at=960)
    feed(a, FORCE, [12], at=[970])
    assert a.due_ns == NEVER


def test_a_flood_begins_with_ten_calls_in_ten_minutes_and_ends_below_five() -> None:
    flood = AlarmDefinition(name="edge/flood", tag="", kind="diagnostic", priority=4, advisory=True)
    a = Alarms([*(limit(FORCE, 5.0, name=f"a{k}") for k in range(9)), limit(DOOR, 5.0, name="last"), flood], CATALOGUE)
    feed(a, FORCE, [6], at=[0], received=0)
    assert [e.alarm for e in feed(a, DOOR, [6], at=[599], received=600)] == ["last"]  # the nine are 600 s old
    feed(a, FORCE, [4, 6], at=[700, 701], received=701)
    assert "edge/flood" in shown(a)
    row = next(r for r in a.standing() if r.alarm == "edge/flood")
    assert (row.explanation, row.value) == ("10 alarms in 10 min, first last", 10.0)
    assert a.due_ns == ns(701 + 600)
    event = a.tick(ns(1301))[-1]
    assert (event.alarm, event.event, event.explanation) == ("edge/flood", "clear", "over: 10 alarms, the first was last")


def test_new_words_of_an_event_travel() -> None:
    event = AlarmEvent(
        alarm="a", tag="t", raised_ns=1, time_ns=2, received_ns=3, event="suppress", state_from="NORM", state_to="SHLVD", priority=3,
        overlay="shelved", until_ns=9, one_shot=True, permit="P", second_user="wu", second_role="quality", group="g", first_out=True,
    )  # fmt: skip
    assert decode(encode(event)) == event


DEFINITIONS = (
    limit(DOOR, 10.0, name="door", on=0.5, group="trip", re_alarm_s=3.0),
    limit(FORCE, 10.0, name="force", group="trip", when_not_first="suppress", suppress_modes=("cleaning",)),
    limit(TEMPERATURE, 10.0, name="latched", latching=True, suppressed_by=("door",)),
    AlarmDefinition(name="edge/flood", tag="", kind="diagnostic", priority=4, advisory=True),
)
RULES = AlarmRules(shelve=(ShelveRule(roles=("operator",), max_s=4.0),), out_of_service=("operator",), flood_start=3, flood_end=2, flood_span_s=4.0)
STATES = {"NORM", "UNACK", "ACKED", "RTNUN", "LATUN", "LATACK", "SHLVD", "DSUPR", "OOSRV"}
KINDS = ["acknowledge", "acknowledge", "reset", "shelve", "unshelve", "out_of_service", "in_service", "comment"]


class Life(RuleBasedStateMachine):
    """Whatever values, modes, people, clocks and power do: what stands is what the events told, and people act only on what they name."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms = Alarms(DEFINITIONS, CATALOGUE, RULES)
        self.now = 0
        self.asked = 0
        self.told: dict[tuple[str, int], str] = {}

    def take(self, events: list[AlarmEvent]) -> None:
        for e in events:
            assert {e.state_from, e.state_to} <= STATES
            key = e.alarm, e.raised_ns
            if e.event == "refuse":
                assert e.state_from == e.state_to == self.told.get(key, "NORM")
                continue
            if e.event == "raise":
                assert all(k[1] < e.raised_ns for k in self.told if k[0] == e.alarm and k != key), "a raise time is never used twice"
            else:
                assert self.told.get(key, "NORM") == e.state_from
            assert (e.overlay != "") == (e.event in ("suppress", "unsuppress"))
            self.told[key] = e.state_to

    @rule(tag=st.sampled_from([DOOR, FORCE, TEMPERATURE]), v=st.sampled_from([9.0, 11.0]), usable=st.sampled_from([1, 1, 1, 0]),
          passed=st.integers(0, 4), ahead=st.integers(-3, 3))  # fmt: skip
    def value(self, tag: int, v: float, usable: int, passed: int, ahead: int) -> None:
        self.now += passed * S // 4
        samples = Samples.of([self.now + ahead * S], [tag], [v], 0, self.now)
        self.take([e for _, e in self.alarms.step(samples, np.array([usable], np.uint8))])

    @rule(passed=st.integers(0, 12))
    def tick(self, passed: int) -> None:
        self.now += passed * S // 4
        due = self.alarms.due_ns
        events = self.alarms.tick(self.now)
        assert not events or due <= self.now
        assert self.alarms.due_ns > self.now
        self.take(events)

    @rule(mode=st.sampled_from(["cleaning", "production"]))
    def mode(self, mode: str) -> None:
        self.take(self.alarms.context("press1", "mode", mode, self.now, self.now))

    @rule(kind=st.sampled_from(KINDS), alarm=st.sampled_from(["door", "force", "latched"]))
    def act_unseen(self, kind: str, alarm: str) -> None:
        self.do(kind, alarm, 0)

    @precondition(lambda self: self.told)
    @rule(kind=st.sampled_from(KINDS), data=st.data())
    def act(self, kind: str, data: st.DataObject) -> None:
        self.do(kind, *data.draw(st.sampled_from(sorted(self.told))))

    def do(self, kind: Any, alarm: str, raised_ns: int) -> None:
        self.asked += 1
        before = dict(self.told)
        action = OperatorAction(
            id=str(self.asked), kind=kind, alarm=alarm, raised_ns=raised_ns, user="li", role="operator", reason="r", permit="P", time_ns=self.now,
            one_shot=self.asked % 2 == 0,
        )  # fmt: skip
        events = self.alarms.act(action, self.now)
        assert [e.action_id for e in events if e.action_id] == [action.id]
        assert self.alarms.act(action, self.now) == []
        self.take(events)
        if kind == "acknowledge":
            changed = {k for k in self.told if self.told[k] != before.get(k)}
            assert changed <= {(alarm, raised_ns)}
            if changed:
                assert before[alarm, raised_ns] in ANNUNCIATED | {"RTNUN"}

    @rule()
    def restart(self) -> None:
        saved = self.alarms.state()
        self.alarms = Alarms(DEFINITIONS, CATALOGUE, RULES)
        self.alarms.restore(unpack(pack(saved)))
        assert pack(self.alarms.state()) == pack(saved)

    @invariant()
    def what_stands_is_what_was_told(self) -> None:
        told = {key: state for key, state in self.told.items() if state != "NORM"}
        rows = self.alarms.standing()
        assert {(row.alarm, row.raised_ns): row.state for row in rows} == told
        assert len({row.alarm for row in rows}) == len(rows)
        for row in rows:
            assert (row.suppression == 0) == (row.state in {"UNACK", "ACKED", "RTNUN", "LATUN", "LATACK"})
            assert (row.until_ns is not None) == bool(row.suppression & 1), "shelving is always finite"


def test_a_random_life() -> None:
    run_state_machine_as_test(Life, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
