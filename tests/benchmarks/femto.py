"""Bearings run to failure (PRONOSTIA, IEEE PHM 2012): first alarm and remaining life, one default procedure.

`python -m tests.benchmarks.femto --train DIR --data DIR --out OUT`: both folders hold Bearing*.npz, and beside each its *_features.csv.gz where all
snapshots are known. A bearing of --data is judged by a model of the bearings of --train that ran to failure (no `test_cut`), without itself; the JSON
line says who is not judged, with fewer than two of those. Both options may name one folder. OUT/alarms.csv: bearing, first_alarm_s
(empty: none), life_s. OUT/predictions.csv: bearing, predicted_s, actual_s, lower_s, upper_s at its `test_cut` (last snapshot that is known), or,
where that is -1, at 50 to 95 % of its life, as bearing@share. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prognosis.degradation import CUTS, Degradation, accuracy, learn
from models.prognosis.waveform import features

PERIOD_S = 10.0
PUBLISHED = "challenge test bearings: 0.31 (Sutrisno 2012, winner), 0.36 (Hong 2014), 0.26 (Guo 2017), 0.43 (Lei 2016); papers average other bearings"


def levels(path: Path) -> NDArray[np.float64]:
    """(mean x^4)^(1/4) of the horizontal signal, g, of each snapshot; where only some are stored, the last known one stands."""
    table = path.with_name(f"{path.stem}_features.csv.gz")
    if table.is_file():
        with gzip.open(table, "rt") as file:
            names = file.readline().strip().split(",")
            rows = np.loadtxt(file, np.float64, delimiter=",", ndmin=2)
        known: NDArray[np.float64] = rows[:, names.index("h_rms")] * rows[:, names.index("h_kurtosis")] ** 0.25
        return known
    with np.load(path) as f:
        waves = f["horizontal_i16"].astype(np.float64) * float(f["scale_g"])
        index, n = f["snapshot_index"].astype(np.int64), int(f["n_snapshots"])
    level = features(waves, full_scale=0.0).level
    place = np.searchsorted(index, np.arange(min(n, int(index[-1]) + 2)), side="right") - 1
    return level[np.maximum(place, 0)]


def bearings(folder: Path) -> dict[str, tuple[NDArray[np.float64], int, int]]:
    """Levels, snapshots of the whole life and test cut of each bearing."""
    out = {}
    for path in sorted(folder.glob("Bearing*.npz")):
        with np.load(path) as f:
            out[path.stem] = (levels(path), int(f["n_snapshots"]), int(f["test_cut"]) if "test_cut" in f.files else -1)
    return out


def predictions(name: str, model: Degradation, level: NDArray[np.float64], life: int, cut: int) -> list[tuple[str, float, float, float, float]]:
    """(key, said, actual, lower, upper) in seconds at the bearing's cut, or at shares of its life."""
    known = [(name, cut + 1)] if cut >= 0 else [(f"{name}@{c:.2f}", int(c * life)) for c in CUTS]
    out = []
    for key, n in known:
        said = model.life(level[:n])
        out.append((key, PERIOD_S * said.remaining, PERIOD_S * (life - n), PERIOD_S * said.lower, PERIOD_S * said.upper))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--train", "--data", "--out"):
        parser.add_argument(option, type=Path)
    opt = parser.parse_args()
    if opt.train is None or opt.data is None or opt.out is None:
        print("skipped: needs --train DIR --data DIR --out DIR")
        return
    failed = {name: level for name, (level, _, cut) in bearings(opt.train).items() if cut < 0}
    data = bearings(opt.data)
    if not data:
        raise SystemExit(f"{opt.data}: expected Bearing*.npz, found none")
    opt.out.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[str, float, float, float, float]] = []
    alarms: list[tuple[str, float | None, float]] = []
    limits: dict[str, float] = {}
    not_judged: dict[str, str] = {}
    for name, (level, life, cut) in data.items():
        try:
            model = learn([history for other, history in failed.items() if other != name])
        except ValueError as error:
            not_judged[name] = str(error)
            continue
        first = model.first(level)
        alarms.append((name, None if first is None else PERIOD_S * first, PERIOD_S * (life - 1)))
        rows += predictions(name, model, level, life, cut)
        limits[name] = round(model.limit, 2)
    (opt.out / "alarms.csv").write_text(
        "bearing,first_alarm_s,life_s\n" + "".join(f"{n},{'' if f is None else f'{f:.0f}'},{s:.0f}\n" for n, f, s in alarms)
    )
    (opt.out / "predictions.csv").write_text(
        "bearing,predicted_s,actual_s,lower_s,upper_s\n" + "".join(f"{k},{p:.1f},{a:.1f},{low:.1f},{high:.1f}\n" for k, p, a, low, high in rows)
    )
    told = [r for r in rows if r[2] > 0]
    p, a, low, high = (np.array([r[i] for r in told]) for i in range(1, 5))
    shares = {n: None if f is None else round(f / s, 3) for n, f, s in alarms}
    result: dict[str, Any] = {
        "benchmark": "femto", "phm2012_score": round(float(accuracy(a, p).mean()), 3) if told else None, "interval": 0.8,
        "coverage": round(float(np.mean((a >= low) & (a <= high))), 3) if told else None, "first_alarm_share_of_life": shares,
        "alarm_in_last_half": sum(s is not None and s >= 0.5 for s in shares.values()),
        "before_30_percent": sum(s is not None and s < 0.3 for s in shares.values()),
        "bearings": len(alarms), "not_judged": not_judged, "limit_g": limits, "published": PUBLISHED,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
