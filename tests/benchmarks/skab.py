"""Models of several tags on the Skoltech anomaly benchmark, through `edge-agent replay` with one configuration for all files.

`python -m tests.benchmarks.skab --data DIR --out OUT`: DIR holds `<group>/<n>.csv` (`;` between cells; datetime, the tags, and the labels anomaly and
changepoint, which are taken off before anything runs). Everything is learned from the first 400 rows of each file; a file that has no more is not
scored. OUT gets `<group>/<n>.csv` with datetime;anomaly;changepoint. The last line is one JSON object; beside the change-point score stand missed and
false calls, and those of blind clocks.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks._replayed import CONFIGS, column, replay_all
from tests.benchmarks._skab_rules import File, clock, scored

TRAIN = 400
LABELS = ("anomaly", "changepoint")


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, help="folder of the benchmark")
    arg.add_argument("--out", type=Path, help="folder for the flags")
    arg.add_argument("--config", type=Path, default=CONFIGS / "skab.yaml")
    opt = arg.parse_args()
    if opt.data is None or opt.out is None:
        print("skipped: needs --data DIR --out OUT")
        return
    names = sorted(str(p.relative_to(opt.data)) for p in opt.data.glob("*/*.csv") if p.parent.name != "anomaly-free")
    tables: dict[str, list[dict[str, str]]] = {}
    judged: list[File] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in names:
            with (opt.data / name).open(newline="") as handle:
                tables[name] = list(csv.DictReader(handle, delimiter=";"))
            tags = [c for c in tables[name][0] if c not in ("datetime", *LABELS)]
            for part in ("data", "scores"):
                (work / part / name).parent.mkdir(parents=True, exist_ok=True)
            with (work / "data" / name).open("w", newline="") as handle:
                writer = csv.writer(handle, lineterminator="\n")
                writer.writerow(["time", *(t.replace(" ", "") for t in tags)])
                writer.writerows([r["datetime"], *(r[t] for t in tags)] for r in tables[name])
        seconds = replay_all(opt.config.resolve(), [([work / "data" / n], work / "scores" / n) for n in names])
        for name, rows in tables.items():
            when, ratio = column(work / "scores" / name, "circulation.unit.ratio")
            _, call = column(work / "scores" / name, "circulation.change.call")
            said = {t: (r > 1.0, c > 0.0) for t, r, c in zip(when.astype("datetime64[s]"), np.nan_to_num(ratio), np.nan_to_num(call), strict=True)}
            times = np.array([r["datetime"].replace(" ", "T") for r in rows], "datetime64[s]")
            flags = np.array([said.get(t, (False, False)) for t in times])
            path = opt.out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as handle:
                handle.write("datetime;anomaly;changepoint\n")
                handle.writelines(f"{r['datetime']};{int(a)};{int(c)}\n" for r, (a, c) in zip(rows, flags, strict=True))
            if len(rows) > TRAIN and all(label in rows[0] for label in LABELS):
                truth = [np.array([float(r[label] or 0) == 1.0 for r in rows])[TRAIN:] for label in LABELS]
                judged.append(File(times[TRAIN:], truth[0], truth[1], flags[TRAIN:, 0], flags[TRAIN:, 1]))
    figures: dict[str, object] = {"benchmark": "skab", "files": len(names), "seconds": round(seconds, 1)}
    if judged:
        figures |= scored(judged) | {"blind_clock": {f"{s} s": clock(judged, s) for s in (45, 60, 90)}}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
