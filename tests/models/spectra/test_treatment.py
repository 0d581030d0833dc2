import numpy as np
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.spectra.treatment import Absorbance, Baseline, Detrend, Msc, Region, SavitzkyGolay, Snv, Treatment, named, steps_of
from tests.models.spectra.lamp import AXIS, spectra
from tests.naive import spectra as naive

CHAINS = [
    (),
    (Snv(),),
    (Region(low=1150, high=1400), Detrend(order=2), Snv()),
    (Msc(),),
    (SavitzkyGolay(width=15, derivative=1), Snv()),
    (Snv(), SavitzkyGolay(width=11, order=3, derivative=2)),
    (Region(low=1150, high=1400), Msc(), SavitzkyGolay(width=7)),
    (Absorbance(), SavitzkyGolay(width=5, derivative=1), Msc()),
    (Baseline(smoothness=1e4), Snv()),
]


@pytest.mark.parametrize("steps", CHAINS, ids=named)
def test_the_kernel_equals_plain_numpy_and_scipy(steps):
    X, _ = spectra(7, 1)
    found, valid = Treatment(steps, AXIS, X.mean(axis=0)).apply(X)
    assert valid.all()
    np.testing.assert_allclose(found, naive.treated(steps, AXIS, X, X.mean(axis=0)), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("steps", CHAINS, ids=named)
def test_a_spectrum_is_treated_alike_alone_and_among_others(steps):
    X, _ = spectra(9, 2)
    chain = Treatment(steps, AXIS, X.mean(axis=0))
    together, _ = chain.apply(X)
    assert together.tobytes() == np.vstack([chain.apply(x[None])[0] for x in X]).tobytes()


def test_vectors_of_snv_and_msc():
    found, _ = Treatment((Snv(),), np.arange(5.0)).apply(np.arange(1.0, 6.0)[None])
    np.testing.assert_allclose(found[0], [-1.2649, -0.6325, 0, 0.6325, 1.2649], atol=5e-5)
    found, _ = Treatment((Msc(),), np.arange(4.0), np.array([1.0, 2.0, 3.0, 4.0])).apply(np.array([[2.5, 4.4, 6.6, 8.5]]))
    np.testing.assert_allclose(found[0], [1.0149, 1.9554, 3.0446, 3.9851], atol=5e-5)


def test_what_has_no_answer_is_invalid_and_never_a_number():
    X = np.vstack([np.full(80, 0.7), spectra(1, 3)[0], np.full(80, np.nan)])
    found, valid = Treatment((Snv(),), AXIS).apply(X)
    assert valid.tolist() == [False, True, False]
    assert np.isnan(found[[0, 2]]).all()
    found, valid = Treatment((Absorbance(),), AXIS).apply(np.vstack([np.zeros(80), np.full(80, 0.1)]))
    assert valid.tolist() == [False, True]
    np.testing.assert_allclose(found[1], 1.0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_snv_and_msc_do_not_see_gain_and_offset(seed, gain, offset):
    X, _ = spectra(2, seed % 1000)
    for step in (Snv(), Msc()):
        chain = Treatment((step,), AXIS, X.mean(axis=0))
        np.testing.assert_allclose(chain.apply(X)[0], chain.apply(gain * X + offset)[0], rtol=1e-6, atol=1e-8)


def test_steps_come_from_json_and_mistakes_are_named():
    steps = steps_of([{"step": "snv"}, {"step": "savitzky_golay", "width": 11, "derivative": 1}])
    assert named(steps) == "snv > d1w11"
    with pytest.raises(pydantic.ValidationError, match="odd width"):
        steps_of([{"step": "savitzky_golay", "width": 10}])
    with pytest.raises(ValueError, match=r"found an axis of 1100\.\.1495"):
        Treatment((Region(low=2000, high=2100),), AXIS)
    with pytest.raises(ValueError, match="at least 2 points behind savitzky_golay"):
        Treatment((SavitzkyGolay(width=81),), AXIS)
    with pytest.raises(ValueError, match="reference spectrum"):
        Treatment((Msc(),), AXIS)
    with pytest.raises(ValueError, match=r"expected \(n, 80\), found"):
        Treatment((), AXIS).apply(np.zeros((1, 79)))
