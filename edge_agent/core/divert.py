"""What a diverter of a continuous line is asked to do, as everybody is told it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

REASON_STALE: Final = 128
"""Reason beside those of the decision: its validity is over, so it means divert."""
REASONS: Final[dict[int, str]] = {
    1: "feed outside its limits", 2: "measured outside its limits", 4: "flow of a feeder not known", 8: "instrument says nothing",
    16: "the edge did not run", 32: "content of the line not known yet", 128: "request not valid any more",
}  # fmt: skip
"""Words of each reason; several add up."""


@dataclass(frozen=True, slots=True)
class DivertNow:
    """The newest decision of a diverter.

    state        0 normal, 1 pending, 2 diverting, 3 clearing
    watchdog     counts up with every decision, 0 behind 65535
    starts_s     seconds until material outside its limits arrives, NaN when none is on its way; ends_s until it has passed
    accounts     what passed so far, kg by what became of it
    low, high    bounds of the content at the diverter, % of label claim
    """

    name: str
    request: bool
    reason: int
    state: int
    watchdog: int
    valid_until_ns: int
    starts_s: float = math.nan
    ends_s: float = math.nan
    low: float = math.nan
    high: float = math.nan
    accounts: tuple[tuple[str, float], ...] = ()

    def at(self, time_ns: int) -> DivertNow:
        """The same decision at a moment: one that is not valid any more means divert.

        >>> DivertNow("a", False, 0, 0, 7, 100).at(101).request
        True
        """
        return self if time_ns <= self.valid_until_ns else replace(self, request=True, reason=self.reason | REASON_STALE)


def reason_words(reason: int) -> str:
    """The reasons in words.

    >>> reason_words(5)
    'feed outside its limits; flow of a feeder not known'
    """
    return "; ".join(words for bit, words in REASONS.items() if reason & bit)
