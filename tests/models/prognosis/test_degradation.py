import numpy as np
import pytest

from models.prognosis.degradation import BASELINE, NEED, OF, RATIO, SEVERE, Degradation, learn
from models.prognosis.onset import DegradationConfig, Onset
from models.prognosis.waveform import CLIPPED, MISSING, STUCK, features
from tests.naive import prognosis as naive


def bearing(seed, life=400, onset=0.9):
    """Levels about 0.5 g that rise to 3 g after the onset, with an impact now and then."""
    rng = np.random.default_rng(seed)
    level = 0.5 + 0.05 * rng.random(life)
    level[rng.integers(0, life, 4)] = 1.9
    n = life - int(onset * life)
    level[-n:] += np.linspace(0.3, 2.5, n)
    return level


def model(limit=1.3, clear=20):
    return Degradation(limit, np.full(2, 0.3), np.full(2, 0.1), np.full(2, 0.8), clear)


def test_flags_equal_the_obvious_formula():
    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(0, 0.5, 400))
    level[rng.random(400) < 0.05] = np.nan
    level[60:150] *= 0.3
    above, alarm = model().watch(level)
    expected = naive.watched(level, 1.3, RATIO, SEVERE, *BASELINE, NEED, OF, 20)
    np.testing.assert_array_equal(above, expected[0])
    np.testing.assert_array_equal(alarm, expected[1])
    assert 0 < alarm.sum() < len(alarm)


def test_an_alarm_lasts_comes_from_no_single_knock_and_clears_after_run_in():
    level = np.full(200, 0.5)
    level[50] = 4.0
    assert model().first(level) is None
    level[60] = 6.0  # above four limits: at once
    assert model().first(level) == 60
    assert model().watch(level)[1][79:81].tolist() == [1, 0]
    lasting = np.full(100, 0.5)
    lasting[30:] = 1.4
    assert model().first(lasting) == 30 + NEED - 1


def test_a_machine_that_is_loud_from_the_beginning_has_a_higher_limit():
    level = np.full(300, 1.2)
    level[200:] = 2.0
    assert model().first(level) is None
    level[220:] = 2.6
    assert model().first(level) == 220 + NEED - 1


def test_what_comes_later_changes_nothing():
    level = bearing(3)
    whole = model().watch(level)[1]
    for n in (5, 100, 377):
        np.testing.assert_array_equal(model().watch(level[:n])[1], whole[:n])


def test_the_limit_is_learnt_between_healthy_halves_and_ends_of_life():
    found = learn([bearing(s) for s in range(5)])
    assert 0.6 < found.limit < 3.0
    fresh = bearing(11)
    first = found.first(fresh)
    assert first is not None
    assert first >= 360
    life = found.life(fresh[:300])
    assert 0 < life.lower < life.upper < 300.0 + 1e-9
    with pytest.raises(ValueError, match="expected 2 or more histories to failure, found 1"):
        learn([bearing(1)])


def test_shape_of_a_waveform_equals_the_obvious_formula():
    waves = np.random.default_rng(1).normal(0.3, 2.0, (5, 2560))
    s = features(waves)
    found = np.column_stack([s.mean, s.rms, s.peak, s.crest, s.kurtosis, s.level])
    np.testing.assert_allclose(found, [naive.shape(w) for w in waves], rtol=1e-10)
    np.testing.assert_array_equal(found[3], [getattr(features(waves[3:4]), n)[0] for n in ("mean", "rms", "peak", "crest", "kurtosis", "level")])
    assert not s.fault.any()


def test_a_waveform_that_cannot_be_trusted_says_why():
    rng = np.random.default_rng(2)
    waves = rng.normal(0, 1.0, (4, 1000))
    waves[0, 300:] = 0.7
    waves[1] = np.clip(waves[1], -1.5, 1.5)
    waves[2, 10] = np.nan
    s = features(waves, full_scale=1.5)
    assert s.fault[0] & STUCK
    assert s.fault[1] == CLIPPED
    assert s.fault[2] & MISSING
    assert np.isnan(s.rms[2])
    assert features(rng.normal(0, 0.1, (1, 1000)), full_scale=1.5).fault[0] == 0


def test_while_it_runs_the_same_is_found_as_over_the_whole_history():
    rng = np.random.default_rng(0)
    level = np.exp(rng.normal(0, 0.5, 400))
    bank = Onset([DegradationConfig(tags=("a",), limit=1.3, quiet=20)])
    out = np.empty((400, 4))
    bank.step(np.zeros(400, np.int32), np.arange(400), level, np.ones(400, np.uint8), out)
    np.testing.assert_array_equal(out[:, 0], model().watch(level)[1])
    assert 0 < out[:, 0].sum() < 400


def test_standstill_is_no_baseline_and_a_machine_that_rests_in_between_is_as_it_runs():
    rng = np.random.default_rng(4)
    runs = 1.0 + 0.1 * rng.random(600)
    rests = np.r_[np.zeros(300), 0.02 * rng.random(80)]
    level = np.r_[rests, *(part for i in range(0, 600, 40) for part in (runs[i : i + 40], np.full(60, 0.01)))]
    running = level > 0.1
    bank = Onset([DegradationConfig(tags=("a",), idle=0.1)])
    out = np.empty((len(level), 4))
    bank.step(np.zeros(len(level), np.int32), np.arange(len(level)), level, np.ones(len(level), np.uint8), out)
    assert np.isnan(out[~running]).all()
    assert np.nanmax(out[:, 0]) == 0
    assert np.isfinite(out[running, 0]).sum() == 600 - 109
    alone, judged = Onset([DegradationConfig(tags=("a",))]), np.empty((600, 4))
    alone.step(np.zeros(600, np.int32), np.arange(600), runs, np.ones(600, np.uint8), judged)
    np.testing.assert_array_equal(out[running], judged)
    with pytest.raises(ValueError, match=r"idle: expected less than limit \(1\), found 2"):
        DegradationConfig(tags=("a",), limit=1, idle=2)


def test_without_a_limit_of_its_type_a_machine_is_judged_by_its_own_baseline_and_anew_when_it_is_as_new():
    level = np.r_[np.full(20, 5.0), np.full(100, 1.0), np.full(30, 1.8), np.full(30, 2.2), np.full(50, 1.0)]
    bank = Onset([DegradationConfig(tags=("a",), skip=20, quiet=40)])
    out = np.empty((len(level), 4))
    bank.step(np.zeros(len(level), np.int32), np.arange(len(level)), level, np.ones(len(level), np.uint8), out)
    assert np.isnan(out[:119, 0]).all()
    assert np.flatnonzero(out[:, 0] == 1).tolist() == list(range(154, 219))
    bank.renew(0)
    assert not any(array.any() for array in bank.state().values())
