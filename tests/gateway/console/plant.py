"""A small line with live values for tests of the console: `Plant` answers the read interface from arithmetic alone.

Values are a function of time, so any span can be asked for; a thread tells the changes. Everything is simulated and marked so.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edge_agent.core import Refused, occurrence_id
from gateway.query import (
    AlarmRow,
    Change,
    EdgeRow,
    EventRow,
    LastValue,
    LedgerRow,
    NotFound,
    SeriesRow,
    StatusRow,
    Subscription,
    TagRow,
    Value,
)
from tests.gateway.console.line import EDGES, SIGNALS, TEXTS, S, Signal

SIMULATED = 0x42090000
SENSOR_FAILURE = 0x808C0000


@dataclass
class Plant:
    """The store of the tests. `spare` adds quiet tags, `standing` adds standing alarms."""

    spare: int = 0
    standing: int = 0
    clock: Any = time.time_ns
    period_s: float = 0.25
    name: str = "press1"
    subscriptions: set[Subscription] = field(default_factory=set)
    silent: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)
    refuse: bool = False
    hostile: str = ""
    not_ready: list[str] = field(default_factory=list)
    acknowledged: list[tuple[str, str, str]] = field(default_factory=list)

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
        if self.hostile:
            s = Signal(
                f"press1/{self.hostile}", "kN", 0, 40, 2, 12, 0.1, self.hostile, self.hostile, klass="gmp_critical", limits=(("high", 16.0, 2),)
            )
            self.signals[s.key] = s
        self.occurrences: dict[str, AlarmRow] = {}
        self._held: dict[str, tuple[int, Value, int]] = {}
        for i in range(self.standing):
            self.raise_alarm(f"hall{i // 50:02d}/point{i % 50:02d}", "high", 1 + i % 4, ago_s=float(i + 10))

    # --- the plant's own doings ------------------------------------------------------------------------------
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

    def raise_alarm(self, tag: str, side: str, priority: int, *, ago_s: float = 0.0, factor: float = 1.04, advisory: bool = False) -> str:
        s = next(s for s in self.signals.values() if s.name == tag)
        at = self.clock() - int(ago_s * S)
        limit = next((v for d, v, _ in s.limits if d == side), s.mean)
        value = limit * factor if side == "high" else limit / factor
        alarm = f"{tag}.{side}"
        occurrence = occurrence_id(s.edge, alarm, at)
        word = "above" if side == "high" else "below"
        why = f"{value:.{s.decimals}f} {s.unit} {word} {limit:g} {s.unit} for 2 s"
        texts = TEXTS.get(alarm, {})
        row: AlarmRow = {
            "occurrence": occurrence,
            "alarm": alarm,
            "edge": s.edge,
            "tag": tag,
            "state": "UNACK",
            "priority": priority,
            "advisory": advisory,
            "raised_ns": at,
            "last_ns": at,
            "value": value,
            "limit": limit,
            "unit": s.unit,
            "acked_by": "",
            "acked_ns": None,
            "cause": texts.get("cause", {}),
            "response": texts.get("response", {}),
            "consequence": texts.get("consequence", {}),
            "explanation": why,
            "contributions": {},
            "events": [],
        }
        self._event(row, "raise", "UNACK", at, explanation=why)
        self.occurrences[occurrence] = row
        self.tell({occurrence: row})
        return occurrence

    def clear(self, occurrence: str) -> None:
        row = self.occurrences[occurrence]
        self._event(row, "clear", "RTNUN" if row["state"] == "UNACK" else "NORM", self.clock())
        self.tell({occurrence: row})

    def _event(
        self, row: AlarmRow, event: str, state: str, at: int, *, explanation: str = "", user: str = "", reason: str = "", action: str = ""
    ) -> None:
        made: EventRow = {
            "time_ns": at,
            "received_ns": at + S // 10,
            "event": event,
            "state_from": row["state"] if row["events"] else "NORM",
            "state_to": state,
            "value": row["value"],
            "status": SIMULATED,
            "explanation": explanation,
            "user": user,
            "role": "",
            "station": "",
            "reason": reason,
            "action_id": action,
        }
        row["events"].append(made)
        row["state"] = state
        row["last_ns"] = at

    def _acknowledge(self, occurrence: str, user: str, reason: str, action: str) -> None:
        row = self.occurrences[occurrence]
        if self.refuse:
            self._event(row, "refuse", row["state"], self.clock(), reason="the alarm has changed since", action=action)
        else:
            row["acked_by"], row["acked_ns"] = user, self.clock()
            self._event(row, "acknowledge", "ACKED" if row["state"] == "UNACK" else "NORM", self.clock(), user=user, reason=reason, action=action)
        self.tell({occurrence: row})

    # --- what the console asks -------------------------------------------------------------------------------
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
            "model": "ewma" if s.derived_from else "",
            "limits": [{"alarm": f"{s.name}.{side}", "side": side, "limit": limit, "priority": p} for side, limit, p in s.limits],
            "last": last,
        }

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
        # An outage of two minutes each two hours, and a minute of bad values an hour later.
        at = at[(at // S) % 7200 > 120]
        bad = ((at // S) % 7200 > 3600) & ((at // S) % 7200 < 3660) | (s.key in self.bad)
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

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000) -> list[AlarmRow]:
        rows = [r for r in self.occurrences.values() if state == "history" or r["state"] != "NORM"]
        return sorted(rows, key=lambda r: (r["priority"] if state == "standing" else 0, -r["raised_ns"]))[:limit]

    def alarm(self, occurrence: str) -> AlarmRow:
        if occurrence not in self.occurrences:
            raise NotFound(f"there is no alarm occurrence {occurrence!r}")
        return self.occurrences[occurrence]

    def edges(self) -> list[EdgeRow]:
        now = self.clock()
        seq = (now - self.started_ns) // (S // 5) + 81_244
        return [
            {
                "edge": edge,
                "site": "demo",
                "simulated": True,
                "refused": False,
                "epoch": 1,
                "committed_through": seq,
                "last_seen_ns": now,
                "connected": True,
                "backlog": 0,
                "oldest_seq": max(1, seq - 40),
                "software": "0.1.0",
                "config_hash": "6f1d2c0a9b3e",
                "sources": [{"name": name, "state": "connected", "last_data_ns": now, "error": ""} for name in names],
            }
            for edge, names in zip(EDGES, (("press_ua", "press_mqtt"), ("coater_ua",)), strict=True)
        ]

    def status(self) -> StatusRow:
        now = self.clock()
        return {
            "version": self.versions,
            "gateway": "gw1",
            "site": "demo",
            "mode": "simulation",
            "uptime_s": (now - self.started_ns) / S,
            "now_ns": now,
            "rows": 18_224_310,
            "rows_by_kind": {"samples": 18_100_200, "summaries": 124_110},
            "records": 412_004,
            "duplicates": 12,
            "quarantined": 0,
            "refused": 0,
            "dead_letters": 0,
            "inbox_records": 1_240,
            "inbox_bytes": 12_400_120,
            "queue_bytes": 0,
            "segments": 42,
            "segment_bytes": 248_000_000,
            "segment_rows": 18_000_000,
            "manifest_rows": 42,
            "manifest_head": "9c1f7b2a4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8",
            "last_commit_ns": now - S // 5,
            "last_seal_ns": now - 300 * S,
            "commit_ms": 3.2,
            "broker_connected": True,
            "broker_error": "",
            "seal_error": "",
            "targets": [
                {"name": "ts", "kind": "influx", "connected": True, "cursor": 412_004, "behind": 0, "written": 18_224_310, "rejected": 0, "error": ""}
            ],
            "alarms_standing": len(self.alarms()),
            "notices": [],
        }

    def ledger(self) -> list[LedgerRow]:
        return [
            {
                "edge": s.edge,
                "tag": s.name,
                "key": s.key,
                "n_good": 86_400 + i,
                "n_uncertain": 0,
                "n_bad": i % 3,
                "n_late": 0,
                "n_rejected": 0,
                "n_duplicate": 0,
                "n_missing": 0,
                "sum": 86_400 * s.mean,
                "first_ns": self.started_ns,
                "last_ns": self.clock(),
                "gaps": 0,
            }
            for i, s in enumerate(self.signals.values())
            if not s.texts
        ]

    def acknowledge(self, occurrence: str, user: str, reason: str, role: str = "", station: str = "") -> str:
        row = self.alarm(occurrence)
        if row["state"] not in ("UNACK", "RTNUN", "LATUN"):
            raise Refused("the alarm is acknowledged already")
        action = f"action-{len(self.acknowledged) + 1}"
        self.acknowledged.append((occurrence, user, reason))
        threading.Timer(0.3, self._acknowledge, (occurrence, user, reason, action)).start()
        return action

    def ready(self) -> list[str]:
        return list(self.not_ready)

    def counters(self) -> dict[str, float]:
        return {"rows_total": 18_224_310.0, "inbox_bytes": 12_400_120.0}

    def subscribe(self) -> Subscription:
        subscription = Subscription(self.subscriptions.discard)
        self.subscriptions.add(subscription)
        return subscription
