"""Small calibration sets: do the intervals of a soft sensor still cover when it was made of 20, 30 or 50 samples?

`python -m tests.benchmarks.small_sets --data DIR [--repeats N] [--methods pls,default] [--sizes 20,30,50] [--sets idrc_1,ku_nir]`: DIR holds
idrc2002_tablets.npz, ku_tablets_nir.npz, ku_tablets_raman.npz and gasoline.npz. Again and again a sensor is calibrated on samples drawn at random,
as `edge-agent model train` does it, and judges all the others. Printed are the share of valid answers whose interval of 90 % holds the reference, its
spread from one drawing to the next, what exact intervals of so few samples would spread by luck alone, the same share of all answers, the share that
was valid, the width, and the error of all against the RMSECV that the command told. One JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_agent.training.calibrate import calibrated
from edge_agent.training.spectra_table import Table
from models.spectra.choose import rmse
from models.spectra.sensor import Sensor

Array = NDArray[np.float64]

SETS = {
    "idrc_1": ("idrc2002_tablets.npz", "X1_cal", "wavelength_nm", "y_cal"),
    "ku_nir": ("ku_tablets_nir.npz", "X", "wavenumber_cm1", "y_active_pct"),
    "ku_raman": ("ku_tablets_raman.npz", "X", "wavenumber_cm1", "y_active_pct"),
    "gasoline": ("gasoline.npz", "X", "wavelength_nm", "octane"),
}
COVERAGE = 0.9


def drawn(X: Array, y: Array, axis: Array, n: int, method: str, rng: np.random.Generator) -> dict[str, float]:
    """Calibrate on n samples, judge the others."""
    rows = rng.permutation(len(y))
    train, rest = np.sort(rows[:n]), rows[n:]
    table = Table(axis, np.ascontiguousarray(X[train]), y[train], tuple(map(str, train)), (), tuple(map(str, train)))
    made = calibrated(
        table, name="a", tag="a", unit="", method=method, coverage=COVERAGE, saturation=math.inf, trained_by="a", trained_ns=0, reason=""
    )  # fmt: skip
    found, _ = Sensor(made.file.arrays).judge(np.ascontiguousarray(X[rest]))
    ok = np.isfinite(found[:, 0])
    truth = y[rest][ok]
    inside = (found[ok, 1] <= truth) & (truth <= found[ok, 2])
    about = made.file.calibration
    valid = found[ok, 5] == 1.0
    width, rmsep = 2 * float(about["half_width"]), rmse(found[ok, 0] - truth)
    return {
        "coverage": float(inside[valid].mean()), "coverage_of_all": float(inside.mean()), "valid": float(valid.mean()), "width": width,
        "rmsep": rmsep, "rmsecv": float(about["rmsecv"]),
    }  # fmt: skip


def by_luck(n: int) -> float:
    """Standard deviation of the coverage of exact intervals of n residuals: Beta(k, n + 1 - k), k the rank taken (Vovk 2012)."""
    k = math.ceil((n + 1) * COVERAGE - 1e-9)
    return math.sqrt(k * (n + 1 - k) / ((n + 1) ** 2 * (n + 2)))


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path)
    arg.add_argument("--repeats", type=int, default=10)
    arg.add_argument("--methods", default="pls,default")
    arg.add_argument("--sizes", default="20,30,50")
    arg.add_argument("--sets", default=",".join(SETS))
    opt = arg.parse_args()
    if opt.data is None:
        print("skipped: needs --data DIR")
        return
    figures: dict[str, Any] = {}
    for name in opt.sets.split(","):
        file, spectra, axis, reference = SETS[name]
        if not (opt.data / file).is_file():
            continue
        with np.load(opt.data / file) as arrays:
            X, y, x = (np.asarray(arrays[k], np.float64) for k in (spectra, reference, axis))
        for n in map(int, opt.sizes.split(",")):
            if n > 0.7 * len(y):
                continue
            for method in opt.methods.split(","):
                rng = np.random.default_rng(n)
                runs = [drawn(X, y, x, n, method, rng) for _ in range(opt.repeats)]
                of = {k: float(np.mean([r[k] for r in runs])) for k in runs[0]}
                spread = float(np.std([r["coverage"] for r in runs], ddof=1)) if len(runs) > 1 else 0.0
                told = f"of all {of['coverage_of_all']:.3f}  valid {of['valid']:.2f}  rmsep {of['rmsep']:7.3f}  rmsecv told {of['rmsecv']:7.3f}"
                told += f"  width {of['width']:7.3f}"
                cover = f"cover {of['coverage']:.3f} +- {spread:.3f} (by luck {by_luck(n):.3f})"
                print(f"{name:9} {method:8} n {n:3}  {cover}  {told}  {opt.repeats} drawings", flush=True)
                figures[f"{name} {method} {n}"] = {k: round(v, 4) for k, v in of.items()} | {"spread": round(spread, 4), "drawings": opt.repeats}
    print(json.dumps({"benchmark": "small_sets", "coverage_asked": COVERAGE, "sets": figures}))


if __name__ == "__main__":
    main()
