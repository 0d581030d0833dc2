"""Power of the default detector: faults put into recorded streams of plants in normal operation.

`python -m tests.benchmarks.injection --data DIR`: DIR holds the folders skab, tep, pharma_tablets, hydraulic, femto (what is not there is left out).
Six kinds of faults, measured in standard deviations of the 200 rows before: spike (6, one row), burst (4, three rows), level (3), drift
(0 to 5 in 200 rows), variance (three times), frozen. The budget of each profile is set so that clean streams give so many findings in 1,000
rows, mean of the sets.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.auto import Auto, AutoConfig
from tests.benchmarks._nab_rules import gated
from tests.benchmarks._plant_streams import WITHIN, Array, faults, streams, warmup

REFRACTORY = 120


def surprise(x: Array, rows: int, profile: Any) -> Array:
    out = np.empty((len(x), len(Auto.outputs) + len(Auto.reasons)))
    bank = Auto([AutoConfig(tags=("a",), warmup=rows, profile=profile, calendar=False)])
    bank.step(np.zeros(len(x), np.int32), np.arange(len(x), dtype=np.int64) * 10**9, x, np.ones(len(x), np.uint8), out)
    return np.nan_to_num(out[:, len(Auto.outputs)])


def rate(clean: dict[str, dict[str, Array]], budget: float) -> float:
    """Findings in 1,000 clean rows, mean of the sets."""
    found = []
    for tags in clean.values():
        findings = sum(int(gated(e, budget, REFRACTORY).sum()) for e in tags.values())
        found.append(1000 * findings / sum(len(e) - warmup(len(e)) for e in tags.values()))
    return float(np.mean(found))


def budget_for(clean: dict[str, dict[str, Array]], wanted: float) -> float:
    low, high = 0.5, 6.5
    for _ in range(24):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if rate(clean, middle) > wanted else (low, middle)
    return high


def power(tried: list[tuple[str, int, Array]], budget: float) -> dict[str, float]:
    """Per cent found of each kind; a finding counts when it begins at the fault or behind it."""
    found: dict[str, list[bool]] = {kind: [] for kind in WITHIN}
    for kind, at, e in tried:
        alarm: NDArray[np.bool_] = gated(e, budget, REFRACTORY)
        found[kind].append(bool(alarm[at:].any()))
    per_kind = {kind: 100 * float(np.mean(hits)) for kind, hits in found.items() if hits}
    return {kind: round(p, 1) for kind, p in per_kind.items()} | {"mean": round(float(np.mean(list(per_kind.values()))), 1)}


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data", type=Path, help="folder with the data sets")
    arg.add_argument("--each", type=int, default=165, help="faults of each kind")
    arg.add_argument("--seed", type=int, default=1)
    arg.add_argument("--profiles", default="auto,plant,light")
    opt = arg.parse_args()
    if opt.data is None:
        print("skipped: needs --data DIR")
        return
    sets = streams(opt.data)
    put = list(faults(sets, opt.each, opt.seed))
    figures: dict[str, Any] = {"benchmark": "injection", "tags": {n: len(t) for n, t in sets.items()}}
    figures |= {"faults_of_each_kind": opt.each, "seed": opt.seed}
    for profile in opt.profiles.split(","):
        clean = {n: {t: surprise(x, warmup(len(x)), profile) for t, x in tags.items()} for n, tags in sets.items()}
        tried = [(kind, at, surprise(y, warmup(len(sets[n][t])), profile)) for n, t, kind, at, y in put]
        for per_thousand in (0.5, 1.0):
            budget = budget_for(clean, per_thousand)
            figures[f"{profile} at {per_thousand}"] = {"budget": round(budget, 2)} | power(tried, budget)
        figures[f"{profile} rates"] = {b: round(rate(clean, b), 2) for b in (2.2, 2.5, 2.8, 3.1)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
