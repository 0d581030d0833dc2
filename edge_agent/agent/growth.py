"""How fast what waits for delivery grows, and when it will have used up its budget."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

WINDOW_S: Final = 300.0
"""The rate is that of the last five minutes: shorter is noise of commits and deliveries."""


class Growth:
    """Takes a level now and then; times in seconds of any monotonic clock.

    >>> growth = Growth(1000)
    >>> for second in range(0, 100, 10):
    ...     growth.take(float(second), 5 * second)
    >>> growth.seconds_to_full()
    110.0
    >>> growth.take(100.0, 0)
    >>> growth.seconds_to_full()
    inf
    """

    def __init__(self, full: int) -> None:
        self._full = full
        self._taken: deque[tuple[float, int]] = deque()

    def take(self, now_s: float, level: int) -> None:
        """The level at a time; what is older than the window is forgotten."""
        self._taken.append((now_s, level))
        while now_s - self._taken[0][0] > WINDOW_S:
            self._taken.popleft()

    def seconds_to_full(self) -> float:
        """Seconds until the level reaches its budget at the rate of the window; infinite while it does not grow, 0 when it is reached."""
        if not self._taken:
            return math.inf
        (began_s, first), (now_s, last) = self._taken[0], self._taken[-1]
        if last >= self._full:
            return 0.0
        if now_s <= began_s or last <= first:
            return math.inf
        return (self._full - last) * (now_s - began_s) / (last - first)
