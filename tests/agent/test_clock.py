"""Steps of the wall clock: received time does not follow them, an alarm tells of them and returns, and a replay says the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_agent.agent.clock import BEHIND_NS, FOLLOW_NS, STEADY_NS, Clock, ClockWatch, Following
from edge_agent.config.start import _diagnostic, start_of
from edge_agent.core import AlarmEvent, Audit, Entry, Samples
from edge_agent.pipeline.chain import Pipeline
from tests.agent.line import settings
from tests.pipeline.line import T0, S, start


class Time:
    """A wall clock and a monotonic one that go as they are told."""

    def __init__(self) -> None:
        self.wall, self.mono = T0, 0

    def go(self, ns: int, *, step: int = 0) -> None:
        self.mono += ns
        self.wall += ns + step

    def clock(self, floor_ns: int = 0) -> Clock:
        return Clock(floor_ns, wall=lambda: self.wall, monotonic=lambda: self.mono)


def looked(watch: ClockWatch, at: int) -> list[Any]:
    return [entry_at(at) for entry_at in watch.look()]


def test_a_step_raises_the_alarm_with_its_size_and_it_returns_when_the_clock_has_been_steady() -> None:
    time = Time()
    watch = ClockWatch(time.clock())
    time.go(5 * S)
    assert looked(watch, 0) == []
    time.go(5 * S, step=-2 * S)
    step, told = looked(watch, 7)
    assert (step.step_ns, step.received_ns) == (-2 * S, 7)
    assert (told.alarm, told.active, told.explanation) == ("edge/clock", True, "the wall clock stepped by -2.000 s")
    time.go(STEADY_NS - S, step=S)
    assert [type(e).__name__ for e in looked(watch, 8)] == ["ClockStep"], "another step keeps it standing"
    time.go(STEADY_NS - S)
    assert looked(watch, 9) == []
    time.go(S)
    assert [(e.alarm, e.active) for e in looked(watch, 9)] == [("edge/clock", False)]
    time.go(STEADY_NS)
    assert looked(watch, 10) == []


def test_a_clock_that_was_behind_the_journal_counts_as_stepped() -> None:
    time = Time()
    watch = ClockWatch(time.clock(T0 + 2 * BEHIND_NS))
    assert watch.behind
    time.go(STEADY_NS)
    assert [(e.alarm, e.active) for e in looked(watch, 1)] == [("edge/clock", False)]


def test_who_is_kept_waiting_between_the_two_clocks_takes_it_for_no_step() -> None:
    waits = iter([S, S, 0, *[0] * 20])
    mono, slow = [0], [False]

    def wall() -> int:
        mono[0] += next(waits) if slow[0] else 0
        return T0 + mono[0]

    clock = Clock(wall=wall, monotonic=lambda: mono[0])
    slow[0] = True
    assert clock.step_ns() == 0


def test_the_alarm_is_defined_on_every_edge(tmp_path) -> None:
    assert "edge/clock" in {d.name for d in start_of(settings(tmp_path), T0).alarms}


def test_the_same_entries_give_the_same_events_again() -> None:
    time = Time()
    watch = ClockWatch(time.clock())
    entries: list[Entry] = [start(alarms=(_diagnostic("edge/clock", "", "diagnostic", 3, True),))]
    for step in (0, 3 * S, 0, 0):
        time.go(STEADY_NS // 2 + S, step=step)
        entries += [entry_at(T0 + time.mono) for entry_at in watch.look()]
    lives = [[record for entry in entries for record in pipeline.step(entry)] for pipeline in (Pipeline(), Pipeline())]
    assert lives[0] == lives[1]
    told = [(r.alarm, r.event) for r in lives[0] if isinstance(r, AlarmEvent)]
    assert told == [("edge/clock", "raise"), ("edge/clock", "clear")]
    assert [r.new for r in lives[0] if isinstance(r, Audit) and r.action == "clock_step"] == [f"{3 * S} ns"]


def test_received_time_follows_a_clock_that_sources_agree_with_and_never_goes_back() -> None:
    time = Time()
    clock = time.clock()
    following = Following(5 * S)
    ahead = 3_600 * S
    time.go(S, step=ahead)
    assert clock.step_ns() == ahead
    assert not following.look(clock(), clock.ahead_ns(), 7, 3)
    time.go(FOLLOW_NS)
    assert not following.look(clock(), clock.ahead_ns(), 7, 3), "nobody says so but the clock"
    assert following.look(clock(), clock.ahead_ns(), 8, 3)
    before = clock()
    clock.follow()
    assert clock() == before + ahead == time.wall
    assert (clock.ahead_ns(), clock.step_ns()) == (0, 0), "what is followed is no step a second time"
    time.go(S, step=-ahead)
    clock.follow()
    assert clock() == before + ahead + S


def test_a_clock_that_goes_on_stepping_or_is_ahead_by_less_than_sources_may_be_is_not_followed() -> None:
    following = Following(5 * S)
    assert [following.look(n * FOLLOW_NS, n * 10 * S, n, 0) for n in range(1, 6)] == [False] * 5
    following = Following(5 * S)
    assert [following.look(n * FOLLOW_NS, 5 * S, n, 0) for n in range(1, 6)] == [False] * 5


def test_one_device_that_is_always_ahead_is_no_witness_while_values_of_others_are_taken() -> None:
    following = Following(5 * S)
    assert [following.look(n * S, 3_600 * S, n, n) for n in range(20)] == [False] * 20
    # The others fall silent: from the last value taken on nobody contradicts.
    looks = [following.look((19 + n) * S, 3_600 * S, 19 + n, 19) for n in range(7)]
    assert looks == [False] * 5 + [True] * 2


TWO = """
edge: {site: demo, id: e1, data_dir: data}
sources:
  - {name: plc, kind: csv, files: [values.csv]}
  - {name: old, kind: csv, files: [values.csv]}
