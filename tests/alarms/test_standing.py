"""Standing alarms: occurrences, acknowledgement, conditions, restart."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edge_agent.alarms import LATCHING_TRANSITIONS, TRANSITIONS, Alarms
from edge_agent.alarms.kernels import NEVER
from edge_agent.core import AlarmDefinition, AlarmEvent, OperatorAction, Samples, pack, unpack
from tests.alarms.plant import CATALOGUE, DOOR, FORCE, S, action, alarms, brief, feed, limit, ns
from tests.alarms.test_detect import DEFINITIONS, entries, steps

NAME = "press1/main_force.high"


def states(a: Alarms) -> list[str]:
    return [row.state for row in a.standing()]


def restarted(a: Alarms, *definitions: AlarmDefinition) -> Alarms:
    again = alarms(*definitions)
    again.restore(unpack(pack(a.state())))
    return again


class TestLife:
    def test_raise_acknowledge_clear(self) -> None:
        a = alarms(limit())
        raised = feed(a, FORCE, [13])[0]
        assert states(a) == ["UNACK"]
        acked = action(a, NAME, raised.raised_ns)[0]
        assert (acked.event, acked.state_from, acked.state_to) == ("acknowledge", "UNACK", "ACKED")
        assert (acked.action_id, acked.user, acked.role, acked.station, acked.reason) == ("a1", "li", "operator", "hmi1", "seen")
        assert (acked.time_ns, acked.received_ns) == (ns(50), ns(50.5))
        assert a.standing()[0].acked_by == "li"
        assert a.standing()[0].unit == "kN"
        cleared = feed(a, FORCE, [12], at=[60])[0]
        assert (cleared.state_from, cleared.state_to) == ("ACKED", "NORM")
        assert states(a) == []

    def test_clear_before_the_acknowledgement(self) -> None:
        a = alarms(limit())
        raised = feed(a, FORCE, [13, 12])[0]
        assert states(a) == ["RTNUN"]
        acked = action(a, NAME, raised.raised_ns)[0]
        assert (acked.state_from, acked.state_to) == ("RTNUN", "NORM")
        assert states(a) == []

    def test_latching_stays_until_it_is_reset(self) -> None:
        a = alarms(limit(latching=True))
        raised = feed(a, FORCE, [13, 12])[0].raised_ns
        assert states(a) == ["LATUN"]
        refused = action(a, NAME, raised, kind="reset", asked="r1")[0]
        assert (refused.event, refused.reason) == ("refuse", "acknowledge it before the reset")
        assert action(a, NAME, raised, asked="a1")[0].state_to == "LATACK"
        assert action(a, NAME, raised, kind="reset", asked="r2")[0].state_to == "NORM"
        assert states(a) == []

    def test_a_new_occurrence_ends_one_that_nobody_acknowledged(self) -> None:
        a = alarms(limit())
        first = feed(a, FORCE, [13, 12])[0].raised_ns
        events = feed(a, FORCE, [13], at=[5])
        assert [(e.event, e.raised_ns, e.state_from, e.state_to) for e in events] == [
            ("clear", first, "RTNUN", "NORM"),
            ("raise", ns(5), "RTNUN", "UNACK"),
        ]
        late = action(a, NAME, first)[0]
        assert (late.event, late.raised_ns, late.reason) == ("refuse", first, "this occurrence is over: the alarm was raised again")
        assert states(a) == ["UNACK"]

    def test_two_occurrences_never_share_a_raise_time(self) -> None:
        a = alarms(limit())
        events = feed(a, FORCE, [13, 12, 13], at=[1, 1, 1])
        raised = [e.raised_ns for e in events if e.event == "raise"]
        assert raised == [ns(1), ns(1) + 1]


class TestActions:
    def test_refusals_change_nothing(self) -> None:
        a = alarms(limit())
        raised = feed(a, FORCE, [13])[0].raised_ns
        action(a, NAME, raised, asked="ok")
        before = a.standing()
        for i, (name, at, kind, user, reason) in enumerate(
            [
                (NAME, raised, "acknowledge", "li", "already acknowledged"),
                (NAME, raised + 5, "acknowledge", "li", "there is no such occurrence"),
                ("nothing", raised, "acknowledge", "li", "there is no alarm of this name"),
                (NAME, raised + 5, "shelve", "li", "there is no such occurrence"),
                (NAME, raised, "unshelve", "li", "it is not shelved"),
                (NAME, raised, "acknowledge", " ", "acknowledge needs the name of a user"),
                (NAME, raised, "reset", "li", "the condition still stands"),
            ]
        ):
            events = action(a, name, at, kind=kind, asked=f"x{i}", user=user)
            assert [(e.event, e.reason, e.action_id, e.raised_ns, e.state_from == e.state_to) for e in events] == [
                ("refuse", reason, f"x{i}", at, True)
            ]
        assert a.standing() == before

    def test_the_same_action_twice_is_answered_once(self) -> None:
        a = alarms(limit())
        raised = feed(a, FORCE, [13])[0].raised_ns
        assert len(action(a, NAME, raised)) == 1
        assert action(a, NAME, raised) == []
        assert action(restarted(a, limit()), NAME, raised) == []

    def test_memory_of_actions_is_bounded(self) -> None:
        a = alarms(limit())
        for i in range(5000):
            a.act(OperatorAction(id=str(i), kind="acknowledge", alarm="x", raised_ns=1, user="li", time_ns=1), 1)
        assert len(a.state()["acted"]) == 4096


class TestConditions:
    STALE = AlarmDefinition(name="press1/main_force.stale", tag="press1/main_force", kind="stale", on_delay_s=2.0, off_delay_s=1.0)

    def say(self, a: Alarms, active: bool, at: float, **more: Any) -> list[AlarmEvent]:
        return a.condition(self.STALE.name, active, ns(at), ns(at + 0.5), **more)

    def test_delays_end_at_ticks(self) -> None:
        a = alarms(self.STALE)
        assert self.say(a, True, 0, explanation="no value for 3 s", value=3.0) == []
        assert a.due_ns == ns(2.5)
        assert self.say(a, True, 1, explanation="no value for 4 s", value=4.0) == []
        assert a.tick(ns(2.4)) == []
        raised = a.tick(ns(2.5))
        assert brief(raised) == [("raise", 2.5, 0)]
        assert (raised[0].explanation, raised[0].value, raised[0].limit) == ("no value for 4 s", 4.0, None)
        assert self.say(a, True, 3) == []
        self.say(a, False, 4)
        assert brief(a.tick(ns(5.5))) == [("clear", 5.5, 0)]

    def test_a_condition_that_breaks_off_starts_again(self) -> None:
        a = alarms(self.STALE)
        self.say(a, True, 0)
        self.say(a, False, 1)
        assert a.due_ns == NEVER
        self.say(a, True, 2)
        assert a.tick(ns(4.4)) == []
        assert brief(a.tick(ns(4.5))) == [("raise", 4.5, 2)]

    def test_without_delay_it_is_at_once(self) -> None:
        a = alarms(AlarmDefinition(name="source.lost", tag="press1/main_force", kind="diagnostic"))
        raised = a.condition("source.lost", True, ns(1), ns(2), explanation="no connection")
        assert [(e.event, e.time_ns, e.received_ns, e.explanation) for e in raised] == [("raise", ns(1), ns(2), "no connection")]
        assert a.condition("source.lost", True, ns(3), ns(3)) == []
        assert [e.explanation for e in a.condition("source.lost", False, ns(4), ns(4))] == ["back to normal"]

    def test_what_is_said_survives_a_restart(self) -> None:
        a = alarms(self.STALE)
        self.say(a, True, 0, explanation="no value")
        again = restarted(a, self.STALE)
        assert again.tick(ns(2.5)) == a.tick(ns(2.5))

    def test_the_newest_words_are_told(self) -> None:
        a = alarms(self.STALE)
        self.say(a, True, 0)
        a.tick(ns(2.5))
        self.say(a, False, 3, explanation="came back")
        self.say(a, True, 3.5)
        self.say(a, False, 4, explanation="came back again")
        assert [e.explanation for e in a.tick(ns(9))] == ["came back again"]

    def test_only_conditions_are_taken(self) -> None:
        a = alarms(limit())
        for name in (NAME, "nothing"):
            with pytest.raises(ValueError, match="expected an alarm of kind stale"):
                a.condition(name, True, 1, 1)


class TestRestart:
    def test_an_unchanged_condition_is_no_new_occurrence(self) -> None:
        a = alarms(limit())
        raised = feed(a, FORCE, [13])[0].raised_ns
        action(a, NAME, raised)
        again = restarted(a, limit())
        assert again.standing() == a.standing()
        assert feed(again, FORCE, [13, 14], at=[600, 601]) == []
        assert again.due_ns == NEVER

    def test_a_removed_or_changed_definition_that_stood_is_cleared_at_the_next_tick(self) -> None:
        a = alarms(limit(), limit(name="other"), limit(name="quiet", limit=99))
        feed(a, FORCE, [13])
        again = restarted(a, limit(version=2), limit(name="quiet", limit=99, version=2))
        assert again.standing() == []
        assert again.due_ns == 0
        again = restarted(again, limit(version=2), limit(name="quiet", limit=99, version=2))  # also when it stops before the tick
        events = again.tick(ns(9))
        assert [(e.alarm, e.event, e.state_from, e.state_to, e.explanation, e.time_ns, e.raised_ns) for e in events] == [
            (NAME, "clear", "UNACK", "NORM", "definition changed", ns(9), ns(0)),
            ("other", "clear", "UNACK", "NORM", "definition removed", ns(9), ns(0)),
        ]
        assert again.due_ns == NEVER
        assert again.tick(ns(10)) == []
        assert brief(feed(again, FORCE, [13], at=[11])) == [("raise", 11, 11)]

    def test_a_changed_definition_does_not_use_a_raise_time_again(self) -> None:
        a = alarms(limit())
        feed(a, FORCE, [13], at=[3])
        again = restarted(a, limit(version=2))
        assert feed(again, FORCE, [13], at=[3])[0].raised_ns == ns(3) + 1

    def test_new_definitions_beside_old_ones(self) -> None:
        a = alarms(limit(name="b"))
        feed(a, FORCE, [13])
        again = restarted(a, limit(name="a"), limit(name="b"), limit(DOOR, name="c"))
        assert [row.alarm for row in again.standing()] == ["b"]
        assert [e.alarm for e in feed(again, FORCE, [13], at=[5])] == ["a"]

    def test_a_state_that_is_none_is_refused(self) -> None:
        a = alarms(limit())
        good = a.state()
        for wrong in ({}, {**good, "raised_ns": np.zeros(2, np.int64)}, {**good, "closing": [{"alarm": 1}]}):
            with pytest.raises(ValueError, match="alarms: expected"):
                a.restore(wrong)
        with pytest.raises(ValueError, match="alarms clock: expected"):
            a.restore({**good, "detection": {**good["detection"], "clock": np.zeros((1, 2), np.int64)}})


def play(drawn: list[Any], *, cut: bool, restart: bool) -> tuple[bytes, bytes]:
    a = Alarms(DEFINITIONS, CATALOGUE)
    events: list[AlarmEvent] = []
    for n, (samples, usable, tick) in enumerate(entries(drawn)):
        size = 1 if cut else max(len(samples), 1)
        for i in range(0, len(samples), size):
            events += [e for _, e in a.step(samples.take(slice(i, i + size)), usable[i : i + size])]
            if restart:
                saved = a.state()
                a = restarted(a, *DEFINITIONS)
                assert pack(a.state()) == pack(saved)
        if tick is not None and (not restart or a.due_ns <= tick):
            events += a.tick(tick)
        if n % 3 == 0:
            for row in a.standing()[:1]:
                asked = OperatorAction(
                    id=f"{n}", kind="acknowledge", alarm=row.alarm, raised_ns=row.raised_ns, user="li", time_ns=samples.received_ns
                )
                events += a.act(asked, samples.received_ns)
    return msgspec.json.encode(events), pack(a.state())


@given(drawn=steps)
@settings(max_examples=80)
def test_cuts_and_restarts_change_no_bit(drawn: list[Any]) -> None:
    assert play(drawn, cut=True, restart=True) == play(drawn, cut=False, restart=False)


@pytest.mark.parametrize("latching", [False, True])
def test_events_of_a_random_life_follow_the_table(*, latching: bool) -> None:
    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.definition = limit(DOOR, 10.0, name="door", deadband=1.0, on=1.0, latching=latching)
            self.alarms = alarms(self.definition)
            self.now = 0
            self.asked = 0
            self.occurrences: dict[int, str] = {}
            self.newest = -1

        def take(self, events: list[AlarmEvent]) -> None:
            table = LATCHING_TRANSITIONS if latching else TRANSITIONS
            for e in events:
                assert unpack(pack({"e": msgspec.to_builtins(e)}))
                if e.event == "refuse":
                    assert e.state_from == e.state_to
                    assert e.reason
                    continue
                if e.event == "raise":
                    assert e.raised_ns not in self.occurrences
                    assert e.raised_ns > self.newest
                    assert all(state == "NORM" for state in self.occurrences.values())
                    self.newest = e.raised_ns
                else:
                    assert self.occurrences[e.raised_ns] == e.state_from
                if e.explanation.startswith("superseded"):
                    assert (e.event, e.state_to) == ("clear", "NORM")
                else:
                    assert table[e.state_from][e.event] == e.state_to  # type: ignore[index]
                self.occurrences[e.raised_ns] = e.state_to

        @rule(v=st.sampled_from([8.0, 9.0, 9.5, 10.0, 10.5, 12.0]), usable=st.sampled_from([1, 1, 1, 0]), passed=st.integers(0, 3))
        def value(self, v: float, usable: int, passed: int) -> None:
            self.now += passed * S // 2
            samples = Samples.of([self.now], [DOOR], [v], 0, self.now)
            self.take([e for _, e in self.alarms.step(samples, np.array([usable], np.uint8))])

        @rule(passed=st.integers(0, 3))
        def tick(self, passed: int) -> None:
            self.now += passed * S // 2
            due = self.alarms.due_ns
            events = self.alarms.tick(self.now)
            assert not events or due <= self.now
            self.take(events)

        @precondition(lambda self: self.occurrences)
        @rule(kind=st.sampled_from(["acknowledge", "acknowledge", "reset", "shelve"]), data=st.data(), newest=st.booleans())
        def act(self, kind: str, data: st.DataObject, newest: bool) -> None:
            raised = self.newest if newest else data.draw(st.sampled_from(sorted(self.occurrences)))
            self.asked += 1
            asked = OperatorAction(id=str(self.asked), kind=kind, alarm="door", raised_ns=raised, user="li", time_ns=self.now)  # type: ignore[arg-type]
            events = self.alarms.act(asked, self.now)
            assert [e.action_id for e in events] == [asked.id]
            self.take(events)

        @rule()
        def restart(self) -> None:
            self.alarms = restarted(self.alarms, self.definition)

        @invariant()
        def what_stands_is_what_the_events_say(self) -> None:
            told = {raised: state for raised, state in self.occurrences.items() if state != "NORM"}
            assert {row.raised_ns: row.state for row in self.alarms.standing()} == told

    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Life, settings=settings(max_examples=60, stateful_step_count=40))
