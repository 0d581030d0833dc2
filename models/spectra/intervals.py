"""Prediction intervals that cover without a law of the errors: residuals of samples that a model has not seen, ranked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def half_width(residuals: NDArray[Any], coverage: float = 0.9) -> float:
    """Half the width of an interval that holds a new value with probability `coverage` or more, when errors are exchangeable.

    The ceil((n + 1) coverage)-th smallest absolute residual (Vovk, Gammerman, Shafer 2005; Lei et al. 2018); infinite when n is too small to say,
    which is below 9 residuals for 0.9. Residuals must come from samples left out of everything, the choice of treatments included.

    >>> half_width(np.arange(1.0, 20.0), 0.9), half_width(np.ones(8), 0.9)
    (18.0, inf)
    """
    r = np.sort(np.abs(np.asarray(residuals, np.float64)))
    place = math.ceil((len(r) + 1) * coverage - 1e-9)
    return float(r[place - 1]) if place <= len(r) else math.inf


def crossed(residuals: NDArray[Any], fold: NDArray[np.int64], coverage: float = 0.9) -> Float64:
    """(n,) half widths for samples of a cross-validation, each from the residuals of the other folds only."""
    residuals = np.asarray(residuals, np.float64)
    out = np.empty(len(residuals))
    for k in np.unique(fold):
        out[fold == k] = half_width(residuals[fold != k], coverage)
    return out
