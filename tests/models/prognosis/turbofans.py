"""A fleet of turbofans that wear until they fail, in one or six operating conditions, and its files as the public C-MAPSS sets are laid out.

Every sensor has its own level, gain and noise in each condition, some say nothing or stand still in one: the wear is hidden under the changes.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Unit = tuple[NDArray[np.float64], NDArray[np.float64]]

POINTS = np.array([[0, 0, 100], [8, 0.2, 100], [15, 0.45, 80], [22, 0.62, 60], [30, 0.75, 100], [40, 0.85, 100]], np.float64)
SENSORS = 21
STILL = (0, 4, 9, 15, 17, 18)


def fleet(
    failed: int, running: int, seed: int, *, conditions: int = 6, modes: int = 1, climbs: bool = False
) -> tuple[list[Unit], list[Unit], list[int]]:
    """Histories to failure, units that still run and the cycles these have left; the same fleet whatever `conditions`.

    climbs: the older a unit the rather it works in the upper conditions.
    """
    rng = np.random.default_rng(seed)
    level = rng.uniform(1, 2500, SENSORS) * rng.uniform(0.2, 1.6, (6, SENSORS))
    gain = 0.004 * level * rng.uniform(0.5, 1.5, (6, SENSORS))
    noise = 0.3 * np.exp(0.4 * rng.normal(0, 1, (6, SENSORS)))
    seen = (rng.random((6, SENSORS)) >= 0.2).astype(np.float64)
    moves = (rng.random((6, SENSORS)) >= 0.1).astype(np.float64)
    noise[0], seen[0], moves[0] = 0.3, 1.0, 1.0
    wears = rng.choice([-1, 1], (2, SENSORS)) * rng.uniform(1, 3, (2, SENSORS))
    wears[:, STILL] = 0.0

    def unit(left: int) -> Unit:
        life = int(np.clip(np.exp(rng.normal(np.log(205), 0.22)), 128, 380))
        t = np.arange(life)
        steep, new = rng.uniform(3, 6), rng.uniform(0, 0.12)
        health = new + (1 - new) * np.expm1(steep * t / life) / np.expm1(steep)
        along = wears[rng.integers(0, modes)] * (1 + rng.normal(0, 0.12, SENSORS))
        built = rng.normal(0, 0.15, SENSORS)
        built[list(STILL)] = 0.0
        spread = rng.normal(0, 1, (life, SENSORS))
        spread[:, STILL] = 0.0
        where = rng.integers(0, 6, life)
        high = rng.random(life) < t / life
        jitter = rng.normal(0, [0.002, 0.0004, 0.0], (life, 3))
        at = (np.where(high, 3 + where // 2, where) if climbs else where) if conditions == 6 else np.zeros(life, np.int64)
        x = level[at] + gain[at] * moves[at] * (seen[at] * (health[:, None] * along + built) + noise[at] * spread)
        n = max(life - left, 25)
        return np.abs(POINTS[at] + jitter)[:n], x[:n]

    histories = [unit(0) for _ in range(failed)]
    left = [int(r) for r in rng.integers(7, 100, running)]
    return histories, [unit(r) for r in left], left


def written(path: Path, units: list[Unit]) -> None:
    """One file of a set: unit, cycle, three settings, 21 sensors, blank-separated, gzip."""
    with gzip.open(path, "wt") as file:
        for u, (settings, values) in enumerate(units, 1):
            for i, (s, v) in enumerate(zip(settings, values, strict=True), 1):
                file.write(f"{u} {i} " + " ".join(f"{x:.6g}" for x in (*s, *v)) + " \n")
