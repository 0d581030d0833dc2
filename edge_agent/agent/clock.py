"""Received time: the wall clock at the start, carried on by the monotonic clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

STEP_NS: Final = 100_000_000
"""A wall clock that has gone apart by more is reported as a step (domain: log every step above 100 ms)."""


class Clock:
    """Gives received times that never decrease, whatever the wall clock does.

    floor_ns  the last received time in the journal: after a restart time goes on behind it even when the wall clock was set back

    >>> wall, mono = [5_000_000_000], [0]
    >>> clock = Clock(wall=lambda: wall[0], monotonic=lambda: mono[0])
    >>> mono[0] = 1_000_000_000; wall[0] = 9_000_000_000
    >>> clock(), clock.step_ns(), clock.step_ns()
    (6000000000, 3000000000, 0)
    """

    def __init__(self, floor_ns: int = 0, *, wall: Callable[[], int] = time.time_ns, monotonic: Callable[[], int] = time.monotonic_ns) -> None:
        self._wall, self._monotonic = wall, monotonic
        now = wall()
        self.behind_ns = max(0, floor_ns + 1 - now)
        """How far the wall clock was behind the journal at the start."""
        self._start_wall, self._start_mono = max(now, floor_ns + 1), monotonic()
        self._offset_ns = self.behind_ns

    def __call__(self) -> int:
        """Received time now, ns UTC."""
        return self._start_wall + self._monotonic() - self._start_mono

    def step_ns(self) -> int:
        """How far the wall clock has stepped against received time since the last call; 0 when at most STEP_NS."""
        offset = self() - self._wall()
        step = self._offset_ns - offset
        if abs(step) <= STEP_NS:
            return 0
        self._offset_ns = offset
        return step
