import numpy as np
import pytest

from models.spectra import gaussian, pls
from models.spectra.choose import Calibration, Member
from models.spectra.sensor import BEYOND, DARK, FAR, OUTPUTS, SATURATED, STRANGE, Sensor, pls_arrays, sensor_arrays
from models.spectra.treatment import Detrend, SavitzkyGolay, Snv, Treatment
from tests.models.spectra.lamp import AXIS, spectra


def members(X, y):
    found = []
    for steps, columns in (((SavitzkyGolay(width=7, derivative=1), Snv()), np.arange(74)), ((Detrend(order=1),), np.arange(5, 75, 2))):
        chain = Treatment(steps, AXIS)
        found.append(Member(chain, columns, gaussian.fit(gaussian.kernels(chain.apply(X)[0][:, columns]), y)))
    return Calibration(tuple(found), (0.75, 0.25), 0.01)


@pytest.fixture(scope="module")
def made():
    X, y = spectra(60, 1)
    calibration = members(X, y)
    return X, y, calibration, Sensor(sensor_arrays(calibration, X, y, 0.02, saturation=3.0))


def test_the_sensor_says_what_the_calibration_says(made):
    _, _, calibration, sensor = made
    fresh, _ = spectra(40, 2)
    found, why = sensor.judge(fresh)
    np.testing.assert_allclose(found[:, 0], calibration.predict(fresh), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[:, 2] - found[:, 1], 0.04)
    assert np.mean(why == 0) > 0.8
    assert OUTPUTS == ("value", "low", "high", "t2", "q", "valid")


def test_pls_at_run_time_is_pls(made):
    X, y, _, _ = made
    chain = Treatment((Snv(), SavitzkyGolay(width=11, derivative=1)), AXIS)
    model = pls.fit(chain.apply(X)[0], y, 4, scale=True)
    fresh, _ = spectra(30, 3)
    found, _ = Sensor(pls_arrays(chain, model, X, y, 0.02)).judge(fresh)
    np.testing.assert_allclose(found[:, 0], model.predict(chain.apply(fresh)[0]), rtol=0, atol=1e-9)
    t = (chain.apply(X)[0] - model.x_mean) / model.x_scale @ model.rotations
    np.testing.assert_allclose(t, model.scores, atol=1e-9)


def test_a_spectrum_is_judged_alike_alone_and_among_others(made):
    sensor = made[3]
    fresh, _ = spectra(25, 4)
    together, bits = sensor.judge(fresh)
    alone = [sensor.judge(x[None]) for x in fresh]
    assert together.tobytes() == np.vstack([a for a, _ in alone]).tobytes()
    assert bits.tolist() == [int(b[0]) for _, b in alone]


def test_what_cannot_be_judged_gives_no_number_and_what_is_not_covered_says_so(made):
    sensor = made[3]
    good, _ = spectra(1, 5)
    flat, missing = np.full(80, 0.7), np.where(np.arange(80) == 40, np.nan, good[0])
    saturated, bubble = np.maximum(good[0], np.where(np.arange(80) == 30, 3.1, 0)), good[0] + 0.5 * np.exp(-0.5 * ((AXIS - 1330) / 6) ** 2)
    strong = 0.5 + 4.0 * (good[0] - 0.5)
    found, why = sensor.judge(np.vstack([good, flat, missing, saturated, bubble, strong]))
    assert why[0] == 0
    assert why[1] & DARK
    assert why[2] & DARK
    assert np.isnan(found[1:3, :5]).all()
    assert why[3] & SATURATED
    assert why[4] & STRANGE
    assert why[5] & (FAR | BEYOND | STRANGE)
    assert found[:, 5].tolist() == [1, 0, 0, 0, 0, 0]


def test_arrays_that_do_not_fit_are_refused(made):
    X, y, calibration, _ = made
    arrays = sensor_arrays(calibration, X, y, 0.02)
    with pytest.raises(ValueError, match=r"an array 1\.mean"):
        Sensor({k: v for k, v in arrays.items() if k != "1.mean"})
    with pytest.raises(ValueError, match="fit together"):
        Sensor(arrays | {"0.columns": arrays["0.columns"] + 40})
    with pytest.raises(ValueError, match=r"expected \(n, 80\)"):
        Sensor(arrays).judge(np.zeros((1, 81)))
