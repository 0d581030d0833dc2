"""The soft sensor at run time: spectra in, a property with its interval and its validity out, row by row in compiled loops.

A spectrum that cannot be judged gives no number; one that the calibration does not cover gives a number that says so. Nothing here calls BLAS: a
spectrum is judged alike, bit for bit, alone or among others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import kernel
from models.limits import t2_limit
from models.spectra.choose import Calibration
from models.spectra.pls import Pls
from models.spectra.treatment import Treatment, treat

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]

OUTPUTS: Final = ("value", "low", "high", "t2", "q", "valid")
"""Columns of the answer: the property with its interval, T2 and Q in multiples of their limits, and 1 where the calibration covers the spectrum."""
DARK, SATURATED, STRANGE, FAR, BEYOND = 1, 2, 4, 8, 16
"""Why a spectrum is not valid, as bits: no answer possible (flat, missing points, no light), detector saturated, Q above its limit, T2 above its
limit, scores or the property outside the calibration."""
_TOLERANCE: Final = 0.1
"""Share of their calibration range by which scores and property may lie outside it."""
_QUANTILE: Final = 0.99


@kernel(
    "void(Array(float64, 2, 'C', readonly=True), int64[:, ::1], float64[:, ::1], float64[::1], int64[::1], float64[::1], float64[::1], float64,"
    " float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[:, ::1], float64[::1], float64, float64[:, ::1], float64[:, ::1])"
)
def judge(
    X: Float64,
    code: Int64,
    number: Float64,
    store: Float64,
    columns: Int64,
    mean: Float64,
    coefficients: Float64,
    constant: float,
    into: Float64,
    back: Float64,
    span: Float64,
    centres: Float64,
    heights: Float64,
    length: float,
    scratch: Float64,
    out: Float64,
) -> None:
    """What one member says of spectra X (n, points): out (n, 4) property, T2, Q, 1 when every score is within its range; NaN for a dark spectrum.

    into, back (k, m): to scores and back; span (3, m): variance of each score, its low and high bound; scratch (9, points)
    """
    k, m = into.shape
    treated, z, rest = scratch[0], scratch[1], scratch[2]
    t, row = scratch[3], scratch[8, : X.shape[1]]
    for i in range(len(X)):
        for j in range(X.shape[1]):
            row[j] = X[i, j]
        points = treat(row, code, number, store, treated, scratch[4:8])
        if points < 0:
            for c in range(4):
                out[i, c] = np.nan
            continue
        value = constant
        for j in range(k):
            z[j] = treated[columns[j]] - mean[j]
            rest[j] = z[j]
            value += z[j] * coefficients[j]
        for a in range(m):
            t[a] = 0.0
        for j in range(k):
            for a in range(m):
                t[a] += z[j] * into[j, a]
        t2 = 0.0
        inside = 1.0
        for a in range(m):
            t2 += t[a] * t[a] / span[0, a]
            if t[a] < span[1, a] or t[a] > span[2, a]:
                inside = 0.0
        q = 0.0
        for j in range(k):
            fit = 0.0
            for a in range(m):
                fit += t[a] * back[j, a]
            rest[j] -= fit
            q += rest[j] * rest[j]
        for r in range(len(heights)):
            square = 0.0
            for a in range(m):
                d = t[a] - centres[r, a]
                square += d * d
            value += heights[r] * np.exp(-square / length)
        out[i, 0] = value
        out[i, 1] = t2
        out[i, 2] = q
        out[i, 3] = inside


class Sensor:
    """A calibration ready to run, made of the plain arrays of a model file (`learned`)."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        try:
            self.axis = np.asarray(arrays["axis"], np.float64)
            self._span = [float(v) for v in arrays["range"]]
            self._half, self._saturation = (float(arrays[name]) for name in ("half", "saturation"))
            self._members: list[tuple[float, float, float, Any]] = []
            for i in range(len(arrays["weights"])):
                own = {name: np.ascontiguousarray(arrays[f"{i}.{name}"]) for name in _MEMBER}
                self._check(own)
                n, t2, q, constant = (own[name].item() for name in ("length", "t2_limit", "q_limit", "constant"))
                shape = (own["code"], own["number"], own["store"], own["columns"], own["mean"], own["coefficients"], constant)
                more = (own["into"], own["back"], own["span"], own["centres"], own["heights"], n)
                self._members.append((float(arrays["weights"][i]), t2, q, (*shape, *more)))
        except KeyError as error:
            raise ValueError(f"learned: expected an array {error.args[0]}, found none") from error
        self._scratch = np.empty((9, max(len(self.axis), 64)))

    def _check(self, own: Mapping[str, NDArray[Any]]) -> None:
        k, m = own["into"].shape
        good = own["mean"].shape == own["coefficients"].shape == own["columns"].shape == (k,) and own["back"].shape == (k, m) and m <= 64
        good = good and own["span"].shape == (3, m) and own["centres"].shape == (len(own["heights"]), m) and k <= len(self.axis)
        if not good or (k and not 0 <= own["columns"].min() <= own["columns"].max() < len(self.axis)):
            raise ValueError(f"learned: expected arrays of {k} points and {m} scores that fit together, found others")

    def judge(self, X: Float64) -> tuple[Float64, Int64]:
        """Judge spectra X (n, points) on the sensor's axis: the columns `OUTPUTS` (n, 6), and the bits of why a row is not valid (n,)."""
        X = np.ascontiguousarray(X, np.float64)
        if X.ndim != 2 or X.shape[1] != len(self.axis):
            raise ValueError(f"spectra: expected (n, {len(self.axis)}), found {X.shape}")
        n = len(X)
        total, t2, q, strange, far, beyond = (np.zeros(n) for _ in range(6))
        out = np.empty((n, 4))
        for weight, t2_most, q_most, member in self._members:
            arguments: Any = (X, *member, self._scratch, out)
            judge(*arguments)
            total += weight * out[:, 0]
            t2 += weight * out[:, 1] / t2_most
            q += weight * out[:, 2] / q_most
            far += weight * (out[:, 1] > t2_most)
            strange += weight * (out[:, 2] > q_most)
            beyond += weight * (out[:, 3] == 0.0)
        low, high = self._span
        room = _TOLERANCE * (high - low)
        why = np.where(np.isnan(total), DARK, 0).astype(np.int64)
        why |= np.where((self._saturation <= X).any(axis=1), SATURATED, 0)
        # Members vote: one treatment may be deceived by what the others see through.
        why |= np.where(strange > 0.5, STRANGE, 0) | np.where(far > 0.5, FAR, 0)
        why |= np.where((beyond > 0.5) | (total < low - room) | (total > high + room), BEYOND, 0)
        found = np.stack([total, total - self._half, total + self._half, t2, q, (why == 0).astype(np.float64)], axis=1)
        found[(why & DARK) > 0, :5] = np.nan
        return found, why


