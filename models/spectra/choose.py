"""The default way from spectra and references to a calibration: one procedure for every instrument and property, nothing tuned per data set.

The ends of the axis are cut where that helps beyond chance, for there detectors saturate. Every usual treatment is tried with a Gaussian-process
calibration and judged by two errors, left out in closed form and cross-validated with everything fitted anew: either alone flatters some treatment
of a small set. Predictions are averaged with weights that fall with that error, for the one best of thirty is best partly by luck. Beside that a
calibration on few channels is tried by eliminating the weakest step by step; elimination looks at the answers very hard, so it is judged by a
cross-validation of the whole elimination and taken only when it is far better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.spectra import gaussian
from models.spectra.folds import folds
from models.spectra.gaussian import Gaussian
from models.spectra.treatment import AnyStep, Detrend, Region, SavitzkyGolay, Snv, Treatment, named

Float64 = NDArray[np.float64]

WIDTHS: Final = (7, 15, 21, 31, 41, 61, 101)
_SCREENED: Final = 150
_KEPT: Final = 6
_FINALISTS: Final = 4
_LEAST: Final = 0.04
_TEMPER: Final = 0.5
_SHARE: Final = 0.7
_BETTER: Final = 0.6
_BLOCKS: Final = 12
_CUTS: Final = 5
_RATIOS: Final = np.exp(np.linspace(-4.0, 18.0, 45))


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """One treatment and the model on it; `columns` are the treated points that it uses."""

    treatment: Treatment
    columns: NDArray[np.int64]
    model: Gaussian

    @property
    def words(self) -> str:
        """What it is, in few words."""
        n = len(self.treatment.axis)
        return named(self.treatment.steps) + (f" ({len(self.columns)} of {n} points)" if len(self.columns) < n else "")

    def predict(self, X: NDArray[Any]) -> Float64:
        """(n,) predictions; NaN where a spectrum is invalid."""
        Z, valid = self.treatment.apply(X)
        out = np.full(len(Z), np.nan)
        out[valid] = self.model.predict(Z[valid][:, self.columns])
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Members whose weighted mean is the prediction (weights sum to 1), and the error of the best that the choice was made by."""

    members: tuple[Member, ...]
    weights: tuple[float, ...]
    error: float

    def predict(self, X: NDArray[Any]) -> Float64:
        """(n,) predictions of spectra (n, k); NaN where one is invalid."""
        total = np.zeros(len(X))
        for member, weight in zip(self.members, self.weights, strict=True):
            total += weight * member.predict(X)
        return total


def treatments(axis: Float64) -> list[tuple[AnyStep, ...]]:
    """The chains that are tried on spectra of this axis: none, scatter, trend, and derivatives of widths that fit its length."""
    found: list[tuple[AnyStep, ...]] = [(), (Snv(),), (Detrend(order=2),), (Snv(), Detrend(order=2))]
    longest = max(41, len(axis) // 30)
    for width in WIDTHS:
        if width > longest or 4 * width > len(axis):
            continue
        for derivative in (1, 2):
            slope = SavitzkyGolay(width=width, order=2, derivative=derivative)
            found += [(slope,), (slope, Snv()), (Snv(), slope)]
    return found


def rmse(error: NDArray[Any]) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(error))))


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """A treatment, the treated spectra, the model on them and its error (root mean square, left out)."""

    treatment: Treatment
    Z: Float64
    model: Gaussian
    error: float


def tried(X: NDArray[Any], y: NDArray[Any], axis: Float64, *, seed: int = 0, before: Sequence[AnyStep] = ()) -> list[Tried]:
    """All treatments, `before` in front of each, fitted and judged, best first; of many samples only the most promising ones are fitted to all.

    ValueError when there are fewer than 10 samples, or numbers that are not finite.
    """
    X, y = np.ascontiguousarray(X, np.float64), np.asarray(y, np.float64)
    if len(y) < 10 or X.shape != (len(y), len(axis)):
        raise ValueError(f"calibration: expected 10 or more spectra of {len(axis)} points with a reference each, found {X.shape} and {y.shape}")
    if not (np.isfinite(X).all() and np.isfinite(y).all()):
        raise ValueError("calibration: expected finite spectra and references")
    whole = _ranked(X, y, axis, before, seed)
    region = _region(whole[0], X, y, axis, before, seed)
    return whole if region is None else _ranked(X, y, axis, (region, *before), seed)


def _ranked(X: Float64, y: Float64, axis: Float64, before: Sequence[AnyStep], seed: int) -> list[Tried]:
    some = _some(y, seed)
    found: list[Tried] = []
    for steps in treatments(Treatment(before, axis).axis if before else axis):
        chain = Treatment((*before, *steps), axis, X.mean(axis=0))
        Z, valid = chain.apply(X)
        if valid.all():
            found.append(_judged(chain, Z, y, some, seed))
    found.sort(key=lambda t: t.error)
    if len(some) < len(y):
        whole = np.arange(len(y))
        found = sorted((_judged(t.treatment, t.Z, y, whole, seed, begin=t.model.amounts) for t in found[:_KEPT]), key=lambda t: t.error)
    return found


