"""Alarm detection again, one alarm and one value at a time: the whole story of a running delay is kept and read anew each time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edge_agent.core import AlarmDefinition


@dataclass
class Mark:
    """Something an alarm saw while a delay was running."""

    what: str
    """value, setpoint or hold."""
    t: int
    received: int
    value_before: int
    """Source time of the value before this one."""


@dataclass
class NaiveAlarm:
    definition: AlarmDefinition
    period_ns: int | None = None
    met: bool = False
    marks: list[Mark] = field(default_factory=list)
    last: tuple[int, float, int] | None = None
    """Source time, value and received time of the newest usable value."""
    blind: bool = False
    setpoint: float | None = None
    setpoint_at: int | None = None
    compared: float = math.nan

    def __post_init__(self) -> None:
        self.setpoint = self.definition.setpoint

    def value(self, t: int, v: float, received: int) -> tuple[bool, int, float] | None:
        """A usable value; (met, first, x) when the condition changed."""
        if not math.isfinite(v):
            return self.hold(t, received)
        if self.last is not None and t < self.last[0]:
            return None
        x: float | None = v
        if self.definition.kind == "deviation":
            x = None if self.setpoint is None else v - self.setpoint
        elif self.definition.kind == "rate":
            x = None if self.last is None or t == self.last[0] else (v - self.last[1]) * 1e9 / (t - self.last[0])
        found = None
        if x is not None:
            found = self._judge("value", t, x, received)
        if x is not None or not self.marks:
            self.blind = False
        self.last = (t, v, received)
        return found

    def hold(self, t: int, received: int) -> None:
        """A value that is not usable."""
        if self.last is None or t < self.last[0] or self.blind:
            return
        self.blind = True
        if self.marks:
            self.marks.append(Mark("hold", t, received, self.last[0]))

    def follow(self, t: int, v: float, received: int) -> tuple[bool, int, float] | None:
        """A usable value of the setpoint's tag."""
        if not math.isfinite(v) or (self.setpoint_at is not None and t < self.setpoint_at):
            return None
        self.setpoint_at = t
        if v == self.setpoint:
            return None
        self.setpoint = v
        if self.last is None or self.blind:
            return None
        return self._judge("setpoint", max(t, self.last[0]), self.last[1] - v, received)

    def tick(self, tick: int) -> tuple[bool, int, float] | None:
        """A tick of received time."""
        if not self.marks or self.blind or (self.definition.kind == "rate" and not self.met):
            return None
        assert self.last is not None
        if self.period_ns is not None and tick - self.last[2] > 3 * self.period_ns:
            return None
        before, _, since = self._story()
        return self._turned() if before + (tick - since) >= self._delay() else None

    def _delay(self) -> int:
        return round((self.definition.off_delay_s if self.met else self.definition.on_delay_s) * 1e9)

    def _judge(self, what: str, t: int, x: float, received: int) -> tuple[bool, int, float] | None:
        self.compared = x
        assert self.definition.limit is not None
        high = self.definition.side == "high"
        limit, deadband = self.definition.limit, self.definition.deadband
        if self.met:
            turning = x < limit - deadband if high else x > limit + deadband
        else:
            turning = x > limit if high else x < limit
        if not turning:
            self.marks.clear()
            return None
        self.marks.append(Mark(what, t, received, self.last[0] if self.last is not None else t))
        before, start, _ = self._story()
        return self._turned() if before + (t - start) >= self._delay() else None

    def _story(self) -> tuple[int, int, int]:
        """Time counted before the present stretch, and the stretch's start on both clocks."""
        silence = math.inf if self.period_ns is None else 3 * self.period_ns
        before = 0
        start: int | None = None
        received = 0
        for mark in self.marks:
            silent = mark is not self.marks[0] and mark.t - mark.value_before > silence
            if start is not None and (mark.what == "hold" or silent):
                until = mark.value_before if silent else min(mark.t, mark.received)
                before += max(until - start, 0)
                start = None
            if mark.what != "hold" and start is None:
                start, received = mark.t, mark.received
        assert start is not None
        return before, start, received

    def _turned(self) -> tuple[bool, int, float]:
        self.met = not self.met
        first = self.marks[0].t
        self.marks.clear()
        return self.met, first, self.compared
