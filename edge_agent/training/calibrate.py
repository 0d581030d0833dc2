"""Spectra with references to a model file of a soft sensor: calibrated, cross-validated with every choice inside, and frozen with its interval."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import fingerprint
from edge_agent.core.errors import PharmedgeError
from edge_agent.core.model_file import ModelFile, Training
from edge_agent.training.made_of import by_name, sha256_of
from edge_agent.training.spectra_table import Table
from models.spectra import pls
from models.spectra.choose import calibrate, rmse
from models.spectra.folds import folds
from models.spectra.intervals import half_width
from models.spectra.sensor import FAR, STRANGE, Sensor, pls_arrays, sensor_arrays
from models.spectra.treatment import Absorbance, AnyStep, Baseline, Detrend, Msc, Region, SavitzkyGolay, Snv, Treatment, named

Float64 = NDArray[np.float64]
FOLDS: Final = (10, 5)
"""Parts that are left out in turn: of few samples, and of MANY or more, where a fifth less to learn from costs nothing that could be measured."""
MANY: Final = 200
MOST_FACTORS: Final = 15
ODD: Final = 3.5
"""Robust standard deviations beyond which a left-out error is odd."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A model file and what the report shows.

    said            (n,) left-out predictions
    rmsecv, rmsec   by factors: PLS left out and fitted, on the treatment chosen; `factors` of it are enough
    vip             importance of the points of vip_axis
    t2, q           (n,) in multiples of their limits
    odd, why        samples to look at, and the reason in words
    tried           treatments in words, their factors and least RMSECV
    """

    file: ModelFile
    said: Float64
    rmsecv: Float64
    rmsec: Float64
    factors: int
    vip: Float64
    vip_axis: Float64
    t2: Float64
    q: Float64
    odd: NDArray[np.bool_]
    why: tuple[str, ...]
    tried: tuple[tuple[str, int, float], ...]


def calibrated(
    table: Table, *, name: str, tag: str, unit: str, method: str, coverage: float, saturation: float, trained_by: str, trained_ns: int, reason: str,
    steps: Sequence[AnyStep] | None = None, progress: Callable[[int, int], None] | None = None,
) -> Calibrated:  # fmt: skip
    """Calibrate, cross-validate everything, and freeze; samples of one group are left out together. PharmedgeError when the data do not suffice.

    steps     the treatment of PLS; None: of six usual ones the one with the least RMSECV
    progress  is called with the calibrations done and how many there will be: one for each part left out, and the one that is kept
    """
    X, y, axis = table.X, table.y, table.axis
    try:
        fold = folds(y, FOLDS[len(y) >= MANY], groups=table.group)
        parts = int(fold.max()) + 1
        rest = len(y) - int(np.bincount(fold).max())
        if parts < 2 or rest < _LEAST_REST:
            raise ValueError(f"expected {_LEAST_REST} or more samples beside those left out together, found {rest} of {len(y)} in {parts} parts")
        whole = _chosen(X, y, axis, fold, steps)
        left = np.empty(len(y))
        for k in range(parts):
            train = fold != k
            if method == "pls":
                # Treatment and factors are chosen anew without the part: an interval of a chosen model on the samples that chose it is too narrow.
                inner = folds(y[train], parts, groups=[g for g, t in zip(table.group, train, strict=True) if t])
                left[~train] = _chosen(X[train], y[train], axis, inner, steps).predict(X[~train])
            else:
                left[~train] = calibrate(X[train], y[train], axis).predict(X[~train])
            if progress is not None:
                progress(k + 1, parts + 1)
        half = _half(left - y, coverage)
        if method == "pls":
            arrays = pls_arrays(whole.chain, whole.model, X, y, half, saturation=saturation)
            words = [f"pls, {whole.model.factors} factors, {named(whole.chain.steps)}"]
        else:
            found = calibrate(X, y, axis)
            arrays = sensor_arrays(found, X, y, half, saturation=saturation)
            words = [f"{w:.2f} {m.words}" for m, w in zip(found.members, found.weights, strict=True)]
        if progress is not None:
            progress(parts + 1, parts + 1)
    except ValueError as wrong:
        raise PharmedgeError(f"calibration: {wrong}") from wrong
    told, bits = Sensor(arrays).judge(X)
    error = left - y
    wide = ODD * 1.4826 * float(np.median(np.abs(error)))
    why = tuple(
        ", ".join(w for w, is_so in (("T²", b & FAR), ("Q", b & STRANGE), ("error", abs(e) > wide)) if is_so)
        for b, e in zip(bits.tolist(), error.tolist(), strict=True)
    )
    about = {"rmsecv": rmse(error), "bias": float(error.mean()), "half_width": half, "coverage": coverage, "members": words}
    config = {"method": method, "coverage": coverage}
    training = Training(files=by_name(table.files), data_sha256=sha256_of(table.files), rows_used=len(y), rows_left_out=dict(table.left))
    file = ModelFile(
        kind="spectra", name=name, tags=(tag,), units={"value": unit}, config=config, arrays=arrays, calibration=about, training=training,
        trained_by=trained_by, trained_ns=trained_ns, reason=reason, software=f"pharmedge {__version__}", fingerprint=fingerprint(),
    )  # fmt: skip
    Z = whole.chain.apply(X)[0]
    most = pls.fit(Z, y, len(whole.rmsecv))
    rmsec = np.array([rmse(most.predict(Z, a + 1) - y) for a in range(len(whole.rmsecv))])
    return Calibrated(
        file, left, whole.rmsecv, rmsec, whole.model.factors, whole.model.vip(), whole.chain.axis, told[:, 3], told[:, 4],
        np.array([bool(w) for w in why]), why, whole.tried,
    )  # fmt: skip


_LEAST_REST: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """The treatment with the least RMSECV of PLS and the model on it; rmsecv (factors,) of that treatment, and what else was tried."""

    chain: Treatment
    model: pls.Pls
    rmsecv: Float64
    tried: tuple[tuple[str, int, float], ...]

    def predict(self, X: Float64) -> Float64:
        return self.model.predict(self.chain.apply(X)[0])


def _chosen(X: Float64, y: Float64, axis: Float64, fold: NDArray[np.int64], wanted: Sequence[AnyStep] | None) -> _Chosen:
    """PLS with the treatment, of six usual ones or the one that is wanted, of the least RMSECV, and the fewest factors within 3 % of it."""
    width = max(5, min(15, len(axis) // 8 * 2 - 1))
    first, second = (SavitzkyGolay(width=width, derivative=d) for d in (1, 2))
    usual: list[Sequence[AnyStep]] = [(), (Snv(),), (first,), (Snv(), first), (first, Snv()), (second,)]
    found: list[tuple[float, Treatment, Float64, int]] = []
    folds_at = range(int(fold.max()) + 1)
    for steps in usual if wanted is None else [wanted]:
        # The spectrum that MSC refers to is of the training part alone, like everything else.
        parts = [Treatment(steps, axis, X[fold != k].mean(axis=0)) for k in folds_at]
        chain = Treatment(steps, axis, X.mean(axis=0))
        most = min(MOST_FACTORS, *(int((fold != k).sum()) - 2 for k in folds_at), len(chain.axis))
        said = np.empty((most, len(y)))
        for k, part in enumerate(parts):
            train = fold != k
            Z, valid = part.apply(X)
            if not valid.all():
                raise ValueError(f"expected spectra that are neither flat nor dark, found sample {int(np.argmin(valid)) + 1}")
            model = pls.fit(Z[train], y[train], most)
            for a in range(most):
                said[a, ~train] = model.predict(Z[~train], a + 1)
        rmsecv = np.array([rmse(p - y) for p in said])
        factors = int(np.flatnonzero(rmsecv <= 1.03 * rmsecv.min())[0]) + 1
        found.append((float(rmsecv.min()), chain, rmsecv, factors))
    _, chain, rmsecv, factors = min(found, key=lambda f: f[0])
    tried = tuple((named(c.steps), n, least) for least, c, _, n in found)
    return _Chosen(chain, pls.fit(chain.apply(X)[0], y, factors), rmsecv, tried)


def treatment(text: str) -> tuple[AnyStep, ...]:
    """The steps of a treatment in words, one behind the other; PharmedgeError names the word that is none.

    >>> treatment("region1100-1800 > msc > d1w15")
    (Region(step='region', low=1100.0, high=1800.0), Msc(step='msc'), SavitzkyGolay(step='savitzky_golay', width=15, order=2, derivative=1))
    >>> treatment("raw")
    ()
    """
    made: list[AnyStep] = []
    for word in (w.strip() for w in text.split(">")):
        for form, step in _WORDS.items():
            found = re.fullmatch(form, word)
            if found:
                try:
                    made += step(*found.groups())
                except ValueError as error:
                    raise PharmedgeError(f"treatment: {word}: {error}") from error
                break
        else:
            known = "raw, snv, msc, absorbance, baseline, detrend2, d1w15 (derivative 1, width 15), region1100-1800"
            raise PharmedgeError(f"treatment: expected steps out of {known}, with > between them, found {word!r}")
    return tuple(made)


_WORDS: Final[dict[str, Callable[..., list[AnyStep]]]] = {
    "raw": list,
    "snv": lambda: [Snv()],
    "msc": lambda: [Msc()],
    "absorbance": lambda: [Absorbance()],
    "baseline": lambda: [Baseline()],
    r"detrend(\d)": lambda order: [Detrend(order=int(order))],
    r"d(\d)w(\d+)": lambda derivative, width: [SavitzkyGolay(width=int(width), derivative=int(derivative), order=max(2, int(derivative)))],
    r"region([\d.]+)-([\d.]+)": lambda low, high: [Region(low=float(low), high=float(high))],
}


def _half(error: Float64, coverage: float) -> float:
    half = half_width(error, coverage)
    if not math.isfinite(half):
        raise ValueError(f"expected {math.ceil(coverage / (1 - coverage))} or more samples for an interval of {coverage:.0%}, found {len(error)}")
    return half
