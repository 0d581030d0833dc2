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
from models.spectra.treatment import UNPARAMETRISED, Treatment, treat

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
_ROWS: Final = 32
"""Spectra judged at a time: what is between the steps stays near the processor."""


@kernel("void(Array(float64, 2, 'C', readonly=True), int64[:, ::1], float64[:, ::1], float64[::1], float64[:, ::1], float64[:, ::1])")
def begin(X: Float64, code: Int64, number: Float64, store: Float64, scratch: Float64, out: Float64) -> None:
    """The steps that all members begin with: spectra X (n, points) to out (n, points); a dark one becomes NaN."""
    for i in range(len(X)):
        for j in range(X.shape[1]):
            scratch[4, j] = X[i, j]
        if treat(scratch[4, : X.shape[1]], code, number, store, out[i], scratch[:4]) < 0:
            for j in range(X.shape[1]):
                out[i, j] = np.nan


@kernel(
    "void(float64[:, ::1], int64[:, ::1], float64[:, ::1], float64[::1], int64[::1], float64[::1], float64[:, ::1], float64, float64[:, ::1], int64,"
    " float64[:, ::1], float64[:, ::1], float64[::1], float64, float64[::1], float64[:, ::1], float64[:, ::1])"
)
def judge(
    X: Float64,
    code: Int64,
    number: Float64,
    store: Float64,
    columns: Int64,
    mean: Float64,
    into: Float64,
    constant: float,
    back: Float64,
    orthonormal: int,
    span: Float64,
    centres: Float64,
    heights: Float64,
    length: float,
    limits: Float64,
    scratch: Float64,
    total: Float64,
) -> None:
    """Add what one member says of spectra X (n, points) to total (n, 6): property, T2 and Q over their limits, votes for far, strange and beyond.

    All linear steps are one matrix: into (k, m + 1) holds the ways to the scores and, last, the coefficients; back (m, k) the way from the scores.
    orthonormal  1 where into and back are the same orthonormal axes: then Q = |z|^2 - |t|^2 and needs no way back
    span  (3, m): variance of each score, its low and high bound; centres (m, r); limits  weight of the member, limit of T2 and of Q
    scratch  (9, points); a dark spectrum adds NaN
    """
    k, m = into.shape[0], into.shape[1] - 1
    r = len(heights)
    treated, z, t, squares = scratch[0], scratch[1], scratch[2], scratch[3]
    weight, t2_most, q_most = limits[0], limits[1], limits[2]
    for i in range(len(X)):
        points = treat(X[i], code, number, store, treated, scratch[4:8])
        if points < 0:
            total[i, 0] = np.nan
            continue
        for j in range(k):
            z[j] = treated[columns[j]] - mean[j]
        for a in range(m + 1):
            t[a] = 0.0
        # Four rows at a time, and four sums for the square: the order of additions is fixed, and none waits for the one before.
        s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
        whole = k - k % 4
        for j in range(0, whole, 4):
            z0, z1, z2, z3 = z[j], z[j + 1], z[j + 2], z[j + 3]
            s0 += z0 * z0
            s1 += z1 * z1
            s2 += z2 * z2
            s3 += z3 * z3
            for a in range(m + 1):
                t[a] += (z0 * into[j, a] + z1 * into[j + 1, a]) + (z2 * into[j + 2, a] + z3 * into[j + 3, a])
        for j in range(whole, k):
            s0 += z[j] * z[j]
            for a in range(m + 1):
                t[a] += z[j] * into[j, a]
        square = (s0 + s1) + (s2 + s3)
        value = constant + t[m]
        t2, inside, length_t = 0.0, True, 0.0
        for a in range(m):
            t2 += t[a] * t[a] / span[0, a]
            length_t += t[a] * t[a]
            if t[a] < span[1, a] or t[a] > span[2, a]:
                inside = False
        q = square - length_t
        # Where nearly nothing is left over, the difference of two large squares would be rounding: then the rest is made point by point.
        if orthonormal == 0 or q < 1e-6 * square:
            for a in range(m):
                share = t[a]
                for j in range(k):
                    z[j] -= share * back[a, j]
            q = 0.0
            for j in range(k):
                q += z[j] * z[j]
        if r > 0:
            for n in range(r):
                squares[n] = 0.0
            for a in range(m):
                at = t[a]
                for n in range(r):
                    d = at - centres[a, n]
                    squares[n] += d * d
            narrow = -1.0 / length
            for n in range(r):
                squares[n] = np.exp(squares[n] * narrow)
            v0, v1 = 0.0, 0.0
            for n in range(0, r - 1, 2):
                v0 += heights[n] * squares[n]
                v1 += heights[n + 1] * squares[n + 1]
            if r % 2:
                v0 += heights[r - 1] * squares[r - 1]
            value += v0 + v1
        total[i, 0] += weight * value
        total[i, 1] += weight * t2 / t2_most
        total[i, 2] += weight * q / q_most
        if t2 > t2_most:
            total[i, 3] += weight
        if q > q_most:
            total[i, 4] += weight
        if not inside:
            total[i, 5] += weight


