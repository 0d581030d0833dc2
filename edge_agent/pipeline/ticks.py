"""Pipeline time: ticks on a 100 ms grid of received time, and the watermark of source time."""

from __future__ import annotations

from typing import Final

TICK_NS: Final = 100_000_000
SECOND_NS: Final = 1_000_000_000
NEVER: Final = 2**63 - 1


def seconds_ns(seconds: float) -> int:
    """Nanoseconds of a duration in seconds, rounded to the nearest.

    >>> seconds_ns(0.25)
    250000000
    """
    return round(seconds * SECOND_NS)


def tick_at_or_before(time_ns: int) -> int:
    """The last grid point that is not later than a time.

    >>> tick_at_or_before(250_000_000)
    200000000
    """
    return time_ns - time_ns % TICK_NS


def tick_at_or_after(time_ns: int) -> int:
    """The first grid point that is not earlier than a time; NEVER stays NEVER.

    >>> tick_at_or_after(250_000_000), tick_at_or_after(300_000_000)
    (300000000, 300000000)
    """
    return time_ns if time_ns == NEVER else time_ns + (-time_ns) % TICK_NS


class Watermark:
    """How far source time is taken to be complete, before lateness is subtracted.

    It is min(newest source time, tick): one dead tag holds nothing open, one stamp from the future closes nothing. When no value at all has
    come for `idle_ns` of received time it goes on with the ticks, `idle_ns` behind: else the last windows before a silence would never close.
    It goes on from where the sources' clock stood: a source whose clock is an hour behind, or that plays what was recorded in spring, is not late
    with its first value after a silence.

    >>> mark = Watermark(idle_ns=10)
    >>> mark.heard(1_000, received_ns=5_000)
    >>> mark.base_ns(5_009), mark.base_ns(5_010), mark.base_ns(5_030), mark.reaches_ns(1_050)
    (1000, 1000, 1020, 5060)
    """

    def __init__(self, idle_ns: int) -> None:
        self.idle_ns = idle_ns
        self.newest_ns = 0
        self.heard_ns = 0
        self.low_ns = 0

    def heard(self, newest_ns: int, received_ns: int) -> None:
        """Values were accepted, the newest of them stamped `newest_ns`."""
        self.newest_ns = max(self.newest_ns, newest_ns)
        self.heard_ns = max(self.heard_ns, received_ns)

    def base_ns(self, tick_ns: int) -> int:
        """The watermark at a tick, never lower than at an earlier one."""
        base = min(self.newest_ns, tick_ns)
        if tick_ns - self.heard_ns >= self.idle_ns:
            base = max(base, tick_ns - self.idle_ns - self._behind_ns)
        self.low_ns = max(self.low_ns, base)
        return self.low_ns

    def reaches_ns(self, base_ns: int) -> int:
        """The earliest time at which the watermark will have reached `base_ns` if nothing more is heard."""
        if self.newest_ns >= base_ns:
            return base_ns
        return base_ns + self.idle_ns + self._behind_ns

    @property
    def _behind_ns(self) -> int:
        """How far the sources' clock was behind when it was last heard; never less than 0, for a stamp from the future closes nothing."""
        return max(self.heard_ns - self.newest_ns, 0)

    def state(self) -> dict[str, int]:
        """All of it."""
        return {"newest_ns": self.newest_ns, "heard_ns": self.heard_ns, "low_ns": self.low_ns}

    def restore(self, state: dict[str, int]) -> None:
        """Take up a state."""
        self.newest_ns, self.heard_ns, self.low_ns = state["newest_ns"], state["heard_ns"], state["low_ns"]
