"""Slow directions: combinations of sensors in which the histories drift most against their noise, found without any label.

Every history is smoothed; the covariance of what is left is noise, that of the smooth part is signal; the generalised eigenvectors with the
largest ratio are kept (Switzer & Green 1984). Scores have noise variance 1 in every direction, so distances between histories mean something.

Wear shows in other sensors, and noise is another, in each operating condition: each has axes of its own, which read the same wear as the same score
with the least noise (generalised least squares).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

CLEAR: Final = 3.0
"""Signal to noise from which on a direction is read by axes of each condition; below it they cannot be told apart from noise."""
LEAST_ROWS: Final = 20
"""Rows for each sensor that a condition needs for axes of its own."""
RIDGE: Final = 1e-3
PASSES: Final = 2


def smoothed(z: NDArray[Any], sd: float) -> Float64:
    """(n, p) local straight lines through rows (n, p), Gaussian weights of `sd` rows; exact for straight lines, the ends included.

    >>> line = np.arange(30.0)[:, None] * 2 + 1
    >>> bool(np.abs(smoothed(line, 4.0) - line).max() < 1e-9)
    True
    """
    z = np.asarray(z, np.float64)
    t = np.arange(len(z), dtype=np.float64)
    d = t[None, :] - t[:, None]
    w = np.exp(-0.5 * (d / sd) ** 2)
    s0, s1, s2 = w.sum(axis=1), (w * d).sum(axis=1), (w * d * d).sum(axis=1)
    weights = w * (s2[:, None] - s1[:, None] * d)
    weights /= (s0 * s2 - s1 * s1)[:, None] if len(z) > 1 else 1.0
    out: Float64 = weights @ z if len(z) > 1 else z.copy()
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Directions:
    """mean (c, p); axes (c, p, k): scores in condition c = (z - mean) axes; ratio (k,) signal to noise."""

    mean: Float64
    axes: Float64
    ratio: Float64

    def scores(self, z: NDArray[Any], condition: NDArray[np.int64]) -> Float64:
        """(n, k) scores of normalised sensors (n, p) in conditions (n,), row by row in the same order of additions."""
        centred = np.asarray(z, np.float64) - self.mean[condition]
        out = np.zeros((len(centred), self.axes.shape[2]))
        for j in range(centred.shape[1]):  # not a product of matrices: its last bits depend on how many rows come together
            out += centred[:, j, None] * self.axes[condition, j]
        return out


def learn(histories: list[Float64], conditions: list[NDArray[np.int64]], k: int, sd: float) -> Directions:
    """The k slow directions of normalised histories (each (n, p), and its conditions (n,) from 0 on), smoothed with `sd` rows."""
    smooth = [smoothed(h, sd) for h in histories]
    rest = np.concatenate([h - m for h, m in zip(histories, smooth, strict=True)])
    signal = np.concatenate(smooth)
    mean = signal.mean(axis=0)
    p = signal.shape[1]
    noise = np.cov(rest.T).reshape(p, p)
    ridge = RIDGE * np.trace(noise) / p * np.eye(p)
    noise += ridge
    lower = np.linalg.cholesky(noise)
    white = np.linalg.solve(lower, np.linalg.solve(lower, np.cov(signal.T).reshape(p, p)).T)
    values, vectors = np.linalg.eigh((white + white.T) / 2)
    order = np.argsort(values)[::-1][: min(k, p)]
    axes = np.linalg.solve(lower.T, vectors[:, order])
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(order))] < 0, -1.0, 1.0)
    count = 1 + max(int(c.max()) for c in conditions)
    each = np.ascontiguousarray(np.repeat(axes[None], count, 0))
    found = Directions(np.repeat(mean[None], count, 0), each, values[order])
    if count == 1:
        return found
    for _ in range(PASSES):
        found = _of_conditions(found, histories, conditions, noise @ axes, ridge, sd)
    return found


def _of_conditions(
    before: Directions, histories: list[Float64], conditions: list[NDArray[np.int64]], loadings: Float64, ridge: Float64, sd: float
) -> Directions:
    """Axes of each condition from how its sensors follow the smooth scores; loadings (p, k) of all conditions together."""
    scores = np.concatenate([smoothed(before.scores(h, c), sd) for h, c in zip(histories, conditions, strict=True)])
    middle = before.mean.mean(axis=0)
    z, index = np.concatenate(histories) - middle, np.concatenate(conditions)
    known = np.column_stack([np.ones(len(scores)), scores])
    clear = before.ratio >= CLEAR
    everywhere = np.linalg.lstsq(known, z, rcond=None)[0]
    mean, axes = before.mean.copy(), before.axes.copy()
    for c in range(len(axes)):
        mine = index == c
        if int(mine.sum()) < LEAST_ROWS * z.shape[1]:
            continue
        here = np.linalg.lstsq(known[mine], z[mine], rcond=None)[0]
        own = loadings.copy()
        # Against the same regression over all conditions: what noise of the scores takes off a slope, it takes off both.
        own[:, clear] += (here[1:] - everywhere[1:]).T[:, clear]
        own[z[mine].std(axis=0) < 1e-9] = 0.0  # stands still here
        noise = np.cov((z[mine] - known[mine] @ here).T).reshape(len(ridge), len(ridge)) + ridge
        weighted = np.linalg.solve(noise, own)
        precision = own.T @ weighted
        if np.linalg.cond(precision) > 1e8:
            continue  # nothing of a direction is seen here
        axes[c] = np.linalg.solve(precision, weighted.T).T
        mean[c] = middle + here[0] - everywhere[0]
    return Directions(mean, np.ascontiguousarray(axes), before.ratio)
