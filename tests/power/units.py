"""Trials of the models of several tags together."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from models.batch import Batch, BatchConfig, runs_of
from tests.models.test_batch import TAGS as DRYER
from tests.models.test_batch import course, judged
from tests.power import streams
from tests.power.trial import Array, Flags, Trial, group

JOINT: Final[dict[str, Any]] = {"ready": 400, "within": 60}
AWAY: Final = "a tag that reads too much, sigma"


def alarm(c: Any) -> Any:
    """The state that the model itself tells."""
    return c["alarm"] == 1


@cache
def way() -> Any:
    """What 24 good batches teach."""
    return Batch.train_batches(dried(), runs_of(("heat", "dry"), *course(1, 24)))[0]


def dried() -> BatchConfig:
    return BatchConfig(name="dryer1/way", tags=DRYER, phases=("heat", "dry"), file="x")


def drying(rng: np.random.Generator, phi: float, size: float) -> tuple[Any, int]:
    """Eight batches of a dryer; from the middle of the drying of the sixth on its torque is too high."""
    told, t, x = course(int(rng.integers(1000, 2**31)), 8)
    run = runs_of(("heat", "dry"), told, t, x)[11]
    at = int(np.searchsorted(t, run.time_ns[len(run.time_ns) // 2]))
    x[at : int(np.searchsorted(t, run.time_ns[-1])) + 1, DRYER.index("torque")] += size
    return (told, t, x), at


def on_the_way(seen: Any) -> Flags:
    model = Batch(dried(), len(DRYER))
    model.settle(way())
    return np.asarray(judged(model, *seen)[:, 2] == 1)


def off(seen: Any) -> Flags:
    """Three sigma of all that good batches ever read: what limits of single tags see."""
    good: Array = course(1, 24)[2]
    return np.asarray((np.abs(seen[2] - good.mean(axis=0)) > 3 * good.std(axis=0)).any(axis=1))


UNITS: Final[dict[str, tuple[Trial, ...]]] = {
    "unit": (
        Trial(AWAY, (0.75, 1.5, 3.0), streams.unit(1100, 800, "bias"), group("unit", alarm), **JOINT, promised=1.0, phi=0.9, cost=2),
        Trial("a tag that no longer follows the others, share", (0.3, 0.6, 1.0), streams.unit(1100, 800, "slack"), group("unit", alarm),
              ready=400, within=200, promised=1.0, phi=0.9, cost=2, blind=True),
        Trial("the same behind a reference of 2,000 rows", (0.3, 0.6, 1.0), streams.unit(2800, 2400, "slack"), group("unit", alarm, train_rows=2000),
              ready=2000, within=200, promised=1.0, phi=0.9, cost=4, blind=True),
    ),
    "change": (
        Trial("another state, sigma", (0.75, 1.5, 3.0), streams.unit(1100, 800, "step"), group("change", lambda c: c["call"] == 1),
              **JOINT, promised=2.0, cost=2),
    ),
    "pca": (
        Trial(AWAY, (1.0, 2.0, 4.0), streams.unit(1100, 800, "bias"), group("pca", alarm), ready=500, within=60, promised=1.0, cost=2),
        Trial("more load than ever, sigma", (2.0, 4.0, 6.0), streams.unit(1100, 800, "load"), group("pca", alarm),
              ready=500, within=60, promised=1.0, cost=2),
    ),
    "dynamic_pca": (
        Trial(AWAY, (1.0, 2.0, 4.0), streams.unit(1100, 800, "bias"), group("dynamic_pca", alarm), **JOINT, promised=4.0, phi=0.9, cost=2),
    ),
    "canonical_variates": (
        Trial(AWAY, (1.0, 2.0, 4.0), streams.unit(1100, 800, "bias"), group("canonical_variates", alarm), **JOINT, promised=4.0, phi=0.9, cost=2),
    ),
    "mahalanobis": (
        Trial(AWAY, (1.0, 2.0, 4.0), streams.unit(1100, 800, "bias"), group("mahalanobis", alarm), **JOINT, promised=1.0, cost=2),
    ),
    "random_cut_forest": (
        Trial("off both operating points, sigma", (2.0, 4.0, 8.0), streams.unit(1100, 800, "between", modes=2), group("random_cut_forest", alarm),
              **JOINT, promised=2.0, cost=8),
    ),
    "half_space_trees": (
        Trial("off both operating points, sigma", (2.0, 4.0, 8.0), streams.unit(1100, 800, "between", modes=2), group("half_space_trees", alarm),
              **JOINT, promised=2.0, cost=8),
    ),
    "batch": (
        Trial("torque of half a drying, N m", (0.75, 1.5, 3.0), drying, on_the_way, ready=0, within=40, promised=6.0, phis=(0.0,), peer=off, cost=4),
    ),
}  # fmt: skip
"""Faults of each kind; a new kind adds its line."""
