"""Wrong passwords slow the next attempt down and never lock an account: whoever has to acknowledge an alarm can."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

FREE_ATTEMPTS: Final = 4
"""Wrong passwords for one name from one address that cost nothing."""
LONGEST_WAIT_S: Final = 10.0
"""A wrong password may cost this much and no more: an alarm may be waiting, and behind a proxy a stranger shares the address."""
ADDRESS_ATTEMPTS: Final = 20
"""Wrong passwords from one address over all names before each costs `ADDRESS_WAIT_S`."""
ADDRESS_WAIT_S: Final = 5.0
FORGET_S: Final = 900.0
REMEMBERED: Final = 10_000


class Throttle:
    """Wrong passwords by name and address, and by address; times in ns of a clock that is passed in."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[tuple[str, str], tuple[int, int]] = {}

    def attempt(self, name: str, address: str, now_ns: int) -> float:
        """Seconds to wait, or 0 when the attempt may be made; it counts as wrong until `right` says otherwise, so that many at once count too."""
        with self._lock:
            wait = max(
                self._left((name, address), now_ns, FREE_ATTEMPTS, lambda n: min(LONGEST_WAIT_S, 2.0 ** min(n, 10))),
                self._left(("", address), now_ns, ADDRESS_ATTEMPTS, lambda _: ADDRESS_WAIT_S),
            )
            if wait > 0:
                return wait
            for key in ((name, address), ("", address)):
                n, at = self._wrong.pop(key, (0, 0))
                self._wrong[key] = (1 if now_ns - at > FORGET_S * 1e9 else n + 1, now_ns)
            while len(self._wrong) > REMEMBERED:
                del self._wrong[next(iter(self._wrong))]
        return 0.0

    def _left(self, key: tuple[str, str], now_ns: int, free: int, wait_s: Callable[[int], float]) -> float:
        n, at = self._wrong.get(key, (0, 0))
        since = (now_ns - at) / 1e9
        if n <= free or since < 0 or since > FORGET_S:
            return 0.0
        return max(0.0, wait_s(n - free) - since)

    def right(self, name: str, address: str) -> None:
        """The attempt was right: forget the wrong ones of the name."""
        with self._lock:
            self._wrong.pop((name, address), None)
            n, at = self._wrong.get(("", address), (1, 0))
            self._wrong[("", address)] = (n - 1, at)
