"""A model of the whole plant on the Tennessee Eastman process, through `edge-agent replay` with one configuration for all files.

`python -m tests.benchmarks.tep --data DIR --out OUT`: DIR holds `d00.dat.gz` (normal operation, 52 x 500) and `dNN_te.dat.gz` (960 x 52, one row per
3 min, a fault after row 160 where NN is not 00). Each test file is replayed behind d00, from which model and limit are learned; a pause lies between.
OUT gets `dNN_te.csv` with the column alarm (1 where the ratio of `unit` or of `canonical_variates` to its limit is above 1). The last line is one
JSON object, with the figures of each model alone beside those of both.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks._replayed import CONFIGS, column, replay_all

TAGS = [*(f"XMEAS{i}" for i in range(1, 42)), *(f"XMV{i}" for i in range(1, 12))]
BEGIN = np.datetime64("2026-01-01T00:00:00", "s")
STEP = np.timedelta64(180, "s")
KINDS = ("unit", "canonical_variates")
PAUSE = 500
"""Steps between the end of the normal file and the test file."""
ONSET, RUN, MINUTES = 160, 6, 3.0
HARD = (3, 9, 15)
CVA_DELAYS = {1: 9, 2: 45, 4: 3, 5: 3, 6: 3, 7: 3, 8: 60, 10: 69}
"""Minutes, canonical variate analysis (Russell, Chiang and Braatz, 2000)."""


def read(path: Path) -> NDArray[np.float64]:
    """(rows, 52)."""
    with gzip.open(path, "rt") as handle:
        table = np.loadtxt(handle)
    return table.T if table.shape[0] == len(TAGS) else table


def write(path: Path, rows: NDArray[np.float64], first: int) -> None:
    with path.open("w") as handle:
        handle.write(",".join(["time", *TAGS]) + "\n")
        for i, row in enumerate(rows):
            handle.write(",".join([str(BEGIN + STEP * (first + i)), *(repr(float(x)) for x in row)]) + "\n")


def delay(alarm: NDArray[np.bool_]) -> float | None:
    """Minutes from the fault to the first of RUN alarms in succession."""
    runs = np.flatnonzero(np.convolve(alarm[ONSET:], np.ones(RUN, int), "valid") == RUN)
    return float((runs[0] + 1) * MINUTES) if len(runs) else None


def figures(alarms: dict[int, NDArray[np.bool_]]) -> dict[str, Any]:
    faults = {n: a for n, a in alarms.items() if n}
    found = {n: {"detected": round(float(a[ONSET:].mean()), 4), "delay_min": delay(a), "cva_delay_min": CVA_DELAYS.get(n)} for n, a in faults.items()}
    easy = [f["detected"] for n, f in found.items() if n not in HARD]
    return {
        "mean_detected_without_3_9_15": round(float(np.mean(easy)), 4) if easy else None,
        "far_normal_percent": round(100 * float(alarms[0].mean()), 2) if 0 in alarms else None,
        "far_before_percent": round(100 * float(np.mean([a[:ONSET].mean() for a in faults.values()])), 2) if faults else None,
        "faults": found,
    }


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, help="folder of the benchmark")
    arg.add_argument("--out", type=Path, help="folder for the alarms")
    arg.add_argument("--config", type=Path, default=CONFIGS / "tep.yaml")
    opt = arg.parse_args()
    if opt.data is None or opt.out is None:
        print("skipped: needs --data DIR --out OUT")
        return
    opt.out.mkdir(parents=True, exist_ok=True)
    alarms: dict[str, dict[int, NDArray[np.bool_]]] = {kind: {} for kind in ("both", *KINDS)}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        normal = read(opt.data / "d00.dat.gz")
        write(work / "d00.csv", normal, 0)
        names = sorted(p.name.removesuffix(".dat.gz") for p in opt.data.glob("d[0-9][0-9]_te.dat.gz"))
        for name in names:
            write(work / f"{name}.csv", read(opt.data / f"{name}.dat.gz"), len(normal) + PAUSE)
        seconds = replay_all(opt.config.resolve(), [([work / "d00.csv", work / f"{n}.csv"], work / f"{n}.scores") for n in names])
        for name in names:
            for kind in KINDS:
                times, ratio = column(work / f"{name}.scores", f"plant.{kind}.ratio")
                alarms[kind][int(name[1:3])] = np.nan_to_num(ratio[times >= BEGIN + STEP * (len(normal) + PAUSE)]) > 1.0
            alarm = np.logical_or(*(alarms[kind][int(name[1:3])] for kind in KINDS))
            (opt.out / f"{name}.csv").write_text("alarm\n" + "".join(f"{int(a)}\n" for a in alarm))
            alarms["both"][int(name[1:3])] = alarm
    alone = {kind: figures(alarms[kind]) for kind in KINDS}
    print(json.dumps({"benchmark": "tep", "files": len(names), "seconds": round(seconds, 1), **figures(alarms["both"]), "alone": alone}))


if __name__ == "__main__":
    main()
