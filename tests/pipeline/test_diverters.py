import msgspec
import numpy as np
import pytest

from edge_agent.core import AlarmDefinition, AlarmEvent, Connection, Heartbeat, Samples, Start, Tag, pack
from edge_agent.core.samples import Run
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.diverters import LEDGER_EVERY_NS, OUTPUTS, DiverterPlan, FeederPlan, SectionPlan
from edge_agent.pipeline.plan import PipelinePlan, SourcePlan
from models.material.divert import CLEARING, DIVERTING, FEED, FEED_UNKNOWN, INSTRUMENT_UNKNOWN, MEASURED, NORMAL, PENDING, START, UNSEEN
from tests.pipeline.line import T0, S, reborn, run, substance

API, EXCIPIENT, NIR, FEEDBACK = range(4)
NAMES = ("cm1/api", "cm1/excipient", "cm1/nir", "cm1/diverter")


def plan(**more):
    given = {
        "name": "cm1/divert", "outputs": tuple(f"cm1/divert.{o}" for o in OUTPUTS),
        "feeders": (FeederPlan("cm1/api", 1.0, 0.005), FeederPlan("cm1/excipient", 0.0, 0.005)),
        "sections": (
            SectionPlan(({"kind": "tanks", "tau_s": 12.0, "tanks": 3.0},), "cm1/nir", 1.0, 3, 5.0),
            SectionPlan(({"kind": "tanks", "tau_s": 4.0, "tanks": 1.0, "dead_s": 6.0},)),
        ),
        "target": 0.1, "limits": (95.5, 104.5), "unknown": (0.0, 200.0), "nominal_kg_h": 20.0, "step_s": 1.0, "hold_s": 3.0, "lead_s": 5.0,
        "after_s": 3.0, "valid_s": 2.0, "tolerance": 0.1, "feedback": "cm1/diverter",
    }  # fmt: skip
    return DiverterPlan(**(given | more))


def start(second=0.0, **more):
    diverter = plan(**more)
    tags = [Tag(id=i, name=n, class_="gmp_critical", path="cm1") for i, n in enumerate(NAMES)]
    tags += [
        Tag(id=len(tags) + i, name=n, path="cm1", record="changes", record_reason="t", derived_from=NAMES[:2]) for i, n in enumerate(diverter.outputs)
    ]
    alarms = (AlarmDefinition(name="diverting", tag="cm1/divert.divert_request", kind="limit", side="high", limit=0.5),)
    whole = PipelinePlan(sources=(SourcePlan("plc"),), tag_source=dict.fromkeys(NAMES, "plc"), diverters=(diverter,))
    return Start(received_ns=at(second), edge="e1", config=msgspec.to_builtins(whole), config_hash="c", tags=tuple(tags), alarms=alarms)


def at(second):
    return T0 + round(second * S)


def instant(second, api=2.0, excipient=18.0, nir=100.0, feedback=0.0, status=(0, 0, 0, 0)):
    """Flows, NIR and feedback of one second; None: nothing came."""
    rows = [(i, v, s) for i, (v, s) in enumerate(zip((api, excipient, nir, feedback), status, strict=True)) if v is not None]
    k, v, s = zip(*rows, strict=True)
    return Samples.of([at(second - 0.05)] * len(k), list(k), list(v), list(s), at(second - 0.04))


def life(*, to=400, begin=True, **changes):
    """Entries of a calm line; `changes`: keyword of `instant` to a function of the second, which gives a value or None for nothing."""
    entries = [start(), Connection(received_ns=at(0.2), source="plc", state="connected")] if begin else []
    for second in range(1, to):
        given = {key: change(second) for key, change in changes.items()}
        entries.append(instant(second, **given))
    return entries


def told(records):
    """{output: [(second, value)]} of a diverter's derived tags."""
    found = {o: [] for o in OUTPUTS}
    for r in records:
        if isinstance(r, Samples):
            for t, k, v in zip(r.time_ns.tolist(), r.tag.tolist(), r.value.tolist(), strict=True):
                if k >= len(NAMES):
                    found[OUTPUTS[k - len(NAMES)]].append(((t - T0) / S, v))
    return found


