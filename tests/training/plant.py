"""A press with a mode, batches, bad values and an alarm, recorded for an hour; and the configuration that trains on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

T0 = 1_767_225_600
"""2026-01-01T00:00:00Z in seconds."""
N = 3000
CONFIG = """
edge: {site: demo, id: e1, data_dir: data}
sources:
  - {name: history, kind: csv, files: [day.csv], speed: 0}
tags:
  - {name: press1/force, source: history, unit: kN, range: [0, 40], class: gmp_critical, report: {kind: periodic, expected_s: 1}}
  - {name: press1/speed, source: history, unit: r/min}
  - {name: press1/mode, source: history, kind: text, role: mode}
  - {name: press1/batch, source: history, kind: text, role: batch}
models:
  - {kind: ewma, name: force, tags: [press1/force]FILE_EWMA}
  - {kind: pca, name: press1, tags: [press1/force, press1/speed]FILE_PCA}
alarms:
  - {name: press1/force.high, kind: limit, tag: press1/force, limit: 20, deadband: 0.5, on_delay_s: 2, priority: 2}
  - {name: press1/force.shift, kind: limit, tag: press1/force.ewma.z, limit: 5, priority: 3ADVISORY}
http: {port: 0}
"""


def config(folder: Path, *, ewma: str = "", pca: str = "", advisory: bool = False, more: str = "") -> Path:
    """The configuration, with model files where they are named."""
    path = folder / "agent.yaml"
    text = CONFIG.replace("FILE_EWMA", f", file: {ewma}" if ewma else "").replace("FILE_PCA", f", file: {pca}" if pca else "")
    path.write_text(text.replace("ADVISORY", ", advisory: true" if advisory else "") + more, "utf-8")
    return path


def recorded(path: Path, seed: int, *, shift: float = 0.0, n: int = N, t0: int = T0) -> None:
    """One row a second. Cleaning at 500 to 699, batch B2 at 1000 to 1499, bad force at 100 to 109, force above its limit at 2000 to 2019."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    force, speed = 10 + common + 0.1 * rng.normal(size=n), 60 + 2 * common + 0.1 * rng.normal(size=n)
    force[2000:2020] = 25.0
    with path.open("w", encoding="utf-8") as out:
        out.write("time,tag,value,status\n")
        for i in range(n):
            for at, tag, value in ((0, "mode", "production"), (500, "mode", "cleaning"), (700, "mode", "production"),
                                   (0, "batch", "B1"), (1000, "batch", "B2"), (1500, "batch", "B3")):  # fmt: skip
                if i == at:
                    out.write(f"{t0 + i},press1/{tag},{value},0\n")
            out.write(f"{t0 + i},press1/force,{force[i] + shift:.4f},{0x80000000 if 100 <= i < 110 else 0}\n")
            out.write(f"{t0 + i},press1/speed,{speed[i]:.4f},0\n")
