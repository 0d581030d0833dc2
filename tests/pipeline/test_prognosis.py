"""Remaining life in the pipeline: a fleet's model over cycles of the clock, wear of a process tag and of a machine's vibration, speed that varies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edge_agent.config import load_agent, start_of
from edge_agent.core import (
    Action,
    Audit,
    Block,
    ConfigError,
    Connection,
    Context,
    Heartbeat,
    OperatorAction,
    Run,
    Samples,
    pack,
)  # fmt: skip
from edge_agent.pipeline.banks import Derived
from edge_agent.pipeline.chain import Pipeline
from edge_agent.pipeline.machines import NO_SPEED
from edge_agent.training.fleet import read_fleet, trained
from models.prognosis.remaining import RemainingLife
from models.prognosis.rotating import Bearing
from simulators.rotating import waveform
from tests.models.prognosis.fleet import fleet
from tests.pipeline.line import T0, S, reborn, run, substance
from tests.pipeline.test_runs import both
from tests.training.test_fleet import table

HOUR = 3600 * S
RATE = 25_600
COLUMNS = ("altitude", "mach", "throttle", "s1", "s2", "s3", "s4", "s5")
FLEET = """\
edge: {{site: s1, id: e1}}
tags:
{tags}
  - {{name: pump1/overhauls, description: {{en: Overhauls, zh: 大修次数}}}}
models:
  - {{kind: remaining, name: pump1, file: p.model, every_h: 1, step_s: 600, hold_s: 600, overhauls: pump1/overhauls, inputs: {{{inputs}}}}}
"""
MACHINE = """\
edge: {site: s1, id: e1}
sources: [{kind: spectra, name: daq, folder: /tmp}]
tags:
  - {name: pump1/vibration, kind: block, source: daq, unit: m/s2, description: {en: Pump, zh: 泵}}
  - {name: pump1/speed, unit: r/min, description: {en: Speed, zh: 转速}}
  - {name: filter1/dp, unit: kPa, description: {en: Filter, zh: 过滤器}}
machines:
  - {name: pump1/drive_end, tag: pump1/vibration, speed_rpm: 1480, speed_tag: pump1/speed, bearing: {elements: 9, ball_mm: 7.94, pitch_mm: 39.04}}
models:
  - {kind: wear, tags: [filter1/dp], healthy: 0.5, limit: 1.5, every_h: 1}
  - {kind: wear, tags: [pump1/drive_end.velocity], healthy: 1, limit: 7.1, every_h: 24}
alarms:
  - {kind: limit, name: filter1/change, tag: filter1/dp.wear.rul_low, side: low, limit: 72, priority: 4, advisory: true,
     cause: {en: c}, response: {en: r}}
