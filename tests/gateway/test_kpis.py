"""Key figures of the alarm system: counted by hand, against their naive twin, and their price."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from edge_agent.core import AlarmEvent, decode, encode, occurrence_id
from gateway.journal import ALARM, Entry, Journal
from gateway.kpis import DAY, HOUR, S, chatter_index, key_figures
from tests.naive import kpis as naive

T0 = 1_767_225_600 * S  # 2026-01-01T00:00:00Z


def event(what: str, to: str, at: float, *, alarm: str = "a.high", raised: float = 0, priority: int = 3, **more: object) -> tuple[str, AlarmEvent]:
    t = T0 + round(at * S)
    fields = {"alarm": alarm, "tag": "a", "raised_ns": T0 + round(raised * S), "time_ns": t, "received_ns": t, "event": what, **more}
    return "e1", AlarmEvent(state_from="", state_to=to, priority=priority, **fields)  # type: ignore[arg-type]


def test_by_hand() -> None:
    """Two hours counted on paper: 12 calls, one flood, one chatterer, one fleeting alarm, two acknowledgements, one shelving."""
    events = []
    # Eleven calls one a minute from 00:10 on: the tenth, at 00:19, begins a flood. The trailing count falls below 5 when the seventh call, of 00:16,
    # leaves it at 00:26 (left are those of 00:17, 18, 19 and 20).
    minutes = [(i, 600 + 60 * i) for i in range(11)]
    events += [event("raise", "UNACK", at, alarm=f"a{i}.high", raised=at, priority=1 if i == 0 else 3) for i, at in minutes]
    events.append(event("acknowledge", "ACKED", 600 + 30, alarm="a0.high", raised=600, user="wang"))
    events.append(event("acknowledge", "ACKED", 660 + 90, alarm="a1.high", raised=660, user="wang"))
    # One call at 01:30 that is over after 20 s, untouched.
    events.append(event("raise", "UNACK", 5400, alarm="b.low", raised=5400, priority=2))
    events.append(event("clear", "RTNUN", 5420, alarm="b.low", raised=5400, priority=2))
    # Shelved for ten minutes: suppressed raises call nobody.
    events.append(event("suppress", "SHLVD", 6000, alarm="c.high", raised=6000, overlay="shelved"))
    events.append(event("raise", "SHLVD", 6100, alarm="c.high", raised=6000))
    events.append(event("unsuppress", "NORM", 6600, alarm="c.high", raised=6000, overlay="shelved"))
    events.append(event("raise", "UNACK", 6700, alarm="d.advice", raised=6700, advisory=True))
    events.append(event("refuse", "ACKED", 6800, alarm="a0.high", raised=600))
    found = key_figures(events, T0, T0 + 2 * HOUR)
    assert (found["calls"], found["per_hour"], found["per_10min"], found["per_day"]) == (12, 6.0, 1.0, 144.0)
    assert (found["max_10min"], found["max_10min_ns"]) == (10, T0 + 600 * S)
    assert found["hours_over_30"] == 0.0
    assert found["windows_over_5"] == pytest.approx(100 / 12)  # 00:10 to 00:20 has ten
    assert found["floods"] == [{"from_ns": T0 + 1140 * S, "to_ns": T0 + 1560 * S, "calls": 11, "first": "e1~a0.high"}]
    assert found["flood_pct"] == pytest.approx(100 * 420 / 7200)
    assert (found["chattering"], found["fleeting"]) == ([], 1)
    assert found["priorities"] == {"1": 1, "2": 1, "3": 10, "4": 0}
    assert (found["acknowledged"], found["mtta_s"], found["mtta_median_s"], found["mtta_longest_s"]) == (2, 60.0, 60.0, 90.0)
    assert found["unacknowledged"] == 10
    assert (found["standing"], found["refused"]) == (12, 1)
    assert found["suppressed_s"] == {"shelved": 600.0, "designed": 0.0, "out_of_service": 0.0}
    assert found["suppressions"]["shelved"] == 1
    assert len(found["top"]) == 10
    assert found["top_share"] == pytest.approx(100 * 10 / 12)
    assert (found["bucket_s"], found["count"]) == (600, [0, 10, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0])


def test_chattering() -> None:
    events = []
    for i in range(4):
        events += [event("raise", "UNACK", 10 * i, raised=10 * i), event("acknowledge", "ACKED", 10 * i + 2, raised=10 * i)]
        events.append(event("clear", "NORM", 10 * i + 5, raised=10 * i))
    found = key_figures(events, T0, T0 + HOUR)
    assert found["chattering"] == [{"edge": "e1", "alarm": "a.high", "calls": 4, "index": 0.1}]
    assert chatter_index([T0]) == 0.0


def test_what_stands_longer_than_a_day_is_stale_and_what_is_shelved_is_not() -> None:
    events = [
        event("raise", "UNACK", 0),
        event("acknowledge", "ACKED", 60),
        event("raise", "UNACK", 0, alarm="b.high"),
        event("clear", "RTNUN", 60, alarm="b.high"),
        event("raise", "UNACK", 0, alarm="c.high"),
        event("suppress", "SHLVD", 60, alarm="c.high", overlay="shelved"),
        event("raise", "UNACK", 7200, alarm="d.high", raised=7200),
    ]
    found = key_figures(events, T0 + DAY, T0 + DAY + HOUR)
    assert [(r["alarm"], r["hours"]) for r in found["stale"]] == [("a.high", 25.0)]
    assert (found["calls"], found["top_share"], found["mtta_s"]) == (0, None, None)
    assert found["suppressed_s"]["shelved"] == 3600.0


def test_days_and_windows_begin_at_midnight_of_the_plant_and_positions_share_the_calls() -> None:
    events = [event("raise", "UNACK", 60 * i, alarm=f"a{i}", raised=60 * i) for i in range(40)]
    found = key_figures(events, T0, T0 + HOUR, positions=2, offset_s=8 * 3600 + 900)
    assert (found["per_hour"], found["max_10min"]) == (20.0, 5)
    assert found["start_ns"][0] == T0 - 300 * S
    long = key_figures(events, T0, T0 + 30 * DAY, offset_s=8 * 3600)
    assert (long["bucket_s"], len(long["count"]), sum(long["count"])) == (86_400, 31, 40)


def drawn(seed: int) -> list[tuple[str, AlarmEvent]]:
    """Some hours of an edge: occurrences that are dealt with in any way, or not at all."""
    draw = random.Random(seed)
    events, at = [], 0
    for _ in range(400):
        at += draw.choice((1, 5, 20, 40, 400))
        alarm, raised = f"a{draw.randrange(6)}", at
        events.append(event("raise", "UNACK", at, alarm=alarm, raised=raised, priority=draw.randrange(1, 5)))
        for what, to in draw.choice(
            (
                [("acknowledge", "ACKED"), ("clear", "NORM")],
                [("acknowledge", "ACKED"), ("re_alarm", "UNACK"), ("acknowledge", "ACKED")],
                [("suppress", "SHLVD"), ("unsuppress", "UNACK"), ("acknowledge", "ACKED")],
                [("clear", "RTNUN")],
                [],
            )
        ):
            at += draw.randrange(1, 30)
            overlay = {"overlay": "shelved"} if "suppress" in what else {}
            events.append(event(what, to, at, alarm=alarm, raised=raised, **overlay))
    return events


@pytest.mark.parametrize("late_ns", [0, DAY], ids=["at once", "a day later"])
@pytest.mark.parametrize("seed", range(4))
def test_a_span_is_read_with_what_stood_before_it_and_no_more(seed: int, late_ns: int, tmp_path: Path) -> None:
    events = drawn(seed)
    journal = Journal(tmp_path / "journal.sqlite")
    entries, states = [], {}
    for n, (edge, e) in enumerate(events, 1):
        id_ = occurrence_id(edge, e.alarm, e.raised_ns)
        entries.append(Entry(edge, 1, n, ALARM, e.time_ns, e.received_ns + late_ns, encode(e), id_))
        states[id_] = (edge, e.raised_ns, e.state_to)
    journal.apply(entries, occurrences=states)
    last = events[-1][1].received_ns
    for begin, end in ((T0, last + 1), (T0 + 2 * HOUR, T0 + 3 * HOUR), (T0 + 3 * HOUR, last + 2 * DAY), (last, last + 1)):
        read = [(edge, decode(frame)) for edge, frame in journal.alarms_since(begin - HOUR)]
        whole = [(edge, e) for edge, e in events if e.received_ns < end]
        assert key_figures(read, begin, end) == key_figures(whole, begin, end)  # type: ignore[arg-type]
    assert len(list(journal.alarms_since(last + late_ns + HOUR))) < len(events)
    journal.close()


@pytest.mark.parametrize("seed", range(8))
def test_against_the_naive_twin(seed: int) -> None:
    events = drawn(seed)
    begin, end = T0 + HOUR, T0 + 4 * HOUR
    events = [e for e in events if e[1].received_ns < end]
    found, calls = key_figures(events, begin, end), naive.calls(events)
    inside = [t for t, _, _ in calls if t >= begin]
    assert found["calls"] == len(inside)
    assert found["max_10min"] == naive.most(inside)
    assert found["windows_over_5"] == pytest.approx(naive.over(inside, 600, 5, begin, end))
    assert found["hours_over_30"] == pytest.approx(naive.over(inside, 3600, 30, begin, end))
    assert found["flood_pct"] == pytest.approx(100 * naive.flood_s([t for t, _, _ in calls], begin, end) * S / (end - begin))
    waits = naive.waits(events, begin)
    assert found["acknowledged"] == len(waits)
    assert found["mtta_s"] == pytest.approx(sum(waits) / len(waits))
    assert sum(found["count"]) == len(inside) == sum(found["priorities"].values())
