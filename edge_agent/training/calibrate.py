"""`edge-agent model calibrate`: spectra with references in a table to a model file of a soft sensor, and a report with plots."""

from __future__ import annotations

import csv
import hashlib
import html
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edge_agent import __version__
from edge_agent.config import fingerprint
from edge_agent.core.errors import PharmedgeError
from edge_agent.core.model_file import ModelFile, Training
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


@dataclass(frozen=True, slots=True)
class Table:
    """Spectra (n, k) on an axis (k,) with references (n,); `group` names samples that belong together, each its own where there is no such column."""

    axis: Float64
    X: Float64
    y: Float64
    group: tuple[str, ...]
    sha256: str


def read_table(path: Path, reference: str, group: str | None = None) -> Table:
    """A CSV or Parquet table: references, and columns whose names are the axis; others are passed over. PharmedgeError names what is wrong."""
    names, columns = _columns(path)
    if reference not in names:
        raise PharmedgeError(f"{path}: expected a column {reference!r} of references, found {', '.join(names[:8])}")
    if group is not None and group not in names:
        raise PharmedgeError(f"{path}: expected a column {group!r} of groups, found {', '.join(names[:8])}")
    points = [(float(n), i) for i, n in enumerate(names) if n not in (reference, group) and _is_number(n)]
    if len(points) < 2:
        raise PharmedgeError(f"{path}: expected columns named by wavelength or wavenumber, found {', '.join(names[:8])}")
    points.sort()
    X = np.array([_numbers(path, names[i], columns[i]) for _, i in points]).T
    y = _numbers(path, reference, columns[names.index(reference)])
    groups = columns[names.index(group)] if group is not None else [str(i) for i in range(len(y))]
    return Table(np.array([p for p, _ in points]), np.ascontiguousarray(X), y, tuple(map(str, groups)), hashlib.sha256(path.read_bytes()).hexdigest())