@kernel("void(Array(float64, 2, 'C', readonly=True), float64[:, ::1], float64, float64, float64, float64, float64[:, ::1], int64[::1])")
def verdict(X: Float64, total: Float64, half: float, low: float, high: float, saturation: float, found: Float64, why: Int64) -> None:
    """From what all members said (n, 6) to the columns `OUTPUTS` (n, 6) and the bits of why a row is not valid (n,)."""
    room = _TOLERANCE * (high - low)
    for i in range(len(X)):
        value = total[i, 0]
        bits = 0
        for j in range(X.shape[1]):
            if X[i, j] >= saturation:
                bits |= SATURATED
        # Members vote: one treatment may be deceived by what the others see through.
        if total[i, 4] > 0.5:
            bits |= STRANGE
        if total[i, 3] > 0.5:
            bits |= FAR
        if total[i, 5] > 0.5 or value < low - room or value > high + room:
            bits |= BEYOND
        if np.isnan(value):
            bits |= DARK
            for c in range(5):
                found[i, c] = np.nan
        else:
            found[i, 0], found[i, 1], found[i, 2], found[i, 3], found[i, 4] = value, value - half, value + half, total[i, 1], total[i, 2]
        found[i, 5] = 1.0 if bits == 0 else 0.0
        why[i] = bits


class Sensor:
    """A calibration ready to run, made of the plain arrays of a model file (`learned`)."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        try:
            self.axis = np.asarray(arrays["axis"], np.float64)
            self._span = [float(v) for v in arrays["range"]]
            self._half, self._saturation = (float(arrays[name]) for name in ("half", "saturation"))
            owns = []
            for i in range(len(arrays["weights"])):
                owns.append({name: np.ascontiguousarray(arrays[f"{i}.{name}"]) for name in _MEMBER})
                self._check(owns[-1])
            # What every member begins with is done once.
            heads = {tuple(own["code"][0].tolist()) for own in owns if len(own["code"])}
            shared = int(len(heads) == 1 and all(len(own["code"]) for own in owns) and next(iter(heads))[0] in UNPARAMETRISED)
            self._begin: Any = (owns[0]["code"][:shared].copy(), np.zeros((shared, 2)), np.zeros(0)) if owns else None
            self._members: list[Any] = [_ready(float(w), own, shared) for w, own in zip(arrays["weights"], owns, strict=True)]
        except KeyError as error:
            raise ValueError(f"learned: expected an array {error.args[0]}, found none") from error
        points = max([len(self.axis), 65, *(len(own["heights"]) for own in owns)])
        self._scratch = np.empty((9, points))
        self._treated = np.empty((_ROWS, len(self.axis)))

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
        total, found, why = np.zeros((n, 6)), np.empty((n, 6)), np.empty(n, np.int64)
        for at in range(0, n, _ROWS):
            rows = X[at : at + _ROWS]
            treated, said = self._treated[: len(rows)], total[at : at + _ROWS]
            head: Any = (rows, *self._begin, self._scratch, treated)
            begin(*head)
            for member in self._members:
                arguments: Any = (treated, *member, self._scratch, said)
                judge(*arguments)
        verdict(X, total, self._half, self._span[0], self._span[1], self._saturation, found, why)
        return found, why


def _ready(weight: float, own: Mapping[str, NDArray[Any]], shared: int) -> Any:
    """The arguments of `judge` for one member: what is linear as one matrix, and each array in the order in which it is read."""
    into, back = own["into"], own["back"]
    orthonormal = np.array_equal(into, back) and bool(np.allclose(into.T @ into, np.eye(into.shape[1]), rtol=0.0, atol=1e-12))
    n, t2, q, constant = (float(own[name].item()) for name in ("length", "t2_limit", "q_limit", "constant"))
    code, number = (np.ascontiguousarray(own[name][shared:]) for name in ("code", "number"))
    both = np.ascontiguousarray(np.column_stack([into, own["coefficients"]]))
    centres = np.ascontiguousarray(own["centres"].T)
    limits = np.array([weight, t2, q])
    return (
        code, number, own["store"], own["columns"], own["mean"], both, constant, np.ascontiguousarray(back.T), int(orthonormal), own["span"], centres,
        own["heights"], n, limits,
    )  # fmt: skip


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
