"""A calibration taken to a second instrument by the command, from samples measured on both."""

import hashlib

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.core import PharmedgeError
from edge_agent.core.model_file import read
from edge_agent.training.spectra_table import read_pairs
from models.spectra.sensor import Sensor
from models.spectra.treatment import SavitzkyGolay
from tests.models.spectra.lamp import AXIS, spectra

OTHER = {"shift_nm": 1.5, "gain": 1.04}


def written(path, X, y, names):
    head = ["sample", *([] if y is None else ["assay"]), *(f"{a:g}" for a in AXIS)]
    rows = [[n, *([] if y is None else [repr(float(y[i]))]), *map(repr, X[i].tolist())] for i, n in enumerate(names)]
    path.write_text("\n".join(",".join(r) for r in [head, *rows]) + "\n")
    return str(path)


@pytest.fixture
def files(tmp_path, monkeypatch):
    few = [(SavitzkyGolay(width=w, derivative=1),) for w in (7, 15)]
    monkeypatch.setattr("models.spectra.choose.treatments", lambda axis: few)  # seconds
    monkeypatch.setattr("edge_agent.training.transfer.PARTS", 2)
    X, y = spectra(30, 1)
    names = [f"P{i}" for i in range(15)]
    first, answers = spectra(15, 2)
    second, _ = spectra(15, 2, **OTHER)
    calibration = written(tmp_path / "cal.csv", X, y, [f"C{i}" for i in range(30)])
    one = written(tmp_path / "one.csv", first, answers, names)
    unknown = written(tmp_path / "unknown.csv", first, None, names)
    # The second instrument measured them in another order, and one that the first did not.
    two = written(tmp_path / "two.csv", np.vstack([second[::-1], second[:1]]), None, [*names[::-1], "P99"])
    return {"calibration": calibration, "one": one, "unknown": unknown, "two": two, "out": tmp_path / "api-2.model"}


@pytest.mark.parametrize(("first", "against"), [("one", "references"), ("unknown", "the first instrument")])
def test_the_second_instrument_answers_like_the_first_and_says_how_sure(files, first, against):
    out = files["out"]
    run = ["model", "transfer", files["calibration"], "--reference", "assay", "--from", files[first], "--to", files["two"], "--name", "api",
           "--tag", "blend/nir2", "--unit", "%", "--out", str(out), "--user", "anna"]  # fmt: skip
    said = CliRunner().invoke(app, run)
    assert said.exit_code == 0, said.output
    assert "15 pairs, error of left-out pairs 0.0" in said.output
    assert f"against {against}" in said.output
    assert "samples on one instrument only: 1" in said.stderr
    file = read(out)
    assert (file.tags, file.calibration["against"], set(file.training.files)) == (("blend/nir2",), against, {"cal.csv", f"{first}.csv", "two.csv"})
    told = "".join(f"{name}\0{sha256}\0" for name, sha256 in file.training.files.items())
    assert file.training.data_sha256 == hashlib.sha256(told.encode()).hexdigest()
    fresh, truth = spectra(60, 7, **OTHER)
    found, _ = Sensor(file.arrays).judge(fresh)
    assert np.sqrt(np.mean((found[:, 0] - truth) ** 2)) < 0.02
    assert np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) > 0.8
    assert np.mean(found[:, 5]) > 0.8
    assert CliRunner().invoke(app, run).exit_code == 2


def test_pairs_that_are_none_are_named(files, tmp_path):
    X, y = spectra(4, 3)
    with pytest.raises(PharmedgeError, match=r"two\.csv: expected the names of samples of \S*x\.csv \(Q0, Q1"):
        read_pairs(tmp_path / written(tmp_path / "x.csv", X, y, [f"Q{i}" for i in range(4)]), tmp_path / files["two"], "assay")
    run = ["model", "transfer", files["calibration"], "--reference", "assay", "--name", "a", "--tag", "t", "--out", str(files["out"])]
    few = written(tmp_path / "few.csv", X, y, [f"P{i}" for i in range(4)])
    said = CliRunner().invoke(app, [*run, "--from", few, "--to", files["two"]])
    assert (said.exit_code, "expected 10 or more samples measured on both instruments, found 4" in said.stderr) == (1, True)


def test_a_pair_in_the_calibration_must_be_known_there_by_its_name(files, tmp_path):
    """By it, it is left out of the calibration too; otherwise the interval would be that of samples already learned."""
    X, y = spectra(30, 1)
    first, answers = spectra(15, 2)
    everything, truth = np.vstack([X, first]), np.concatenate([y, answers])
    run = ["--reference", "assay", "--from", files["one"], "--to", files["two"], "--name", "a", "--tag", "t", "--out", str(files["out"])]
    called = written(tmp_path / "otherwise.csv", everything, truth, [f"C{i}" for i in range(45)])
    said = CliRunner().invoke(app, ["model", "transfer", called, *run])
    assert (said.exit_code, "expected one name of a sample, found the spectrum of 'P0' as 'C30' in the calibration" in said.stderr) == (1, True)
    rows = (tmp_path / "otherwise.csv").read_text().splitlines()
    (tmp_path / "unnamed.csv").write_text("\n".join(r.partition(",")[2] for r in rows) + "\n")
    said = CliRunner().invoke(app, ["model", "transfer", str(tmp_path / "unnamed.csv"), *run])
    assert (said.exit_code, "unnamed.csv: expected one column 'sample' of sample names, found the columns assay, 1100" in said.stderr) == (1, True)


def test_a_reference_that_is_not_there_is_named(files):
    run = ["--reference", "water", "--from", files["one"], "--to", files["two"], "--name", "a", "--tag", "t", "--out", str(files["out"])]
    said = CliRunner().invoke(app, ["model", "transfer", files["calibration"], *run])
    assert (said.exit_code, "cal.csv: expected one column 'water' of references" in said.stderr) == (1, True)
