"""Batches against the trajectory of good ones: what they learn, what they find, and what they never call normal."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.core import pack, unpack
from models.batch import Batch, BatchConfig, Run, runs_of
from tests.naive.batch import NaiveBatch

S = 1_000_000_000
TAGS = ("temp", "pressure", "torque", "moisture", "flow", "dried")
K = len(TAGS)


def dryer(rng: np.random.Generator, phase: int, fault: str = "") -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Instants of one phase, heating or drying, of its own length: what varies from batch to batch moves several tags together."""
    n = int(rng.integers(70, 110))
    u = np.linspace(0, 1, n)
    load, damp = rng.normal(size=2)
    temp = (20 + 60 * u + 2 * load) if phase == 0 else 80 + 2 * load + damp * np.sin(np.pi * u)
    pressure = 100 - 80 * (1 - np.exp(-4 * u)) + 2 * damp
    torque = 8 + 4 * np.sin(np.pi * u) + 0.4 * load + 0.3 * damp
    moisture = 30 - 20 * u + damp
    flow = 5 + 2 * u + 0.2 * load
    x = np.column_stack([temp, pressure, torque, moisture, flow, 100 * u]) + rng.normal(size=(n, K)) * [0.3, 0.5, 0.1, 0.2, 0.05, 0.2]
    if fault == "torque":
        x[n // 2 :, 2] += 3
    return np.arange(n) * S, x


def course(seed: int, batches: int, fault: dict[int, str] | None = None) -> tuple[list[tuple[str, str, int]], NDArray[np.int64], NDArray[np.float64]]:
    """What the unit tells, and its instants: batches of two phases with pauses between them."""
    rng = np.random.default_rng(seed)
    told, times, values, now = [], [], [], 0
    for i in range(batches):
        told.append(("batch", f"B{i}", now))
        for phase, name in enumerate(("heat", "dry")):
            told.append(("phase", name, now))
            t, x = dryer(rng, phase, (fault or {}).get(i, "") if phase == 1 else "")
            times.append(now + t)
            values.append(x)
            now += int(t[-1]) + S
        told += [("phase", "", now), ("batch", "", now)]
        times.append(now + np.arange(5) * S)
        values.append(rng.normal(size=(5, K)))
        now += 600 * S
    return told, np.concatenate(times), np.concatenate(values)


def config(**more: Any) -> BatchConfig:
    return BatchConfig.model_validate({"name": "dryer1/way", "tags": TAGS, "phases": ("heat", "dry"), "points": 30, "file": "x", **more})


LEARNED: dict[str, Any] = {}


def learned(**more: Any) -> Any:
    key = repr(more)
    if key not in LEARNED:
        LEARNED[key] = Batch.train_batches(config(**more), runs_of(("heat", "dry"), *course(1, 24)))
    return LEARNED[key]


def model(**more: Any) -> Batch:
    made = Batch(config(**more), K)
    made.settle(unpack(pack(learned(**more)[0])))
    return made


def judged(m: Batch, told: Any, t: Any, x: Any, usable: Any = None, cuts: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """Instants and what is told between them, in the order of time, cut where it is told and at the cuts, with a restart at each."""
    usable = np.ones(x.shape, np.uint8) if usable is None else usable
    out = np.full((len(t), 6 + K), 77.0)
    events = sorted([*((at, 0, (role, name)) for role, name, at in told), *((int(t[c]), 1, None) for c in cuts)], key=lambda e: e[0])
    edges = [0, *(int(np.searchsorted(t, at)) for at, _, _ in events), len(t)]
    for i, (a, b) in enumerate(itertools.pairwise(edges)):
        part = np.full((b - a, 6 + K), 77.0)
        m.step(t[a:b], np.ascontiguousarray(x[a:b]), np.ascontiguousarray(usable[a:b]), part)
        out[a:b] = part
        if i < len(events):
            at, _, what = events[i]
            if what is None:
                saved = m.state()
                m.restore(unpack(pack(saved)))
            else:
                m.tell(*what, at)
    return out


def test_recorded_batches_are_cut_into_phases_and_an_unfinished_one_teaches_nothing() -> None:
    told, t, x = course(1, 3)
    runs = runs_of(("heat", "dry"), told, t, x)
    assert [run.phase for run in runs] == [0, 1] * 3
    assert all(run.begin_ns == run.time_ns[0] for run in runs)
    assert len(runs_of(("heat", "dry"), told[:-2], t, x)) == 5
    whole = runs_of((), told, t, x)
    assert [run.phase for run in whole] == [0] * 3
    assert [len(run.time_ns) for run in whole] == [len(a.time_ns) + len(b.time_ns) for a, b in zip(runs[::2], runs[1::2], strict=True)]


def test_good_batches_stay_within_and_a_fault_is_found_with_its_tag() -> None:
    told, t, x = course(2, 12, {5: "torque"})
    # Aligned by time, batches of unlike lengths differ at their ends: limits are wider there.
    for more, least in (({}, 0.6), ({"indicator": "dried"}, 0.9)):
        out = judged(model(**more), told, t, x)
        faulty = runs_of(("heat", "dry"), told, t, x)[11]
        bad = (t >= faulty.time_ns[len(faulty.time_ns) // 2]) & (t <= faulty.time_ns[-1])
        good = (out[:, 3] == 1) & ~bad
        assert (out[good][:, :2].max(axis=1) > 1).mean() < 0.08
        evaluated = bad & (out[:, 3] == 1)
        assert evaluated.sum() > 20
        alarmed = evaluated & (out[:, 2] == 1)
        assert alarmed.sum() / evaluated.sum() > least
        assert np.flatnonzero(alarmed)[0] - np.flatnonzero(bad)[0] <= 3
        assert (np.abs(out[alarmed][:, 6:]).argmax(axis=1) == TAGS.index("torque")).mean() > 0.8


def test_nothing_is_called_normal_outside_of_phases_with_too_much_missing_or_far_too_long() -> None:
    told, t, x = course(3, 2)
    usable = np.ones(x.shape, np.uint8)
    usable[20:25, :2] = 0
    usable[30:35, 1] = 0
    out = judged(model(), told, t, x, usable)
    assert not out[20:25, 3].any()
    assert np.isnan(out[20:25, :3]).all()
    assert out[30:35, 3].all()
    runs = runs_of(("heat", "dry"), told, t, x)
    pauses = ~np.any([(t >= r.time_ns[0]) & (t <= r.time_ns[-1]) for r in runs], axis=0)
    assert pauses.sum() == 10
    assert not out[pauses, 3].any()
    assert np.isnan(out[pauses, 4]).all()
    long = out[:, 4] > 1.1
    assert not out[long, 3].any()
    without = Batch(config(), K)
    assert not judged(without, told, t, x)[:, 3].any()


@pytest.mark.parametrize("more", [{}, {"indicator": "dried", "components": 2}])
def test_equals_its_naive_twin_and_restarts_change_no_bit(more: dict[str, Any]) -> None:
    told, t, x = course(4, 2, {1: "torque"})
    usable = (np.random.default_rng(5).random(x.shape) > 0.03).astype(np.uint8)
    x[usable == 0] = np.nan
    out = judged(model(**more), told, t, x, usable)
    cut = judged(model(**more), told, t, x, usable, cuts=(3, 40, 41, 120, 200))
    assert cut.tobytes() == out.tobytes()
    ways = {r.begin_ns: r for r in runs_of(("heat", "dry"), [*told, ("batch", "end", 2**61)], t, x)}
    twin = NaiveBatch(config(**more), learned(**more)[0])
    for i, at in enumerate(t.tolist()):
        way = next(((r.phase, b) for b, r in ways.items() if r.time_ns[0] <= at <= r.time_ns[-1]), (-1, 0))
        expected = twin.row(at, x[i], usable[i] == 1, way)
        np.testing.assert_allclose(out[i], expected, rtol=1e-6, atol=1e-6)


def test_batches_that_did_not_teach_are_as_often_above_as_was_wanted() -> None:
    _, scores = learned()
    assert (np.nanmean(scores > 1, axis=0) <= 0.08).all()
    _, aligned = learned(indicator="dried")
    assert (np.nanmean(aligned > 1, axis=0) <= 0.02).all()


def test_one_odd_batch_among_the_good_ones_does_not_blind_the_model() -> None:
    told, t, x = course(1, 24)
    runs = runs_of(("heat", "dry"), told, t, x)
    odd = [*runs, runs[0]._replace(value=runs[0].value + 50.0), runs[1]._replace(value=runs[1].value + 50.0)]
    with_it, _ = Batch.train_batches(config(), odd)
    spread = float(np.median(with_it["limit"] / learned()[0]["limit"]))
    assert spread < 3


def test_too_few_batches_and_an_indicator_that_stands_still_are_told() -> None:
    runs = runs_of(("heat", "dry"), *course(1, 7))
    with pytest.raises(ValueError, match="phase heat: expected at least 8 runs of it with values, found 7"):
        Batch.train_batches(config(), runs)
    told, t, x = course(1, 12)
    x[:, 5] = 3.0
    with pytest.raises(ValueError, match="phase heat: expected an indicator that moves, found dried from 3 to 3"):
        Batch.train_batches(config(indicator="dried"), runs_of(("heat", "dry"), told, t, x))
    m = model()
    for wrong in ({}, m.state() | {"more": np.zeros(1)}, {n: a.astype(np.float32) for n, a in m.state().items()}):
        with pytest.raises(ValueError, match="expected"):
            m.restore(wrong)
    with pytest.raises(ValueError, match="arrays"):
        m.settle({})


def test_a_batch_that_begins_in_an_unchanged_phase_begins_the_way_anew() -> None:
    m = model()
    m.tell("phase", "heat", 0)
    m.tell("batch", "B1", 10 * S)
    out = np.empty((2, 6 + K))
    m.step(np.array([5, 20]) * S, np.zeros((2, K)), np.ones((2, K), np.uint8), out)
    assert out[:, 4] == pytest.approx([5 * S / learned()[0]["span"][0, 1], 10 * S / learned()[0]["span"][0, 1]])


def test_a_run_of_one_instant_is_none() -> None:
    run = Run(0, 0, np.array([0]), np.zeros((1, K)))
    with pytest.raises(ValueError, match="found 0"):
        Batch.train_batches(config(), [run] * 9)
