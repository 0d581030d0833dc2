"""A small line with live values for tests of the console: `Plant` answers the read interface from arithmetic alone.

Values are a function of time, so any span can be asked for; a thread tells the changes. Everything is simulated and marked so.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edge_agent.core import AlarmEvent, NotConnected, PharmedgeError, Refused, occurrence_id
from gateway.batches import BatchRow
from gateway.blocks import BlocksRow, blocks_row
from gateway.kpis import KpiRow, key_figures
from gateway.query import ALL, AlarmFilter, Asked, ModeAsked, NotFound, Subscription
from gateway.rows import (
    ActionRow,
    AlarmRow,
    Change,
    EdgeRow,
    EventRow,
    LastValue,
    LedgerRow,
    ModeRow,
    SeriesRow,
    ShelveTerms,
    StatusRow,
    TagRow,
    UnitRow,
    Value,
)
from gateway.targets import TooMany
from tests.gateway.console.continuous import DiverterSignal, diverter
from tests.gateway.console.line import EDGES, SIGNALS, TEXTS, S, Signal

SIMULATED = 0x42090000
SENSOR_FAILURE = 0x808C0000


@dataclass
class Plant:
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

    @staticmethod
    def _terms(priority: int, klass: str) -> ShelveTerms:
        lead = ["shift_lead", "engineer"]
        if klass == "gmp_critical" or priority == 1:
            return {"roles": lead, "second_roles": [*lead, "quality"], "max_s": 3600.0}
        return {"roles": lead if priority == 2 else ["operator", *lead], "second_roles": [], "max_s": 3600.0}

    def raise_alarm(
        self, tag: str, side: str, priority: int, *, ago_s: float = 0.0, factor: float = 1.04, advisory: bool = False,
        group: str = "", first_out: bool = False,
    ) -> str:  # fmt: skip
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
            "description": {"en": s.en, "zh": s.zh} if s.en else {},
            "acked_by": "",
            "acked_ns": None,
            "cause": texts.get("cause", {}),
            "response": texts.get("response", {}),
            "consequence": texts.get("consequence", {}),
            "check": {},
            "explanation": why,
            "contributions": {},
            "plant_unit": tag.partition("/")[0],
            "group": group,
            "first_out": first_out,
            "respond_within_s": 600.0 if priority < 3 else None,
            "met": True,
            "suppressions": [],
            "pending": [],
            "shelve": self._terms(priority, s.klass),
            "out_of_service": ["maintenance", "engineer"],
            "held": "",
            "events": [],
        }
        self._event(row, "raise", "UNACK", at, explanation=why)
        self.occurrences[occurrence] = row
        self.tell({occurrence: row})
        return occurrence

    def flood(self) -> None:
        """A trip with its consequences, and the edge's word that this is a flood."""
        trip = "press1 stop"
        self.raise_alarm("press1/hopper_level", "low", 2, ago_s=60, group=trip, first_out=True)
        for i, name in enumerate(("fill_depth", "tablet_weight", "main_force", "pre_force", "ejection_force")):
            self.raise_alarm(f"press1/{name}", "low" if i < 3 else "high", 2 + i % 2, ago_s=50.0 - i, group=trip)
        for i, name in enumerate(("bed_temp", "inlet_temp", "spray_rate", "pan_dp")):
            self.raise_alarm(f"coater1/{name}", "high", 3, ago_s=40.0 - i)
        row = self.occurrences[self.raise_alarm("press1/room_temp", "high", 4, ago_s=30, advisory=True)]
        del self.occurrences[row["occurrence"]]
        words = "10 alarms in 10 min, first press1/hopper_level.low"
        id_ = row["occurrence"].replace("press1/room_temp.high", "edge/flood")
        row |= {"alarm": "edge/flood", "tag": "", "occurrence": id_, "explanation": words, "value": 10.0, "limit": None, "unit": "", "plant_unit": ""}
        self.occurrences[id_] = row
        self.tell({id_: row})

    def clear(self, occurrence: str) -> None:
        row = self.occurrences[occurrence]
        self._event(row, "clear", "RTNUN" if row["state"] == "UNACK" else "NORM", self.clock())
        self.tell({occurrence: row})

    def _event(
        self, row: AlarmRow, event: str, state: str, at: int, *, explanation: str = "", user: str = "", reason: str = "", action: str = "",
        overlay: str = "", until_ns: int | None = None, permit: str = "", second_user: str = "",
    ) -> None:  # fmt: skip
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
            "overlay": overlay,
            "until_ns": until_ns,
            "permit": permit,
            "second_user": second_user,
        }
        row["events"].append(made)
        row["state"] = state
        row["last_ns"] = at

    def _answer(self, asked: Asked, action: str) -> None:
        """The edge carries out an action, or refuses it."""
        _, alarm, raised = asked.occurrence.rsplit("~", 2)
        if raised == "0":
            tag, _, side = alarm.rpartition(".")
            row = self.occurrences[self.raise_alarm(tag, side, 3)]
            row["events"], row["state"], row["met"], row["value"] = [], "NORM", False, None
        else:
            row = self.occurrences[asked.occurrence]
        row["pending"] = []
        at, kind = self.clock(), asked.kind
        told: Any = {"user": asked.user, "reason": asked.reason, "action": action, "second_user": asked.second_user}
        terms = row["shelve"]
        assert terms is not None
        if self.refuse or (kind == "shelve" and (asked.role not in terms["roles"] or (terms["second_roles"] and not asked.second_user))):
            why = "the alarm has changed since" if self.refuse else f"shelving this alarm is for {' or '.join(terms['roles'])}"
            self._event(row, "refuse", row["state"], at, reason=why, action=action)
        elif kind == "acknowledge":
            row["acked_by"], row["acked_ns"] = asked.user, at
            self._event(row, "acknowledge", "ACKED" if row["state"] == "UNACK" else "NORM", at, **told)
        elif kind in ("shelve", "out_of_service"):
            self.suppress(row, "shelved" if kind == "shelve" else "out_of_service", duration_s=asked.duration_s, permit=asked.permit, **told)
        elif kind in ("unshelve", "in_service"):
            overlay = "shelved" if kind == "unshelve" else "out_of_service"
            row["suppressions"] = [s for s in row["suppressions"] if s["overlay"] != overlay]
            self._event(row, "unsuppress", "UNACK" if row["met"] else "NORM", at, overlay=overlay, **told)
        else:
            self._event(row, kind, row["state"] if kind == "comment" else "NORM", at, **told)
        self.answers[action] = row["events"][-1]["reason"] if row["events"][-1]["event"] == "refuse" else ""
        self.tell({row["occurrence"]: row})

    def suppress(
        self, row: AlarmRow, overlay: str, *, duration_s: float | None = None, permit: str = "", user: str = "", reason: str = "",
        action: str = "", second_user: str = "",
    ) -> None:  # fmt: skip
        """Lay a suppression over an alarm."""
        at = self.clock()
        until = at + int((duration_s or 3600) * S) if overlay == "shelved" else None
        row["suppressions"] = [
            *row["suppressions"],
            {"overlay": overlay, "since_ns": at, "until_ns": until, "one_shot": False, "permit": permit, "user": user, "second_user": second_user,
             "reason": reason},
        ]  # fmt: skip
        state = {"shelved": "SHLVD", "designed": "DSUPR", "out_of_service": "OOSRV"}[overlay]
        self._event(
            row, "suppress", state, at, explanation=reason, user=user, reason=reason, action=action, overlay=overlay, until_ns=until,
            permit=permit, second_user=second_user,
        )  # fmt: skip

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

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        if key not in self.signals:
            raise NotFound(f"there is no tag {key!r}")
        return blocks_row(key, 0, [], from_ns, to_ns, simulated=True)

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        rows = [r for r in list(self.occurrences.values()) if (state == "history" or r["state"] != "NORM") and wanted.takes(r)]
        return sorted(rows, key=lambda r: (r["priority"] if state == "standing" else 0, -r["raised_ns"]))[:limit]

    def alarm(self, occurrence: str) -> AlarmRow:
        if occurrence not in self.occurrences:
            raise NotFound(f"there is no alarm occurrence {occurrence!r}")
        return self.occurrences[occurrence]

    def batches(self) -> list[BatchRow]:
        length = 2 * 3600 * S
        begun = self.started_ns - 2 * length
        past: list[BatchRow] = [
            {"batch": f"B-{1041 - i}", "edge": EDGES[0], "unit": "demo/solids/line1/press1", "from_ns": begun - (i + 1) * length,
             "to_ns": begun - i * length}
            for i in range(self.earlier)
        ]  # fmt: skip
        return [
            {"batch": "B-1043", "edge": EDGES[0], "unit": "demo/solids/line1/press1", "from_ns": begun + length, "to_ns": None},
            {"batch": "B-1042", "edge": EDGES[0], "unit": "demo/solids/line1/press1", "from_ns": begun, "to_ns": begun + length},
            *past,
        ]

    def batch_of(self, occurrence: str) -> str:
        row = self.occurrences.get(occurrence)
        if row is None or not row["tag"].startswith("press1/"):
            return ""
        return next((b["batch"] for b in self.batches() if b["from_ns"] <= row["raised_ns"] < (b["to_ns"] or 2**62)), "")

    def kpis(self, from_ns: int, to_ns: int) -> KpiRow:
        events = [
            AlarmEvent(
                alarm=row["alarm"],
                tag=row["tag"],
                raised_ns=row["raised_ns"],
                priority=row["priority"],
                advisory=row["advisory"],
                time_ns=e["time_ns"],
                received_ns=e["received_ns"],
                event=e["event"],
                state_from=e["state_from"],
                state_to=e["state_to"],
            )
            for row in self.occurrences.values()
            for e in row["events"]
        ]
        return key_figures(((EDGES[0], e) for e in events), from_ns, to_ns, offset_s=28_800)

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
                "connected": edge not in self.away,
                "backlog": 0,
                "oldest_seq": max(1, seq - 40),
                "software": "0.1.0",
                "config_hash": "6f1d2c0a9b3e",
                "sources": [{"name": name, "state": "connected", "last_data_ns": now, "error": ""} for name in names],
                "units": self.units(edge),
            }
            for edge, names in zip(EDGES, (("press_ua", "press_mqtt"), ("coater_ua",)), strict=True)
        ]

    def units(self, edge: str) -> list[UnitRow]:
        paths = sorted({f"demo/solids/line1/{s.name.rpartition('/')[0]}" for s in self.signals.values() if s.edge == edge})
        set_ = {m["unit"]: m for m in self.mode_rows if m["edge"] == edge and m["to_ns"] is None}
        return [
            {
                "unit": path, "mode": set_[path]["mode"] if path in set_ else "production",
                "since_ns": set_[path]["from_ns"] if path in set_ else None,
                "until_ns": self.mode_ends.get(path), "user": set_[path]["user"] if path in set_ else "",
                "reason": set_[path]["reason"] if path in set_ else "", "asked": None, "asked_by": "", "action_id": "",
            }
            for path in paths
        ]  # fmt: skip

    def set_mode(self, asked: ModeAsked) -> str:
        if asked.unit not in {row["unit"] for row in self.units(asked.edge)}:
            raise NotFound(f"unit: expected one of edge {asked.edge}, found {asked.unit!r}")
        if self.refuse:
            raise Refused("the edge is away")
        now = self.clock()
        for row in self.mode_rows:
            if row["unit"] == asked.unit and row["to_ns"] is None:
                row["to_ns"] = now
        self.modes_asked.append(asked)
        self.mode_ends.pop(asked.unit, None)
        if asked.mode:
            said = {"edge": asked.edge, "unit": asked.unit, "mode": asked.mode, "user": asked.user, "reason": asked.reason}
            self.mode_rows.append({**said, "from_ns": now, "to_ns": None})  # type: ignore[typeddict-item]
            if asked.until_ns is not None:
                self.mode_ends[asked.unit] = asked.until_ns
        self.tell()
        return f"mode-{len(self.modes_asked)}"

    def modes(self, from_ns: int, to_ns: int) -> list[ModeRow]:
        return [m for m in self.mode_rows if m["from_ns"] < to_ns and (m["to_ns"] is None or m["to_ns"] > from_ns)]

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
            "receivers": [
                {
                    "name": "on-call", "kind": "smtp", "reached": True, "waiting": 0, "oldest_ns": None, "error": "", "sent": 12, "rejected": 0,
                    "given_up": 0,
                },
                {
                    "name": "wecom", "kind": "webhook", "reached": False, "waiting": 2, "oldest_ns": now - 90 * S, "error": "wecom: timed out",
                    "sent": 40, "rejected": 1, "given_up": 0,
                },
            ],
            "alarms_standing": len(self.alarms()),
            "notices": [],
        }

    def try_receiver(self, name: str) -> None:
        if name != "on-call":
            raise NotConnected(f"{name}: timed out")
        self.tried.append(name)

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

    def act(self, asked: Sequence[Asked]) -> list[str | PharmedgeError]:
        return [self._ask(one) for one in asked]

    def _ask(self, asked: Asked) -> str | PharmedgeError:
        if not asked.occurrence.endswith("~0"):
            row = self.alarm(asked.occurrence)
            if asked.kind == "acknowledge" and row["state"] not in ("UNACK", "RTNUN", "LATUN"):
                return Refused("the alarm is acknowledged already")
        self.asked.append(asked)
        action = f"action-{len(self.asked)}"
        if asked.kind == "acknowledge":
            self.acknowledged.append((asked.occurrence, asked.user, asked.reason))
        if not asked.occurrence.endswith("~0"):
            row["pending"] = [*row["pending"], {"action_id": action, "kind": asked.kind, "user": asked.user, "time_ns": self.clock()}]
            self.tell({asked.occurrence: row})
        threading.Timer(self.answer_s, self._answer, (asked, action)).start()
        return action

    def action(self, action_id: str) -> ActionRow:
        if action_id.startswith("mode-"):
            asked = self.modes_asked[int(action_id.removeprefix("mode-")) - 1]
            return {
                "action_id": action_id, "kind": "set_mode" if asked.mode else "withdraw_mode", "user": asked.user, "time_ns": self.clock(),
                "occurrence": f"unit:{asked.edge}/{asked.unit}", "state": "done", "reason": "", "settled_ns": self.clock(),
            }  # fmt: skip
        i = int(action_id.removeprefix("action-")) - 1
        asked, answer = self.asked[i], self.answers.get(action_id)
        return {
            "action_id": action_id,
            "kind": asked.kind,
            "user": asked.user,
            "time_ns": self.started_ns,
            "occurrence": asked.occurrence,
            "state": "pending" if answer is None else "refused" if answer else "done",
            "reason": answer or "",
            "settled_ns": None if answer is None else self.clock(),
        }

    def wait_answered(self) -> None:
        """Until the edge has answered everything."""
        deadline = time.monotonic() + 10
        while len(self.answers) < len(self.asked):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def ready(self) -> list[str]:
        return list(self.not_ready)

    def counters(self) -> dict[str, float]:
        return {"rows_total": 18_224_310.0, "inbox_bytes": 12_400_120.0}

    def subscribe(self) -> Subscription:
        subscription = Subscription(self.subscriptions.discard)
        self.subscriptions.add(subscription)
        return subscription
