"""What the console and every other reader may ask of the gateway: the read interface and the rows it answers with.

All times are ns UTC. All methods but `subscribe` are plain functions that may be called from any thread; none takes longer than a file read.
Rows are JSON-ready: a number that is not there (NaN, infinity, no value) is None. The store (`gateway/store.py`) implements `Query`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from edge_agent.core import PharmedgeError
from edge_agent.core.alarm import ActionKind
from gateway.batches import BatchRow
from gateway.blocks import BlocksRow
from gateway.kpis import KpiRow
from gateway.rows import ActionRow, AlarmRow, Change, EdgeRow, LedgerRow, ModeRow, SeriesRow, StatusRow, TagRow

MAX_POINTS = 10_000
"""Buckets of one series at the most."""


class NotFound(PharmedgeError):
    """There is no such tag, alarm occurrence or edge."""


class Subscription:
    """A look at live changes; what is not taken is merged, newest wins, so its memory is bounded by the number of tags and alarms.

    >>> import asyncio
    >>> async def look():
    ...     s = Subscription(lambda closed: None)
    ...     s.offer({"values": {"e:a": (1, 2.0, 0)}, "alarms": {}, "edges": {}, "tags": False})
    ...     s.offer({"values": {"e:a": (2, 3.0, 0)}, "alarms": {}, "edges": {}, "tags": False})
    ...     return (await s.take(1.0))["values"]
    >>> asyncio.run(look())
    {'e:a': (2, 3.0, 0)}
    """

    def __init__(self, closed: Callable[[Subscription], None]) -> None:
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._pending = _nothing()

    def offer(self, change: Change) -> None:
        """Merge a change; on the subscriber's loop only."""
        self._pending["values"].update(change["values"])
        self._pending["alarms"].update(change["alarms"])
        self._pending["edges"].update(change["edges"])
        self._pending["tags"] |= change["tags"]
        self._ready.set()

    def offer_from_thread(self, change: Change) -> None:
        """Merge a change from any thread."""
        try:
            self._loop.call_soon_threadsafe(self.offer, change)
        except RuntimeError:  # the subscriber's loop is gone, and so is the subscriber
            self._closed(self)

    async def take(self, timeout_s: float) -> Change | None:
        """Everything that changed since the last call, waiting for it; None when nothing did in that time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
        except TimeoutError:
            return None
        self._ready.clear()
        taken, self._pending = self._pending, _nothing()
        return taken

    def close(self) -> None:
        """Stop receiving; call it in a `finally`."""
        self._closed(self)


def _nothing() -> Change:
    return {"values": {}, "alarms": {}, "edges": {}, "tags": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person asks of an alarm. Raise time 0 in the occurrence id names an alarm that stands nowhere, to be shelved or taken out of service."""

    kind: ActionKind
    occurrence: str
    user: str
    role: str = ""
    station: str = ""
    reason: str = ""
    duration_s: float | None = None
    one_shot: bool = False
    permit: str = ""
    second_user: str = ""
    second_role: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeAsked:
    """What a person asks of the mode of a unit; mode "" withdraws what was set."""

    edge: str
    unit: str
    mode: str
    until_ns: int | None
    user: str
    role: str = ""
    station: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintained:
    """What a person found, or decided, where an edge had advised maintenance; `advised_ns` is the time of the advice."""

    id: str
    edge: str
    subject: str
    advised_ns: int
    kind: Literal["renewed", "no_fault", "withdraw_no_fault", "rejected", "withdraw_rejected"]
    remark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFilter:
    """Which alarms of a list are wanted; empty fields take all. `text`: every word has to be found somewhere, whatever its case."""

    unit: str = ""
    priority: int = 0
    state: str = ""
    text: str = ""
    from_ns: int | None = None
    to_ns: int | None = None

    def takes(self, row: AlarmRow) -> bool:
        """Whether an alarm is wanted."""
        if (self.unit and row["plant_unit"] != self.unit) or (self.priority and row["priority"] != self.priority):
            return False
        if (self.state and row["state"] != self.state) or (self.from_ns is not None and row["raised_ns"] < self.from_ns):
            return False
        if self.to_ns is not None and row["raised_ns"] >= self.to_ns:
            return False
        words = self.words()
        found = searched(row) if words else ""
        return all(word in found for word in words)

    def words(self) -> list[str]:
        """Each has to be found."""
        return self.text.lower().split()