def requested(records):
    """Spans [from, to) of the request."""
    changes, spans = told(records)["divert_request"], []
    for (t, v), (end, _) in zip(changes, [*changes[1:], (np.inf, 0.0)], strict=True):
        if v:
            spans.append((t, end))
    return spans


def test_a_line_of_which_nothing_is_known_is_diverted_until_it_is_washed_out():
    pipeline = Pipeline()
    records = run(pipeline, life(to=120))
    spans = requested(records)
    assert len(spans) == 1
    assert spans[0][0] == 0.0
    assert 35 < spans[0][1] < 60  # t_97.5 % of the train with its tolerance, and the margin
    now = pipeline.diverts[0]
    assert (now.request, now.reason, now.state) == (False, 0, NORMAL)
    assert now.valid_until_ns == at(118 + 2.0)
    assert now.low == pytest.approx(99.0, abs=0.1)
    assert told(records)["reason"][0][1] == START | FEED_UNKNOWN | INSTRUMENT_UNKNOWN
    assert [(r.alarm, r.event) for r in records if isinstance(r, AlarmEvent)] == [("diverting", "raise"), ("diverting", "clear")]


def outlet(api, seconds):
    """True content at the diverter, in steps of a second, and when it is outside 95 to 105 %."""
    from models.material.residence import Tanks, train

    w = train((Tanks(tau_s=12, tanks=3), Tanks(tau_s=4, dead_s=6)), 1.0)
    fed = np.array([api(s) for s in range(seconds)])
    content = 1000 * fed / (fed + 18.0)
    return np.convolve(np.concatenate([np.full(len(w), 100.0), content]), w)[len(w) : len(w) + seconds]


def test_a_disturbance_of_the_feed_is_followed_to_the_diverter():
    def api(s):
        return 2.6 if 150 <= s < 165 else 2.0

    def nir(s):
        return 100.0  # the instrument sees nothing: the feeders alone must do

    records = run(Pipeline(), life(to=300, api=api, nir=nir))
    begun, end = requested(records)[1]
    outside = np.flatnonzero(np.abs(outlet(api, 300) - 100) > 5)
    assert begun <= outside[0] - 3  # the lead, but for the step in which a parcel enters
    assert begun > 150
    assert end >= outside[-1] + 3
    assert end < outside[-1] + 25
    assert [v for t, v in told(records)["state"] if t > 140][-3:] == [DIVERTING, CLEARING, NORMAL]
    assert {v for t, v in told(records)["reason"] if begun <= t < end} == {FEED}


def test_what_is_coming_is_told_with_the_time_it_takes():
    far = (SectionPlan(({"kind": "tanks", "tau_s": 12.0, "tanks": 3.0},)), SectionPlan(({"kind": "tanks", "tau_s": 2.0, "dead_s": 30.0},)))
    entries = life(to=300, api=lambda s: 2.6 if 150 <= s < 165 else 2.0)
    records = run(Pipeline(), [start(sections=far), *entries[1:]])
    spans = requested(records)
    assert [v for t, v in told(records)["state"] if t > 140] == [PENDING, DIVERTING, CLEARING, NORMAL]
    pending = next(t for t, v in told(records)["state"] if v == PENDING)
    coming = next(v for t, v in told(records)["starts_s"] if t == pending)
    assert pending + coming == pytest.approx(spans[-1][0] + 5.0, abs=4.0)
    assert next(v for t, v in told(records)["ends_s"] if t == pending) > coming


def test_a_disturbance_that_the_blender_takes_is_not_diverted():
    records = run(Pipeline(), life(to=300, api=lambda s: 2.2 if 150 <= s < 153 else 2.0))
    assert len(requested(records)) == 1


def test_what_only_the_instrument_sees_is_diverted_too():
    records = run(Pipeline(), life(to=300, nir=lambda s: 108.0 if 150 <= s < 170 else 100.0))
    begun, end = requested(records)[1]
    assert 150 <= begun <= 156
    assert end > 170 + 6
    assert {v for t, v in told(records)["reason"] if begun <= t < 170} == {MEASURED}


