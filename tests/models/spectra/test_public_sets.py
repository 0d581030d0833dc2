"""The benchmark of public spectra on small sets with gaps: one set that cannot be scored must not cost the others."""

import json
import sys

import numpy as np

from tests.benchmarks import pat
from tests.models.spectra.lamp import AXIS, spectra


def test_rows_that_were_learned_are_known_in_either_precision_and_rows_without_a_reference_are_none():
    X, y = spectra(6, 1)
    y[4] = np.nan
    found, answers = pat.new_rows(X[:3].astype(np.float32), X, y, (X[:1], y[:1]))
    np.testing.assert_array_equal(found, X[[3, 5]])
    np.testing.assert_array_equal(answers, y[[3, 5]])


def test_what_the_data_do_not_hold_of_a_run_is_as_in_training():
    X, y = spectra(24, 1)
    y[3] = np.nan
    axis = np.linspace(900.0, 1600.0, len(AXIS))
    hours = np.linspace(0.0, 8.0, 24)
    values = np.column_stack([hours[::3], spectra(24, 1)[1][::3]])
    train = {"wavenumber_cm1": axis, "X_train": X, "glucose_train": y, "X_run": X, "time_run_h": hours, "hplc": values[:4]}
    later = np.vstack([values[4:], [[7.9, np.nan]]])
    found = pat.fermentation(train, {"hplc_test": later})
    assert found == pat.fermentation(train, {"X_run": X, "time_run_h": hours, "hplc": values[:4], "hplc_test": later})
    assert (found["n_train"], found["n"], np.isfinite(found["rmsep"])) == (23, 6, True)


def test_a_set_without_an_array_is_told_and_the_line_is_still_printed(tmp_path, monkeypatch, capsys):
    X, y = spectra(12, 1)
    np.savez(tmp_path / "gasoline.npz", X=X, wavelength_nm=AXIS)
    np.savez(tmp_path / "fermentation_mir.npz", X_train=X, glucose_train=y, wavenumber_cm1=AXIS)
    np.savez(tmp_path / "idrc2002_tablets.npz", X1_cal=X, y_cal=y, wavelength_nm=AXIS)
    monkeypatch.setattr(sys, "argv", ["pat", "--train", str(tmp_path), "--data", str(tmp_path)])
    pat.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["sets"]
    assert found["gasoline"] == {"error": "expected an array 'octane', found none"}
    assert found.keys() == {"idrc_1", "idrc_2", "gasoline", "fermentation"}
    assert all("found none" in told["error"] for told in found.values())
