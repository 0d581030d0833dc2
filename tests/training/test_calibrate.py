import hashlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.core import PharmedgeError
from edge_agent.core.model_file import read
from edge_agent.training.made_of import by_name, sha256_of
from edge_agent.training.spectra_table import read_table
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
    assert "4 of 5 calibrations" in said.stderr
    file = read(tmp_path / "api.model")
    assert (file.kind, file.units, file.trained_by, file.training.rows_used) == ("spectra", {"value": "%"}, "anna", 30)
    fresh, truth = spectra(40, 2)
    found, _ = Sensor(file.arrays).judge(fresh)
    assert np.mean(np.abs(found[:, 0] - truth)) < 0.08
    assert np.mean((found[:, 1] <= truth) & (truth <= found[:, 2])) > 0.75
    page = (tmp_path / "api.html").read_text()
    assert page.count("<svg") == 6
    assert "http" not in page


def test_mistakes_in_a_table_are_named(tmp_path):
    X, y = spectra(12, 3)
    good = table(tmp_path / "a.csv", X, y)
    with pytest.raises(PharmedgeError, match="expected one column 'water' of references"):
        read_table(good, "water")
    ragged = tmp_path / "b.csv"
    ragged.write_text(good.read_text() + "s1,2\n")
    with pytest.raises(PharmedgeError, match=r"b\.csv:14: expected rows of 82 cells"):
        read_table(ragged, "assay")
    (tmp_path / "c.csv").write_text("assay,1100,1105\n1,2,x\n2,1,1\n")
    with pytest.raises(PharmedgeError, match="column 1105, row 2: expected a number, found 'x'"):
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


def lines(X, y, names):
    head = "sample,assay," + ",".join(f"{a:g}" for a in AXIS)
    return [head] + [f"{n},{v!r}," + ",".join(map(repr, row.tolist())) for n, v, row in zip(names, y.tolist(), X, strict=True)]


def test_train_calibrates_the_sensor_of_a_configuration_whose_file_is_not_there_yet(tmp_path):
    X, y = spectra(30, 1)
    config = tmp_path / "edge.yaml"
    config.write_text("sensors:\n  - {name: blend/api, tag: blend/nir, file: api.model, unit: '%'}\n")
    y[7] += 0.6  # two samples were mixed up
    table(tmp_path / "a.csv", X, y)
    run = ["model", "train", "-c", str(config), "--model", "blend/api", "--input", str(tmp_path / "a.csv"), "--out", str(tmp_path / "api.model")]
    said = CliRunner().invoke(app, run)
    assert (said.exit_code, "--reference: expected the column of references" in said.stderr) == (2, True)
    said = CliRunner().invoke(app, [*run, "--reference", "assay", "--method", "pls", "--user", "anna"])
    assert said.exit_code == 0, said.output
    file = read(tmp_path / "api.model")
    assert (file.name, file.tags, file.units, file.training.files.keys()) == ("blend/api", ("blend/nir",), {"value": "%"}, {"a.csv"})
    page = (tmp_path / "api.html").read_text()
    for title in ("Left-out predictions", "RMSECV of PLS", "Importance of the points (VIP)", "Outliers", "Treatments tried with PLS"):
        assert title in page
    assert ">s7<" in page  # the odd sample is named in the plots and in its table
    again = CliRunner().invoke(app, [*run, "--reference", "assay"])
    assert (again.exit_code, "api.html: expected a new file" in again.stderr) == (2, True)
    other = ["model", "train", "-c", str(config), "--model", "water", "a.csv", "--reference", "a", "--out", "b.model"]
    wrong = CliRunner().invoke(app, other)
    assert (wrong.exit_code, "expected the name of one soft sensor (blend/api), found 0 called 'water'" in wrong.stderr) == (2, True)
    bare = CliRunner().invoke(app, ["model", "train", "a.csv", "--out", "b.model"])
    assert (bare.exit_code, "expected --config and --model, or --reference" in bare.stderr) == (2, True)


@pytest.mark.parametrize("between", [";", "\t"])
def test_a_spreadsheet_with_decimal_commas_is_the_same_table(tmp_path, between):
    X, y = spectra(14, 3)
    path = table(tmp_path / "a.csv", X, y)
    plain = read_table(path, "assay")
    cells = [row.split(",") for row in path.read_text().splitlines()]
    cells[0][2:] = [f"{c.replace('.', ',')} nm" for c in cells[0][2:]]
    rows = [between.join(c.replace(".", ",") for c in row) + between for row in cells]
    (tmp_path / "b.csv").write_bytes(("\r\n".join(rows) + "\r\n").encode("gb18030"))
    found = read_table(tmp_path / "b.csv", "assay")
    assert (found.X.tobytes(), found.y.tobytes(), found.axis.tobytes()) == (plain.X.tobytes(), plain.y.tobytes(), plain.axis.tobytes())


def test_a_falling_axis_and_a_hole_in_it(tmp_path):
    X, y = spectra(14, 3)
    rows = [row.split(",") for row in lines(X, y, [f"s{i}" for i in range(14)])]
    (tmp_path / "a.csv").write_text("\n".join(",".join(r[:2] + r[:1:-1]) for r in rows) + "\n")
    assert read_table(tmp_path / "a.csv", "assay").X.tobytes() == X.tobytes()
    (tmp_path / "b.csv").write_text("\n".join(",".join(r[:20] + r[30:]) for r in rows) + "\n")
    assert any("hole from 1185 to 1240" in r for r in read_table(tmp_path / "b.csv", "assay").remarks)


