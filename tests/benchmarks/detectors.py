"""Our detectors beside those of River, PySAD and rrcf on the same rows in the same run: area under the curve and time.

`python -m tests.benchmarks.detectors --data DIR [--rows N]`: DIR holds the folders nab and skab. Single tags: the first N rows of every NAB
file, scored behind the probation against its windows; values go to the peers scaled to 0..1 by what came before. Several tags: every SKAB file,
scored behind row 400, all detectors told nothing but the rows. AUC is the mean over the files of the chance that a row inside a labelled
window scores above one outside. PySAD's xStream and rrcf take milliseconds a row: they get every fourth file of single tags
and every fourth of several, and beside them stands what ours reach on those files.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydantic
from numpy.typing import NDArray

from models import GROUPS, AnyModel
from models.auto import Auto, AutoConfig
from models.unit import Unit, UnitConfig
from tests.benchmarks._nab_rules import probation

Array = NDArray[np.float64]
Detector = Callable[[NDArray[np.int64], Array], Array]
"""Times (n,) and rows (n, k) to scores (n,)."""
Files = list[tuple[NDArray[np.int64], Array, NDArray[np.bool_], int]]
MODEL: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(AnyModel)
TRAIN = 400


def auc(score: Array, label: NDArray[np.bool_]) -> float | None:
    """Area under the curve by ranks, ties counted half; None when there is but one class."""
    if label.all() or not label.any():
        return None
    order = np.argsort(score, kind="stable")
    _, place, count = np.unique(score[order], return_inverse=True, return_counts=True)
    ends = np.cumsum(count)
    rank = np.empty(len(score))
    rank[order] = (ends - (count - 1) / 2)[place]
    n = int(label.sum())
    return float((rank[label].sum() - n * (n + 1) / 2) / (n * (len(label) - n)))


def auto(time_ns: NDArray[np.int64], rows: Array) -> Array:
    out = np.empty((len(rows), len(Auto.outputs) + len(Auto.reasons)))
    bank = Auto([AutoConfig(tags=("a",), warmup=max(probation(len(rows)), 40))])
    bank.step(np.zeros(len(rows), np.int32), time_ns, np.ascontiguousarray(rows[:, 0]), np.ones(len(rows), np.uint8), out)
    return np.nan_to_num(out[:, 0])


def unit(time_ns: NDArray[np.int64], rows: Array) -> Array:
    model = Unit(UnitConfig(tags=("*",), name="unit", train_rows=TRAIN), rows.shape[1])
    out = np.empty((len(rows), len(Unit.outputs) + len(Unit.reasons) + rows.shape[1]))
    model.step(time_ns, np.ascontiguousarray(rows), np.ones(rows.shape, np.uint8), out)
    return np.nan_to_num(out[:, 0])


def group(kind: str, told: str, **options: Any) -> Detector:
    """One of our models of several tags; `told` is the output or reason that is compared."""

    def run(time_ns: NDArray[np.int64], rows: Array) -> Array:
        made: Any = GROUPS[kind]
        config = MODEL.validate_python({"kind": kind, "tags": ["*"], "name": "unit", "train_rows": TRAIN, **options})
        model = made(config, rows.shape[1])
        names = [*made.outputs, *made.reasons]
        out = np.empty((len(rows), len(names) + rows.shape[1]))
        model.step(time_ns, np.ascontiguousarray(rows), np.ones(rows.shape, np.uint8), out)
        return np.nan_to_num(out[:, names.index(told)])

    return run


def scaled(rows: Array) -> Array:
    """Rows within 0 .. 1 by the least and the largest value of each column so far."""
    low, high = np.minimum.accumulate(rows), np.maximum.accumulate(rows)
    return np.where(high > low, (rows - low) / np.where(high > low, high - low, 1.0), 0.0)


def river(make: Callable[[], Any], univariate: bool = False) -> Detector:
    """A River estimator, fed row by row; scored before it learns."""

    def run(_: NDArray[np.int64], rows: Array) -> Array:
        model = make()
        scores = np.zeros(len(rows))
        names = [str(j) for j in range(rows.shape[1])]
        for i, row in enumerate((rows if univariate else scaled(rows)).tolist()):
            if univariate:
                scores[i] = model.score_one(None, row[0])
                model.learn_one(None, row[0])
                continue
            x = dict(zip(names, row, strict=True))
            scores[i] = model.score_one(x)
            model.learn_one(x)
        return np.nan_to_num(scores)

    return run


def pysad(make: Callable[[int], Any]) -> Detector:
    """A PySAD model of so many columns, fed row by row; scored before it learns."""

    def run(_: NDArray[np.int64], rows: Array) -> Array:
        model = make(rows.shape[1])
        scores = np.zeros(len(rows))
        for i, row in enumerate(scaled(rows)):
            scores[i] = float(np.squeeze(model.score_partial(row))) if i else 0.0
            model.fit_partial(row)
        return np.nan_to_num(scores)

    return run


def forest(_: NDArray[np.int64], rows: Array) -> Array:
    """Robust random cut forest, 40 trees of 256 rows (rrcf's own streaming example, without shingles)."""
    import rrcf

    trees = [rrcf.RCTree() for _ in range(40)]
    scores = np.zeros(len(rows))
    for i, row in enumerate(rows):
        for tree in trees:
            if len(tree.leaves) > 256:
                tree.forget_point(i - 256)
            tree.insert_point(row, index=i)
            scores[i] += tree.codisp(i) / len(trees)
    return scores


def peers(univariate: bool) -> dict[str, Detector]:
    from river import anomaly

    found: dict[str, Detector] = {
        "River half-space trees": river(lambda: anomaly.HalfSpaceTrees(seed=1)),
        "River one-class SVM": river(lambda: anomaly.OneClassSVM(nu=0.1)),
    }
    if univariate:
        found["River Gaussian scorer"] = river(lambda: anomaly.GaussianScorer(window_size=750, grace_period=100), univariate=True)
        found["River absolute deviation"] = river(anomaly.StandardAbsoluteDeviation, univariate=True)
    if importlib.util.find_spec("pysad"):
        from pysad import models

        found["PySAD half-space trees"] = pysad(lambda k: models.HalfSpaceTrees(feature_mins=[0.0] * k, feature_maxes=[1.0] * k))
        found["PySAD LODA"] = pysad(lambda _: models.LODA())
    return found


def slow_peers() -> dict[str, Detector]:
    """Those that take milliseconds a row."""
    found: dict[str, Detector] = {}
    if importlib.util.find_spec("rrcf"):
        found["rrcf"] = forest
    if importlib.util.find_spec("pysad"):
        from pysad import models

        found["PySAD xStream"] = pysad(lambda _: models.xStream())
    return found


def nab(folder: Path, most: int) -> Files:
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text())
    found = []
    for name, spans in sorted(windows.items()):
        with (folder / "data" / name).open(newline="") as handle:
            rows = list(csv.DictReader(handle))[:most]
        t = np.array([r["timestamp"].replace(" ", "T") for r in rows], "datetime64[ns]")
        label = np.zeros(len(rows), np.bool_)
        for a, b in spans:
            label |= (t >= np.datetime64(a.replace(" ", "T"))) & (t <= np.datetime64(b.replace(" ", "T")))
        found.append((t.astype(np.int64), np.array([[float(r["value"])] for r in rows]), label, probation(len(rows))))
    return found


