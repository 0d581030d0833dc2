"""What a supervising system is told: counted from what stands, and a heart that beats only while commits become durable."""

from __future__ import annotations

import pytest

from edge_agent.local.desk import Actor, Desk, WrongAction
from tests.local.line import T0, Line, S


def test_the_worst_priority_and_the_counts_leave_out_what_calls_nobody() -> None:
    now = [T0]
    line = Line(lambda: now[0])
    line.committed([])
    figures = line.desk.supervision()
    assert (figures.worst_standing, figures.worst_unacknowledged, figures.standing) == (0, 0, (0, 0, 0, 0))
    line.turn("press1/hopper_level.drift", True)
    assert line.desk.supervision().worst_standing == 0
    assert line.desk.supervision().advisory == 1
    line.turn("press1/hopper_level.low", True, 8.0)
    line.turn("press1/guard.open", True)
    assert line.desk.supervision().unacknowledged == (1, 0, 1, 0)
    line.desk.ask("acknowledge", "press1/guard.open", T0, Actor("wang", "operator", "panel"))
    figures = line.desk.supervision()
    assert (figures.worst_standing, figures.worst_unacknowledged) == (1, 3)
    assert (figures.standing, figures.unacknowledged) == ((1, 0, 1, 0), (0, 0, 1, 0))
    line.desk.ask("shelve", "press1/hopper_level.low", T0, Actor("wang", "operator", "panel"), "probe is dirty", duration_s=600)
    figures = line.desk.supervision()
    assert (figures.worst_unacknowledged, figures.suppressed, figures.standing) == (0, 1, (1, 0, 0, 0))
    line.turn("press1/guard.open", False)
    assert line.desk.supervision().worst_standing == 0


def test_the_heart_beats_once_a_second_and_only_with_commits() -> None:
    mono = [0.0]
    line = Line(lambda: T0)
    desk = Desk(line.desk.facts, act=lambda _: None, problems=list, clock=lambda: T0 + round(mono[0] * S), monotonic=lambda: mono[0])
    beats = []
    for tenth in range(50):
        mono[0] = tenth / 10
        if tenth < 30:
            desk.committed([], [])
        beats.append(desk.supervision().beat)
    assert beats[29] == 3
    assert beats[49] == 3
    assert desk.supervision().last_commit_ns == T0 + 29 * S // 10
    desk._beat = 65_535
    mono[0] = 100.0
    desk.committed([], [])
    assert desk.supervision().beat == 0


def test_an_action_on_no_alarm_is_refused_at_once() -> None:
    with pytest.raises(WrongAction, match="nothing"):
        Line(lambda: T0).desk.ask("acknowledge", "nothing", T0, Actor("wang", "operator", "panel"))
