"""How the Skoltech benchmark (SKAB v0.9) judges outlier flags and change points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

WIDTH: Final = np.timedelta64(60, "s")
PROFILES: Final = {"standard": (1.0, -0.11, -1.0), "low_fp": (1.0, -0.22, -1.0), "low_fn": (1.0, -0.11, -2.0)}


@dataclass(frozen=True)
class File:
    """Rows behind the training part: times, labels and what was said."""

    times: NDArray[np.datetime64]
    anomaly: NDArray[np.bool_]
    change: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    called: NDArray[np.bool_]


def scored(files: Sequence[File]) -> dict[str, Any]:
    """F1, false and missed alarm rates in per cent, and the change-point scores with missed and false counts."""
    y = np.concatenate([f.anomaly for f in files])
    p = np.concatenate([f.flagged for f in files])
    tp, fp, fn, tn = int((y & p).sum()), int((~y & p).sum()), int((y & ~p).sum()), int((~y & ~p).sum())
    raw, total, missed, false = dict.fromkeys(PROFILES, 0.0), 0, 0, 0
    for f in files:
        calls = f.times[f.called]
        spans: list[tuple[Any, Any]] = []
        for t in f.times[f.change]:
            spans.append((max(spans[-1][1], t) if spans else t, t + WIDTH))
        total += len(spans)
        outside = sum(not any(a <= t <= b for a, b in spans) for t in calls)
        false += outside
        hits = [next((t for t in calls if a <= t <= b), None) for a, b in spans]
        missed += sum(h is None for h in hits)
        for profile, (hit, wrong, miss) in PROFILES.items():
            raw[profile] += wrong * outside
            for h, (a, b) in zip(hits, spans, strict=True):
                raw[profile] += miss if h is None else _reward(float((h - a) / (b - a)), hit, wrong)
    change = {k: round(100 * (raw[k] - total * v[2]) / (total * (v[0] - v[2])), 2) for k, v in PROFILES.items()} if total else {}
    return {
        "f1": round(tp / max(tp + (fp + fn) / 2, 1e-9), 4),
        "far_percent": round(100 * fp / max(fp + tn, 1), 2),
        "mar_percent": round(100 * fn / max(fn + tp, 1), 2),
        "change": change | {"of": total, "missed": missed, "false": false},
    }


def _reward(share: float, hit: float, wrong: float) -> float:
    x = -np.pi / 2 + np.pi * min(int(share * 1000), 999) / 999
    return float((hit - wrong) / 2 * (1 - np.tanh(x) / np.tanh(np.pi / 2)) + wrong)


def clock(files: Sequence[File], seconds: int) -> dict[str, Any]:
    """The change-point figures of a blind call every so many seconds: what any detector must beat."""
    blind = []
    for f in files:
        called = np.zeros(len(f.times), np.bool_)
        last = f.times[0] - np.timedelta64(seconds, "s")
        for i, t in enumerate(f.times):
            if t - last >= np.timedelta64(seconds, "s"):
                called[i], last = True, t
        blind.append(File(f.times, f.anomaly, f.change, f.flagged, called))
    found: dict[str, Any] = scored(blind)["change"]
    return found