@pytest.mark.parametrize(
    ("n", "edit", "says"),
    [
        (8, lambda rows: rows, "expected 12 or more samples with a reference, found 8"),
        (14, lambda rows: [rows[0]] + [",".join(["s", "5", *r.split(",")[2:]]) for r in rows[1:]], "references that differ from each other, found 5"),
        (14, lambda rows: [*rows[:3], rows[3].rsplit(",", 1)[0] + ",NaN", *rows[4:]], "column 1495, row 4: expected a finite number"),
        (14, lambda rows: [rows[0].replace("1105", "1100"), *rows[1:]], "expected each point of the axis once, found 1100 twice"),
        (14, lambda rows: [",".join(f"p{c}" for c in rows[0].split(",")).replace("passay", "assay"), *rows[1:]], "columns named by wavelength"),
        (14, lambda rows: [*rows[:3], rows[3].replace("s2,", "s2,about "), *rows[4:]], "column assay, row 4: expected a number, found 'about"),
        (14, lambda rows: [r.replace(",", " ") for r in rows], "expected one column 'assay' of references"),
    ],
)
def test_what_cannot_be_calibrated_is_named(tmp_path, n, edit, says):
    path = tmp_path / "a.csv"
    path.write_text("\n".join(edit(lines(*spectra(n, 3), [f"s{i}" for i in range(n)]))) + "\n")
    with pytest.raises(PharmedgeError, match=r"^\S*a\.csv") as error:
        read_table(path, "assay")
    assert says in str(error.value)


def test_samples_without_a_reference_are_left_out_and_said(tmp_path):
    X, y = spectra(15, 3)
    rows = lines(X, y, [f"s{i}" for i in range(15)])
    rows[5] = "s4,," + rows[5].split(",", 2)[2]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    found = read_table(tmp_path / "a.csv", "assay")
    assert (len(found.y), found.left, "s4" in found.sample) == (14, (("samples without a reference", 1),), False)


def test_files_of_an_instrument_meet_the_table_of_the_laboratory(tmp_path):
    """A folder with two spectra of each sample, and references of the laboratory: joined by name, replicates left out together."""
    X, y = spectra(26, 3)
    folder = tmp_path / "export"
    folder.mkdir()
    for i, row in enumerate(X):
        body = "".join(f"{a:g};{v:.9f}\n".replace(".", ",") for a, v in zip(AXIS[::-1], row[::-1], strict=True))
        (folder / f"{i:02d}.csv").write_text(f"# sample: T{i // 2}\n{body}")
    laboratory = tmp_path / "lab.csv"
    laboratory.write_text("sample;assay\n" + "".join(f"T{i};{y[2 * i]:.6f}\n".replace(".", ",") for i in range(13)) + "T99;0,5\n")
    found = read_table(folder, "assay", references=laboratory)
    assert np.allclose(found.X, X, rtol=0, atol=1e-9)
    assert np.allclose(found.y, np.repeat(y[::2], 2), rtol=0, atol=1e-6)
    assert (len(set(found.group)), found.left) == (13, (("references without a spectrum", 1),))
    assert by_name(found.files).keys() == {"export", "lab.csv"}
    laboratory.write_text("sample,assay\n" + "".join(f"B-{i},{i}\n" for i in range(13)))
    with pytest.raises(PharmedgeError, match=r"lab\.csv: expected the names of samples of the spectra \('T0', .*found others \('B-0'"):
        read_table(folder, "assay", references=laboratory)
    laboratory.write_text("sample,assay\n" + "".join(f"T{i},\nT{i},{i}\n" for i in range(13)) + "T2,\n")
    late = read_table(folder, "assay", references=laboratory)  # each sample entered first and its answer later
    assert late.y.tolist() == [float(i // 2) for i in range(26)]
    laboratory.write_text("sample,assay\nT1,1\nT1,2\n")
    with pytest.raises(PharmedgeError, match="expected one reference of sample 'T1', found 1 and 2"):
        read_table(folder, "assay", references=laboratory)
    with pytest.raises(PharmedgeError, match="expected --references"):
        read_table(folder, "assay")
    (folder / "99.csv").write_text("1100;0,1\n1105;0,2\n")
    with pytest.raises(PharmedgeError, match=r"99\.csv: expected 80 points from 1100 to 1495 as in 00\.csv, found 2 points"):
        read_table(folder, "assay", references=laboratory)


def test_files_of_one_name_are_all_told(tmp_path):
    X, y = spectra(24, 3)
    for name, part in (("lotA", slice(0, 12)), ("lotB", slice(12, 24))):
        (tmp_path / name).mkdir()
        table(tmp_path / name / "spectra.csv", X[part], y[part])
    paths = [tmp_path / name / "spectra.csv" for name in ("lotA", "lotB")]
    found = read_table(paths, "assay")
    before = sha256_of(found.files)
    assert by_name(found.files) == {f"{p.parent.name}/spectra.csv": hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}
    paths[0].write_text(paths[0].read_text() + "\n")
    assert sha256_of(read_table(paths, "assay").files) != before
