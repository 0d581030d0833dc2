"""Partial least squares of one property on many channels: fitted offline, kept as plain arrays.

NIPALS and SIMPLS give the same model for one property; the form here deflates the covariance only (Dayal & MacGregor 1997, algorithm 1).
Prefer it to regression on all channels: neighbouring channels of a spectrum say nearly the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Pls:
    """A model of `a` factors on k channels.

    x_mean, x_scale  (k,); y_mean; weights, loadings, rotations (k, a); y_loadings (a,); scores (n, a) of the training rows
    """

    x_mean: Float64
    x_scale: Float64
    y_mean: float
    weights: Float64
    loadings: Float64
    rotations: Float64
    y_loadings: Float64
    scores: Float64

    @property
    def factors(self) -> int:
        """Number of factors; fewer than asked for when the covariance was used up."""
        return len(self.y_loadings)

    def coefficients(self, factors: int | None = None) -> Float64:
        """(k,) weights of the centred channels in their own unit, with the first factors only when asked."""
        a = self.factors if factors is None else min(factors, self.factors)
        return (self.rotations[:, :a] @ self.y_loadings[:a]) / self.x_scale

    def predict(self, X: NDArray[Any], factors: int | None = None) -> Float64:
        """(n,) predictions of rows (n, k)."""
        return (np.asarray(X, np.float64) - self.x_mean) @ self.coefficients(factors) + self.y_mean

    def vip(self) -> Float64:
        """(k,) variable importance in projection; its mean square is 1 (Wold, Sjostrom, Eriksson 2001)."""
        explained = self.y_loadings**2 * np.sum(self.scores**2, axis=0)
        share = (self.weights / np.linalg.norm(self.weights, axis=0)) ** 2
        vip: Float64 = np.sqrt(len(self.x_mean) * (share @ explained) / max(float(explained.sum()), 1e-300))
        return vip


def fit(X: NDArray[Any], y: NDArray[Any], factors: int, *, scale: bool = False) -> Pls:
    """PLS1 of y (n,) on X (n, k). `scale` divides each channel by its standard deviation (n - 1) first.

    >>> X = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 5.0], [4.0, 2.0]])
    >>> model = fit(X, X @ [2.0, -1.0] + 3.0, 2)
    >>> model.coefficients().round(9).tolist(), model.predict(X[:1]).round(9).tolist()
    ([2.0, -1.0], [3.0])
    """
    X, y = np.asarray(X, np.float64), np.asarray(y, np.float64)
    if X.ndim != 2 or y.shape != X.shape[:1] or len(y) < 3:
        raise ValueError(f"pls: expected spectra (n, k) and references (n,) of 3 or more samples, found {X.shape} and {y.shape}")
    if not 1 <= factors <= min(len(y) - 1, X.shape[1]):
        raise ValueError(f"pls: expected 1..{min(len(y) - 1, X.shape[1])} factors, found {factors}")
    if not np.ptp(X, axis=0).any():  # the mean of equal numbers may be another one: what is left of them is no covariance
        raise ValueError("pls: expected spectra that differ from each other, found no covariance of equal ones")
    mean, y_mean = X.mean(axis=0), float(y.mean())
    sd = X.std(axis=0, ddof=1) if scale else np.ones(X.shape[1])
    sd = np.where(sd > 0, sd, 1.0)
    Z = (X - mean) / sd
    covariance = Z.T @ (y - y_mean)
    begin = float(np.linalg.norm(covariance))
    weights: list[Float64] = []
    loadings: list[Float64] = []
    rotations: list[Float64] = []
    scores: list[Float64] = []
    shares: list[float] = []
    for _ in range(factors):
        size = float(np.linalg.norm(covariance))
        if size <= 1e-13 * begin:
            break
        w = covariance / size
        r = w.copy()
        for p, earlier in zip(loadings, rotations, strict=True):
            r -= (p @ w) * earlier
        t = Z @ r
        square = float(t @ t)
        p = Z.T @ t / square
        q = float(r @ covariance) / square
        covariance = covariance - p * (q * square)
        weights.append(w)
        loadings.append(p)
        rotations.append(r)
        shares.append(q)
        scores.append(t)
    if not shares:
        raise ValueError("pls: expected references that vary with the spectra, found no covariance")
    w_all, p_all, r_all = (np.ascontiguousarray(np.array(c).T) for c in (weights, loadings, rotations))
    return Pls(mean, sd, y_mean, w_all, p_all, r_all, np.array(shares), np.array(scores).T)