tags:
  - {name: press1/force, source: plc, unit: kN}
  - {name: press1/speed, source: old, unit: r/min}
windows: {length_s: 10, lateness_s: 2, max_skew_s: 5}
http: {port: 0}
"""
HOUR = 3_600 * S


@pytest.mark.parametrize(
    ("behind", "before", "follows"),
    [
        *(
            (behind, before, True)
            for behind in (T0 - 60 * S, 2 * HOUR)
            for before in ("the device spoke alone", "both were right", "the other spoke alone")
        ),
        *((0, before, False) for before in ("the device spoke alone", "both were right", "the other spoke alone")),
        (HOUR // 2, "the device spoke alone", False),  # nearer to received time than to the wall clock, and in time
        (HOUR // 2, "both were right", True),  # late by either
    ],
)
def test_a_device_with_an_old_clock_speaks_for_no_clock(tmp_path: Path, behind: int, before: str, follows: bool) -> None:
    (tmp_path / "values.csv").write_text("time,press1/force\n")
    told = start_of(settings(tmp_path, TWO), T0)
    force, speed = (next(t.id for t in told.tags if t.name == name) for name in ("press1/force", "press1/speed"))
    pipeline = Pipeline()
    pipeline.step(told)

    def look(second: int, ahead: int) -> bool:
        now = T0 + second * S
        return following.look(now, ahead, *pipeline.testimony(["plc", "old"], now - ahead))

    def came(second: int, tag: int, behind: int) -> None:
        now = T0 + second * S
        pipeline.step(Samples.of([now - behind], [tag], [float(second)], 0, now))

    following = Following(5 * S)
    for second in range(1, 60):
        if before != "the device spoke alone":
            came(second, force, 0)
        if before != "the other spoke alone":
            came(second, speed, 0 if before == "both were right" else behind)
        assert not look(second, 0)
    looks = []
    for second in range(60, 75):
        came(second, force, -HOUR)
        came(second, speed, behind)
        looks.append(look(second, HOUR))
    assert any(looks) == follows
