"""Remaining life of fleets on C-MAPSS, one default procedure for all sets, beside published figures.

`python -m tests.benchmarks.cmapss --data DIR --out OUT [--sets FD001,FD003]`: DIR holds train_FD00x.txt.gz, test_FD00x.txt.gz (or without .gz)
and, where it is known, RUL_FD00x.txt. Every set of which training and test are there is trained on its training part alone; OUT/FD00x.txt gets one
remaining life (cycles) per test unit, in order, OUT/FD00x_interval.csv unit, remaining, lower, upper, status. The truth is read only to print the
figures. Prints a table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prognosis.remaining import RemainingLife, train

Unit = tuple[NDArray[np.float64], NDArray[np.float64]]

CAP = 125.0
PUBLISHED = {
    "FD001": "10.97 / 175 (MTSTAN), 12.61 / 274 (DCNN), 16.14 / 338 (LSTM), 18.45 / 1290 (CNN)",
    "FD002": "aim 11",
    "FD003": "10.90 / 188 (MTSTAN), 12.64 / 284 (DCNN), 16.18 / 852 (LSTM), 19.82 / 1600 (CNN)",
    "FD004": "aim 12",
}


def found(folder: Path, name: str) -> Path | None:
    """The file, plain or gzip."""
    return next((p for p in (folder / f"{name}.txt", folder / f"{name}.txt.gz") if p.is_file()), None)


def units(path: Path) -> list[Unit]:
    """Settings (n, 3) and sensors (n, 21) of each unit, in order of their numbers; a cycle that is missing or not whole is as the one before it."""
    rows = np.loadtxt(path, np.float64, ndmin=2)
    found = []
    for u in np.unique(rows[:, 0]):
        part = rows[rows[:, 0] == u]
        whole = np.isfinite(part).all(axis=1)
        part = part[whole] if whole.any() else part
        part = part[np.argsort(part[:, 1], kind="stable")]
        every = np.searchsorted(part[:, 1], np.arange(part[0, 1], part[-1, 1] + 1), side="right") - 1
        found.append((part[every, 2:5], part[every, 5:26]))
    return found


def said(model: RemainingLife, fleet: list[Unit]) -> list[tuple[float, float, float, str]]:
    """Remaining life, lower, upper and status of each unit; one that nothing can be said of gets the fleet's median life less its age."""
    life = float(np.median(np.diff(model.library.begin)))
    out = []
    for settings, values in fleet:
        e = model.estimate(settings, values)
        if np.isfinite(e.remaining):
            out.append((e.remaining, e.lower, e.upper, e.status))
        else:
            out.append((float(np.clip(life - len(values), 0.0, CAP)), 0.0, CAP, e.status))
    return out


def figures(answers: list[tuple[float, float, float, str]], truth: NDArray[np.float64]) -> dict[str, float]:
    """RMSE and PHM08 score against the capped and the raw truth; share of capped truths inside their interval and its mean width."""
    p, low, high = (np.array([a[i] for a in answers]) for i in range(3))
    capped = np.minimum(truth, CAP)
    d = p - capped
    return {
        "rmse": round(float(np.sqrt(np.mean(d**2))), 2),
        "phm_score": round(float(np.sum(np.where(d < 0, np.exp(-d / 13), np.exp(d / 10)) - 1)), 1),
        "rmse_uncapped_truth": round(float(np.sqrt(np.mean((p - truth) ** 2))), 2),
        "coverage": round(float(np.mean((capped >= low - 1e-9) & (capped <= high + 1e-9))), 3),
        "width": round(float(np.mean(high - low)), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--sets", default="FD001,FD002,FD003,FD004")
    opt = parser.parse_args()
    if opt.data is None or opt.out is None:
        print("skipped: needs --data DIR --out DIR")
        return
    opt.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {}
    for name in opt.sets.split(","):
        training, test = found(opt.data, f"train_{name}"), found(opt.data, f"test_{name}")
        if training is None or test is None:
            continue
        start = time.perf_counter()
        model = train(units(training))
        trained = time.perf_counter()
        answers = said(model, units(test))
        (opt.out / f"{name}.txt").write_text("".join(f"{a[0]:.4f}\n" for a in answers))
        lines = [f"{i},{a[0]:.4f},{a[1]:.4f},{a[2]:.4f},{a[3]}\n" for i, a in enumerate(answers, 1)]
        (opt.out / f"{name}_interval.csv").write_text("unit,remaining,lower,upper,status\n" + "".join(lines))
        took = {"train_s": round(trained - start, 1), "predict_ms": round(1000 * (time.perf_counter() - trained) / len(answers), 2)}
        left_out = {f"left_out_{k}": round(v, 3) for k, v in model.figures.items() if k in ("rmse", "coverage")}
        truth = found(opt.data, f"RUL_{name}")
        of = figures(answers, np.loadtxt(truth, np.float64, ndmin=1)) if truth is not None else {}
        result[name] = {**of, **left_out, **took}
        print(f"{name}: {result[name]}\n       published RMSE / PHM08: {PUBLISHED.get(name, '-')}", flush=True)
    if not result:
        raise SystemExit(f"{opt.data}: expected train_FD00x.txt.gz and test_FD00x.txt.gz, found none")
    print(json.dumps({"benchmark": "cmapss", "cap": CAP, "sets": result}))


if __name__ == "__main__":
    main()