def _region(best: Tried, X: Float64, y: Float64, axis: Float64, before: Sequence[AnyStep], seed: int) -> Region | None:
    """The part of the axis with which the best treatment errs least; None where cutting gains less than chance would."""
    edges = np.linspace(0, len(axis) - 1, _BLOCKS + 1).round().astype(int)
    steps = best.treatment.steps[len(before) :]
    some, whole = _some(y, seed), np.arange(len(y))
    cuts: list[tuple[float, Region, Tried]] = []
    for left in range(_CUTS):
        for right in range(_CUTS):
            first, last = axis[edges[left]], axis[edges[_BLOCKS - right]]
            region = Region(low=float(min(first, last)), high=float(max(first, last)))
            if left == right == 0 or 4 * max([7, *(s.width for s in steps if isinstance(s, SavitzkyGolay))]) > edges[_BLOCKS - right] - edges[left]:
                continue
            chain = Treatment((region, *before, *steps), axis, X.mean(axis=0))
            Z, valid = chain.apply(X)
            if valid.all():
                there = _judged(chain, Z, y, some, seed)
                cuts.append((there.error, region, there))
    cuts.sort(key=lambda c: c[0])
    if len(some) < len(y):
        again = [(_judged(t.treatment, t.Z, y, whole, seed, begin=t.model.amounts).error, region, t) for _, region, t in cuts[:_FINALISTS]]
        cuts = sorted(again, key=lambda c: c[0])
    # Half a standard error of a root mean square: the two errors are of the same samples.
    gain = 1.0 - 0.5 / np.sqrt(2 * len(y))
    return cuts[0][1] if cuts and cuts[0][0] < gain * best.error else None


def _judged(chain: Treatment, Z: Float64, y: Float64, rows: NDArray[np.intp], seed: int, *, begin: Float64 | None = None) -> Tried:
    A, b = Z[rows], y[rows]
    model = gaussian.fit(gaussian.kernels(A), b, iterations=30, begin=begin)
    left = rmse(model.left_out - b)
    if len(rows) > _SCREENED:
        return Tried(chain, Z, model, left)
    fold = folds(b, 5, seed=seed)
    anew = np.empty(len(b))
    for k in range(fold.max() + 1):
        train = fold != k
        anew[~train] = gaussian.fit(gaussian.kernels(A[train]), b[train], iterations=6, begin=model.amounts).predict(A[~train])
    return Tried(chain, Z, model, float(np.sqrt(left * rmse(anew - b))))


def calibrate(X: NDArray[Any], y: NDArray[Any], axis: Float64, *, seed: int = 0) -> Calibration:
    """Calibrate references y (n,) on spectra (n, k), n at least 10; ValueError when a spectrum is invalid or nothing varies."""
    y = np.asarray(y, np.float64)
    found = tried(X, y, axis, seed=seed)
    best = found[0].error
    few = _few([(t.treatment, t.Z) for t in found], y, best, seed)
    if few is not None:
        return few
    weights = np.array([(best / t.error) ** (_TEMPER * len(y)) for t in found])
    weights /= weights.sum()
    kept = [i for i in range(len(found)) if weights[i] >= _LEAST] or [0]
    members = tuple(Member(t.treatment, np.arange(t.Z.shape[1]), t.model) for t in (found[i] for i in kept))
    return Calibration(members, tuple(float(w) for w in weights[kept] / weights[kept].sum()), best)


