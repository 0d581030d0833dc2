"""Remaining life of a unit from a fleet that ran to failure: library of histories and trees on top of it, with an interval that was calibrated.

Training is offline and deterministic. The number is the weighted mean of what the library says and what the trees say; the interval comes from
errors at cuts of training units that were left out of library and trees (normalised, signed split conformal prediction: Lei et al. 2018). Which
settings normalise, which sensors are used and the slow directions are learnt from all units: no label of a unit enters there but through the choice
of sensors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.prognosis import boosting, conditions, directions, features
from models.prognosis.boosting import Trees
from models.prognosis.conditions import Conditions
from models.prognosis.directions import Directions, smoothed
from models.prognosis.library import HORIZON, SAYS, Library, Match

Float64 = NDArray[np.float64]

LEAST_UNITS: Final = 10
"""Below this many histories no remaining life is told."""
_FLOOR: Final = 3.0
_MOST_ROWS: Final = 6000
_LIBRARY_NAMES: Final = ("mean", "spread", "10 %", "50 %", "90 %", "chance of longer than the cap")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is chosen before training; one default for all fleets. Lengths in cycles.

    cap: longer lives are not told apart. trees_share: weight of the trees, the rest is the library's. youngest: a unit of fewer cycles is too young.
    """

    step: tuple[float, ...] = (1.0, 0.05, 5.0)
    cap: float = 125.0
    directions: int = 4
    smooth: float = 8.0
    match: Match = field(default_factory=Match)
    trees_share: float = 0.75
    youngest: int = 20
    coverage: float = 0.9
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is known of a unit: `status` is good, too young, unknown condition, new pattern or bad input; numbers are cycles, NaN when there is none.

    lower, upper: the interval. alike: histories it looks like as (unit, cycles before that unit's end, weight); sensors: (column, standard
    deviations from the fleet's middle along the slow directions), largest first.
    """

    status: str
    remaining: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    alike: tuple[tuple[int, int, float], ...] = ()
    sensors: tuple[tuple[int, float], ...] = ()
    added: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class RemainingLife:
    """A trained model. signed (2,) lower and upper quantile of (true - said) / (spread + 3); strange: log weight below which no history fits."""

    settings: Settings
    conditions: Conditions
    directions: Directions
    library: Library
    trees: Trees
    signed: Float64
    strange: float
    figures: dict[str, float] = field(default_factory=dict)

    def scores(self, settings: NDArray[Any], values: NDArray[Any]) -> Float64:
        """(n, k) slow scores of a unit's rows."""
        return self.directions.scores(self.conditions.normalised(settings, values), self.conditions.nearest(settings)[0])

    def names(self) -> tuple[str, ...]:
        """What each feature of the trees is."""
        k = self.directions.axes.shape[2]
        slow = [f"direction {j + 1}: {name}" for j in range(k) for name in features.NAMES]
        return (*slow, "age", *(f"library of the last {w}: {name}" for w in self.settings.match.windows for name in _LIBRARY_NAMES))

    def estimate(self, settings: NDArray[Any], values: NDArray[Any]) -> Estimate:
        """What is known of a unit from all its rows so far: settings (n, s), sensors (n, m), oldest first."""
        used = np.asarray(values, np.float64)[:, self.conditions.sensors]
        if not (np.isfinite(used).all() and np.isfinite(np.asarray(settings, np.float64)).all()):
            return Estimate("bad input")
        if len(used) < self.settings.youngest:
            return Estimate("too young")
        at, away = self.conditions.nearest(settings)
        if float(away[-1]) > 1.0:
            return Estimate("unknown condition")
        z = self.conditions.normalised(settings, values)
        score = self.directions.scores(z, at)
        weights = self.library.weights(score)
        said = self.library.says(weights, self.settings.cap)[0]
        middle = len(said) // 2
        row = np.concatenate([features.of(score), said[:, : SAYS - 1].ravel()])[None]
        if not np.isfinite(row).all():
            return Estimate("new pattern")
        trees, parts, _ = self.trees.explain(row)
        cap, share = self.settings.cap, self.settings.trees_share
        point = float(np.clip(share * trees[0] + (1 - share) * said[:, 0].mean(), 0.0, cap))
        wide = float(said[middle, 1]) + _FLOOR
        lower, upper = np.clip(point + self.signed * wide, 0.0, cap)
        status = "new pattern" if float(said[middle, SAYS - 1]) < self.strange else "good"
        order = np.argsort(-np.abs(parts[0]), kind="stable")[:5]
        names = self.names()
        added = tuple((names[i], float(parts[0, i])) for i in order)
        return Estimate(status, point, float(lower), float(upper), self._alike(weights[middle]), self._sensors(z, at), added)

    def _alike(self, weights: Float64) -> tuple[tuple[int, int, float], ...]:
        """The five histories with the largest weight, each at its best place."""
        p = np.exp(weights - weights.max())
        p /= p.sum()
        total = p.sum(axis=1)
        best = np.argsort(-total, kind="stable")[:5]
        return tuple((int(u), int(np.argmax(p[u])), float(total[u])) for u in best)

    def _sensors(self, z: Float64, condition: NDArray[np.int64]) -> tuple[tuple[int, float], ...]:
        """The five sensors that carry the first direction furthest over the last 10 rows."""
        last = condition[-10:]
        part = ((z[-10:] - self.directions.mean[last]) * self.directions.axes[last, :, 0]).mean(axis=0)
        best = np.argsort(-np.abs(part), kind="stable")[:5]
        return tuple((int(self.conditions.sensors[i]), float(part[i])) for i in best)


def quantiles(scores: NDArray[Any], coverage: float) -> Float64:
    """(2,) signed conformal quantiles: each tail holds (1 - coverage) / 2 with the finite-sample correction.

    >>> quantiles(np.arange(-10.0, 11.0), 0.8).tolist()
    [-9.0, 9.0]
    """
    s = np.sort(np.asarray(scores, np.float64))
    n = len(s)
    k = min(math.ceil((n + 1) * (1 + coverage) / 2 - 1e-9), n)
    return np.array([s[n - k], s[k - 1]])


def train(units: list[tuple[NDArray[Any], NDArray[Any]]], settings: Settings = Settings()) -> RemainingLife:
    """The model of a fleet: of each unit settings (n, s) and sensors (n, m) from new to failure. ValueError with fewer than 10 units."""
    if len(units) < LEAST_UNITS:
        raise ValueError(f"remaining life: expected {LEAST_UNITS} or more histories to failure, found {len(units)}")
    c = settings
    rng = np.random.default_rng(c.seed)
    remaining = np.concatenate([np.minimum(np.arange(len(v))[::-1], c.cap) for _, v in units])
    known = conditions.learn(units, remaining, np.array(c.step), c.smooth)
    normal, at = [known.normalised(s, v) for s, v in units], [known.nearest(s)[0] for s, _ in units]
    slow = directions.learn(normal, at, c.directions, c.smooth)
    scores = [slow.scores(z, where) for z, where in zip(normal, at, strict=True)]
    fold = np.empty(len(units), np.int64)
    fold[rng.permutation(len(units))] = np.arange(len(units)) % c.folds
    library = Library.of([smoothed(s, c.smooth) for s in scores], fold, c.match)

    every = max(4, math.ceil(sum(map(len, scores)) / _MOST_ROWS))
    places: list[tuple[int, int, bool]] = []
    for u, s in enumerate(scores):
        places += [(u, n, False) for n in range(c.youngest, len(s) + 1, every)]
        places += [(u, len(s) - int(r), True) for r in rng.integers(5, 146, 3) if len(s) - r >= c.youngest]
    said = np.stack([library.says(library.weights(scores[u][:n], own=u), c.cap, c.folds) for u, n, _ in places])
    own = np.stack([features.of(scores[u][:n]) for u, n, _ in places])
    y = np.array([min(len(scores[u]) - n, c.cap) for u, n, _ in places])
    of, cut = fold[[u for u, _, _ in places]], np.array([x for _, _, x in places])

    def rows(which: NDArray[Any], left_out: int) -> Float64:
        return np.concatenate([own[which], said[which, left_out, :, : SAYS - 1].reshape(int(which.sum()), -1)], axis=1)

    middle = len(c.match.windows) // 2
    held, wide = np.full(len(y), np.nan), np.full(len(y), np.nan)
    for f in range(c.folds):
        rest, test = of != f, (of == f) & cut
        trees = boosting.fit(rows(rest, f + 1), y[rest])
        held[test] = c.trees_share * trees.predict(rows(test, f + 1)) + (1 - c.trees_share) * said[test, f + 1, :, 0].mean(axis=1)
        wide[test] = said[test, f + 1, middle, 1] + _FLOOR
    held = np.clip(held, 0.0, c.cap)
    error = (y - held)[cut]
    signed = quantiles(error / wide[cut], c.coverage)
    low, high = held[cut] + signed[0] * wide[cut], held[cut] + signed[1] * wide[cut]
    inside = (y[cut] >= np.clip(low, 0, c.cap) - 1e-9) & (y[cut] <= np.clip(high, 0, c.cap) + 1e-9)
    trees = boosting.fit(rows(np.ones(len(y), bool), 0), y)
    figures = {
        "units": float(len(units)), "cuts": float(cut.sum()), "rmse": float(np.sqrt(np.mean(error**2))), "coverage": float(inside.mean()),
        "horizon": float(HORIZON),
    }  # fmt: skip
    return RemainingLife(c, known, slow, library, trees, signed, float(np.quantile(said[:, 0, middle, SAYS - 1], 0.005)), figures)
