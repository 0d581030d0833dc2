"""Calibration transfer: a calibration of one instrument for another, from the same n samples measured on both.

All maps work on treated spectra. `t1` are the standards on the first instrument, `t2` on the second, both (n, k), row by row the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spectra import gaussian, pls
from models.spectra.choose import Calibration, Member, tried

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """x' = x + shift + ((x - centre) @ into) @ out: spectra of one instrument as another would see them.

    shift, centre (k,); into (k, m); out (m, k)
    """

    shift: Float64
    centre: Float64
    into: Float64
    out: Float64

    def apply(self, X: NDArray[Any]) -> Float64:
        """Rows (n, k) mapped."""
        X = np.asarray(X, np.float64)
        return X + self.shift + ((X - self.centre) @ self.into) @ self.out


def _pairs(t1: NDArray[Any], t2: NDArray[Any]) -> tuple[Float64, Float64, Float64, Float64]:
    a, b = np.asarray(t1, np.float64), np.asarray(t2, np.float64)
    if a.shape != b.shape or a.ndim != 2 or len(a) < 3:
        raise ValueError(f"transfer: expected the same 3 or more standards on both instruments, found {a.shape} and {b.shape}")
    return a, b, a.mean(axis=0), b.mean(axis=0)


def spectral_space(t1: NDArray[Any], t2: NDArray[Any], factors: int) -> Map:
    """Spectral space transformation (Du et al. 2011): inside the common space of the pairs spectra are moved; outside they pass as they are."""
    a, b, m1, m2 = _pairs(t1, t2)
    k = min(factors, len(a) - 1)
    axes = np.linalg.svd(np.hstack([a - m1, b - m2]), full_matrices=False)[2][:k].T
    one, two = axes[: a.shape[1]], axes[a.shape[1] :]
    return Map(m1 - m2, m2, np.linalg.pinv(two.T), (one - two).T)


def direct(t1: NDArray[Any], t2: NDArray[Any], factors: int) -> Map:
    """Direct standardisation (Wang, Veltkamp, Kowalski 1991) on the leading factors of the second instrument's standards."""
    a, b, m1, m2 = _pairs(t1, t2)
    u, s, v = np.linalg.svd(b - m2, full_matrices=False)
    k = min(factors, int((s > 1e-10 * s[0]).sum()))
    into = v[:k].T / s[:k]
    # What the factors do not hold of x - m2 is dropped: the first columns take all of it away.
    k_all = a.shape[1]
    return Map(m1 - m2, m2, np.hstack([-np.eye(k_all), into]), np.vstack([np.eye(k_all), u[:, :k].T @ (a - m1)]))


def piecewise(t1: NDArray[Any], t2: NDArray[Any], half: int, factors: int) -> Map:
    """Piecewise direct standardisation: each channel of the first by PLS on the channels within `half` of it on the second."""
    a, b, m1, m2 = _pairs(t1, t2)
    k = a.shape[1]
    matrix = np.zeros((k, k))
    for j in range(k):
        low, high = max(0, j - half), min(k, j + half + 1)
        most = min(factors, high - low, len(a) - 1)
        if np.ptp(a[:, j]) > 0:
            matrix[low:high, j] = pls.fit(b[:, low:high], a[:, j], most).coefficients()
    return Map(m1 - m2, m2, matrix - np.eye(k), np.eye(k))


def orthogonal(t1: NDArray[Any], t2: NDArray[Any], strength: float) -> Map:
    """Generalised least squares weighting: directions in which the pairs differ are shrunk, on both instruments alike.

    A direction that differs `strength` times as much as the worst one keeps 71 % of itself; far worse ones vanish (Martens et al. 2003).
    """
    a, b, m1, m2 = _pairs(t1, t2)
    _, s, v = np.linalg.svd((a - m1) - (b - m2), full_matrices=False)
    weight = 1.0 / np.sqrt(s**2 / (strength * max(float(s[0]) ** 2, 1e-300)) + 1.0)
    return Map(np.zeros(a.shape[1]), np.zeros(a.shape[1]), v.T * (weight - 1.0), v)


def slope_bias(said: NDArray[Any], y: NDArray[Any]) -> tuple[float, float]:
    """Slope and bias of references y on predictions: corrected = slope * said + bias.

    >>> slope_bias(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 7.0]))
    (2.0, 1.0)
    """
    said, y = np.asarray(said, np.float64), np.asarray(y, np.float64)
    centred = said - said.mean()
    square = float(centred @ centred)
    if not square > 0.0:
        raise ValueError("slope and bias: expected predictions that differ from each other")
    slope = float(centred @ y) / square
    return slope, float(y.mean() - slope * said.mean())


def one_point(said: float, y: float) -> float:
    """The bias that one reference tells: corrected = said + bias."""
    return y - said