def _some(y: Float64, seed: int) -> NDArray[np.intp]:
    """Samples for a first look: all, or some over the whole range."""
    if len(y) <= _SCREENED:
        return np.arange(len(y))
    return np.flatnonzero(folds(y, -(-len(y) // _SCREENED), seed=seed) == 0)


def _ridge(X: Float64, y: Float64) -> tuple[Float64, Float64]:
    """Coefficients (k,) of ridge regression by the largest evidence, and the left-out predictions (n,)."""
    mean, y_mean = X.mean(axis=0), y.mean()
    Z, z = X - mean, y - y_mean
    scale = max(float(np.vdot(Z, Z)) / len(y), 1e-300)
    values, vectors = _directions(Z, scale)
    along = vectors.T @ z
    # What of z lies where no spectrum does: nothing shrinks it.
    rest = max(float(z @ z - along @ along), 0.0)
    grown = _RATIOS[:, None] * values + 1.0
    evidence = -0.5 * len(y) * np.log((along**2 / grown).sum(axis=1) + rest) - 0.5 * np.log(grown).sum(axis=1)
    ratio = float(_RATIOS[np.argmax(evidence)])
    taken = 1.0 - 1.0 / (ratio * values + 1.0)
    alpha = z - vectors @ (taken * along)
    # The mean is free: of its direction nothing is left in the inverse.
    left = 1.0 - (vectors**2) @ taken - 1.0 / len(y)
    return Z.T @ alpha * (ratio / scale), y - alpha / np.maximum(left, 1e-12)


def _directions(Z: Float64, scale: float) -> tuple[Float64, Float64]:
    """Eigenvalues of Z Z' / scale that are not 0 and their vectors (n, m), from the smaller of the two products."""
    n, k = Z.shape
    values, vectors = np.linalg.eigh((Z @ Z.T if n <= k else Z.T @ Z) / scale)
    real = values > 1e-13 * values[-1]
    values, vectors = values[real], vectors[:, real]
    return values, vectors if n <= k else (Z @ vectors) / np.sqrt(scale * values)


def _path(X: Float64, y: Float64, least: int) -> Iterator[tuple[NDArray[np.intp], Float64]]:
    """Ever fewer columns and their coefficients: the weakest 30 % (by coefficient times spread) go at each step, down to `least`."""
    columns, spread = np.arange(X.shape[1]), X.std(axis=0)
    while True:
        b, _ = _ridge(X[:, columns], y)
        yield columns, b
        if len(columns) <= least:
            return
        keep = max(least, int(len(columns) * _SHARE))
        columns = np.sort(columns[np.argsort(-np.abs(b) * spread[columns], kind="stable")[:keep]])


def _few(treated: Sequence[tuple[Treatment, Float64]], y: Float64, best: float, seed: int) -> Calibration | None:
    """The calibration on few channels, when cross-validation of the whole elimination makes it clearly better than `best`."""
    fold = folds(y, 5, seed=seed + 1)
    errors = [rmse(_ridge(Z, y)[1] - y) for _, Z in treated]
    found: tuple[float, int, int] | None = None
    for i in np.argsort(errors, kind="stable")[:3]:
        Z = treated[i][1]
        squares: list[Float64] = []
        for k in range(5):
            train, test = fold != k, fold == k
            here = []
            for columns, b in _path(Z[train], y[train], 2):
                centre = Z[train][:, columns].mean(axis=0)
                here.append(float(np.square((Z[test][:, columns] - centre) @ b + y[train].mean() - y[test]).sum()))
            squares.append(np.array(here))
            if np.min(np.sum(squares, axis=0)) > len(y) * (_BETTER * best) ** 2:
                break  # it can no longer be so much better that it would be taken
        else:
            total = np.sum(squares, axis=0)
            step = int(np.argmin(total))
            error = float(np.sqrt(total[step] / len(y)))
            if step and (found is None or error < found[0]):
                found = (error, int(i), step)
    if found is None or found[0] > _BETTER * best:
        return None
    error, i, step = found
    chain, Z = treated[i]
    columns = next(c for at, (c, _) in enumerate(_path(Z, y, 2)) if at == step)
    model = gaussian.fit(gaussian.kernels(Z[:, columns]), y, local=False)
    return Calibration((Member(chain, columns, model),), (1.0,), error)


def foreign(X: NDArray[Any], y: NDArray[Any], axis: Float64, run: NDArray[Any]) -> Callable[[NDArray[Any]], Float64]:
    """A linear calibration for a matrix that the calibration samples (n, k) did not have; `run` (m, k) are spectra of it, without references.

    Every prediction extrapolates there. Scatter correction divides by the whole spectrum, most of which is now other matter, so derivatives alone
    are tried, behind the removal of a line; of those whose error is at most twice the least, the three that extrapolate least in T2 are averaged.
    """
    y = np.asarray(y, np.float64)
    found: list[tuple[float, float, Member]] = []
    for steps in treatments(axis):
        if not (len(steps) == 1 and isinstance(steps[0], SavitzkyGolay)):
            continue
        chain = Treatment((Detrend(order=1), *steps), axis)
        (Z, good), (R, usable) = chain.apply(X), chain.apply(run)
        if not good.all() or not usable.any():
            continue
        k = gaussian.kernels(Z)
        model = gaussian.fit(k, y, local=False)
        share = (k.centres**2).mean(axis=0)
        leading = int(np.searchsorted(np.cumsum(share) / share.sum(), 0.99)) + 1
        t2 = ((((R[usable] - k.mean) @ k.axes) ** 2 / share)[:, :leading]).sum(axis=1) / leading
        found.append((rmse(model.left_out - y), float(np.median(t2)), Member(chain, np.arange(Z.shape[1]), model)))
    least = min(f[0] for f in found)
    near = sorted((f for f in found if f[0] <= 2.0 * least), key=lambda f: f[1])[:3]
    return Calibration(tuple(f[2] for f in near), tuple(1.0 / len(near) for _ in near), least).predict
