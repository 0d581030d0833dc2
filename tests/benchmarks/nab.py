"""The default detector on the Numenta Anomaly Benchmark, through `edge-agent replay` with one configuration for all files.

`python -m tests.benchmarks.nab --data DIR --out OUT`: DIR holds `data/<category>/<file>.csv` with the columns timestamp, value, and, to be scored,
`labels/combined_windows.json`. The data are copied without labels before anything runs. OUT gets `<category>/<file>.csv` with the columns
timestamp, anomaly_score: 0 but on the first row of a finding. The last line is one JSON object; the figures that tell how the detector does on
files it was not adjusted on are those under "nested".
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from edge_agent.config import load_agent
from models.auto import AutoConfig
from tests.benchmarks._nab_rules import File, nested, scored
from tests.benchmarks._replayed import CONFIGS, column, replay_all

SCALE = 10.0
"""Surprise that is written as an anomaly score of 1."""


def said(path: Path, times: list[str], tag: str, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Surprise and findings by row of the data file; of rows with one time the first has what was said of all."""
    t, score = column(path, f"{tag}.score")
    _, alarm = column(path, f"{tag}.alarm")
    found: dict[np.datetime64, tuple[float, float]] = {}
    for when, s, a in zip(t.astype("datetime64[s]"), np.nan_to_num(score), np.nan_to_num(alarm), strict=True):
        old = found.get(when, (0.0, 0.0))
        found[when] = (max(old[0], s), max(old[1], a))
    pairs = [found.pop(np.datetime64(x.replace(" ", "T"), "s"), (0.0, 0.0)) for x in times]
    return np.array([p[0] for p in pairs]) * budget, np.array([p[1] for p in pairs]) > 0


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, help="folder of the benchmark")
    arg.add_argument("--out", type=Path, help="folder for the scores")
    arg.add_argument("--config", type=Path, default=CONFIGS / "nab.yaml")
    opt = arg.parse_args()
    if opt.data is None or opt.out is None:
        print("skipped: needs --data DIR --out OUT")
        return
    model = load_agent(opt.config).models[0]
    assert isinstance(model, AutoConfig)
    names = sorted(str(p.relative_to(opt.data / "data")) for p in (opt.data / "data").glob("*/*.csv"))
    files: list[File] = []
    alarms = []
    labels_file = opt.data / "labels" / "combined_windows.json"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in names:
            (work / "data" / name).parent.mkdir(parents=True, exist_ok=True)
            (work / "scores" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(opt.data / "data" / name, work / "data" / name)
        seconds = replay_all(opt.config.resolve(), [([work / "data" / n], work / "scores" / n) for n in names])
        labels = json.loads(labels_file.read_text()) if labels_file.exists() else {}
        rows = 0
        for name in names:
            with (work / "data" / name).open(newline="") as handle:
                times = [r["timestamp"] for r in csv.DictReader(handle)]
            surprise, alarm = said(work / "scores" / name, times, f"value.{model.kind}", model.budget)
            rows += len(times)
            path = opt.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as handle:
                writer = csv.writer(handle, lineterminator="\n")
                writer.writerow(["timestamp", "anomaly_score"])
                writer.writerows((t, round(min(s / SCALE, 1.0), 6) if a else 0.0) for t, s, a in zip(times, surprise, alarm, strict=True))
            if name in labels:
                files.append(File.of(name, times, labels[name], surprise))
                alarms.append(alarm)
    figures: dict[str, object] = {"benchmark": "nab", "files": len(names), "rows": rows, "seconds": round(seconds, 1), "budget": model.budget}
    if files and sum(f.windows for f in files):
        figures["as_configured"] = scored(files, alarms)
        figures["nested"] = nested(files, model.refractory)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
