"""The rules of the Numenta Anomaly Benchmark (Lavin and Ahmad, 2015): what an alarm in each row is worth, and nested choice of a threshold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PROFILES: Final = {"standard": (1.0, 0.11, 1.0), "low_fp": (1.0, 0.22, 1.0), "low_fn": (1.0, 0.11, 2.0)}
"""Worth of a hit, a false alarm, a miss."""
GROUPS: Final = {"artificialNoAnomaly": "artificial", "artificialWithAnomaly": "artificial"}


def probation(rows: int) -> int:
    """Rows at the start of a file that are never scored."""
    return min(int(0.15 * rows), 750)


def sigmoid(position: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(position > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


@dataclass(frozen=True)
class File:
    """One data file: worth of an alarm in each row, window of each row (-1: none), surprise of each row as the detector said it."""

    name: str
    worth: NDArray[np.float64]
    window: NDArray[np.int64]
    windows: int
    surprise: NDArray[np.float64]

    @classmethod
    def of(cls, name: str, times: Sequence[str], spans: Sequence[Sequence[str]], surprise: NDArray[np.float64]) -> File:
        first: dict[str, int] = {}
        for i, t in enumerate(times):
            first.setdefault(t[:19], i)
        n = len(times)
        row = np.arange(n, dtype=float)
        worth, window = np.full(n, -1.0), np.full(n, -1, np.int64)
        places = [(first[a[:19]], first[b[:19]]) for a, b in spans]
        for k, (left, right) in enumerate(places):
            width = right - left + 1
            end = places[k + 1][0] if k + 1 < len(places) else n
            worth[right + 1 : end] = sigmoid((row[right + 1 : end] - right) / (width - 1))
            worth[left : right + 1] = sigmoid(-(right - row[left : right + 1] + 1) / width) / sigmoid(np.array([-1.0]))
            window[left : right + 1] = k
        worth[: probation(n)] = np.nan
        return cls(name, worth, window, len(spans), surprise)

    @property
    def group(self) -> str:
        folder = self.name.split("/")[0]
        return GROUPS.get(folder, folder)

    def total(self, alarm: NDArray[np.bool_], hit: float, false: float, miss: float) -> tuple[float, int, int]:
        """Sum of worths, windows hit, false alarms."""
        alarm = alarm & ~np.isnan(self.worth)
        outside = alarm & (self.window < 0)
        total, hits = float(self.worth[outside].sum()) * false, 0
        for w in range(self.windows):
            inside = self.worth[alarm & (self.window == w)]
            hits += len(inside) > 0
            total += max(float(inside.max()) * hit, -miss) if len(inside) else -miss
        return total, hits, int(outside.sum())


def gated(surprise: NDArray[np.float64], budget: float, refractory: int, escalation: float = 3.0) -> NDArray[np.bool_]:
    """First rows of findings at another budget than the one that was run."""
    found = np.zeros(len(surprise), np.bool_)
    last, bar = -(1 << 40), 0.0
    for i in np.flatnonzero(np.nan_to_num(surprise) >= budget):
        if i - last > refractory or surprise[i] > escalation * bar:
            found[i], last, bar = True, i, surprise[i]
    return found


def normalised(total: float, windows: int, miss: float = 1.0) -> float:
    """0 for a detector that never speaks, 100 for a perfect one."""
    return 100 * (total + windows * miss) / (windows * (1.0 + miss))


def scored(files: Sequence[File], alarms: Sequence[NDArray[np.bool_]]) -> dict[str, Any]:
    """The three profiles for given alarms, with windows hit and false alarms."""
    windows = sum(f.windows for f in files)
    found: dict[str, Any] = {}
    for profile, worth in PROFILES.items():
        parts = [f.total(a, *worth) for f, a in zip(files, alarms, strict=True)]
        found[profile] = round(normalised(sum(p[0] for p in parts), windows, worth[2]), 2)
        found |= {"hit": sum(p[1] for p in parts), "windows": windows, "false": sum(p[2] for p in parts)}
    return found


def nested(files: Sequence[File], refractory: int) -> dict[str, Any]:
    """Standard score with the budget chosen on one part of the files (curve smoothed by 0.2) and judged on the rest.

    half: 20 random halves within categories, both ways; left_out: each category in turn, pooled.
    """
    budgets = np.round(np.arange(1.6, 4.01, 0.1), 2)
    totals = np.array([[f.total(gated(f.surprise, b, refractory), *PROFILES["standard"])[0] for b in budgets] for f in files])
    windows = np.array([f.windows for f in files])

    def best(part: NDArray[np.intp]) -> int:
        padded = np.pad(totals[part].sum(axis=0), 2, mode="edge")
        return int(np.argmax(np.convolve(padded, np.ones(5), "valid")))

    halves = [normalised(totals[b, best(a)].sum(), windows[b].sum()) for a, b in _halves(files) if windows[a].sum() and windows[b].sum()]
    pooled, by_group = 0.0, {}
    groups = np.array([f.group for f in files])
    for group in dict.fromkeys(groups.tolist()):
        out, rest = np.flatnonzero(groups == group), np.flatnonzero(groups != group)
        if not len(rest):
            continue
        total = float(totals[out, best(rest)].sum())
        pooled += total
        by_group[group] = round(normalised(total, windows[out].sum()), 1) if windows[out].sum() else None
    figures: dict[str, Any] = {"half": round(float(np.mean(halves)), 2), "half_sd": round(float(np.std(halves)), 2)} if halves else {}
    return figures | {"left_out": round(normalised(pooled, windows.sum()), 2) if by_group else None, "by_category": by_group}


def _halves(files: Sequence[File]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    rng = np.random.default_rng(0)
    folders = [f.name.split("/")[0] for f in files]
    for _ in range(20):
        half: list[int] = []
        for folder in sorted(set(folders)):
            mine = rng.permutation([i for i, f in enumerate(folders) if f == folder])
            half += mine[: (len(mine) + int(rng.integers(2))) // 2].tolist()
        a = np.array(sorted(half), np.intp)
        b = np.setdiff1d(np.arange(len(files)), a)
        yield a, b
        yield b, a
