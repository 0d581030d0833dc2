import numpy as np
import pytest
from scipy.integrate import quad

from models.material.residence import Dispersion, Measured, Tanks, equivalent_tanks, quantile, shares, tolerated, train
from tests.naive.material import tanks_left

BLENDER = Tanks(tau_s=120, tanks=3)


def moments(w, step):
    t = (np.arange(len(w)) + 0.5) * step
    mean = (w * t).sum()
    return mean, (w * (t - mean) ** 2).sum()


@pytest.mark.parametrize("unit", [BLENDER, Tanks(tau_s=90, tanks=2.6, dead_s=12), Tanks(tau_s=20, tanks=0.7)])
def test_tanks_in_series_are_the_gamma_distribution(unit):
    t = np.linspace(0, 900, 301)
    found = [unit.left(x) for x in t]
    assert found == pytest.approx(tanks_left(t, unit.tau_s, unit.tanks, unit.dead_s), abs=1e-12)


def test_the_vector_of_three_tanks_in_120_s():
    h = 0.01
    assert (BLENDER.left(80 + h) - BLENDER.left(80 - h)) / (2 * h) == pytest.approx(0.0067668, abs=1e-7)
    assert [BLENDER.left(t) for t in (60, 120, 240)] == pytest.approx([0.1912, 0.5768, 0.9380], abs=5e-5)
    assert quantile(BLENDER.left, 0.005) == pytest.approx(13.5, abs=0.05)
    assert quantile(BLENDER.left, 0.995) == pytest.approx(371, abs=0.5)


def test_a_pulse_of_the_feed_leaves_its_limits_when_the_vector_says():
    t = np.linspace(0, 600, 60_001)
    outlet = 20.0 * np.array([BLENDER.left(x) - BLENDER.left(x - 60) for x in t])
    beyond = t[outlet > 5.0]
    assert beyond[0] == pytest.approx(69.4, abs=0.05)
    assert beyond[-1] == pytest.approx(179.9, abs=0.05)
    assert outlet.max() == pytest.approx(7.76, abs=0.005)
    assert t[outlet.argmax()] == pytest.approx(113.7, abs=0.05)


@pytest.mark.parametrize(("seconds", "most"), [(20, 37.1), (40, 18.9), (60, 12.9), (90, 9.07), (120, 7.31), (180, 5.81), (300, 5.09)])
def test_the_funnel(seconds, most):
    assert tolerated(BLENDER.left, seconds, 5.0, 900.0) == pytest.approx(most, abs=0.06)


@pytest.mark.parametrize("peclet", [2.0, 20.0, 400.0])
def test_dispersion_is_the_integral_of_its_curve(peclet):
    unit = Dispersion(tau_s=100, peclet=peclet)
    for theta in (0.3, 0.8, 1.0, 1.5, 3.0):
        whole = quad(lambda x: np.sqrt(peclet / (4 * np.pi * x)) * np.exp(-peclet * (1 - x) ** 2 / (4 * x)), 0, theta, limit=200)[0]
        assert unit.left(100 * theta) == pytest.approx(whole, abs=1e-6)


def test_dispersion_between_open_ends_has_its_moments():
    mean, variance = moments(shares(Dispersion(tau_s=100, peclet=20), 0.5), 0.5)
    assert mean == pytest.approx(100 * (1 + 2 / 20), rel=2e-3)
    assert variance == pytest.approx(100**2 * (2 / 20 + 8 / 20**2), rel=2e-2)


def test_tanks_of_the_variance_of_a_closed_vessel():
    assert [1 / equivalent_tanks(pe) for pe in (5, 20, 50)] == pytest.approx([0.3205, 0.0950, 0.0392], abs=5e-5)


def test_a_measured_curve_is_what_was_measured():
    t = np.arange(0, 600, 2.0)
    e = np.gradient(tanks_left(t, 120, 3), t)
    unit = Measured(time_s=tuple(t), tracer=tuple(7.0 * np.maximum(e, 0)))
    assert [unit.left(x) for x in (61, 120, 240)] == pytest.approx(tanks_left([61, 120, 240], 120, 3), abs=2e-3)
    assert (unit.left(-1), unit.left(1e4)) == (0.0, 1.0)


@pytest.mark.parametrize(
    "bad", [{"time_s": (0, 1), "tracer": (0, 1)}, {"time_s": (0, 2, 1), "tracer": (0, 1, 1)}, {"time_s": (0, 1, 2), "tracer": (0, 0, 0)}]
)
def test_a_curve_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="found"):
        Measured(**bad)


def test_means_and_variances_of_a_train_add():
    units = (Tanks(tau_s=60, tanks=3, dead_s=5), Tanks(tau_s=20, tanks=1))
    mean, variance = moments(train(units, 0.25), 0.25)
    assert mean == pytest.approx(85, abs=0.5)
    assert variance == pytest.approx(60**2 / 3 + 20**2, rel=0.02)
    stretched, _ = moments(train(units, 0.25, 1.1), 0.25)
    assert stretched == pytest.approx(1.1 * mean, rel=2e-3)
    assert train((), 1.0).tolist() == [1.0]
    assert train(units, 1.0).sum() == pytest.approx(1.0, abs=1e-12)


def test_a_curve_that_never_ends_is_refused():
    with pytest.raises(ValueError, match="at most 20000 steps"):
        shares(Tanks(tau_s=86_000), 1.0)
