"""River behind one adapter: any of its detectors by name, the same after a restart as without, also in another process."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pydantic
import pytest
from numpy.typing import NDArray

from edge_agent.core import pack, unpack
from models.river import STILL, River, RiverConfig

ESTIMATORS: dict[str, dict[str, Any]] = {
    "anomaly.GaussianScorer": {},
    "anomaly.HalfSpaceTrees": {"window_size": 50},
    "anomaly.LODA": {"n_random_cuts": 10},
    "anomaly.LocalOutlierFactor": {},
    "anomaly.OneClassSVM": {},
    "anomaly.StandardAbsoluteDeviation": {},
    "anomaly.PredictiveAnomalyDetection": {"predictive_model": {"estimator": "time_series.HoltWinters", "params": {"alpha": 0.3}}},
    "anomaly.QuantileFilter": {"anomaly_detector": {"estimator": "anomaly.HalfSpaceTrees"}, "q": 0.95},
    "anomaly.ThresholdFilter": {"anomaly_detector": {"estimator": "anomaly.GaussianScorer", "params": {"grace_period": 20}}, "threshold": 0.9},
    "drift.ADWIN": {},
    "drift.KSWIN": {"window_size": 60},
    "drift.PageHinkley": {"threshold": 5},
    "drift.DummyDriftDetector": {"trigger_method": "random", "t_0": 40, "w": 5},
    "drift.NoDrift": {},
    "drift.binary.DDM": {},
    "drift.binary.EDDM": {},
    "drift.binary.HDDMA": {},
    "drift.binary.FHDDM": {},
}


def config(name: str, **more: Any) -> RiverConfig:
    return RiverConfig.model_validate({"estimator": name, "tags": ("a",), "params": ESTIMATORS[name], "generation": 100, "warmup": 30} | more)


def values(name: str, n: int = 330) -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    x = rng.normal(0.5, 0.1, n)
    x[n // 2 :] += 0.3
    return (rng.random(n) < 0.2).astype(float) if "binary" in name else x


def run(bank: River, x: NDArray[np.float64]) -> NDArray[np.float64]:
    out = np.empty((len(x), 1))
    bank.step(np.zeros(len(x), np.int32), np.arange(len(x)), x, np.ones(len(x), np.uint8), out)
    return out[:, 0]


def digest() -> str:
    """Hash of what every estimator says: compared between processes whose texts hash otherwise."""
    said = hashlib.sha256()
    for name in ESTIMATORS:
        said.update(run(River([config(name)]), values(name)).tobytes())
    return said.hexdigest()


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_restart_anywhere_changes_no_bit(name: str) -> None:
    x = values(name)
    whole = run(River([config(name)]), x)
    assert np.isfinite(whole).sum() >= 290
    assert np.isnan(whole[:30]).all()
    bank, parts = River([config(name)]), []
    for a, z in ((0, 1), (1, 99), (99, 100), (100, 101), (101, 200), (200, 299), (299, 330)):
        parts.append(run(bank, x[a:z]))
        saved = unpack(pack(bank.state()))
        bank = River([config(name)])
        bank.restore(saved)
    assert np.concatenate(parts).tobytes() == whole.tobytes()


def test_a_bank_in_use_forgets_at_restore_what_it_learned_since() -> None:
    x = values("anomaly.GaussianScorer")
    bank = River([config("anomaly.GaussianScorer")])
    run(bank, x[:120])
    saved = unpack(pack(bank.state()))
    after = run(bank, x[120:])
    bank.restore(saved)
    assert run(bank, x[120:]).tobytes() == after.tobytes()


def test_the_library_is_imported_only_when_it_is_used_and_another_process_says_the_same() -> None:
    code = """
