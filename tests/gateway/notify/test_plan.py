"""The plan: steps, groups, limits, and that nobody is told twice nor left out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.core import occurrence_id
from gateway.notify.plan import Group, Plan, Watched
from gateway.notify.receiver import Message
from gateway.notify.words import Writer
from tests.gateway.edge import SECOND, START
from tests.gateway.notify.made import SHANGHAI, event, mail, plan, section

ESCALATION: list[dict[str, Any]] = [{"receivers": ["mail"]}, {"after_s": 600, "receivers": ["chief"]}]
BOTH = [mail(), mail("chief")]


def at(seconds: float) -> int:
    return START + int(seconds * SECOND)


def take(made: Plan, seq: int, what: Any, now: float) -> None:
    made.take("press-edge-1", 1, seq, what, at(now))


def test_an_alarm_is_told_at_once_and_again_to_others_when_nobody_acknowledges() -> None:
    made = plan(section(ESCALATION, receivers=BOTH))
    take(made, 1, event(), 0.2)
    assert [(m.receiver, m.total, m.step) for m in made.due(at(0.3))] == [("mail", 1, 1)]
    assert made.due(at(599)) == []
    take(made, 2, event("clear", "RTNUN", at=300), 300)
    assert [(m.receiver, m.step, m.items[0].state) for m in made.due(at(600))] == [("chief", 2, "RTNUN")]
    assert made.due(at(10_000)) == []


@pytest.mark.parametrize(("what", "state"), [("acknowledge", "ACKED"), ("suppress", "SHLVD"), ("clear", "NORM")])
def test_an_alarm_that_somebody_has_taken_care_of_does_not_escalate(what: str, state: str) -> None:
    made = plan(section(ESCALATION, receivers=BOTH))
    take(made, 1, event(), 0)
    made.due(at(0))
    take(made, 2, event(what, state, at=500), 500)
    assert made.due(at(700)) == []


def test_a_step_may_follow_the_condition_instead_of_the_acknowledgement() -> None:
    made = plan(section([{"after_s": 60, "when": "active", "receivers": ["mail"]}]))
    take(made, 1, event(), 0)
    take(made, 2, event("acknowledge", "ACKED", at=10), 10)
    assert len(made.due(at(60))) == 1
    take(made, 3, event(raised=100), 100)
    take(made, 4, event("clear", "RTNUN", raised=100, at=110), 110)
    assert made.due(at(200)) == []


def test_an_alarm_raised_while_suppressed_is_told_when_the_suppression_ends() -> None:
    made = plan(section())
    take(made, 1, event(state="DSUPR"), 0)
    assert made.due(at(1)) == []
    take(made, 2, event("unsuppress", "UNACK", at=50), 50)
    assert len(made.due(at(50))) == 1
    take(made, 3, event("suppress", "SHLVD", at=60), 60)
    take(made, 4, event("unsuppress", "UNACK", at=90), 90)
    assert made.due(at(91)) == []  # the same occurrence, the same step, the same receiver


def test_events_of_an_edge_count_in_its_order() -> None:
    made = plan(section(ESCALATION, receivers=BOTH))
    take(made, 7, event("acknowledge", "ACKED", at=5), 5)
    take(made, 6, event(), 6)
    assert made.due(at(1000)) == []


def test_late_and_recorded_events_tell_nobody() -> None:
    made = plan(section(max_age_s=900))
    take(made, 1, event(), 901)
    take(made, 2, event("clear", "RTNUN", at=0.5), 901)
    late = msgspec.structs.replace(event(raised=5), received_ns=at(5000))
    take(made, 3, late, 5000)
    assert made.due(at(5001)) == []
    assert made.watched == {}


def test_what_is_over_comes_no_second_time_and_is_forgotten() -> None:
    made = plan(section(max_age_s=900))
    take(made, 2, event("clear", "NORM", at=5), 6)
    take(made, 1, event(), 7)
    assert made.due(at(8)) == []
    assert len(made.watched) == 1
    made.due(at(1000))
    assert made.watched == {}
    take(made, 1, event(), 1000)
    assert made.due(at(1001)) == []


def test_two_rules_tell_one_receiver_once() -> None:
    of = section()
    twice = of.model_copy(update={"rules": (*of.rules, of.rules[0].model_copy(update={"name": "again"}))})
    made = plan(twice)
    take(made, 1, event(), 0)
    assert [m.total for m in made.due(at(1))] == [1]


def test_many_alarms_in_a_window_are_one_message() -> None:
    made = plan(section(receivers=[mail(group_s=30)]))
    for i in range(300):
        take(made, i, event(raised=i / 10, priority=1 + i % 4), i / 10)
        assert made.due(at(i / 10)) == []
    (one,) = made.due(at(30))
    assert (one.total, len(one.items), one.priorities, one.first_ns) == (300, 100, {1: 75, 2: 75, 3: 75, 4: 75}, at(0))
    assert {i.priority for i in one.items} == {1, 2}
    assert len(one.keys) == 300


def test_the_first_of_a_group_is_marked() -> None:
    made = plan(section(receivers=[mail(group_s=5)]))
    take(made, 1, event(group="trip", first_out=True), 0)
    take(made, 2, event(raised=1, group="trip"), 0)
    made.due(at(0))
    (one,) = made.due(at(5))
    assert [i.first_out for i in one.items] == [True, False]
    text = Writer(section().receivers[0], SHANGHAI).text(one).splitlines()
    assert ["first of its group" in line for line in text if line.startswith("P2")] == [True, False]


def test_beyond_the_limit_alarms_wait_for_the_next_message() -> None:
    made = plan(section(receivers=[mail(messages=2, per_s=100)]))
    told = []
    for i in range(100):
        take(made, i, event(raised=i), i)
        told += [(i, m.total) for m in made.due(at(i))]
    assert told == [(0, 1), (1, 1)]
    assert [m.total for m in made.due(at(100))] == [98]


def test_while_a_receiver_is_away_what_is_to_be_told_gathers() -> None:
    made = plan(section())
    for i in range(10):
        take(made, i, event(raised=i), i)
        assert made.due(at(i), frozenset({"mail"})) == []
    assert [m.total for m in made.due(at(20))] == [10]


def test_what_is_wrong_with_a_receiver_is_told_to_the_others() -> None:
    made = plan(section([{"receivers": ["mail", "chief"]}], receivers=BOTH))
    made.take("gw1", 0, 1, event(state="RTNUN", alarm="gateway/notify.mail.unreachable"), at(0))
    assert [m.receiver for m in made.due(at(1))] == ["chief"]


@pytest.mark.parametrize(("outside", "told"), [("skip", None), ("wait", 12 * 3600)])
def test_outside_its_shifts_a_step_is_left_out_or_waits(outside: str, told: int | None) -> None:
    steps = [{"receivers": ["mail"], "shifts": ["late"], "outside": outside}]
    made = plan(section(steps, shifts=[{"name": "late", "from": "20:00", "to": "22:00"}]))  # START is 08:00 in Shanghai
    take(made, 1, event(), 0)
    found = [s for s in range(0, 15 * 3600, 600) if made.due(at(s))]
    assert found == ([told] if told is not None else [])


def test_a_waiting_step_falls_when_somebody_acknowledges() -> None:
    steps = [{"receivers": ["mail"], "shifts": ["late"], "outside": "wait"}]
    made = plan(section(steps, shifts=[{"name": "late", "from": "20:00", "to": "22:00"}]))
    take(made, 1, event(), 0)
    made.due(at(1))
    take(made, 2, event("acknowledge", "ACKED", at=60), 60)
    assert made.due(at(13 * 3600)) == []


# --- properties ------------------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from(
            [("raise", "UNACK"), ("clear", "RTNUN"), ("acknowledge", "ACKED"), ("suppress", "SHLVD"), ("unsuppress", "UNACK"), ("clear", "NORM")]
        ),
        st.integers(0, 7),
    ),
    max_size=60,
)


def kept(made: Plan) -> tuple[dict[str, Watched], dict[str, Group]]:
    """What a restart would find."""
    decode, encode = msgspec.msgpack.decode, msgspec.msgpack.encode
    return decode(encode(made.watched), type=dict[str, Watched]), decode(encode(made.groups), type=dict[str, Group])


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(0, 30), st.integers(1, 3), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_each_is_told_once_within_the_limits_and_restarts_change_nothing(
    steps: list[tuple[int, tuple[str, str], int]], group_s: int, limit: int, restarts: set[int], away: set[int]
) -> None:
    of = section(
        ESCALATION,
        receivers=[mail(group_s=group_s, messages=limit, per_s=100), mail("chief", group_s=5, messages=limit, per_s=100)],
        max_age_s=100_000,
    )
    results: list[list[Message]] = []
    for with_restarts in (False, True):
        made, now, found = plan(of), 0.0, []
        for n, (pause, (what, state), which) in enumerate(steps):
            now += pause
            take(made, n, event(what, state, raised=0, at=now, alarm=f"a{which}.high"), now)
            found += made.due(at(now), frozenset({"mail"} if n in away else ()))
            if with_restarts and n in restarts:
                watched, groups = kept(made)
                made = plan(of, watched=watched, groups=groups)
        found += [m for s in range(0, 3000, 10) for m in made.due(at(now + s))]
        results.append(found)
    told, again = results
    assert told == again
    keys = [(m.receiver, key) for m in told for key in m.keys]
    assert len(keys) == len(set(keys)), "each (occurrence, step, receiver) once"
    assert len({m.id for m in told}) == len(told)
    for receiver in ("mail", "chief"):
        times = [m.made_ns for m in told if m.receiver == receiver]
        assert all(b - a >= 100 * SECOND for a, b in zip(times, times[limit:], strict=False)), "never more than the limit in its time"
    # Whoever was unacknowledged and not suppressed when its event was taken in has been told: nothing is left out.
    raised = {which for _, (what, state), which in steps if what in ("raise", "unsuppress") and state == "UNACK"}
    expected = {occurrence_id("press-edge-1", f"a{which}.high", START) for which in raised}
    assert {key.partition("#")[0] for receiver, key in keys if receiver == "mail"} == expected
