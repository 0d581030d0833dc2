"""`edge-agent replay` as a child process over many files, two at a time, in a folder that holds nothing but the data."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CONFIGS = Path(__file__).parents[2] / "configs" / "bench"


def replay(config: Path, files: Sequence[Path], scores: Path) -> None:
    """One run; RuntimeError with its words when it fails."""
    program = Path(sys.executable).with_name("edge-agent")
    inputs = [a for f in files for a in ("--input", str(f))]
    done = subprocess.run([str(program), "replay", "-c", str(config), *inputs, "--scores", str(scores)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"replay of {files[-1]}: {done.stderr.strip()}")


def replay_all(config: Path, jobs: Sequence[tuple[Sequence[Path], Path]]) -> float:
    """All runs; returns the seconds they took."""
    begin = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        for ended in [pool.submit(replay, config, files, scores) for files, scores in jobs]:
            ended.result()
    return time.perf_counter() - begin


def column(path: Path, name: str) -> tuple[NDArray[np.datetime64], NDArray[np.float64]]:
    """Times and one column of a score file; NaN where it says nothing."""
    with path.open(newline="") as handle:
        rows = csv.reader(handle)
        at = next(rows).index(name)
        found = [(r[0], float(r[at]) if r[at] else np.nan) for r in rows]
    return np.array([t for t, _ in found], "datetime64[ns]"), np.array([x for _, x in found], np.float64)
