"""Slow directions: combinations of sensors in which the histories drift most against their noise, found without any label.

Every history is smoothed; the covariance of what is left is noise, that of the smooth part is signal; the generalised eigenvectors with the
largest ratio are kept (Switzer & Green 1984). Scores have noise variance 1 in every direction, so distances between histories mean something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


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
    """mean (p,); axes (p, k): scores = (z - mean) axes; ratio (k,) signal to noise."""

    mean: Float64
    axes: Float64
    ratio: Float64

    def scores(self, z: NDArray[Any]) -> Float64:
        """(n, k) scores of normalised sensors (n, p), row by row in the same order of additions."""
        centred = np.asarray(z, np.float64) - self.mean
        out = np.zeros((len(centred), self.axes.shape[1]))
        for j in range(centred.shape[1]):  # not a product of matrices: its last bits depend on how many rows come together
            out += centred[:, j, None] * self.axes[j]
        return out


def learn(histories: list[Float64], k: int, sd: float) -> Directions:
    """The k slow directions of normalised histories (each (n, p)), smoothed with `sd` rows."""
    smooth = [smoothed(h, sd) for h in histories]
    rest = np.concatenate([h - m for h, m in zip(histories, smooth, strict=True)])
    signal = np.concatenate(smooth)
    mean = signal.mean(axis=0)
    p = signal.shape[1]
    noise = np.cov(rest.T).reshape(p, p)
    noise += 1e-3 * np.trace(noise) / p * np.eye(p)
    lower = np.linalg.cholesky(noise)
    white = np.linalg.solve(lower, np.linalg.solve(lower, np.cov(signal.T).reshape(p, p)).T)
    values, vectors = np.linalg.eigh((white + white.T) / 2)
    order = np.argsort(values)[::-1][: min(k, p)]
    axes = np.linalg.solve(lower.T, vectors[:, order])
    axes *= np.where(axes[np.abs(axes).argmax(axis=0), np.arange(len(order))] < 0, -1.0, 1.0)
    return Directions(mean, np.ascontiguousarray(axes), values[order])
