"""The procedure for bearings run to failure: who teaches, and what is said when too few may."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.benchmarks import femto
from tests.models.prognosis.test_degradation import bearing


def written(folder: Path, name: str, seed: int, *, cut: int = -1, loud: float = 1.0) -> None:
    """A bearing of which all snapshots are known by their features."""
    level = loud * bearing(seed)
    np.savez(folder / f"{name}.npz", n_snapshots=len(level), **({"test_cut": cut} if cut >= 0 else {}))
    rows = "".join(f"{x:.6f},1.0\n" for x in level)
    with gzip.open(folder / f"{name}_features.csv.gz", "wt") as out:
        out.write("h_rms,h_kurtosis\n" + rows)


def judged(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    monkeypatch.setattr(sys, "argv", ["femto", "--train", str(folder), "--data", str(folder), "--out", str(folder / "out")])
    femto.main()
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


def test_a_bearing_that_is_cut_teaches_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        written(tmp_path, f"Bearing1_{i}", i)
    alone = judged(tmp_path, monkeypatch, capsys)
    written(tmp_path, "Bearing1_9", 9, cut=200, loud=0.2)
    beside = judged(tmp_path, monkeypatch, capsys)
    assert beside["limit_g"] == alone["limit_g"] | {"Bearing1_9": beside["limit_g"]["Bearing1_9"]}
    assert (beside["bearings"], beside["not_judged"]) == (4, {})
    lines = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [line.split(",")[2] for line in lines if line.startswith("Bearing1_9,")] == ["1990.0"]


def test_with_fewer_than_two_that_failed_it_is_said_who_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, "Bearing1_1", 1)
    written(tmp_path, "Bearing1_2", 2)
    written(tmp_path, "Bearing1_3", 3, cut=200)
    said = judged(tmp_path, monkeypatch, capsys)
    assert said["not_judged"] == dict.fromkeys(("Bearing1_1", "Bearing1_2"), "degradation: expected 2 or more histories to failure, found 1")
    assert list(said["limit_g"]) == ["Bearing1_3"]
    (tmp_path / "Bearing1_2.npz").unlink()
    said = judged(tmp_path, monkeypatch, capsys)
    assert (said["phm2012_score"], said["coverage"], said["bearings"]) == (None, None, 0)
    assert (tmp_path / "out" / "alarms.csv").read_text() == "bearing,first_alarm_s,life_s\n"
