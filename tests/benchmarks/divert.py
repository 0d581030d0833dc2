"""The divert decision against the truth of the simulated line, for every fault and several seeds.

    python -m tests.benchmarks.divert [--seeds N] [--seconds S]

Prints a line per run and, last, one line of JSON: grams accepted although outside 95 to 105 % of label claim, good material lost beyond what the
start of the line costs, and by how much the edge's accounts differ from the line's own.
"""

from __future__ import annotations

import argparse
import json

from simulators.continuous_faults import LINE_FAULTS
from tests.benchmarks._divert import closed_loop


def main() -> None:
    """Run every fault with every seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3600)
    args = parser.parse_args()
    print(f"{'fault':16} seed  made kg  outside kg  accepted outside g  good lost kg  (start {'kg':>4})  accounts differ g  reasons  against kg")
    worst = {"accepted_outside_g": 0.0, "stuck_accepted_outside_g": 0.0, "accounts_g": 0.0}
    lost: dict[str, float] = {}
    made = 0.0
    for seed in range(1, args.seeds + 1):
        start_kg = 0.0
        for fault in ("", *LINE_FAULTS):
            run = closed_loop(seed, fault, seconds=args.seconds)
            line, edge = run["line"], run["edge"]
            if not fault:
                start_kg = line["diverted_good_kg"]
            differ = line["accepted_kg"] - edge["accepted_kg"], line["diverted_kg"] - edge["diverted_kg"] - edge["unconfirmed_kg"]
            apart = 1000.0 * max(abs(d) for d in differ)
            outside_g = line["accepted_outside_kg"] * 1000
            key = "stuck_accepted_outside_g" if fault == "diverter_stuck" else "accepted_outside_g"
            worst[key], worst["accounts_g"] = max(worst[key], outside_g), max(worst["accounts_g"], apart)
            lost[run["fault"]] = max(lost.get(run["fault"], 0.0), line["diverted_good_kg"] - (start_kg if fault else 0.0))
            made = line["out_kg"]
            print(
                f"{run['fault']:16} {seed:4}  {line['out_kg']:7.2f}  {line['outside_kg']:10.3f}  {outside_g:18.1f}"
                f"  {line['diverted_good_kg'] - start_kg:12.3f}  ({start_kg:10.3f})  {apart:17.1f}  {run['reasons']:7}  {edge['against_kg']:10.3f}",
                flush=True,
            )
    print(json.dumps({"made_kg": made, **{k: round(v, 1) for k, v in worst.items()}, "good_lost_kg": {k: round(v, 3) for k, v in lost.items()}}))


if __name__ == "__main__":
    main()
