"""The clock of a source: what is known of it, and stamps in local time set right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
from pydantic import Field

from edge_agent.core import Block, Overflow, Samples, Texts
from edge_agent.core.settings import Section, Zone
from edge_agent.sources.source import Item, Plug, Received, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STEP_NS: Final = 900 * 10**9
"""Offsets of all zones change at full quarters of an hour."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class SourceTime(Section):
    """What is known of a source's clock."""

    assumed_zone: Zone | None = None
    """Zone whose local time the source writes where it should write UTC, as many a PLC does; none when its stamps are UTC."""
    max_skew_s: Annotated[float, Field(ge=0, le=86400)] | None = None
    """A value of this source stamped further in the future is rejected and counted; by default `windows.max_skew_s`."""

    @property
    def by_receipt(self) -> bool:
        """Whether its values are stamped when they are received: they then say nothing of its clock."""
        return False


class ReceiptTime(SourceTime):
    """Of a source that stamps nothing."""

    @property
    def by_receipt(self) -> bool:
        """Always."""
        return True


def utc_ns(local_ns: NDArray[np.int64], zone: ZoneInfo, near_ns: int) -> NDArray[np.int64]:
    """Times in ns UTC of stamps that count local time from 1970; an hour that comes twice is taken for the one nearer to `near_ns`.

    >>> shanghai = ZoneInfo("Asia/Shanghai")
    >>> eight = np.array([8 * 3_600_000_000_000])
    >>> utc_ns(eight, shanghai, 0).tolist()
    [0]
    """
    steps, row = np.unique(local_ns // _STEP_NS, return_inverse=True)
    return local_ns - np.array([_offset_ns(int(step) * _STEP_NS, zone, near_ns) for step in steps], np.int64)[row]


def _offset_ns(local_ns: int, zone: ZoneInfo, near_ns: int) -> int:
    local = (_EPOCH + timedelta(microseconds=local_ns // 1000)).replace(tzinfo=zone)
    offsets = [local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    return min((int(o.total_seconds()) * 10**9 for o in offsets), key=lambda o: abs(local_ns - o - near_ns))


def local_ns(utc: int, zone: ZoneInfo) -> int:
    """What a clock of the zone shows at a time in ns UTC, counted from 1970.

    >>> local_ns(0, ZoneInfo("Asia/Shanghai")) // 3_600_000_000_000
    8
    """
    offset = datetime.fromtimestamp(utc // 10**9, zone).utcoffset() or timedelta()
    return utc + int(offset.total_seconds()) * 10**9


class ZonedSource:
    """A source whose stamps are local time: everything it brings is set to UTC on its way in, and it never learns of it."""

    @classmethod
    def of(cls, made: Callable[[Plug], Source], plug: Plug, zone: str) -> ZonedSource:
        """The source made of a plug whose clock shows local time too: where it stamps a value itself, that is set right with all others."""
        there = ZoneInfo(zone)
        return cls(made(replace(plug, clock=lambda: local_ns(plug.clock(), there))), zone, plug.clock)

    def __init__(self, source: Source, zone: str, clock: Callable[[], int]) -> None:
        self._source, self._zone, self._clock = source, ZoneInfo(zone), clock
        self.open, self.close = source.open, source.close

    async def read(self) -> Received:
        """The next batch in UTC."""
        received = await self._source.read()
        now = self._clock()
        return replace(received, items=tuple(self._set_right(item, now) for item in received.items))

    def _set_right(self, item: Item, now: int) -> Item:
        if isinstance(item, Overflow):
            after, before = self._utc((item.after_ns, item.before_ns), now)
            return msgspec.structs.replace(item, after_ns=after, before_ns=before)
        if isinstance(item, Texts):
            return replace(item, time_ns=tuple(self._utc(item.time_ns, now)))
        if isinstance(item, Samples | Block):
            return replace(item, time_ns=utc_ns(item.time_ns, self._zone, now))
        return item

    def _utc(self, local_ns: tuple[int, ...], now: int) -> list[int]:
        found: list[int] = utc_ns(np.array(local_ns, np.int64), self._zone, now).tolist()
        return found
