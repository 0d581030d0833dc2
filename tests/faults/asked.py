"""What a long run is asked for: its seed and its seconds, on the command line or from the environment, where `make` puts them."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence


def seed_and_seconds(program: str, does: str, seconds: float, words: Sequence[str] | None = None) -> tuple[int, float]:
    """--seed and --seconds, else SEED and SECONDS, else a drawn seed and `seconds`.

    >>> seed_and_seconds("soak", "Soak.", 60.0, ["--seed", "7", "--seconds", "2.5"])
    seed 7, 2.5 s
    (7, 2.5)
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.faults.{program}", description=does)
    # A shell counts its own seconds in SECONDS: `make` hands ours on under another name.
    given = os.environ.get("SECONDS_") or os.environ.get("SECONDS") or seconds
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED") or random.randrange(1_000_000)), help="default: SEED, or drawn")
    parser.add_argument("--seconds", type=float, default=float(given), help=f"default: SECONDS, or {seconds:g}")
    found = parser.parse_args(words)
    print(f"seed {found.seed}, {found.seconds:g} s", flush=True)
    return found.seed, found.seconds
