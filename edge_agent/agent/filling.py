"""Whether what waits for delivery is about to have no more room: alarms at 70 % and at 90 %, before anything has to be given up."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from edge_agent.core import Diagnostic

LEVELS: Final = ((0.7, "edge/outbox_filling"), (0.9, "edge/outbox_nearly_full"))
BACK: Final = 0.05
"""So much below its level an alarm is over: what goes up and down with each delivery must not chatter."""


class Filling:
    """Judges the room that is left now and then; tells what changed.

    limit     bytes that may wait
    standing  alarms that stand from before

    >>> filling = Filling(1000)
    >>> [(d(0).alarm, d(0).active) for d in filling.look(700, 5000, 600.0)], filling.look(660, 5000, math.inf)
    ([('edge/outbox_filling', True)], [])
    >>> filling.look(100, 50, math.inf)[0](0).explanation
    'the disk has 50 bytes left, and 900 more may have to wait'
    """

    def __init__(self, limit: int, standing: Collection[str] = ()) -> None:
        self._limit = limit
        self._standing = {name for _, name in LEVELS if name in standing}

    def look(self, held: int, free: int, to_full_s: float) -> list[Callable[[int], Diagnostic]]:
        """What to say: `held` bytes wait, `free` are left on the disk or in the file, the budget is used up in `to_full_s` seconds at the rate of
        the last minutes."""
        room = max(0, min(self._limit - held, free))
        used = 1 - room / self._limit
        told: list[Callable[[int], Diagnostic]] = []
        for level, name in LEVELS:
            stands = name in self._standing
            active = used >= (level - BACK if stands else level)
            if active != stands:
                (self._standing.add if active else self._standing.discard)(name)
                told.append(partial(_told, name, active, self._words(held, free, to_full_s)))
        return told

    def _words(self, held: int, free: int, to_full_s: float) -> str:
        left = self._limit - held
        if free < left:
            return f"the disk has {free} bytes left, and {left} more may have to wait"
        share = f"{100 * held / self._limit:.0f}"
        if math.isfinite(to_full_s):
            return f"{share} % of the room for what waits is used; full in {to_full_s / 60:.0f} min at this rate"
        return f"{share} % of the room for what waits is used, and no more each minute"


def _told(alarm: str, active: bool, explanation: str, now: int) -> Diagnostic:
    return Diagnostic(received_ns=now, alarm=alarm, active=active, explanation=explanation)
