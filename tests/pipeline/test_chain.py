"""The rules of the pipeline, each by an example that an operator or auditor would recognise."""

import msgspec
import numpy as np
import pytest

from edge_agent.core import (
    Action,
    AlarmDefinition,
    AlarmEvent,
    Connection,
    Context,
    Definitions,
    Filled,
    Gap,
    Heartbeat,
    OperatorAction,
    Overflow,
    Recalled,
    RecalledTexts,
    Samples,
    Tag,
    Texts,
)
from edge_agent.core.status import BAD_SENSOR_FAILURE, UNCERTAIN_SIMULATED
from edge_agent.pipeline.chain import NotStarted, Pipeline
from tests.pipeline.line import BATCH, FORCE, MODE, SPEED, T0, S, alarms, reborn, run, start, summaries, values

HIGH = "press1/force.high"


def begun(**plan: object) -> Pipeline:
    p = Pipeline()
    run(p, [start(models=(), **plan), Connection(received_ns=T0, source="plc", state="connected")])
    return p


def idle(second: float) -> Heartbeat:
    return Heartbeat(received_ns=T0 + round(second * S))


def test_nothing_is_stepped_before_a_start():
    with pytest.raises(NotStarted):
        Pipeline().step(idle(1))


def test_a_start_tells_the_definitions_that_later_records_cite():
    records = Pipeline().step(start())
    assert isinstance(records[0], Definitions)
    assert records[0].tags == start().tags


def test_a_value_that_steps_over_its_limit_and_never_changes_still_raises_after_its_delay():
    p = begun()
    assert alarms(run(p, [values(1, 17.0)])) == []
    assert (HIGH, "raise") in alarms(run(p, [idle(3)]))


def test_bad_quality_neither_raises_nor_clears_but_has_a_diagnostic_of_its_own():
    p = begun()
    run(p, [values(1, 17.0), values(2, 17.0), values(3, 17.0)])
    found = alarms(run(p, [values(4, 0.0, status=BAD_SENSOR_FAILURE), idle(5)]))
    assert found == [("press1/force.bad_quality", "raise")]
    assert ("press1/force.bad_quality", "clear") in alarms(run(p, [values(5, 17.0)]))


def test_a_periodic_tag_goes_stale_after_three_periods_and_comes_back():
    p = begun()
    run(p, [values(1, 12.0), *(values(t, 50.0, tag=SPEED) for t in (1, 2, 3))])
    assert alarms(run(p, [idle(3.9)])) == []
    assert alarms(run(p, [idle(4.0)])) == [("press1/force.stale", "raise")]
    assert alarms(run(p, [values(5, 50.0, tag=SPEED), values(6, 12.0)])) == [("press1/force.stale", "clear")]


def test_a_source_that_falls_silent_as_a_whole_is_one_alarm_not_one_per_tag():
    p = begun()
    run(p, [values(1, 12.0), values(1, 50.0, tag=SPEED)])
    assert alarms(run(p, [idle(30)])) == [("source/plc.disconnected", "raise")]
    assert alarms(run(p, [values(31, 12.0)])) == [("source/plc.disconnected", "clear")]
    assert alarms(run(p, [values(t, 12.0) for t in range(32, 34)])) == []


def test_tags_of_a_source_that_is_away_are_not_called_stale_but_the_source_is():
    p = begun()
    run(p, [values(1, 12.0), Connection(received_ns=T0 + 2 * S, source="plc", state="disconnected", detail="refused")])
    assert alarms(run(p, [idle(30)])) == [("source/plc.disconnected", "raise")]
    assert alarms(run(p, [Connection(received_ns=T0 + 31 * S, source="plc", state="connected")])) == [("source/plc.disconnected", "clear")]
    assert alarms(run(p, [*(values(t, 50.0, tag=SPEED) for t in (32, 33)), idle(33.9)])) == []
    assert alarms(run(p, [idle(34.1)])) == [("press1/force.stale", "raise")]


def test_what_a_source_lost_while_away_is_declared_once_it_is_back():
    p = begun()
    run(p, [values(t, 12.0) for t in range(1, 6)])
    run(p, [Connection(received_ns=T0 + 6 * S, source="plc", state="disconnected")])
    gaps = [
        r
        for r in run(p, [Connection(received_ns=T0 + 9 * S, source="plc", state="connected"), values(10, 12.0), values(11, 12.0)])
        if isinstance(r, Gap)
    ]
    assert [(g.tag, g.from_ns, g.to_ns, g.missing) for g in gaps] == [(FORCE, T0 + 5 * S, T0 + 10 * S, 4)]


