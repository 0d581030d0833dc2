"""Alarm floods of one operator position (ISA-18.2: from 10 alarms in 10 minutes until fewer than 5)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from edge_agent.alarms.detect import delay_ns
from edge_agent.alarms.kernels import NEVER
from edge_agent.alarms.rules import AlarmRules


class Flood:
    """Counts the calls to the operator over a trailing span of received time."""

    def __init__(self, rules: AlarmRules) -> None:
        self._start, self._end, self._span_ns = rules.flood_start, rules.flood_end, delay_ns(rules.flood_span_s)
        self._calls: deque[tuple[int, str]] = deque(maxlen=max(self._start, self._end))
        self.count = 0
        """Calls in the present flood; 0 when there is none."""
        self.first = ""
        """The alarm that called first."""

    def called(self, alarm: str, received_ns: int) -> bool:
        """An alarm calls the operator; whether a flood begins with it."""
        self._calls.append((received_ns, alarm))
        if self.count:
            self.count += 1
            return False
        if len(self._calls) < self._start:
            return False
        since, first = self._calls[-self._start]
        if since <= received_ns - self._span_ns:
            return False
        self.count, self.first = self._start, first
        return True

    @property
    def due_ns(self) -> int:
        """When the present flood ends if nothing more calls; NEVER without one."""
        return self._calls[-self._end][0] + self._span_ns if self.count else NEVER

    def over(self) -> int:
        """End the flood; how many calls it had."""
        count, self.count, self.first = self.count, 0, ""
        return count

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        return {"calls": [[at, alarm] for at, alarm in self._calls], "count": self.count, "first": self.first}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a state; one of other thresholds goes on with the calls it knows."""
        self._calls.clear()
        self._calls.extend((at, alarm) for at, alarm in state["calls"])
        self.count, self.first = state["count"], state["first"]
        if len(self._calls) < self._end:
            self.over()
