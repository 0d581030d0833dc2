"""Conditions of tags and sources, told to their diagnostic alarms: away, silent, bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from edge_agent.core import AlarmEvent, Connection, Context, Record
from edge_agent.pipeline.parts import Parts
from edge_agent.pipeline.quality import FATE_BAD, Screened
from edge_agent.pipeline.recorded import flips
from edge_agent.pipeline.silence import Silent


class Conditions:
    """What is wrong with tags and sources, beside their values."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._known = parts.alarm_names

    def condition(self, alarm: str, active: bool, time_ns: int, received_ns: int, why: str) -> list[AlarmEvent]:
        """Events of a diagnostic alarm whose condition is true or false now; none where the plan has no such alarm."""
        if alarm not in self._known:
            return []
        return self._parts.alarms.condition(alarm, active, time_ns, received_ns, explanation=why)

    def connection(self, entry: Connection) -> Sequence[Record]:
        """A source that came or went, or single tags of it that cannot be read."""
        parts, now = self._parts, entry.received_ns
        place = parts.sources.get(entry.source)
        if place is None:
            return []
        if entry.state in ("tag_failed", "tag_recovered"):
            return self._tags(entry)
        told = Context(unit=f"source/{entry.source}", role="connection", value=entry.state, time_ns=now, received_ns=now, reason=entry.detail)
        alarm, why = f"source/{entry.source}.disconnected", entry.detail or entry.state.replace("_", " ")
        if entry.state in ("connected", "resumed"):
            parts.silence.came(place, now, resumed=entry.state == "resumed")
            return [told, *self.condition(alarm, False, now, now, why)]
        # Also behind "no data": the runner makes the connection anew, and what arises until then may be missing.
        parts.silence.left(place, parts.screen.last_ns)
        return [told, *(self.condition(alarm, True, now, now, why) if entry.state != "ended" else [])]

    def _tags(self, entry: Connection) -> list[AlarmEvent]:
        now, failed = entry.received_ns, entry.state == "tag_failed"
        events: list[AlarmEvent] = []
        for k in entry.tags:
            self._parts.diverters.fail(k, failed)
            name = self._parts.catalogue[k].name
            events += self.condition(f"{name}.bad_quality", failed, now, now, entry.detail or f"status {entry.status:#010x}")
        return events

    def silent(self, silent: Silent, now_ns: int) -> list[AlarmEvent]:
        """A tag or a whole source that fell silent, or whose values came again."""
        parts = self._parts
        if silent.tag < 0:
            name = next(name for name, place in parts.sources.items() if place == silent.source)
            why = f"no value of any tag for {(now_ns - silent.since_ns) / 1e9:.1f} s" if silent.stale else "values came again"
            return self.condition(f"source/{name}.disconnected", silent.stale, now_ns, now_ns, why)
        tag = parts.catalogue[silent.tag]
        parts.diverters.fail(silent.tag, silent.stale)
        why = f"no value for {(now_ns - silent.since_ns) / 1e9:.1f} s, expected every {tag.expected_s:g} s" if silent.stale else "values came again"
        return self.condition(f"{tag.name}.stale", silent.stale, silent.since_ns if silent.stale else now_ns, now_ns, why)

    def turned(self, rows: Screened, received_ns: NDArray[np.int64] | None = None) -> list[tuple[int, Callable[[], list[AlarmEvent]]]]:
        """Rows at which a tag's quality turns bad or good again, and who tells it; received_ns (n,) where the rows were not received together."""
        found: list[tuple[int, Callable[[], list[AlarmEvent]]]] = []
        for row in flips(rows.samples.tag, rows.fate, self._parts.bad):
            tag = self._parts.catalogue[int(rows.samples.tag[row])]
            bad = bool(rows.fate[row] == FATE_BAD)
            why = f"status {int(rows.samples.status[row]):#010x}" if bad else "quality is good again"
            time_ns = int(rows.samples.time_ns[row])
            now = rows.samples.received_ns if received_ns is None else int(received_ns[row])
            found.append((row, partial(self.condition, f"{tag.name}.bad_quality", bad, time_ns, now, why)))
        return found