"""


def shown(start: Any) -> Any:
    raw = tuple(msgspec.structs.replace(t, record="raw") if t.derived_from and t.kind == "numeric" else t for t in start.tags)
    return msgspec.structs.replace(start, tags=raw)


def values(records: Any, start: Any) -> dict[str, list[float]]:
    names = {t.id: t.name for t in start.tags}
    found: dict[str, list[float]] = {}
    for r in records:
        if isinstance(r, Samples):
            for k, v in zip(r.tag.tolist(), r.value.tolist(), strict=True):
                found.setdefault(names[k], []).append(v)
    return found


@pytest.fixture(scope="module")
def pumps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RemainingLife]:
    folder = tmp_path_factory.mktemp("fleet")
    histories = table(folder / "failed.csv", fleet(10, 1))
    read = read_fleet(histories, "unit", COLUMNS[:3], skip=("cycle",))
    file, model = trained(read, name="pumps", steps=(1.0, 0.05, 5.0), trained_by="anna", trained_ns=1, reason="test")
    from edge_agent.core.model_file import write

    write(folder / "p.model", file)
    tags = "\n".join(f"  - {{name: pump1/{c}, description: {{en: {c}, zh: {c}}}}}" for c in COLUMNS)
    (folder / "agent.yaml").write_text(FLEET.format(tags=tags, inputs=", ".join(f"{c}: pump1/{c}" for c in reversed(COLUMNS))), "utf-8")
    return folder, model


def cycles(start: Any, settings: Any, sensors: Any) -> list[Any]:
    ids = [t.id for c in COLUMNS for t in start.tags if t.name == f"pump1/{c}"]
    found = []
    for i, row in enumerate(np.column_stack([settings, sensors])):
        for minutes in (20, 40):
            at = T0 - T0 % HOUR + i * HOUR + minutes * 60 * S
            found.append(Samples.of([at] * len(ids), ids, row.tolist(), 0, at))
    return found


def test_a_unit_of_a_fleet_says_cycle_by_cycle_what_its_file_says(pumps: Any) -> None:
    folder, model = pumps
    start = shown(start_of(load_agent(folder / "agent.yaml"), T0 - T0 % HOUR))
    settings, sensors = fleet(3, 2)[0]
    settings, sensors = settings[:-20][:40], sensors[:-20][:40]
    pipeline = Pipeline()
    said = values(run(pipeline, [start, *cycles(start, settings, sensors)]), start)
    expected = [model.estimate(settings[: i + 1], sensors[: i + 1]) for i in range(39)]
    assert said["pump1.remaining.status"][:19] == [1.0] * 19
    np.testing.assert_allclose(said["pump1.remaining.rul"], [e.remaining for e in expected[19:]], rtol=1e-6)
    np.testing.assert_allclose(said["pump1.remaining.rul_low"], [e.lower for e in expected[19:]], rtol=1e-6)
    assert all(0.0 <= h <= 1.0 for h in said["pump1.remaining.health"])
    # As new again: the history begins anew.
    mark = next(t.id for t in start.tags if t.name == "pump1/overhauls")
    at = T0 - T0 % HOUR + 40 * HOUR
    more = [Samples.of([at + i * HOUR], [mark], [3.0 + (i > 0)], 0, at + i * HOUR) for i in range(2)]
    again = values(run(pipeline, [*more, *[later(e, 42 * HOUR) for e in cycles(start, settings[:25], sensors[:25])]]), start)
    assert again["pump1.remaining.status"][-1] == 0.0
    # The same said by maintenance: as young as behind an overhaul.
    run(pipeline, [found("m1", "renewed", "pump1", at + 29 * HOUR)])
    again = values(run(pipeline, [later(e, 72 * HOUR) for e in cycles(start, settings[:3], sensors[:3])]), start)
    assert again["pump1.remaining.status"][-1] == 1.0


def found(id_: str, kind: Any, subject: str, at_ns: int, role: str = "maintenance", *, of: int = 0) -> Action:
    """What a person found, `of` the time of the advice."""
    action = OperatorAction(id=id_, kind=kind, alarm=subject, raised_ns=of, user="zhou", role=role, reason="R", time_ns=at_ns)
    return Action(received_ns=at_ns, action=action)


def clogging(dp: int, first: int, last: int, level: float = 0.5) -> list[Samples]:
    """Half hours of a filter: from `level` on, a quarter of a percent of a kPa each."""
    half = HOUR // 2
    return [
        Samples.of([T0 + i * half], [dp], [level + 0.0025 * (i - first) + 0.01 * (i * 7 % 5)], 0, T0 + i * half) for i in range(first, last)
    ]  # fmt: skip


def advised(records: Any) -> list[str]:
    found = [r for r in records if isinstance(r, Context) and r.role == "advice"]
    return [msgspec.json.decode(r.value)["urgency"] if r.value else "" for r in found]


def newest(records: Any) -> int:
    """The time of the advice given last."""
    return [r for r in records if isinstance(r, Context) and r.role == "advice" and r.value][-1].time_ns


def refusals(records: Any) -> list[tuple[str, str, str]]:
    return [(r.action_id, r.action, r.reason) for r in records if isinstance(r, Audit) and r.action.endswith("_refused")]


def test_a_part_that_maintenance_made_new_is_judged_anew(machine: Any) -> None:
    start = shown(machine)
    dp = next(t.id for t in start.tags if t.name == "filter1/dp")
    pipeline = Pipeline()
    # 0.2 kPa lower behind the service: less than what is taken for one without being told.
    given = run(pipeline, [start, *clogging(dp, 0, 160)])
    assert advised(given) == ["plan"]
    at = T0 + 160 * HOUR // 2
    wrong = [found("m0", "renewed", "filter1/dp", at, of=newest(given) - 1), found("m9", "renewed", "filter1/dp", at, of=newest(given))]
    late = msgspec.structs.replace(wrong[1], action=msgspec.structs.replace(wrong[1].action, time_ns=at - 601 * S))
    assert refusals(run(pipeline, [wrong[0], late])) == [
        ("m0", "renewed_refused", "this advice is over: other advice stands"), ("m9", "renewed_refused", "asked too long ago")
    ]  # fmt: skip
    said_new = found("m1", "renewed", "filter1/dp", at, of=newest(given))
    told = run(pipeline, [said_new, said_new])
    (audit,) = [a for a in told if isinstance(a, Audit)]
    assert (audit.action, audit.object, audit.action_id, audit.user) == ("renewed", "filter1/dp", "m1", "zhou")
    assert audit.old.startswith("plan: ")
    assert advised(told) == [""]
    said = values(run(pipeline, clogging(dp, 161, 181, 0.7)), start)
    assert "filter1/dp.wear.rul" not in said  # ten means are too few for a drift: those from before the service are gone
    assert said["filter1/dp.wear.health"][0] == pytest.approx(0.8, abs=0.05)


def test_what_was_no_fault_is_not_advised_again_while_the_same_is_found(machine: Any) -> None:
    start = shown(machine)
    dp = next(t.id for t in start.tags if t.name == "filter1/dp")
    pipeline = Pipeline()
    given = run(pipeline, [start, *clogging(dp, 0, 120)])
    assert advised(given) == ["plan"]
    at, plan = T0 + 120 * HOUR // 2, newest(given)
    told = run(pipeline, [found("m0", "no_fault", "filter1/dp", at, of=plan - 1)])
    assert (advised(told), refusals(told)) == ([], [("m0", "no_fault_refused", "this advice is over: other advice stands")])
    assert advised(run(pipeline, [found("m1", "no_fault", "filter1/dp", at, of=plan)])) == [""]
    pipeline = reborn(pipeline)
    assert advised(run(pipeline, clogging(dp, 121, 150, 0.8))) == []  # it drifts on as it did
    given = run(pipeline, clogging(dp, 150, 240, 0.8725))
    assert advised(given) == ["act"]  # more urgent: that is news
    pipeline = reborn(pipeline)
    # The older advice is over: what is said of it silences nothing that stands now.
    at = T0 + 240 * HOUR // 2
    told = run(pipeline, [found("m2", "no_fault", "filter1/dp", at, of=plan), found("m3", "withdraw_no_fault", "filter1/dp", at, of=plan)])
    assert advised(told) == []
    assert refusals(told) == [
        ("m2", "no_fault_refused", "this advice is over: other advice stands"),
        ("m3", "withdraw_no_fault_refused", "nothing is kept silent because of this advice"),
    ]


def test_what_was_rejected_is_advised_again_when_it_has_clearly_grown(machine: Any) -> None:
    start = shown(machine)
    dp = next(t.id for t in start.tags if t.name == "filter1/dp")
    pipeline = Pipeline()
    given = run(pipeline, [start, *clogging(dp, 0, 120)])
    assert advised(given) == ["plan"]
    at, plan = T0 + 120 * HOUR // 2, newest(given)
    told = run(pipeline, [found("r0", "rejected", "filter1/dp", at, of=plan - 1), found("r1", "rejected", "filter1/dp", at, of=plan)])
    assert refusals(told) == [("r0", "rejected_refused", "this advice is over: other advice stands")]
    assert [(a.action, a.reason, a.action_id) for a in told if isinstance(a, Audit)][1:] == [("rejected", "R", "r1")]
    assert advised(told) == [""]
    pipeline = reborn(pipeline)
    # It goes on as it did: nothing for a while, and then once more, when half of the time is over.
    assert advised(run(pipeline, clogging(dp, 121, 160, 0.8))) == []
    drifts = run(pipeline, clogging(dp, 160, 330, 0.9))
    assert advised(drifts)[0] in ("plan", "act")
    pipeline = reborn(pipeline)
    wrong = run(pipeline, [found("r2", "withdraw_rejected", "filter1/dp", T0 + 330 * HOUR // 2, of=plan)])
    assert refusals(wrong) == [("r2", "withdraw_rejected_refused", "nothing is kept silent because of this advice")]


def test_rejected_advice_whose_early_end_is_over_is_given_again_when_the_middle_has_halved(machine: Any) -> None:
    start = shown(machine)
    ids = {t.name.rpartition(".")[2]: t.id for t in start.tags if t.name.startswith("filter1/dp.wear.")}
    pipeline = Pipeline()
    run(pipeline, [start])

    def left(hour: int, rul: float) -> list[Context]:
        figures = {"rul": rul, "rul_low": 0.0, "rul_high": 30.0, "drift": 0.01, "health": 0.1}
        at, n = T0 + hour * HOUR, len(figures)
        rows = Samples.of([at] * n, [ids[k] for k in figures], list(figures.values()), 0, at)
        zero = np.zeros(n, np.uint8)
        derived = Derived(rows, zero, zero, np.zeros(n, np.intp), 0, (), np.zeros((n, 0)))
        return [context for _, context in pipeline._parts.advisor.derived(derived, np.array([at]))]

    given = left(1, 14.0)
    assert advised(given) == ["act"]
    assert advised(run(pipeline, [found("r1", "rejected", "filter1/dp", T0 + 2 * HOUR, of=newest(given))])) == [""]
    assert advised(left(3, 10.0)) == []
    pipeline = reborn(pipeline)
    assert advised(left(4, 7.5)) == []
    given = left(5, 7.0)
    assert advised(given) == ["act"]
    run(pipeline, [found("r2", "rejected", "filter1/dp", T0 + 6 * HOUR, of=newest(given))])
    state = pipeline._parts.advisor.state()
    assert advised(left(7, 5.0)) == []
    assert advised(left(8, 0.0)) == ["act"]
    # A checkpoint of an earlier version knows the early end alone: rather once more than never.
    state["hushed"] = [[*kept[:5], kept[5][0]] for kept in state["hushed"]]
    pipeline._parts.advisor.restore(state)
    assert advised(left(7, 5.0)) == ["act"]


def test_advice_is_given_again_when_it_was_a_fault_after_all(machine: Any) -> None:
    start = shown(machine)
    dp = next(t.id for t in start.tags if t.name == "filter1/dp")
    pipeline = Pipeline()
    given = run(pipeline, [start, *clogging(dp, 0, 120)])
    at, plan = T0 + 120 * HOUR // 2, newest(given)
    assert advised(run(pipeline, [found("m1", "no_fault", "filter1/dp", at, of=plan)])) == [""]
    pipeline = reborn(pipeline)
    told = run(pipeline, [found("m2", "withdraw_no_fault", "filter1/dp", at, of=plan)])
    assert [(r.action, r.action_id) for r in told if isinstance(r, Audit)] == [("withdraw_no_fault", "m2")]
    assert advised(run(pipeline, clogging(dp, 121, 130, 0.8))) == ["plan"]


def test_another_fault_of_the_same_machine_is_told_whatever_its_urgency(machine: Any) -> None:
    start = shown(machine)
    pipeline = Pipeline()
    run(pipeline, [start])
    ids = {t.name.rpartition(".")[2]: t.id for t in start.tags if t.name.startswith("pump1/drive_end.") and t.name.count(".") == 1}

    def waveforms(first: int, zone: int, **lines: float) -> list[str]:
        figures = {"zone": float(zone), **dict.fromkeys(("cage", "outer", "inner", "ball"), 0.0), **lines}
        given = []
        for i in range(3):
            at = T0 + (first + i) * HOUR
            rows = Samples.of([at] * len(figures), [ids[k] for k in figures], list(figures.values()), 0, at)
            given += pipeline._parts.advisor.vibration(rows)
        said.extend(given)
        return advised(given)

    said: list[Context] = []
    assert waveforms(1, 4, outer=20.0) == ["act"]
    run(pipeline, [found("m1", "no_fault", "pump1/drive_end", T0 + 5 * HOUR, of=newest(said))])
    assert waveforms(6, 3, outer=20.0) == []  # the same, milder
    assert waveforms(10, 3, inner=20.0) == ["plan"]  # another fault
    run(pipeline, [found("m2", "no_fault", "pump1/drive_end", T0 + 14 * HOUR, of=newest(said))])
    assert waveforms(15, 3, inner=20.0) == []
    assert waveforms(20, 1) == []
    assert waveforms(25, 3, inner=20.0) == ["plan"]  # three healthy waveforms came between
    run(pipeline, [found("m3", "rejected", "pump1/drive_end", T0 + 29 * HOUR, of=newest(said))])
    assert waveforms(30, 3, inner=30.0) == []
    assert waveforms(35, 1) == []
    assert waveforms(40, 3, inner=30.0) == []  # a short break ends no rejection
    assert waveforms(45, 3, inner=41.0) == ["plan"]  # twice as high
    run(pipeline, [found("m4", "rejected", "pump1/drive_end", T0 + 59 * HOUR, of=newest(said))])
    for i in range(17):
        assert waveforms(60 + 5 * i, 1) == []
    assert waveforms(150, 3, inner=20.0) == ["plan"]  # gone for long: this is another time


def test_an_action_that_this_version_cannot_read_is_refused_by_its_id(machine: Any) -> None:
    unknown = msgspec.structs.replace(found("u1", "unknown", "pump1", T0 + S).action, reason="this version cannot read ponder")
    told = run(Pipeline(), [shown(machine), Action(received_ns=T0 + S, action=unknown)])
    assert refusals(told) == [("u1", "action_refused", "this version cannot read ponder")]


def test_what_nobody_may_say_and_what_is_not_there_is_refused(machine: Any) -> None:
    pipeline = Pipeline()
    wrong = [found("a", "renewed", "filter1/dp", T0 + S, role="operator"), found("b", "no_fault", "filter9/dp", T0 + S)]
    records = run(pipeline, [shown(machine), *wrong])
    refused = refusals(records)
    assert [r[0] for r in refused] == ["a", "b"]
    assert "not by the role operator" in refused[0][2]
    assert "found 'filter9/dp'" in refused[1][2]


def later(samples: Samples, by_ns: int) -> Samples:
    return Samples(samples.time_ns + by_ns, samples.tag, samples.value, samples.status, samples.received_ns + by_ns)


def test_columns_that_the_file_does_not_know_are_refused(pumps: Any) -> None:
    folder, _ = pumps
    wrong = folder / "wrong.yaml"
    wrong.write_text((folder / "agent.yaml").read_text("utf-8").replace("s5: pump1/s5", "s9: pump1/s5"), "utf-8")
    with pytest.raises(ConfigError, match="inputs"):
        start_of(load_agent(wrong), T0)


@pytest.fixture
def machine(tmp_path: Path) -> Any:
    path = tmp_path / "agent.yaml"
    path.write_text(MACHINE, "utf-8")
    return start_of(load_agent(path), T0)


def test_a_filter_that_clogs_says_when_and_raises_its_advisory(machine: Any) -> None:
    start = shown(machine)
    dp = next(t.id for t in start.tags if t.name == "filter1/dp")
    entries = [Samples.of([T0 + i * HOUR // 2], [dp], [0.5 + 0.0025 * i + 0.01 * (i * 7 % 5)], 0, T0 + i * HOUR // 2) for i in range(240)]
    records = run(Pipeline(), [start, *entries])
    said = values(records, start)
    left = (1.5 - (0.5 + 0.0025 * 239)) / 0.005
    assert said["filter1/dp.wear.rul_low"][-1] < left < said["filter1/dp.wear.rul_high"][-1]
    assert said["filter1/dp.wear.health"][-1] == pytest.approx(1 - 0.0025 * 239, abs=0.05)
    advice = [r for r in records if isinstance(r, Context) and r.role == "advice"]
    assert [(a.unit, msgspec.json.decode(a.value)["urgency"]) for a in advice] == [("filter1/dp", "plan"), ("filter1/dp", "act")]
    assert "安排 filter1/dp 对应部件的维护" in msgspec.json.decode(advice[0].value)["what"]["zh"]
    raised = [r for r in records if getattr(r, "alarm", "") == "filter1/change" and r.event == "raise"]
    assert raised
    assert {"filter1/dp", "level", "means"} <= set(raised[0].contributions)


def knocking(speed: Any, seed: int = 0) -> Any:
    """A waveform of an outer race whose shaft does what `speed` (n,) Hz says: knocks at equal angles."""
    rng = np.random.default_rng(seed)
    turns = np.cumsum(speed) / RATE
    x = rng.normal(0, 0.5, len(speed))
    per_turn = Bearing(9, 7.94, 39.04).frequencies(1.0)[1]
    for k in range(1, int(turns[-1] * per_turn)):
        first = int(np.searchsorted(turns, k / per_turn))
        tail = np.arange(min(256, len(x) - first)) / RATE
        x[first : first + len(tail)] += 8.0 * np.exp(-1000 * tail) * np.sin(2 * np.pi * 3000 * tail)
    return x


def block(start: Any, wave: Any, at_ns: int) -> Block:
    stream = next(t.id for t in start.tags if t.name == "pump1/vibration")
    return Block(stream, np.array([at_ns]), wave[None].copy(), np.zeros(1, np.uint32), np.arange(len(wave)) / RATE, "s", "m/s2", at_ns + S)


def test_the_lines_of_a_bearing_stand_although_its_speed_varies(machine: Any) -> None:
    start = shown(machine)
    speed = next(t.id for t in start.tags if t.name == "pump1/speed")
    hz = np.linspace(20, 26, RATE)
    steady = knocking(np.full(RATE, 24.0), 1)
    ramp = [Samples.of([T0 + i * S], [speed], [60.0 * v], 0, T0 + i * S) for i, v in ((10, 20.0), (11, 26.0))]
    pipeline = Pipeline()
    records = run(pipeline, [start, block(start, steady, T0 + S), *ramp, block(start, knocking(hz), T0 + 10 * S)])
    said = values(records, start)
    assert said["pump1/drive_end.fault"] == [NO_SPEED, 0.0], "the first waveform came before any speed"
    lines = {part: said[f"pump1/drive_end.{part}"][-1] for part in ("cage", "outer", "inner", "ball")}
    assert max(lines, key=lambda p: lines[p]) == "outer"
    assert lines["outer"] > 5.0
    assert said["pump1/drive_end.outer_hz"][-1] == pytest.approx(3.5848 * 23, rel=0.01)
    spectra = [r for r in records if isinstance(r, Block) and r.axis_unit == "Hz"]
    assert len(spectra) == 1
    axis, amplitude = spectra[0].axis, spectra[0].values[0]
    harmonic = axis[5 + int(np.argmax(amplitude[5:]))] / (3.5848 * 23)
    assert harmonic == pytest.approx(round(harmonic), rel=0.03)
    assert pipeline.catalogue[spectra[0].tag].name == "pump1/drive_end.envelope"


def test_a_small_fault_is_seen_because_the_band_is_chosen_over_several_waveforms(machine: Any) -> None:
    start, rng = shown(machine), np.random.default_rng(1)
    speed = next(t.id for t in start.tags if t.name == "pump1/speed")
    pipeline = Pipeline()
    found = run(pipeline, [start])
    for i in range(16):
        at = T0 + (i + 1) * 30 * S
        wave = waveform(rng, knocks_hz=3.5848 * 1480 / 60, size=1.2, shaft_hz=1480 / 60)
        found += run(pipeline, [Samples.of([at], [speed], [1480.0], 0, at), block(start, wave, at)])
    outer = values(found, start)["pump1/drive_end.outer"]
    assert len(outer) == 16
    assert min(outer[5:]) > 4.0  # chosen for each waveform alone every fourth is below


def test_severity_of_a_slow_machine_counts_from_2_hz(machine: Any, tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text(MACHINE.replace("speed_rpm: 1480, speed_tag: pump1/speed", "speed_rpm: 300"), "utf-8")
    start = shown(start_of(load_agent(tmp_path / "agent.yaml"), T0))
    wave = 0.5 * np.sin(2 * np.pi * 5 * np.arange(RATE) / RATE)
    said = values(run(Pipeline(), [start, block(start, wave, T0 + S)]), start)
    assert said["pump1/drive_end.velocity"] == [pytest.approx(1000 * 0.5 / (2 * np.pi * 5) / np.sqrt(2), rel=0.03)]
    assert said["pump1/drive_end.zone"] == [4.0]


@pytest.mark.parametrize("hz", [np.full(RATE, 24.3), np.linspace(20.0, 26.0, RATE)], ids=["steady", "varying"])
def test_orders_tell_unbalance_from_misalignment_whatever_the_speed_does(machine: Any, hz: Any) -> None:
    start = shown(machine)
    speed = next(t.id for t in start.tags if t.name == "pump1/speed")
    turns, w = 2 * np.pi * np.cumsum(hz) / RATE, 2 * np.pi * hz.mean()
    # 3 and 1 mm/s rms at once and twice the speed; the amplitude follows no speed, as that of an order of constant acceleration.
    wave = 1e-3 * np.sqrt(2) * (3 * w * np.sin(turns) + 1 * 2 * w * np.sin(2 * turns + 1)) + np.random.default_rng(0).normal(0, 0.02, RATE)
    told = [Samples.of([T0 + i * S], [speed], [60.0 * v], 0, T0 + i * S) for i, v in ((10, hz[0]), (11, hz[-1]))]
    said = values(run(Pipeline(), [start, *told, block(start, wave, T0 + 10 * S)]), start)
    assert said["pump1/drive_end.order1"] == [pytest.approx(3.0, rel=0.02)]
    assert said["pump1/drive_end.order2"] == [pytest.approx(1.0, rel=0.02)]
    assert said["pump1/drive_end.order3"] == [pytest.approx(0.0, abs=0.02)]


def test_cuts_and_restarts_change_no_bit(machine: Any) -> None:
    start, rng = machine, np.random.default_rng(0)
    dp, speed = (next(t.id for t in start.tags if t.name == n) for n in ("filter1/dp", "pump1/speed"))
    entries: list[Any] = [Connection(received_ns=T0, source="daq", state="connected")]
    for i in range(1, 20):
        at = T0 + i * HOUR
        entries.append(Samples.of([at, at + S, at + 2 * S], [dp, speed, speed], [0.5 + 0.02 * i, 1450.0 + i, 1475.0], 0, at + 2 * S))
        if i % 6 == 0:
            entries.append(block(start, waveform(rng), at + 3 * S))
    entries.append(Heartbeat(received_ns=T0 + 21 * HOUR))
    whole, parts = Pipeline(), Pipeline()
    expected, found = run(whole, [start]), run(parts, [start])
    for entry in entries:
        expected += whole.step(entry)
        for piece in [entry.take(slice(i, i + 1)) for i in range(len(entry))] if isinstance(entry, Samples) else [entry]:
            parts = reborn(parts)
            found += parts.step(piece)
    assert substance(found) == substance(expected)
    assert pack(parts.state()) == pack(whole.state())


def test_a_bearing_is_advised_on_when_three_waveforms_agree(machine: Any) -> None:
    start = machine
    speed = next(t.id for t in start.tags if t.name == "pump1/speed")
    pipeline = Pipeline()
    pipeline.step(start)
    told = []
    for i in range(8):
        at = T0 + (i + 1) * 30 * S
        records = run(pipeline, [Samples.of([at], [speed], [1480.0], 0, at), block(start, knocking(np.full(RATE, 1480 / 60), i), at)])
        told += [(i, r) for r in records if isinstance(r, Context)]
    assert [(i, r.unit, r.previous) for i, r in told] == [(2, "pump1/drive_end", "")]
    said = msgspec.json.decode(told[0][1].value)
    assert (said["kind"], said["urgency"]) == ("machine", "plan")
    assert "outer race" in said["why"]["en"]
    assert "外圈" in said["why"]["zh"]


def test_recorded_rows_that_pass_together_give_the_same_advice(machine: Any) -> None:
    dp, speed = (next(t.id for t in machine.tags if t.name == n) for n in ("filter1/dp", "pump1/speed"))
    times = T0 + np.repeat(np.arange(1, 400), 2) * HOUR // 2
    values = np.column_stack([0.5 + 0.0025 * np.arange(1, 400) + 0.01 * (np.arange(1, 400) * 7 % 5), np.full(399, 1480.0)]).ravel()
    samples = Samples.of(times.tolist(), [dp, speed] * 399, values.tolist(), 0)
    ends = np.arange(2, 2 * 399 + 1, 2)
    expected, found, same, passed = both(machine, Run(samples, ends, times[ends - 1]))
    assert found == expected
    assert same
    assert passed > 0
    assert any(isinstance(r, Context) and r.role == "advice" for r in found)
