"""What the plant of the tests tells of itself: its edges, units and their modes, its batches, its accounts and its state."""

from __future__ import annotations

from typing import Any

from edge_agent.core import NotConnected, Refused
from gateway.batches import BatchRow
from gateway.blocks import BlocksRow, blocks_row
from gateway.query import ModeAsked, NotFound
from gateway.rows import (
    AlarmRow,
    EdgeRow,
    LedgerRow,
    ModeRow,
    StatusRow,
    UnitRow,
)
from tests.gateway.console.line import EDGES, S, Signal


class Reported:
    """The part of `tests.gateway.console.plant.Plant` that reports."""

    clock: Any
    signals: dict[str, Signal]
    occurrences: dict[str, AlarmRow]
    started_ns: int
    versions: str
    earlier: int
    away: set[str]
    refuse: bool
    tried: list[str]
    mode_rows: list[ModeRow]
    mode_ends: dict[str, int]
    modes_asked: list[ModeAsked]
    tell: Any
    alarms: Any

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        if key not in self.signals:
            raise NotFound(f"there is no tag {key!r}")
        return blocks_row(key, 0, [], from_ns, to_ns, simulated=True)

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
            "elsewhere": {},
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
                    "name": "on-call",
                    "kind": "smtp",
                    "reached": True,
                    "waiting": 0,
                    "oldest_ns": None,
                    "error": "",
                    "sent": 12,
                    "rejected": 0,
                    "given_up": 0,
                },
                {
                    "name": "wecom",
                    "kind": "webhook",
                    "reached": False,
                    "waiting": 2,
                    "oldest_ns": now - 90 * S,
                    "error": "wecom: timed out",
                    "sent": 40,
                    "rejected": 1,
                    "given_up": 0,
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
