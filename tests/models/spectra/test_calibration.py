import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression

from models.spectra import gaussian, pls
from models.spectra.choose import calibrate, foreign, rmse
from models.spectra.folds import folds
from models.spectra.intervals import crossed, half_width
from models.spectra.transfer import Map, behind, direct, one_point, orthogonal, piecewise, slope_bias, spectral_space, transferred
from models.spectra.treatment import Detrend, Snv, Treatment
from tests.models.spectra.lamp import AXIS, spectra


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("factors", [1, 3, 8])
def test_pls_equals_scikit_learn_to_1e_8(scale, factors):
    X, y = spectra(60, 1, noise=0.01)
    ours, theirs = pls.fit(X, y, factors, scale=scale), PLSRegression(factors, scale=scale, tol=1e-14).fit(X, y)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X).ravel(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(ours.coefficients(), theirs.coef_.ravel(), rtol=0, atol=1e-8)
    np.testing.assert_allclose(np.abs(ours.scores), np.abs(theirs.x_scores_), rtol=0, atol=1e-8)


def test_importance_has_mean_square_one_and_names_the_band():
    X, y = spectra(80, 2)
    vip = pls.fit(X, y, 4).vip()
    assert np.mean(vip**2) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    only = rng.normal(0, 1, (50, 20))
    assert int(np.argmax(pls.fit(only, 3 * only[:, 7], 2).vip())) == 7


def test_mistakes_of_pls_are_named():
    with pytest.raises(ValueError, match=r"expected 1\.\.4 factors, found 5"):
        pls.fit(np.zeros((5, 9)), np.zeros(5), 5)
    with pytest.raises(ValueError, match="no covariance"):
        pls.fit(np.outer(np.arange(5.0), np.ones(9)), np.ones(5), 1)
    for seed in range(40):  # the mean of alike values is not always the value
        rng = np.random.default_rng(seed)
        n = int(rng.integers(3, 40))
        with pytest.raises(ValueError, match="expected spectra that differ from each other"):
            pls.fit(np.tile(rng.random((1, 30)), (n, 1)), rng.random(n), 2)


def test_samples_of_one_group_stay_together_and_folds_are_stratified():
    y = np.repeat(np.arange(20.0), 3)
    fold = folds(y, 5, groups=np.repeat(np.arange(20), 3), seed=3)
    assert all(len(set(fold[3 * i : 3 * i + 3].tolist())) == 1 for i in range(20))
    assert all(abs(y[fold == k].mean() - y.mean()) < 2.5 for k in range(5))


def test_left_out_predictions_are_those_of_a_model_without_the_sample():
    X, y = spectra(24, 4, noise=0.003)
    Z, _ = Treatment((Snv(),), AXIS).apply(X)
    k = gaussian.kernels(Z)
    model = gaussian.fit(k, y, local=False)
    # The same amounts, sample 5 with noise that makes it worthless.
    noise = np.ones(24)
    noise[5] = 1e12
    without = gaussian.fit(k, y, local=False, noise=noise, iterations=0, begin=model.amounts)
    assert model.left_out[5] == pytest.approx(without.predict(Z[5:6])[0], abs=2e-3)  # the mean of the references still holds it


def test_the_local_part_follows_a_curve_that_no_line_does():
    X, y = spectra(90, 5)
    Z, _ = Treatment((Detrend(order=0),), AXIS).apply(X)
    bent = y + 2.0 * y**2
    train, test = np.arange(60), np.arange(60, 90)
    k = gaussian.kernels(Z[train])
    line, curve = (rmse(gaussian.fit(k, bent[train], local=local).predict(Z[test]) - bent[test]) for local in (False, True))
    assert curve < 0.5 * line


def test_the_default_procedure_finds_the_share_behind_scatter():
    X, y = spectra(40, 6)
    fresh, truth = spectra(60, 7)
    found = calibrate(X, y, AXIS)
    assert sum(found.weights) == pytest.approx(1.0)
    assert rmse(found.predict(fresh) - truth) < 0.02
    spoilt = fresh.copy()
    spoilt[3] = np.nan
    assert np.flatnonzero(np.isnan(found.predict(spoilt))).tolist() == [3]


def test_few_channels_are_taken_only_when_they_are_far_better():
    rng = np.random.default_rng(1)
    X = np.cumsum(rng.normal(0, 1, (40, 80)), axis=1)
    found = calibrate(X, X[:, 20] - X[:, 50] + rng.normal(0, 1e-3, 40), AXIS)
    assert len(found.members) == 1
    assert len(found.members[0].columns) < 40


def test_mistakes_of_a_calibration_are_named():
    X, y = spectra(12, 8)
    with pytest.raises(ValueError, match="10 or more spectra of 80 points"):
        calibrate(X[:9], y[:9], AXIS)
    with pytest.raises(ValueError, match="finite"):
        calibrate(np.vstack([X[:11], np.full((1, 80), np.nan)]), y, AXIS)


def test_intervals_cover_also_when_there_are_few_samples():
    rng = np.random.default_rng(3)
    inside = [abs(rng.standard_t(4)) <= half_width(rng.standard_t(4, 15), 0.9) for _ in range(3000)]
    assert 0.88 <= np.mean(inside) <= 0.96
    widths = crossed(np.r_[np.ones(20), np.full(20, 3.0)], np.repeat([0, 1], 20))
    assert widths.tolist() == [3.0] * 20 + [1.0] * 20


@pytest.fixture(scope="module")
def instruments():
    pairs1, y_pairs = spectra(20, 10)
    pairs2, _ = spectra(20, 10, shift_nm=1.5, gain=1.05)
    fresh1, truth = spectra(50, 11)
    fresh2, _ = spectra(50, 11, shift_nm=1.5, gain=1.05)
    return pairs1, pairs2, y_pairs, fresh1, fresh2, truth


def test_maps_bring_the_second_instrument_to_the_first(instruments):
    t1, t2, _, fresh1, fresh2, _ = instruments
    before = rmse(fresh2 - fresh1)
    for m in (spectral_space(t1, t2, 6), direct(t1, t2, 6), piecewise(t1, t2, 3, 3)):
        assert rmse(m.apply(fresh2) - fresh1) < 0.2 * before
    shrunk = orthogonal(t1, t2, 1e-3)
    assert rmse((shrunk.apply(fresh2) - shrunk.apply(fresh1)) - (shrunk.apply(t2) - shrunk.apply(t1)).mean(axis=0)) < 0.2 * before


def test_a_transferred_calibration_is_nearly_as_good_as_the_own_one(instruments):
    t1, t2, y_pairs, _, fresh2, truth = instruments
    X, y = spectra(50, 12)
    untouched = rmse(calibrate(X, y, AXIS).predict(fresh2) - truth)
    assert rmse(transferred(X, y, AXIS, t1, t2, y_pairs).predict(fresh2) - truth) < min(0.02, 0.7 * untouched)
    assert rmse(transferred(X, y, AXIS, t1, t2).predict(fresh2) - truth) < min(0.02, 0.7 * untouched)


def test_a_calibration_behind_a_map_is_the_calibration_of_the_mapped_spectra(instruments):
    t1, t2, _, _, fresh2, _ = instruments
    X, y = spectra(30, 13)
    model = gaussian.fit(gaussian.kernels(X), y)
    for m in (spectral_space(t1, t2, 5), Map(t1.mean(axis=0) - t2.mean(axis=0), np.zeros(80), np.zeros((80, 0)), np.zeros((0, 80)))):
        np.testing.assert_allclose(behind(model, m).predict(fresh2), model.predict(m.apply(fresh2)), atol=1e-7)


def test_slope_bias_and_one_point():
    said = np.array([1.0, 2.0, 4.0])
    slope, bias = slope_bias(said, 0.9 * said + 0.3)
    assert (slope, bias) == (pytest.approx(0.9), pytest.approx(0.3))
    assert said[0] + one_point(said[0], 1.7) == pytest.approx(1.7)
    with pytest.raises(ValueError, match="differ"):
        slope_bias(np.ones(3), said)


def test_a_foreign_matrix_is_met_with_derivatives_that_extrapolate_least():
    X, y = spectra(25, 14)
    fresh, truth = spectra(40, 15)
    run = fresh + 0.8 * np.exp(-0.5 * ((AXIS - 1600) / 220) ** 2)
    said = foreign(X, y, AXIS, run[:10])(run)
    assert rmse((said - said[0]) - (truth - truth[0])) < 0.1