import sys, edge_agent.config, edge_agent.pipeline.chain, models
print("river" in sys.modules, "sklearn" in sys.modules)
from tests.models.test_river import digest
print(digest())
"""
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True, timeout=110)
    assert done.stdout.split() == ["False", "False", digest()]


def test_detectors_find_a_shift() -> None:
    """The mean of a tag moves by three sigma at row 165."""
    drift = np.flatnonzero(run(River([config("drift.ADWIN", warmup=0, generation=1000)]), values("")) == 1)
    assert len(drift)
    assert 165 < drift[0] < 230
    trees = run(River([config("anomaly.HalfSpaceTrees", scale=[0, 1], generation=1000)]), values(""))
    assert trees[170:200].mean() > trees[100:160].mean()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"estimator": "anomaly.Nothing"}, "the name of a class in River"),
        ({"estimator": "../etc.Passwd"}, "the name of a class in River"),
        ({"estimator": "linear_model.LinearRegression", "params": {}}, "an anomaly or drift detector, found linear_model.LinearRegression"),
        ({"params": {"trees": 3}}, r"parameters of anomaly.HalfSpaceTrees \(n_trees, .*\), found trees"),
        ({"estimator": "drift.ADWIN", "params": {}, "file": "x.model"}, "a drift detector is always adaptive"),
        ({"scale": [1, 1]}, "scale: expected low < high"),
    ],
)
def test_what_is_no_detector_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=said):
        config("anomaly.HalfSpaceTrees", **changes)


def static(name: str, x: NDArray[np.float64]) -> River:
    bank = River([config(name).model_copy(update={"file": "0" * 64})])
    bank.settle(0, unpack(pack(River.train(config(name), np.arange(len(x)), x))))
    return bank


@pytest.mark.parametrize("name", sorted(n for n in ESTIMATORS if n.partition(".")[2] in STILL))
def test_a_trained_one_scores_by_its_training_and_learns_nothing(name: str) -> None:
    x = values(name)
    whole = run(static(name, x[:160]), x)
    assert np.isfinite(whole).all()
    other = static(name, x[:160])
    run(other, np.full(40, 9.0))  # what it sees leaves no trace, and a restart begins with the training again
    assert run(other, x).tobytes() == whole.tobytes()
    restored = static(name, x[:160])
    restored.restore(unpack(pack(other.state())))
    assert run(restored, x).tobytes() == whole.tobytes()


def test_every_estimator_that_can_be_static_is_scored_twice_above() -> None:
    assert {f"anomaly.{name}" for name in STILL} <= set(ESTIMATORS)


def test_one_that_learns_when_it_scores_is_never_static() -> None:
    x = values("anomaly.PredictiveAnomalyDetection")
    with pytest.raises(ValueError, match=r"anomaly.PredictiveAnomalyDetection is always adaptive: only .* learn nothing when they score"):
        River.train(config("anomaly.PredictiveAnomalyDetection"), np.arange(len(x)), x)
    with pytest.raises(pydantic.ValidationError, match=r"no file: anomaly.PredictiveAnomalyDetection is always adaptive"):
        config("anomaly.PredictiveAnomalyDetection", file="x.model")
    inner = {"anomaly_detector": {"estimator": "anomaly.PredictiveAnomalyDetection"}, "q": 0.9}
    with pytest.raises(pydantic.ValidationError, match="is always adaptive"):
        config("anomaly.QuantileFilter", params=inner, file="x.model")


def test_what_cannot_be_trained_says_why() -> None:
    x = values("drift.ADWIN")
    with pytest.raises(ValueError, match="a drift detector is always adaptive"):
        River.train(config("drift.ADWIN"), np.arange(len(x)), x)
    with pytest.raises(ValueError, match="expected at least 30 usable rows, found 9"):
        River.train(config("anomaly.HalfSpaceTrees"), np.arange(9), x[:9])
    with pytest.raises(ValueError, match="arrays: expected"):
        River([config("anomaly.HalfSpaceTrees")]).settle(0, {})
    assert config("drift.ADWIN").learns
    assert not config("anomaly.HalfSpaceTrees", file="x.model").learns
