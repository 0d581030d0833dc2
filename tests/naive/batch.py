"""Batches against their trajectory again, one instant at a time, from the arrays of a model file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.batch import BatchConfig

Array = NDArray[np.float64]


class NaiveBatch:
    """`told` is the way in force at each instant: number of the phase, -1 for none, and its begin."""

    def __init__(self, config: BatchConfig, learned: dict[str, NDArray[Any]]) -> None:
        self.c, self.m = config, learned
        self.begin: int | None = None

    def row(self, t: int, x: Array, usable: NDArray[np.bool_], way: tuple[int, int]) -> list[float]:
        k, (phase, begin) = len(x), way
        nothing = [math.nan] * 3 + [0.0]
        if phase < 0:
            return nothing + [math.nan] * (2 + k)
        if begin != self.begin:
            self.begin, self.furthest, self.last = begin, 0.0, [False]
        low, high = self.m["span"][phase]
        if self.c.indicator is None:
            maturity = (t - begin) / high
        else:
            i = self.c.tags.index(self.c.indicator)
            if usable[i]:
                self.furthest = max(self.furthest, (x[i] - low) / (high - low))
            maturity = self.furthest
        if maturity > 1 + self.c.overrun or (~usable).sum() > 0.2 * k:
            return [*nothing, maturity] + [math.nan] * (1 + k)
        grid = np.linspace(0, 1, self.c.points)
        now = min(max(maturity, 0.0), 1.0)
        centre, spread = (np.array([np.interp(now, grid, self.m[name][phase][:, j]) for j in range(k)]) for name in ("mean", "sd"))
        z = (np.where(usable, x, 0) - centre) / spread
        if not usable.all():
            whole = np.linalg.inv(self.m["plain"][phase])
            z[~usable] = whole[np.ix_(~usable, usable)] @ np.linalg.solve(whole[np.ix_(usable, usable)], z[usable])
        place = now * (self.c.points - 1)
        at = min(int(place), self.c.points - 2)
        at = at if place - at < 0.5 else at + 1
        a = int(self.m["kept"][phase])
        p, values = self.m["vectors"][phase][:, :a], self.m["values"][phase, at, :a]
        t_ = p.T @ z
        residual = z - p @ t_
        t2, spe = float((t_**2 / values).sum()), float(residual @ residual)
        ratios = t2 / self.m["limit"][phase, at, 0], spe / self.m["limit"][phase, at, 1]
        self.last = [*self.last, max(ratios) > 1][-5:]
        off = ratios[1] >= ratios[0]
        share = np.sign(residual) * residual**2 / spe if off else z * (p @ (t_ / values)) / t2
        return [*ratios, float(sum(self.last) >= 3), 1.0, maturity, float(off), *share]
