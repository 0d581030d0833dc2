"""Spectra with a known composition: broad bands, scatter, offset and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

AXIS: Float64 = np.arange(1100.0, 1500.0, 5.0)


def spectra(n: int, seed: int, *, noise: float = 3e-4, shift_nm: float = 0.0, gain: float = 1.0) -> tuple[Float64, Float64]:
    """n spectra (n, 80) of two components and their first component's share y (n,), 0..1; shift and gain are those of another instrument."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.0, 1.0, (n, 2))

    def band(centre: float, width: float) -> Float64:
        return np.exp(-0.5 * ((AXIS - shift_nm - centre) / width) ** 2)

    pure = np.array([band(1210, 25) + 0.6 * band(1390, 30), band(1270, 30) + 0.8 * band(1440, 25)])
    scatter = 1.0 + rng.normal(0.0, 0.03, (n, 1))
    offset = rng.normal(0.0, 0.02, (n, 1))
    clean = (0.5 + share @ pure) * scatter + offset
    return gain * clean + rng.normal(0.0, noise, clean.shape), share[:, 0]