_MEMBER: Final = (
    "code", "number", "store", "columns", "mean", "coefficients", "constant", "into", "back", "span", "centres", "heights", "length",
    "t2_limit", "q_limit",
)  # fmt: skip


def sensor_arrays(
    calibration: Calibration, X: NDArray[Any], y: NDArray[Any], half: float, *, saturation: float = math.inf
) -> dict[str, NDArray[Any]]:
    """The arrays of a sensor from a calibration and the spectra X (n, k) and references y (n,) that it was made of.

    half        half width of the interval, from samples that were left out of everything (`models.spectra.intervals`)
    saturation  a spectrum with any point at or above this is not valid
    """
    arrays: dict[str, NDArray[Any]] = {"weights": np.array(calibration.weights), "axis": calibration.members[0].treatment.axis_in}
    for i, member in enumerate(calibration.members):
        Z = member.treatment.apply(X)[0][:, member.columns]
        g = member.model
        numbers = {"coefficients": g.coefficients, "constant": np.array(g.y_mean + g.offset), "centres": g.centres, "heights": g.heights}
        own = _member(member.treatment, member.columns, Z, g.x_mean, g.axes, g.axes) | numbers | {"length": np.array(g.length)}
        arrays |= {f"{i}.{name}": a for name, a in own.items()}
    return arrays | _ends(y, half, saturation)


def pls_arrays(
    treatment: Treatment, model: Pls, X: NDArray[Any], y: NDArray[Any], half: float, *, saturation: float = math.inf
) -> dict[str, NDArray[Any]]:
    """The same for a PLS model on treated spectra."""
    Z = treatment.apply(X)[0]
    into = np.ascontiguousarray(model.rotations / model.x_scale[:, None])
    back = np.ascontiguousarray(model.loadings * model.x_scale[:, None])
    own = _member(treatment, np.arange(Z.shape[1]), Z, model.x_mean, into, back)
    own |= {"coefficients": model.coefficients(), "constant": np.array(model.y_mean), "length": np.array(1.0)}
    own |= {"centres": np.zeros((0, into.shape[1])), "heights": np.zeros(0)}
    return {"weights": np.ones(1), "axis": treatment.axis_in} | {f"0.{name}": a for name, a in own.items()} | _ends(y, half, saturation)


def _member(treatment: Treatment, columns: Int64, Z: Float64, mean: Float64, into: Float64, back: Float64) -> dict[str, NDArray[Any]]:
    t = (Z - mean) @ into
    n, m = t.shape
    q = np.sum(np.square(Z - mean - t @ back.T), axis=1)
    logs = np.log(np.maximum(q, 1e-300))
    middle = float(np.median(logs))
    # Robust: a few odd calibration spectra must not widen the limit. A model that leaves nothing over has a limit of rounding size.
    q_limit = max(math.exp(middle + 3.0 * 1.4826 * float(np.median(np.abs(logs - middle)))), 1e-20 * float(np.sum(np.square(Z - mean))) / n)
    room = _TOLERANCE * np.ptp(t, axis=0)
    used = min(m, n - 2)
    span = np.stack([np.maximum(t.var(axis=0, ddof=1), 1e-300), t.min(axis=0) - room, t.max(axis=0) + room])
    return {
        "code": treatment.code, "number": treatment.number, "store": treatment.store, "columns": np.asarray(columns, np.int64), "mean": mean,
        "into": np.ascontiguousarray(into), "back": np.ascontiguousarray(back), "span": span,
        "t2_limit": np.array(t2_limit(_QUANTILE, used, n)), "q_limit": np.array(q_limit),
    }  # fmt: skip


def _ends(y: NDArray[Any], half: float, saturation: float) -> dict[str, NDArray[Any]]:
    return {"range": np.array([np.min(y), np.max(y)], np.float64), "half": np.array(half), "saturation": np.array(saturation)}
