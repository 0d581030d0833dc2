"""`python -m tests.faults`: make every fault happen in its long form and write the table `docs/faults.md`.

--seed, --faults and --small say what to do; `make faults` gives them as SEED, FAULTS and SMALL in the environment. The last line of output is a
JSON object; exit code 1 when a promise was broken. Rows of faults that were not chosen, or whose promise was broken, stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tests.faults.outcome import FAULTS, Outcome, suffer
from tests.faults.register import ALL

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- table: written by `make faults` -->\n", "<!-- end of table -->\n"


HEAD = ("| fault | promised | happened | lost | duplicated | s | run |", "|---|---|---|---|---|---|---|")


def row(outcome: Outcome, run: str) -> str:
    """One line of the table."""
    cells = (outcome.fault, outcome.promised, outcome.happened, _cell(outcome.lost), _cell(outcome.duplicated), f"{outcome.seconds:.0f}", run)
    return "| " + " | ".join(cells) + " |"


def updated(page: str, outcomes: Sequence[Outcome], run: str) -> str:
    """The page with the rows of these outcomes anew; rows of faults that are registered and were not made to happen now stay."""
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    rows = {line[2:].split(" | ")[0]: line for line in old.splitlines() if line.startswith("| ") and line != HEAD[0]}
    rows |= {outcome.fault: row(outcome, run) for outcome in outcomes}
    return before + BEGIN + "\n".join([*HEAD, *(rows[name] for name in FAULTS if name in rows)]) + "\n" + END + after


def _cell(count: int | None) -> str:
    return "not tested" if count is None else str(count)


def asked(words: Sequence[str] | None = None) -> argparse.Namespace:
    """seed, faults (parts of names) and small; what is not said comes from the environment."""
    names = "\n".join(f"  {name}" for name in ALL)
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", formatter_class=argparse.RawDescriptionHelpFormatter, epilog=f"faults:\n{names}",
        description="Make faults happen, in their long forms unless --small is said, and write their rows into docs/faults.md.",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.randrange(1_000_000)), help="default: SEED, or drawn")
    parser.add_argument("--faults", default=os.environ.get("FAULTS") or "", help="parts of names, separated by commas; default: FAULTS, or all")
    parser.add_argument("--small", action="store_true", default=bool(os.environ.get("SMALL")), help="the small forms; default: whether SMALL is set")
    return parser.parse_args(words)


def main() -> int:
    """Run them one after the other."""
    options = asked()
    seed, long = options.seed, not options.small
    wanted = [part.strip() for part in options.faults.split(",") if part.strip()]
    chosen = [f for name, f in FAULTS.items() if not wanted or any(part in name for part in wanted)]
    if not chosen:
        print(f"--faults: expected parts of names of faults, found {options.faults!r}", file=sys.stderr)
        return 2
    print(f"seed {seed}, {len(chosen)} of {len(ALL)} faults", flush=True)
    outcomes, broken, began = [], [], time.monotonic()
    for one in chosen:
        with tempfile.TemporaryDirectory(prefix="pharmedge-fault-") as folder:
            try:
                outcome = suffer(one, seed, Path(folder), long=long)
            except (AssertionError, subprocess.SubprocessError):
                broken.append(one.name)
                print(f"BROKEN  {one.name}: promised: {one.promised}\n{traceback.format_exc()}", flush=True)
                continue
        if outcome.lost or outcome.duplicated:
            broken.append(one.name)
            print(f"BROKEN  {one.name}: lost {outcome.lost}, duplicated {outcome.duplicated}: {outcome.happened}", flush=True)
            continue
        outcomes.append(outcome)
        PAGE.write_text(updated(PAGE.read_text("utf-8"), [outcome], f"seed {seed}, {'long' if long else 'small'}"), "utf-8")
        print(f"{outcome.seconds:6.1f} s  {outcome.fault}: {outcome.happened}; lost {outcome.lost}, duplicated {outcome.duplicated}", flush=True)
    print(json.dumps({"seed": seed, "seconds": round(time.monotonic() - began, 1), "broken": broken, "outcomes": [asdict(o) for o in outcomes]}))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
