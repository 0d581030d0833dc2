"""Operating conditions hide nothing of the wear: the same fleet in six of them is told nearly as well as in one."""

from __future__ import annotations

import functools
import json
import sys

import numpy as np
import pytest

from models.prognosis import boosting, conditions, directions, remaining
from tests.benchmarks import cmapss
from tests.models.prognosis import turbofans

STEP = np.array([1.0, 0.05, 5.0])


@pytest.fixture
def quick(monkeypatch):
    """Few rows and trees: what is compared is the fleet, not how well trees can be grown."""
    monkeypatch.setattr(remaining, "_MOST_ROWS", 700)
    monkeypatch.setattr(boosting, "fit", functools.partial(boosting.fit, trees=60, rate=0.1, seeds=1))


def error(conditions, **fleet):
    histories, running, left = turbofans.fleet(30, 60, 5, conditions=conditions, **fleet)
    model = remaining.train(histories)
    said = [model.estimate(*u) for u in running]
    return float(np.sqrt(np.mean([(e.remaining - r) ** 2 for e, r in zip(said, left, strict=True)])))


@pytest.mark.parametrize("modes", [1, 2])
def test_six_conditions_cost_little(quick, modes):
    one, six = error(1, modes=modes), error(6, modes=modes, climbs=True)
    assert six < 1.15 * one + 0.5


def scores(units):
    remain = np.concatenate([np.minimum(np.arange(len(v))[::-1], 125) for _, v in units])
    known = conditions.learn(units, remain, STEP, 8.0)
    at = [known.nearest(s)[0] for s, _ in units]
    normal = [known.normalised(*u) for u in units]
    slow = directions.learn(normal, at, 1, 8.0)
    return known, slow, [slow.scores(z, c)[:, 0] for z, c in zip(normal, at, strict=True)], at


def test_a_condition_that_is_met_late_in_life_does_not_take_the_wear_into_its_level():
    units, _, _ = turbofans.fleet(20, 0, 3, climbs=True)
    known, _, found, at = scores(units)
    assert len(known.points) == 6
    # What is left around the smooth course of a unit has the same level in every condition.
    rest = np.concatenate([s - directions.smoothed(s[:, None], 8.0)[:, 0] for s in found])
    index = np.concatenate(at)
    levels = [rest[index == c].mean() for c in range(6)]
    assert np.abs(levels).max() < 0.15
    # And it follows the course with the same slope: a condition in which wear shows less is read with more gain.
    course = np.concatenate([directions.smoothed(s[:, None], 8.0)[:, 0] for s in found])
    slopes = [np.polyfit(course[index == c], (course + rest)[index == c], 1)[0] for c in range(6)]
    assert max(slopes) / min(slopes) < 1.1


def test_one_condition_has_the_axes_of_all_rows():
    units, _, _ = turbofans.fleet(12, 0, 4, conditions=1)
    known, slow, found, _ = scores(units)
    values = np.concatenate([v for _, v in units])
    np.testing.assert_array_equal(known.mean[0], values.mean(axis=0)[known.sensors])
    assert slow.axes.shape == (1, len(known.sensors), 1)
    z = known.normalised(*units[0])
    np.testing.assert_allclose(found[0], (z - slow.mean[0]) @ slow.axes[0, :, 0], rtol=1e-9, atol=1e-9)


def test_units_that_never_leave_their_condition_keep_the_mean_of_its_rows():
    units, _, _ = turbofans.fleet(12, 0, 4, conditions=1)
    moved = [(s + (turbofans.POINTS[1] if u % 2 else 0.0), v) for u, (s, v) in enumerate(units)]
    known = scores(moved)[0]
    for c, odd in enumerate((0, 1)):
        rows = np.concatenate([v for u, (_, v) in enumerate(units) if u % 2 == odd])
        np.testing.assert_allclose(known.mean[c], rows.mean(axis=0)[known.sensors], rtol=1e-9)


def test_the_benchmark_takes_a_folder_with_one_set_short_units_gaps_and_no_truth(quick, tmp_path, monkeypatch, capsys):
    histories, running, left = turbofans.fleet(12, 6, 1)
    running[1] = (running[1][0][:3], running[1][1][:3])
    running[2][1][10] = np.nan
    turbofans.written(tmp_path / "train_FD002.txt.gz", histories)
    turbofans.written(tmp_path / "test_FD002.txt.gz", running)
    monkeypatch.setattr(sys, "argv", ["cmapss", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    cmapss.main()
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(said["sets"]) == ["FD002"]
    assert "rmse" not in said["sets"]["FD002"]
    numbers = np.loadtxt(tmp_path / "out" / "FD002.txt")
    assert numbers.shape == (6,)
    assert ((numbers >= 0) & (numbers <= 125)).all()
    statuses = [line.rpartition(",")[2] for line in (tmp_path / "out" / "FD002_interval.csv").read_text().splitlines()[1:]]
    assert statuses[1] == "too young"
    assert set(statuses) <= {"good", "new pattern", "too young"}
    (tmp_path / "RUL_FD002.txt").write_text("".join(f"{r}\n" for r in left))
    cmapss.main()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sets"]["FD002"]["rmse"] < 40


def test_a_cycle_that_is_missing_is_as_the_one_before(tmp_path):
    (tmp_path / "train_FD001.txt").write_text("".join(f"7 {c} 0 0 100 " + " ".join([str(10 * c)] * 21) + "\n" for c in (1, 2, 5)))
    ((settings, values),) = cmapss.units(tmp_path / "train_FD001.txt")
    assert values[:, 0].tolist() == [10, 20, 20, 20, 50]
    assert settings.shape == (5, 3)


def test_settings_that_never_come_again_are_refused_by_name():
    settings = np.column_stack([np.arange(400.0), np.zeros(400), np.zeros(400)])
    with pytest.raises(ValueError, match="take a larger step"):
        conditions.learn([(settings, np.zeros((400, 3)))], np.arange(400.0), np.ones(3), 10.0)
