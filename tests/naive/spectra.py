"""Treatment of spectra and the calibrated sensor again, with numpy and scipy in their plainest form: what the kernels must equal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.signal
from numpy.typing import NDArray

from models.spectra.treatment import Absorbance, AnyStep, Baseline, Detrend, Msc, Region, SavitzkyGolay, Snv

Float64 = NDArray[np.float64]


def baseline(x: Float64, smoothness: float, asymmetry: float, iterations: int) -> Float64:
    """Asymmetric least squares with full matrices (Eilers & Boelens 2005)."""
    n = len(x)
    second = np.diff(np.eye(n), 2, axis=0)
    w, z = np.ones(n), x
    for _ in range(iterations):
        z = scipy.linalg.solve(np.diag(w) + smoothness * second.T @ second, w * x, assume_a="pos")
        w = np.where(x > z, asymmetry, 1 - asymmetry)
    return z


def treated(steps: Sequence[AnyStep], axis: Float64, X: Float64, reference: Float64 | None = None) -> Float64:
    """Spectra (n, k) behind the steps; `reference` (k,) goes the same way for msc."""
    X = np.array(X)
    for step in steps:
        X, axis, reference = _one(step, axis, X, reference)
    return X


def _one(step: Any, axis: Float64, X: Float64, reference: Float64 | None) -> tuple[Float64, Float64, Float64 | None]:
    rows = X if reference is None else np.vstack([X, reference])
    match step:
        case Region():
            inside = (axis >= step.low) & (axis <= step.high)
            rows, axis = rows[:, inside], axis[inside]
        case Absorbance():
            rows = -np.log10(rows)
        case Snv():
            rows = (rows - rows.mean(axis=1, keepdims=True)) / rows.std(axis=1, ddof=1, keepdims=True)
        case SavitzkyGolay():
            half = step.width // 2
            rows = scipy.signal.savgol_filter(rows, step.width, step.order, deriv=step.derivative)[:, half : rows.shape[1] - half]
            axis = axis[half : len(axis) - half]
        case Detrend():
            t = np.linspace(-1, 1, rows.shape[1])
            rows = np.array([r - np.polyval(np.polyfit(t, r, step.order), t) for r in rows])
        case Baseline():
            rows = np.array([r - baseline(r, step.smoothness, step.asymmetry, step.iterations) for r in rows])
        case Msc():
            r = rows[-1]
            fits = [np.polyfit(r, x, 1) for x in rows]
            rows = np.array([(x - a) / b for x, (b, a) in zip(rows, fits, strict=True)])
    return (rows, axis, None) if reference is None else (rows[:-1], axis, rows[-1])
