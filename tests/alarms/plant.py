"""A small plant for the alarm tests: two periodic tags, one by exception, one setpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edge_agent.alarms import Alarms
from edge_agent.core import AlarmDefinition, AlarmEvent, Catalogue, OperatorAction, Samples, Tag

S = 1_000_000_000
T0 = 1_767_225_600 * S
FORCE, DOOR, TEMPERATURE, TARGET, QUIET = range(5)
CATALOGUE = Catalogue(
    [
        Tag(id=FORCE, name="press1/main_force", unit="kN", expected_s=1.0),
        Tag(id=DOOR, name="room1/dp", unit="Pa"),
        Tag(id=TEMPERATURE, name="dryer1/temperature", unit="degC", expected_s=1.0, decimals=1),
        Tag(id=TARGET, name="dryer1/setpoint", unit="degC"),
        Tag(id=QUIET, name="press1/speed", unit="rpm"),
        Tag(id=5, name="press1/batch", kind="text"),
    ]
)


def limit(
    tag: int = FORCE,
    limit: float = 12.5,
    *,
    name: str = "",
    side: Any = "high",
    deadband: float = 0.0,
    on: float = 0.0,
    off: float = 0.0,
    **more: Any,
) -> AlarmDefinition:
    name = name or f"{CATALOGUE[tag].name}.{side}"
    return AlarmDefinition(
        name=name, tag=CATALOGUE[tag].name, kind="limit", side=side, limit=limit, deadband=deadband, on_delay_s=on, off_delay_s=off, **more
    )


def alarms(*definitions: AlarmDefinition) -> Alarms:
    return Alarms(definitions, CATALOGUE)


def feed(
    a: Alarms, tag: int, values: Sequence[float], *, at: Sequence[float] | None = None, received: float | None = None, bad: Sequence[int] = ()
) -> list[AlarmEvent]:
    """Values of one tag, one entry each, received 0.2 s after their source time unless said; `bad` are rows that are not usable."""
    out = []
    for i, v in enumerate(values):
        t = float(i) if at is None else at[i]
        rec = t + 0.2 if received is None else received
        samples = Samples.of([ns(t)], [tag], [v], 0, ns(rec))
        out += [e for _, e in a.step(samples, np.array([i not in bad], np.uint8))]
    return out


def ns(seconds: float) -> int:
    return T0 + round(seconds * 1e9)


def brief(events: Sequence[AlarmEvent]) -> list[tuple[str, float, float]]:
    """Event, time and raise time in seconds."""
    return [(e.event, (e.time_ns - T0) / S, (e.raised_ns - T0) / S) for e in events]


def action(
    a: Alarms, alarm: str, raised_ns: int, *, kind: Any = "acknowledge", asked: str = "a1", user: str = "li", at: float = 50.0
) -> list[AlarmEvent]:
    wanted = OperatorAction(
        id=asked, kind=kind, alarm=alarm, raised_ns=raised_ns, user=user, role="operator", station="hmi1", reason="seen", time_ns=ns(at)
    )
    return a.act(wanted, ns(at + 0.5))
