import numpy as np
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.core import PharmedgeError
from edge_agent.core.model_file import read
from edge_agent.training.calibrate import read_table
from models.spectra.sensor import Sensor
from tests.models.spectra.lamp import AXIS, spectra


def table(path, X, y, replicates=1):
    lines = ["sample,assay," + ",".join(f"{a:g}" for a in AXIS)]
    lines += [f"s{i // replicates},{v!r}," + ",".join(map(repr, row.tolist())) for i, (row, v) in enumerate(zip(X, y.tolist(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("method", ["pls", "default"])
def test_a_table_becomes_a_model_file_and_a_report(tmp_path, method, monkeypatch):
    monkeypatch.setattr("edge_agent.training.calibrate.FOLDS", (4, 4))  # seconds
    X, y = spectra(30, 1)
    said = CliRunner().invoke(
        app,
        ["model", "calibrate", str(table(tmp_path / "a.csv", X, y)), "--reference", "assay", "--group", "sample", "--name", "api",
         "--tag", "blend/nir", "--unit", "%", "--method", method, "--out", str(tmp_path / "api.model"),
         "--report", str(tmp_path / "api.html"), "--user", "anna"],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    assert "30 samples, RMSECV" in said.output
    assert ("4 of 5 calibrations" in said.stderr) is (method == "default")
    file = read(tmp_path / "api.model")
    assert (file.kind, file.units, file.trained_by, file.training.rows_used) == ("spectra", {"value": "%"}, "anna", 30)
    fresh, truth = spectra(40, 2)
    found, _ = Sensor(file.arrays).judge(fresh)
    assert np.mean(np.abs(found[:, 0] - truth)) < 0.08
    assert np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) > 0.75
    page = (tmp_path / "api.html").read_text()
    assert page.count("<svg") == 3
    assert "http" not in page


def test_mistakes_in_a_table_are_named(tmp_path):
    X, y = spectra(12, 3)
    good = table(tmp_path / "a.csv", X, y)
    with pytest.raises(PharmedgeError, match="expected a column 'water' of references"):
        read_table(good, "water")
    ragged = tmp_path / "b.csv"
    ragged.write_text(good.read_text() + "s1,2\n")
    with pytest.raises(PharmedgeError, match=r"b\.csv:14: expected a line of names"):
        read_table(ragged, "assay")
    (tmp_path / "c.csv").write_text("assay,1100,1105\n1,2,x\n2,1,1\n")
    with pytest.raises(PharmedgeError, match="column 1105: expected numbers"):
        read_table(tmp_path / "c.csv", "assay")
    assert read_table(good, "assay", "sample").X.tobytes() == X.tobytes()


def test_a_treatment_may_be_chosen_and_parquet_is_read_like_csv(tmp_path):
    X, y = spectra(40, 4)
    csv = table(tmp_path / "a.csv", X, y)
    parquet = tmp_path / "a.parquet"
    write_table(pa.table({"assay": y, **{f"{a:g}": X[:, i] for i, a in enumerate(AXIS)}}), parquet)
    assert read_table(parquet, "assay").X.tobytes() == read_table(csv, "assay").X.tobytes() == X.tobytes()
    out = tmp_path / "api.model"
    wish = ["model", "calibrate", str(parquet), "--reference", "assay", "--name", "api", "--tag", "blend/nir", "--out", str(out)]
    said = CliRunner().invoke(app, [*wish, "--method", "pls", "--treatment", "msc > d1w7"])
    assert said.exit_code == 0, said.output
    assert read(out).calibration["members"][0].endswith("factors, msc > d1w7")
    fresh, truth = spectra(40, 5)
    error = Sensor(read(out).arrays).judge(fresh)[0][:, 0] - truth
    assert np.sqrt(np.mean(error**2)) < 2 * read(out).calibration["rmsecv"]
    out.unlink()
    assert "expected --method pls" in CliRunner().invoke(app, [*wish, "--treatment", "msc"]).stderr
    wrong = CliRunner().invoke(app, [*wish, "--method", "pls", "--treatment", "snv > d3"])
    assert (wrong.exit_code, "found 'd3'" in wrong.stderr) == (1, True)
