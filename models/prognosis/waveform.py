"""Waveforms of vibration: is the signal to be trusted, and what its shape says (data manipulation of ISO 13374, in the time domain)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel

Float64 = NDArray[np.float64]

STUCK: Final = 1
CLIPPED: Final = 2
MISSING: Final = 4
WORDS: Final = {STUCK: "stuck", CLIPPED: "clipped", MISSING: "missing values"}
"""What is wrong with a waveform, by bit."""
_MOST_STUCK: Final = 0.2
_MOST_CLIPPED: Final = 0.001


@kernel("void(float64[:, ::1], float64, float64, float64, float64[:, ::1], int64[::1])")
def shape(waves: Any, full_scale: Any, most_stuck: Any, most_clipped: Any, out: Any, fault: Any) -> None:
    """Per waveform of (n, k): mean, rms, peak, crest, kurtosis, level without the mean; out (n, 6), NaN with missing values; fault (n,) bits.

    stuck: a share above most_stuck of points equal to the one before in runs of 8 or more; clipped: a share above most_clipped at +-full_scale
    (0: unknown).
    """
    n, k = waves.shape
    for i in range(n):
        bits, run, stuck, clipped = 0, 1, 0, 0
        mean = 0.0
        for j in range(k):
            x = waves[i, j]
            if not np.isfinite(x):
                bits |= MISSING
            mean += x
            if j > 0 and x == waves[i, j - 1]:
                run += 1
                stuck += 8 if run == 8 else 1 if run > 8 else 0
            else:
                run = 1
            if full_scale > 0.0 and abs(x) >= 0.999 * full_scale:
                clipped += 1
        if stuck > most_stuck * k:
            bits |= STUCK
        if clipped > most_clipped * k:
            bits |= CLIPPED
        mean /= k
        m2, m4, peak = 0.0, 0.0, 0.0
        for j in range(k):
            d = waves[i, j] - mean
            square = d * d
            m2 += square
            m4 += square * square
            if abs(d) > peak:
                peak = abs(d)
        m2 /= k
        m4 /= k
        rms = np.sqrt(m2)
        out[i, 0] = mean
        out[i, 1] = rms
        out[i, 2] = peak
        out[i, 3] = peak / rms if rms > 0.0 else np.nan
        out[i, 4] = m4 / (m2 * m2) if rms > 0.0 else np.nan
        out[i, 5] = m4**0.25
        if bits & MISSING:
            for c in range(6):
                out[i, c] = np.nan
        fault[i] = bits


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Each (n,), in the unit of the waveform but crest and kurtosis (of 1): kurtosis 3 for noise, 1.5 for a sine; level = (mean d^4)^(1/4)."""

    mean: Float64
    rms: Float64
    peak: Float64
    crest: Float64
    kurtosis: Float64
    level: Float64
    fault: NDArray[np.int64]


def features(waves: NDArray[Any], full_scale: float = 0.0) -> Shape:
    """Shape of waveforms (n, k); full_scale is the range of the sensor, 0 when it is unknown.

    >>> sine = np.sin(np.arange(2560) * 2 * np.pi / 64)[None]
    >>> s = features(sine)
    >>> round(float(s.crest[0]), 3), round(float(s.kurtosis[0]), 3)
    (1.414, 1.5)
    """
    rows = np.ascontiguousarray(waves, np.float64)
    out, fault = np.empty((len(rows), 6)), np.empty(len(rows), np.int64)
    shape(rows, full_scale, _MOST_STUCK, _MOST_CLIPPED, out, fault)
    mean, rms, peak, crest, kurtosis, level = (np.ascontiguousarray(c) for c in out.T)
    return Shape(mean, rms, peak, crest, kurtosis, level, fault)
