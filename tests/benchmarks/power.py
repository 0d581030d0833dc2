"""Power of every monitor with its default configuration: the fault it exists for, at three sizes, in simulated streams.

    python -m tests.benchmarks.power [--streams N] [--seed N] [KIND ...]

For each fault, in white noise and in noise that is correlated from row to row: findings in 1,000 clean rows and, in brackets, the per cent of rows on
which the condition is met; per cent of faults found in time at each size and, in brackets, the median delay in rows; the same of a limit of three
sigma on the values, or of what else stands where the monitor would not. A fault counts as found where the condition begins to be met in time; where
it was met before, it has to end first. The JSON also has the per cent of clean streams in which one comes in that time by chance.
Faults, sizes and times are those of `tests/power/`. Prints a
table and one JSON line.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.power.beside import BESIDE
from tests.power.recorded import RECORDS
from tests.power.tags import TAGS
from tests.power.trial import Flags, Trial, begun, found, three_sigma
from tests.power.units import UNITS

Seen = list[tuple[Any, int]]


def siegmund(shift: float, h: float = 5.0, k: float = 0.5) -> float:
    """Average run length of a two-sided CUSUM of known mean and sigma (Siegmund 1985).

    >>> round(siegmund(0.0)), round(siegmund(1.0), 1)
    (465, 10.3)
    """

    def one(mean: float) -> float:
        b, d = h + 1.166, mean - k
        return b * b if d == 0 else (math.exp(-2 * d * b) + 2 * d * b - 1) / (2 * d * d)

    return 1 / (1 / one(shift) + 1 / one(-shift))


def measured(calls: Callable[[Any], Flags], t: Trial, clean: Seen, faulty: list[Seen]) -> dict[str, Any]:
    """Findings in 1,000 clean rows, share found by chance, and of each size the share found and the median delay."""
    judged = [(calls(x), at) for x, at in clean]
    said = sum(int(begun(c)[t.ready :].sum()) for c, _ in judged)
    out: dict[str, Any] = {"clean": round(1000 * said / sum(len(c) - t.ready for c, _ in judged), 2)}
    out["standing"] = round(100 * sum(int(c[t.ready :].sum()) for c, _ in judged) / sum(len(c) - t.ready for c, _ in judged), 1)
    out["chance"] = round(100 * float(np.mean([found(c, at, t.within) is not None for c, at in judged])))
    rows = [[found(calls(x), at, t.within) for x, at in streams] for streams in faulty]
    hits = [[r for r in r3 if r is not None] for r3 in rows]
    out["found"] = [round(100 * len(h) / len(r)) for h, r in zip(hits, rows, strict=True)]
    out["delay"] = [float(np.median(h)) if h else None for h in hits]
    return out


def tried(t: Trial, phi: float, streams: int, seed: int) -> dict[str, Any]:
    """One monitor and its peer on the same streams."""
    n = max(4, streams // t.cost)
    seen = [[t.stream(np.random.default_rng((seed, i)), phi, size) for i in range(n)] for size in (0.0, *t.sizes)]
    peer = t.peer or (three_sigma(t.ready) if t.ready >= 60 and isinstance(seen[0][0][0], np.ndarray) else None)
    out = {"fault": t.fault, "sizes": t.sizes, "within": t.within, "phi": phi, "streams": n} | measured(t.calls, t, seen[0], seen[1:])
    return out | ({"peer": measured(peer, t, seen[0], seen[1:])} if peer else {})


def told(m: dict[str, Any]) -> str:
    """Share found of each size and, behind it, the median delay."""
    return ", ".join(f"{p}" + (f" ({d:g})" if d is not None else "") for p, d in zip(m["found"], m["delay"], strict=True))


def row(kind: str, each: list[dict[str, Any]]) -> str:
    """One line of the table: a fault, in noise of each correlation."""
    t = each[0]
    clean = " / ".join(f"{m['clean']:g} ({m['standing']:g})" for m in each)
    beside = " / ".join(f"{m['peer']['clean']:g}" for m in each if "peer" in m)
    peer = f"{beside} | {told(t['peer'])}" if beside else " | "
    sizes = ", ".join(f"{s:.3g}" for s in t["sizes"])
    second = told(each[1]) if len(each) > 1 else ""
    return f"| `{kind}` | {t['fault']}: {sizes} | {t['within']} | {clean} | {told(t)} | {second} | {peer} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("kinds", nargs="*")
    opt = parser.parse_args()
    every = {**TAGS, **UNITS, **RECORDS, **BESIDE}
    figures: dict[str, Any] = {"benchmark": "power", "streams": opt.streams, "seed": opt.seed}
    print("| monitor | fault: sizes | rows | clean (per cent of rows) | found, white | found, correlated | peer: clean | peer: found, white |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in opt.kinds or every:
        for t in every[kind]:
            each = [tried(t, phi, opt.streams, opt.seed) for phi in t.phis]
            figures.setdefault(kind, []).extend(each)
            print(row(kind, each), flush=True)
    figures["cusum, known mean and sigma (Siegmund)"] = {f"{s:g}": round(siegmund(s), 1) for s in (0.0, 0.5, 1.0, 2.0)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
