"""Evaluation of limits, deviations and rates: domain rules one by one, then against the naive twin however the rows are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.alarms.detect import Detection
from edge_agent.alarms.kernels import NEVER
from edge_agent.core import AlarmDefinition, Samples, pack
from tests.alarms.plant import CATALOGUE, DOOR, FORCE, QUIET, TARGET, TEMPERATURE, S, alarms, brief, feed, limit, ns
from tests.naive.alarms import NaiveAlarm


class TestLimit:
    def test_raises_above_and_clears_below_the_deadband(self) -> None:
        a = alarms(limit(deadband=0.5))
        assert brief(feed(a, FORCE, [12.0, 12.6, 12.4, 12.0, 11.9])) == [("raise", 1, 1), ("clear", 4, 1)]

    def test_equality_never_raises_and_never_clears(self) -> None:
        a = alarms(limit(deadband=0.5))
        assert feed(a, FORCE, [12.5, 12.5]) == []
        assert brief(feed(a, FORCE, [13.0, 12.0, 12.0], at=[3, 4, 5])) == [("raise", 3, 3)]

    def test_low_side_is_the_mirror(self) -> None:
        a = alarms(limit(DOOR, 10.0, side="low", deadband=2.0))
        assert brief(feed(a, DOOR, [10.0, 9.9, 12.0, 12.1])) == [("raise", 1, 1), ("clear", 3, 1)]

    def test_on_delay_ends_exactly_at_its_source_time(self) -> None:
        a = alarms(limit(on=2.0))
        assert brief(feed(a, FORCE, [13, 13, 13], at=[0, 1, 1.999999999])) == []
        assert brief(feed(a, FORCE, [13], at=[2])) == [("raise", 2, 0)]

    def test_on_delay_starts_again_when_the_condition_breaks(self) -> None:
        a = alarms(limit(on=2.0))
        assert feed(a, FORCE, [13, 13, 12.5, 13, 13]) == []
        assert brief(feed(a, FORCE, [13], at=[5])) == [("raise", 5, 3)]

    def test_off_delay_starts_again_inside_the_deadband(self) -> None:
        a = alarms(limit(deadband=1.0, off=2.0))
        assert brief(feed(a, FORCE, [13, 11, 11, 12, 11, 11])) == [("raise", 0, 0)]
        assert brief(feed(a, FORCE, [11], at=[6])) == [("clear", 6, 0)]

    def test_deadband_stops_the_chatter(self) -> None:
        noisy = [12.4, 12.6] * 50
        assert sum(e.event == "raise" for e in feed(alarms(limit()), FORCE, noisy)) == 50
        assert len(feed(alarms(limit(deadband=0.3)), FORCE, noisy)) == 1

    def test_older_rows_are_not_looked_at(self) -> None:
        a = alarms(limit())
        assert feed(a, FORCE, [12, 13], at=[5, 4], received=5.2) == []
        assert brief(feed(a, FORCE, [13, 12], at=[6, 3], received=6.2)) == [("raise", 6, 6)]

    def test_event_carries_its_reason(self) -> None:
        a = alarms(limit(on=2.0, deadband=0.4))
        raised = feed(a, FORCE, [12.9, 12.9, 12.9])[0]
        assert (raised.value, raised.limit, raised.state_from, raised.state_to) == (12.9, 12.5, "NORM", "UNACK")
        assert raised.explanation == "12.9 kN above 12.5 kN for 2 s"
        cleared = feed(a, FORCE, [12.0], at=[3])[0]
        assert cleared.explanation == "12 kN below 12.1 kN"
        assert cleared.raised_ns == raised.raised_ns

    def test_status_of_the_value_travels(self) -> None:
        a = alarms(limit())
        events = a.step(Samples.of([ns(0)], [FORCE], [13.0], 0x42090000, ns(0.1)), np.ones(1, np.uint8))
        assert (events[0][0], events[0][1].status) == (0, 0x42090000)


class TestQuality:
    def test_bad_neither_raises_nor_clears(self) -> None:
        a = alarms(limit())
        assert brief(feed(a, FORCE, [12, 99, 13, 0, 13], bad=[1, 3])) == [("raise", 2, 2)]

    def test_no_number_is_bad_whatever_its_status(self) -> None:
        a = alarms(limit())
        assert feed(a, FORCE, [12, float("nan"), float("inf"), float("-inf")]) == []

    def test_bad_holds_the_timer_without_ending_or_breaking_it(self) -> None:
        a = alarms(limit(DOOR, on=4.0))
        # 2 s until the bad row count, the bad second does not, then 2 s more are needed.
        assert feed(a, DOOR, [13, 13, 0, 13, 13], bad=[2]) == []
        assert a.tick(ns(4.9)) == []
        assert brief(feed(a, DOOR, [13], at=[5])) == [("raise", 5, 0)]

    def test_no_tick_ends_a_delay_while_the_value_is_bad(self) -> None:
        a = alarms(limit(DOOR, on=1.0))
        feed(a, DOOR, [13, 13], at=[0, 0.5], bad=[1])
        assert a.due_ns == NEVER
        assert a.tick(ns(100)) == []

    def test_a_bad_row_from_the_future_does_not_end_a_delay(self) -> None:
        a = alarms(limit(DOOR, on=60.0))
        feed(a, DOOR, [13], at=[0])
        feed(a, DOOR, [13], at=[9_000_000], received=1.0, bad=[0])
        assert feed(a, DOOR, [13], at=[2]) == []


class TestTwoClocks:
    def test_a_value_that_steps_over_and_stays_raises_at_a_tick(self) -> None:
        a = alarms(limit(DOOR, on=2.0))
        assert feed(a, DOOR, [13]) == []
        assert a.due_ns == ns(2.2)
        assert a.tick(ns(2.199999999)) == []
        assert brief(a.tick(ns(2.2))) == [("raise", 2.2, 0)]
        assert a.due_ns == NEVER

    def test_clear_ends_at_a_tick_too(self) -> None:
        a = alarms(limit(DOOR, off=2.0))
        feed(a, DOOR, [13, 1])
        assert brief(a.tick(ns(3.2))) == [("clear", 3.2, 0)]

    def test_ticks_leave_a_silent_periodic_tag_waiting(self) -> None:
        a = alarms(limit(on=10.0))
        feed(a, FORCE, [13])
        assert a.tick(ns(20)) == []
        # The silence did not count: 10 s are needed from the next value on.
        assert feed(a, FORCE, [13] * 10, at=[20 + i for i in range(10)]) == []
        assert brief(feed(a, FORCE, [13], at=[30])) == [("raise", 30, 0)]

    def test_a_periodic_tag_within_three_periods_raises_at_a_tick(self) -> None:
        a = alarms(limit(on=3.0))
        feed(a, FORCE, [13])
        assert brief(a.tick(ns(3.2))) == [("raise", 3.2, 0)]

    def test_time_counted_before_a_bad_row_shortens_the_wait_for_the_tick(self) -> None:
        a = alarms(limit(DOOR, on=4.0))
        feed(a, DOOR, [13, 13, 0, 13], bad=[2])
        assert a.due_ns == ns(5.2)
        assert brief(a.tick(ns(5.2))) == [("raise", 5.2, 0)]

    def test_gap_boundary(self) -> None:
        a = alarms(limit(on=3.0))
        assert brief(feed(a, FORCE, [13, 13], at=[0, 3])) == [("raise", 3, 0)]
        b = alarms(limit(on=3.0))
        assert feed(b, FORCE, [13, 13], at=[0, 3.000000001]) == []

    def test_rate_is_not_raised_by_a_tick(self) -> None:
        a = alarms(AlarmDefinition(name="r", tag="room1/dp", kind="rate", limit=1.0, on_delay_s=2.0, off_delay_s=2.0))
        feed(a, DOOR, [0, 5])
        assert a.due_ns == NEVER
        assert brief(feed(a, DOOR, [10, 15], at=[2, 3])) == [("raise", 3, 1)]
        feed(a, DOOR, [15], at=[4])
        assert brief(a.tick(ns(6.2))) == [("clear", 6.2, 1)]


class TestDeviationAndRate:
    def test_deviation_from_a_setpoint_tag(self) -> None:
        d = AlarmDefinition(name="dev", tag="dryer1/temperature", kind="deviation", limit=5.0, setpoint_tag="dryer1/setpoint", deadband=1.0)
        a = alarms(d)
        assert feed(a, TEMPERATURE, [61]) == []
        feed(a, TARGET, [60], at=[0.5])
        events = feed(a, TEMPERATURE, [64, 65, 66], at=[1, 2, 3])
        assert brief(events) == [("raise", 3, 3)]
        assert events[0].explanation == "off setpoint 60 degC by 6 degC above 5 degC"
        assert events[0].value == 6

    def test_a_new_setpoint_is_judged_at_once(self) -> None:
        d = AlarmDefinition(name="dev", tag="dryer1/temperature", kind="deviation", limit=-5.0, side="low", setpoint_tag="dryer1/setpoint")
        a = alarms(d)
        feed(a, TARGET, [60])
        feed(a, TEMPERATURE, [60], at=[1])
        assert brief(feed(a, TARGET, [80, 60], at=[2, 3])) == [("raise", 2, 2), ("clear", 3, 2)]

    def test_a_setpoint_that_comes_late_counts_from_the_newest_value(self) -> None:
        a = alarms(AlarmDefinition(name="dev", tag="room1/dp", kind="deviation", limit=5.0, setpoint_tag="dryer1/setpoint"))
        feed(a, DOOR, [60], at=[3])
        assert brief(feed(a, TARGET, [50], at=[1], received=3.5)) == [("raise", 1, 3)]

    def test_a_new_setpoint_says_nothing_while_the_value_is_bad(self) -> None:
        d = AlarmDefinition(name="dev", tag="dryer1/temperature", kind="deviation", limit=-5.0, side="low", setpoint_tag="dryer1/setpoint")
        a = alarms(d)
        feed(a, TARGET, [60])
        feed(a, TEMPERATURE, [60, 60], at=[1, 2], bad=[1])
        assert feed(a, TARGET, [80], at=[3]) == []
        assert brief(feed(a, TEMPERATURE, [60], at=[4])) == [("raise", 4, 4)]

    def test_a_bad_setpoint_is_not_followed(self) -> None:
        d = AlarmDefinition(name="dev", tag="dryer1/temperature", kind="deviation", limit=5.0, setpoint_tag="dryer1/setpoint")
        a = alarms(d)
        feed(a, TARGET, [60, 0], bad=[1])
        assert feed(a, TEMPERATURE, [62], at=[2]) == []

    def test_rate_between_consecutive_good_values(self) -> None:
        a = alarms(AlarmDefinition(name="r", tag="room1/dp", kind="rate", limit=2.0))
        events = feed(a, DOOR, [0, 500, 2, 7, 8], bad=[1])
        assert brief(events) == [("raise", 3, 3), ("clear", 4, 3)]
        assert events[0].value == 5
        assert events[0].explanation == "5 Pa/s above 2 Pa/s"

    def test_falling_rate(self) -> None:
        a = alarms(AlarmDefinition(name="r", tag="room1/dp", kind="rate", side="low", limit=-2.0))
        assert brief(feed(a, DOOR, [0, -1, -4])) == [("raise", 2, 2)]

    def test_a_value_without_a_rate_does_not_end_the_hold(self) -> None:
        a = alarms(AlarmDefinition(name="r", tag="room1/dp", kind="rate", limit=1.0, on_delay_s=3.0))
        # Raised from 1 on; 1 to 2 counts, the bad stretch from 2 to 5 does not although a second value of time 1 came in between.
        assert feed(a, DOOR, [0, 5, 0, 5, 50], at=[0, 1, 2, 1, 5], bad=[2]) == []
        assert feed(a, DOOR, [60], at=[6.9]) == []
        assert brief(feed(a, DOOR, [70], at=[7])) == [("raise", 7, 1)]

    def test_two_values_of_one_time_have_no_rate(self) -> None:
        a = alarms(AlarmDefinition(name="r", tag="room1/dp", kind="rate", limit=2.0))
        assert feed(a, DOOR, [0, 100, 101], at=[0, 0, 1]) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tag": "nowhere"}, "expected a numeric tag"),
        ({"tag": "press1/batch"}, "expected a numeric tag"),
        ({"limit": None}, "limit: expected a number"),
        ({"limit": float("nan")}, "limit: expected a number"),
        ({"deadband": -1.0}, "deadband: expected 0 or more"),
        ({"on_delay_s": float("nan")}, "on_delay_s: expected 0 or more"),
        ({"kind": "deviation"}, "setpoint, setpoint_tag"),
        ({"kind": "deviation", "setpoint": 1.0, "limit": 0.0}, "above 0 on the high side"),
        ({"kind": "deviation", "setpoint": 1.0, "side": "low"}, "below 0 on the low side"),
        ({"kind": "deviation", "setpoint_tag": "press1/main_force"}, "another numeric tag"),
    ],
)
def test_definitions_that_cannot_work_are_refused(wrong: dict[str, Any], words: str) -> None:
    good: dict[str, Any] = {"name": "x", "tag": "press1/main_force", "kind": "limit", "limit": 1.0}
    with pytest.raises(ValueError, match=words):
        alarms(AlarmDefinition(**{**good, **wrong}))


def test_a_name_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="unique names"):
        alarms(limit(), limit())


def test_rows_that_do_not_fit_are_refused() -> None:
    d = Detection([limit()], CATALOGUE)
    with pytest.raises(ValueError, match="usable: expected"):
        d.step(Samples.of([1], [0], [1.0]), np.ones(2, np.uint8))
    for tag in (-1, 6):
        with pytest.raises(ValueError, match=r"tag: expected ids 0\.\.5"):
            d.step(Samples.of([1], [tag], [1.0]), np.ones(1, np.uint8))
    assert d.step(Samples.empty(), np.ones(0, np.uint8)) == []
    assert Detection([], CATALOGUE).due_ns == NEVER


def test_more_changes_in_one_entry_than_fit_at_once() -> None:
    n = 5000
    samples = Samples.of([ns(i) for i in range(n)], [FORCE] * n, [13.0, 12.0] * (n // 2), 0, ns(n))
    found = Detection([limit(), limit(side="low", limit=12.2, name="low")], CATALOGUE).step(samples, np.ones(n, np.uint8))
    assert len(found) == 2 * n - 1
    assert [f.row for f in found] == sorted(f.row for f in found)


DEFINITIONS = (
    limit(FORCE, 2.0, deadband=1.0, on=2.0, off=1.0),
    limit(FORCE, 0.0, side="low", on=0.5, off=3.0),
    limit(DOOR, 1.0, on=3.0, off=3.0),
    limit(DOOR, 2.0, name="now"),
    AlarmDefinition(name="dev", tag="dryer1/temperature", kind="deviation", limit=1.0, setpoint_tag="dryer1/setpoint", on_delay_s=2.0, deadband=0.5),
    AlarmDefinition(name="dev0", tag="room1/dp", kind="deviation", side="low", limit=-1.0, setpoint=1.0, off_delay_s=1.0),
    AlarmDefinition(name="rate", tag="press1/main_force", kind="rate", limit=1.0, on_delay_s=1.0, off_delay_s=2.0),
    AlarmDefinition(name="rate0", tag="room1/dp", kind="rate", side="low", limit=-1.0, off_delay_s=2.0),
)


def long_run(seed: int) -> list[Any]:
    """Some hundred rows and ticks, so that delays meet gaps, bad rows and setpoint changes often."""
    rng = np.random.default_rng(seed)
    bad = rng.choice([0.0, 0.1, 0.4])

    def row() -> tuple[int, float, int, int]:
        late = int(rng.integers(-12, 2)) if rng.random() < 0.1 else 0
        return int(rng.choice([FORCE, FORCE, DOOR, TEMPERATURE, TARGET])), float(rng.integers(-1, 4)), late, int(rng.random() >= bad)

    quick = [0, 1, 1, 2, 2, 3, 4, 14]
    return [(int(rng.choice(quick)), [row() for _ in range(rng.integers(0, 4))], bool(rng.random() < 0.5)) for _ in range(150)]


T = ns(0)
listed = st.lists(
    st.tuples(
        st.integers(0, 8),  # quarter seconds that pass
        st.lists(
            st.tuples(
                st.sampled_from([FORCE, DOOR, TEMPERATURE, TARGET, QUIET]),
                st.one_of(st.integers(-2, 4).map(float), st.just(float("nan"))),
                st.integers(-12, 1),  # quarter seconds before its receipt
                st.sampled_from([1, 1, 1, 1, 0]),
            ),
            max_size=6,
        ),
        st.booleans(),  # a tick follows
    ),
    max_size=25,
)
steps = st.one_of(listed, st.integers(0, 2**32 - 1).map(long_run))


def entries(drawn: list[Any]) -> list[tuple[Samples, Any, int | None]]:
    now, out = T, []
    for passed, rows, ticked in drawn:
        now += passed * S // 4
        samples = Samples.of([now + r[2] * S // 4 for r in rows], [r[0] for r in rows], [r[1] for r in rows], 0, now)
        out.append((samples, np.array([r[3] for r in rows], np.uint8), now if ticked else None))
    return out


def naive(drawn: list[Any]) -> list[tuple[int, int, bool, int, float]]:
    twins = [NaiveAlarm(d, None if (p := CATALOGUE[CATALOGUE.id(d.tag)].expected_s) is None else round(p * 1e9)) for d in DEFINITIONS]
    out = []
    for samples, usable, tick in entries(drawn):
        for i in range(len(samples)):
            name, t, v = CATALOGUE[int(samples.tag[i])].name, int(samples.time_ns[i]), float(samples.value[i])
            for a, twin in enumerate(twins):
                found = None
                if twin.definition.tag == name:
                    found = twin.value(t, v, samples.received_ns) if usable[i] else twin.hold(t, samples.received_ns)
                elif twin.definition.setpoint_tag == name and usable[i]:
                    found = twin.follow(t, v, samples.received_ns)
                if found is not None:
                    out.append((i, a, *found))
        if tick is not None:
            out += [(-1, a, *found) for a, twin in enumerate(twins) if (found := twin.tick(tick)) is not None]
    return out


@given(drawn=steps)
@settings(max_examples=150)
def test_equals_its_naive_twin(drawn: list[Any]) -> None:
    d = Detection(DEFINITIONS, CATALOGUE)
    found = []
    for samples, usable, tick in entries(drawn):
        found += d.step(samples, usable)
        if tick is not None:
            due = d.due_ns
            ended = d.tick(tick)
            assert due <= tick or not ended
            found += ended
    assert [tuple(f)[:5] for f in found] == naive(drawn)


@given(drawn=steps)
@settings(max_examples=100)
def test_cutting_an_entry_changes_nothing(drawn: list[Any]) -> None:
    whole, cut = Detection(DEFINITIONS, CATALOGUE), Detection(DEFINITIONS, CATALOGUE)
    for samples, usable, tick in entries(drawn):
        expected = whole.step(samples, usable)
        found = []
        for i in range(len(samples)):
            found += [f._replace(row=i) for f in cut.step(samples.take(slice(i, i + 1)), usable[i : i + 1])]
        assert repr(found) == repr(expected)
        if tick is not None:
            assert repr(cut.tick(tick)) == repr(whole.tick(tick))
        assert pack(cut.state()) == pack(whole.state())
