"""The clock of this computer as tags: whether something keeps it right, and how far off it may be (`edge_agent/core/timex.py`).

So that a later reader of the record can tell how far its times are to be trusted. Nothing is set.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import fields
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from edge_agent.core import NotConnected, Samples
from edge_agent.core.settings import Section
from edge_agent.core.timex import KernelClock, kernel_clock
from edge_agent.sources.source import Plug, Received, Source
from edge_agent.sources.zone import ReceiptTime

ADDRESSES: Final = tuple(f.name for f in fields(KernelClock))
"""synchronised (1 or 0), offset_s, estimated_error_s, maximum_error_s, frequency_ppm."""


class ClockConfig(Section):
    """State of this computer's clock; a tag's address is synchronised, offset_s, estimated_error_s, maximum_error_s or frequency_ppm."""

    lossy: ClassVar[bool] = True
    """What arises while nobody asks is lost."""
    time: ClassVar[ReceiptTime] = ReceiptTime()
    """The time of asking counts."""
    peer: ClassVar[bool] = False
    """It asks the kernel, no other program."""

    kind: Literal["clock"]
    name: Annotated[str, Field(min_length=1)]
    period_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0
    """Seconds between two looks."""
    watchdog_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds without any value, while periodic tags are configured, after which the kernel is asked anew."""

    def source(self, plug: Plug) -> Source:
        """The connector of this configuration."""
        return ClockSource(self, plug)

    def address_mistake(self, address: str, kind: str) -> str | None:
        """What is wrong with a tag's address, or None."""
        if kind != "numeric":
            return f"expected a numeric tag, found kind {kind}"
        return None if address in ADDRESSES else f"expected one of {', '.join(ADDRESSES)}, found {address!r}"


class ClockSource:
    """The kernel's word on its clock, every `period_s`."""

    def __init__(
        self, config: ClockConfig, plug: Plug, *, ask: Callable[[], KernelClock | None] = kernel_clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._config, self._plug, self._ask, self._sleep = config, plug, ask, sleep
        self._tags = np.array([t.id for t in plug.tags], np.int32)
        self._asked = [plug.address[t.id] for t in plug.tags]
        self._first = True

    async def open(self, resume: bytes | None) -> None:  # noqa: ARG002 - there is nothing to go on from
        """NotConnected where the kernel does not tell."""
        self._first = True
        self._now()

    async def read(self) -> Received:
        """All tags, at once and then every `period_s`."""
        if not self._first:
            await self._sleep(self._config.period_s)
        self._first = False
        told, now = self._now(), self._plug.clock()
        n = len(self._tags)
        values = np.array([float(getattr(told, what)) for what in self._asked], np.float64)
        return Received((Samples(np.full(n, now, np.int64), self._tags, values, np.zeros(n, np.uint32), 0),))

    async def close(self) -> None:
        """Nothing is held open."""

    def _now(self) -> KernelClock:
        told = self._ask()
        if told is None:
            raise NotConnected("expected the kernel to tell of its clock (adjtimex), found that it refuses: in a unit, SystemCallFilter")
        return told
