"""Batch MSPC on recorded batches of a dryer, each judged by a model of all the others; then again with a sensor that is off from its middle on.

`python -m tests.benchmarks.batches --data DIR`: DIR holds `dryer.csv.gz` (batch_id, ClockTime in samples, and tags). No batch
is labelled: what is counted without a fault is what a model says of batches that did not teach it. A fault is 4 spreads of the trajectory in one tag.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.batch import Batch, BatchConfig, Run

MINUTE = 60_000_000_000
OFF = 4.0


def recorded(path: Path) -> tuple[list[str], list[Run]]:
    """Tags and batches of the file."""
    with gzip.open(path, "rt", newline="") as handle:
        rows = list(csv.DictReader(handle))
    tags = [c for c in rows[0] if c not in ("batch_id", "ClockTime")]
    runs = []
    for batch in dict.fromkeys(r["batch_id"] for r in rows):
        mine = [r for r in rows if r["batch_id"] == batch]
        at = np.array([int(r["ClockTime"]) for r in mine], np.int64) * MINUTE
        runs.append(Run(0, int(at[0]), at, np.array([[float(r[t]) for t in tags] for r in mine])))
    return tags, runs


def judged(model: Batch, run: Run, value: NDArray[np.float64]) -> NDArray[np.float64]:
    model.tell("batch", "", run.begin_ns - 2)
    model.tell("batch", "B", run.begin_ns)
    out = np.empty((len(value), len(model.outputs) + len(model.reasons) + value.shape[1]))
    model.step(run.time_ns, np.ascontiguousarray(value), np.ones(value.shape, np.uint8), out)
    return out


def figures(tags: list[str], runs: list[Run]) -> dict[str, Any]:
    config = BatchConfig(name="dryer", tags=tuple(tags), file="x")
    evaluated = above = alarmed = faults = found = 0
    seconds = 0.0
    for i, run in enumerate(runs):
        begin = time.perf_counter()
        learned, _ = Batch.train_batches(config, runs[:i] + runs[i + 1 :])
        seconds += time.perf_counter() - begin
        model = Batch(config, len(tags))
        model.settle(learned)
        out = judged(model, run, run.value)
        said = out[:, 3] == 1
        evaluated += int(said.sum())
        above += int((out[said, :2].max(axis=1) > 1).sum())
        alarmed += bool((out[said, 2] == 1).any())
        middle = len(run.value) // 2
        for j in range(len(tags)):
            value = run.value.copy()
            value[middle:, j] += OFF * float(np.median(learned["sd"][0][:, j]))
            fault = Batch(config, len(tags))
            fault.settle(learned)
            wrong = judged(fault, run, value)
            faults += 1
            found += bool(((wrong[middle:, 2] == 1) & (out[middle:, 2] != 1)).any())
    return {
        "batches": len(runs), "rows_evaluated": evaluated, "above_percent": round(100 * above / evaluated, 2), "batches_alarmed": alarmed,
        "faults": faults, "found_percent": round(100 * found / faults, 1), "train_s": round(seconds / len(runs), 3),
    }  # fmt: skip


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, help="folder with dryer.csv.gz")
    opt = arg.parse_args()
    if opt.data is None:
        print("skipped: needs --data DIR")
        return
    tags, runs = recorded(opt.data / "dryer.csv.gz")
    print(json.dumps({"benchmark": "batches", **figures(tags, runs)}))


if __name__ == "__main__":
    main()
