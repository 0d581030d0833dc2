"""Treatment of spectra before calibration: a chain of steps that runs point by point in one compiled loop.

The chain is part of the model and its order matters: derivative then SNV is not SNV then derivative. Training and run time go through the
same kernel, so a spectrum is treated alike, bit for bit, alone or among others. Steps trim the points that they cannot compute; they never pad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from pydantic import Field

from models.compiled import kernel

Float64 = NDArray[np.float64]


class _Step(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Region(_Step):
    """Only the points whose axis lies within low..high, both included."""

    step: Literal["region"] = "region"
    low: float
    high: float


class Absorbance(_Step):
    """Transmittance or reflectance (0..1) to absorbance, -log10; not above 0 is invalid."""

    step: Literal["absorbance"] = "absorbance"


class Snv(_Step):
    """Standard normal variate: minus the mean, over the standard deviation (n - 1) of the spectrum (Barnes, Dhanoa, Lister 1989)."""

    step: Literal["snv"] = "snv"


class Msc(_Step):
    """Multiplicative scatter correction against the mean of the training spectra: x = a + b r, then (x - a) / b (Geladi et al. 1985)."""

    step: Literal["msc"] = "msc"


class SavitzkyGolay(_Step):
    """Local polynomial over `width` points, or its derivative per point of the axis (Savitzky & Golay 1964)."""

    step: Literal["savitzky_golay"] = "savitzky_golay"
    width: int = Field(15, ge=3, le=401)
    """Points, odd."""
    order: int = Field(2, ge=0, le=6)
    """Order of the polynomial, below width."""
    derivative: int = Field(0, ge=0, le=4)

    @pydantic.model_validator(mode="after")
    def _odd(self) -> SavitzkyGolay:
        if self.width % 2 == 0 or self.order >= self.width or self.derivative > self.order:
            raise ValueError(f"savitzky_golay: expected an odd width above order and derivative, found {self.width}, {self.order}, {self.derivative}")
        return self


class Detrend(_Step):
    """Minus a polynomial of the whole spectrum, fitted by least squares."""

    step: Literal["detrend"] = "detrend"
    order: int = Field(2, ge=0, le=6)


class Baseline(_Step):
    """Minus a smooth baseline that lies below the peaks: asymmetric least squares (Eilers & Boelens 2005)."""

    step: Literal["baseline"] = "baseline"
    smoothness: float = Field(1e5, gt=0, le=1e12)
    asymmetry: float = Field(0.01, gt=0, lt=0.5)
    """Weight of points above the baseline; those below weigh one minus this."""
    iterations: int = Field(10, ge=1, le=50)


AnyStep = Annotated[Region | Absorbance | Snv | Msc | SavitzkyGolay | Detrend | Baseline, Field(discriminator="step")]
STEPS: Final[pydantic.TypeAdapter[tuple[AnyStep, ...]]] = pydantic.TypeAdapter(tuple[AnyStep, ...])

_REGION, _LOG, _SNV, _TAPS, _DETREND, _MSC, _BASELINE = range(7)
UNPARAMETRISED: Final = frozenset({_LOG, _SNV})
"""Steps that are alike in every chain."""


def taps(width: int, order: int, derivative: int) -> Float64:
    """Weights (width,) of the local polynomial's value or derivative at its middle, per point of the axis.

    >>> (taps(5, 2, 0) * 35).round(9).tolist()
    [-3.0, 12.0, 17.0, 12.0, -3.0]
    >>> (taps(5, 2, 1) * 10).round(9).tolist(), (taps(5, 2, 2) * 7).round(9).tolist()
    ([-2.0, -1.0, 0.0, 1.0, 2.0], [2.0, -1.0, -2.0, -1.0, 2.0])
    """
    half = width // 2
    # Powers of -1..1 keep the fit well conditioned for wide windows.
    powers = np.vander(np.arange(-half, half + 1) / half, order + 1, increasing=True)
    weights: Float64 = np.linalg.pinv(powers)[derivative].round(15) + 0.0
    return weights * float(np.prod(np.arange(1, derivative + 1))) / float(half) ** derivative


@kernel("boolean(float64[::1], int64, float64, float64, int64, float64[::1], float64[:, ::1])")
def baseline(x: Float64, n: int, smoothness: float, asymmetry: float, iterations: int, z: Float64, band: Float64) -> bool:
    """Asymmetric least squares baseline z of x[:n] by the banded Cholesky factors of W + smoothness D'D (D second differences).

    z (n or more,); band (3, n or more) is scratch.
    """
    for i in range(n):
        z[i] = np.inf
    for r in range(iterations):
        for i in range(n):
            w = asymmetry if r > 0 and x[i] > z[i] else 1.0 - asymmetry
            if r == 0:
                w = 1.0
            # Row i of D'D: D has the rows (1, -2, 1).
            here, one, two = 0.0, 0.0, 0.0
            if i + 2 < n:
                here, one, two = 1.0, -2.0, 1.0
            if i >= 1 and i + 1 < n:
                here += 4.0
                one -= 2.0
            if i >= 2:
                here += 1.0
            band[0, i] = w + smoothness * here
            band[1, i] = smoothness * one if i + 1 < n else 0.0
            band[2, i] = smoothness * two if i + 2 < n else 0.0
            z[i] = w * x[i]
        # LDL' of the five-diagonal matrix, forward and back.
        for i in range(n):
            d = band[0, i]
            e = band[1, i]
            f = band[2, i]
            if i >= 1:
                d -= band[1, i - 1] * band[1, i - 1] * band[0, i - 1]
                e -= band[2, i - 1] * band[1, i - 1] * band[0, i - 1]
            if i >= 2:
                d -= band[2, i - 2] * band[2, i - 2] * band[0, i - 2]
            if not d > 0.0:
                return False
            band[0, i] = d
            band[1, i] = e / d
            band[2, i] = f / d
            if i >= 1:
                z[i] -= band[1, i - 1] * z[i - 1]
            if i >= 2:
                z[i] -= band[2, i - 2] * z[i - 2]
        for i in range(n):
            z[i] /= band[0, i]
        for i in range(n - 2, -1, -1):
            z[i] -= band[1, i] * z[i + 1]
            if i + 2 < n:
                z[i] -= band[2, i] * z[i + 2]
    return True


@kernel("int64(float64[::1], int64[:, ::1], float64[:, ::1], float64[::1], float64[::1], float64[:, ::1])")
def treat(x: Float64, code: NDArray[np.int64], number: Float64, store: Float64, out: Float64, scratch: Float64) -> int:
    """Treat one spectrum x into out; returns the number of points, or -1 when a step has no answer (flat spectrum, light not above 0).

    code    (steps, 4): step, where its numbers begin in `store`, first and second size
    number  (steps, 2): numbers of the step
    out     (points,), scratch (4, points)
    """
    n = len(x)
    for j in range(n):
        out[j] = x[j]
    for s in range(len(code)):
        what, at, size, more = code[s, 0], code[s, 1], code[s, 2], code[s, 3]
        if what == _REGION:
            for j in range(more):
                out[j] = out[size + j]
            n = more
        elif what == _LOG:
            for j in range(n):
                if not out[j] > 0.0:
                    return -1
                out[j] = -np.log10(out[j])
        elif what == _SNV:
            # Four sums side by side: none waits for the addition before, and their order is fixed.
            a0, a1, a2, a3 = 0.0, 0.0, 0.0, 0.0
            whole = n - n % 4
            for j in range(0, whole, 4):
                a0 += out[j]
                a1 += out[j + 1]
                a2 += out[j + 2]
                a3 += out[j + 3]
            for j in range(whole, n):
                a0 += out[j]
            mean = ((a0 + a1) + (a2 + a3)) / n
            b0, b1, b2, b3 = 0.0, 0.0, 0.0, 0.0
            for j in range(n):
                out[j] -= mean
            for j in range(0, whole, 4):
                b0 += out[j] * out[j]
                b1 += out[j + 1] * out[j + 1]
                b2 += out[j + 2] * out[j + 2]
                b3 += out[j + 3] * out[j + 3]
            for j in range(whole, n):
                b0 += out[j] * out[j]
            square = (b0 + b1) + (b2 + b3)
            # Equal values leave the rounding of their mean behind.
            if not square > n * (1e-12 * mean) ** 2:
                return -1
            narrow = 1.0 / np.sqrt(square / (n - 1))
            for j in range(n):
                out[j] *= narrow
        elif what == _TAPS:
            m = n - size + 1
            # Four weights at a time over all points: the order of additions is fixed, and the points go through the lanes together.
            total = scratch[0, :m]
            total[:] = 0.0
            whole = size - size % 4
            for i in range(0, whole, 4):
                w0, w1, w2, w3 = store[at + i], store[at + i + 1], store[at + i + 2], store[at + i + 3]
                p0, p1, p2, p3 = out[i : i + m], out[i + 1 : i + 1 + m], out[i + 2 : i + 2 + m], out[i + 3 : i + 3 + m]
                for j in range(m):
                    total[j] += (w0 * p0[j] + w1 * p1[j]) + (w2 * p2[j] + w3 * p3[j])
            for i in range(whole, size):
                weight = store[at + i]
                part = out[i : i + m]
                for j in range(m):
                    total[j] += weight * part[j]
            for j in range(m):
                out[j] = total[j]
            n = m
        elif what == _DETREND:
            for c in range(size):
                share = 0.0
                for j in range(n):
                    share += store[at + c * n + j] * out[j]
                for j in range(n):
                    out[j] -= share * store[at + c * n + j]
        elif what == _MSC:
            mean = 0.0
            for j in range(n):
                mean += out[j]
            mean /= n
            slope = 0.0
            for j in range(n):
                slope += (out[j] - mean) * store[at + 1 + j]
            slope /= store[at]
            if not slope > 0.0:
                return -1
            for j in range(n):
                # store holds r minus its mean, and its mean behind it: (x - a) / b = (x - mean x) / b + mean r
                out[j] = (out[j] - mean) / slope + number[s, 0]
        else:
            if not baseline(out, n, number[s, 0], number[s, 1], size, scratch[0], scratch[1:]):
                return -1
            for j in range(n):
                out[j] -= scratch[0, j]
    for j in range(n):
        if not np.isfinite(out[j]):
            return -1
    return n


@kernel("void(Array(float64, 2, 'C', readonly=True), int64[:, ::1], float64[:, ::1], float64[::1], float64[:, ::1], boolean[::1], float64[:, ::1])")
def treat_all(X: Float64, code: NDArray[np.int64], number: Float64, store: Float64, out: Float64, valid: NDArray[np.bool_], scratch: Float64) -> None:
    """Treat every row of X (n, k) into out (n, points); scratch (5 or more, k)."""
    for i in range(len(X)):
        for j in range(X.shape[1]):
            scratch[4, j] = X[i, j]
        n = treat(scratch[4], code, number, store, scratch[5], scratch[:4])
        valid[i] = n == out.shape[1]
        for j in range(out.shape[1]):
            out[i, j] = scratch[5, j] if valid[i] else np.nan


class Treatment:
    """A chain of steps ready to run on spectra of one axis.

    axis  (k,) of the spectra that come in
    reference  (k,) mean of the training spectra, needed by `msc` only
    """

    def __init__(self, steps: Sequence[AnyStep], axis: Float64, reference: Float64 | None = None) -> None:
        self.steps = tuple(steps)
        self.reference = reference
        self.axis_in = np.ascontiguousarray(axis, np.float64)
        axis = self.axis_in
        rows: list[tuple[int, int, int, int]] = []
        numbers: list[tuple[float, float]] = []
        parts: list[Float64] = []
        at = 0
        for place, step in enumerate(self.steps):
            n = len(axis)
            row, two, part = _planned(step, axis, at, lambda p=place: _partial(self.steps[:p], self.axis_in, reference))
            axis = _axis_behind(step, axis)
            if len(axis) < 2:
                raise ValueError(f"steps[{place}]: expected at least 2 points behind {step.step}, found {len(axis)} of {n}")
            rows.append(row)
            numbers.append(two)
            parts.append(part)
            at += len(part)
        self.axis = axis
        """(points,) axis of the treated spectra."""
        self.code = np.array(rows, np.int64).reshape(-1, 4)
        self.number = np.array(numbers, np.float64).reshape(-1, 2)
        self.store = np.concatenate([np.zeros(0), *parts])

    def apply(self, X: NDArray[Any]) -> tuple[Float64, NDArray[np.bool_]]:
        """Treated spectra (n, points) and which of them are valid; a row that is not has NaN."""
        X = np.ascontiguousarray(X, np.float64)
        if X.ndim != 2 or X.shape[1] != len(self.axis_in):
            raise ValueError(f"spectra: expected (n, {len(self.axis_in)}), found {X.shape}")
        out, valid = np.empty((len(X), len(self.axis))), np.empty(len(X), np.bool_)
        treat_all(X, self.code, self.number, self.store, out, valid, np.empty((6, X.shape[1])))
        return out, valid


def _partial(steps: Sequence[AnyStep], axis: Float64, reference: Float64 | None) -> Float64:
    if reference is None:
        raise ValueError("msc: expected a reference spectrum, found none")
    treated, valid = Treatment(steps, axis, reference).apply(reference[None])
    if not valid[0]:
        raise ValueError("msc: expected a reference spectrum that is not flat")
    first: Float64 = treated[0]
    return first


def _axis_behind(step: AnyStep, axis: Float64) -> Float64:
    if isinstance(step, Region):
        return axis[(axis >= step.low) & (axis <= step.high)]
    if isinstance(step, SavitzkyGolay):
        half = step.width // 2
        return axis[half : len(axis) - half] if len(axis) >= step.width else axis[:0]
    return axis


def _planned(step: AnyStep, axis: Float64, at: int, reference: Any) -> tuple[tuple[int, int, int, int], tuple[float, float], Float64]:
    """Code, numbers and stored part of a step."""
    n, none = len(axis), np.zeros(0)
    match step:
        case Region():
            inside = np.flatnonzero((axis >= step.low) & (axis <= step.high))
            if not len(inside):
                raise ValueError(f"region: expected points within {step.low:g}..{step.high:g}, found an axis of {axis.min():g}..{axis.max():g}")
            return (_REGION, at, int(inside[0]), len(inside)), (0.0, 0.0), none
        case Absorbance():
            return (_LOG, at, 0, 0), (0.0, 0.0), none
        case Snv():
            return (_SNV, at, 0, 0), (0.0, 0.0), none
        case SavitzkyGolay():
            return (_TAPS, at, step.width, 0), (0.0, 0.0), taps(step.width, step.order, step.derivative)
        case Detrend():
            q, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, n), step.order + 1))
            return (_DETREND, at, step.order + 1, 0), (0.0, 0.0), np.ascontiguousarray(q.T).ravel()
        case Msc():
            r = reference()
            centred = r - r.mean()
            return (_MSC, at, 0, 0), (float(r.mean()), 0.0), np.concatenate([[centred @ centred], centred])
        case Baseline():
            return (_BASELINE, at, step.iterations, 0), (step.smoothness, step.asymmetry), none


def steps_of(value: Any) -> tuple[AnyStep, ...]:
    """Steps from their JSON form; pydantic.ValidationError names what is wrong."""
    return STEPS.validate_python(value)


def named(steps: Sequence[AnyStep]) -> str:
    """The chain in few words.

    >>> named((Snv(), SavitzkyGolay(width=31, derivative=1)))
    'snv > d1w31'
    """
    words = {"savitzky_golay": lambda s: f"d{s.derivative}w{s.width}", "detrend": lambda s: f"detrend{s.order}"}
    return " > ".join(words.get(s.step, lambda s: str(s.step))(s) for s in steps) or "raw"
