"""Slope and bias of a soft sensor: what it says, what is recorded, and that nobody's word alone brings it into force."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from edge_agent.__main__ import app
from edge_agent.agent.model_watch import ModelWatch
from edge_agent.config import load_agent
from edge_agent.core import PharmedgeError
from edge_agent.core.approval import KEY_FOLDER
from edge_agent.core.model_file import read
from edge_agent.pipeline.audits import noted
from edge_agent.training.adjust import adjusted, fitted, read_pairs
from models.spectra.sensor import Sensor
from simulators.spectrometer import calibration_samples

MODEL = Path(__file__).parents[2] / "configs" / "spectra" / "api.model"
CONFIG = MODEL.with_name("agent.yaml")


def run(*words: str) -> tuple[int, str]:
    said = CliRunner().invoke(app, ["model", *words])
    return said.exit_code, said.output


def test_a_bias_moves_values_and_interval_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "b.model"
    code, said = run("adjust", str(MODEL), "--predicted", "98", "--reference", "99.5", "--out", str(out), "--user", "anna", "--reason", "CR-1")
    assert code == 0, said
    assert "value x 1 + 1.5, from 1 pairs" in said
    before, after = Sensor(read(MODEL).arrays), Sensor(read(out).arrays)
    X, _ = calibration_samples(20, 7)
    (old, why), (new, why_new) = before.judge(X), after.judge(X)
    np.testing.assert_allclose(new[:, 0], old[:, 0] + 1.5, atol=1e-9)
    np.testing.assert_allclose(new[:, 2] - new[:, 1], (old[:, 2] - old[:, 1]) * np.sqrt(2), atol=1e-9)
    np.testing.assert_array_equal(new[:, 3:], old[:, 3:])
    np.testing.assert_array_equal(why_new, why)
    record = read(out).calibration["adjusted"]
    assert (record["bias"], record["slope"], record["n"], record["of"], record["significant"]) == (1.5, 1.0, 1, read(MODEL).sha256, None)
    assert (read(out).trained_by, read(out).reason) == ("anna", "CR-1")


def test_pairs_give_slope_and_bias_and_say_whether_it_is_chance(tmp_path: Path) -> None:
    pairs = tmp_path / "lab.csv"
    pairs.write_text("predicted,reference\n" + "".join(f"{p},{1.1 * p - 8}\n" for p in (90, 95, 100, 105, 110)))
    out = tmp_path / "s.model"
    code, said = run("adjust", str(MODEL), "--pairs", str(pairs), "--slope", "--out", str(out), "--user", "anna", "--reason", "CR-2")
    assert code == 0, said
    X, _ = calibration_samples(20, 7)
    old, new = (Sensor(read(f).arrays).judge(X)[0] for f in (MODEL, out))
    np.testing.assert_allclose(new[:, 0], 1.1 * old[:, 0] - 8, atol=1e-8)
    rng = np.random.default_rng(3)
    truth = rng.uniform(90, 110, 12)
    assert fitted(truth, truth + 0.5 + 0.1 * rng.standard_normal(12)).significant is True
    assert fitted(truth, truth + 0.5 * rng.standard_normal(12)).significant is False


def test_what_is_no_adjustment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("predicted,reference\n1,x\n")
    with pytest.raises(PharmedgeError, match=r"a\.csv:2: expected two numbers"):
        read_pairs(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("said,reference\n1,2\n")
    with pytest.raises(PharmedgeError, match="found no predicted"):
        read_pairs(tmp_path / "b.csv")
    with pytest.raises(PharmedgeError, match="5 or more pairs"):
        fitted([1, 2], [1, 2], slope=True)
    with pytest.raises(PharmedgeError, match="calibrate anew"):
        fitted([1, 2, 3, 4, 5], [3, 6, 9, 12, 15], slope=True)
    with pytest.raises(PharmedgeError, match="a user and a reason"):
        adjusted(read(MODEL), fitted([1], [2]), [(1, 2)], user="anna", reason=" ", now_ns=0)
    assert run("adjust", str(MODEL), "--out", str(tmp_path / "x"), "--reason", "r")[0] == 2


def test_an_adjusted_sensor_is_in_force_only_once_another_person_approved_it(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(CONFIG.read_text("utf-8"), "utf-8")
    out = tmp_path / "api.model"
    run("adjust", str(MODEL), "--predicted", "98", "--reference", "99", "--out", str(out), "--user", "anna", "--reason", "CR-1")
    check = CliRunner().invoke(app, ["check", "-c", str(config)])
    assert check.exit_code == 2
    assert "approval" in check.output
    approve = ["approve", str(out), "-c", str(config), "--role", "quality unit", "--reason", "report 7", "--user"]
    assert run(*approve, "anna")[0] == 1
    assert run(*approve, "li")[0] == 0
    check = CliRunner().invoke(app, ["check", "-c", str(config)])
    assert check.exit_code == 0, check.output
    # Whose word the sensor stands on is written down at each start of the agent, and after a reload where it is another's.
    watch = ModelWatch(load_agent(config), tmp_path / "data" / "agent" / KEY_FOLDER)
    watch.begin(load_agent(config), time.time_ns(), None)
    put: list[Callable[[int], Any]] = []
    watch.say(put.append)
    (entry,) = (noted(made(7)) for made in put)
    assert (entry.time_ns, entry.user, entry.role, entry.action, entry.object) == (7, "pharmedge", "system", "model_in_force", "sensor nir1/api")
    assert (entry.new, entry.reason.startswith("approved by li (quality unit)"), "report 7" in entry.reason) == (read(out).sha256, True, True)
    later = ModelWatch(load_agent(config), tmp_path / "data" / "agent" / KEY_FOLDER)
    later.begin(load_agent(config), time.time_ns(), None)
    put.clear()
    watch.become(later, put.append)
    assert put == []
    ModelWatch(load_agent(config), tmp_path).become(later, put.append)
    assert len(put) == 1
