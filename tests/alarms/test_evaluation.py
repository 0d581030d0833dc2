"""Expressions, discrete states, hold-off after setpoints, limits by phase."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.alarms import Alarms
from edge_agent.alarms.expression import ExpressionError, compiled, worth
from edge_agent.alarms.kernels import NEVER
from edge_agent.core import AlarmDefinition, AlarmEvent, OperatorAction, Samples, pack, unpack
from tests.alarms.plant import CATALOGUE, DOOR, FORCE, QUIET, TARGET, TEMPERATURE, brief, feed, limit, ns
from tests.naive.expression import naive

FORCE_NAME, TEMPERATURE_NAME = CATALOGUE[FORCE].name, CATALOGUE[TEMPERATURE].name


def expression(text: str, *, on: float = 0.0, off: float = 0.0) -> AlarmDefinition:
    return AlarmDefinition(name="both", tag=FORCE_NAME, kind="expression", expression=text, on_delay_s=on, off_delay_s=off)


def value_of(text: str, **tags: float) -> float:
    program = compiled(text)
    inputs = np.array([tags.get(name, math.nan) for name in program.tags], np.float64)
    stack = np.zeros(program.stack)
    code = np.array(program.code, np.int64).reshape(-1, 2)
    return worth(0, len(code), code, np.array(program.constants, np.float64), inputs, stack)


class TestLanguage:
    @pytest.mark.parametrize(
        ("text", "tags", "expected"),
        [
            ("a > 1", {"a": 1.0}, 0.0),
            ("a >= 1", {"a": 1.0}, 1.0),
            ("a == 1 or a != 1", {"a": 3.0}, 1.0),
            ("not a > 1 and b < 2", {"a": 1.0, "b": 1.0}, 1.0),
            ("not (a > 1 and b < 2)", {"a": 2.0, "b": 1.0}, 0.0),
            ("a - b - 1 == 2", {"a": 5.0, "b": 2.0}, 1.0),
            ("a + 2 * b / 4 == 2", {"a": 1.0, "b": 2.0}, 1.0),
            ("-a < --b", {"a": 1.0, "b": 0.0}, 1.0),
            ("abs(a - b) > max(a, b, 2.5e0) - min(a, b)", {"a": 1.0, "b": 4.0}, 0.0),
            ("a / b > 1", {"a": 1.0, "b": 0.0}, math.nan),
            ("a > 1 and b > 1", {"a": 0.0}, 0.0),
            ("a > 1 or b > 1", {"a": 2.0}, 1.0),
            ("a > 1 and b > 1", {"a": 2.0}, math.nan),
            ("not a > 1", {}, math.nan),
            ("min(a, b) < 1", {"a": 0.0}, math.nan),
        ],
    )
    def test_values(self, text: str, tags: dict[str, float], expected: float) -> None:
        found = value_of(text, **tags)
        assert found == expected or (math.isnan(found) and math.isnan(expected))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "at 1: expected a tag, a number or (, found the end"),
            ("a", "at 1: expected a condition, found a number"),
            ("a > 1 > 0", "at 7: expected the end, found >"),
            ("(a > 1) + 1 > 0", "at 1: expected a number, found a condition"),
            ("not a", "at 5: expected a condition, found a number"),
            ("a > 1 and b", "at 11: expected a condition, found a number"),
            ("a > (b", "at 7: expected ), found the end"),
            ("min(a) > 1", "at 6: expected a second number for min, found )"),
            ("abs(a, b) > 1", "at 6: expected ), found ,"),
            ("1 > 0", "expected at least one tag, found none"),
            ("a > 1; import os", "at 6: expected a tag, a number or an operator, found ';'"),
            ("a.__class__() > 1", "at 1: expected a condition, found a number"),
            ("(" * 60 + "a", "expected at most 40 levels, found more"),
            ("a > " + "1 + " * 1500 + "1", "expected at most 4000 characters"),
            (" or ".join(f"t{i} > 1" for i in range(40)), "expected at most 32 tags, found more"),
        ],
    )
    def test_mistakes(self, text: str, message: str) -> None:
        with pytest.raises(ExpressionError) as error:
            compiled(text)
        assert str(error.value).startswith(message) or message in str(error.value)

    @given(st.recursive(st.sampled_from(["a", "b", "'c/d'", "2", "0.5", "0"]), lambda n: st.one_of(
        st.tuples(n, st.sampled_from("+-*/"), n).map(lambda x: f"({x[0]} {x[1]} {x[2]})"), n.map(lambda x: f"-{x}"), n.map(lambda x: f"abs({x})"),
        st.tuples(st.sampled_from(["min", "max"]), n, n).map(lambda x: f"{x[0]}({x[1]}, {x[2]})")), max_leaves=6).flatmap(
            lambda x: st.sampled_from([f"{x} > a", f"not ({x} <= b) and a == b", f"{x} != 1 or not a < {x}", f"({x} >= 0 or b > 1) and a > 0"])),
        st.lists(st.sampled_from([0.0, 1.0, -2.5, 1e300, math.nan]), min_size=3, max_size=3))  # fmt: skip
    def test_the_kernel_says_what_the_obvious_reader_says(self, text: str, values: list[float]) -> None:
        tags = dict(zip(["a", "b", "c/d"], values, strict=True))
        assert np.array_equal(value_of(text, **tags), naive(text, tags), equal_nan=True)

    @given(st.text("ab0.5'\"()<>=!+-*/, ndotrmix", max_size=40))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            program = compiled(text)
        except ExpressionError:
            return
        assert 0 < program.stack <= len(program.code)


class TestExpressionAlarm:
    BOTH = f"'{FORCE_NAME}' > 10 and '{TEMPERATURE_NAME}' > 20"

    def test_it_is_raised_by_whichever_comes_last(self) -> None:
        a = Alarms([expression(self.BOTH)], CATALOGUE)
        assert feed(a, FORCE, [11]) == []
        event = feed(a, TEMPERATURE, [21], at=[1])[0]
        assert (event.event, event.raised_ns, event.value, event.explanation) == ("raise", ns(1), None, self.BOTH)
        event = feed(a, FORCE, [9], at=[2])[0]
        assert (event.event, event.explanation) == ("clear", f"no longer: {self.BOTH}")

    def test_bad_quality_holds(self) -> None:
        a = Alarms([expression(self.BOTH)], CATALOGUE)
        feed(a, FORCE, [11])
        assert len(feed(a, TEMPERATURE, [21], at=[1])) == 1
        assert feed(a, TEMPERATURE, [0], at=[2], bad=[0]) == []
        assert brief(feed(a, FORCE, [9], at=[3])) == [("clear", 3, 1)], "false whatever the other one is"

    def test_delays_also_end_at_ticks(self) -> None:
        a = Alarms([expression("'room1/dp' > 5", on=2.0)], CATALOGUE)
        feed(a, DOOR, [6])
        assert a.due_ns == ns(2.2)
        assert brief(a.tick(ns(2.2))) == [("raise", 2.2, 0)]

    def test_what_cannot_be_compiled_is_named(self) -> None:
        for text, message in (("a >", "expression: at 4"), ("nothing > 1", "expected measured numeric tags, found 'nothing'")):
            with pytest.raises(ValueError, match=message):
                Alarms([expression(text)], CATALOGUE)


def test_discrete() -> None:
    fault = AlarmDefinition(name="fault", tag="press1/speed", kind="discrete", limit=2.0, on_delay_s=1.0)
    running = AlarmDefinition(name="stopped", tag="press1/speed", kind="discrete", limit=1.0, when="not_equals")
    a = Alarms([fault, running], CATALOGUE)
    events = feed(a, QUIET, [1, 2, 2, 1])
    assert [(e.alarm, e.event, e.time_ns) for e in events] == [
        ("stopped", "raise", ns(1)),
        ("fault", "raise", ns(2)),
        ("fault", "clear", ns(3)),
        ("stopped", "clear", ns(3)),
    ]
    assert [e.explanation for e in events[:2]] == ["2 rpm differs from 1 rpm", "2 rpm equals 2 rpm for 1 s"]


class TestHoldOff:
    OFF = AlarmDefinition(
        name="off", tag=TEMPERATURE_NAME, kind="deviation", limit=2.0, setpoint_tag="dryer1/setpoint", hold_off_s=10.0, on_delay_s=1.0
    )

    def test_a_step_of_the_setpoint_waits_for_the_process(self) -> None:
        a = Alarms([self.OFF], CATALOGUE)
        feed(a, TARGET, [50])
        feed(a, TEMPERATURE, [50], at=[1])
        feed(a, TARGET, [40], at=[5])
        assert feed(a, TEMPERATURE, [50 - k for k in range(9)], at=[6 + k for k in range(9)]) == []

    def test_it_calls_when_the_process_does_not_follow(self) -> None:
        a = Alarms([self.OFF], CATALOGUE)
        feed(a, TARGET, [50])
        feed(a, TEMPERATURE, [50], at=[4])
        feed(a, TARGET, [40], at=[5], received=5)
        assert a.due_ns == ns(5 + 10 + 1)
        assert brief(feed(a, TEMPERATURE, [50.0] * 12, at=[6.0 + k for k in range(12)])) == [("raise", 16, 5)]

    def test_a_first_setpoint_is_no_change(self) -> None:
        a = Alarms([self.OFF], CATALOGUE)
        feed(a, TARGET, [40])
        assert brief(feed(a, TEMPERATURE, [50, 50], at=[1, 2])) == [("raise", 2, 1)]


class TestPhaseLimits:
    COOKING = limit(TEMPERATURE, 30.0, name="hot", phase_limits={"drying": 60.0, "idle": None})

    def say(self, a: Alarms, phase: str, at: float) -> list[AlarmEvent]:
        return a.context("dryer1", "phase", phase, ns(at), ns(at))

    def test_the_limit_follows_the_phase(self) -> None:
        a = Alarms([self.COOKING], CATALOGUE)
        assert self.say(a, "drying", 0) == []
        assert feed(a, TEMPERATURE, [50], at=[1]) == []
        event = self.say(a, "cooling", 2)[0]
        assert (event.event, event.limit, event.explanation, event.raised_ns) == ("raise", 30.0, "50 degC above 30 degC", ns(2))
        event = self.say(a, "drying", 3)[0]
        assert (event.event, event.limit) == ("clear", 60.0)
        assert feed(a, TEMPERATURE, [61], at=[4])[0].limit == 60.0
        assert self.say(a, "idle", 5)[0].explanation == "no limit holds in this phase"
        assert feed(a, TEMPERATURE, [900], at=[6]) == []

    def test_a_restart_knows_the_phase(self) -> None:
        a = Alarms([self.COOKING], CATALOGUE)
        self.say(a, "drying", 0)
        again = Alarms([self.COOKING], CATALOGUE)
        again.restore(unpack(pack(a.state())))
        assert feed(again, TEMPERATURE, [50], at=[1]) == []
        assert again.due_ns == NEVER

    def test_delays_begin_anew(self) -> None:
        a = Alarms([limit(TEMPERATURE, 30.0, on=3.0, phase_limits={"drying": 60.0})], CATALOGUE)
        feed(a, TEMPERATURE, [61, 61], at=[0, 1])
        self.say(a, "drying", 2)
        assert feed(a, TEMPERATURE, [61, 61], at=[3, 4]) == []
        assert brief(feed(a, TEMPERATURE, [61], at=[5])) == [("raise", 5, 2)]


def test_a_state_of_the_first_version_is_taken_up() -> None:
    a = Alarms([limit()], CATALOGUE)
    feed(a, FORCE, [13])
    state = a.state()
    for new in ("timers", "suppressed", "first", "context", "flood"):
        del state[new]
    for new in ("paused", "inputs", "inputs_last"):
        del state["detection"][new]
    again = Alarms([limit()], CATALOGUE)
    again.restore(unpack(pack(state)))
    assert again.standing() == a.standing()


DEFINITIONS = (
    expression(f"'{FORCE_NAME}' - 'room1/dp' > 1 and not '{TEMPERATURE_NAME}' < 3", on=0.5),
    AlarmDefinition(name="state", tag="room1/dp", kind="discrete", limit=2.0, group="g", off_delay_s=0.5),
    AlarmDefinition(name="off", tag=TEMPERATURE_NAME, kind="deviation", limit=1.0, setpoint_tag="dryer1/setpoint", hold_off_s=1.0, on_delay_s=0.5),
    limit(FORCE, 2.5, name="phased", phase_limits={"p": 1.5}, group="g", when_not_first="suppress"),
    limit(QUIET, 2.5, name="quiet", suppressed_by=("state",), suppress_modes=("cleaning",), re_alarm_s=1.0),
    AlarmDefinition(name="edge/flood", tag="", kind="diagnostic", priority=4, advisory=True),
)
row = st.tuples(st.integers(0, 4), st.sampled_from([1.0, 2.0, 3.0, 5.0]), st.integers(-2, 2), st.sampled_from([1, 1, 1, 0]))
steps = st.lists(st.tuples(st.integers(0, 8), st.lists(row, max_size=8), st.sampled_from(["", "", "phase", "mode", "act"])), max_size=12)


def play(drawn: list[Any], *, cut: bool) -> tuple[bytes, bytes]:
    a = Alarms(DEFINITIONS, CATALOGUE)
    events: list[AlarmEvent] = []
    now = 0
    for n, (passed, rows, then) in enumerate(drawn):
        now += passed * 250_000_000
        tags, values, ahead, usable = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [], [])
        samples = Samples.of([now + k * 250_000_000 for k in ahead], tags, values, 0, now)
        ok = np.array(usable, np.uint8)
        size = 1 if cut else max(len(rows), 1)
        for i in range(0, len(rows), size):
            events += [e for _, e in a.step(samples.take(slice(i, i + size)), ok[i : i + size])]
            if cut:
                saved = a.state()
                a = Alarms(DEFINITIONS, CATALOGUE)
                a.restore(unpack(pack(saved)))
                assert pack(a.state()) == pack(saved)
        if then in ("phase", "mode"):
            word = {"phase": ("p", "q"), "mode": ("cleaning", "production")}[then][n % 2]
            events += a.context("press1", then, word, now, now)
        elif then == "act":
            for standing in a.standing()[:1]:
                asked = OperatorAction(id=str(n), kind="acknowledge", alarm=standing.alarm, raised_ns=standing.raised_ns, user="li", time_ns=now)
                events += a.act(asked, now)
        if not cut or a.due_ns <= now:
            events += a.tick(now)
    return msgspec.json.encode(events), pack(a.state())


@given(steps)
@settings(max_examples=150, deadline=None)
def test_cuts_and_restarts_change_no_bit(drawn: list[Any]) -> None:
    assert play(drawn, cut=True) == play(drawn, cut=False)
