"""Obvious twins of the pipeline's kernels: dictionaries and plain sums."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from dataclasses import dataclass, field


@dataclass
class NaiveScreen:
    """One tag after the other, one value after the other."""

    low: list[float]
    high: list[float]
    simulated: bool
    skew_ns: list[int]
    seen: dict[int, list[tuple[int, bytes]]] = field(default_factory=lambda: defaultdict(list))
    last: dict[int, int] = field(default_factory=dict)
    together: list[tuple[int, int, bytes]] = field(default_factory=list)

    def step(
        self, time_ns: int, tag: int, value: float, status: int, received_ns: int, closed_ns: int, ring: int, remembered: int = 0
    ) -> tuple[str, int]:
        """Fate and marked status of one value."""
        if time_ns > received_ns + self.skew_ns[tag]:
            return "rejected", status
        key = (time_ns, struct.pack("<d", value))
        together = self.together[-remembered:] if remembered else []
        if tag in self.last and time_ns <= self.last[tag] and (key in self.seen[tag] or (tag, *key) in together):
            return "duplicate", status
        full = len(self.seen[tag]) == ring
        if time_ns >= closed_ns or not full or time_ns >= self.seen[tag][0][0]:
            self.seen[tag] = [*self.seen[tag], key][-ring:]
        self.together.append((tag, *key))
        self.last[tag] = max(self.last.get(tag, time_ns), time_ns)
        simulated = status & 0xFFFF0000 == 0x42090000
        severity = 0 if simulated and self.simulated else min(status >> 30, 2)
        marked = status
        if severity < 2 and not math.isfinite(value):
            severity, marked = 2, 0x808C0000
        elif severity == 0 and not self.low[tag] <= value <= self.high[tag]:
            severity = 1
            marked = (0x42090000 if simulated else 0x40940000) | (0x500 if value < self.low[tag] else 0x600)
        elif severity == 0 and abs(value) > 2.0**53:
            severity, marked = 1, 0x40000000
        if time_ns < closed_ns:
            return "late", marked
        return ("good", "uncertain", "bad")[severity], marked


def summary(rows: list[tuple[int, float, int, str]]) -> dict[str, float]:
    """One window's row from (time, value, marked status, fate) of its values."""
    counts = {f"n_{fate}": sum(1 for r in rows if r[3] == fate) for fate in ("good", "uncertain", "bad", "late", "rejected", "duplicate")}
    kept = [(t, v) for t, v, s, fate in rows if fate in ("good", "uncertain", "bad", "late") and s >> 30 < 2]
    values = [v for _, v in kept]
    mean = math.fsum(values) / len(values) if values else 0.0
    first = min(kept, key=lambda r: r[0], default=(0, math.nan))
    last = max(enumerate(kept), key=lambda r: (r[1][0], r[0]), default=(0, (0, math.nan)))[1]
    return counts | {
        "count": len(values),
        "sum": math.fsum(values),
        "m2": math.fsum((v - mean) ** 2 for v in values),
        "min": min(values, default=math.nan),
        "max": max(values, default=math.nan),
        "first": first[1],
        "last": last[1],
        "first_ns": first[0],
        "last_ns": last[0],
        "worst_status": max((s for _, _, s, fate in rows if fate not in ("rejected", "duplicate")), default=0),
    }
