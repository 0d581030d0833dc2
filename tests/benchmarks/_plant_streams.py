"""Recorded streams of plants in normal operation, and faults put into them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WITHIN: Final = {"spike": 8, "burst": 12, "level": 100, "variance": 100, "frozen": 100, "drift": 200}
"""Rows within which each kind of fault must be found."""
RECENT: Final = 200
"""Rows whose standard deviation measures a fault; they lie before it."""
MOST: Final = 10_000
DRAWS: Final = 50
"""Tags and rows tried for one fault at the most."""


def streams(data: Path) -> dict[str, dict[str, Array]]:
    """Tags of five data sets by name; only what is there."""
    found = {name: make(data / name) for name, make in _SETS.items() if (data / name).is_dir()}
    return {name: tags for name, tags in found.items() if tags}


def warmup(rows: int) -> int:
    """Rows before the first score."""
    return min(750, int(0.3 * rows))


def _skab(folder: Path) -> dict[str, Array]:
    with (folder / "anomaly-free" / "anomaly-free.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter=";"))
    return {name: np.array([float(r[name]) for r in rows]) for name in rows[0] if name != "datetime"}


def _tep(folder: Path) -> dict[str, Array]:
    table = _table(folder / "d00_te.dat.gz")
    return {f"XMEAS{i + 1}": table[:, i].copy() for i in range(12)}


def _tablets(folder: Path) -> dict[str, Array]:
    names = ("main_comp", "pre_comp", "tbl_fill", "SREL", "stiffness", "ejection")
    columns: dict[str, list[float]] = {n: [] for n in names}
    with gzip.open(folder / "Process_3.csv.gz", "rt", newline="") as handle:
        for row in csv.DictReader(handle, delimiter=";"):
            if float(row["tbl_speed"] or 0) > 0 and all(row[n] for n in names):
                for n in names:
                    columns[n].append(float(row[n]))
                if len(columns[names[0]]) == MOST:
                    break
    return {n: np.array(c) for n, c in columns.items()}


def _hydraulic(folder: Path) -> dict[str, Array]:
    profile = _table(folder / "profile.txt.gz")
    sound = (profile[:, 0] == 100) & (profile[:, 1] == 100) & (profile[:, 2] == 0)  # cooler, valve and pump as new: one operating state
    return {n: _table(folder / f"{n}.txt.gz")[sound].ravel() for n in ("TS1", "TS2", "TS3", "TS4", "VS1", "CE", "CP", "SE")}


def _femto(folder: Path) -> dict[str, Array]:
    found = {}
    for bearing in ("Bearing1_1", "Bearing1_2", "Bearing2_1", "Bearing2_2", "Bearing3_2"):
        with gzip.open(folder / f"{bearing}_features.csv.gz", "rt", newline="") as handle:
            rows = list(csv.DictReader(handle))
        for name in ("h_rms", "h_kurtosis", "v_peak"):
            found[f"{bearing}.{name}"] = np.array([float(r[name]) for r in rows[: len(rows) // 2]])
    return found


def _table(path: Path) -> Array:
    with gzip.open(path, "rt") as handle:
        table: Array = np.loadtxt(handle)
    return table


_SETS: Final[dict[str, Callable[[Path], dict[str, Array]]]] = {
    "skab": _skab, "tep": _tep, "pharma_tablets": _tablets, "hydraulic": _hydraulic, "femto": _femto
}  # fmt: skip


def faulty(kind: str, x: Array, at: int, sign: float) -> Array:
    """The stream with a fault of one kind that begins in row `at`, cut where it must have been found."""
    y = x[: at + WITHIN[kind]].copy()
    s = float(x[at - RECENT : at].std())
    n = len(y) - at
    if kind == "spike":
        y[at] += sign * 6 * s
    elif kind == "burst":
        y[at : at + 3] += sign * 4 * s
    elif kind == "level":
        y[at:] += sign * 3 * s
    elif kind == "drift":
        y[at:] += sign * 5 * s * np.arange(1, n + 1) / 200
    elif kind == "frozen":
        y[at:] = x[at]
    else:
        for i in range(at, len(y)):
            mean = float(x[max(i - 4, 0) : i + 5].mean())
            y[i] = mean + 3 * (x[i] - mean)
    return y


def faults(sets: dict[str, dict[str, Array]], per_kind: int, seed: int) -> Iterator[tuple[str, str, str, int, Array]]:
    """(set, tag, kind, row, stream with the fault), per_kind of each kind, spread evenly over the sets.

    Where the fault would change no value (a tag that stands still: its deviation is 0, and frozen it is the same), tag and row are drawn anew.
    """
    rng = np.random.default_rng(seed)
    for kind in WITHIN:
        for i in range(per_kind):
            name = list(sets)[i % len(sets)]
            usable = {t: x for t, x in sets[name].items() if len(x) > warmup(len(x)) + RECENT + WITHIN[kind] + 1}
            if not usable:
                continue
            for _ in range(DRAWS):
                tag = list(usable)[int(rng.integers(len(usable)))]
                x: Any = usable[tag]
                first = max(warmup(len(x)), RECENT)
                at = int(rng.integers(first, len(x) - WITHIN[kind]))
                y = faulty(kind, x, at, float(rng.choice([-1.0, 1.0])))
                if not np.array_equal(y[at:], x[at : len(y)]):
                    yield name, tag, kind, at, y
                    break
