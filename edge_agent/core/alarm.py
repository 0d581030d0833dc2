"""Alarm definitions, transitions and operator actions (ISA-18.2-2016, IEC 62682)."""

from __future__ import annotations

from typing import Literal

import msgspec

AlarmKind = Literal["limit", "deviation", "rate", "stale", "bad_quality", "diagnostic"]
Side = Literal["high", "low"]
ActionKind = Literal["acknowledge", "shelve", "unshelve", "reset", "out_of_service", "in_service", "comment"]


class AlarmDefinition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One configured alarm with its rationalisation (ISA-18.2 clause 8)."""

    name: str
    """Unique on its edge, e.g. "press1/main_force.high"."""
    tag: str
    kind: AlarmKind
    version: int = 1
    side: Side = "high"
    limit: float | None = None
    """In the tag's unit; per second for a rate; relative to the setpoint for a deviation."""
    setpoint_tag: str | None = None
    setpoint: float | None = None
    deadband: float = 0.0
    on_delay_s: float = 0.0
    off_delay_s: float = 0.0
    priority: int = 3
    """1 urgent, 2 high, 3 medium, 4 low or advisory."""
    advisory: bool = False
    """A finding without a rationalised response: listed, no horn."""
    latching: bool = False
    unit: str = ""
    cause: dict[str, str] = {}
    consequence: dict[str, str] = {}
    response: dict[str, str] = {}


class AlarmEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One transition of one alarm occurrence, with its cause.

    The occurrence is identified by (alarm, raised_ns); `raised_ns` is the source time at which the condition was first met.
    """

    alarm: str
    tag: str
    raised_ns: int
    time_ns: int
    """Source time of what caused the transition; the tick's time for a timer; the action's time for an operator."""
    received_ns: int
    """Time of the tick or entry at which the edge decided."""
    event: str
    """raise, clear, acknowledge, reset, re_alarm, suppress, unsuppress, refuse."""
    state_from: str
    state_to: str
    priority: int
    advisory: bool = False
    value: float | None = None
    limit: float | None = None
    status: int = 0
    explanation: str = ""
    """Why, in one line: driving tag, feature or residual."""
    contributions: dict[str, float] = {}
    action_id: str = ""
    user: str = ""
    role: str = ""
    station: str = ""
    reason: str = ""


class OperatorAction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person asked for; it stays outstanding until an event cites its id, done or refused."""

    id: str
    kind: ActionKind
    alarm: str
    raised_ns: int
    user: str
    role: str = ""
    station: str = ""
    reason: str = ""
    time_ns: int
    duration_s: float | None = None


def occurrence_id(edge: str, alarm: str, raised_ns: int) -> str:
    """The public id of one occurrence.

    >>> occurrence_id("press-edge-1", "press1/main_force.high", 1767225600000000000)
    'press-edge-1~press1/main_force.high~1767225600000000000'
    """
    return f"{edge}~{alarm}~{raised_ns}"


def parse_occurrence_id(text: str) -> tuple[str, str, int]:
    """Edge, alarm and raise time of an occurrence id; ValueError when it is none.

    >>> parse_occurrence_id("e~a.high~12")
    ('e', 'a.high', 12)
    """
    edge, _, rest = text.partition("~")
    alarm, _, raised = rest.rpartition("~")
    if not edge or not alarm or not raised.isascii() or not raised.isdigit() or len(raised) > 19:
        raise ValueError(f"occurrence id: expected EDGE~ALARM~NANOSECONDS, found {text!r}")
    return edge, alarm, int(raised)
