"""Slope and bias of a soft sensor: a recorded change of a calibration that makes a new model file, to be approved like any other.

The predictions of a calibration drift away from the laboratory by a constant, sometimes by a factor, when lots, instruments or probes change. What is
adjusted is the prediction, never what the model knows of spectra: T2, Q and their limits stay. For anything else a new calibration is due.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import fingerprint
from edge_agent.core.errors import PharmedgeError
from edge_agent.core.model_file import ModelFile
from models.limits import f_quantile

LEAST_FOR_SLOPE: Final = 5
"""Pairs of prediction and reference from which a slope may be fitted."""
SLOPES: Final = (0.5, 2.0)
"""Slopes beyond these are no adjustment."""


@dataclass(frozen=True, slots=True)
class Adjustment:
    """value' = slope value + bias, from n pairs.

    sep          standard deviation of what is left (n - 1), NaN for one pair
    significant  whether the mean difference is beyond t SEP / sqrt(n) (95 %); None for one pair, which cannot say
    """

    slope: float
    bias: float
    n: int
    sep: float
    significant: bool | None


def read_pairs(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Columns `predicted` and `reference` of a CSV; PharmedgeError names file and line."""
    rows = list(csv.DictReader(path.read_text("utf-8-sig").splitlines()))
    found: list[tuple[float, float]] = []
    for line, row in enumerate(rows, 2):
        try:
            pair = float(row["predicted"]), float(row["reference"])
        except KeyError as error:
            raise PharmedgeError(f"{path}:1: expected columns predicted and reference, found no {error.args[0]}") from error
        except (ValueError, TypeError) as error:
            raise PharmedgeError(f"{path}:{line}: expected two numbers, found {error}") from error
        if not all(map(math.isfinite, pair)):
            raise PharmedgeError(f"{path}:{line}: expected finite numbers, found {pair}")
        found.append(pair)
    if not found:
        raise PharmedgeError(f"{path}: expected one or more pairs, found none")
    pairs = np.array(found)
    return pairs[:, 0], pairs[:, 1]


def fitted(predicted: Sequence[float] | NDArray[np.float64], reference: Sequence[float] | NDArray[np.float64], *, slope: bool = False) -> Adjustment:
    """The adjustment that takes predictions to their references, by least squares; a bias alone unless a slope is asked for.

    >>> fitted([98.0], [99.5])
    Adjustment(slope=1.0, bias=1.5, n=1, sep=nan, significant=None)
    >>> fitted([1.0, 2.0, 3.0, 4.0, 5.0], [2.1, 4.1, 6.1, 8.1, 10.1], slope=True).slope.__round__(9)
    2.0
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(reference, np.float64)
    n = len(x)
    factor = 1.0
    if slope:
        spread = float(np.sum(np.square(x - x.mean())))
        if n < LEAST_FOR_SLOPE or spread <= 0.0:
            raise PharmedgeError(f"slope: expected {LEAST_FOR_SLOPE} or more pairs of different contents, found {n}")
        factor = float(np.sum((x - x.mean()) * (y - y.mean()))) / spread
        if not SLOPES[0] <= factor <= SLOPES[1]:
            raise PharmedgeError(f"slope: expected {SLOPES[0]:g} to {SLOPES[1]:g}, found {factor:.3g}: calibrate anew")
    bias = float(np.mean(y - factor * x))
    if n == 1:
        return Adjustment(factor, bias, 1, math.nan, None)
    sep = float(np.std(y - factor * x, ddof=1))
    differences = y - x
    # t of two sides is the root of F with one degree of freedom.
    limit = math.sqrt(f_quantile(0.95, 1, n - 1) / n) * float(np.std(differences, ddof=1))
    return Adjustment(factor, bias, n, sep, bool(abs(float(differences.mean())) > limit))


def adjusted(
    file: ModelFile, change: Adjustment, pairs: Sequence[tuple[float, float]], *, user: str, reason: str, now_ns: int
) -> ModelFile:
    """A new model file that says slope x value + bias; PharmedgeError where the file is no soft sensor or nobody says why."""
    if file.kind != "spectra":
        raise PharmedgeError(f"adjust: expected a model of kind spectra, found {file.kind}")
    if not reason.strip() or not user.strip():
        raise PharmedgeError("adjust: expected a user and a reason, found nothing")
    if not (math.isfinite(change.slope) and math.isfinite(change.bias) and SLOPES[0] <= change.slope <= SLOPES[1]):
        found = f"{change.slope:g} and {change.bias:g}"
        raise PharmedgeError(f"adjust: expected a slope of {SLOPES[0]:g} to {SLOPES[1]:g} and a finite bias, found {found}")
    arrays = dict(file.arrays)
    total = float(np.sum(arrays["weights"]))
    for i in range(len(arrays["weights"])):
        arrays[f"{i}.coefficients"] = arrays[f"{i}.coefficients"] * change.slope
        arrays[f"{i}.heights"] = arrays[f"{i}.heights"] * change.slope
        # The members' weights sum to one: each carries the whole bias.
        arrays[f"{i}.constant"] = np.asarray(arrays[f"{i}.constant"] * change.slope + change.bias / total)
    arrays["range"] = arrays["range"] * change.slope + change.bias
    # The bias itself is as uncertain as the mean of n differences.
    wider = change.slope * math.sqrt(1.0 + 1.0 / change.n)
    arrays["half"] = np.asarray(arrays["half"] * wider)
    record = {
        "slope": change.slope, "bias": change.bias, "n": change.n, "of": file.sha256, "pairs": [list(p) for p in pairs],
        "sep": None if math.isnan(change.sep) else change.sep, "significant": change.significant, "trained_by": file.trained_by,
        "before": file.calibration.get("adjusted"),
    }  # fmt: skip
    about = file.calibration | {"half_width": float(arrays["half"]), "adjusted": record}
    return msgspec.structs.replace(
        file, arrays=arrays, calibration=about, trained_by=user.strip(), trained_ns=now_ns, reason=reason.strip(),
        software=f"pharmedge {__version__}", fingerprint=fingerprint(), sha256="",
    )  # fmt: skip