def searched(row: AlarmRow) -> str:
    """Everything of an alarm in which words are looked for, in lower case."""
    texts = [*row["description"].values(), *row["cause"].values(), *row["response"].values(), *row["consequence"].values()]
    people = [e["user"] for e in row["events"]]
    return " ".join((row["alarm"], row["tag"], row["explanation"], row["edge"], row["group"], *texts, *people)).lower()


ALL = AlarmFilter()


class Query(Protocol):
    """Everything a reader may ask; raises NotFound for unknown keys, ValueError for impossible arguments, Refused for actions not possible."""

    def tags(self) -> list[TagRow]:
        """All tags of all edges with their newest value, by edge and definition order."""

    def series(self, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """One tag over [from_ns, to_ns) in at most `points` (1 .. MAX_POINTS) rows."""

    def series_in(self, store: str, key: str, from_ns: int, to_ns: int, points: int = 500) -> SeriesRow:
        """The same from the single values that a target holds; NotFound for one that is not read, NotConnected, or TooMany for too long a span."""

    def blocks(self, key: str, from_ns: int, to_ns: int, count: int = 60) -> BlocksRow:
        """At most `count` spectra or waveforms of one stream with from_ns <= source time < to_ns, spread evenly, the newest among them."""

    def alarms(self, state: Literal["standing", "history"] = "standing", limit: int = 1000, wanted: AlarmFilter = ALL) -> list[AlarmRow]:
        """Standing occurrences (by priority, newest first) or all of them, newest first."""

    def alarm(self, occurrence: str) -> AlarmRow:
        """One occurrence with all its events."""

    def batches(self) -> list[BatchRow]:
        """Every batch of every unit, the newest first."""

    def batch_of(self, occurrence: str) -> str:
        """The batch in the unit of an alarm when it was raised (now for one that stands nowhere, and for a `subject`); empty when there was none."""

    def kpis(self, from_ns: int, to_ns: int) -> KpiRow:
        """The key figures of the alarm system over [from_ns, to_ns)."""

    def edges(self) -> list[EdgeRow]:
        """All edges that were ever heard."""

    def status(self) -> StatusRow:
        """The gateway at a glance."""

    def ledger(self) -> list[LedgerRow]:
        """The accounting of every tag."""

    def act(self, asked: Sequence[Asked]) -> list[str | PharmedgeError]:
        """Ask the edges to carry out actions; for each, in order, its id, or NotFound when unknown or Refused when it cannot be asked for now."""

    def set_mode(self, asked: ModeAsked) -> str:
        """Ask an edge to set or withdraw the mode of a unit; the action's id. NotFound for an unknown unit, Refused for what cannot be."""

    def modes(self, from_ns: int, to_ns: int) -> list[ModeRow]:
        """Spans of modes of all units that touch [from_ns, to_ns)."""

    def action(self, action_id: str) -> ActionRow:
        """What became of an action; NotFound for one that was not asked for here."""

    def try_receiver(self, name: str) -> None:
        """Hand a test message to a receiver of notifications; NotFound, NotConnected or Rejected."""

    def ready(self) -> list[str]:
        """What keeps the gateway from being ready, in plain words; empty when it is ready."""

    def counters(self) -> dict[str, float]:
        """Counts and gauges for /metrics by their Prometheus name without prefix; names ending `_total` are counters."""

    def subscribe(self) -> Subscription:
        """A look at live changes; call it on the event loop that will take them."""