@pytest.mark.parametrize(
    ("missing", "reason", "soon"),
    [
        ({"api": lambda s: None if 150 <= s < 170 else 2.0}, FEED_UNKNOWN, 155),
        ({"status": lambda s: (0x808C0000 if 150 <= s < 170 else 0, 0, 0, 0)}, FEED_UNKNOWN, 152),
        ({"status": lambda s: (0, 0x40000000 if 150 <= s < 170 else 0, 0, 0)}, FEED_UNKNOWN, 152),
        ({"nir": lambda s: None if 150 <= s < 170 else 100.0}, INSTRUMENT_UNKNOWN, 156),
    ],
)
def test_what_is_missing_or_bad_diverts(missing, reason, soon):
    records = run(Pipeline(), life(to=300, **missing))
    begun, end = requested(records)[1]
    assert 149 <= begun <= soon
    assert end > 170 + 15
    assert {int(v) & reason for t, v in told(records)["reason"] if begun <= t < end} == {reason}


def test_while_the_line_stands_still_its_clock_does():
    def flow(nominal):
        return lambda s: 0.0 if 160 <= s < 260 else nominal

    moving = run(Pipeline(), life(to=300, api=lambda s: 2.6 if 150 <= s < 165 else 2.0))
    stopped = run(Pipeline(), life(to=400, api=lambda s: 0.0 if 160 <= s < 260 else (2.6 if 150 <= s < 265 else 2.0), excipient=flow(18.0)))
    (begun, end), (late_begun, late_end) = requested(moving)[1], requested(stopped)[1]
    assert abs(late_begun - begun - 100) <= 2 or late_begun <= begun
    assert abs(late_end - end - 100) <= 2


def test_time_in_which_the_edge_did_not_run_is_unknown_and_counted():
    pipeline = Pipeline()
    before = run(pipeline, life(to=150))
    later = [start(160), Connection(received_ns=at(160.2), source="plc", state="connected"), *(instant(s) for s in range(161, 300))]
    records = run(reborn(pipeline), later)
    begun, end = requested(records)[0]
    assert begun == 160.0
    assert 160 + 15 < end < 240
    assert {int(v) & UNSEEN for t, v in told(records)["reason"] if t < end} == {UNSEEN}
    assert told(records)["unseen_s"][-1][1] == pytest.approx(11.0, abs=5.0)  # and a step or two without a flow at each start
    assert told(records)["accepted_kg"][-1][1] > told(before)["accepted_kg"][-1][1]


def test_the_accounts_hold_what_passed_by_where_the_diverter_was():
    def feedback(s):
        return None if 200 <= s < 202 else (1.0 if s < 60 or 150 <= s < 200 else 0.0)

    pipeline = Pipeline()
    records = run(pipeline, life(to=300, feedback=feedback, status=lambda s: (0, 0, 0, 0x80000000 if s == 199 else 0)))
    last = {o: v[-1][1] for o, v in told(records).items() if o.endswith("_kg") and v}
    accounts = pipeline.state()["diverters"]["lines"]["cm1/divert"]["accounts"]
    parcel = 20 / 3600
    assert last.get("diverted_kg") == pytest.approx(accounts["diverted_kg"])
    assert accounts["diverted_kg"] == pytest.approx((59 + 49) * parcel, abs=3 * parcel)
    assert 2 * parcel < accounts["unconfirmed_kg"] < 8 * parcel
    assert sum(accounts[a] for a in ("accepted_kg", "diverted_kg", "unconfirmed_kg")) == pytest.approx(300 * parcel, abs=6 * parcel)
    assert accounts["against_kg"] == 0.0


def test_a_diverter_that_does_not_obey_is_told():
    pipeline = Pipeline()
    records = run(pipeline, life(to=40))  # it accepts although all is unknown
    assert told(records)["mismatch"][:2] == [(0.0, 0.0), (2.0, 1.0)]
    accounts = pipeline.state()["diverters"]["lines"]["cm1/divert"]["accounts"]
    assert accounts["against_kg"] == pytest.approx(accounts["accepted_kg"], abs=4 * 20 / 3600)


def test_a_diverter_that_obeys_is_never_told_to_be_apart():
    def api(s):
        return 2.6 if 100 <= s < 115 else 2.0

    spans = requested(run(Pipeline(), life(to=200, api=api)))
    assert len(spans) == 2

    def feedback(s):
        return float(any(a + 1 <= s < b + 1 for a, b in spans) or s < 2)

    mismatch = told(run(Pipeline(), life(to=200, api=api, feedback=feedback)))["mismatch"]
    assert {v for _, v in mismatch} == {0.0}


