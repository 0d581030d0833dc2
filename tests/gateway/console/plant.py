"""A small line with live values for tests of the console: `Plant` answers the read interface from arithmetic alone.

Values are a function of time, so any span can be asked for; a thread tells the changes. Everything is simulated and marked so.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gateway.query import Asked, ModeAsked, NotFound, Subscription
from gateway.rows import (
    AlarmRow,
    Change,
    LastValue,
    ModeRow,
    SeriesRow,
    TagRow,
    Value,
)
from gateway.targets import TooMany
from tests.gateway.console.alarmed import SIMULATED, Alarmed
from tests.gateway.console.continuous import DiverterSignal, diverter
from tests.gateway.console.line import SIGNALS, S, Signal
from tests.gateway.console.reported import Reported

SENSOR_FAILURE = 0x808C0000


@dataclass
class Plant(Alarmed, Reported):
    """The store of the tests. `spare` adds quiet tags, `standing` adds standing alarms."""

    spare: int = 0
    standing: int = 0
    diverting: bool = False
    """With a continuous line, while a disturbance is at its diverter."""
    clock: Any = time.time_ns
    period_s: float = 0.25
    name: str = "press1"
    subscriptions: set[Subscription] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    """Edges that are not heard."""
    refuse: bool = False
    hostile: str = ""
    not_ready: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    mode_rows: list[ModeRow] = field(default_factory=list)
    mode_ends: dict[str, int] = field(default_factory=dict)
    modes_asked: list[ModeAsked] = field(default_factory=list)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    """Why actions were refused; empty for those that were done."""
    earlier: int = 0
    """Batches of the press before the two that are there always."""
    answer_s: float = 0.3
    """Seconds until the edge answers an action."""

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.started_ns = self.clock()
        self.versions = "0.1.0"
        self.signals: dict[str, Signal] = {s.key: s for s in SIGNALS}
        for i in range(self.spare):
            s = Signal(f"hall{i // 50:02d}/point{i % 50:02d}", "Cel", 0, 50, 1, 20 + i % 7, 0.2, f"Point {i}", f"测点 {i}", klass="environment")
            self.signals[s.key] = s
        if self.diverting:
            self.signals |= {s.key: s for s in diverter(self.started_ns)}
        if self.hostile:
            s = Signal(
                f"press1/{self.hostile}", "kN", 0, 40, 2, 12, 0.1, self.hostile, self.hostile, klass="gmp_critical", limits=(("high", 16.0, 2),)
            )
            self.signals[s.key] = s
        self.occurrences: dict[str, AlarmRow] = {}
        self._held: dict[str, tuple[int, Value, int]] = {}
        for i in range(self.standing):
            self.raise_alarm(f"hall{i // 50:02d}/point{i % 50:02d}", "high", 1 + i % 4, ago_s=float(i + 10))

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="plant", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self.period_s):
            self.tell()

    def last(self, s: Signal) -> tuple[int, Value, int]:
        now = self.clock()
        if s.key in self.silent:
            return self._held.setdefault(s.key, (now - 8 * S, self._value(s, now), SIMULATED))
        if s.texts:
            step = int(s.text_s * S)
            return now // step * step, s.text(now), SIMULATED
        step = int((s.period_s or 1.0) * S)
        at = now // step * step
        if s.key in self.bad:
            return at, None, SENSOR_FAILURE
        return at, self._value(s, at), SIMULATED

    def _value(self, s: Signal, at: int) -> Value:
        standing = [a for a in self.occurrences.values() if a["tag"] == s.name and a["edge"] == s.edge and a["state"] in ("UNACK", "ACKED")]
        lift = float(standing[0]["value"] or 0) - s.mean if standing else 0.0
        return float(s.values(np.array([at]))[0]) + lift

    def tell(self, alarms: dict[str, AlarmRow] | None = None, tags: bool = False) -> None:
        values = {} if alarms else {s.key: self.last(s) for s in self.signals.values() if s.key not in self.silent}
        change: Change = {"values": values, "alarms": alarms or {}, "edges": {} if alarms else {e["edge"]: e for e in self.edges()}, "tags": tags}
        for subscription in list(self.subscriptions):
            subscription.offer_from_thread(change)

    def tags(self) -> list[TagRow]:
        return [self._tag(s) for s in self.signals.values()]

    def _tag(self, s: Signal) -> TagRow:
        at, value, status = self.last(s)
        quality: Any = "stale" if s.key in self.silent else "bad" if s.key in self.bad else "good"
        last: LastValue = {"time_ns": at, "value": value, "status": status, "quality": quality, "received_ns": at + S // 20}
        unit = s.name.partition("/")[0]
        return {
            "key": s.key,
            "edge": s.edge,
            "name": s.name,
            "unit": s.unit,
            "decimals": s.decimals,
            "range": (s.low, s.high) if s.high > s.low else None,
            "kind": "text" if s.texts else "numeric",
            "class": s.klass,
            "path": f"demo/solids/line1/{unit}",
            "description": {"en": s.en, "zh": s.zh} if s.en else {},
            "role": s.role,
            "version": 1,
            "record": "raw",
            "report": {"kind": "periodic" if s.period_s else "by_exception", "expected_s": s.period_s},
            "derived_from": list(s.derived_from),
            "model": getattr(s, "model", "ewma" if s.derived_from else ""),
            "limits": [{"alarm": f"{s.name}.{side}", "side": side, "limit": limit, "priority": p} for side, limit, p in s.limits],
            "last": last,
        }

    def series_in(self, store: str, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        if store == "long":
            raise TooMany("ask for a shorter span")
        if store != "influx":
            raise NotFound(f"store: expected the name of a target that is read, found {store!r}")
        return self.series(key, from_ns, to_ns, points)

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        s = self.signals.get(key)
        if s is None:
            raise NotFound(f"there is no tag {key!r}")
        end = min(to_ns, self.clock())
        row: SeriesRow = {
            "tag": key,
            "from_ns": from_ns,
            "to_ns": to_ns,
            "level": "raw",
            "time_ns": [],
            "n": [],
            "mean": [],
            "min": [],
            "max": [],
            "first": [],
            "last": [],
            "n_bad": [],
            "n_uncertain": [],
            "worst_status": [],
            "text": [],
        }
        if s.texts:
            step = int(s.text_s * S)
            # As the store does: the values of the span itself, the last ones where there are too many.
            times = list(range(-(-from_ns // step) * step, end, step))[-points:]
            nones: list[float | None] = [None] * len(times)
            return {
                **row,
                "time_ns": times,
                "n": [1] * len(times),
                "mean": nones,
                "min": nones,
                "max": nones,
                "first": nones,
                "last": nones,
                "n_bad": [0] * len(times),
                "n_uncertain": [0] * len(times),
                "worst_status": [SIMULATED] * len(times),
                "text": [s.text(t) for t in times],
            }
        period = int((s.period_s or 1.0) * S)
        stride = max(1, math.ceil((to_ns - from_ns) / period / points))
        step = period * stride
        at = np.arange(-(-from_ns // step) * step, end, step, dtype=np.int64)
        # An outage of two minutes each two hours, and a minute of bad values an hour later; a diverter tells what it asks for without a pause,
        # so that its page shows the same at any time of day.
        steady = isinstance(s, DiverterSignal)
        at = at[((at // S) % 7200 > 120) | steady]
        bad = ((at // S) % 7200 > 3600) & ((at // S) % 7200 < 3660) & (not steady) | (s.key in self.bad)
        values = s.values(at)
        for row_ in self.occurrences.values():
            if row_["tag"] == s.name and row_["edge"] == s.edge:
                over = row_["last_ns"] if row_["state"] in ("NORM", "RTNUN") else end
                values[(at >= row_["raised_ns"]) & (at <= over)] += float(row_["value"] or 0) - s.mean
        spread = s.sigma * (0.0 if stride == 1 else 1.2)
        shown = [None if b else float(v) for v, b in zip(values, bad, strict=True)]
        return {
            **row,
            "level": "raw" if stride == 1 else "60",
            "time_ns": at.tolist(),
            "n": [0 if b else stride for b in bad.tolist()],
            "mean": shown,
            "min": [None if v is None else v - spread for v in shown],
            "max": [None if v is None else v + spread for v in shown],
            "first": shown,
            "last": shown,
            "n_bad": [stride if b else 0 for b in bad.tolist()],
            "n_uncertain": [0] * len(shown),
            "worst_status": [SENSOR_FAILURE if b else SIMULATED for b in bad.tolist()],
        }

    def ready(self) -> list[str]:
        return list(self.not_ready)

    def counters(self) -> dict[str, float]:
        return {"rows_total": 18_224_310.0, "inbox_bytes": 12_400_120.0}

    def subscribe(self) -> Subscription:
        subscription = Subscription(self.subscriptions.discard)
        self.subscriptions.add(subscription)
        return subscription