def _columns(path: Path) -> tuple[list[str], list[Sequence[Any]]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        return list(table.column_names), [c.to_pylist() for c in table.columns]
    rows = list(csv.reader(path.read_text("utf-8-sig").splitlines()))
    if len(rows) < 2 or any(len(r) != len(rows[0]) for r in rows):
        wrong = next((i for i, r in enumerate(rows, 1) if len(r) != len(rows[0])), 1)
        raise PharmedgeError(f"{path}:{wrong}: expected a line of names and rows of as many cells, found {len(rows[wrong - 1]) if rows else 0} cells")
    return rows[0], list(zip(*rows[1:], strict=True))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _numbers(path: Path, name: str, cells: Sequence[Any]) -> Float64:
    try:
        found = np.array([float(c) for c in cells])
    except (ValueError, TypeError) as error:
        raise PharmedgeError(f"{path}: column {name}: expected numbers, found {error}") from error
    if not np.isfinite(found).all():
        raise PharmedgeError(f"{path}: column {name}: expected finite numbers, found one that is not in row {int(np.argmin(np.isfinite(found))) + 2}")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """A model file and what the report shows: left-out predictions (n,), RMSECV of PLS by factors, VIP by point, odd samples."""

    file: ModelFile
    said: Float64
    rmsecv: Float64
    vip: Float64
    vip_axis: Float64
    odd: NDArray[np.bool_]


def calibrated(
    table: Table, *, name: str, tag: str, unit: str, method: str, coverage: float, saturation: float, trained_by: str, trained_ns: int, reason: str,
    steps: Sequence[AnyStep] | None = None, progress: Callable[[int, int], None] | None = None,
) -> Calibrated:  # fmt: skip
    """Calibrate, cross-validate everything, and freeze; samples of one group are left out together. PharmedgeError when the data do not suffice.

    steps     the treatment of PLS; None: of six usual ones the one with the least RMSECV
    progress  is called with the calibrations done and how many there will be: one for each part left out, and the one that is kept
    """
    X, y = table.X, table.y
    try:
        fold = folds(y, FOLDS[len(y) >= MANY], groups=table.group)
        chain, said = _best(X, y, table.axis, fold, steps)
        rmsecv = np.array([rmse(p - y) for p in said])
        factors = int(np.flatnonzero(rmsecv <= 1.03 * rmsecv.min())[0]) + 1
        whole = pls.fit(chain.apply(X)[0], y, factors)
        if method == "pls":
            left = said[factors - 1]
            arrays = pls_arrays(chain, whole, X, y, _half(left - y, coverage), saturation=saturation)
            words = [f"pls, {factors} factors, {named(chain.steps)}"]
        else:
            left, parts = np.empty(len(y)), int(fold.max()) + 1
            for k in range(parts):
                train = fold != k
                left[~train] = calibrate(X[train], y[train], table.axis).predict(X[~train])
                if progress is not None:
                    progress(k + 1, parts + 1)
            found = calibrate(X, y, table.axis)
            arrays = sensor_arrays(found, X, y, _half(left - y, coverage), saturation=saturation)
            words = [f"{w:.2f} {m.words}" for m, w in zip(found.members, found.weights, strict=True)]
    except ValueError as wrong:
        raise PharmedgeError(f"calibration: {wrong}") from wrong
    _, why = Sensor(arrays).judge(X)
    error = left - y
    odd = ((why & (FAR | STRANGE)) > 0) | (np.abs(error) > 3.5 * 1.4826 * np.median(np.abs(error)))
    about = {"rmsecv": rmse(error), "bias": float(error.mean()), "half_width": float(arrays["half"]), "coverage": coverage, "members": words}
    file = ModelFile(
        kind="spectra", name=name, tags=(tag,), units={"value": unit}, config={"method": method, "coverage": coverage}, arrays=arrays,
        calibration=about,
        training=Training(files={name: table.sha256}, data_sha256=table.sha256, rows_used=len(y)), trained_by=trained_by, trained_ns=trained_ns,
        reason=reason, software=f"pharmedge {__version__}", fingerprint=fingerprint(),
    )  # fmt: skip
    return Calibrated(file, left, rmsecv, whole.vip(), chain.axis, odd)


def _best(X: Float64, y: Float64, axis: Float64, fold: NDArray[np.int64], wanted: Sequence[AnyStep] | None) -> tuple[Treatment, Float64]:
    """Of six usual treatments, or the one that is wanted, that with the least RMSECV of PLS, and its left-out predictions (factors, n)."""
    width = max(5, min(15, len(axis) // 8 * 2 - 1))
    first, second = (SavitzkyGolay(width=width, derivative=d) for d in (1, 2))
    usual: list[Sequence[AnyStep]] = [(), (Snv(),), (first,), (Snv(), first), (first, Snv()), (second,)]
    found: list[tuple[float, Treatment, Float64]] = []
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
                raise ValueError(f"expected spectra that are not flat, found row {int(np.argmin(valid)) + 2}")
            model = pls.fit(Z[train], y[train], most)
            for a in range(most):
                said[a, ~train] = model.predict(Z[~train], a + 1)
        found.append((min(rmse(p - y) for p in said), chain, said))
    _, chain, said = min(found, key=lambda f: f[0])
    return chain, said


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


# -- the report


def report(table: Table, made: Calibrated) -> str:
    """One HTML page without anything from elsewhere: figures, plots as SVG, odd samples."""
    c, unit = made.file.calibration, html.escape(made.file.units.get("value", ""))
    rows = "".join(
        f"<tr><td>{i + 2}</td><td>{html.escape(table.group[i])}</td><td>{table.y[i]:.5g}</td><td>{made.said[i]:.5g}</td></tr>"
        for i in np.flatnonzero(made.odd)
    )
    factors = np.arange(1.0, len(made.rmsecv) + 1)
    plots = [
        _plot("Left-out predictions against references", table.y, made.said, f"reference {unit}", f"prediction {unit}", line=False, diagonal=True),
        _plot("RMSECV of PLS", factors, made.rmsecv, "factors", f"RMSECV {unit}"),
        _plot("Importance (VIP)", made.vip_axis, made.vip, "axis", "VIP", level=1.0),
    ]
    members = "".join(f"<li>{html.escape(w)}</li>" for w in c["members"])
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(made.file.name)}</title>"
        "<style>body{font:15px sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
        "td,th{padding:.2em 1em;text-align:right}svg{margin:1em 0}</style>"
        f"<h1>Calibration {html.escape(made.file.name)}</h1><p>{len(table.y)} samples, {len(table.axis)} points, "
        f"{table.axis[0]:g} to {table.axis[-1]:g}. "
        f"RMSECV {c['rmsecv']:.4g} {unit}, bias {c['bias']:.3g}; interval of {c['coverage']:.0%}: &plusmn; {c['half_width']:.4g} {unit}. "
        f"Trained by {html.escape(made.file.trained_by)}. Data SHA-256 {table.sha256}.</p><ul>{members}</ul>{''.join(plots)}"
        f"<h2>Odd samples ({int(made.odd.sum())})</h2><p>T2 or Q above its limit, or an error beyond 3.5 robust standard deviations: look at them "
        f"before the model is approved.</p><table><tr><th>row<th>group<th>reference<th>left-out prediction</tr>{rows}</table></html>\n"
    )


def _plot(
    title: str, x: Float64, y: Float64, x_name: str, y_name: str, *, line: bool = True, diagonal: bool = False, level: float | None = None
) -> str:
    width, height, edge = 660, 300, 64
    span_y = np.concatenate([y, x]) if diagonal else np.append(y, level if level is not None else y[0])
    (x0, x1), (y0, y1) = ((float(v.min()), float(v.max())) for v in (span_y if diagonal else x, span_y))

    def at(a: float, b: float) -> str:
        px = edge + (a - x0) / max(x1 - x0, 1e-300) * (width - 2 * edge)
        return f"{px:.1f},{height - edge - (b - y0) / max(y1 - y0, 1e-300) * (height - 2 * edge):.1f}"

    points = [at(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    if line:
        drawn = f'<polyline points="{" ".join(points)}" fill="none" stroke="#0a58a5" stroke-width="1.5"/>'
    else:
        drawn = "".join('<circle cx="{}" cy="{}" r="2.5" fill="#0a58a5"/>'.format(*p.split(",")) for p in points)
    if diagonal:
        drawn += f'<polyline points="{at(x0, x0)} {at(x1, x1)}" stroke="#888"/>'
    if level is not None:
        drawn += f'<polyline points="{at(x0, level)} {at(x1, level)}" stroke="#888" stroke-dasharray="4"/>'
    marks = "".join(f'<text x="{edge - 6}" y="{at(x0, v).split(",")[1]}" text-anchor="end">{v:.5g}</text>' for v in (y0, y1)) + "".join(
        f'<text x="{at(v, y0).split(",")[0]}" y="{height - edge + 16}" text-anchor="middle">{v:.5g}</text>' for v in (x0, x1)
    )
    return (
        f'<figure><figcaption>{title}</figcaption><svg role="img" aria-label="{title}" width="{width}" height="{height}" font-size="12">'
        f'<rect x="{edge}" y="{edge}" width="{width - 2 * edge}" height="{height - 2 * edge}" fill="none" stroke="#ccc"/>{drawn}{marks}'
        f'<text x="{width / 2}" y="{height - 10}" text-anchor="middle">{x_name}</text><text x="{edge}" y="{edge - 10}">{y_name}</text></svg></figure>'
    )
