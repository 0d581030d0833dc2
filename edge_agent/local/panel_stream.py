r"""The live stream of the panel: everything that stands, whenever it changes, and a beat each second.

A stream looks at the desk when it has room: a page that is slow gets the newest picture and skips those between. There is no queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from edge_agent.alarms.standing import Standing
from edge_agent.core import AlarmEvent, occurrence_id
from edge_agent.local.desk import Desk

BEAT_S: Final = 1.0
LOOK_S: Final = 0.1
"""Shortest time between two pictures: what a flood may cost."""
MOST: Final = 16


def frame(event: str, data: Any) -> bytes:
    r"""One server-sent event.

    >>> frame("beat", {"now_ns": 1})
    b'event: beat\ndata: {"now_ns":1}\n\n'
    """
    return b"event: " + event.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def row(desk: Desk, s: Standing) -> dict[str, Any]:
    """One alarm as the page shows it."""
    d, tag = desk.alarms[s.alarm], desk.tags.get(s.tag)
    return {
        "occurrence": occurrence_id(desk.facts.edge, s.alarm, s.raised_ns), "alarm": s.alarm, "tag": s.tag, "state": s.state, "priority": s.priority,
        "advisory": s.advisory, "raised_ns": s.raised_ns, "last_ns": s.last_ns, "value": s.value, "limit": s.limit, "unit": s.unit,
        "decimals": tag.decimals if tag else 2, "description": dict(tag.description) if tag else {}, "explanation": s.explanation,
        "acked_by": s.acked_by, "until_ns": s.until_ns, "one_shot": s.one_shot, "permit": s.permit, "why": s.why, "suppressed": bool(s.suppression),
        "cause": d.cause, "consequence": d.consequence, "response": d.response, "check": d.check,
    }  # fmt: skip


def told(desk: Desk, event: AlarmEvent) -> dict[str, Any]:
    """What became of an action."""
    return {
        "action_id": event.action_id, "occurrence": occurrence_id(desk.facts.edge, event.alarm, event.raised_ns), "event": event.event,
        "user": event.user, "reason": event.reason, "state": event.state_to,
    }  # fmt: skip


class PanelStream:
    """What one page is told."""

    def __init__(self, streams: Streams) -> None:
        self._streams, self._desk = streams, streams.desk
        self._changed = self._desk.watch()
        self._told = self._desk.told

    def close(self) -> None:
        """The page is gone."""
        self._desk.unwatch(self._changed)
        self._streams.closed(self)

    async def frames(self) -> AsyncIterator[bytes]:
        """A greeting, then pictures and beats until the edge stops."""
        desk = self._desk
        seen, next_beat, loop = -1, 0.0, asyncio.get_running_loop()
        yield b"retry: 1000\n" + frame("hello", {"now_ns": desk.clock(), **self._streams.about()})
        while not self._streams.stopping.is_set():
            self._changed.clear()
            if desk.version != seen:
                seen = desk.version
                events = [told(desk, e) for e in desk.since(self._told) if e.action_id]
                self._told = desk.told
                rows = [row(desk, s) for s in desk.standing.values() if s.alarm in desk.alarms]
                yield frame("alarms", {"alarms": rows, "outcomes": events})
            if loop.time() >= next_beat:
                next_beat = loop.time() + BEAT_S
                people = self._streams.about()["people"]
                yield frame("beat", {"now_ns": desk.clock(), "beat": desk.supervision().beat, "problems": desk.problems(), "people": people})
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.001, next_beat - loop.time()))
            except TimeoutError:
                continue


class Streams:
    """All open pages."""

    def __init__(self, desk: Desk, about: Callable[[], dict[str, Any]]) -> None:
        self.desk, self.about = desk, about
        self.stopping = asyncio.Event()
        self._open: set[PanelStream] = set()

    def open(self) -> PanelStream | None:
        """A stream for one page; None when there are too many."""
        if len(self._open) >= MOST or self.stopping.is_set():
            return None
        made = PanelStream(self)
        self._open.add(made)
        return made

    def closed(self, stream: PanelStream) -> None:
        """That page is gone."""
        self._open.discard(stream)

    def stop(self) -> None:
        """End every stream, so that the server can stop without waiting for its pages."""
        self.stopping.set()
        self.desk.wake()
