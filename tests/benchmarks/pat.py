"""Chemometrics on public spectra: one default procedure for all sets, against published figures.

`python -m tests.benchmarks.pat --train DIR --data DIR [--sets idrc_1,ku_nir] [--folds N]`: both folders hold idrc2002_tablets.npz,
ku_tablets_nir.npz, ku_tablets_raman.npz, corn.npz, gasoline.npz and fermentation_mir.npz. Everything is trained on --train; predicted are the rows
of --data that have a reference and are not in --train, and its `*_test` arrays. Where nothing new is in --data, cross-validation with everything
(choice of treatment, region and channels included) inside each training part. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.spectra.choose import calibrate, foreign, rmse
from models.spectra.folds import folds
from models.spectra.intervals import crossed, half_width
from models.spectra.transfer import transferred

Array = NDArray[np.float64]
Fit = Callable[[NDArray[np.intp]], Callable[[Array], Array]]
"""From the training rows to a predictor."""

PUBLISHED = {
    "idrc_1": "2.34 (RMSECV, PLS); 2.2 aimed at",
    "idrc_2": "2.40 (30 pairs, recipe)",
    "ku_nir": "0.35 (RMSECV, PLS); 0.31 aimed at",
    "ku_raman": "0.62 (RMSECV, PLS); 0.57 aimed at",
    "corn_moisture": "0.021 (RMSECV, PLS); 0.010 aimed at",
    "corn_oil": "0.042; 0.029 aimed at",
    "corn_protein": "0.111; 0.116 aimed at",
    "corn_starch": "0.27; 0.25 aimed at",
    "gasoline": "0.22 (RMSECV, PLS); 0.26 in the manual of R pls",
    "fermentation": "3.8 after a one-point update aimed at; 3.8-4.0 bias-free (PLS)",
}


@dataclass
class Set:
    """Calibration rows X, y; new rows of the test, none when it must be cross-validated. `measured` are the spectra that predictions are made of."""

    name: str
    X: Array
    y: Array
    fit: Fit
    measured: Array
    X_new: Array
    y_new: Array


def load(folder: Path, name: str) -> dict[str, NDArray[Any]]:
    path = folder / name
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {k: arrays[k] for k in arrays.files}


def known(y: Array, *parts: Array) -> tuple[Array, ...]:
    """References and rows of samples that have a reference."""
    told = np.isfinite(y)
    return (y, *parts) if told.all() else (y[told], *(part[told] for part in parts))


def single(row: NDArray[Any]) -> bytes:
    return np.asarray(row, np.float32).tobytes()


def new_rows(
    train: NDArray[Any], data: NDArray[Any] | None, y: NDArray[Any] | None, *tests: tuple[NDArray[Any] | None, NDArray[Any] | None]
) -> tuple[Array, Array]:
    """Rows of `data` and of the test arrays that have a reference and whose spectra, to single precision, are not in `train`."""
    taught = {single(row) for row in train}
    X: list[NDArray[Any]] = []
    answers: list[Any] = []
    for rows, references in ((data, y), *tests):
        if rows is None or references is None:
            continue
        for row, reference in zip(rows, references, strict=True):
            if np.isfinite(reference) and single(row) not in taught:
                X.append(row)
                answers.append(reference)
    return np.array(X, np.float64).reshape(-1, train.shape[1]), np.array(answers, np.float64)


def simple(train: dict[str, Any], data: dict[str, Any], name: str, spectra: str, axis: str, reference: str, column: int | None = None) -> Set:
    pick = (lambda a: None if a is None else a[:, column]) if column is not None else (lambda a: a)
    X, y, x = np.asarray(train[spectra], np.float64), np.asarray(pick(train[reference]), np.float64), np.asarray(train[axis], np.float64)
    y, X = known(y, X)
    test = (data.get(f"{spectra}_test"), pick(data.get(f"{reference}_test", data.get("y_test"))))
    X_new, y_new = new_rows(train[spectra], data.get(spectra), pick(data.get(reference)), test)
    return Set(name, X, y, lambda rows: calibrate(X[rows], y[rows], x).predict, X, X_new, y_new)


def idrc(train: dict[str, Any], data: dict[str, Any], instrument: int) -> Set:
    f = {k: np.asarray(v, np.float64) for k, v in train.items()}
    for part in ("cal", "trans"):
        f[f"y_{part}"], f[f"X1_{part}"], f[f"X2_{part}"] = known(f[f"y_{part}"], f[f"X1_{part}"], f[f"X2_{part}"])
    x, y, pairs = f["wavelength_nm"], f["y_cal"], f["y_trans"]
    cal = f"X{instrument}_cal"
    test = (data.get(f"X{instrument}_test"), data.get("y_test"))
    X_new, y_new = new_rows(np.vstack([train[cal], train[f"X{instrument}_trans"]]), data.get(cal), data.get("y_cal"), test)

    def one(rows: NDArray[np.intp]) -> Callable[[Array], Array]:
        return calibrate(np.vstack([f["X1_cal"][rows], f["X1_trans"]]), np.concatenate([y[rows], pairs]), x).predict

    def two(rows: NDArray[np.intp]) -> Callable[[Array], Array]:
        return transferred(f["X1_cal"][rows], y[rows], x, f["X1_trans"], f["X2_trans"], pairs).predict

    return Set(f"idrc_{instrument}", f["X1_cal"], y, one if instrument == 1 else two, f[cal], X_new, y_new)


def sets(train: Path, data: Path) -> Iterator[tuple[str, Callable[[], Set]]]:
    """Each set that both folders have, by its name."""
    a, b = load(train, "idrc2002_tablets.npz"), load(data, "idrc2002_tablets.npz")
    for instrument in (1, 2) if a and b else ():
        yield f"idrc_{instrument}", partial(idrc, a, b, instrument)
    for name, file, spectra, axis, reference in (
        ("ku_nir", "ku_tablets_nir.npz", "X", "wavenumber_cm1", "y_active_pct"),
        ("ku_raman", "ku_tablets_raman.npz", "X", "wavenumber_cm1", "y_active_pct"),
        ("gasoline", "gasoline.npz", "X", "wavelength_nm", "octane"),
    ):
        a, b = load(train, file), load(data, file)
        if a and b:
            yield name, partial(simple, a, b, name, spectra, axis, reference)
    a, b = load(train, "corn.npz"), load(data, "corn.npz")
    if a and b:
        for column, name in enumerate(("moisture", "oil", "protein", "starch")):
            yield f"corn_{name}", partial(simple, a, b, f"corn_{name}", "X_m5", "wavelength_nm", "Y", column)


def judged(s: Set, k: int) -> dict[str, Any]:
    """RMSEP, bias and coverage; residuals for the intervals come from a cross-validation of the whole procedure in both cases."""
    fold = folds(s.y, k, seed=1)
    said = np.empty(len(s.y))
    for i in range(fold.max() + 1):
        out = fold == i
        said[out] = s.fit(np.flatnonzero(~out))(s.measured[out])
    error = said - s.y
    figures: dict[str, Any] = {"n_train": len(s.y), "rmsecv": rmse(error), "folds": k}
    if len(s.y_new):
        p = s.fit(np.arange(len(s.y)))(s.X_new)
        valid = np.isfinite(p)
        e, half = p[valid] - s.y_new[valid], half_width(error)
        # An invalid spectrum gives no number; it is counted, not scored.
        figures |= {"mode": "test", "n": int(valid.sum()), "invalid": int((~valid).sum()), "rmsep": rmse(e), "bias": float(e.mean())}
        figures |= {"coverage_90": float(np.mean(np.abs(e) <= half)), "width_90": 2 * half}
    else:
        widths = crossed(error, fold)
        figures |= {"mode": "cross-validation", "n": len(error), "invalid": 0, "rmsep": rmse(error), "bias": float(error.mean())}
        figures |= {"coverage_90": float(np.mean(np.abs(error) <= widths)), "width_90": float(2 * np.mean(widths))}
    return figures


def fermentation(train: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
    """Calibrate on mixtures, predict the run, set the bias at the second laboratory value; the median of 15 spectra is what counts.

    What `data` does not hold of the run is the same as in `train`.
    """
    data = {k: train[k] for k in ("X_run", "time_run_h", "hplc") if k in train} | data
    axis = np.asarray(train["wavenumber_cm1"], np.float64)
    region = (axis >= 950) & (axis <= 1550)
    X, y = np.asarray(train["X_train"][:, region], np.float64), np.asarray(train["glucose_train"], np.float64)
    run, hours = np.asarray(data["X_run"][:, region], np.float64), np.asarray(data["time_run_h"], np.float64)
    y, X = known(y, X)
    laboratory = np.asarray(np.vstack([data["hplc"], data.get("hplc_test", data["hplc"][:0])]), np.float64)
    laboratory = laboratory[np.isfinite(laboratory[:, :2]).all(axis=1)]
    laboratory = laboratory[np.unique(laboratory[:, 0], return_index=True)[1]]
    first = np.asarray(train.get("hplc", laboratory), np.float64)
    first = first[np.isfinite(first[:, :2]).all(axis=1)]
    if len(first) < 2:
        raise ValueError(f"expected 2 or more laboratory values of the run, found {len(first)}")
    update_h, update = first[np.argsort(first[:, 0], kind="stable")][1, :2]
    p = foreign(X, y, axis[region], run[hours <= update_h])(run)
    smooth = np.array([np.median(p[max(0, i - 14) : i + 1]) for i in range(len(p))])

    def at(h: float) -> float:
        return float(smooth[np.argmin(np.abs(hours - h))])

    plain = np.array([at(h) for h in laboratory[:, 0]]) - laboratory[:, 1]
    updated = np.maximum(plain + laboratory[:, 1] + update - at(update_h), 0.0) - laboratory[:, 1]
    later = laboratory[:, 0] > update_h
    seen = {round(float(t), 4) for t in first[:, 0]}
    new = later & np.array([round(float(t), 4) not in seen for t in laboratory[:, 0]])
    figures = {"mode": "test", "n_train": len(y), "n": int(later.sum()), "rmsep": rmse(updated[later]), "bias": float(updated[later].mean())}
    figures |= {"without_update": rmse(plain), "bias_without_update": float(plain.mean()), "update_h": float(update_h)}
    if new.any() and not new.all():
        figures |= {"n_new": int(new.sum()), "rmsep_new": rmse(updated[new]), "bias_new": float(updated[new].mean())}
    return figures


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--train", type=Path)
    arg.add_argument("--data", type=Path)
    arg.add_argument("--sets", default="", help="only these, separated by commas")
    arg.add_argument("--folds", type=int, default=10, help="folds of the cross-validation; 5 from 200 samples on")
    opt = arg.parse_args()
    if opt.train is None or opt.data is None:
        print("skipped: needs --train DIR --data DIR")
        return
    only = set(opt.sets.split(",")) if opt.sets else set(PUBLISHED)
    figures: dict[str, Any] = {}

    def told(name: str, found: dict[str, Any], begin: float) -> None:
        figures[name] = {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()} | {
            "seconds": round(time.perf_counter() - begin, 1),
            "published": PUBLISHED[name],
        }
        cover = f"cover {found['coverage_90']:.3f}" if "coverage_90" in found else " " * 11
        line = f"{name:14} n {found['n']:4}  rmsep {found['rmsep']:8.4f}  bias {found['bias']:8.4f}  {cover}  {found['mode']:16}"
        print(f"{line}  {PUBLISHED[name]}", flush=True)

    def score(name: str, found: Callable[[], dict[str, Any]]) -> None:
        begin = time.perf_counter()
        try:
            told(name, found(), begin)
        except (ValueError, KeyError, IndexError) as error:  # too few samples, arrays that are not there or do not fit: the others are still scored
            said = f"expected an array {error}, found none" if isinstance(error, KeyError) else str(error)
            figures[name] = {"error": said}
            print(f"{name:14} {said}", flush=True)

    def of_set(made: Callable[[], Set]) -> dict[str, Any]:
        s = made()
        return judged(s, 5 if len(s.y) >= 200 else opt.folds)

    for name, made in sets(opt.train, opt.data):
        if name in only:
            score(name, partial(of_set, made))
    a, b = load(opt.train, "fermentation_mir.npz"), load(opt.data, "fermentation_mir.npz")
    if a and b and "fermentation" in only:
        score("fermentation", lambda: fermentation(a, b))
    print(json.dumps({"benchmark": "pat", "sets": figures}))


if __name__ == "__main__":
    main()
