"""Operating conditions: the same machine reads differently at another load, so every sensor is judged against its own condition first.

A condition is a point of the settings rounded to a grid. Sensors that stand still in any condition,
or that know nothing of remaining life, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

LEAST_SHARE: Final = 0.01
"""A point of the grid with a smaller share of the training rows is no condition of its own."""
STANDS_STILL: Final = 1e-4
LEAST_CORRELATION: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Conditions:
    """step (s,) grid of the settings; points (c, s) in steps; sensors (p,) columns that are used; mean, sd (c, p)."""

    step: Float64
    points: Float64
    sensors: NDArray[np.int64]
    mean: Float64
    sd: Float64

    def nearest(self, settings: NDArray[Any]) -> tuple[NDArray[np.int64], Float64]:
        """(n,) index of the nearest known condition and (n,) distance to it in grid steps; above 1 the condition is unknown."""
        at = np.asarray(settings, np.float64) / self.step
        away = np.sqrt(((at[:, None, :] - self.points[None]) ** 2).sum(axis=2))
        index = np.argmin(away, axis=1).astype(np.int64)
        return index, away[np.arange(len(at)), index]

    def normalised(self, settings: NDArray[Any], values: NDArray[Any]) -> Float64:
        """(n, p) sensors in standard deviations of their condition, from settings (n, s) and all sensors (n, m)."""
        index, _ = self.nearest(settings)
        z: Float64 = (np.asarray(values, np.float64)[:, self.sensors] - self.mean[index]) / self.sd[index]
        return z


def learn(settings: NDArray[Any], values: NDArray[Any], remaining: NDArray[Any], step: NDArray[Any]) -> Conditions:
    """Conditions of settings (n, s) and sensors (n, m) whose rows had `remaining` (n,) to go; ValueError when no sensor tells anything."""
    step, values = np.asarray(step, np.float64), np.asarray(values, np.float64)
    cells, belongs = np.unique(np.round(np.asarray(settings, np.float64) / step), axis=0, return_inverse=True)
    often = np.bincount(belongs.ravel(), minlength=len(cells)) >= LEAST_SHARE * len(values)
    m = values.shape[1]
    found = Conditions(step, cells[often], np.arange(m), np.zeros((int(often.sum()), m)), np.ones((int(often.sum()), m)))
    index, _ = found.nearest(settings)
    mean = np.stack([values[index == c].mean(axis=0) for c in range(len(found.points))])
    sd = np.stack([values[index == c].std(axis=0) for c in range(len(found.points))])
    moves = sd.min(axis=0) >= STANDS_STILL
    z = (values - mean[index]) / np.where(moves, sd, 1.0)[index]
    told = np.array([moves[j] and abs(np.corrcoef(z[:, j], remaining)[0, 1]) >= LEAST_CORRELATION for j in range(m)])
    if not told.any():
        raise ValueError("remaining life: expected sensors that change towards failure, found none")
    use = np.flatnonzero(told).astype(np.int64)
    return Conditions(step, found.points, use, mean[:, use], sd[:, use])