FACTORS = (2, 3, 4, 6, 8, 10, 12)
"""Factors of the spectral space transformation that are tried; with few pairs, at most pairs - 1."""
_LEFT_OUT = 5
STRENGTH = 1e-3
_TREATMENTS = 5
_ALIKE = 2.0


def factors_of(t1: NDArray[Any], t2: NDArray[Any], coefficients: NDArray[Any] | None = None) -> int:
    """How many factors take left-out pairs nearest to the first instrument: by what a calibration (k,) says of them, or point by point.

    Factors beyond what the pairs have in common fit their noise, and the transformation then makes much of little.
    """
    a, b, _, _ = _pairs(t1, t2)
    n, part = len(a), np.arange(len(a)) % _LEFT_OUT
    if n < 2 * _LEFT_OUT:
        return max(1, min(FACTORS[-1], n // 2))
    errors = []
    for factors in (f for f in FACTORS if f < n - n // _LEFT_OUT):
        left = np.empty_like(a)
        for k in range(_LEFT_OUT):
            out = part == k
            left[out] = spectral_space(a[~out], b[~out], factors).apply(b[out]) - a[out]
        errors.append(float(np.sum(np.square(left if coefficients is None else left @ coefficients))))
    return FACTORS[int(np.argmin(errors))]


def transferred(
    X: NDArray[Any], y: NDArray[Any], axis: Float64, t1: NDArray[Any], t2: NDArray[Any], y_pairs: NDArray[Any] | None = None, *, seed: int = 0
) -> Calibration:
    """A calibration for the second instrument from spectra X (n, k) of the first and the pairs t1, t2 (m, k).

    On each of the five best treatments, none of which errs twice as much as the best, two that err differently are averaged: the linear calibration
    behind a spectral space transformation, and the local one with the directions in which the instruments differ shrunk, which also learns from the
    pairs when their references are known.
    """
    y = np.asarray(y, np.float64)
    found = tried(X, y, axis, seed=seed)
    members: list[Member] = []
    for t in (t for t in found[:_TREATMENTS] if t.error <= _ALIKE * found[0].error):
        (a, good), (b, too) = t.treatment.apply(t1), t.treatment.apply(t2)
        if not (good.all() and too.all()):
            raise ValueError("transfer: expected standards that are neither flat nor dark")
        every = np.arange(t.Z.shape[1])
        linear = gaussian.fit(gaussian.kernels(t.Z), y, local=False)
        moved = spectral_space(a, b, factors_of(a, b, linear.coefficients))
        members.append(Member(t.treatment, every, behind(linear, moved)))
        shrunk = orthogonal(a, b, STRENGTH)
        shift = Map(a.mean(axis=0) - b.mean(axis=0), np.zeros(len(every)), np.zeros((len(every), 0)), np.zeros((0, len(every))))
        rows, answers, noise = shrunk.apply(t.Z), y, np.ones(len(y))
        if y_pairs is not None:
            rows = np.vstack([rows, shrunk.apply(shift.apply(b))])
            answers = np.concatenate([y, np.asarray(y_pairs, np.float64)])
            # The other instrument's own samples weigh three times.
            noise = np.concatenate([noise, np.full(len(b), 1.0 / 3.0)])
        local = gaussian.fit(gaussian.kernels(rows), answers, noise=noise)
        members.append(Member(t.treatment, every, behind(behind(local, shrunk), shift)))
    return Calibration(tuple(members), tuple(1.0 / len(members) for _ in members), found[0].error)


def behind(model: gaussian.Gaussian, m: Map) -> gaussian.Gaussian:
    """The calibration that says of x what `model` says of the mapped x: a map is linear, so nothing is added at run time.

    The model needs x'(c) = (x + shift + (x - centre) I O - mean)'c; with x - mean = d this is d'(c + I O c) + (shift + (mean - centre) I O)'c.
    """
    moved = m.shift + ((model.x_mean - m.centre) @ m.into) @ m.out
    axes = model.axes + m.into @ (m.out @ model.axes)
    coefficients = model.coefficients + m.into @ (m.out @ model.coefficients)
    return replace(
        model,
        offset=model.offset + float(moved @ model.coefficients),
        coefficients=coefficients,
        axes=axes,
        centres=model.centres - moved @ model.axes,
    )


def recentred(model: gaussian.Gaussian, mean: Float64) -> gaussian.Gaussian:
    """The same calibration told from another middle, mean (k,): every prediction stays, scores and T2 count from the spectra that it now sees."""
    step = mean - model.x_mean
    return replace(
        model, x_mean=mean, offset=model.offset + float(step @ model.coefficients), centres=model.centres - step @ model.axes
    )  # fmt: skip