def test_a_source_that_is_away_confirms_nothing():
    pipeline = Pipeline()
    run(pipeline, [*life(to=100), Connection(received_ns=at(99.5), source="plc", state="disconnected")])
    records = run(pipeline, [Heartbeat(received_ns=at(120))])
    assert told(records)["mismatch"][-1][1] == 2.0  # it is not apart from the request: nobody knows where it is
    accounts = pipeline.state()["diverters"]["lines"]["cm1/divert"]["accounts"]
    assert accounts["unconfirmed_kg"] > 0.0
    assert accounts["unseen_s"] > 15.0  # and flows that are old are none: nobody knows how much moved


def odd_life():
    """A line with everything that can happen to it."""
    rng = np.random.default_rng(5)
    entries = [start(), Connection(received_ns=at(0.2), source="plc", state="connected")]
    for s in range(1, 130):
        nir = None if 80 <= s < 95 else 100 + rng.normal()
        entries.append(instant(s, api=None if s in (70, 71) else 2 + 0.05 * rng.normal(), nir=nir, feedback=float(rng.random() < 0.2)))
    return [*entries, start(140), *(instant(s, api=2.5) for s in range(141, 180)), Heartbeat(received_ns=at(200))]


def test_cuts_and_restarts_change_no_bit():
    whole, parts = Pipeline(), Pipeline()
    expected = run(whole, odd_life())
    found = []
    for i, entry in enumerate(odd_life()):
        for piece in [entry.take(slice(k, k + 1)) for k in range(len(entry))] if isinstance(entry, Samples) else [entry]:
            if i % 3 == 0:
                parts = reborn(parts)
            found += parts.step(piece)
    assert substance(found) == substance(expected)
    assert pack(parts.state()) == pack(whole.state())


def test_recorded_entries_give_the_same_records_as_stepped_ones():
    entries = [e for e in life(to=80) if isinstance(e, Samples)]
    stepped, run_ = Pipeline(), Pipeline()
    expected, found = run(stepped, [start(), *entries]), run(run_, [start()])
    ends = np.cumsum([len(e) for e in entries])
    whole = Run(Samples.joined(entries), ends.astype(np.int64), np.array([e.received_ns for e in entries], np.int64))
    for part in run_.run(whole):
        assert isinstance(part, tuple), "no pass over the ticks of a diverter"
        found += part[1]
    assert substance(found) == substance(expected)
    assert pack(run_.state()) == pack(stepped.state())


def test_another_configuration_keeps_the_accounts_and_knows_nothing_of_the_material():
    pipeline = Pipeline()
    run(pipeline, life(to=120))
    before = pipeline.state()["diverters"]["lines"]["cm1/divert"]["accounts"]
    pipeline.step(start(119.5, limits=(96.0, 104.0)))
    after = pipeline.state()["diverters"]["lines"]["cm1/divert"]["accounts"]
    assert after["accepted_kg"] == before["accepted_kg"]
    assert pipeline.diverts[0].request


def test_the_accounts_are_told_every_ten_seconds_and_at_every_change():
    records = run(Pipeline(), life(to=120))
    seconds = [t for t, _ in told(records)["accepted_kg"]]
    assert set(np.arange(60, 115, LEDGER_EVERY_NS / S)) <= set(seconds)
    assert len(seconds) < 40


@pytest.mark.parametrize("garbage", [3.4e38, 1e6, np.inf])
def test_a_flow_that_no_feeder_can_have_is_not_known(garbage):
    pipeline = Pipeline()
    run(pipeline, life(to=120))
    before = dict(pipeline.diverts[0].accounts)
    assert not pipeline.diverts[0].request
    run(pipeline, [instant(120, api=garbage), instant(121, api=garbage)])
    now = pipeline.diverts[0]
    assert now.request
    assert now.reason & FEED_UNKNOWN
    assert dict(now.accounts)["accepted_kg"] <= before["accepted_kg"] + 2 * 20.0 / 3600.0