def skab(folder: Path) -> Files:
    found = []
    for path in sorted(p for p in folder.glob("*/*.csv") if p.parent.name != "anomaly-free"):
        with path.open(newline="") as handle:
            rows = list(csv.DictReader(handle, delimiter=";"))
        tags = [c for c in rows[0] if c not in ("datetime", "anomaly", "changepoint")]
        t = np.array([r["datetime"].replace(" ", "T") for r in rows], "datetime64[ns]").astype(np.int64)
        label = np.array([float(r["anomaly"] or 0) == 1 for r in rows])
        found.append((t, np.array([[float(r[c]) for c in tags] for r in rows]), label, TRAIN))
    return found


def measured(files: Files, detector: Detector) -> tuple[list[float | None], float]:
    """AUC of each file, None where there is but one class, and microseconds a row."""
    detector(files[0][0][:50].copy(), files[0][1][:50])  # loading and compiling is not the detector's time
    begin = time.process_time()
    scores = [detector(t, rows) for t, rows, _, _ in files]
    seconds = time.process_time() - begin
    areas = [auc(s[skip:], label[skip:]) for (_, _, label, skip), s in zip(files, scores, strict=True)]
    return areas, 1e6 * seconds / sum(len(f[0]) for f in files)


def mean(areas: list[float | None]) -> float:
    return round(float(np.mean([a for a in areas if a is not None])), 3)


def compared(files: Files, ours: dict[str, Detector], others: dict[str, Detector], every: int) -> dict[str, Any]:
    """Figures of each detector; the first of ours is the one that times are compared with."""
    figures: dict[str, Any] = {}
    own: dict[str, list[float | None]] = {}
    base = 0.0
    for name, detector in (ours | others).items():
        areas, us = measured(files, detector)
        base = base or us
        own[name] = areas
        figures[name] = {"auc": mean(areas), "us_per_row": round(us, 2), "times_first": round(us / base, 1)}
        print(f"{name:28}{figures[name]['auc']:8.3f}{us:12.2f} us", flush=True)
    for name, detector in slow_peers().items():
        areas, us = measured(files[::every], detector)
        beside = {name: mean(own[name][::every]) for name in ours}
        figures[name] = {"auc": mean(areas), "us_per_row": round(us, 2), "times_first": round(us / base, 1), "files": len(areas)}
        figures[name]["auc_of_ours_on_these_files"] = beside
        print(f"{name + f', every {every}. file':28}{mean(areas):8.3f}{us:12.2f} us   ours there: {beside}", flush=True)
    return {"rows": sum(len(f[0]) for f in files), "files": len(files), **figures}


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, help="folder with nab and skab")
    arg.add_argument("--rows", type=int, default=4100, help="rows of each NAB file")
    opt = arg.parse_args()
    if opt.data is None:
        print("skipped: needs --data DIR")
        return
    print("single tags")
    single = compared(nab(opt.data / "nab", opt.rows), {"auto": auto}, peers(univariate=True), 4)
    print("several tags")
    ours = {"unit": unit, "mahalanobis": group("mahalanobis", "score"), "pca": group("pca", "spe")}
    ours |= {"half_space_trees": group("half_space_trees", "score"), "random_cut_forest": group("random_cut_forest", "score")}
    several = compared(skab(opt.data / "skab"), ours, peers(univariate=False), 4)
    print(json.dumps({"benchmark": "detectors", "single_tags": single, "several_tags": several}))


if __name__ == "__main__":
    main()
