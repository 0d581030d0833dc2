"""How long to wait before a connection is tried again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 1.0
LONGEST_S: Final = 60.0
JITTER: Final = 0.2


class Backoff:
    """Waiting times of 1, 2, 4 .. 60 s, each up to 20 % shorter or longer, so that many edges do not come back at one instant.

    `random` yields numbers in [0, 1).

    >>> b = Backoff(lambda: 0.5); [b.next_s() for _ in range(8)]
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    >>> b.reset(); b.next_s()
    1.0
    """

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._next_s = FIRST_S

    def next_s(self) -> float:
        """Seconds to wait now; the next answer is twice as long."""
        wait_s = self._next_s
        self._next_s = min(2 * wait_s, LONGEST_S)
        return wait_s * (1 + JITTER * (2 * self._random() - 1))

    def reset(self) -> None:
        """The connection did its work: begin with one second again."""
        self._next_s = FIRST_S
