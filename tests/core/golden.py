"""One item of every kind, and their frames as they were written first: the format can never change in silence.

`python -m tests.core.golden` writes the frames of new names to golden_frames.json; it never touches one that is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from edge_agent.core import (
    SUMMARY_DTYPE,
    Abandoned,
    Acquisition,
    Action,
    AlarmDefinition,
    AlarmEvent,
    Audit,
    Block,
    ClockStep,
    Committed,
    Connection,
    Context,
    Definitions,
    Delivered,
    Delivery,
    Diagnostic,
    Filled,
    Gap,
    Heartbeat,
    KeepAlive,
    Note,
    OperatorAction,
    Overflow,
    Ranges,
    Recalled,
    RecalledTexts,
    Samples,
    Start,
    Summaries,
    Tag,
    Texts,
    UnitMode,
    encode,
    pack,
)

FILE: Final = Path(__file__).with_name("golden_frames.json")
T: Final = 1_767_225_600_000_000_000

_tag = Tag(
    id=0,
    name="press1/main_force",
    unit="kN",
    range=(0.0, 40.0),
    description={"en": "Main compression force", "zh": "主压力"},
    class_="gmp",
    expected_s=1.0,
)
_action = OperatorAction(id="a-1", kind="acknowledge", alarm="press1/main_force.high", raised_ns=T, user="lin", reason="seen", time_ns=T + 1)
_rows = np.zeros(2, SUMMARY_DTYPE)
for _i, _name in enumerate(SUMMARY_DTYPE.names or ()):
    _rows[_name] = [_i, _i + 1]
_rows["start_ns"] = [T, T + 10_000_000_000]
_rows["min"] = [np.nan, -0.0]

ITEMS: Final[dict[str, Any]] = {
    "samples": Samples.of([T, T + 1_000_000_000, T + 500_000_000], [0, 0, 1], [12.5, np.nan, -0.0], [0, 0x808C0000, 0x42090000], T + 2_000_000_000),
    "recalled": Recalled.of([T, T + 1_000_000_000], [0, 1], [12.5, -0.0], [0, 0x42090000], T + 2_000_000_000),
    "samples_many": Samples.of(T + np.arange(100) * 10_000_000, np.arange(100) % 7, np.arange(100) / 8, 0x42090000, T),
    "recalledtexts": RecalledTexts((T, T + 1), (3, 4), ("B-0042", "压片"), (0, 0x40000000), T + 2),
    "texts": Texts((T, T + 1), (3, 4), ("B-0042", "压片"), (0, 0x40000000), T + 2),
    "block": Block(
        5,
        np.array([T, T + 100]),
        np.arange(6.0).reshape(2, 3),
        np.array([0, 0x80000000], np.uint32),
        np.array([1100.0, 1102.0, 1104.0]),
        "nm",
        "AU",
        T + 200,
    ),
    "block_wide": Block(
        5, np.array([T]), np.array([[1.0, np.inf]]), np.array([[0, 0x80000000]], np.uint32), np.array([0.0, 1.0]), "s", "m/s2", T + 200
    ),
    "block_acquired": Block(
        5,
        np.array([T]),
        np.array([[0.5, 0.25]]),
        np.array([0x808C0000], np.uint32),
        np.array([1100.0, 1102.0]),
        "nm",
        "AU",
        T + 200,
        Acquisition(status="partial", counter=7, integration_s=0.05, scans=32, probe="P1", background="sha256:00", background_ns=T - 9, cycle=16),
    ),
    "summaries": Summaries(_rows, T + 12_000_000_000),
    "alarmevent": AlarmEvent(
        alarm="press1/main_force.high",
        tag="press1/main_force",
        raised_ns=T,
        time_ns=T + 2,
        received_ns=T + 3,
        event="raise",
        state_from="NORM",
        state_to="UNACK",
        priority=2,
        value=16.5,
        limit=16.0,
        status=0x42090000,
        explanation="16.5 kN above 16 kN for 2 s",
    ),
    "context": Context(unit="demo/solids/press-line/press1", role="batch", value="B-0042", time_ns=T, received_ns=T + 1, tag=3, previous="B-0041"),
    "context_mode": Context(
        unit="press1", role="mode", value="cleaning", time_ns=T, received_ns=T, previous="production", user="lin", reason="CIP", until_ns=T + 60
    ),
    "audit_cited": Audit(time_ns=T, user="lin", role="engineer", action="unit_mode", object="press1", new="cleaning", reason="CIP", action_id="a-2"),
    "action_mode": Action(
        received_ns=T,
        action=OperatorAction(
            id="a-2",
            kind="set_mode",
            alarm="",
            raised_ns=0,
            user="lin",
            role="engineer",
            reason="CIP",
            time_ns=T,
            unit_mode=UnitMode(unit="press1", mode="cleaning", until_ns=T + 60),
        ),
    ),
    "gap": Gap(tag=0, from_ns=T, to_ns=T + 5_000_000_000, missing=5, cause="disconnected", received_ns=T + 6_000_000_000),
    "audit": Audit(time_ns=T, user="lin", role="operator", station="console", action="acknowledge", object="press1/main_force.high", reason="seen"),
    "definitions": Definitions(
        received_ns=T,
        edge="press-edge-1",
        site="demo",
        simulated=True,
        config_hash="0" * 64,
        software="0.1.0",
        tags=(_tag,),
        alarms=(
            AlarmDefinition(
                name="press1/main_force.high", tag="press1/main_force", kind="limit", limit=16.0, priority=2, response={"zh": "检查冲头"}
            ),
        ),
    ),
    "heartbeat": Heartbeat(received_ns=T),
    "connection": Connection(received_ns=T, source="press_ua", state="tag_failed", tags=(1, 2), detail="BadNodeIdUnknown", status=0x80340000),
    "keepalive": KeepAlive(received_ns=T, source="press_ua"),
    "overflow": Overflow(received_ns=T, source="press_ua", tag=7, after_ns=T - 10, before_ns=T - 1),
    "filled": Filled(received_ns=T, source="press_ua", tag=7, after_ns=T - 10, before_ns=T - 1, values=8),
    "start": Start(
        received_ns=T, edge="press-edge-1", config={"fields": 1}, config_hash="ab", tags=(_tag,), models={"ewma": "cd"}, fingerprint={"cpu": "x86-64"}
    ),
    "clockstep": ClockStep(received_ns=T, step_ns=-250_000_000),
    "action": Action(received_ns=T, action=_action),
    "diagnostic": Diagnostic(received_ns=T, alarm="outbox.full", active=True, explanation="95 % of 2 GB"),
    "abandoned": Abandoned(received_ns=T, first=41, last=90),
    "note": Note(received_ns=T, action="epoch", object="outbox", old="1", new="2", reason="the gateway holds record 91"),
}

MESSAGES: Final[dict[str, bytes]] = {
    "delivery": Delivery(
        "demo", "press-edge-1", 2, 40, True, (Delivered(41, 0xCBF43926, b"123456789"), *Delivered(42, 1, b"abcde").pieces(3))
    ).encode(),
    "committed": Committed("gw1", "s-7", "press-edge-1", {1: Ranges([(1, 90)]), 2: Ranges([(1, 40), (42, 43)])}).encode(),
    "state": pack(
        {"mu": np.array([1.5, np.nan, -0.0]), "n": np.array([[1, 2]], np.int32), "warm": True, "limit": float("-inf"), "names": ["a", None]}
    ),
}


def frames() -> dict[str, str]:
    """Every frame as hexadecimal text, by name."""
    return {**{name: encode(item).hex() for name, item in ITEMS.items()}, **{name: data.hex() for name, data in MESSAGES.items()}}


if __name__ == "__main__":
    frozen = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps({**frames(), **frozen}, indent=0) + "\n")
