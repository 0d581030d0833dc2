"""Operating conditions: the same machine reads differently at another load, so every sensor is judged against its own condition first.

A condition is a point of the settings rounded to a grid. Sensors that stand still in most of the time,
or that know nothing of remaining life, are left out.

What a sensor reads in a condition is not the mean of the rows: a condition that is met late in life would take the wear into its level. Levels are
estimated beside a smooth course of every unit, from what steps when the condition changes (partly linear model: Speckman 1988).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.prognosis.directions import smoothed

Float64 = NDArray[np.float64]

LEAST_SHARE: Final = 0.01
"""A point of the grid with a smaller share of the training rows is no condition of its own."""
STANDS_STILL: Final = 1e-4
"""A smaller standard deviation within a condition says nothing there."""
LEAST_MOVING: Final = 0.5
"""A sensor that moves in a smaller share of the rows is not used."""
TRUST: Final = 5.0
"""Rows that the plain mean of a condition weighs against what the changes say: all there is where a unit never leaves its condition."""
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


def learn(units: list[tuple[NDArray[Any], NDArray[Any]]], remaining: NDArray[Any], step: NDArray[Any], smooth: float) -> Conditions:
    """Conditions of units, each settings (n, s) and sensors (n, m), whose rows had `remaining` to go, all units in a row; smooth: cycles.

    ValueError when no sensor tells anything, or no point of the grid holds its share of the rows.
    """
    settings, values = (np.concatenate([np.asarray(u[i], np.float64) for u in units]) for i in (0, 1))
    step = np.asarray(step, np.float64)
    cells, belongs = np.unique(np.round(settings / step), axis=0, return_inverse=True)
    often = np.bincount(belongs.ravel(), minlength=len(cells)) >= LEAST_SHARE * len(values)
    if not often.any():
        raise ValueError(f"settings: expected points that come again and again, found none with {LEAST_SHARE:.0%} of the rows; take a larger step")
    m = values.shape[1]
    found = Conditions(step, cells[often], np.arange(m), np.zeros((int(often.sum()), m)), np.ones((int(often.sum()), m)))
    index, _ = found.nearest(settings)
    mean: Float64 = np.stack([values[index == c].mean(axis=0) for c in range(len(found.points))])
    sd: Float64 = np.stack([values[index == c].std(axis=0) for c in range(len(found.points))])
    moves = sd >= STANDS_STILL
    share = np.bincount(index, minlength=len(found.points)) / len(index)
    use = np.flatnonzero(share @ moves >= LEAST_MOVING).astype(np.int64)
    mean, sd = mean[:, use], np.where(moves, sd, 1.0)[:, use]
    if len(found.points) > 1:
        mean += sd * _levels(units, Conditions(step, found.points, use, mean, sd), share, smooth)
    z = (values[:, use] - mean[index]) / sd[index]
    told = np.array([abs(np.corrcoef(column, remaining)[0, 1]) >= LEAST_CORRELATION for column in z.T], bool)
    if not told.any():
        raise ValueError("remaining life: expected sensors that change towards failure, found none")
    return Conditions(step, found.points, use[told], mean[:, told], sd[:, told])


def _levels(units: list[tuple[NDArray[Any], NDArray[Any]]], known: Conditions, share: Float64, smooth: float) -> Float64:
    """(c, p) how far the level of each condition lies from the mean of its rows, in standard deviations; 0 on average over the rows."""
    c, p = known.mean.shape
    left, right = np.zeros((c, c), np.float64), np.zeros((c, p), np.float64)
    for settings, values in units:
        index, _ = known.nearest(settings)
        z = known.normalised(settings, values)
        seen = np.zeros((len(z), c))
        seen[np.arange(len(z)), index] = 1.0
        seen -= smoothed(seen, smooth)
        left += seen.T @ seen
        right += seen.T @ (z - smoothed(z, smooth))
    away = np.asarray(np.linalg.solve(left + TRUST * np.eye(c), right), np.float64)
    return away - share @ away
