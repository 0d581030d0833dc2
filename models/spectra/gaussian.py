"""Gaussian-process calibration: ridge regression on all channels plus a local part on the leading scores; fitted offline, kept as plain arrays.

The linear part does what PLS does, with shrinkage instead of a number of factors; the local part follows curvature and classes of material. The
marginal likelihood decides how much of each and how much noise (Rasmussen & Williams 2006, chapters 2 and 5), so there is little to choose.
Prefer PLS where the number must be explained by factors, or far outside the calibration, where the local part fades.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

MOST_SCORES: Final = 20
"""Scores on which the local part looks at most."""
_EXPLAINED: Final = 0.999
_BOUNDS: Final = ((-14.0, 14.0), (-14.0, 6.0), (-3.0, 4.0), (-18.0, 2.0))
# Hardly any pull on the sizes; the length of the local part is held near the median distance unless the data says otherwise.
_PULL: Final = np.array([1e-3, 1e-3, 0.1, 1e-3])


@dataclass(frozen=True, slots=True, eq=False)
class Gaussian:
    """Prediction = y_mean + offset + coefficients (x - x_mean) + sum over i of heights_i exp(-|t - centres_i|^2 / length), t = axes' (x - x_mean).

    x_mean, coefficients (k,); axes (k, m); centres (n, m); heights (n,); length in squared scores
    left_out (n,) predictions of the training rows, each from the others (closed form, same amounts); evidence: log marginal likelihood
    amounts (4,): logarithms of linear part, local part, length and noise
    """

    x_mean: Float64
    y_mean: float
    offset: float
    coefficients: Float64
    axes: Float64
    centres: Float64
    heights: Float64
    length: float
    left_out: Float64
    evidence: float
    amounts: Float64

    def predict(self, X: NDArray[Any]) -> Float64:
        """(n,) predictions of rows (n, k)."""
        Z = np.asarray(X, np.float64) - self.x_mean
        said = self.y_mean + self.offset + Z @ self.coefficients
        if len(self.heights):
            t = Z @ self.axes
            square = (t**2).sum(axis=1)[:, None] + (self.centres**2).sum(axis=1) - 2.0 * t @ self.centres.T
            said = said + np.exp(-np.maximum(square, 0.0) / self.length) @ self.heights
        return said


@dataclass(frozen=True, slots=True, eq=False)
class Kernels:
    """What fitting needs of treated spectra, worked out once for many fits.

    linear (n, n) of mean diagonal 1; distance (n, n) squared, of median 1; scale and middle undo that
    """

    mean: Float64
    centred: Float64
    linear: Float64
    scale: float
    axes: Float64
    centres: Float64
    distance: Float64
    middle: float


def kernels(X: NDArray[Any]) -> Kernels:
    """Kernels of treated spectra (n, k), n at least 3; ValueError when they do not vary."""
    X = np.asarray(X, np.float64)
    mean = X.mean(axis=0)
    centred = X - mean
    gram = centred @ centred.T
    scale = float(np.trace(gram)) / len(X)
    if not scale > 0.0:
        raise ValueError("calibration: expected spectra that differ from each other")
    values, vectors = np.linalg.eigh(gram)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    m = int(np.searchsorted(np.cumsum(values) / values.sum(), _EXPLAINED)) + 1
    m = min(m, MOST_SCORES, int((values > 1e-12 * values[0]).sum()))
    root = np.sqrt(values[:m])
    centres = vectors[:, :m] * root
    axes = (centred.T @ vectors[:, :m]) / root
    square = (centres**2).sum(axis=1)
    distance = np.maximum(square[:, None] + square - 2.0 * centres @ centres.T, 0.0)
    middle = float(np.median(distance[np.triu_indices(len(X), 1)]))
    middle = middle if middle > 0.0 else scale
    return Kernels(mean, centred, gram / scale, scale, axes, centres, distance / middle, middle)


def fit(
    k: Kernels, y: NDArray[Any], *, local: bool = True, noise: Float64 | None = None, iterations: int = 40, begin: Float64 | None = None
) -> Gaussian:
    """The calibration of references y (n,); `noise` (n,) multiplies the noise variance of each sample, `begin` (4,) are amounts to start from."""
    from scipy.optimize import minimize

    y = np.asarray(y, np.float64)
    n, here = len(y), np.diag_indices(len(y))
    own = np.ones(n) if noise is None else np.asarray(noise, np.float64)
    y_mean, sd = float(y.mean()), float(y.std())
    if not sd > 0.0:
        raise ValueError("calibration: expected references that differ from each other")
    z = (y - y_mean) / sd

    def covariance(theta: Float64) -> tuple[Float64, Float64]:
        a, b, length, e = np.exp(theta)
        near = np.exp(-k.distance / length) if local else np.zeros((1, 1))
        c = a * k.linear + 1.0 + b * near
        c[here] += e * own
        return c, near

    def loss(theta: Float64) -> tuple[float, Float64]:
        a, b, length, e = np.exp(theta)
        c, near = covariance(theta)
        try:
            inverse, log_root = _inverse(c)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(4)
        alpha = inverse @ z
        value = 0.5 * float(z @ alpha) + log_root
        g = np.outer(alpha, alpha)
        g -= inverse
        slope = np.array([a * float(np.vdot(g, k.linear)), 0.0, 0.0, e * float(np.diag(g) @ own)])
        if local:
            slope[1] = b * float(np.vdot(g, near))
            near *= k.distance
            slope[2] = b * float(np.vdot(g, near)) / length
        return value + float(_PULL @ theta**2), -0.5 * slope + 2.0 * _PULL * theta

    first = np.log([5.0, 1.0 if local else 1e-6, 1.0, 0.01]) if begin is None else begin
    theta = minimize(loss, first, jac=True, method="L-BFGS-B", bounds=_BOUNDS, options={"maxiter": iterations}).x
    a, b, length, _ = np.exp(theta)
    c, _ = covariance(theta)
    inverse, log_root = _inverse(c)
    alpha = inverse @ z * sd
    evidence = -0.5 * float(z @ alpha) / sd - log_root - 0.5 * n * float(np.log(2 * np.pi))
    coefficients = a * (k.centred.T @ alpha) / k.scale
    heights = b * alpha if local else np.zeros(0)
    return Gaussian(
        k.mean, y_mean, float(alpha.sum()), coefficients, k.axes, k.centres if local else k.centres[:0], heights, float(length * k.middle),
        y - alpha / np.diag(inverse), evidence, theta,
    )  # fmt: skip


def _inverse(c: Float64) -> tuple[Float64, float]:
    """Inverse of a covariance (n, n) and half the logarithm of its determinant; LinAlgError when it is not positive definite.

    From the Cholesky factor in place (LAPACK potrf and potri): a third of the work of inverting the factor and multiplying, and it is this that
    training a calibration waits for.
    """
    from scipy.linalg.lapack import dpotrf, dpotri

    lower, wrong = dpotrf(c, lower=1, clean=1)
    if wrong:
        raise np.linalg.LinAlgError("covariance is not positive definite")
    log_root = float(np.log(np.diag(lower)).sum())
    half, wrong = dpotri(lower, lower=1, overwrite_c=1)
    if wrong:
        raise np.linalg.LinAlgError("covariance is singular")
    inverse: Float64 = half + half.T
    inverse[np.diag_indices(len(c))] *= 0.5
    return inverse, log_root