def test_a_resumed_stream_without_a_hole_declares_nothing():
    p = begun()
    run(p, [values(1, 12.0), Connection(received_ns=T0 + 2 * S, source="plc", state="disconnected")])
    records = run(
        p, [Connection(received_ns=T0 + 4 * S, source="plc", state="resumed"), values(2, 12.0, received_s=4), values(3, 12.0, received_s=4)]
    )
    assert not [r for r in records if isinstance(r, Gap)]


def test_an_overflow_at_the_server_is_a_gap():
    records = begun().step(Overflow(received_ns=T0 + 9 * S, source="plc", tag=FORCE, after_ns=T0 + 1 * S, before_ns=T0 + 5 * S))
    assert [(r.tag, r.missing) for r in records if isinstance(r, Gap)] == [(FORCE, 3)]


def test_an_overflow_before_a_stamp_far_ahead_lasts_to_its_receipt_at_the_most():
    """Of a device whose clock went a year ahead: the value behind the hole is rejected, and nothing is missing that has not been yet."""
    year = 365 * 86_400
    for after_s, before_s, gap in (
        (5, year, (5, 9, 3)),  # the clock went ahead within the hole
        (year, year + 60, (9, 9, 0)),  # it had been ahead before: nothing tells how much is missing
        (year, 8, (8, 8, 0)),  # it came back within the hole
        (5, 13, (5, 13, 7)),  # ahead by no more than is taken
    ):
        p = begun()
        run(p, [values(5, 12.0)])
        records = p.step(Overflow(received_ns=T0 + 9 * S, source="plc", tag=FORCE, after_ns=T0 + after_s * S, before_ns=T0 + before_s * S))
        assert [((g.from_ns - T0) // S, (g.to_ns - T0) // S, g.missing) for g in records if isinstance(g, Gap)] == [gap]


def test_what_a_history_brings_is_late_stored_and_taken_back_from_the_gap():
    p = begun()
    away = [values(1, 12.0), Connection(received_ns=T0 + 2 * S, source="plc", state="disconnected")]
    run(p, [*away, Connection(received_ns=T0 + 40 * S, source="plc", state="connected"), values(41, 12.0)])
    assert p.newest_ns(FORCE) == T0 + 41 * S
    after = Samples(T0 + np.arange(2, 41) * S, np.full(39, FORCE, np.int32), np.full(39, 19.0), np.zeros(39, np.uint32), T0 + 63 * S)
    filled = Filled(received_ns=T0 + 63 * S, source="plc", tag=FORCE, after_ns=T0 + 1 * S, before_ns=T0 + 41 * S, values=45)
    records = run(p, [*(values(t, 12.0) for t in range(42, 64)), after, filled])
    assert [(g.missing, g.cause) for g in records if isinstance(g, Gap)] == [(-39, "filled from history: 45 values")]
    assert HIGH not in {r.alarm for r in records if isinstance(r, AlarmEvent)}, "19 kN, but long ago"
    assert p.totals()["late"][FORCE] == 39
    assert p.newest_ns(FORCE) == T0 + 63 * S


def test_texts_that_were_missed_are_declared_and_what_a_history_brings_changes_no_unit():
    p = begun()
    run(p, [Texts((T0 + 1 * S,), (BATCH,), ("B1",), (0,), T0 + 1 * S), Connection(received_ns=T0 + 2 * S, source="plc", state="disconnected")])
    assert p.newest_ns(BATCH) == T0 + 1 * S
    back = [Connection(received_ns=T0 + 40 * S, source="plc", state="connected"), Texts((T0 + 30 * S,), (BATCH,), ("B4",), (0,), T0 + 40 * S)]
    records = run(p, back)
    assert [(g.tag, g.from_ns, g.to_ns) for g in records if isinstance(g, Gap)] == [(BATCH, T0 + 1 * S, T0 + 30 * S)]
    filled = Filled(received_ns=T0 + 63 * S, source="plc", tag=BATCH, after_ns=T0 + 1 * S, before_ns=T0 + 30 * S, values=2)
    found = run(p, [RecalledTexts((T0 + 10 * S, T0 + 20 * S), (BATCH, BATCH), ("B2", "B3"), (0, 0), T0 + 63 * S), filled])
    assert [(type(r), r.value) for r in found if isinstance(r, Texts)] == [(Texts, ("B2", "B3"))]
    assert not [r for r in found if isinstance(r, Context)]
    assert [(g.missing, g.cause) for g in found if isinstance(g, Gap)] == [(0, "filled from history: 2 values")]
    assert p.newest_ns(BATCH) == T0 + 30 * S


def test_a_text_stamped_far_ahead_makes_no_later_one_seem_old():
    p, year = begun(), T0 + 365 * 86_400 * S
    found = run(p, [Texts((at,), (BATCH,), (b,), (0,), T0 + t * S) for t, at, b in ((1, year, "B1"), (2, T0 + 2 * S, "B2"))])
    assert [(c.value, c.time_ns) for c in found if isinstance(c, Context) and c.role == "batch"] == [("B1", T0 + 1 * S), ("B2", T0 + 2 * S)]
    assert [r.time_ns for r in found if isinstance(r, Texts)] == [(year,), (T0 + 2 * S,)], "each is kept as it came"
    assert p.newest_ns(BATCH) == T0 + 2 * S


def test_no_more_is_taken_back_than_was_declared():
    p = begun()
    run(p, [values(1, 12.0), Connection(received_ns=T0 + 2 * S, source="plc", state="disconnected")])
    run(p, [Connection(received_ns=T0 + 4 * S, source="plc", state="connected"), values(6, 12.0)])
    taken = []
    for _ in range(3):
        taken += p.step(Filled(received_ns=T0 + 63 * S, source="plc", tag=FORCE, after_ns=T0 + S, before_ns=T0 + 90 * S, values=3))
        p = reborn(p)
    assert [g.missing for g in taken if isinstance(g, Gap)] == [-3, -1, 0]


def recalled(received_s: float, *rows: tuple[float, float], tag: int = FORCE) -> Recalled:
    return Recalled.of([T0 + round(t * S) for t, _ in rows], [tag] * len(rows), [v for _, v in rows], received_ns=T0 + round(received_s * S))


def test_what_a_history_brings_is_no_sign_of_life():
    p = begun()
    run(p, [values(1, 12.0), *(values(t, 50.0, tag=SPEED) for t in range(1, 40))])
    fill = recalled(40, *((t / 10, 12.0) for t in range(1, 10)))
    records = run(p, [fill, idle(40.5)])
    assert p.totals()["late"][FORCE] == 9
    assert alarms(records) == [], "press1/force is stale still"
    assert alarms(run(p, [values(41, 12.0)])) == [("press1/force.stale", "clear")]
    p = begun()
    run(p, [values(1, 12.0), values(1, 50.0, tag=SPEED), idle(30)])
    assert alarms(run(p, [recalled(31, (0.5, 12.0)), idle(32)])) == [], "nothing is heard from the source still"
    assert alarms(run(p, [values(33, 12.0)])) == [("source/plc.disconnected", "clear")]


def test_a_tag_recorded_by_changes_loses_none_by_what_a_history_brings_in_between():
    p, planned = Pipeline(), start(models=())
    tags = tuple(msgspec.structs.replace(t, record="changes", record_reason="t") if t.id == FORCE else t for t in planned.tags)
    run(p, [msgspec.structs.replace(planned, tags=tags), Connection(received_ns=T0, source="plc", state="connected")])
    live = [values(1, 7.0), *(values(t, 7.0) for t in range(40, 45))]
    fill = recalled(45, (2, 7.0), (3, 3.0), (4, 3.0), (5, 5.0), (6, 7.0))
    records = run(p, [*live, fill, values(46, 5.0), recalled(47, (7, 7.0), (8, 7.0))])
    kept = [(t, v) for r in records if isinstance(r, Samples) for t, k, v in zip(r.time_ns, r.tag, r.value, strict=True) if k == FORCE]
    steps = {round((int(t) - T0) / S): float(v) for t, v in kept}
    assert {t: steps[t] for t in (1, 3, 5, 6, 46)} == {1: 7.0, 3: 3.0, 5: 5.0, 6: 7.0, 46: 5.0}
    assert sorted(steps) == [1, 2, 3, 5, 6, 7, 46], "the first of what came in between is there in any case, and what repeats is not"


def test_an_overflow_behind_an_absence_begins_with_the_last_value_of_a_tag_that_reports_by_exception():
    p, planned = Pipeline(), start(models=())
    tags = tuple(msgspec.structs.replace(tag, expected_s=None) for tag in planned.tags)
    run(p, [msgspec.structs.replace(planned, tags=tags), Connection(received_ns=T0, source="plc", state="connected"), values(1, 50.0, tag=SPEED)])
    told = p.step(Overflow(received_ns=T0 + 9 * S, source="plc", tag=SPEED, after_ns=T0 + 5 * S, before_ns=T0 + 5 * S))
    assert [(g.from_ns, g.to_ns, g.missing) for g in told if isinstance(g, Gap)] == [(T0 + 1 * S, T0 + 5 * S, 0)]


def test_one_dead_tag_holds_no_window_open_and_one_future_stamp_closes_none():
    p = begun()
    run(p, [values(1, 12.0), values(2, 50.0, tag=SPEED)])
    records = run(p, [values(t, 50.0, tag=SPEED) for t in range(3, 14)])
    rows = summaries(records)
    assert rows["tag"].tolist() == [FORCE, SPEED]
    p = begun()
    assert not [r for r in run(p, [values(1, 12.0), values(4.9, 50.0, tag=SPEED, received_s=1.0)]) if type(r).__name__ == "Summaries"]


def test_windows_close_by_the_clock_when_everything_is_silent():
    p = begun()
    records = run(p, [values(1, 12.0), idle(25)])
    assert summaries(records)["n_good"].tolist() == [1]


def test_late_values_make_a_supplement_and_annunciate_nothing():
    p = begun()
    run(p, [values(t, 12.0) for t in range(1, 15)])
    records = run(p, [values(5.5, 39.0, received_s=14.5), idle(16)])
    assert alarms(records) == []
    rows = summaries(records)
    assert [(r["part"], r["n_late"], r["n_good"], r["sum"]) for r in rows if r["part"] > 1] == [(2, 1, 0, 39.0)]


def test_the_account_of_every_tag_is_complete():
    """Rule 7: good + uncertain + bad + late + rejected + duplicates is what came."""
    rng = np.random.default_rng(3)
    p, n = begun(), 0
    records = []
    for i in range(400):
        t = i * 0.25 + rng.choice([0, 0, 0, -20, 30])
        entry = values(t, float(rng.choice([12.0, 39.0, 50.0, np.nan])), status=int(rng.choice([0, 0x808C0000])), received_s=i * 0.25)
        again = [entry] if rng.random() < 0.1 else []
        n += 1 + len(again)
        records += run(p, [entry, *again])
    rows = summaries(records + run(p, [idle(400)]))
    counts = {c: int(rows[c].sum()) for c in ("n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate")}
    assert sum(counts.values()) == n
    assert all(counts.values()), counts


def test_raw_tags_are_recorded_as_they_came_others_only_in_summaries():
    p = begun()
    entry = values(1, 12.0)
    assert any(r is entry for r in run(p, [entry]))
    assert not [r for r in run(p, [values(2, 50.0, tag=SPEED)]) if isinstance(r, Samples)]


def test_a_repeated_value_is_recorded_once():
    p = begun()
    recorded = [r for r in run(p, [values(1, 12.0), values(1, 12.0, received_s=2)]) if isinstance(r, Samples)]
    assert sum(len(r) for r in recorded) == 1


def test_simulated_values_are_judged_only_on_a_simulated_edge():
    for simulated, expected in ((True, [(HIGH, "raise")]), (False, [])):
        p = begun(simulated=simulated)
        records = run(p, [values(t, 17.0, status=UNCERTAIN_SIMULATED) for t in (1, 2, 3)])
        assert [e for e in alarms(records) if e[0] == HIGH] == expected


def test_a_unit_in_cleaning_raises_nothing_and_teaches_nothing():
    p = Pipeline()
    run(p, [start(), Connection(received_ns=T0, source="plc", state="connected"), Texts((T0,), (MODE,), ("cleaning",), (0,), T0)])
    found = run(p, [values(t, 39.0) for t in range(1, 30)])
    assert alarms(found) == []
    assert set(summaries(found)["mode"].tolist()) == {1}
    run(p, [Texts((T0 + 30 * S,), (MODE,), ("production",), (0,), T0 + 30 * S)])
    assert (HIGH, "raise") in alarms(run(p, [values(t, 17.0) for t in (31, 32, 33)]))


def test_batch_changes_become_context_once():
    p = begun()
    texts = [Texts((T0 + t * S,), (BATCH,), (b,), (0,), T0 + t * S) for t, b in ((1, "B1"), (2, "B1"), (3, "B2"))]
    found = [(c.value, c.previous) for c in run(p, texts) if isinstance(c, Context)]
    assert found == [("B1", ""), ("B2", "B1")]


def test_an_acknowledgement_acts_on_its_occurrence_and_survives_a_restart():
    p = begun()
    raised = [r for r in run(p, [values(t, 17.0) for t in (1, 2, 3)]) if getattr(r, "alarm", "") == HIGH]
    action = OperatorAction(id="a1", kind="acknowledge", alarm=HIGH, raised_ns=raised[0].raised_ns, user="op1", time_ns=T0 + 4 * S, reason="seen")
    p = reborn(p)
    (event,) = run(p, [Action(received_ns=T0 + 4 * S, action=action)])
    assert (event.event, event.state_to, event.action_id, event.user) == ("acknowledge", "ACKED", "a1", "op1")
    assert run(p, [Action(received_ns=T0 + 5 * S, action=action)]) == []


def test_a_restart_while_the_condition_stands_makes_no_new_occurrence():
    p = begun()
    run(p, [values(t, 17.0) for t in (1, 2, 3)])
    p = reborn(p)
    records = run(
        p, [start(T0 + 10 * S, models=()), Connection(received_ns=T0 + 10 * S, source="plc", state="connected"), values(11, 17.0), values(12, 17.0)]
    )
    assert [e for e in alarms(records) if e[0] == HIGH] == []


def test_the_time_the_agent_was_down_makes_no_tag_stale():
    p = begun()
    run(p, [values(1, 12.0)])
    records = run(
        reborn(p), [start(T0 + 100 * S, models=()), Connection(received_ns=T0 + 100 * S, source="plc", state="connected"), values(101, 12.0)]
    )
    assert alarms(records) == []


def test_an_alarm_on_a_score_says_what_drove_it():
    p = Pipeline()
    run(p, [start(models=("robust_z",)), Connection(received_ns=T0, source="plc", state="connected")])
    found = run(p, [values(t, 12.0 + 0.1 * (t % 3)) for t in range(1, 12)] + [values(12, 15.0)])
    (event,) = [r for r in found if getattr(r, "alarm", "") == "press1/force.robust_z"]
    assert event.advisory
    assert event.contributions["press1/force"] == 15.0
    assert len(event.contributions) > 1


def test_what_a_broker_kept_while_the_agent_was_down_is_judged_as_if_it_had_been_up():
    p = begun()
    run(p, [values(1, 12.0)])
    backlog = [values(t, 17.0, received_s=601) for t in range(2, 600)]
    records = run(
        reborn(p), [start(T0 + 600 * S, models=()), Connection(received_ns=T0 + 600 * S, source="plc", state="connected"), *backlog, idle(640)]
    )
    assert (HIGH, "raise") in alarms(records)
    assert summaries(records)["n_late"].sum() == 0


def test_a_fast_tag_is_not_called_stale_between_two_notifications():
    definition = start(models=())
    fast = tuple(msgspec.structs.replace(t, expected_s=0.1) if t.id == FORCE else t for t in definition.tags)
    p = Pipeline()
    run(p, [msgspec.structs.replace(definition, tags=fast), Connection(received_ns=T0, source="plc", state="connected"), values(1, 12.0)])
    assert alarms(run(p, [values(2, 50.0, tag=SPEED), idle(2.9)])) == []
    assert alarms(run(p, [idle(3.0)])) == [("press1/force.stale", "raise")]


def test_a_slow_analyser_has_a_lateness_of_its_own():
    p = begun(tag_lateness_s={"press1/speed": 30.0})
    run(p, [values(t, 12.0) for t in range(1, 25)])
    records = run(p, [values(5, 50.0, tag=SPEED, received_s=25), values(5, 39.0, received_s=25), idle(90)])
    rows = {(int(r["tag"]), int(r["part"])): r for r in summaries(records) if r["start_ns"] == T0}
    assert rows[SPEED, 1]["n_good"] == 1
    assert rows[FORCE, 2]["n_late"] == 1


def test_a_source_s_state_is_told_to_whoever_follows_the_edge():
    p = begun()
    records = run(p, [Connection(received_ns=T0 + S, source="plc", state="disconnected", detail="refused")])
    (told,) = [r for r in records if isinstance(r, Context)]
    assert (told.unit, told.role, told.value, told.reason) == ("source/plc", "connection", "disconnected", "refused")


def test_the_mode_of_a_unit_suppresses_by_design_and_the_phase_sets_the_limit():
    definitions = (
        AlarmDefinition(name="high", tag="press1/force", kind="limit", limit=16.0, suppress_modes=("cleaning",), phase_limits={"start": 20.0}),
    )
    begin = start(alarms=definitions)
    phase = Tag(id=len(begin.tags), name="press1/phase", kind="text", role="phase")
    begin = msgspec.structs.replace(begin, tags=(*begin.tags, phase))
    p = Pipeline()
    run(p, [begin, Connection(received_ns=T0, source="plc", state="connected")])

    def say(tag: int, word: str, second: float) -> list[tuple[str, str]]:
        at = T0 + round(second * S)
        return [(e.event, e.state_to) for e in p.step(Texts((at,), (tag,), (word,), (0,), at)) if isinstance(e, AlarmEvent)]

    assert say(phase.id, "start", 0.5) == []
    assert alarms(run(p, [values(1, 17.0)])) == []
    assert say(phase.id, "run", 1.5) == [("raise", "UNACK")]
    assert say(MODE, "cleaning", 2) == [("suppress", "DSUPR")]
    p = reborn(p)
    assert say(MODE, "production", 3) == [("unsuppress", "UNACK")]


def test_shelving_ends_by_the_clock_of_the_journal():
    p = begun()
    raised = next(e for e in run(p, [values(t, 17.0) for t in (1, 2, 3)]) if isinstance(e, AlarmEvent) and e.alarm == HIGH)
    shelve = OperatorAction(
        id="s", kind="shelve", alarm=HIGH, raised_ns=raised.raised_ns, user="li", role="shift_lead", reason="x", time_ns=T0, duration_s=60.0
    )
    (event,) = p.step(Action(received_ns=T0 + 4 * S, action=shelve))
    assert (event.state_to, event.until_ns) == ("SHLVD", T0 + 64 * S)
    p = reborn(p)
    found = [e for e in run(p, [idle(70)]) if isinstance(e, AlarmEvent) and e.alarm == HIGH]
    assert [(e.event, e.state_to, e.time_ns) for e in found] == [("unsuppress", "UNACK", T0 + 64 * S)]


def test_texts_that_a_broker_delivers_again_change_nothing():
    p = begun()
    sent = [Texts((T0 + t * S,), (BATCH,), (b,), (0,), T0 + t * S) for t, b in ((1, "B1"), (2, "B2"))]
    first = run(p, sent)
    again = run(p, [text.received(T0 + 3 * S) for text in sent])
    assert [r.value for r in first if isinstance(r, Context)] == ["B1", "B2"]
    assert not [r for r in again if isinstance(r, Texts | Context)]


def test_an_older_mode_does_not_replace_a_newer_one():
    p = begun()
    run(p, [Texts((T0 + 5 * S,), (MODE,), ("production",), (0,), T0 + 5 * S)])
    assert not [r for r in run(p, [Texts((T0 + 2 * S,), (MODE,), ("cleaning",), (0,), T0 + 6 * S)]) if isinstance(r, Context)]
    assert (HIGH, "raise") in alarms(run(p, [values(t, 17.0) for t in (7, 8, 9)]))


def test_a_change_of_mode_inside_a_window_keeps_its_statistics_apart():
    p = begun()
    run(p, [values(t, 12.0) for t in (1, 2, 3)])
    run(p, [Texts((T0 + 4 * S,), (MODE,), ("cleaning",), (0,), T0 + 4 * S)])
    rows = summaries(run(p, [values(5, 39.0), idle(60)]))
    force = [(int(r["part"]), int(r["mode"]), int(r["n_good"]), float(r["max"])) for r in rows if r["tag"] == FORCE]
    assert force == [(1, 0, 3, 12.0), (2, 1, 1, 39.0)]


