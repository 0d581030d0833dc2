"""How fast recorded data is replayed: rows of one value every five minutes and rows of five values every second, under the default detector.

    python -m tests.benchmarks.replay [--rows 200000]

Each file is replayed by `edge-agent replay` as a child process, without outputs, with scores, and with scores and records. Prints one JSON line:
microseconds of wall and processor time per row, start of the process included, and how long ten million rows would take.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

START = 1_760_000_000
FORMS = {"sparse": (300, 1), "second": (1, 5)}
"""Seconds between rows and tags of a row."""


def written(folder: Path, name: str, rows: int) -> tuple[Path, Path]:
    """A configuration and a wide file."""
    step, tags = FORMS[name]
    rng = np.random.default_rng(1)
    values = 20 + rng.normal(size=(rows, tags)).cumsum(axis=0) * 0.01 + rng.normal(size=(rows, tags))
    csv, config = folder / f"{name}.csv", folder / f"{name}.yaml"
    table = np.column_stack([START + step * np.arange(rows), values])
    np.savetxt(csv, table, fmt=["%d", *["%.4f"] * tags], delimiter=",", header=",".join(["time", *(f"t{i}" for i in range(tags))]), comments="")
    lines = ["edge: {id: bench, site: bench}", "tags:"]
    lines += [f"  - {{name: t{i}, class: other}}" for i in range(tags)]
    lines += ["models:", '  - {kind: auto, tags: ["t*"], profile: plant}', "alarms:"]
    for i in range(tags):
        lines.append(f"  - {{name: t{i}.high, kind: limit, tag: t{i}, limit: 24, on_delay_s: 2}}")
        lines.append(f"  - {{name: t{i}.unusual, kind: limit, tag: t{i}.auto.alarm, limit: 0.5, priority: 4, advisory: true}}")
    config.write_text("\n".join(lines) + "\n")
    return config, csv


def timed(config: Path, csv: Path, *words: str) -> tuple[float, float]:
    """Seconds of wall and processor time of one replay."""
    program = Path(sys.executable).with_name("edge-agent")
    before, begin = os.times(), time.perf_counter()
    subprocess.run([str(program), "replay", "-c", str(config), "--input", str(csv), *words], check=True, capture_output=True)
    took, after = time.perf_counter() - begin, os.times()
    return took, after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=200_000)
    rows = parser.parse_args().rows
    told: dict[str, object] = {"rows": rows}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for form in FORMS:
            config, csv = written(folder, form, rows)
            for what, words in (
                ("plain", []),
                ("scores", ["--scores", str(folder / "scores.csv")]),
                ("all", ["--scores", str(folder / "scores.csv"), "--records", str(folder / "records.jsonl")]),
            ):
                wall, processor = timed(config, csv, *words)
                told[f"{form}.{what}.us_per_row"] = round(1e6 * wall / rows, 2)
                told[f"{form}.{what}.cpu_us_per_row"] = round(1e6 * processor / rows, 2)
                told[f"{form}.{what}.minutes_of_10M"] = round(wall / rows * 1e7 / 60, 1)
    print(json.dumps(told))


if __name__ == "__main__":
    main()
