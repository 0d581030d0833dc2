"""Promised and observed: findings of a shared alarm budget on data without faults.

    python -m tests.benchmarks.budget [--data DIR] [--days 16]

Simulated: one position with 20 tags, values every 10 s with lag-one correlation 0, .9 and .99, a daily cycle on half of them, under `auto` and one
`budget`. Recorded, with --data DIR (folders skab, tep, pharma_tablets, hydraulic; what is not there is left out): the clean streams, one row taken as
one second, blocks of 10 rows. Findings are counted on the second half of each stream; before it thresholds are learned, and they go on learning.
Per tag: what each tag says; together: what the operator gets when what begins while another finding of the position lasts is one message.
Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.auto import Auto, AutoConfig
from models.budget import DAY_S, Budget, BudgetConfig
from tests.benchmarks._plant_streams import streams, warmup

S = 1_000_000_000
Array = NDArray[np.float64]


def line(days: float, phi: float, seed: int) -> list[Array]:
    """20 tags of a quiet plant, a value every 10 s."""
    rng = np.random.default_rng(seed)
    n = int(days * 8640)
    found = []
    for tag in range(20):
        noise = rng.normal(size=n) * np.sqrt(1 - phi * phi)
        x = np.empty(n)
        last = 0.0
        for i in range(n):
            last = phi * last + noise[i]
            x[i] = last
        found.append(50 + x + (2 * np.sin(2 * np.pi * np.arange(n) / 8640) if tag % 2 else 0))
    return found


def scores(x: Array, step_ns: int, rows: int) -> Array:
    """What `auto` says of one stream; NaN while it learns."""
    out = np.empty((len(x), len(Auto.outputs) + len(Auto.reasons)))
    bank = Auto([AutoConfig(tags=("a",), warmup=rows, profile="plant", calendar=step_ns > S)])
    bank.step(np.zeros(len(x), np.int32), np.arange(len(x), dtype=np.int64) * step_ns, x, np.ones(len(x), np.uint8), out)
    return out[:, 0].copy()


def findings(tags: list[Array], step_ns: int, apart_s: float, per_day: float) -> dict[str, float]:
    """Promised and observed findings in the second half of streams of one position."""
    count, promised, busy = 0, 0.0, np.zeros(0, np.bool_)
    for e in tags:
        bank = Budget([BudgetConfig(tags=("a",), per_day=per_day, apart_s=apart_s, among=len(tags), settle_h=48.0 if step_ns > S else 0.0)])
        out = np.empty((len(e), 4))
        said = np.isfinite(e)
        bank.step(np.zeros(len(e), np.int32), np.arange(len(e), dtype=np.int64) * step_ns, e, said.astype(np.uint8), out)
        half = max(len(e) // 2, int(np.argmax(np.isfinite(out[:, 0]))) if np.isfinite(out[:, 0]).any() else len(e))
        lasts = np.nan_to_num(out[half:, 0]) == 1
        count += int((lasts & ~np.append([False], lasts[:-1])).sum())
        promised += per_day / len(tags) * len(lasts) * step_ns / S / DAY_S
        both = np.zeros(max(len(busy), len(lasts)), np.bool_)
        both[: len(busy)] |= busy
        both[: len(lasts)] |= lasts
        busy = both
    together = int((busy & ~np.append([False], busy[:-1])).sum()) if len(busy) else 0
    return {"promised": round(promised, 1), "observed": count, "together": together}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--days", type=float, default=16.0)
    opt = parser.parse_args()
    told: dict[str, object] = {"benchmark": "budget", "days": opt.days}
    for phi in (0.0, 0.9, 0.99):
        tags = [scores(x, 10 * S, 2000) for x in line(opt.days, phi, 7)]
        for per_day in (20.0, 5.0, 1.0):
            told[f"line, correlation {phi}, {per_day:g} a day"] = findings(tags, 10 * S, 300.0, per_day)
    for name, sets in (streams(opt.data) if opt.data is not None else {}).items():
        tags = [scores(x, S, warmup(len(x))) for x in sets.values() if len(x) >= 900]
        if not tags:
            continue
        for per_thousand in (8.0, 4.0, 2.0):
            told[f"{name}, {len(tags)} tags, {per_thousand:g} in 1,000 rows"] = findings(tags, S, 10.0, per_thousand * DAY_S / 1000)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
