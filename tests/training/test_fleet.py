import json

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.core import PharmedgeError
from edge_agent.core.model_file import read
from edge_agent.training.fleet import loaded, read_fleet
from models.prognosis.remaining import Settings, train
from models.prognosis.stored import model_of, settings_json, settings_of
from tests.models.prognosis.fleet import fleet

COLUMNS = "unit,cycle,altitude,mach,throttle,s1,s2,s3,s4,s5"


def table(path, units):
    lines = [COLUMNS]
    for u, (settings, values) in enumerate(units, 1):
        lines += [",".join(map(repr, [u, i, *s.tolist(), *v.tolist()])) for i, (s, v) in enumerate(zip(settings, values, strict=True), 1)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_histories_become_a_model_file_that_says_the_same_to_the_last_bit(tmp_path):
    histories = fleet(12, 1)
    trained = table(tmp_path / "failed.csv", histories)
    options = ["--unit", "unit", "--skip", "cycle", "--settings", "altitude,mach,throttle", "--step", "1,0.05,5"]
    said = CliRunner().invoke(app, ["model", "fleet", str(trained), *options, "--name", "p", "--out", str(tmp_path / "p.model"), "--user", "anna"])
    assert said.exit_code == 0, said.output
    assert "12 histories" in said.output
    model, settings, sensors = loaded(tmp_path / "p.model", read(tmp_path / "p.model"))
    assert (settings, sensors) == (("altitude", "mach", "throttle"), ("s1", "s2", "s3", "s4", "s5"))
    same = train(histories, Settings())
    running = [(s[:-20], v[:-20]) for s, v in fleet(3, 2)]
    assert [model.estimate(*u) for u in running] == [same.estimate(*u) for u in running]

    now = table(tmp_path / "now.csv", [*running, (running[0][0][:5], running[0][1][:5])])
    told = CliRunner().invoke(app, ["model", "remaining", str(tmp_path / "p.model"), str(now), "--unit", "unit", "--json"])
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.output.splitlines()]
    assert [line["unit"] for line in lines] == ["1", "2", "3", "4"]
    assert lines[3]["status"] == "too young"
    assert lines[3]["remaining"] is None
    assert lines[0]["lower"] <= lines[0]["remaining"] <= lines[0]["upper"]
    assert "unit" in lines[0]["advice"]["en"]
    assert "设备" in lines[0]["advice"]["zh"]


def test_mistakes_in_a_table_of_histories_are_named(tmp_path):
    path = table(tmp_path / "a.csv", fleet(2, 1))
    with pytest.raises(PharmedgeError, match="expected a column 'machine'"):
        read_fleet(path, "machine", [])
    path.write_text(COLUMNS + "\n1,1,0,0,0,1,2,3,4\n")
    with pytest.raises(PharmedgeError, match=r"a\.csv:2: expected 10 cells, found 9"):
        read_fleet(path, "unit", [])
    path.write_text(COLUMNS + "\n1,1,0,0,0,1,2,3,4,high\n")
    with pytest.raises(PharmedgeError, match=r"a\.csv:2: expected numbers"):
        read_fleet(path, "unit", [])


def test_arrays_that_do_not_fit_together_are_refused():
    with pytest.raises(ValueError, match="expected the arrays of such a model"):
        model_of(settings_json(Settings()), {"feature": np.zeros(1)})
    with pytest.raises(ValueError, match="found depth"):
        settings_of({"depth": 3})
    assert settings_of(settings_json(Settings())) == Settings()
